"""What was seen: the words in which the reading side tells the rendering side. Pure data.

Field names are the names in `--json` and stay. Money is a plain decimal string, as in the API; ages are in seconds.
`is_fine` decides between exit code 0 and 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

OK, FAULT, UNKNOWN = "ok", "fault", "unknown"


@dataclass(frozen=True, slots=True)
class PartitionSeen:
    """One partition. `oldest_age_seconds` and the hottest wallet are of a sample of the ready wallets."""

    partition: int
    owner: str | None
    ready_wallets: int
    waiting: int
    oldest_age_seconds: float | None
    in_per_second: float | None
    out_per_second: float | None
    hottest_wallet: str | None
    hottest_waiting: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class PartitionsSeen:
    """All partitions, over `sample_seconds`."""

    sample_seconds: float
    partitions: Sequence[PartitionSeen]

    @property
    def is_fine(self) -> bool:
        return all(partition.owner for partition in self.partitions)


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """One worker, by its session in Postgres: `pid` is the session's, as in `pg_stat_activity`, not the worker's own.

    `batch_size` and `last_batch_at` come from the latest operations.
    """

    name: str
    host: str | None
    pid: int
    since: datetime
    partitions: Sequence[int]
    ops_per_second: float | None
    batch_size: float | None
    last_batch_at: datetime | None
    silent_seconds: float
    is_late: bool
    draining: bool
    drained_since: datetime | None
    version: str | None


@dataclass(frozen=True, slots=True)
class WorkersSeen:
    """The live workers."""

    workers: Sequence[WorkerSeen]
    partitions_without_owner: Sequence[int]

    @property
    def is_fine(self) -> bool:
        return not self.partitions_without_owner and not any(worker.is_late for worker in self.workers)


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """One Redis node: its memory, and the settings that decide what it may lose. None: it would not say."""

    node: str
    version: str | None
    memory_bytes: int | None
    memory_max_bytes: int | None
    eviction: str | None
    append_only: str | None
    append_fsync: str | None
    library_version: int | None


@dataclass(frozen=True, slots=True)
class JobSeen:
    """The last run of one housekeeping job, and when one last ended well."""

    job: str
    started_at: datetime
    finished_at: datetime | None
    seconds: float | None
    result: Any
    error: str | None
    succeeded_at: datetime | None
    overdue_seconds: float | None  # since a run last ended well, where that is too long


@dataclass(frozen=True, slots=True)
class Overview:
    """One screen. `problems` are what a person should look at, one line each."""

    in_per_second: float | None
    out_per_second: float | None
    waiting: int
    ready_wallets: int
    oldest_age_seconds: float | None
    workers: int
    workers_draining: int
    partitions: int
    partitions_without_owner: Sequence[int]
    recent_seconds: float
    recent_operations: int
    recent_rejections: int
    dead_letters: int
    memory_bytes: int
    nodes: Sequence[NodeSeen]
    jobs: Sequence[JobSeen]
    findings: int | None
    problems: Sequence[str]

    @property
    def is_fine(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class MessageSeen:
    """One waiting message, as it stands in the wallet's stream."""

    message_id: str
    operation_id: str
    type: str
    amount: str
    submitted_at: str
    age_seconds: float


@dataclass(frozen=True, slots=True)
class OperationSeen:
    """One operation of the books."""

    operation_id: UUID
    type: str
    amount: str
    status: str
    reason: str | None
    seq: int | None
    balance: str
    submitted_at: datetime
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class WalletSeen:
    """One wallet. `exists` is whether Postgres has it; `messages` and `operations` are the first and last few."""

    wallet_id: UUID
    partition: int
    slot: int
    owner: str | None
    exists: bool
    balance: str | None
    seq: int | None
    created_at: datetime | None
    updated_at: datetime | None
    waiting: int
    messages: Sequence[MessageSeen]
    operations: Sequence[OperationSeen]

    @property
    def is_fine(self) -> bool:
        return self.exists


@dataclass(frozen=True, slots=True)
class OperationWay:
    """An operation's whole way, as far as it has come. `state` is where it is now, in one word.

    A time is None where it cannot be known: `committed_at` needs Postgres' track_commit_timestamp, `replied_at` a reply
    that its gateway's key still has, `entered_at` a message that still waits, `claimed_at` a release that notes it.
    """

    operation_id: UUID
    wallet_id: UUID | None
    state: str  # decided, waiting, dead, unknown
    where: str
    type: str | None = None
    amount: str | None = None
    status: str | None = None
    reason: str | None = None
    seq: int | None = None
    balance: str | None = None
    partition: int | None = None
    owner: str | None = None
    message_id: str | None = None
    ahead: int | None = None
    submitted_at: datetime | None = None
    entered_at: datetime | None = None
    claimed_at: datetime | None = None
    decided_at: datetime | None = None
    committed_at: datetime | None = None
    replied_at: datetime | None = None
    reply_key: str | None = None

    @property
    def is_fine(self) -> bool:
        return self.state in {"decided", "waiting"}


@dataclass(frozen=True, slots=True)
class WaitingWallet:
    """A wallet with waiting messages, by the age of its first."""

    wallet_id: str
    partition: int
    owner: str | None
    oldest_age_seconds: float
    waiting: int
    operation_id: str


@dataclass(frozen=True, slots=True)
class OldestSeen:
    """The longest waiting, of those that were looked at."""

    wallets: Sequence[WaitingWallet]
    ready_wallets: int
    looked_at: int
    is_fine: bool = True


@dataclass(frozen=True, slots=True)
class DeadLetterSeen:
    """One dead letter; `letter` names it, `fields` is the message as it came."""

    letter: str
    partition: int
    died_at: datetime
    wallet_id: str
    operation_id: str | None
    message_id: str
    reason: str
    fields: dict[str, str]

    @property
    def is_fine(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class DeadSeen:
    """Dead letters, newest first, and how many there are in all."""

    dead_letters: int
    letters: Sequence[DeadLetterSeen]

    @property
    def is_fine(self) -> bool:
        return not self.dead_letters


@dataclass(frozen=True, slots=True)
class Done:
    """What a change did, or would do, one line each; `refused` says why nothing was done."""

    changed: bool
    lines: Sequence[str]
    refused: Sequence[str] = field(default_factory=list)
    is_fine: bool = True


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant. `verdict`: ok, fault, or unknown where it could not be told."""

    name: str
    verdict: str
    line: str
    mendable: bool = False
    examples: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Every invariant."""

    checks: Sequence[Check]

    @property
    def is_fine(self) -> bool:
        return all(check.verdict != FAULT for check in self.checks)


@dataclass(frozen=True, slots=True)
class Passed:
    """One command or outcome that passed by; `at` is when it entered its stream."""

    at: datetime
    kind: str  # command, outcome
    wallet_id: str
    operation_id: str
    type: str
    amount: str
    status: str | None = None
    reason: str | None = None
    seq: int | None = None
    balance: str | None = None


def ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as people write them: 0-3, 7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
