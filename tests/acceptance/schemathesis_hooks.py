"""What schemathesis cannot know of this API. Loaded through SCHEMATHESIS_HOOKS by `test_schemathesis.py`.

Which wallets exist: without them, all that is tested is "not found". That a cursor is nobody's to make up. And what a
400 to an acceptable request may say.
"""

import os
import re
from itertools import count
from typing import Any
from zlib import crc32

import schemathesis

Case = schemathesis.Case[Any]

KNOWN = [
    known.split("/") for known in os.environ["KNOWN"].split()
]  # wallet, an operation of it, a cursor in its history
CANONICAL = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_number = count()


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Point three of four well-formed requests at something that exists, and send some keys again."""
    del context, kwargs
    number = next(_number)
    wallet_id, operation_id, cursor = KNOWN[number % len(KNOWN)]
    if number % 4:
        for name, value in (("wallet_id", wallet_id), ("operation_id", operation_id)):
            if CANONICAL.fullmatch(str((case.path_parameters or {}).get(name))):
                case.path_parameters[name] = value
    if not is_positive(case):
        return
    if "cursor" in (case.query or {}):
        del case.query["cursor"]
        if case.path_parameters["wallet_id"] == wallet_id and case.query.get("status") != "REJECTED":
            case.query["cursor"] = cursor
    if "Idempotency-Key" in (case.headers or {}):
        # The key belongs to this very body: a replay whenever the body comes twice, and never a conflict.
        case.headers["Idempotency-Key"] = f"{case.headers['Idempotency-Key'][:200]}{crc32(repr(case.body).encode())}"


@schemathesis.check
def refusals_of_acceptable_requests_are_the_books(
    context: schemathesis.CheckContext, response: schemathesis.Response, case: Case
) -> None:
    """A 400 to a request that fits the document comes from the books: the balance does not allow it."""
    del context
    if response.status_code == 400 and is_positive(case):
        code = response.json()["code"]
        assert code in {"insufficient_funds", "balance_limit_exceeded"}, code


def is_positive(case: Case) -> bool:
    """Tell whether a request is meant to be acceptable."""
    return case.meta is not None and case.meta.generation.mode.is_positive
