"""Every error has its one place in the problem table, and every problem is a document that RFC 9457 knows."""

import json
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway import problems
from gateway.problems import CODES, KINDS
from gateway.responses import respond
from gateway.schemas import Problem
from shared import errors
from shared.commands import Operation, Reason
from tests.commands import deposit, empty_wallet
from worker.ledger import reject

WALLET = UUID(int=1)
# They end a process, or a wait: neither is an answer made here.
NOT_FOR_HTTP = {errors.Pending, errors.Misconfigured, errors.StoreUnreachable}


def children(kind: type[errors.ServiceError]) -> list[type[errors.ServiceError]]:
    """Return the kinds below one that the tree draws; the inspector's own, which end a command, are not in it."""
    return [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]


def leaves(kind: type[errors.ServiceError]) -> set[type[errors.ServiceError]]:
    return set().union(*map(leaves, children(kind))) if children(kind) else {kind}


def rejection(reason: Reason) -> Operation:
    command = deposit(WALLET, 700)
    return reject(command, reason, 500, empty_wallet(WALLET).updated_at)


ERRORS: list[tuple[errors.ServiceError, str, int]] = [
    (errors.Malformed("The body is not JSON."), "malformed_json", 400),
    (errors.Invalid("Not acceptable.", [("body.amount", "must be greater than 0")]), "validation_error", 422),
    (errors.NotFound.wallet(WALLET), "wallet_not_found", 404),
    (errors.NotFound.operation(WALLET, WALLET), "operation_not_found", 404),
    (errors.KeyReused("Used before."), "idempotency_key_reused", 422),
    (errors.WalletQueueFull("Full."), "wallet_queue_full", 429),
    (errors.Unavailable("Away."), "unavailable", 503),
]


def document(response: web.Response) -> dict[str, Any]:
    assert isinstance(response.body, bytes)
    body: dict[str, Any] = json.loads(response.body)
    return body


def test_every_error__has_its_code_or_never_reaches_http() -> None:
    assert leaves(errors.ServiceError) == set(CODES) | NOT_FOR_HTTP
    assert not set(CODES) & NOT_FOR_HTTP


def test_every_reason__is_a_kind_of_problem() -> None:
    assert set(Reason) <= set(KINDS)


def test_every_code__belongs_to_one_kind_and_says_what_happened() -> None:
    assert [kind.code for kind in KINDS.values()] == list(KINDS)
    assert all(400 <= kind.status <= 599 and kind.title for kind in KINDS.values())
    assert {code for code in CODES.values() if isinstance(code, str)} <= set(KINDS)


def test_error_tree_of_the_docstring__is_the_tree_there_is() -> None:
    drawn = {word for word in (errors.__doc__ or "").split() if word.isalpha() and hasattr(errors, word)}

    assert {kind.__name__ for kind in leaves(errors.ServiceError)} <= drawn


@pytest.mark.parametrize(("error", "code", "status"), ERRORS, ids=[code for _, code, _ in ERRORS])
def test_error__is_a_valid_problem_document(error: errors.ServiceError, code: str, status: int) -> None:
    response = problems.of_service_error(error, make_mocked_request("GET", "/api/v1/wallets/1?limit=5"))

    body = document(response)
    Problem.model_validate(body)
    assert response.content_type == "application/problem+json"
    assert (response.status, body["status"], body["code"]) == (status, status, code)
    assert body["type"].endswith(code)
    assert body["detail"] == error.detail
    assert body["instance"] == "/api/v1/wallets/1"
    assert response.headers["Cache-Control"] == "no-store"


def test_fields_that_are_not_acceptable__are_named() -> None:
    error = errors.Invalid("Not acceptable.", [("body.amount", "must be greater than 0"), ("body", "another")])

    body = document(problems.of_service_error(error, make_mocked_request("POST", "/")))

    assert body["errors"] == [
        {"field": "body.amount", "message": "must be greater than 0"},
        {"field": "body", "message": "another"},
    ]


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.INSUFFICIENT_FUNDS, 400),
        (Reason.BALANCE_LIMIT_EXCEEDED, 400),
        (Reason.REFUSED_BY_DATABASE, 422),
        (Reason.UNREADABLE, 422),
    ],
)
def test_rejection__is_a_valid_problem_document(reason: Reason, status: int) -> None:
    answer = problems.of_rejection(rejection(reason), "No.", "/api/v1/wallets/1", {"X": "y"})

    response = respond(answer)
    body = document(response)
    Problem.model_validate(body)
    assert response.content_type == "application/problem+json"
    assert (response.status, body["status"], body["code"]) == (status, status, reason.value)
    assert body["type"].endswith(reason.value)
    assert (body["detail"], body["instance"]) == ("No.", "/api/v1/wallets/1")
    assert (response.headers["X"], response.headers["Cache-Control"]) == ("y", "no-store")


def test_rejection__tells_the_balance_and_the_operation() -> None:
    operation = rejection(Reason.INSUFFICIENT_FUNDS)

    body = document(respond(problems.of_rejection(operation, "No.", "/", {})))

    assert (body["balance"], body["operation_id"]) == ("5.00", str(operation.id))


def test_operation_that_could_not_be_read__is_told_nothing_that_no_book_has() -> None:
    body = document(respond(problems.of_rejection(rejection(Reason.UNREADABLE), "It could not be read.", "/", {})))

    assert not {"balance", "operation_id"} & set(body)


@pytest.mark.parametrize("error", [errors.WalletQueueFull("Full."), errors.Unavailable("Away.", 3)])
def test_refusal__says_when_to_try_again(error: errors.Refused) -> None:
    response = problems.of_service_error(error, make_mocked_request("POST", "/"))

    assert response.headers["Retry-After"] == str(error.retry_after_seconds)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (web.HTTPNotFound(), "not_found"),
        (web.HTTPRequestEntityTooLarge(65_536, 65_537), "body_too_large"),
        (web.HTTPUnsupportedMediaType(), "unsupported_media_type"),
        (web.HTTPBadRequest(), "bad_request"),
        (web.HTTPExpectationFailed(), "bad_request"),
    ],
)
def test_error_of_the_server_itself__is_a_problem_document_too(error: web.HTTPException, code: str) -> None:
    response = problems.of_http_error(error, make_mocked_request("GET", "/elsewhere"))

    body = document(response)
    Problem.model_validate(body)
    assert body["code"] == code
    assert response.status == KINDS[code].status


def test_wrong_method__says_which_are_right() -> None:
    error = web.HTTPMethodNotAllowed("PUT", {"GET", "POST"})

    response = problems.of_http_error(error, make_mocked_request("PUT", "/api/v1/wallets"))

    assert (response.status, response.headers["Allow"]) == (405, "GET, POST")


def test_defect__says_nothing_of_the_inside() -> None:
    body = document(problems.of_defect(make_mocked_request("GET", "/")))

    Problem.model_validate(body)
    assert body["code"] == "internal_error"
    assert "Traceback" not in str(body)


@pytest.mark.parametrize("path", ["/%ff", "/%00", "/%ed%a0%80", "/ü", '/"<>', "/a%0d%0aSet-Cookie:x"])
def test_any_path__can_be_named_in_a_problem(path: str) -> None:
    response = problems.of_http_error(web.HTTPNotFound(), make_mocked_request("GET", path))

    Problem.model_validate(document(response))
