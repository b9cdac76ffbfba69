"""What a Redis Cluster costs: the same service over one Redis and over a Cluster of three nodes, in turn.

On one machine the nodes add no cores: this shows what the splitting of every trip costs, not what more machines bring.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from bench import counters
from bench.load import Load, deposit, uniform
from bench.measures import Bench
from bench.part import Cell, Part
from bench.scenarios import DRAWN, MANY
from bench.stack import Service
from devstack.cluster import NODES, Cluster
from devstack.errors import StackError

ONE, THREE = "cluster_one", "cluster_three"  # databases
CONNECTIONS = 128
COLUMNS = ("round", "Redis", "answers/s", "p50 ms", "p99 ms", "gateway µs/op", "worker µs/op", "Redis µs/op")


@dataclass(frozen=True, slots=True)
class Side:
    """A service, and the processes that work for it, by column."""

    what: str
    service: Service
    pids: Mapping[str, list[int]]


def measure(bench: Bench) -> Part:
    """Start a service over either, and measure them in turn; the one that begins changes from round to round."""
    stack = bench.stack
    cluster = Cluster(stack.folder / "cluster")
    try:
        cluster.start()
        on_nodes = {"REDIS_URL": cluster.urls, "REDIS_CLUSTER": "true"}
        services = stack.service(ONE), stack.service(THREE, environment=on_nodes)
        sides = (
            _side("one", services[0], [stack.redis.pid]),
            _side(f"{NODES} nodes", services[1], [node.pid for node in cluster.nodes]),
        )
        for service in services:
            stack.fill_wallets(service.database, MANY)
        load = Load([deposit(wallet) for wallet in uniform(MANY, DRAWN)], CONNECTIONS)
        rows: list[list[Cell]] = []
        ratios = []
        for number in range(1, bench.plan.rounds + 1):
            in_turn = sides if number % 2 else sides[::-1]
            measured = {side.what: _row(bench, number, side, load) for side in in_turn}
            one, three = (measured[side.what] for side in sides)
            rows += [one, three]
            ratios.append(float(three[2] or 0) / float(one[2] or 1))
        if not all(cluster.ask(node, "DBSIZE") for node in cluster.nodes):
            raise StackError("a node of the Cluster was never used")
        for service in services:
            stack.discard(service)
    finally:
        cluster.kill()
    return Part(
        "cluster",
        "On a Redis Cluster",
        COLUMNS,
        rows,
        f"three nodes on the same cores: {median(ratios):.2f} times the throughput of one Redis",
        [
            f"{MANY:,} wallets, uniform, {CONNECTIONS} connections, deposits; one gateway process and one worker each. "
            "All nodes, which append to files as the one Redis does, share the machine's cores with everything else. "
            "While one side is measured the other's worker goes on asking its Redis for work: on a Cluster, twice a "
            "second for each partition.",
        ],
    )


def _side(what: str, service: Service, redis: list[int]) -> Side:
    return Side(what, service, {"gateway": service.pids("gateway"), "worker": service.pids("worker"), "redis": redis})


def _row(bench: Bench, number: int, side: Side, load: Load) -> list[Cell]:
    what = f"round {number}, {side.what}"
    if bench.plan.warm_seconds:
        bench.tell(f"{what}: warming up")
        bench.send(load, side.service, bench.plan.warm_seconds)
    bench.tell(f"{what}: measuring")
    before = {name: counters.cpu_seconds(pids) for name, pids in side.pids.items()}
    sample = bench.send(load, side.service, bench.plan.seconds)
    used = [counters.cpu_seconds(pids) - before[name] for name, pids in side.pids.items()]
    costs = [1e6 * seconds / max(1, sample.requests) for seconds in used]
    return [number, side.what, sample.rate, sample.p50_ms, sample.p99_ms, *costs]
