"""How each kind of scenario is measured: what runs in a round, in which order, and the figures that follow from it.

Every measure returns one set of figures per round; a ratio is formed within a round, whose two sides ran one right
after the other, and the median of the rounds is taken afterwards. Knows no goals.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from uuid import uuid4

from bench import pgbench
from bench.load import Load, Sample, send
from bench.plan import Plan
from bench.scenarios import EMPTY_WALLET, Scenario, refusals
from bench.stack import Server, Stack

Figures = dict[str, float]
Tell = Callable[[str], None]
REFERENCE_POOL = 8  # of the direct baseline, where it is measured without a goal that hangs on it
Sides = Mapping[str, tuple[Server, Load]]


@dataclass
class Result:
    """What a scenario's rounds gave, and the pool that the direct baseline was measured with."""

    rounds: list[Figures]
    pool_size: int = 0
    sweep: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """A stack, a plan and someone to tell what happens."""

    stack: Stack
    plan: Plan
    tell: Tell

    def send(self, load: Load, server: Server, seconds: float) -> Sample:
        """Send a load to a server."""
        return send(load, server.port, seconds, self.stack.folder, use_wrk=self.plan.use_wrk)

    def run(self, what: str, load: Load, server: Server, *, is_warm: bool = False) -> Sample:
        """Warm a server up, then measure it."""
        if self.plan.warm_seconds and not is_warm:
            self.tell(f"{what}: warming up")
            self.send(load, server, self.plan.warm_seconds)
        self.tell(f"{what}: measuring")
        return self.send(load, server, self.plan.seconds)

    def sweep(self, load: Load) -> dict[int, float]:
        """Try every pool size of the direct baseline in a short run."""
        rates = {}
        for size, server in self.stack.directs(self.plan.pool_sizes).items():
            self.tell(f"direct, pool of {size}: trying")
            rates[size] = self.send(load, server, self.plan.sweep_seconds).rate
        return rates


def figures_of(side: str, sample: Sample) -> Figures:
    """Name what one side of a round gave."""
    return {
        f"{side}_rate": sample.rate,
        f"{side}_p50_ms": sample.p50_ms,
        f"{side}_p90_ms": sample.p90_ms,
        f"{side}_p99_ms": sample.p99_ms,
        f"{side}_max_ms": sample.max_ms,
        f"{side}_refused_share": sample.refused / max(1, sample.requests),
        f"{side}_failed": sample.failed,
        f"{side}_stolen_share": sample.stolen_share,
    }


def versus(bench: Bench, scenario: Scenario) -> Result:
    """Service and direct baseline in turn; the one that begins changes from round to round."""
    load = scenario.load()
    service = bench.stack.service()
    bench.stack.fill_wallets("service", scenario.wallets)
    bench.stack.fill_wallets("direct", scenario.wallets)
    sweep = bench.sweep(load)
    pool_size = max(sweep, key=lambda size: sweep[size])
    sides = {"service": service, "direct": bench.stack.direct(pool_size)}
    result = Result([], pool_size, sweep)
    for number in range(bench.plan.rounds):
        figures: Figures = {}
        for side in sorted(sides, reverse=number % 2 == 0):
            is_warm = bench.plan.sweep_warms and side == "direct" and number == 0
            sample = bench.run(f"round {number + 1}, {side}", load, sides[side], is_warm=is_warm)
            figures |= figures_of(side, sample)
        figures["throughput_ratio"] = figures["service_rate"] / figures["direct_rate"]
        figures["p50_ratio"] = figures["service_p50_ms"] / figures["direct_p50_ms"]
        figures["p99_ratio"] = figures["service_p99_ms"] / figures["direct_p99_ms"]
        if scenario.with_pgbench:
            bench.tell(f"round {number + 1}, pgbench: measuring")
            figures["pgbench_rate"] = pgbench.run(bench.stack, bench.plan.seconds)
            figures["pgbench_ratio"] = figures["service_rate"] / figures["pgbench_rate"]
        result.rounds.append(figures)
    return result


def refusals_against_applications(bench: Bench, scenario: Scenario) -> Result:
    """The service's refusals against its applications, in turn."""
    applied = scenario.load()
    refused = refusals(applied.connections)
    service = bench.stack.service()
    bench.stack.fill_wallets("service", scenario.wallets)
    bench.stack.fill_wallets("service", EMPTY_WALLET, first=EMPTY_WALLET)
    result = _in_turn(bench, {"refusal": (service, refused), "service": (service, applied)}, "refusal_ratio")
    for figures in result.rounds:
        figures["refusal_p50_ratio"] = figures["refusal_p50_ms"] / figures["service_p50_ms"]
    return result


