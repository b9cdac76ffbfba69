"""The parameters and headers of the API, as the OpenAPI document describes them. `gateway/requests.py` reads them."""

from dataclasses import dataclass, field
from typing import Any

from gateway.requests import PAGE_DEFAULT, PAGE_MAX

_STRING: dict[str, Any] = {"type": "string"}
_UUID = {"type": "string", "format": "uuid"}


@dataclass(frozen=True, slots=True)
class Header:
    """A header of an answer; on every answer of its status when `is_required`."""

    name: str
    description: str
    schema: dict[str, Any] = field(default_factory=lambda: _STRING)
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a request: `place` is OpenAPI's `in`."""

    place: str
    name: str
    description: str
    schema: dict[str, Any]


WALLET_ID = Parameter("path", "wallet_id", "The wallet, a UUID in any usual spelling.", _UUID)
OPERATION_ID = Parameter("path", "operation_id", "The operation, a UUID in any usual spelling.", _UUID)
IDEMPOTENCY_KEY = Parameter(
    "header",
    "Idempotency-Key",
    "Makes a repeated request safe: the same key with the same body gets the stored outcome again, for ever; with "
    "another body 422. 1 to 255 visible ASCII characters, quoted or not, of your choice for this wallet.",
    {
        "type": "string",
        "anyOf": [{"pattern": r"^[\x21-\x7e]{1,255}$"}, {"pattern": r'^"[\x21-\x7e]{1,255}"$'}],
        "not": {"const": '""'},
    },
)
PREFER = Parameter(
    "header",
    "Prefer",
    "`wait=N` lowers how many seconds to wait for the outcome before the answer is 202 (RFC 7240).",
    {"type": "string", "examples": ["wait=5"]},
)
REQUEST_ID = Parameter(
    "header",
    "X-Request-ID",
    "Comes back on the answer and stands in the logs, if it is 1 to 128 letters, digits or `._:/+=@-`; another, or "
    "none, is replaced by one of the service's own.",
    _STRING,
)
LIMIT = Parameter(
    "query",
    "limit",
    "Items on a page.",
    {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT},
)
CURSOR = Parameter(
    "query",
    "cursor",
    "The `next_cursor` of the page before, of the same wallet and status.",
    {"type": "string", "pattern": r"^[A-Za-z0-9_-]+$"},
)
STATUS = Parameter(
    "query", "status", "Which operations.", {"type": "string", "enum": ["APPLIED", "REJECTED"], "default": "APPLIED"}
)
