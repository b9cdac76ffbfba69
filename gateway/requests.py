"""Reads requests: paths, headers, queries and bodies into the vocabulary. Whatever it cannot read is a CallerError.

Guarantees that a number token of money arrives exactly: no float is ever made of it.
"""

import base64
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn, Protocol, TypeVar
from uuid import UUID

from aiohttp import web
from multidict import CIMultiDictProxy
from pydantic import BaseModel, ValidationError

from gateway.schemas import EmptyRequest, OperationRequest
from shared.commands import OperationType
from shared.errors import Invalid, Malformed
from shared.ids import read_id
from shared.money import AMOUNT_PATTERN, parse_amount

PAGE_DEFAULT = 50
PAGE_MAX = 500

_UUID = re.compile(
    r"(?:urn:uuid:)?(?P<open>\{)?([0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?(open)\})\Z",
    re.ASCII | re.IGNORECASE,
)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z", re.ASCII)
_PREFER_WAIT = re.compile(r"(?:\A|[,;])\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?=[,;]|\Z)", re.ASCII | re.IGNORECASE)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}\Z", re.ASCII)
# The body as nearly everybody spells it: read by this in a tenth of the time that the general way takes, and with the
# same result. Whatever is spelled in another way, and what is wrong, is left to that.
_USUAL_OPERATION = re.compile(
    rb'\{"operation_type": ?"(?P<type>DEPOSIT|WITHDRAW)", ?"amount": ?(?P<quote>"?)(?P<amount>%b)(?P=quote)\}\Z'
    % AMOUNT_PATTERN.strip("^$").encode()
)
_TYPES = {each.value.encode(): each for each in OperationType}

Body = TypeVar("Body", bound=BaseModel)


class HasHeaders(Protocol):
    """A request, or what aiohttp's parser makes of its head."""

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """Its headers."""


class OperationBody(NamedTuple):
    """What the body of an operation says; `amount` in minor units."""

    operation_type: OperationType
    amount: int


class TooSlow(TimeoutError):
    """The client took longer over a part of its request, which is named, than it may."""


def uuid_in_path(request: web.Request, name: str) -> UUID:
    """Return the path's UUID, in any usual spelling (RFC 9562, with or without hyphens, braces, urn:uuid:)."""
    text = request.match_info[name]
    match = _UUID.match(text)
    if not match:
        raise Invalid(f"{name} in the path is not a UUID.", [(f"path.{name}", "must be a UUID")])
    return read_id(match[2])


async def json_body(request: web.Request) -> bytes:
    """Return a request's body, which must say that it is JSON in UTF-8, and nothing but that."""
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() not in {"utf-8", "utf8"}:
        raise web.HTTPUnsupportedMediaType
    text = await request.read()
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        # Money is not read out of a coding that may be cut short without anybody noticing.
        raise web.HTTPUnsupportedMediaType
    return text


def read_operation(body: bytes) -> OperationBody:
    """Read and check the body of an operation."""
    usual = _USUAL_OPERATION.match(body)
    if usual and usual["amount"].strip(b"0."):  # more than zero
        return OperationBody(_TYPES[usual["type"]], parse_amount(usual["amount"].decode()))
    asked = _validated(OperationRequest, _decode(body))
    return OperationBody(OperationType(asked.operation_type), asked.amount)


async def empty_body(request: web.Request) -> None:
    """Check that the body says nothing: absent, or an empty object."""
    if request.can_read_body and await request.read():
        _validated(EmptyRequest, _decode(await json_body(request)))


def idempotency_key(request: HasHeaders) -> str | None:
    """Return the Idempotency-Key, unquoted, or None (draft-ietf-httpapi-idempotency-key-header).

    Raises Invalid unless it is 1 to 255 visible ASCII characters, given once.
    """
    if "Idempotency-Key" not in request.headers:
        return None
    key, *others = request.headers.getall("Idempotency-Key")
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if others or not _IDEMPOTENCY_KEY.match(key):
        message = "must be given once, as 1 to 255 visible ASCII characters"
        raise Invalid("The Idempotency-Key is not acceptable.", [("header.Idempotency-Key", message)])
    return key


