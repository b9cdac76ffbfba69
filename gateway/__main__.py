"""`python -m gateway` serves the REST API, in as many processes on one port as GATEWAY_PROCESSES says.

`python -m gateway keys` manages API keys.
"""

import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
import sys

import structlog
from aiohttp import web

from gateway import keys
from gateway.app import build
from gateway.connection import Connections
from shared import logs
from shared.errors import Misconfigured, OperatorError
from shared.process import prepare_database, relax_garbage_collector, run, stop_event
from shared.settings import GatewaySettings

BACKLOG = 1024  # connections that may wait to be accepted
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
    runner = web.AppRunner(build(settings), shutdown_timeout=settings.drain_seconds)
    await runner.setup()
    try:
        assert runner.server is not None  # noqa: S101 it was set up
        connections = Connections(settings)
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


def refuse_open_door(settings: GatewaySettings) -> None:
    """Raise Misconfigured for AUTH=off on an address that others can reach, unless that was said twice."""
    try:
        is_loopback = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        is_loopback = settings.host == "localhost"
    if settings.auth == "off" and not is_loopback and not settings.auth_off_in_public:
        raise Misconfigured(
            f"AUTH=off would let anybody who reaches {settings.host} move money. Set AUTH=required, or HOST=127.0.0.1, "
            "or say it twice with AUTH_OFF_IN_PUBLIC=true."
        )


def listen(settings: GatewaySettings) -> socket.socket:
    """Open the listening socket; raises Misconfigured when the address is taken or not to be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Misconfigured(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
            "End what uses it, or choose another HOST or PORT."
        ) from None


def supervise(children: list[int]) -> int:
    """Pass SIGTERM on to the processes and wait for all; when one ends by itself, end the others and return 1."""
    stopping = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopping
        stopping = True
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    failed = 0
    while children:
        child, status = os.wait()
        children.remove(child)
        failed |= int(status != 0 or not stopping)
        if not stopping:
            sys.stderr.write(f"gateway process {child} ended by itself; ending the others\n")
            stop(signal.SIGTERM, None)
    return failed


def main() -> None:
    """Manage API keys, or serve with as many processes as are wanted over one socket: whichever is idle accepts."""
    if sys.argv[1:2] == ["keys"]:
        sys.exit(keys.main(sys.argv[2:]))
    if sys.argv[1:]:
        sys.exit("usage: python -m gateway [keys create|list|revoke]")
    try:
        settings = GatewaySettings.load()
        refuse_open_door(settings)
        listener = listen(settings)
    except OperatorError as error:
        sys.exit(error.detail)
    lifeline = None
    if settings.gateway_processes > 1:
        lifeline, held_open = os.pipe()
        children: list[int] = []
        for _ in range(settings.gateway_processes):
            if not (child := os.fork()):
                break
            children.append(child)
        else:
            listener.close()
            sys.exit(supervise(children))
        os.close(held_open)
    logs.configure(settings, "gateway")
    run(lambda: serve(settings, listener, lifeline))


if __name__ == "__main__":
    main()
