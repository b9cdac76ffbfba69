"""The contract of wallets and operations: what goes in, and to the last field what comes out."""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.acceptance.problems import assert_problem
from tests.service import Client

WALLET_FIELDS = {"id", "balance", "created_at", "updated_at"}
OPERATION_FIELDS = {"id", "operation_type", "amount", "status", "seq", "balance", "created_at", "applied_at"}
RFC_3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


def assert_recent(text: str) -> None:
    assert RFC_3339_UTC.fullmatch(text), text
    assert abs((datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()) < 60


def spellings(wallet_id: str) -> list[str]:
    """Return the usual spellings of a UUID (RFC 9562, Microsoft's, the URN's)."""
    plain = wallet_id.replace("-", "")
    return [wallet_id, wallet_id.upper(), plain, plain.upper(), f"{{{wallet_id}}}", f"urn:uuid:{wallet_id}"]


async def test_create_wallet__201_with_location_and_exactly_four_fields(client: Client) -> None:
    answer = await client.request("POST", "/api/v1/wallets")

    assert answer.status == 201
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.body.keys() == WALLET_FIELDS
    assert str(UUID(answer.body["id"])) == answer.body["id"]
    assert answer.body["balance"] == "0.00"
    assert_recent(answer.body["created_at"])
    assert answer.body["updated_at"] == answer.body["created_at"]
    assert answer.headers["Location"] == f"/api/v1/wallets/{answer.body['id']}"
    read = await client.get(answer.headers["Location"])
    assert (read.status, read.body) == (200, answer.body)


async def test_create_wallet__an_empty_object_says_the_same_as_nothing(client: Client) -> None:
    bodies: tuple[dict[str, str] | None, ...] = (None, {})
    for body in bodies:
        assert (await client.request("POST", "/api/v1/wallets", body)).status == 201
    refused = await client.request("POST", "/api/v1/wallets", {"balance": "1000.00"})
    assert_problem(refused, 422, "validation_error", "/api/v1/wallets", "errors")


async def test_operation__200_with_the_wallet_after_it_and_exactly_eight_fields(client: Client) -> None:
    wallet_id = await client.create_wallet()

    answer = await client.deposit(wallet_id, 1000.50)

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    operation = answer.body.pop("operation")
    assert answer.body.keys() == WALLET_FIELDS
    assert answer.body == (await client.get(f"/api/v1/wallets/{wallet_id}")).body
    assert operation.keys() == OPERATION_FIELDS
    assert str(UUID(operation["id"])) == operation["id"]
    expected = {"operation_type": "DEPOSIT", "amount": "1000.50", "status": "APPLIED", "seq": 1, "balance": "1000.50"}
    assert {name: operation[name] for name in expected} == expected
    assert_recent(operation["created_at"])
    assert operation["applied_at"] == answer.body["updated_at"]
    assert "Idempotency-Replayed" not in answer.headers


async def test_read_operation__applied_and_rejected_are_told_as_they_stand(client: Client) -> None:
    wallet_id = await client.create_wallet()
    applied = (await client.deposit(wallet_id, "5")).body["operation"]
    refused = await client.withdraw(wallet_id, "5.01")
    path = f"/api/v1/wallets/{wallet_id}/operations"

    read = await client.get(f"{path}/{applied['id']}")
    assert (read.status, read.body) == (200, applied)

    assert_problem(
        refused, 400, "insufficient_funds", f"/api/v1/wallets/{wallet_id}/operation", "balance", "operation_id"
    )
    assert refused.body["balance"] == "5.00"
    read = await client.get(f"{path}/{refused.body['operation_id']}")
    assert read.status == 200
    assert read.body.keys() == OPERATION_FIELDS | {"reason"}
    expected = {"status": "REJECTED", "reason": "insufficient_funds", "seq": None, "balance": "5.00", "amount": "5.01"}
    assert {name: read.body[name] for name in expected} == expected
    assert read.body["applied_at"] is None


async def test_operation_of_another_wallet__is_not_found(client: Client) -> None:
    mine, yours = await client.create_wallet(), await client.create_wallet()
    operation_id = (await client.deposit(mine, 1)).body["operation"]["id"]
    path = f"/api/v1/wallets/{yours}/operations/{operation_id}"
    assert_problem(await client.get(path), 404, "operation_not_found", path)


@pytest.mark.parametrize("suffix", ["", "/"])
async def test_every_path__is_served_with_and_without_a_trailing_slash(client: Client, suffix: str) -> None:
    created = await client.request("POST", f"/api/v1/wallets{suffix}")
    assert created.status == 201
    wallet = f"/api/v1/wallets/{created.body['id']}"
    body = {"operation_type": "DEPOSIT", "amount": 1}
    operated = await client.request("POST", f"{wallet}/operation{suffix}", body)
    assert operated.status == 200
    paths = [wallet, f"{wallet}/operations", f"{wallet}/operations/{operated.body['operation']['id']}"]
    for path in (*paths, "/healthz", "/readyz", "/openapi.json", "/docs", "/redoc"):
        assert (await client.get(f"{path}{suffix}")).status == 200, path


async def test_uuids__are_read_in_any_usual_spelling(client: Client) -> None:
    wallet_id = await client.create_wallet()
    operation_id = (await client.deposit(wallet_id, 1)).body["operation"]["id"]
    for spelling in spellings(wallet_id):
        assert (await client.get(f"/api/v1/wallets/{spelling}")).body["id"] == wallet_id
        assert (await client.deposit(spelling, 1)).body["id"] == wallet_id
    for spelling in spellings(operation_id):
        answer = await client.get(f"/api/v1/wallets/{wallet_id}/operations/{spelling}")
        assert answer.body["id"] == operation_id
    assert await client.balance(wallet_id) == "7.00"


@pytest.mark.parametrize(
    "text", ["1", "x", "%20", "%00", "%ff", "null", "{0}", "0-0-0-0-0", "g" * 32, "0" * 31, "0" * 33, "\u0661" * 32]
)
async def test_malformed_uuid__422_on_every_path(client: Client, text: str) -> None:
    body = {"operation_type": "DEPOSIT", "amount": 1}
    operations = f"/api/v1/wallets/{uuid4()}/operations"
    requests: list[tuple[str, str, str, Any]] = [
        ("GET", f"/api/v1/wallets/{text}", "path.wallet_id", None),
        ("POST", f"/api/v1/wallets/{text}/operation", "path.wallet_id", body),
        ("GET", f"/api/v1/wallets/{text}/operations", "path.wallet_id", None),
        ("GET", f"/api/v1/wallets/{text}/operations/{uuid4()}", "path.wallet_id", None),
        ("GET", f"{operations}/{text}", "path.operation_id", None),
    ]
    for method, path, field, sent in requests:
        answer = await client.request(method, path, sent)
        assert_problem(answer, 422, "validation_error", answer.body["instance"], "errors")
        assert [error["field"] for error in answer.body["errors"]] == [field]


async def test_unknown_wallet__404_on_every_wallet_path(client: Client) -> None:
    wallet_id = uuid4()
    wallet = f"/api/v1/wallets/{wallet_id}"
    body = {"operation_type": "WITHDRAW", "amount": 1}
    for method, path, sent in (
        ("GET", wallet, None),
        ("POST", f"{wallet}/operation", body),
        ("GET", f"{wallet}/operations", None),
        ("GET", f"{wallet}/operations?status=REJECTED", None),
        ("GET", f"{wallet}/operations/{uuid4()}", None),
    ):
        answer = await client.request(method, path, sent)
        assert_problem(answer, 404, "wallet_not_found", path.partition("?")[0])
        assert str(wallet_id) in answer.body["detail"]


async def test_unknown_operation_of_a_wallet__404(client: Client) -> None:
    path = f"/api/v1/wallets/{await client.create_wallet()}/operations/{uuid4()}"
    assert_problem(await client.get(path), 404, "operation_not_found", path)


async def test_client_sends_one_after_another__its_order_is_kept(client: Client) -> None:
    wallet_id = await client.create_wallet()
    seqs = []
    for cents in range(1, 31):
        answer = await client.deposit(wallet_id, f"0.{cents:02d}")
        seqs.append(answer.body["operation"]["seq"])
    assert seqs == list(range(1, 31))
    amounts = [item["amount"] for item in await client.history(wallet_id)]
    assert amounts == [f"0.{cents:02d}" for cents in range(30, 0, -1)]
