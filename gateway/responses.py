"""Writes responses: the vocabulary into the REST contract's JSON. The shapes are those of `gateway/schemas.py`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from shared.commands import Command, Operation, Reply, Status, Wallet
from shared.money import format_units

# Balances are nobody's to keep: no cache may answer for the books.
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Server": "wallet",
}
RETRY_AFTER_SECONDS = 1
JSON = "application/json"
PROBLEM = "application/problem+json"


@dataclass(slots=True)
class Answer:
    """What is answered, by whichever way the request came; `headers` are those beyond HEADERS."""

    status: int
    body: Any
    headers: dict[str, str]
    media_type: str = JSON


def write_json(body: Any) -> bytes:
    """Write a body; times are RFC 3339 in UTC, with a Z."""
    return orjson.dumps(body, option=orjson.OPT_UTC_Z)


def respond(answer: Answer) -> web.Response:
    """Return an answer as aiohttp sends it."""
    return web.Response(
        body=write_json(answer.body),
        status=answer.status,
        headers={**HEADERS, **answer.headers} if answer.headers else HEADERS,
        content_type=answer.media_type,
    )


def as_json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a JSON response."""
    return respond(Answer(status, body, headers or {}))


def wallet_view(wallet: Wallet) -> dict[str, Any]:
    """Return a wallet as the contract shows it."""
    return {
        "id": str(wallet.id),
        "balance": format_units(wallet.balance),
        "created_at": wallet.created_at,
        "updated_at": wallet.updated_at,
    }


def operation_view(operation: Operation) -> dict[str, Any]:
    """Return a decided operation as the contract shows it."""
    applied = operation.status is Status.APPLIED
    view = {
        "id": str(operation.id),
        "operation_type": operation.type,
        "amount": format_units(operation.amount),
        "status": operation.status,
        "seq": operation.seq,
        "balance": format_units(operation.balance),
        "created_at": operation.submitted_at,
        "applied_at": operation.decided_at if applied else None,
    }
    if operation.reason:
        view["reason"] = operation.reason
    return view


def pending_view(command: Command) -> dict[str, Any]:
    """Return a command that is not decided yet, as an operation."""
    return {
        "id": str(command.id),
        "operation_type": command.type,
        "amount": format_units(command.amount),
        "status": "PENDING",
        "seq": None,
        "balance": None,
        "created_at": command.submitted_at,
        "applied_at": None,
    }


def applied_view(reply: Reply) -> dict[str, Any]:
    """Return the wallet right after an applied operation, and the operation."""
    operation = reply.operation
    view = operation_view(operation)
    return {
        "id": str(operation.wallet_id),
        "balance": view["balance"],
        "created_at": reply.wallet_created_at,
        "updated_at": operation.decided_at,
        "operation": view,
    }


def page_view(operations: Sequence[Operation], next_cursor: str | None) -> dict[str, Any]:
    """Return a page of operations."""
    return {"items": [operation_view(operation) for operation in operations], "next_cursor": next_cursor}
