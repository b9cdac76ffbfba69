"""How a process of the service starts and ends: stores awaited, schema up to date, SIGTERM turned into an event."""

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import uvloop

from shared.database import DatabaseLost, connect, wait_until_up
from shared.errors import OperatorError
from shared.migrations import migrate
from shared.settings import Settings
from shared.streams import RedisError, Streams

# Python's own are (700, 10, 10): new objects before a young collection, and how many of those before an older one.
COLLECTOR_THRESHOLDS = (20_000, 50, 100)


@contextlib.asynccontextmanager
async def open_streams(settings: Settings) -> AsyncIterator[Streams]:
    """Wait until Redis answers, load the function library, and close the connections at the end."""
    streams = Streams(settings)
    url = settings.redis_url.get_secret_value()
    address = url.rpartition("@")[2].removeprefix("redis://")  # without the password
    try:
        await wait_until_up("Redis", address, settings.start_timeout_seconds, streams.load_library, RedisError)
        yield streams
    finally:
        await streams.close()


async def prepare_database(settings: Settings) -> None:
    """Wait until Postgres answers and bring its schema up to date."""

    async def attempt() -> None:
        connection = await connect(settings, "migrations")
        try:
            await migrate(connection, settings.partition_count)
        finally:
            await connection.close()

    address = f"{settings.postgres_host}:{settings.postgres_port}"
    await wait_until_up("Postgres", address, settings.start_timeout_seconds, attempt, DatabaseLost)


def relax_garbage_collector() -> None:
    """Leave what the start made out of every later collection, and collect less often.

    Requests leave few cycles, but the default thresholds walk all objects again and again: measured at a third of a
    gateway's CPU time under load.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def stop_event(stop_seconds_max: float) -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; the kernel ends a process that takes longer after that."""
    stop = asyncio.Event()

    def begin() -> None:
        stop.set()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, stop_seconds_max)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin)
    return stop


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a process on uvloop; an OperatorError ends it with exit code 1 and its one line on standard error."""
    try:
        uvloop.run(main())
    except OperatorError as error:
        sys.stderr.write(f"{error.detail}\n")
        sys.exit(1)
