"""Looks at the partitions: how full, how fast, how old, whose.

Speed comes from two readings of `meta` a moment apart. The oldest message and the hottest wallet come from the first
and the last ready wallets: who waits longest stands at the head, and a hot wallet is put back at the end again.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sql
from inspector.reading.sampling import ms_of, redis_ms, wallet_in
from inspector.seen import PartitionSeen, PartitionsSeen
from inspector.stores import Stores
from shared import keys
from shared.database import PARTITION_LOCKS, WORKER_LOCKS
from shared.release import RELEASE_LOCKS

SAMPLE_SECONDS = 1.0
READY_SAMPLE = 20  # ready wallets looked at from each end of a partition's line


@dataclass(frozen=True, slots=True)
class Counts:
    """What a partition's own keys say. `submitted` is None where the function library is older than it."""

    depth: int
    submitted: int | None
    ready: int
    dead: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The counts of all partitions at one moment of this process' own clock."""

    at: float
    counts: Mapping[int, Counts]


async def owners(stores: Stores) -> dict[int, str]:
    """Return who owns each partition that is owned."""
    rows = await stores.rows(sql.query("inspect_workers"), WORKER_LOCKS, PARTITION_LOCKS, RELEASE_LOCKS)
    return {partition: row["name"] for row in rows for partition in row["partitions"]}


async def read_counts(stores: Stores) -> Reading:
    """Read the counts of all partitions."""
    calls = []
    for p in stores.partitions:
        meta, ready, dead = keys.meta(p), keys.ready_stream(p), keys.dead_stream(p)
        calls += [
            (meta, ("HMGET", meta, "depth", "submitted")),
            (ready, ("XLEN", ready)),
            (dead, ("XLEN", dead)),
        ]
    answers = await stores.many(calls)
    counts = {}
    for p in stores.partitions:
        (depth, submitted), ready_count, dead_count = answers[3 * p : 3 * p + 3]
        counts[p] = Counts(int(depth or 0), int(submitted) if submitted is not None else None, ready_count, dead_count)
    return Reading(time.monotonic(), counts)


def rates(before: Reading, after: Reading, partition: int) -> tuple[float | None, float | None]:
    """Return commands in and out of a partition per second; None where Redis does not count or began anew."""
    old, new = before.counts[partition], after.counts[partition]
    seconds = after.at - before.at
    # A meta that appeared between the readings began at nothing.
    first = 0 if old.submitted is None and old.depth == 0 else old.submitted
    if new.submitted is None or first is None:
        return (0.0, 0.0) if new == old and new.depth == 0 else (None, None)
    came = new.submitted - first
    went = came - (new.depth - old.depth)
    if came < 0 or went < 0:
        return None, None
    return came / seconds, went / seconds


async def read_partitions(stores: Stores) -> PartitionsSeen:
    """Look at every partition, which takes SAMPLE_SECONDS."""
    before = await read_counts(stores)
    owned = await owners(stores)
    heads = await _heads(stores, [p for p, counts in before.counts.items() if counts.ready])
    await asyncio.sleep(max(0.0, before.at + SAMPLE_SECONDS - time.monotonic()))
    after = await read_counts(stores)
    seen = []
    for p, counts in after.counts.items():
        came, went = rates(before, after, p)
        age_seconds, hottest, hottest_waiting = heads.get(p, (None, None, 0))
        seen.append(
            PartitionSeen(
                p, owned.get(p), counts.ready, counts.depth, age_seconds, came, went,
                hottest, hottest_waiting, counts.dead,
            )
        )  # fmt: skip
    return PartitionsSeen(after.at - before.at, seen)


async def _heads(stores: Stores, partitions: Iterable[int]) -> dict[int, tuple[float | None, str | None, int]]:
    """Return, by partition, the oldest age, the hottest wallet and how much waits for it, of a sample."""
    calls = []
    for p in partitions:
        ready = keys.ready_stream(p)
        calls.append((ready, ("XRANGE", ready, "-", "+", "COUNT", READY_SAMPLE)))
        calls.append((ready, ("XREVRANGE", ready, "+", "-", "COUNT", READY_SAMPLE)))
    answers = await stores.many(calls)
    sample = []
    for i, p in enumerate(partitions):
        wallets = {wallet_in(entry) for entry in (*answers[2 * i], *answers[2 * i + 1])}
        sample += [(p, wallet) for wallet in sorted(wallets)]
    looks = []
    for p, wallet in sample:
        stream = keys.wallet_stream(p, wallet)
        looks += [(stream, ("XLEN", stream)), (stream, ("XRANGE", stream, "-", "+", "COUNT", 1))]
    answers = await stores.many(looks)
    now_ms = await redis_ms(stores)
    heads: dict[int, tuple[float | None, str | None, int]] = {}
    for i, (p, wallet) in enumerate(sample):
        waiting, first = answers[2 * i], answers[2 * i + 1]
        if not first:
            continue  # settled between two looks
        age_seconds = max(0.0, (now_ms - ms_of(first[0][0])) / 1000)
        oldest, hottest, most = heads.get(p, (None, None, 0))
        if waiting > most:
            hottest, most = wallet, waiting
        heads[p] = (max(age_seconds, oldest or 0.0), hottest, most)
    return heads
