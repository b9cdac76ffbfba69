"""Looks at the workers: what Postgres knows of their sessions, and what the latest operations tell of their batches.

All operations of one batch are decided at the same moment, so that the moments among the operations of a worker's
partitions are its batches. Knows nothing that a worker would have to write down for this.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import sql
from inspector.reading.partitions import read_partitions
from inspector.seen import PartitionsSeen, WorkerSeen, WorkersSeen
from inspector.stores import Stores
from shared.database import PARTITION_LOCKS, WORKER_LOCKS
from shared.keys import partition_of
from shared.release import RELEASE_LOCKS, release_text
from shared.settings import WorkerSettings

# How far back batches are looked for: further only while nothing was found, so that a busy service is asked little.
LOOK_BACK_SECONDS = (10.0, 60.0, 600.0)
RECENT_OPERATIONS = 20_000
HEARTBEATS_MISSED = 3  # by who is late


@dataclass(frozen=True, slots=True)
class Recent:
    """What the operations of the last `seconds` tell: how many, how many rejected, each batch's moment and size."""

    seconds: float
    operations: int
    rejections: int
    batches: Mapping[int, list[tuple[datetime, int]]] = field(default_factory=dict)


async def recent(stores: Stores) -> Recent:
    """Read the latest operations, at most RECENT_OPERATIONS."""
    for seconds in LOOK_BACK_SECONDS:
        rows = await stores.rows(sql.query("inspect_batches"), seconds, RECENT_OPERATIONS)
        if rows:
            batches: dict[int, list[tuple[datetime, int]]] = defaultdict(list)
            for row in rows:
                partition = partition_of(row["wallet_id"], stores.settings.partition_count)
                batches[partition].append((row["decided_at"], row["operations"]))
            operations, rejections = sum(row["operations"] for row in rows), sum(row["rejections"] for row in rows)
            # In a busy service as many as are read go back less far.
            is_cut = operations == RECENT_OPERATIONS
            span = max(row["age_seconds"] for row in rows) if is_cut else seconds
            return Recent(span, operations, rejections, batches)
    return Recent(LOOK_BACK_SECONDS[-1], 0, 0)


def late_seconds(settings: WorkerSettings) -> float:
    """Return the silence above which a worker is late: some heartbeats, and well before Postgres ends its session."""
    beat, end = settings.heartbeat_seconds, settings.session_timeout_seconds
    return min(HEARTBEATS_MISSED * beat, beat + max(0.0, end - beat) * 2 / 3)


async def read_workers(stores: Stores) -> WorkersSeen:
    """Look at every live worker."""
    return await workers_of(stores, await read_partitions(stores), await recent(stores))


async def workers_of(stores: Stores, partitions: PartitionsSeen, newest: Recent) -> WorkersSeen:
    """Look at the live workers, with what is known of their partitions already."""
    rows = await stores.rows(sql.query("inspect_workers"), WORKER_LOCKS, PARTITION_LOCKS, RELEASE_LOCKS)
    late_after = late_seconds(stores.settings)
    speeds = {seen.partition: seen.out_per_second for seen in partitions.partitions}
    workers = []
    for row in rows:
        known = [speed for p in row["partitions"] if (speed := speeds.get(p)) is not None]
        batches = [batch for p in row["partitions"] for batch in newest.batches.get(p, ())]
        workers.append(
            WorkerSeen(
                name=row["name"],
                host=row["host"],
                pid=row["pid"],
                since=row["since"],
                partitions=row["partitions"],
                ops_per_second=sum(known) if known or not row["partitions"] else None,
                batch_size=sum(size for _, size in batches) / len(batches) if batches else None,
                last_batch_at=max((moment for moment, _ in batches), default=None),
                silent_seconds=max(0.0, row["silent_seconds"]),
                is_late=row["silent_seconds"] > late_after,
                draining=row["drained_since"] is not None,
                drained_since=row["drained_since"],
                version=release_text(row["release"]),
            )
        )
    owned = {partition for row in rows for partition in row["partitions"]}
    return WorkersSeen(workers, sorted(set(stores.partitions) - owned))
