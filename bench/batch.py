"""How the service works as the load rises: batch size, latency, and what each operation costs the stores.

An open loop on one wallet, from a trickle to more than can be served. The batch grows by itself, and the costs per
operation fall with it.
"""

from bench import counters
from bench.load import Load, deposit
from bench.measures import Bench
from bench.part import Part
from bench.stack import Service

CONNECTIONS = 512
SERVED_SHARE_MIN = 0.9  # below: more is asked for than can be served, and higher rates tell nothing new
DATABASE = "batches"
MEANINGFUL_OPERATIONS = 200


COLUMNS = (
    "offered/s",
    "served/s",
    "batch",
    "p50 ms",
    "p99 ms",
    "FCALL/op",
    "Redis commands/op",
    "statements/op",
    "statements/batch",
    "WAL bytes/op",
)


def measure(bench: Bench) -> Part:
    """Offer one rate after another to a service of its own."""
    stack = bench.stack
    stack.count_statements(DATABASE)
    service = stack.service(DATABASE)
    stack.fill_wallets(DATABASE, 1)
    bench.send(Load([deposit(1)], 64, rate=500), service, bench.plan.warm_seconds or 0.2)
    rows: list[list[float | None]] = []
    for rate in bench.plan.batch_rates:
        bench.tell(f"{rate:,} requests/s")
        row = _row(bench, service, rate)
        rows.append(row)
        if (row[1] or 0) < rate * SERVED_SHARE_MIN:
            break
    stack.discard(service)
    return Part(
        "batch",
        "Batch size, latency and costs as the load rises",
        COLUMNS,
        rows,
        f"batch {rows[0][2]:.1f} at {rows[0][0]}/s, {rows[-1][2]:.0f} at {rows[-1][1]:,.0f}/s",
        [
            "One wallet, deposits, open loop over "
            f"{CONNECTIONS} connections; latency from the scheduled arrival. Batch: operations ÷ transactions that "
            "recorded them. Redis commands and statements include what runs on an idle service (polls, heartbeats), "
            "which is what a trickle pays for. Redis commands count those inside a function as well as its FCALL. "
            "WAL includes the page images after a checkpoint.",
        ],
    )


def _row(bench: Bench, service: Service, rate: int) -> list[float | None]:
    # A trickle needs longer for a percentile to mean something.
    seconds = max(bench.plan.batch_seconds, min(3 * bench.plan.batch_seconds, MEANINGFUL_OPERATIONS / rate))
    books = counters.books(bench.stack, DATABASE)
    counts = counters.store_counts(bench.stack, DATABASE)
    sample = bench.send(Load([deposit(1)], CONNECTIONS, rate=rate), service, seconds)
    spent = counters.difference(counters.store_counts(bench.stack, DATABASE), counts)
    now = counters.books(bench.stack, DATABASE)
    operations, batches = now.operations - books.operations, now.batches - books.batches
    has_statements = bench.stack.counts_statements
    return [
        rate,
        sample.rate,
        operations / batches,
        sample.p50_ms,
        sample.p99_ms,
        spent["redis_functions"] / operations,
        spent["redis_commands"] / operations,
        spent["statements"] / operations if has_statements else None,
        spent["statements"] / batches if has_statements else None,
        spent["wal_bytes"] / operations,
    ]
