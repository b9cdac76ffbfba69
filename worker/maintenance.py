"""Housekeeping on a schedule, run by arq beside the workers: `python -m worker.maintenance`.

The jobs are in `worker/housekeeping/`; arq says when. Guarantees that a Redis that goes away and comes back ends
nothing but the jobs under way, and that SIGTERM lets those end in order. `arq worker.maintenance.WorkerSettings` works
as well, with the same log lines, but arq by itself ends when it loses Redis, and waits for ever for one that is silent.
"""

import asyncio
import contextlib
import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
import structlog
from arq import cron
from arq.connections import ArqRedis, RedisSettings
from arq.cron import CronJob
from arq.worker import create_worker

import sql
from shared import logs, metrics
from shared.database import Connection
from shared.errors import Misconfigured
from shared.node import CONNECT_TIMEOUT_SECONDS, SOCKET_TIMEOUT_SECONDS, RedisError
from shared.nodes import Nodes
from shared.process import prepare_database, run, stop_event, unless_stopped
from shared.settings import MaintenanceSettings
from shared.streams import Streams
from worker.housekeeping.reconcile import Reconciliation
from worker.housekeeping.runs import RUN_SECONDS_MAX, recorded
from worker.housekeeping.statistics import Statistics
from worker.housekeeping.sweep import Sweep
from worker.housekeeping.watch import watched
from worker.outage import Outage

DRAIN_SECONDS = 10  # how long the jobs under way get to end: they look up after each piece
STOP_SECONDS_MAX = 15.0  # the same, and the closing of connections
HEALTH_SECONDS = 5  # arq's own default is an hour
RECONNECT_SECONDS = 0.5  # pause after Redis was lost
CANCEL_SECONDS = 0.2  # between two attempts to cancel

log = structlog.get_logger(__name__)


async def sweep(context: dict[str, Any]) -> Mapping[str, Any] | None:
    """Mend what a crash or a partial restore left in Redis; returns what was done."""
    settings: MaintenanceSettings = context["settings"]

    async def work(connection: Connection) -> Mapping[str, Any]:
        # There may be more partitions by now: what waits in those is nobody's leftover.
        count = await connection.fetchval(sql.query("read_partition_count"))
        current = settings.model_copy(update={"partition_count": count or settings.partition_count})
        streams, nodes = Streams(current), Nodes(current)
        try:
            await streams.load_library()
            return await Sweep(current, nodes, connection).run()
        finally:
            await nodes.close()
            await streams.close()

    return await recorded(settings, "sweep", work)


async def reconcile(context: dict[str, Any]) -> Mapping[str, Any] | None:
    """Check the books from where the last run ended; returns what was looked at and found."""
    settings: MaintenanceSettings = context["settings"]
    over: asyncio.Event = context["over"]
    return await recorded(settings, "reconcile", lambda session: Reconciliation(settings, session, over).run())


async def statistics(context: dict[str, Any]) -> Mapping[str, Any] | None:
    """Count what was decided since the last run; returns how many operations were added."""
    settings: MaintenanceSettings = context["settings"]
    over: asyncio.Event = context["over"]
    return await recorded(settings, "statistics", lambda session: Statistics(settings, session, over).run())


def jobs() -> list[CronJob]:
    """Return the schedule, new each time: after a silence a job runs once, not once for each time that it missed.

    One try each: the next time is the next try.
    """
    timeout = RUN_SECONDS_MAX + 30  # a run ends itself, and records why
    # arq types a job as taking any arguments; a cron job is given none but the context.
    return [
        cron(sweep, second={0, 30}, run_at_startup=True, timeout=timeout),  # type: ignore[arg-type]
        cron(reconcile, second=15, run_at_startup=True, timeout=timeout),  # type: ignore[arg-type]
        cron(statistics, second=45, run_at_startup=True, timeout=timeout),  # type: ignore[arg-type]
    ]


