"""The connections between the service and its stores, cut at one statement after another: every request gets a 200."""

import asyncio

import pytest

from gateway.dispatcher import LOOK_AFTER_SECONDS
from tests.faults.ground import Ground
from tests.faults.proxy import Cut, Proxy
from tests.service import Client

FIRED_SECONDS_MAX = 5.0
STATEMENTS = 8  # of a settle there are five, with a heartbeat or a survey in between


async def deposit_through_the_cut(ground: Ground, client: Client, wallet_id: str, proxy: Proxy) -> None:
    """Make deposits until the armed cut has happened; each must be a plain 200."""
    async with asyncio.timeout(FIRED_SECONDS_MAX):
        while not proxy.fired.is_set():
            answer = await ground.witness.deposit(client, wallet_id, "1.00")
            assert answer is not None
            assert answer.status == 200, answer


@pytest.mark.parametrize("when", Cut)
async def test_worker_to_postgres_cut_at_each_statement__no_request_fails(
    ground: Ground, postgres_proxy: Proxy, when: Cut
) -> None:
    client = await ground.ready_with(worker={"POSTGRES_PORT": str(postgres_proxy.port)})
    wallet_id = await client.create_wallet()
    for nth in range(1, STATEMENTS + 1):
        postgres_proxy.cut_at(b"", when, nth)
        await deposit_through_the_cut(ground, client, wallet_id, postgres_proxy)
    await ground.check_books()


@pytest.mark.parametrize("when", Cut)
async def test_worker_to_redis_cut_at_each_call__no_request_fails(
    ground: Ground, redis_proxy: Proxy, when: Cut
) -> None:
    client = await ground.ready_with(worker={"REDIS_URL": redis_proxy.redis_url})
    wallet_id = await client.create_wallet()
    for word in (b"XREAD", b"XRANGE", b"wallet_reply", b"wallet_finish"):
        redis_proxy.cut_at(word, when)
        await deposit_through_the_cut(ground, client, wallet_id, redis_proxy)
    await ground.check_books()


@pytest.mark.parametrize("when", Cut)
async def test_gateway_to_redis_cut_at_each_call__no_request_fails(
    ground: Ground, redis_proxy: Proxy, when: Cut
) -> None:
    client = await ground.ready_with(gateway={"REDIS_URL": redis_proxy.redis_url}, worker={})
    wallet_id = await client.create_wallet()
    for word in (b"wallet_submit", b"XREAD", b"wallet_submit"):
        redis_proxy.cut_at(word, when)
        await deposit_through_the_cut(ground, client, wallet_id, redis_proxy)
    # Replies are read again: an outcome that is only found by the look in the books takes a second.
    async with asyncio.timeout(LOOK_AFTER_SECONDS * 0.9):
        await ground.witness.deposit(client, wallet_id, "1.00")
    await ground.check_books()
