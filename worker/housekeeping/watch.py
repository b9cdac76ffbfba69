"""Looks every few seconds at what Postgres knows and no worker does: owners, errors in the books, the jobs' last runs.

For the metrics of the housekeeping process. Guarantees that what could not be read has no number, and that this is
said: `wallet_postgres_up` is 0 then. One session of its own, opened anew when it was lost.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import sql
from shared.database import PARTITION_LOCKS, WORKER_LOCKS, Connection, DatabaseError, Record, connect
from shared.settings import MaintenanceSettings

LOOK_EVERY_SECONDS = 5.0
STATEMENT_MS_MAX = 4_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found."""

    partitions: int
    owned: int
    workers: int
    findings: int
    jobs: Sequence[Record] = field(default_factory=list)
    today: Sequence[Record] = field(default_factory=list)


class Watch(Collector):
    """The last look, as metrics."""

    def __init__(self) -> None:
        self.seen: Seen | None = None

    def collect(self) -> Iterable[Metric]:
        """Yield what was seen; only that nothing was, when Postgres did not answer."""
        seen = self.seen
        yield GaugeMetricFamily(
            "wallet_postgres_up", "Whether Postgres answered when it was last asked.", int(bool(seen))
        )
        if seen is None:
            return
        yield GaugeMetricFamily("wallet_partitions", "Partitions that there are.", seen.partitions)
        yield GaugeMetricFamily("wallet_partitions_owned", "Partitions that have an owner.", seen.owned)
        yield GaugeMetricFamily("wallet_workers", "Workers in service.", seen.workers)
        yield GaugeMetricFamily(
            "wallet_reconciliation_findings_open",
            "Errors in the books that were found and are there still.",
            seen.findings,
        )
        succeeded, seconds, failed = (
            GaugeMetricFamily(f"wallet_housekeeping_{name}", text, labels=["task"])
            for name, text in (
                ("last_success_timestamp_seconds", "When a run of the job last ended well."),
                ("last_run_duration_seconds", "How long the last run of the job took."),
                ("last_run_failed", "Whether the last run of the job failed."),
            )
        )
        for job in seen.jobs:
            succeeded.add_metric([job["job"]], job["succeeded_at"])
            seconds.add_metric([job["job"]], job["seconds"])
            failed.add_metric([job["job"]], int(job["failed"]))
        yield from (succeeded, seconds, failed)
        yield _counts(seen.jobs)
        today = GaugeMetricFamily(
            "wallet_today_operations",
            "Operations decided today (in UTC), as far as they are counted: up to two minutes behind.",
            labels=["type", "status"],
        )
        for total in seen.today:
            today.add_metric([total["type"], total["status"]], total["operations"])
        yield today


def _counts(jobs: Iterable[Record]) -> Metric:
    """Return what the last good run of each job counted."""
    family = GaugeMetricFamily(
        "wallet_housekeeping_last_run_count",
        "What the last run of the job that ended well counted, as in its log line.",
        labels=["task", "what"],
    )
    for job in jobs:
        for what, count in msgspec.json.decode(job["result"] or "{}").items():
            if isinstance(count, int):
                family.add_metric([job["job"], what], count)
    return family


@contextlib.asynccontextmanager
async def watched(settings: MaintenanceSettings) -> AsyncIterator[None]:
    """Look again and again, if anybody may ask."""
    if not settings.metrics_port:
        yield
        return
    watch = Watch()
    REGISTRY.register(watch)
    looking = asyncio.create_task(_look(settings, watch))
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.wait([looking])
        REGISTRY.unregister(watch)


async def _look(settings: MaintenanceSettings, watch: Watch) -> None:
    while True:
        try:
            session = await connect(settings, "maintenance-watch", statement_timeout=str(STATEMENT_MS_MAX))
            try:
                while True:
                    watch.seen = await look(session)
                    await asyncio.sleep(LOOK_EVERY_SECONDS)
            finally:
                session.terminate()
        except DatabaseError as error:
            if watch.seen is not None:
                log.warning("could not look at Postgres for the metrics", error=type(error).__name__)
            watch.seen = None
            await asyncio.sleep(LOOK_EVERY_SECONDS)


async def look(session: Connection) -> Seen:
    """Read everything once; raises DatabaseError."""
    locks = await session.fetchrow(sql.query("survey_locks"), WORKER_LOCKS, PARTITION_LOCKS)
    assert locks is not None  # noqa: S101 an aggregate always has a row
    return Seen(
        await session.fetchval(sql.query("read_partition_count")) or 0,
        len(set(locks["held"])),
        locks["workers"],
        await session.fetchval(sql.query("open_findings")),
        await session.fetch(sql.query("last_runs")),
        await session.fetch(sql.query("todays_totals")),
    )
