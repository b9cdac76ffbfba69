"""CPU-seconds per 1,000 operations: what each process of the service, and of the direct baseline, uses at full load."""

from bench import counters
from bench.load import Load, deposit, uniform
from bench.measures import REFERENCE_POOL, Bench
from bench.part import Part
from bench.scenarios import DRAWN, MANY
from bench.stack import Server

CONNECTIONS = 128


def measure(bench: Bench) -> Part:
    """Send two loads to both sides and divide the CPU time that was used by the operations that were applied."""
    stack = bench.stack
    loads = {
        "one wallet": Load([deposit(1)], CONNECTIONS),
        f"{MANY:,} wallets": Load([deposit(wallet) for wallet in uniform(MANY, DRAWN)], CONNECTIONS),
    }
    for database in ("service", "direct"):
        stack.fill_wallets(database, MANY)
    sides: dict[str, Server] = {"service": stack.service(), "direct": stack.direct(REFERENCE_POOL)}
    rows: list[list[str | float | None]] = []
    names = ["gateway", "worker", stack.redis.flavour, "direct", "postgres"]
    for what, load in loads.items():
        for side, server in sides.items():
            costs, rate = _costs(bench, f"{side}, {what}", load, server)
            total = sum(costs.values())
            rows.append([what, side, rate, *(costs.get(name) for name in names), total])
    return Part(
        "cost",
        "CPU-seconds per 1,000 operations",
        ["load", "side", "operations/s", *names, "in all"],
        rows,
        "; ".join(f"{row[0]}, {row[1]}: {row[-1]:.2f} s" for row in rows),
        [
            f"{CONNECTIONS} connections, deposits; the direct baseline with a pool of {REFERENCE_POOL}. User and "
            "system time from the kernel; Postgres with all its backends and writers. The load generator is not in it.",
        ],
    )


def _costs(bench: Bench, what: str, load: Load, server: Server) -> tuple[counters.Counts, float]:
    bench.tell(f"{what}: warming up")
    bench.send(load, server, bench.plan.warm_seconds or 0.2)
    books = counters.books(bench.stack, server.database)
    before = counters.cpu_of(bench.stack, server)
    bench.tell(f"{what}: measuring")
    rate = bench.send(load, server, bench.plan.seconds).rate
    used = counters.difference(counters.cpu_of(bench.stack, server), before)
    operations = counters.books(bench.stack, server.database).operations - books.operations
    return {name: seconds / operations * 1000 for name, seconds in used.items()}, rate
