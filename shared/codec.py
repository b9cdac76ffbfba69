"""How commands and replies are written in Redis: a JSON object for a command, a JSON array of objects for replies.

Guarantees that decode(encode(x)) == x, and that anything else raises Unreadable with a reason for people. Knows no keys
and no connections.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from shared.commands import Command, Operation, OperationType, Reason, Reply, Status
from shared.ids import read_id
from shared.money import AMOUNT_MAX

TOKEN_MAX = 2**63 - 1  # a bigint

_FORMER_NUMBER = re.compile(r"[0-9]{1,19}\Z", re.ASCII)

# An enumeration looks a value up in several times the time that a dictionary takes.
_TYPES = {each.value: each for each in OperationType}
_STATUSES = {each.value: each for each in Status}
_REASONS: dict[str | None, Reason | None] = {None: None, **{each.value: each for each in Reason}}


class Unreadable(ValueError):
    """A message is not a command, or not a reply; the text says why."""


def encode_command(command: Command) -> bytes:
    """Write a command as a JSON object, the one field of its message. Its wallet is in the name of the stream."""
    return orjson.dumps(
        {
            "id": str(command.id),
            "type": command.type,
            "amount": command.amount,
            "reply_to": command.reply_to,
            "submitted_at": command.submitted_at,
            "request_id": command.request_id,
            "token": command.token,
        }
    )


def decode_command(wallet_id: UUID, fields: Mapping[bytes, bytes]) -> Command:
    """Read a command from a message's fields; raises Unreadable."""
    said = _object_in(fields)
    try:
        command = Command(
            id=read_id(said["id"]),
            wallet_id=wallet_id,
            type=_type_of(said["type"]),
            amount=said["amount"],
            submitted_at=datetime.fromisoformat(said["submitted_at"]),
            reply_to=said.get("reply_to", ""),
            request_id=said.get("request_id", ""),
            token=said.get("token", 0),
        )
    except KeyError as error:
        raise Unreadable(f"{error.args[0]} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise Unreadable(str(error)) from error
    if type(command.amount) is not int or not 0 < command.amount <= AMOUNT_MAX:
        raise Unreadable(f"the amount {command.amount!r} is not a whole number of minor units from 1 to {AMOUNT_MAX}")
    if command.submitted_at.tzinfo is None:
        raise Unreadable("submitted_at has no time zone")
    if type(command.token) is not int or not 0 <= command.token <= TOKEN_MAX:
        raise Unreadable(f"the token {command.token!r} is not a whole number from 0 to 2^63 - 1")
    if not (isinstance(command.reply_to, str) and isinstance(command.request_id, str)):
        raise Unreadable("reply_to and request_id are not both text")
    return command


def texts_of(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return what a message's command says, as text: what can be read of it, for who looks and does not apply it."""
    try:
        said = _object_in(fields)
    except Unreadable:
        return {}
    return {name: value if isinstance(value, str) else str(value) for name, value in said.items()}


def _type_of(text: str) -> OperationType:
    return _TYPES.get(text) or OperationType(text)  # which says what is wrong


def _object_in(fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    text = fields.get(b"command")
    if text is None:
        return _of_former_release(fields)
    try:
        said = orjson.loads(text)
    except ValueError as error:
        raise Unreadable(f"the field command is not JSON: {error}") from error
    if not isinstance(said, dict):
        raise Unreadable("the field command is not a JSON object")
    return said


def _of_former_release(fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Before version 7 of the function library each value was a field of its own; such messages may still wait."""
    if fields.keys().isdisjoint((b"id", b"amount")):
        raise Unreadable("the field command is missing")
    try:
        said = {name.decode(): value.decode() for name, value in fields.items()}
    except UnicodeDecodeError as error:
        raise Unreadable(str(error)) from error
    return said | {name: int(said[name]) for name in ("amount", "token") if _FORMER_NUMBER.match(said.get(name, ""))}


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
        "type": operation.type,
        "amount": operation.amount,
        "status": operation.status,
        "reason": operation.reason,
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
