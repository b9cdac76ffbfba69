"""How a process of the service starts and ends: stores awaited, schema up to date, SIGTERM turned into an event.

Guarantees that SIGTERM ends a process in order, at whatever moment it comes, and that all that is still to be done then
has one deadline, counted from the signal.
"""

import asyncio
import contextlib
import gc
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import structlog
import uvloop

from shared.database import DatabaseLost, connect, wait_until_up
from shared.errors import OperatorError
from shared.migrations import agree_on_partitions, migrate
from shared.settings import Settings
from shared.streams import RedisError, Streams

# Python's own are (700, 10, 10): new objects before a young collection, and how many of those before an older one.
COLLECTOR_THRESHOLDS = (20_000, 50, 100)
CANCEL_SECONDS = 0.1  # between two attempts to cancel
CLOSE_SECONDS_MAX = 1.0  # to take leave of a Postgres that may not answer any more

log = structlog.get_logger(__name__)

Result = TypeVar("Result")
SomeSettings = TypeVar("SomeSettings", bound=Settings)

_stop_began: float | None = None


class StoppedAtStart(Exception):
    """SIGTERM came before the process began its work: there is nothing to drain."""


@contextlib.asynccontextmanager
async def open_streams(settings: Settings) -> AsyncIterator[Streams]:
    """Wait until Redis answers, load the function library, and close the connections at the end."""
    streams = Streams(settings)
    try:
        await wait_until_up(
            "Redis", settings.redis_address, settings.start_timeout_seconds, streams.load_library, RedisError
        )
        yield streams
    finally:
        await streams.close()


async def prepare_database(settings: SomeSettings, *, agree: bool = True) -> SomeSettings:
    """Wait until Postgres answers and bring its schema up to date.

    Returns the settings with the partition count that is in the books; raises Misconfigured when they ask for another.
    Who needs the tables only does not `agree`: the first process of the service shall say how many there are.
    """

    async def attempt() -> int:
        connection = await connect(settings, "migrations")
        try:
            await migrate(connection)
            if not agree:
                return settings.partition_count
            is_asked_for = "partition_count" in settings.model_fields_set
            return await agree_on_partitions(connection, settings.partition_count, is_asked_for=is_asked_for)
        finally:
            await connection.close(timeout=CLOSE_SECONDS_MAX)

    address = f"{settings.postgres_host}:{settings.postgres_port}"
    count = await wait_until_up("Postgres", address, settings.start_timeout_seconds, attempt, DatabaseLost)
    return settings.model_copy(update={"partition_count": count})


def relax_garbage_collector() -> None:
    """Leave what the start made out of every later collection, and collect less often.

    Requests leave few cycles, but the default thresholds walk all objects again and again: measured at a third of a
    gateway's CPU time under load.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def stop_event(stop_seconds_max: float) -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; the kernel ends a process that takes longer after the first."""
    stop = asyncio.Event()

    def begin() -> None:
        global _stop_began  # noqa: PLW0603 a process is told to stop once, whoever wants to know when
        if _stop_began is None:
            _stop_began = time.monotonic()
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, stop_seconds_max)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin)
    return stop


def seconds_since_stop() -> float:
    """Return how long ago this process was told to stop; 0 when it was not."""
    return 0.0 if _stop_began is None else time.monotonic() - _stop_began


async def unless_stopped(stop: asyncio.Event, start: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of a part of the start, which may wait for long; raises StoppedAtStart once `stop` is set."""
    starting, stopping = asyncio.ensure_future(start), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            raise StoppedAtStart
        return starting.result()
    finally:
        # Until it has ended: the Redis client may swallow a cancellation, see `shared/nodes.py`.
        while waiting := [task for task in (starting, stopping) if not task.done()]:
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting, timeout=CANCEL_SECONDS)


def end_process_when_broken(task: asyncio.Task[None]) -> None:
    """End the process, in order, when a loop of it ends by itself: a defect that must not go unseen."""
    if not task.cancelled() and (error := task.exception()):
        log.critical("a loop of this process is broken", loop=task.get_name(), error=repr(error), exc_info=error)
        signal.raise_signal(signal.SIGTERM)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a process on uvloop; an OperatorError ends it with exit code 1 and its one line on standard error."""
    try:
        uvloop.run(main())
    except StoppedAtStart:
        return
    except OperatorError as error:
        sys.stderr.write(f"{error.detail}\n")
        sys.exit(1)


async def end_tasks(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: a client library may take one cancellation for a time-out of its own."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=CANCEL_SECONDS)
