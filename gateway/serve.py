"""A gateway process from start to end."""

import asyncio
import contextlib
import os
import signal
import socket

import structlog
from aiohttp import web

from gateway.app import build, express_of
from gateway.connection import Connections
from gateway.listener import BACKLOG
from shared import metrics, tracing
from shared.process import prepare_database, relax_garbage_collector, stop_event
from shared.settings import GatewaySettings

CLOSE_SECONDS = 10.0  # to close connections once the requests are answered

log = structlog.get_logger(__name__)


async def serve(settings: GatewaySettings, listener: socket.socket, lifeline: int | None) -> None:
    """Serve until SIGTERM; then take no more connections, answer the requests under way, and end.

    `lifeline` is a pipe that only the supervisor holds open: when it closes, there is no supervisor any more.
    """
    stop = stop_event(settings.drain_seconds + CLOSE_SECONDS)
    if lifeline is not None:
        asyncio.get_running_loop().add_reader(lifeline, _orphaned, lifeline)
    await prepare_database(settings)
    with contextlib.ExitStack() as observed:
        if lifeline is None:  # else the supervisor does, for all processes
            observed.enter_context(metrics.served(settings))
        observed.enter_context(tracing.exporting(settings, "gateway"))
        app = build(settings)
        runner = web.AppRunner(app, shutdown_timeout=settings.drain_seconds)
        await runner.setup()
        try:
            assert runner.server is not None  # noqa: S101 it was set up
            connections = Connections(settings, express_of(app))
            accept = connections.accept(runner.server)
            server = await asyncio.get_running_loop().create_server(accept, sock=listener, backlog=BACKLOG)
            relax_garbage_collector()
            log.info("serving", host=settings.host, port=listener.getsockname()[1], pid=os.getpid())
            async with connections.watched():
                await stop.wait()
            server.close()
        finally:
            await runner.cleanup()


def _orphaned(lifeline: int) -> None:
    asyncio.get_running_loop().remove_reader(lifeline)
    signal.raise_signal(signal.SIGTERM)
