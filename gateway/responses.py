"""Writes responses: the vocabulary into the REST contract's JSON. The shapes are those of `gateway/schemas.py`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from shared.commands import Command, Operation, OperationType, Reason, Reply, Status, Wallet
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
PENDING = "PENDING"  # no status of the books: an operation that is not decided yet


_write = msgspec.json.Encoder().encode


class Answer(Struct):
    """What is answered, by whichever way the request came; `headers` are those beyond HEADERS."""

    status: int
    body: Any
    headers: dict[str, str]
    media_type: str = JSON


class WalletBody(Struct, gc=False):
    """A wallet as the contract shows it."""

    id: UUID
    balance: str
    created_at: datetime
    updated_at: datetime


class OperationBody(Struct, gc=False):
    """An operation as the contract shows it; a `reason` is left out where there is none."""

    id: UUID
    operation_type: OperationType
    amount: str
    status: str
    seq: int | None
    balance: str | None
    created_at: datetime
    applied_at: datetime | None
    reason: Reason | UnsetType = UNSET


class AppliedBody(WalletBody, gc=False):
    """A wallet right after an applied operation, and the operation."""

    operation: OperationBody


def write_json(body: Any) -> bytes:
    """Write a body; times are RFC 3339 in UTC, with a Z."""
    return _write(body)


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


def wallet_view(wallet: Wallet) -> WalletBody:
    """Return a wallet as the contract shows it."""
    return WalletBody(wallet.id, format_units(wallet.balance), wallet.created_at, wallet.updated_at)


def operation_view(operation: Operation, balance: str | None = None) -> OperationBody:
    """Return a decided operation as the contract shows it; `balance` is its own, if that was written out already."""
    return OperationBody(
        operation.id,
        operation.type,
        format_units(operation.amount),
        operation.status,
        operation.seq,
        balance or format_units(operation.balance),
        operation.submitted_at,
        operation.decided_at if operation.status is Status.APPLIED else None,
        operation.reason or UNSET,
    )


def pending_view(command: Command) -> OperationBody:
    """Return a command that is not decided yet, as an operation."""
    amount = format_units(command.amount)
    return OperationBody(command.id, command.type, amount, PENDING, None, None, command.submitted_at, None)


def applied_view(reply: Reply) -> AppliedBody:
    """Return the wallet right after an applied operation, and the operation."""
    operation, created_at = reply.operation, reply.wallet_created_at
    assert created_at is not None  # noqa: S101 what was applied has a wallet
    balance = format_units(operation.balance)
    view = operation_view(operation, balance)
    return AppliedBody(operation.wallet_id, balance, created_at, operation.decided_at, view)


def page_view(operations: Sequence[Operation], next_cursor: str | None) -> dict[str, Any]:
    """Return a page of operations."""
    return {"items": [operation_view(operation) for operation in operations], "next_cursor": next_cursor}
