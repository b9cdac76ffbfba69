"""The OpenAPI document is valid, whole and true: what is served stands in it, what is answered fits its schemas."""

import json
import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from msgspec import UNSET
from msgspec.structs import replace
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway import openapi, responses
from gateway.problems import KINDS
from gateway.routes import GUARD_PROBLEMS, PAGES, ROUTES, add_routes
from gateway.schemas import MONEY_PATTERN
from shared.commands import Operation, Reason, Reply, Status, Wallet
from shared.money import AMOUNT_MAX, BALANCE_MAX
from tests.commands import EPOCH, deposit, empty_wallet, withdraw
from worker.ledger import decide, reject

DOCUMENT = openapi.document()
WALLET = UUID(int=1)
MOMENT = datetime(2026, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC)


def is_as_documented(view: object, schema: str) -> bool:
    """Validate what a client would receive against a schema of the document; raises ValidationError."""
    text = responses.as_json(view).body
    assert isinstance(text, bytes)
    whole = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    OAS31Validator(whole, format_checker=oas31_format_checker).validate(json.loads(text))
    return True


def applied(balance: int = 0, amount: int = 100) -> Operation:
    return decide(deposit(WALLET, amount), replace(empty_wallet(WALLET, balance), seq=6), MOMENT)


def test_document__is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(json.loads(json.dumps(DOCUMENT))).validate()


def test_schemas__are_valid_json_schema() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        OAS31Validator.check_schema(schema)


def test_every_route__is_documented_and_nothing_else_is() -> None:
    documented = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}

    assert documented == {(route.method, route.path) for route in ROUTES}
    assert len(documented) == len(ROUTES)


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.WALLET_NOT_FOUND}))  # of which nothing is stored
def test_headers_of_a_rejection__are_documented(reason: Reason) -> None:
    answers = DOCUMENT["paths"]["/api/v1/wallets/{wallet_id}/operation"]["post"]["responses"]

    assert {"Idempotency-Replayed", "Preference-Applied"} <= set(answers[str(KINDS[reason].status)]["headers"])


def test_everything_that_is_routed__is_in_the_route_table_with_and_without_a_slash() -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        raise web.HTTPNotFound

    app = web.Application()
    add_routes(app, serve)
    routed = {
        (route.method, re.sub(r":[^{}/]*(?:\[[^\]]*\][^{}/]*)?}", "}", route.resource.canonical))
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }

    paths = {(route.method, route.path) for route in ROUTES} | {("GET", path) for path, _ in PAGES}
    paths.add(("GET", "/openapi.json"))
    assert routed == paths | {(method, f"{path}/") for method, path in paths}


def test_operation_ids__are_unique() -> None:
    ids = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]

    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_route__documents_its_parameters_and_problems(route: Any) -> None:
    operation = DOCUMENT["paths"][route.path][route.method.lower()]

    in_path = [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]
    assert in_path == re.findall(r"{(\w+)}", route.path)
    assert set(route.problems) <= set(KINDS)
    for code in route.problems:
        described = operation["responses"][str(KINDS[code].status)]
        assert f"`{code}`" in described["description"]
        assert list(described["content"]) == ["application/problem+json"]
    assert {str(answer.status) for answer in route.answers} <= set(operation["responses"])


def test_every_kind_of_problem__is_documented_somewhere() -> None:
    # Those of the server itself can be met anywhere, and a defect is nobody's plan.
    everywhere = {"not_found", "method_not_allowed", "bad_request", "internal_error"}

    documented = {code for route in ROUTES for code in route.problems} | set(GUARD_PROBLEMS)
    assert set(KINDS) - everywhere <= documented


def test_refusals__are_documented_with_when_to_try_again() -> None:
    for item in DOCUMENT["paths"].values():
        for operation in item.values():
            for status in {"429", "503"} & set(operation["responses"]):
                answer = operation["responses"][status]
                if "application/problem+json" in answer["content"]:
                    assert "Retry-After" in answer["headers"]


