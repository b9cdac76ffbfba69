"""Many retries of one request at once, at two gateways, while the worker is killed: one outcome for all."""

import asyncio
import signal
from uuid import uuid4

import pytest

from tests.faults.crashing_worker import POINTS
from tests.service import Answer, Client, Service
from tests.waiting import until

RETRIES = 50


@pytest.mark.parametrize("point", POINTS)
async def test_retries_at_once_while_the_worker_is_killed__all_have_one_outcome_and_the_books_have_it_once(
    own_service: Service, point: str
) -> None:
    for _ in range(2):
        own_service.start_gateway()
    crashing = own_service.start_worker(
        "crashing", "tests.faults.crashing_worker", CRASH_POINT=point, CRASH_SIGNAL=signal.SIGKILL.name
    )
    await own_service.wait_ready()
    clients = [Client(url) for url in own_service.urls.values()]
    wallet_id, key = await clients[0].create_wallet(), uuid4().hex

    async def ask(client: Client) -> Answer:
        """Ask until it is decided, as clients do that are answered with a 202."""
        while (answer := await client.deposit(wallet_id, 7, Idempotency_Key=key)).status == 202:
            pass
        return answer

    async def is_dead() -> bool:
        return not crashing.is_alive

    try:
        asking = [asyncio.create_task(ask(client)) for _ in range(RETRIES // 2) for client in clients]
        await until(is_dead, 15)
        own_service.start_worker()
        answers = await asyncio.gather(*asking)
        later = [await ask(client) for client in clients]
        history, balance = await clients[0].history(wallet_id), await clients[1].balance(wallet_id)
    finally:
        for client in clients:
            await client.close()

    assert {answer.status for answer in (*answers, *later)} == {200}
    assert all(answer.body == answers[0].body for answer in (*answers, *later))
    assert [answer.headers.get("Idempotency-Replayed") for answer in later] == ["true", "true"]
    assert [operation["id"] for operation in history] == [answers[0].body["operation"]["id"]]
    assert balance == "7.00"
