"""What the processes, Redis and Postgres count of themselves, read before and after a load.

CPU time comes from the kernel, per process and all its threads; that of backends which ended meanwhile is in the
postmaster's. Guarantees nothing about what else runs on the stack: the bench lets nothing else run.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from bench.stack import Server, Service, Stack

Counts = dict[str, float]


@dataclass(frozen=True, slots=True)
class Books:
    """Operations recorded, and transactions that recorded them (by the transaction id that each row carries)."""

    operations: int
    batches: int


def cpu_seconds(pids: list[int]) -> float:
    """Add up the CPU time that these processes, and those of their children that ended, have used."""
    total = 0.0
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def resident_mb(pids: list[int]) -> float:
    """Add up the resident memory of these processes."""
    return float(sum(psutil.Process(pid).memory_info().rss for pid in pids)) / 2**20


def components(stack: Stack, server: Server) -> dict[str, list[int]]:
    """List the processes that work for a server, by what they are."""
    postgres = [stack.postgres.pid, *(child.pid for child in psutil.Process(stack.postgres.pid).children())]
    if not isinstance(server, Service):
        return {"direct": server.pids("direct"), "postgres": postgres}
    return {
        "gateway": server.pids("gateway"),
        "worker": server.pids("worker"),
        stack.redis.flavour: [stack.redis.pid],
        "postgres": postgres,
    }


def cpu_of(stack: Stack, server: Server) -> Counts:
    """Read the CPU seconds used so far, by component."""
    return {name: cpu_seconds(pids) for name, pids in components(stack, server).items()}


def store_counts(stack: Stack, database: str) -> Counts:
    """Read how many commands Redis has run, how much log Postgres has written and how many statements it has run."""
    with stack.redis_client() as client:
        stats = client.info("commandstats")
        assert isinstance(stats, dict)
        # Reading the counts is itself counted, so it is left out.
        calls = {name: float(entry["calls"]) for name, entry in stats.items() if name != "cmdstat_info"}
    return {
        "redis_commands": sum(calls.values()),
        "redis_functions": calls.get("cmdstat_fcall", 0.0),
        "wal_bytes": float(stack.value("postgres", stack.query("wal_position"))),
        "statements": float(stack.value(database, stack.query("statements")) or 0) if stack.counts_statements else 0.0,
    }


def books(stack: Stack, database: str) -> Books:
    """Count what is recorded."""
    operations, batches = stack.row(database, stack.query("batches"))
    return Books(operations, batches)


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> Counts:
    """Return what was counted between two readings."""
    return {name: after[name] - before.get(name, 0.0) for name in after}
