"""Commands and wallets as tests need them, each with an id of its own unless one is given."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import msgspec

from shared.codec import encode_command
from shared.commands import Command, OperationType, Wallet
from shared.ids import new_id
from shared.keys import partition_of

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_tokens = count(1)


def deposit(wallet_id: UUID, amount: int = 100, *, id: UUID | None = None, reply_to: str = "") -> Command:  # noqa: A002 the field's own name
    """Return a new deposit of `amount` minor units."""
    return _command(OperationType.DEPOSIT, wallet_id, amount, id, reply_to)


def withdraw(wallet_id: UUID, amount: int = 100, *, id: UUID | None = None, reply_to: str = "") -> Command:  # noqa: A002 the field's own name
    """Return a new withdrawal of `amount` minor units."""
    return _command(OperationType.WITHDRAW, wallet_id, amount, id, reply_to)


def wallet_in(partition: int, partition_count: int) -> UUID:
    """Return a new wallet id that belongs to one partition."""
    while partition_of(wallet_id := uuid4(), partition_count) != partition:
        pass
    return wallet_id


def empty_wallet(wallet_id: UUID, balance: int = 0) -> Wallet:
    """Return a wallet that nothing was applied to yet."""
    return Wallet(wallet_id, balance, 0, EPOCH, EPOCH)


def said_in(fields: dict[bytes, bytes]) -> dict[str, Any]:
    """Return what a message's command says, by name."""
    said: dict[str, Any] = msgspec.json.decode(fields[b"command"])
    return said


def fields_of(command: Command, **other: Any) -> dict[bytes, bytes]:
    """Return the fields of a command's message, in which some values are others."""
    return saying(said_in({b"command": encode_command(command)}) | other)


def former_fields_of(command: Command) -> dict[Any, Any]:
    """Return the fields of a command's message as library 6 wrote them: one for each value."""
    return {name.encode(): str(value).encode() for name, value in said_in(fields_of(command)).items()}


def saying(said: Any) -> dict[Any, Any]:
    """Return the fields of a message that says this, as redis-py's stubs want them."""
    return {b"command": msgspec.json.encode(said)}


def _command(type_: OperationType, wallet_id: UUID, amount: int, id_: UUID | None, reply_to: str) -> Command:
    # No two requests have the same token: that is how a replay is told from the first.
    token = next(_tokens)
    moment = EPOCH + timedelta(microseconds=token)
    return Command(id_ or new_id(), wallet_id, type_, amount, moment, reply_to, "", token)
