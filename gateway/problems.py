"""Errors and rejections as problem documents (RFC 9457): ONE table from what went wrong to what a client sees."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from gateway.responses import PROBLEM, Answer, respond
from shared.commands import Operation, Reason
from shared.errors import (
    Forbidden,
    Invalid,
    KeyReused,
    Malformed,
    NotFound,
    Refused,
    ServiceError,
    Unauthenticated,
    Unavailable,
    WalletQueueFull,
)
from shared.money import format_units

TYPE_PREFIX = "urn:wallet:problem:"
REQUEST_PREFIX = "urn:wallet:request:"


class ProblemBody(Struct, gc=False):
    """A problem as the contract shows it; what is not there is left out."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: list[dict[str, str]] | UnsetType = UNSET
    balance: str | UnsetType = UNSET
    operation_id: UUID | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: its HTTP status, its code (plain text: an enumeration's is slow to write) and its title."""

    status: int
    code: str
    title: str


KINDS = {
    kind.code: kind
    for kind in (
        Kind(400, "malformed_json", "The body is not JSON"),
        Kind(400, "bad_request", "The request cannot be read"),
        Kind(400, Reason.INSUFFICIENT_FUNDS.value, "The balance does not cover the withdrawal"),
        Kind(400, Reason.BALANCE_LIMIT_EXCEEDED.value, "The balance would exceed its limit"),
        Kind(401, "unauthenticated", "The request needs a valid API key"),
        Kind(403, "forbidden", "The API key does not allow this"),
        Kind(404, Reason.WALLET_NOT_FOUND.value, "There is no such wallet"),
        Kind(404, "operation_not_found", "There is no such operation"),
        Kind(404, "not_found", "There is nothing at this address"),
        Kind(405, "method_not_allowed", "This address does not know this method"),
        Kind(408, "request_timeout", "The request did not arrive in time"),
        Kind(413, "body_too_large", "The body is too large"),
        Kind(415, "unsupported_media_type", "The body must be application/json in UTF-8"),
        Kind(422, "validation_error", "The request is not acceptable"),
        Kind(422, "idempotency_key_reused", "The Idempotency-Key belongs to another request"),
        Kind(422, Reason.REFUSED_BY_DATABASE.value, "The operation was refused"),
        Kind(422, Reason.UNREADABLE.value, "The operation was damaged on its way"),
        Kind(429, "wallet_queue_full", "Too many operations wait for this wallet"),
        Kind(500, "internal_error", "Something went wrong in the service"),
        Kind(503, "unavailable", "The service cannot take this now"),
    )
}

# Which code an error has; those that name their own come as functions.
CODES: dict[type[ServiceError], str | Callable[[Any], str]] = {
    Malformed: "malformed_json",
    Invalid: "validation_error",
    NotFound: lambda error: str(error.code),
    KeyReused: "idempotency_key_reused",
    Unauthenticated: "unauthenticated",
    Forbidden: "forbidden",
    WalletQueueFull: "wallet_queue_full",
    Unavailable: "unavailable",
}

_HTTP_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
}


def of_service_error(error: ServiceError, request: web.BaseRequest) -> web.Response:
    """Return the problem document of an error that the service raised, as aiohttp sends it."""
    return respond(answer_of(error, request.rel_url.raw_path))


def answer_of(error: ServiceError, instance: str) -> Answer:
    """Return the problem document of an error that the service raised; `instance` is the path as it was sent."""
    code = CODES[type(error)]
    kind = KINDS[code if isinstance(code, str) else code(error)]
    answer = _problem(kind, error.detail, instance, {})
    if isinstance(error, Invalid) and error.errors:
        answer.body.errors = [{"field": field, "message": message} for field, message in error.errors]
    if isinstance(error, Unauthenticated):
        answer.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, Refused):
        answer.headers["Retry-After"] = str(error.retry_after_seconds)
    return answer


def of_rejection(operation: Operation, detail: str, instance: str, headers: dict[str, str]) -> Answer:
    """Return the problem document of a rejected operation.

    That is an outcome like another and no error of the service's: it is not raised, and costs no more.
    """
    assert operation.reason is not None  # noqa: S101 a rejected operation has one: operations_rejected_has_reason
    answer = _problem(KINDS[operation.reason], detail, instance, headers)
    if operation.reason is not Reason.UNREADABLE:  # of which the books know nothing
        answer.body.balance = format_units(operation.balance)
        answer.body.operation_id = operation.id
    return answer


def of_http_error(error: web.HTTPException, request: web.BaseRequest) -> web.Response:
    """Return the problem document of an error that aiohttp raised: routing, size, media type."""
    kind = KINDS[_HTTP_CODES.get(error.status, "bad_request")]
    headers = {}
    if isinstance(error, web.HTTPMethodNotAllowed):
        headers["Allow"] = ", ".join(sorted(error.allowed_methods))
    detail = f"{kind.title}: {request.method} {request.path}."
    return respond(_problem(kind, detail, request.rel_url.raw_path, headers))


def of_unreadable(code: str, detail: str, request_id: str) -> web.Response:
    """Return the problem document of a request whose path nobody could read: its id stands in the path's place."""
    return respond(_problem(KINDS[code], detail, f"{REQUEST_PREFIX}{request_id}", {}))


def of_defect(request: web.BaseRequest) -> web.Response:
    """Return the problem document of an unforeseen error, as aiohttp sends it."""
    return respond(answer_of_defect(request.rel_url.raw_path))


def answer_of_defect(instance: str) -> Answer:
    """Return the problem document of an unforeseen error: it says nothing of the inside."""
    return _problem(KINDS["internal_error"], "It was logged under the request id of this answer.", instance, {})


def _problem(kind: Kind, detail: str, instance: str, headers: dict[str, str]) -> Answer:
    body = ProblemBody(f"{TYPE_PREFIX}{kind.code}", kind.title, kind.status, detail, instance, kind.code)
    return Answer(kind.status, body, headers, PROBLEM)
