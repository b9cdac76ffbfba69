"""How commands and replies are written in Redis: a JSON object for a command, a JSON array of objects for replies.

Guarantees that decode(encode(x)) == x, and that anything else raises Unreadable with a reason for people. Knows no keys
and no connections.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from shared.commands import Command, OperationType, Reply
from shared.ids import Id, read_id
from shared.money import AMOUNT_MAX

TOKEN_MAX = 2**63 - 1  # a bigint

_FORMER_NUMBER = re.compile(r"[0-9]{1,19}\Z", re.ASCII)


class Unreadable(ValueError):
    """A message is not a command, or not a reply; the text says why."""


class _Said(Struct, frozen=True, gc=False):
    """What a message says: a command without its wallet, whose id is in the name of the stream."""

    id: Id
    type: OperationType
    amount: Annotated[int, Meta(ge=1, le=AMOUNT_MAX)]
    submitted_at: Annotated[datetime, Meta(tz=True)]
    reply_to: str = ""
    request_id: str = ""
    token: Annotated[int, Meta(ge=0, le=TOKEN_MAX)] = 0


def _made_of(kind: type, text: Any) -> Any:
    """Return what msgspec knows no reading of: an id."""
    if kind is not Id or not isinstance(text, str):
        raise TypeError(f"Expected `str`, got `{type(text).__name__}`")
    return read_id(text)


_encoder = msgspec.json.Encoder()
_command_decoder = msgspec.json.Decoder(_Said, dec_hook=_made_of)
_replies_decoder = msgspec.json.Decoder(list[Reply], dec_hook=_made_of)
_any_decoder = msgspec.json.Decoder(dict[str, Any])
# ValueError: what is no UTF-8. RecursionError: what is nested without end.
_NOT_DECODED = (msgspec.MsgspecError, ValueError, RecursionError)


def encode_command(command: Command) -> bytes:
    """Write a command as a JSON object, the one field of its message."""
    c = command
    return _encoder.encode(_Said(c.id, c.type, c.amount, c.submitted_at, c.reply_to, c.request_id, c.token))


def decode_command(wallet_id: Id, fields: Mapping[bytes, bytes]) -> Command:
    """Read a command from a message's fields; raises Unreadable."""
    text = fields.get(b"command")
    if text is None and fields.keys().isdisjoint((b"id", b"amount")):
        raise Unreadable("the field command is missing")
    try:
        said = _of_former_release(fields) if text is None else _command_decoder.decode(text)
    except _NOT_DECODED as error:
        raise Unreadable(f"the field command is not a command: {error}") from error
    return Command(
        said.id, wallet_id, said.type, said.amount, said.submitted_at, said.reply_to, said.request_id, said.token
    )


def texts_of(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return what a message's command says, as text: what can be read of it, for who looks and does not apply it."""
    text = fields.get(b"command")
    try:
        said = _former_texts(fields) if text is None else _any_decoder.decode(text)
    except _NOT_DECODED:
        return {}
    return {name: value if isinstance(value, str) else str(value) for name, value in said.items()}


def _of_former_release(fields: Mapping[bytes, bytes]) -> _Said:
    """Before version 7 of the function library each value was a field of its own; such messages may still wait."""
    said: dict[str, Any] = _former_texts(fields)
    said |= {name: int(said[name]) for name in ("amount", "token") if _FORMER_NUMBER.match(said.get(name, ""))}
    return msgspec.convert(said, _Said, dec_hook=_made_of)


def _former_texts(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items()}


def encode_replies(replies: Iterable[Reply]) -> bytes:
    """Write replies as one JSON array of objects."""
    return _encoder.encode(list(replies))


def decode_replies(text: bytes) -> list[Reply]:
    """Read what encode_replies wrote; raises Unreadable."""
    try:
        return _replies_decoder.decode(text)
    except _NOT_DECODED as error:
        raise Unreadable(str(error)) from error
