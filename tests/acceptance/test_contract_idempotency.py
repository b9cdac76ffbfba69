"""The contract of Idempotency-Key: one key on one wallet is one operation, however often and wherever it is sent."""

import asyncio
from collections.abc import Mapping
from uuid import uuid4

import pytest

from tests.acceptance.problems import assert_problem, wrong_fields
from tests.service import Client, Service


def is_replay(headers: Mapping[str, str]) -> bool:
    return headers.get("Idempotency-Replayed") == "true"


async def test_applied_again__the_stored_outcome_and_the_header(client: Client) -> None:
    wallet_id, key = await client.create_wallet(), str(uuid4())
    first = await client.deposit(wallet_id, 10, Idempotency_Key=key)
    await client.deposit(wallet_id, 5)

    again = await client.deposit(wallet_id, 10, Idempotency_Key=key)

    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (again.status, again.body) == (200, first.body)  # the wallet as it was right after it: 10.00
    assert await client.balance(wallet_id) == "15.00"


async def test_rejected_again__the_stored_outcome_even_when_it_is_covered_now(client: Client) -> None:
    wallet_id, key = await client.create_wallet(), str(uuid4())
    first = await client.withdraw(wallet_id, 10, Idempotency_Key=key)
    await client.deposit(wallet_id, 100)

    again = await client.withdraw(wallet_id, 10, Idempotency_Key=key)

    path = f"/api/v1/wallets/{wallet_id}/operation"
    for answer in (first, again):
        assert_problem(answer, 400, "insufficient_funds", path, "balance", "operation_id")
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.body == first.body
    assert await client.balance(wallet_id) == "100.00"


async def test_quoted_key__is_the_same_key(client: Client) -> None:
    wallet_id, key = await client.create_wallet(), str(uuid4())
    first = await client.deposit(wallet_id, 1, Idempotency_Key=f'"{key}"')
    again = await client.deposit(wallet_id, 1, Idempotency_Key=key)
    assert again.body == first.body
    assert await client.balance(wallet_id) == "1.00"


async def test_same_amount_in_another_spelling__is_the_same_body(client: Client) -> None:
    wallet_id, key = await client.create_wallet(), str(uuid4())
    first = await client.deposit(wallet_id, "1.5", Idempotency_Key=key)
    again = await client.deposit(wallet_id.upper(), 1.50, Idempotency_Key=key)
    assert again.body == first.body
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_other_body__422_and_nothing_happens(client: Client) -> None:
    wallet_id, key = await client.create_wallet(), str(uuid4())
    await client.deposit(wallet_id, 10, Idempotency_Key=key)
    path = f"/api/v1/wallets/{wallet_id}/operation"

    for operation_type, amount in (("DEPOSIT", "10.01"), ("WITHDRAW", 10), ("WITHDRAW", 99)):
        answer = await client.operate(wallet_id, operation_type, amount, Idempotency_Key=key)
        assert_problem(answer, 422, "idempotency_key_reused", path)

    assert await client.balance(wallet_id) == "10.00"
    assert (await client.deposit(wallet_id, 10, Idempotency_Key=key)).headers["Idempotency-Replayed"] == "true"


async def test_same_key_on_another_wallet__is_another_operation(client: Client) -> None:
    key = str(uuid4())
    wallets = [await client.create_wallet() for _ in range(2)]
    answers = [await client.deposit(wallet_id, 3, Idempotency_Key=key) for wallet_id in wallets]
    assert len({answer.body["operation"]["id"] for answer in answers}) == 2
    assert [await client.balance(wallet_id) for wallet_id in wallets] == ["3.00", "3.00"]
    assert not any(is_replay(answer.headers) for answer in answers)


async def test_no_key__every_request_is_an_operation(client: Client) -> None:
    wallet_id = await client.create_wallet()
    answers = [await client.deposit(wallet_id, 1) for _ in range(3)]
    assert len({answer.body["operation"]["id"] for answer in answers}) == 3


async def test_twenty_at_once__one_operation_and_nineteen_replays(client: Client) -> None:
    wallet_id, key = await client.create_wallet(), str(uuid4())

    answers = await asyncio.gather(*(client.deposit(wallet_id, 7, Idempotency_Key=key) for _ in range(20)))

    assert {answer.status for answer in answers} == {200}
    assert len({str(answer.body) for answer in answers}) == 1
    assert sorted(is_replay(answer.headers) for answer in answers) == [False] + [True] * 19
    assert await client.balance(wallet_id) == "7.00"


async def test_two_bodies_at_once__one_is_applied_and_the_other_is_told_so(client: Client) -> None:
    wallet_id, key = await client.create_wallet(), str(uuid4())

    answers = await asyncio.gather(*(client.deposit(wallet_id, cents, Idempotency_Key=key) for cents in (1, 2) * 5))

    applied = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status != 200]
    assert len(applied) == len(refused) == 5
    assert {answer.code for answer in refused} == {"idempotency_key_reused"}
    assert await client.balance(wallet_id) == applied[0].body["balance"]


async def test_at_two_gateways_at_once__one_operation_and_the_same_answer(own_service: Service) -> None:
    own_service.start_gateway()
    own_service.start_gateway()
    own_service.start_worker()
    await own_service.wait_ready()
    clients = [Client(url) for url in own_service.urls.values()]
    wallet_id = await clients[0].create_wallet()

    for operation_type, status in (("WITHDRAW", 400), ("DEPOSIT", 200)) * 10:
        key = str(uuid4())
        answers = await asyncio.gather(
            *(client.operate(wallet_id, operation_type, "1.00", Idempotency_Key=key) for client in clients * 2)
        )
        assert {answer.status for answer in answers} == {status}
        assert len({str(answer.body) for answer in answers}) == 1
        assert sorted(is_replay(answer.headers) for answer in answers) == [False, True, True, True]
        if operation_type == "DEPOSIT":
            assert (await clients[1].withdraw(wallet_id, "1.00")).body["balance"] == "0.00"
    assert len(await clients[0].history(wallet_id)) == 20
    for client in clients:
        await client.close()


@pytest.mark.parametrize("good", ["x", "a" * 255, f'"{"a" * 255}"', "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", '"', "a'b"])
async def test_key_of_visible_ascii__is_taken(client: Client, good: str) -> None:
    wallet_id = await client.create_wallet()
    assert (await client.deposit(wallet_id, 1, Idempotency_Key=good)).status == 200
    assert is_replay((await client.deposit(wallet_id, 1, Idempotency_Key=good)).headers)


@pytest.mark.parametrize(
    "bad", ["", '""', "a b", '"a b"', "a\tb", "a" * 256, f'"{"a" * 256}"', "schlüssel", "ключ", "🔑"]
)
async def test_bad_key__422_and_nothing_happens(client: Client, bad: str) -> None:
    wallet_id = await client.create_wallet()
    answer = await client.deposit(wallet_id, 1, Idempotency_Key=bad)
    assert_problem(answer, 422, "validation_error", f"/api/v1/wallets/{wallet_id}/operation", "errors")
    assert wrong_fields(answer) == {"header.Idempotency-Key"}
    assert await client.balance(wallet_id) == "0.00"