# What is answered.


@pytest.mark.parametrize("wallet", [empty_wallet(WALLET), Wallet(WALLET, BALANCE_MAX, 2**62, EPOCH, MOMENT)])
def test_wallet__is_as_documented(wallet: Wallet) -> None:
    assert is_as_documented(responses.wallet_view(wallet), "WalletView")


@pytest.mark.parametrize(
    "operation",
    [
        applied(),
        applied(BALANCE_MAX - AMOUNT_MAX, AMOUNT_MAX),
        decide(withdraw(WALLET, 1), replace(empty_wallet(WALLET, 1), seq=1), MOMENT),
        *(reject(deposit(WALLET), reason, 5, MOMENT) for reason in Reason),
    ],
    ids=lambda operation: operation.reason or operation.type,
)
def test_operation__is_as_documented(operation: Operation) -> None:
    view = responses.operation_view(operation)

    assert is_as_documented(view, "OperationView")
    assert (view.reason is not UNSET) is (operation.status is Status.REJECTED)
    assert (view.applied_at is not None) is (operation.status is Status.APPLIED)


def test_pending_operation__is_as_documented() -> None:
    assert is_as_documented(responses.pending_view(deposit(WALLET)), "OperationView")
    assert is_as_documented({"operation": responses.pending_view(deposit(WALLET))}, "PendingView")


def test_wallet_after_an_operation__is_as_documented() -> None:
    operation = applied(balance=500, amount=25)

    view = responses.applied_view(Reply(operation, EPOCH))

    assert is_as_documented(view, "AppliedView")
    assert (view.balance, view.operation.balance, view.operation.seq) == ("5.25", "5.25", 7)
    assert (view.created_at, view.updated_at) == (EPOCH, MOMENT)


@pytest.mark.parametrize("cursor", [None, "Mg"])
def test_page__is_as_documented(cursor: str | None) -> None:
    operations = [applied(), reject(deposit(WALLET), Reason.INSUFFICIENT_FUNDS, 0, MOMENT)]

    assert is_as_documented(responses.page_view(operations, cursor), "OperationPage")
    assert is_as_documented(responses.page_view([], cursor), "OperationPage")


def test_health__is_as_documented() -> None:
    assert is_as_documented({"status": "unavailable", "missing": ["redis"]}, "Health")
    assert is_as_documented({"status": "ok", "missing": []}, "Health")


def test_time__is_written_in_utc_with_a_z() -> None:
    body = responses.as_json({"at": MOMENT}).body

    assert body == b'{"at":"2026-02-03T04:05:06.789012Z"}'


def test_money__is_written_with_two_decimals_in_every_view() -> None:
    view = responses.write_json(responses.applied_view(Reply(applied(balance=5, amount=5), EPOCH))).decode()

    written = re.findall(r'"(?:amount|balance)":("[^"]*"|[^,}]*)', view)
    assert len(written) == 3
    assert all(re.fullmatch(MONEY_PATTERN, text.strip('"')) and text.startswith('"') for text in written)


@pytest.mark.parametrize("amount", [5, 5.25, 0.01, "5", "5.25", "9999999999999999.99"])
def test_documented_amount__allows_what_the_service_reads(amount: object) -> None:
    whole = {"$ref": "#/components/schemas/OperationRequest", "components": DOCUMENT["components"]}

    assert OAS31Validator(whole).is_valid({"operation_type": "DEPOSIT", "amount": amount})


@pytest.mark.parametrize("amount", [0, -1, 10**16, "0", "0.00", "05", "1e3", " 5", "1_000", "5.001", True, None, []])
def test_documented_amount__does_not_allow_what_the_service_refuses(amount: object) -> None:
    whole = {"$ref": "#/components/schemas/OperationRequest", "components": DOCUMENT["components"]}

    assert not OAS31Validator(whole).is_valid({"operation_type": "DEPOSIT", "amount": amount})
