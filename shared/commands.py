"""What is asked of a wallet and what became of it: the words that travel between gateway, worker and Postgres.

A *command* asks; an *operation* is the record of its outcome (`APPLIED`, or `REJECTED` with a reason); a *reply* is
that record on its way back to a gateway. Pure data, never changed once made. A msgspec Struct is made in a third to a
half of the time that a dataclass takes, and each command makes five; the garbage collector need not know of them, since
none can be part of a cycle.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from shared.ids import Id, derive_id

# Made once for this service; changing it would turn every stored Idempotency-Key into a new operation.
_IDEMPOTENCY_NAMESPACE = UUID("5f1c2a53-93a4-4b0e-9d3c-6f2b8a7e4d10")


class OperationType(StrEnum):
    """What a command does to the balance."""

    DEPOSIT = "DEPOSIT"
    WITHDRAW = "WITHDRAW"


class Status(StrEnum):
    """The outcome of a decided command."""

    APPLIED = "APPLIED"
    REJECTED = "REJECTED"


class Reason(StrEnum):
    """Why a command was rejected; the value is also the problem code that a REST client sees."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    BALANCE_LIMIT_EXCEEDED = "balance_limit_exceeded"
    WALLET_NOT_FOUND = "wallet_not_found"
    REFUSED_BY_DATABASE = "operation_refused"
    UNREADABLE = "operation_unreadable"


class Command(Struct, frozen=True, gc=False):
    """One request to change one wallet.

    `amount` is in minor units; `reply_to` is the key that awaits the outcome. `token`, a random number below 2^63,
    tells this request from others under the same id.
    """

    id: Id
    wallet_id: Id
    type: OperationType
    amount: int
    submitted_at: datetime
    reply_to: str = ""
    request_id: str = ""
    token: int = 0


class Wallet(Struct, frozen=True, gc=False):
    """A wallet's row: `balance` in minor units, `seq` the number of its applied operations."""

    id: Id
    balance: int
    seq: int
    created_at: datetime
    updated_at: datetime


class Operation(Struct, frozen=True, gc=False):
    """The record of a decided command.

    `balance` is the wallet's right after it; `seq` is None when it was rejected; `token` is that of the request it was
    decided for.
    """

    id: Id
    wallet_id: Id
    type: OperationType
    amount: int
    status: Status
    reason: Reason | None
    seq: int | None
    balance: int
    submitted_at: datetime
    decided_at: datetime
    token: int

    def answers(self, command: Command) -> bool:
        """Tell whether this is the outcome of that very request: false means the same id with another body."""
        return self.wallet_id == command.wallet_id and self.type == command.type and self.amount == command.amount

    def replays(self, command: Command) -> bool:
        """Tell whether this outcome was decided for an earlier request with the same id."""
        return self.token != command.token


class Reply(Struct, frozen=True, gc=False):
    """An operation on its way to a gateway, with what its response needs of the wallet (None: no such wallet)."""

    operation: Operation
    wallet_created_at: datetime | None


def operation_id_of_key(wallet_id: UUID, caller: str, idempotency_key: str) -> UUID:
    """Derive the operation id (UUIDv5, RFC 9562) that one caller's Idempotency-Key has on one wallet."""
    # The caller comes length-first, so that no choice of caller and key can spell another pair.
    return derive_id(_IDEMPOTENCY_NAMESPACE, f"{wallet_id}:{len(caller)}:{caller}:{idempotency_key}")