def open_loop(bench: Bench, scenario: Scenario) -> Result:
    """The service, and the direct baseline for comparison, under arrivals that do not wait."""
    load = scenario.load()
    service = bench.stack.service()
    bench.stack.fill_wallets("service", scenario.wallets)
    bench.stack.fill_wallets("direct", scenario.wallets)
    seconds = bench.plan.open_loop_seconds
    bench.send(load, service, bench.plan.warm_seconds or 0.1)
    bench.tell(f"service: measuring for {seconds:g} s")
    sample = bench.send(load, service, seconds)
    figures = figures_of("service", sample)
    figures["not_ok"] = sample.requests - sample.by_status.get("200", 0) + sample.failed
    bench.tell("direct: measuring")
    direct = bench.stack.direct(REFERENCE_POOL)
    figures |= figures_of("direct", bench.send(load, direct, min(seconds, bench.plan.seconds)))
    return Result([figures], REFERENCE_POOL)


def empty(bench: Bench, scenario: Scenario) -> Result:
    """Each round: a new database, measured from its first request; then a new start on what is there by then."""
    load = scenario.load()
    result = Result([])
    for number in range(bench.plan.rounds):
        name = f"empty_{uuid4().hex[:8]}"
        service = bench.stack.service(name)
        bench.stack.fill_wallets(name, scenario.wallets)
        bench.tell(f"round {number + 1}, from empty: measuring")
        figures = figures_of("service", bench.send(load, service, bench.plan.seconds))
        service.stop()
        bench.stack.execute(name, "VACUUM ANALYZE")
        service.start()
        figures |= figures_of("warm", bench.run(f"round {number + 1}, started anew", load, service))
        figures["empty_ratio"] = figures["service_rate"] / figures["warm_rate"]
        result.rounds.append(figures)
        bench.stack.discard(service)
    return result


def large(bench: Bench, scenario: Scenario) -> Result:
    """A service over large tables and one over small ones, in turn."""
    load = scenario.load()
    small = bench.stack.service()
    bench.stack.fill_wallets("service", scenario.wallets)
    if not bench.stack.has_database("large"):
        bench.tell("filling the large tables: some minutes")
        bench.stack.fill_large(bench.plan.large_wallets, bench.plan.large_operations_each)
    sides: Sides = {"service": (bench.stack.service("large"), load), "small": (small, load)}
    return _in_turn(bench, sides, "large_ratio")


def two_of_each(bench: Bench, scenario: Scenario) -> Result:
    """Two gateway processes and two workers against one of each; and the direct baseline with two processes."""
    load = scenario.load()
    one = bench.stack.service()
    two = bench.stack.service("two", gateways=2, workers=2)
    direct = bench.stack.direct(REFERENCE_POOL, processes=2)
    for name in ("service", "two", "direct"):
        bench.stack.fill_wallets(name, scenario.wallets)
    sides: Sides = {"service": (two, load), "one": (one, load), "direct": (direct, load)}
    result = _in_turn(bench, sides, "two_ratio")
    result.pool_size = REFERENCE_POOL
    bench.stack.discard(two)
    return result


def _in_turn(bench: Bench, sides: Sides, ratio: str) -> Result:
    """Measure the sides in turn; the ratio is the first one's throughput over the second one's."""
    first, second, *_ = sides
    result = Result([])
    for number in range(bench.plan.rounds):
        figures: Figures = {}
        for side in sides if number % 2 == 0 else reversed(list(sides)):
            server, load = sides[side]
            figures |= figures_of(side, bench.run(f"round {number + 1}, {side}", load, server))
        figures[ratio] = figures[f"{first}_rate"] / figures[f"{second}_rate"]
        result.rounds.append(figures)
    return result


def with_seconds(plan: Plan, seconds: float) -> Plan:
    """Return the plan with rounds of this length."""
    return replace(plan, seconds=seconds, open_loop_seconds=min(plan.open_loop_seconds, seconds * 6))


MEASURES: dict[str, Callable[[Bench, Scenario], Result]] = {
    "versus": versus,
    "refusals": refusals_against_applications,
    "open_loop": open_loop,
    "empty": empty,
    "large": large,
    "two_of_each": two_of_each,
}
