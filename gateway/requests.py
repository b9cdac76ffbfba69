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
from multidict import MultiMapping, istr
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.schemas import EmptyRequest, OperationRequest
from shared.commands import OperationType, Status
from shared.errors import Invalid, Malformed
from shared.ids import read_id
from shared.money import AMOUNT_PATTERN, units_of_plain

IDEMPOTENCY_KEY, PREFER, X_REQUEST_ID = istr("Idempotency-Key"), istr("Prefer"), istr("X-Request-ID")

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
_STATUSES = [each.value for each in Status]
_SEQ = re.compile(r"[1-9][0-9]{0,17}\Z", re.ASCII)
# What pydantic finds wrong with a body, as the contract says it: a caller knows JSON, and need not know Python.
_MESSAGES = {
    "model_type": "must be a JSON object",
    "missing": "is required",
    "extra_forbidden": "is not a field of this request",
    "literal_error": "must be {expected}",
    "string_unicode": "must be Unicode text, without lone surrogates",
    "value_error": "{error}",  # of shared/money.py, made for the caller
}

Body = TypeVar("Body", bound=BaseModel)


class HasHeaders(Protocol):
    """A request, by whichever way it came."""

    @property
    def headers(self) -> MultiMapping[str]:
        """Its headers."""


class OperationBody(NamedTuple):
    """What the body of an operation says; `amount` in minor units."""

    operation_type: OperationType
    amount: int


class PageQuery(NamedTuple):
    """Which page of a list is asked for; a first page is below nothing."""

    limit: int
    status: Status
    below_seq: int | None  # among applied operations
    below: tuple[datetime, UUID] | None  # among rejected ones


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
    if usual and (amount := units_of_plain(usual["amount"].decode())):  # more than zero
        return OperationBody(_TYPES[usual["type"]], amount)
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
    if IDEMPOTENCY_KEY not in request.headers:
        return None
    key, *others = request.headers.getall(IDEMPOTENCY_KEY)
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if others or not _IDEMPOTENCY_KEY.match(key):
        message = "must be given once, as 1 to 255 visible ASCII characters"
        raise Invalid("The Idempotency-Key is not acceptable.", [("header.Idempotency-Key", message)])
    return key


def preferred_wait(request: HasHeaders) -> int | None:
    """Return N of `Prefer: wait=N` in seconds (RFC 7240), or None; what cannot be understood is ignored, as it says."""
    if PREFER not in request.headers:
        return None
    # Several headers are the same as one with commas.
    match = _PREFER_WAIT.search(",".join(request.headers.getall(PREFER)))
    return int(match[1]) if match else None


def request_id(request: HasHeaders) -> str | None:
    """Return the caller's X-Request-ID if it is sane, else None."""
    value = request.headers.get(X_REQUEST_ID)
    return value if value and _REQUEST_ID.match(value) else None


def page_query(request: web.Request) -> PageQuery:
    """Return which page of a wallet's operations the caller wants; raises Invalid, which names all that is wrong."""
    limit = request.query.get("limit", str(PAGE_DEFAULT))
    status = request.query.get("status", Status.APPLIED.value)
    cursor = request.query.get("cursor")
    below_seq, below = _read_seq(cursor), _read_time(cursor)
    twice = [name for name in ("limit", "status", "cursor") if len(request.query.getall(name, ())) > 1]
    errors = [(f"query.{name}", "must be given once") for name in twice]
    if not re.fullmatch(r"[0-9]{1,4}", limit, re.ASCII) or not 1 <= int(limit) <= PAGE_MAX:
        errors.append(("query.limit", f"must be a whole number from 1 to {PAGE_MAX}"))
    if status not in _STATUSES:
        errors.append(("query.status", f"must be {' or '.join(_STATUSES)}"))
    # Of a list that there is not, a cursor of either list may be meant.
    places = {Status.APPLIED.value: below_seq, Status.REJECTED.value: below}
    if cursor is not None and places.get(status, below_seq or below) is None:
        errors.append(("query.cursor", "must be the next_cursor of a page of this list"))
    if errors:
        raise Invalid("The query is not acceptable.", errors)
    return PageQuery(int(limit), Status(status), below_seq, below)


def encode_cursor(*place: object) -> str:
    """Write a place in a list as an opaque cursor."""
    return base64.urlsafe_b64encode("|".join(map(str, place)).encode()).rstrip(b"=").decode()


def _read_seq(cursor: str | None) -> int | None:
    """Return the place of a cursor among applied operations, or None when it is none."""
    parts = _parts(cursor)
    return int(parts[0]) if len(parts) == 1 and _SEQ.match(parts[0]) else None


def _read_time(cursor: str | None) -> tuple[datetime, UUID] | None:
    """Return the place of a cursor among rejected operations, or None when it is none."""
    parts = _parts(cursor)
    try:
        moment, operation_id = datetime.fromisoformat(parts[0]), UUID(parts[1])
        return (moment.astimezone(UTC), operation_id) if len(parts) == 2 and moment.tzinfo else None
    except (ValueError, IndexError, OverflowError):  # OverflowError: beyond the years that there are, once it is UTC
        return None


def _parts(cursor: str | None) -> list[str]:
    """Return what `encode_cursor` made a cursor of; nothing, when it did not."""
    try:
        # Padded exactly: b64decode refuses a character too many.
        padded = (cursor or "").encode("ascii") + b"=" * (-len(cursor or "") % 4)
        parts = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").split("|")
    except ValueError:
        return []
    return parts if encode_cursor(*parts) == cursor else []  # padded, or written in another way than ours


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
            (".".join(["body", *map(str, e["loc"])]), _in_words_of_the_contract(e))
            for e in error.errors(include_url=False, include_input=False)
        ]
        raise Invalid("The body is not acceptable.", errors[:20]) from None


def _in_words_of_the_contract(error: ErrorDetails) -> str:
    text = _MESSAGES.get(error["type"], "is not acceptable")
    return text.format_map(error.get("ctx", {})).replace("'", "")  # pydantic quotes texts as Python does
