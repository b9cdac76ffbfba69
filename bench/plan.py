"""How long and how often: the rounds of a run, and how long each piece of a round takes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """The lengths of a run."""

    rounds: int = 7  # of a few seconds: the machine's pace changes, and the two sides of a ratio should meet the same
    seconds: float = 4.0
    warm_seconds: float = 1.0
    sweep_seconds: float = 2.0
    sweep_warms: bool = False  # the sweep has warmed the direct baseline enough for its first round
    open_loop_seconds: float = 60.0
    pool_sizes: tuple[int, ...] = (4, 8, 16, 32)
    large_wallets: int = 1_000_000
    large_operations_each: int = 5
    memory_operations: tuple[int, ...] = (100_000, 1_000_000)
    waiting_commands: int = 10_000
    overload_seconds: float = 60.0
    batch_seconds: float = 8.0
    batch_rates: tuple[int, ...] = (10, 30, 100, 300, 1000, 2000, 3000, 4000, 6000, 8000, 12_000)
    use_wrk: bool = True


FULL = Plan()
QUICK = Plan(
    rounds=1,
    seconds=4.0,
    warm_seconds=1.0,
    sweep_seconds=1.0,
    sweep_warms=True,
    open_loop_seconds=8.0,
    large_wallets=100_000,
    memory_operations=(10_000, 30_000),
    waiting_commands=1_000,
    overload_seconds=4.0,
    batch_seconds=2.0,
    batch_rates=(30, 300, 1000, 3000, 10_000),
)
