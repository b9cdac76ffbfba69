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
from shared.process import prepare_database, relax_garbage_collector, stop_event, unless_stopped
from shared.settings import GatewaySettings

CUT_SECONDS = 1.0  # to cut what is still under way when DRAIN_SECONDS are over
CLOSE_SECONDS = 10.0  # the same, and to close all connections

log = structlog.get_logger(__name__)


async def serve(settings: GatewaySettings, listener: socket.socket, lifeline: int | None) -> None:
    """Serve until SIGTERM; then take no more connections, answer the requests under way, and end.

    `lifeline` is a pipe that only the supervisor holds open: when it closes, there is no supervisor any more.
    """
    stop = stop_event(settings.drain_seconds + CLOSE_SECONDS)
    if lifeline is not None:
        asyncio.get_running_loop().add_reader(lifeline, _orphaned, lifeline)
    settings = await unless_stopped(stop, prepare_database(settings))
    with contextlib.ExitStack() as observed:
        if lifeline is None:  # else the supervisor does, for all processes
            observed.enter_context(metrics.served(settings))
        observed.enter_context(tracing.exporting(settings, "gateway"))
        app = build(settings)
        runner = web.AppRunner(app, shutdown_timeout=CUT_SECONDS)
        try:
            await unless_stopped(stop, runner.setup())
            assert runner.server is not None  # noqa: S101 it was set up
            connections = Connections(settings, express_of(app))
            accept = connections.accept(runner.server)
            server = await asyncio.get_running_loop().create_server(accept, sock=listener, backlog=BACKLOG)
            relax_garbage_collector()
            log.info("serving", host=settings.host, port=listener.getsockname()[1], pid=os.getpid())
            async with connections.watched():
                await stop.wait()
            server.close()
            await _answer(runner.server, settings.drain_seconds)
        finally:
            await runner.cleanup()


async def _answer(server: web.Server, seconds_max: float) -> None:
    """Close the idle connections and wait for the requests under way.

    aiohttp alone gives them its time-out twice. What remains of DRAIN_SECONDS is the dispatcher's.
    """
    await asyncio.sleep(0)  # what has arrived is begun
    server.pre_shutdown()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds_max):
            await server.shutdown(seconds_max)


def _orphaned(lifeline: int) -> None:
    asyncio.get_running_loop().remove_reader(lifeline)
    signal.raise_signal(signal.SIGTERM)
