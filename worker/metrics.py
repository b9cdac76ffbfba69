"""What a worker counts. The names are for dashboards and alerts: `monitoring/`, `docs/operations.md`.

All is counted once per batch, but for the outcomes, which one pass over the batch adds up. What waits in the worker's
partitions is looked at by `worker/backlog.py`.
"""

from collections import Counter as Tally
from collections.abc import Collection, Iterable
from enum import StrEnum, auto
from operator import attrgetter

from prometheus_client import Counter, Gauge, Histogram

from shared.commands import Operation, OperationType, Reason
from shared.metrics import COMMANDS, SECONDS_SHORT

APPLIED = "applied"  # the outcome, where there is no reason for another


class Step(StrEnum):
    """The steps of a batch."""

    CLAIM = auto()
    SETTLE = auto()
    COMMIT = auto()
    FINISH = auto()


BATCH_COMMANDS = Histogram("wallet_worker_batch_commands", "Commands in a batch.", buckets=COMMANDS)
_STEPS = Histogram(
    "wallet_worker_step_duration_seconds",
    "The steps of a batch: claim (read it from Redis), settle (until its outcomes are known), commit (write them), "
    "finish (replies and removal: one trip, which Redis answers as a whole).",
    ["step"],
    buckets=SECONDS_SHORT,
)
CLAIM, SETTLE, COMMIT, FINISH = map(_STEPS.labels, Step)
OPERATIONS = Counter("wallet_worker_operations", "Operations written into the books.", ["type", "outcome"])
REPEATS = Counter(
    "wallet_worker_repeats", "Commands that were in the books already: redelivered, submitted again, or a key's replay."
)
OWNED = Gauge("wallet_worker_partitions_owned", "Partitions that this worker owns.")
TAKEN = Counter("wallet_worker_partitions_taken", "Partitions that this worker took, whoever had them before.")
TAKEN_OVER = Counter(
    "wallet_worker_partitions_taken_over",
    "Partitions that this worker took whose last owner had not given them back: it was killed or frozen, or lost its "
    "session; be that a moment or a week ago, and be it this worker itself.",
)
RELEASED = Counter("wallet_worker_partitions_released", "Partitions that this worker gave back.")
SESSIONS_LOST = Counter("wallet_worker_sessions_lost", "How often the session in Postgres, and all it owned, was lost.")
_REDIS_FAILURES = Counter("wallet_worker_redis_failures", "Trips to Redis that failed, by step.", ["step"])
CLAIM_FAILURES, FINISH_FAILURES = (_REDIS_FAILURES.labels(step) for step in ("claim", "finish"))
_DEAD_LETTERS = Counter("wallet_worker_dead_letters", "Messages put aside, by reason.", ["reason"])
UNREADABLE, REFUSED = (_DEAD_LETTERS.labels(reason) for reason in (Reason.UNREADABLE, Reason.REFUSED_BY_DATABASE))
HEARTBEAT = Gauge("wallet_worker_heartbeat_timestamp_seconds", "When the session was last seen alive.")

BACKLOG = Gauge("wallet_worker_backlog_commands", "Commands that wait in a partition.", ["partition"])
OLDEST_SECONDS = Gauge(
    "wallet_worker_oldest_command_age_seconds", "How long the oldest command of a partition has waited.", ["partition"]
)
DEAD_LETTERS_KEPT = Gauge("wallet_worker_dead_letters_kept", "Dead letters of a partition.", ["partition"])

_outcomes = {
    (type_, reason): OPERATIONS.labels(type_.value, reason.value if reason else APPLIED)
    for type_ in OperationType
    for reason in (
        None,
        Reason.INSUFFICIENT_FUNDS,
        Reason.BALANCE_LIMIT_EXCEEDED,
        Reason.REFUSED_BY_DATABASE,
    )
}
_outcome_of = attrgetter("type", "reason")
_owned: frozenset[int] = frozenset()


def note_settled(operations: Iterable[Operation], repeats: int) -> None:
    """Count what one transaction wrote, and what it found written."""
    for outcome, count in Tally(map(_outcome_of, operations)).items():
        _outcomes[outcome].inc(count)
    if repeats:
        REPEATS.inc(repeats)


def note_owned(partitions: Collection[int]) -> None:
    """Note which partitions this worker owns now."""
    global _owned  # noqa: PLW0603 of this process, as all metrics are
    _owned = frozenset(partitions)
    OWNED.set(len(_owned))


def owned() -> frozenset[int]:
    """Return the partitions that this worker owned when it last looked."""
    return _owned