def configure_logs() -> MaintenanceSettings:
    """Set up the logs of this process; returns its settings."""
    settings = MaintenanceSettings.load()
    logs.configure(settings, "maintenance")
    return settings


# arq's command line sets up logs of its own, in plain text, after it has imported this module.
logs.divert("arq.worker", "arq.connections", "arq.jobs", "arq.utils", configure_first=configure_logs)


async def start(context: dict[str, Any]) -> None:
    """Prepare what the jobs need, where arq runs by itself."""
    settings = configure_logs()
    settings = await prepare_database(settings)
    context.update(settings=settings, over=asyncio.Event())


def _redis_url() -> str:
    try:
        settings = MaintenanceSettings.load()
    except Misconfigured as error:
        raise SystemExit(error.detail) from None
    return settings.maintenance_redis_url.get_secret_value() or settings.redis_url.get_secret_value()


class WorkerSettings:
    """What arq reads."""

    redis_settings = RedisSettings.from_dsn(_redis_url())
    cron_jobs: ClassVar = jobs()
    on_startup = start
    max_jobs = 3  # a long reconciliation holds up no sweep
    max_tries = 1
    keep_result = 0
    job_completion_wait = DRAIN_SECONDS
    health_check_interval = HEALTH_SECONDS
    job_serializer = functools.partial(msgspec.json.encode, enc_hook=str)  # nothing that Redis holds is ever unpickled
    job_deserializer = msgspec.json.decode


async def serve() -> None:
    """Do housekeeping until SIGTERM, with another arq each time that Redis comes back."""
    settings = configure_logs()
    stop = stop_event(STOP_SECONDS_MAX)
    settings = await unless_stopped(stop, prepare_database(settings))
    log.info("housekeeping")
    with metrics.served(settings):
        async with watched(settings):
            await _keep_house(settings, stop)


async def _keep_house(settings: MaintenanceSettings, stop: asyncio.Event) -> None:
    redis = Outage("redis")
    while not stop.is_set():
        try:
            await _work(settings, stop, redis)
        except RedisError as error:
            redis.goes_on("keep the schedule", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RECONNECT_SECONDS):
                    await stop.wait()


async def _work(settings: MaintenanceSettings, stop: asyncio.Event, redis: Outage) -> None:
    """Let arq work until `stop`; raises RedisError when Redis is lost, after the jobs under way ended."""
    pool = ArqRedis.from_url(
        _redis_url(),
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        socket_keepalive=True,
    )
    pool.job_serializer, pool.job_deserializer = WorkerSettings.job_serializer, WorkerSettings.job_deserializer
    over = asyncio.Event()
    context = {"settings": settings, "over": over}
    own: dict[str, Any] = {"redis_pool": pool, "cron_jobs": jobs(), "ctx": context, "on_startup": None}
    arq = create_worker(WorkerSettings, handle_signals=False, **own)  # type: ignore[arg-type] # wants a Protocol of all
    working = asyncio.create_task(arq.async_run())
    stopping = asyncio.create_task(stop.wait())
    try:
        if await _answers(pool):
            redis.is_over("keep the schedule")
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        arq.allow_pick_jobs = False
        over.set()
        if under_way := set(arq.tasks.values()):
            _, late = await asyncio.wait(under_way, timeout=DRAIN_SECONDS)
            await _cancel(*late)
            # Without Redis none of them could say that it ended.
            await asyncio.gather(*under_way, return_exceptions=True)
    finally:
        await _cancel(stopping, working)
        await pool.aclose()
    if not working.cancelled() and (error := working.exception()):
        raise error


async def _answers(pool: ArqRedis) -> bool:
    try:
        await pool.ping()
    except RedisError:
        return False
    return True


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel until they have ended: the Redis client may swallow a cancellation, see `shared/nodes.py`."""
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=CANCEL_SECONDS)


if __name__ == "__main__":
    run(serve)
