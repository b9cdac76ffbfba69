"""The scenarios as data: what is sent, what is compared with what, and which goal the comparison has."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from bench.load import Load, deposit, reading, uniform, withdrawal, zipf

MANY = 10_000  # wallets of the scenarios with many
EMPTY_WALLET = 0  # the others are numbered from 1
DRAWN = 50_000  # requests in a file; a generator goes around in it


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure of the scenario that has to be at least, or at most, so much, in the median of all rounds."""

    figure: str
    text: str
    at_least: float | None = None
    at_most: float | None = None

    def is_met(self, value: float) -> bool:
        """Say whether a measured value reaches the goal."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table. `kind` names how it is measured (`bench/measures.py`)."""

    name: str
    what: str
    kind: str
    load: Callable[[], Load]
    goals: tuple[Goal, ...]
    wallets: int = 1
    with_pgbench: bool = False


def _deposits(wallets: int, connections: int) -> Load:
    chosen = [1] if wallets == 1 else uniform(wallets, DRAWN)
    return Load([deposit(wallet) for wallet in chosen], connections)


def _mixed(wallets: int, connections: int) -> Load:
    """70 % deposits of 1, 30 % withdrawals of 1 to 6: more is asked for than comes in, so a part is refused."""
    chance = Random(2)
    requests = [
        withdrawal(wallet, chance.randint(1, 6)) if chance.random() < 0.3 else deposit(wallet)
        for wallet in zipf(wallets, DRAWN)
    ]
    return Load(requests, connections, counts_statuses=True)


def _readings(wallets: int, connections: int) -> Load:
    return Load([reading(wallet) for wallet in uniform(wallets, DRAWN)], connections)


def refusals(connections: int) -> Load:
    """Withdrawals from a wallet that never gets anything."""
    return Load([withdrawal(EMPTY_WALLET)], connections)


SCENARIOS = (
    Scenario(
        "one-wallet",
        "one wallet, 128 connections, deposits",
        "versus",
        partial(_deposits, 1, 128),
        (
            Goal("throughput_ratio", "≥ 5 times direct", at_least=5),
            Goal("pgbench_ratio", "≥ 8 times pgbench at 8 clients", at_least=8),
            Goal("p99_ratio", "p99 lower than direct", at_most=1),
        ),
        with_pgbench=True,
    ),
    Scenario(
        "hundred-wallets",
        "100 wallets, 128 connections, deposits",
        "versus",
        partial(_deposits, 100, 128),
        (Goal("throughput_ratio", "≥ 2.5 times direct", at_least=2.5),),
        wallets=100,
    ),
    Scenario(
        "uniform",
        "10,000 wallets, 128 connections, uniform, deposits",
        "versus",
        partial(_deposits, MANY, 128),
        (Goal("throughput_ratio", "≥ 1.5 times direct", at_least=1.5),),
        wallets=MANY,
    ),
    Scenario(
        "zipf",
        "10,000 wallets, Zipf 1.0, 256 connections, 30 % withdrawals, of which a part is refused",
        "versus",
        partial(_mixed, MANY, 256),
        (Goal("throughput_ratio", "≥ 2 times direct", at_least=2),),
        wallets=MANY,
    ),
    Scenario(
        "refusals",
        "withdrawals from a wallet that has nothing, against deposits; 128 connections",
        "refusals",
        partial(_deposits, 1, 128),
        (
            Goal("refusal_ratio", "refusals ≥ 0.95 times the throughput of applications", at_least=0.95),
            Goal("refusal_p50_ratio", "p50 ≤ 1.05 times that of applications", at_most=1.05),
        ),
    ),
    Scenario(
        "one-connection",
        "one connection, one wallet, deposits",
        "versus",
        partial(_deposits, 1, 1),
        (
            Goal("p50_ratio", "p50 ≤ 2.5 times direct", at_most=2.5),
            Goal("service_p50_ms", "p50 ≤ 4 ms", at_most=4),
        ),
    ),
    Scenario(
        "open-loop",
        "open loop, 1,000 requests/s on one wallet (arrivals do not wait for answers)",
        "open_loop",
        lambda: Load([deposit(1)], 64, rate=1000),
        (
            Goal("not_ok", "every answer 200", at_most=0),
            Goal("service_p99_ms", "p99 ≤ 25 ms", at_most=25),
        ),
    ),
    Scenario(
        "empty",
        "one wallet, 128 connections, from an empty database, against the same service started on filled tables",
        "empty",
        partial(_deposits, 1, 128),
        (Goal("empty_ratio", "within 15 % of the warm figure", at_least=0.85),),
    ),
    Scenario(
        "large",
        "one wallet, 128 connections, with 1,000,000 wallets and 5,000,000 operations in the tables",
        "large",
        partial(_deposits, 1, 128),
        (Goal("large_ratio", "within 15 % of the small figure", at_least=0.85),),
    ),
    Scenario(
        "large-uniform",
        "10,000 of 1,000,000 wallets, 128 connections, with 5,000,000 operations in the tables",
        "large",
        partial(_deposits, MANY, 128),
        (Goal("large_ratio", "within 15 % of the small figure", at_least=0.85),),
        wallets=MANY,
    ),
    Scenario(
        "two-of-each",
        "two gateway processes and two workers against one of each; 10,000 wallets, 128 connections",
        "two_of_each",
        partial(_deposits, MANY, 128),
        (Goal("two_ratio", "not slower (5 % for the noise of the rounds)", at_least=0.95),),
        wallets=MANY,
    ),
    Scenario(
        "two-of-each-busy",
        "the same with 1,024 connections, so that the batches of two are as large as they may be",
        "two_of_each",
        partial(_deposits, MANY, 1024),
        (Goal("two_ratio", "not slower (5 % for the noise of the rounds)", at_least=0.95),),
        wallets=MANY,
    ),
    Scenario(
        "reading",
        "GET balance, 10,000 wallets, 128 connections",
        "versus",
        partial(_readings, MANY, 128),
        (Goal("throughput_ratio", "within 10 % of direct", at_least=0.9),),
        wallets=MANY,
    ),
)
QUICK = ("one-wallet", "hundred-wallets", "uniform")
