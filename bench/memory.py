"""Resident memory of gateway and worker after ever more operations: flat, or it leaks."""

from bench import counters
from bench.load import Load, deposit, uniform
from bench.measures import Bench
from bench.part import Cell, Part
from bench.scenarios import DRAWN, MANY

CONNECTIONS = 128
DATABASE = "memory"
GROWTH_MAX = 1.05


def measure(bench: Bench) -> Part:
    """Load a service of its own until so many operations are recorded, look, and go on."""
    stack = bench.stack
    service = stack.service(DATABASE)
    stack.fill_wallets(DATABASE, MANY)
    load = Load([deposit(wallet) for wallet in uniform(MANY, DRAWN)], CONNECTIONS)
    rows: list[list[Cell]] = [_row(0, service.pids("gateway"), service.pids("worker"))]
    for goal in bench.plan.memory_operations:
        while (operations := counters.books(stack, DATABASE).operations) < goal:
            bench.tell(f"{operations:,} of {goal:,} operations")
            bench.send(load, service, bench.plan.seconds)
        rows.append(_row(operations, service.pids("gateway"), service.pids("worker")))
    stack.discard(service)
    growths = [float(rows[-1][side] or 0) / float(rows[1][side] or 1) for side in (1, 2)]
    flat = "flat" if max(growths) <= GROWTH_MAX else "growing"
    return Part(
        "memory",
        "Resident memory (MiB)",
        ["operations", "gateway", "worker"],
        rows,
        f"{flat} from {rows[1][0]:,} to {rows[-1][0]:,} operations: "
        f"gateway {growths[0]:.2f} times, worker {growths[1]:.2f} times what it was",
        [f"{MANY:,} wallets, {CONNECTIONS} connections, deposits, one process of each; looked at after the load."],
    )


def _row(operations: int, gateway: list[int], worker: list[int]) -> list[Cell]:
    return [operations, counters.resident_mb(gateway), counters.resident_mb(worker)]
