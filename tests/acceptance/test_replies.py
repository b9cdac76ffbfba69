"""Outcomes come to the gateway that waits for them by its reply key, every one; the books are asked for none."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from tests.service import Answer, Client, Service

WAYS = {"the express lane": "application/json", "aiohttp's own way": "application/json; charset=utf-8"}
WALLETS, DEPOSITS = 12, 5


@pytest.fixture
async def clients(own_service: Service) -> AsyncIterator[list[Client]]:
    """A client of each of two gateways that know an outcome only by its reply; two workers."""
    for _ in range(2):
        own_service.start_gateway(module="tests.acceptance.gateway_that_never_looks")
    for _ in range(2):
        own_service.start_worker()
    await own_service.wait_ready()
    opened = [Client(url) for url in own_service.urls.values()]
    yield opened
    for client in opened:
        await client.close()


@pytest.mark.parametrize("content_type", WAYS.values(), ids=WAYS.keys())
async def test_outcomes_of_every_kind__come_by_the_reply_key_of_who_waits(
    clients: list[Client], content_type: str
) -> None:
    first, second = clients
    wallets = [await first.create_wallet() for _ in range(WALLETS)]

    async def ask(client: Client, operation_type: str, wallet: str, amount: int, key: str = "") -> Answer:
        headers = {"Content_Type": content_type} | ({"Idempotency_Key": key} if key else {})
        return await client.operate(wallet, operation_type, amount, **headers)

    # Batches of many wallets for both gateways, and one wallet asked at both.
    at_once = [(client, wallet) for wallet in wallets for client in clients for _ in range(DEPOSITS)]
    applied = await asyncio.gather(*(ask(client, "DEPOSIT", wallet, 1) for client, wallet in at_once))
    assert {answer.status for answer in applied} == {200}
    key = uuid4().hex
    of_one_key = await asyncio.gather(*(ask(client, "DEPOSIT", wallets[0], 1, key) for client in clients * 3))
    of_one_key += [await ask(client, "DEPOSIT", wallets[0], 1, key) for client in clients]
    assert {answer.status for answer in of_one_key} == {200}
    assert len({answer.body["operation"]["id"] for answer in of_one_key}) == 1
    not_covered = await asyncio.gather(*(ask(client, "WITHDRAW", wallet, 1_000) for client, wallet in at_once))
    assert {(answer.status, answer.code) for answer in not_covered} == {(400, "insufficient_funds")}
    missing = [await ask(client, "DEPOSIT", str(uuid4()), 1) for client in clients]
    assert {(answer.status, answer.code) for answer in missing} == {(404, "wallet_not_found")}
    assert await second.balance(wallets[1]) == f"{2 * DEPOSITS}.00"
