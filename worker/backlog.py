"""Looks every few seconds at what waits in the partitions that this worker owns, for its metrics.

Guarantees that no batch waits for it: it has connections of its own, and runs only where metrics are served. What could
not be looked at has no number. The oldest is looked for among the first and the last ready wallets: who waits longest
stands at the head of the line, and a hot wallet is put back at its end.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import structlog
from prometheus_client import Gauge

from shared import keys
from shared.node import RedisError, is_wrong_type
from shared.nodes import Nodes
from shared.settings import WorkerSettings
from worker import metrics

LOOK_EVERY_SECONDS = 5.0
START_SECONDS = 0.5  # the same while there is nothing to look at
READY_SAMPLE = 3  # ready wallets looked at from each end of a partition's line

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in one partition."""

    commands: int
    oldest_seconds: float
    dead_letters: int


@contextlib.asynccontextmanager
async def watched(settings: WorkerSettings) -> AsyncIterator[None]:
    """Look again and again, if anybody may ask."""
    if not settings.metrics_port:
        yield
        return
    nodes = Nodes(settings)
    watching = asyncio.create_task(_watch(nodes))
    try:
        yield
    finally:
        while not watching.done():  # the Redis client may swallow one cancellation, see `shared/nodes.py`
            watching.cancel()
            await asyncio.wait([watching], timeout=0.1)
        await nodes.close()


async def _watch(nodes: Nodes) -> None:
    shown: set[int] = set()
    while True:
        try:
            waiting = await look(nodes, metrics.owned())
        except RedisError as error:
            log.debug("could not look at the backlog", error=repr(error))
            waiting = {}
        for partition in shown - set(waiting):
            for gauge in (metrics.BACKLOG, metrics.OLDEST_SECONDS, metrics.DEAD_LETTERS_KEPT):
                gauge.remove(_label(partition))
        shown = set(waiting)
        for partition, seen in waiting.items():
            _set(metrics.BACKLOG, partition, seen.commands)
            _set(metrics.OLDEST_SECONDS, partition, seen.oldest_seconds)
            _set(metrics.DEAD_LETTERS_KEPT, partition, seen.dead_letters)
        await asyncio.sleep(LOOK_EVERY_SECONDS if waiting else START_SECONDS)


async def look(nodes: Nodes, partitions: Collection[int]) -> dict[int, Waiting]:
    """Return what waits in each partition, but for those with a key of the wrong type; raises RedisError."""
    if not partitions:
        return {}
    calls: list[tuple[str, tuple[Any, ...]]] = []
    for p in partitions:
        meta, ready, dead = keys.meta(p), keys.ready_stream(p), keys.dead_stream(p)
        calls.append((meta, ("HGET", meta, "depth")))
        calls.append((dead, ("XLEN", dead)))
        calls.append((ready, ("XRANGE", ready, "-", "+", "COUNT", READY_SAMPLE)))
        calls.append((ready, ("XREVRANGE", ready, "+", "-", "COUNT", READY_SAMPLE)))
    answers = await nodes.many(calls)
    by_partition = {p: answers[4 * i : 4 * i + 4] for i, p in enumerate(partitions)}
    # Made by hand: the others are looked at.
    by_partition = {p: seen for p, seen in by_partition.items() if not any(map(is_wrong_type, seen))}
    heads: list[tuple[int, str]] = []
    for p, seen in by_partition.items():
        _raise_first(seen)
        sample = (*seen[2], *seen[3])
        wallets = {fields.get(b"wallet", b"").decode(errors="replace") for _, fields in sample}
        heads += [(p, keys.wallet_stream(p, wallet)) for wallet in wallets]
    time_of = keys.meta(min(partitions))
    first = await nodes.many(
        [(time_of, ("TIME",)), *((head, ("XRANGE", head, "-", "+", "COUNT", 1)) for _, head in heads)]
    )
    _raise_first(answer for answer in first if not is_wrong_type(answer))
    seconds, microseconds = first[0]
    now_ms = int(seconds) * 1_000 + int(microseconds) // 1_000
    oldest_ms = dict.fromkeys(partitions, 0)
    for (p, _), entries in zip(heads, first[1:], strict=True):
        if entries and not is_wrong_type(entries):  # not settled meanwhile
            oldest_ms[p] = max(oldest_ms[p], now_ms - int(entries[0][0].partition(b"-")[0]))
    return {p: Waiting(int(seen[0] or 0), oldest_ms[p] / 1_000, seen[1]) for p, seen in by_partition.items()}


def _raise_first(answers: Iterable[Any]) -> None:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer


def _label(partition: int) -> str:
    return f"{partition:02d}"


def _set(gauge: Gauge, partition: int, value: float) -> None:
    gauge.labels(_label(partition)).set(value)