def preferred_wait(request: HasHeaders) -> int | None:
    """Return N of `Prefer: wait=N` in seconds (RFC 7240), or None; what cannot be understood is ignored, as it says."""
    if "Prefer" not in request.headers:
        return None
    # Several headers are the same as one with commas.
    match = _PREFER_WAIT.search(",".join(request.headers.getall("Prefer")))
    return int(match[1]) if match else None


def request_id(request: HasHeaders) -> str | None:
    """Return the caller's X-Request-ID if it is sane, else None."""
    value = request.headers.get("X-Request-ID")
    return value if value and _REQUEST_ID.match(value) else None


def page_limit(request: web.Request) -> int:
    """Return how many items the caller wants on a page."""
    text = request.query.get("limit", str(PAGE_DEFAULT))
    if not re.fullmatch(r"[0-9]{1,4}", text, re.ASCII) or not 1 <= int(text) <= PAGE_MAX:
        raise Invalid("limit is not acceptable.", [("query.limit", f"must be a whole number from 1 to {PAGE_MAX}")])
    return int(text)


def listed_status(request: web.Request) -> str:
    """Return which operations the caller wants to see: APPLIED (the default) or REJECTED."""
    status = request.query.get("status", "APPLIED")
    if status not in {"APPLIED", "REJECTED"}:
        raise Invalid("status is not acceptable.", [("query.status", "must be APPLIED or REJECTED")])
    return status


def encode_cursor(*place: object) -> str:
    """Write a place in a list as an opaque cursor."""
    return base64.urlsafe_b64encode("|".join(map(str, place)).encode()).rstrip(b"=").decode()


def seq_cursor(request: web.Request) -> int | None:
    """Return the place of a cursor among applied operations, or None at the start."""
    parts = _cursor_parts(request, 1)
    if parts is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,17}", parts[0], re.ASCII):
        _refuse_cursor()
    return int(parts[0])


def time_cursor(request: web.Request) -> tuple[datetime, UUID] | None:
    """Return the place of a cursor among rejected operations, or None at the start."""
    parts = _cursor_parts(request, 2)
    if parts is None:
        return None
    try:
        moment, operation_id = datetime.fromisoformat(parts[0]), UUID(parts[1])
        if moment.tzinfo is None:
            _refuse_cursor()
        return moment.astimezone(UTC), operation_id
    except (ValueError, OverflowError):  # beyond the years that there are, once it is UTC
        _refuse_cursor()


def _cursor_parts(request: web.Request, count: int) -> list[str] | None:
    cursor = request.query.get("cursor")
    if cursor is None:
        return None
    try:
        # Padded exactly: b64decode refuses a character too many.
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        parts = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").split("|")
    except ValueError:
        _refuse_cursor()
    if len(parts) != count or encode_cursor(*parts) != cursor:  # padded, or written in another way than ours
        _refuse_cursor()
    return parts


def _refuse_cursor() -> NoReturn:
    raise Invalid("cursor is not acceptable.", [("query.cursor", "must be the next_cursor of a page of this list")])


def _decode(body: bytes) -> Any:
    try:
        return _JSON.decode(body.decode())
    except (ValueError, ArithmeticError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError | _NotJson) else "it cannot be read"
        raise Malformed(f"The body is not JSON: {reason}.") from None


class _NotJson(ValueError):
    """The standard library accepts it, RFC 8259 does not."""


def _refuse_constant(token: str) -> NoReturn:
    raise _NotJson(f"{token} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        # Readers differ in which of two values they take: with money, neither.
        raise _NotJson("a name stands twice in one object")
    return fields


# Made once: to make one costs more than to use it. It stands below the functions that it calls.
_JSON = json.JSONDecoder(
    parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_unique
)


def _validated(model: type[Body], value: Any) -> Body:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        errors = [
            (".".join(["body", *map(str, e["loc"])]), str(e["msg"]).removeprefix("Value error, "))
            for e in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise Invalid("The body is not acceptable.", errors[:20]) from None
