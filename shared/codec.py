"""How commands and replies are written in Redis: whole-word fields for commands, a JSON array for replies.

Guarantees that decode(encode(x)) == x, and that anything else raises Unreadable with a reason for people. Knows no keys
and no connections.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from shared.commands import Command, Operation, OperationType, Reason, Reply, Status
from shared.ids import read_id
from shared.money import AMOUNT_MAX

TOKEN_MAX = 2**63 - 1  # a bigint

# An enumeration looks a value up in several times the time that a dictionary takes.
_TYPES = {each.value: each for each in OperationType}
_STATUSES = {each.value: each for each in Status}
_REASONS: dict[str | None, Reason | None] = {None: None, **{each.value: each for each in Reason}}


class Unreadable(ValueError):
    """A message is not a command, or not a reply; the text says why."""


def encode_command(command: Command) -> tuple[str, ...]:
    """Return the eight arguments of `wallet_submit` for one command."""
    return (
        str(command.wallet_id),
        str(command.id),
        command.type,
        str(command.amount),
        command.reply_to,
        command.submitted_at.isoformat(),
        command.request_id,
        str(command.token),
    )


def decode_command(wallet_id: UUID, fields: Mapping[bytes, bytes]) -> Command:
    """Read a command from a message's fields; raises Unreadable."""
    try:
        command = Command(
            id=read_id(fields[b"id"].decode()),
            wallet_id=wallet_id,
            type=_type_of(fields[b"type"].decode()),
            amount=int(fields[b"amount"]),
            submitted_at=datetime.fromisoformat(fields[b"submitted_at"].decode()),
            reply_to=fields.get(b"reply_to", b"").decode(),
            request_id=fields.get(b"request_id", b"").decode(),
            token=int(fields.get(b"token", 0)),
        )
    except KeyError as error:
        raise Unreadable(f"the field {error.args[0].decode()} is missing") from error
    except ValueError as error:
        raise Unreadable(str(error)) from error
    if not 0 < command.amount <= AMOUNT_MAX:
        raise Unreadable(f"the amount {command.amount} is not between 1 and {AMOUNT_MAX} minor units")
    if command.submitted_at.tzinfo is None:
        raise Unreadable("submitted_at has no time zone")
    if not 0 <= command.token <= TOKEN_MAX:
        raise Unreadable(f"the token {command.token} is not between 0 and 2^63 - 1")
    return command


def _type_of(text: str) -> OperationType:
    return _TYPES.get(text) or OperationType(text)  # which says what is wrong


def encode_replies(replies: Iterable[Reply]) -> bytes:
    """Write replies as one JSON array of objects."""
    return orjson.dumps([_reply_fields(reply) for reply in replies])


def decode_replies(text: bytes) -> list[Reply]:
    """Read what encode_replies wrote; raises Unreadable."""
    try:
        return [_reply_of(fields) for fields in orjson.loads(text)]
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(repr(error)) from error


def _reply_fields(reply: Reply) -> dict[str, Any]:
    operation = reply.operation
    return {
        "id": str(operation.id),
        "wallet_id": str(operation.wallet_id),
        "type": operation.type.value,
        "amount": operation.amount,
        "status": operation.status.value,
        "reason": operation.reason.value if operation.reason else None,
        "seq": operation.seq,
        "balance": operation.balance,
        "submitted_at": operation.submitted_at,
        "decided_at": operation.decided_at,
        "token": operation.token,
        "wallet_created_at": reply.wallet_created_at,
    }


def _reply_of(fields: Mapping[str, Any]) -> Reply:
    wallet_created_at = fields["wallet_created_at"]
    operation = Operation(
        id=read_id(fields["id"]),
        wallet_id=read_id(fields["wallet_id"]),
        type=_TYPES[fields["type"]],
        amount=fields["amount"],
        status=_STATUSES[fields["status"]],
        reason=_REASONS[fields["reason"]],
        seq=fields["seq"],
        balance=fields["balance"],
        submitted_at=datetime.fromisoformat(fields["submitted_at"]),
        decided_at=datetime.fromisoformat(fields["decided_at"]),
        token=fields["token"],
    )
    return Reply(operation, datetime.fromisoformat(wallet_created_at) if wallet_created_at else None)
