"""The crash matrix of the design, row by row: a gateway or a worker dies or freezes, and the books stay exact."""

import asyncio
import signal
from uuid import UUID, uuid4

import pytest

from shared.commands import operation_id_of_key
from tests.commands import said_in
from tests.faults.crashing_worker import POINTS
from tests.faults.ground import Ground, assert_applied, ended, start
from tests.faults.proxy import Cut, Proxy
from tests.waiting import until

# ---- the gateway ----------------------------------------------------------------------------------------------------


async def test_gateway_killed_before_submit__nothing_is_queued_and_a_retry_is_the_first(
    ground: Ground, redis_proxy: Proxy
) -> None:
    client = await ground.ready_with(gateway={"REDIS_URL": redis_proxy.redis_url}, worker={})
    ground.service.start_gateway("second")
    await ground.service.wait_ready()
    wallet_id, key = await client.create_wallet(), str(uuid4())

    redis_proxy.hold()  # the command reaches the gateway, and does not leave it
    request = start(ground.witness.deposit(client, wallet_id, "1.00", key=key, prefer="wait=9"))
    await until_held(ground, wallet_id, key)
    ground.service.gateways["gateway"].kill()
    redis_proxy.cut()

    assert await request is None  # the connection was reset
    assert await ground.redis_client.exists(ground.wallet_stream(wallet_id)) == 0
    retried = await ground.witness.deposit(ground.client("second"), wallet_id, "1.00", key=key)
    assert_applied(retried, "1.00", replayed=False)
    await ground.check_books()


async def until_held(ground: Ground, wallet_id: str, key: str) -> None:
    """Wait until the first gateway holds the command: it tells everybody who asks that it is pending."""
    operation_id = operation_id_of_key(UUID(wallet_id), "", key)
    asking = ground.client("gateway")

    async def look() -> bool:
        return (await asking.get(f"/api/v1/wallets/{wallet_id}/operations/{operation_id}")).status == 200

    await until(look)


async def test_gateway_killed_after_submit__applied_once_and_a_retry_gets_the_stored_outcome(ground: Ground) -> None:
    client = await ground.ready_with()
    wallet_id, key = await client.create_wallet(), str(uuid4())
    requests = [start(ground.witness.deposit(client, wallet_id, "1.00", key=key))]
    await ground.until_queued(wallet_id, 1)
    requests.append(start(ground.witness.deposit(client, wallet_id, "2.00")))
    await ground.until_queued(wallet_id, 2)

    ground.service.gateways["gateway"].kill()

    assert await asyncio.gather(*requests) == [None, None]
    ground.service.start_gateway("gateway")
    ground.service.start_worker()
    await ground.service.wait_ready()
    retried = await ground.witness.deposit(ground.client("gateway"), wallet_id, "1.00", key=key)
    assert_applied(retried, "1.00", replayed=True)
    await ground.check_books()
    assert await ground.client("gateway").balance(wallet_id) == "3.00"


async def test_submit_sent_and_answer_lost__submitted_again_and_applied_once(
    ground: Ground, redis_proxy: Proxy
) -> None:
    client = await ground.ready_with(gateway={"REDIS_URL": redis_proxy.redis_url})
    wallet_id = await client.create_wallet()

    redis_proxy.cut_at(b"wallet_submit", Cut.AFTER)
    request = start(ground.witness.deposit(client, wallet_id, "1.00"))
    await redis_proxy.fired.wait()
    await ground.until_queued(wallet_id, 2)  # the same command, twice
    ids = {said_in(fields)["id"] for _, fields in await ground.redis_client.xrange(ground.wallet_stream(wallet_id))}
    assert len(ids) == 1
    ground.service.start_worker()

    assert_applied(await request, "1.00")
    await ground.check_books()


# ---- the worker -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", POINTS)
async def test_worker_killed__the_next_owner_gives_the_outcome_once(ground: Ground, point: str) -> None:
    ground.service.start_gateway()
    ground.start_crashing_worker(point)
    await ground.service.wait_ready()
    client = ground.client()
    wallet_id = await client.create_wallet()

    requests = [start(ground.witness.deposit(client, wallet_id, "1.00", key=f"{point}-{n}")) for n in range(5)]
    requests.append(start(ground.witness.operate(client, wallet_id, "WITHDRAW", "9.00", key=point)))
    assert await ended(ground.service.workers["crashing"]) == -signal.SIGKILL
    ground.service.start_worker()

    answers = await asyncio.gather(*requests)
    assert sorted(answer.status for answer in answers if answer) == [200] * 5 + [400]
    for number in range(5):
        again = await ground.witness.deposit(client, wallet_id, "1.00", key=f"{point}-{number}")
        assert_applied(again, answers[number].body["balance"], replayed=True)  # type: ignore[union-attr] # a 200
    await ground.check_books()
    assert await client.balance(wallet_id) == "5.00"


@pytest.mark.parametrize("point", ["before_write", "in_the_write", "after_commit", "after_replies"])
async def test_worker_frozen_and_woken__it_commits_nothing_and_finishes_nothing(ground: Ground, point: str) -> None:
    ground.service.environment = {"SESSION_TIMEOUT_SECONDS": "0.6", "HEARTBEAT_SECONDS": "0.2"}
    ground.service.start_gateway()
    ground.start_crashing_worker(point, "SIGSTOP")
    await ground.service.wait_ready()
    client = ground.client()
    wallet_id = await client.create_wallet()
    frozen = ground.service.workers["crashing"]

    first = start(ground.witness.deposit(client, wallet_id, "1.00"))
    ground.service.start_worker("healthy")
    assert_applied(await first, "1.00")
    # Settled by the next owner, or told just before the freeze: wait until somebody else serves the wallet.
    assert_applied(await ground.witness.deposit(client, wallet_id, "1.00"), "2.00")
    ground.service.workers["healthy"].pause()
    waiting = [start(ground.witness.deposit(client, wallet_id, "1.00")) for _ in range(3)]
    await ground.until_queued(wallet_id, 3)
    frozen.resume()
    ground.service.workers["healthy"].resume()

    assert sorted(answer.body["balance"] for answer in await asyncio.gather(*waiting) if answer) == [
        "3.00",
        "4.00",
        "5.00",
    ]
    await ground.check_books()
