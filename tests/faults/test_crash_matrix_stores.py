"""The crash matrix of the design, row by row: a store is away or holds what it should not; the books stay exact."""

import asyncio
import shutil
import signal
import time
from pathlib import Path
from uuid import uuid4

import pytest

from shared import keys
from shared.database import connect
from shared.node import SOCKET_TIMEOUT_SECONDS
from shared.nodes import Nodes
from shared.settings import MaintenanceSettings
from tests.commands import said_in, saying
from tests.faults.ground import Ground, assert_applied, ended, start, until_balance
from tests.faults.proxy import Cut, Proxy
from tests.waiting import until
from worker.housekeeping.sweep import Sweep

# ---- Redis ----------------------------------------------------------------------------------------------------------


async def test_redis_comes_back_empty__unanswered_commands_are_submitted_again(ground: Ground) -> None:
    client = await ground.ready_with(gateway={"WAIT_SECONDS": "20", "DRAIN_SECONDS": "20"})
    wallets = [await client.create_wallet() for _ in range(5)]
    told_202 = await ground.witness.deposit(client, wallets[0], "5.00", prefer="wait=0")
    assert told_202 is not None
    assert told_202.status == 202
    requests = [start(ground.witness.deposit(client, wallet_id, "1.00")) for wallet_id in wallets]
    for number, wallet_id in enumerate(wallets):
        await ground.until_queued(wallet_id, 1 if number else 2)

    ground.redis.kill()
    ground.redis.restart(empty=True)
    ground.service.start_worker()

    for answer in await asyncio.gather(*requests):
        assert answer is not None
        assert answer.status == 200, answer
    await until_balance(client, wallets[0], "6.00")
    await ground.check_books()


async def test_redis_falls_back_to_before_the_finish__what_was_committed_is_found(
    ground: Ground, tmp_path: Path
) -> None:
    client = await ground.ready_with()
    wallet_id, key = await client.create_wallet(), str(uuid4())
    requests = [start(ground.witness.deposit(client, wallet_id, "1.00", key=key))]
    await ground.until_queued(wallet_id, 1)
    requests += [start(ground.witness.operate(client, wallet_id, "WITHDRAW", "9.00"))]
    await ground.until_queued(wallet_id, 2)
    ground.redis.stop()
    shutil.copytree(ground.redis.data_dir, tmp_path / "before")
    ground.redis.start()
    ground.service.start_worker("before")
    for request in requests:
        await request
    ground.service.workers["before"].stop()

    ground.redis.kill()
    shutil.rmtree(ground.redis.data_dir)
    shutil.copytree(tmp_path / "before", ground.redis.data_dir)
    ground.redis.start()
    assert await ground.redis_client.xlen(ground.wallet_stream(wallet_id)) == 2
    ground.service.start_worker("after")
    await ground.service.wait_ready()

    again = await ground.witness.deposit(client, wallet_id, "1.00", key=key)
    assert_applied(again, "1.00", replayed=True)
    await ground.check_books()
    assert len(await client.history(wallet_id, "REJECTED")) == 1


# ---- Postgres -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", Cut)
async def test_connection_cut_at_the_write__the_books_decide(ground: Ground, postgres_proxy: Proxy, when: Cut) -> None:
    client = await ground.ready_with(worker={"POSTGRES_PORT": str(postgres_proxy.port)})
    wallet_id = await client.create_wallet()
    assert_applied(await ground.witness.deposit(client, wallet_id, "1.00"), "1.00")

    postgres_proxy.cut_at(b"DEPOSIT", when)  # the statement that writes, and commits, is the only one that says so
    answer = await ground.witness.deposit(client, wallet_id, "1.00")

    assert postgres_proxy.fired.is_set()
    assert_applied(answer, "2.00")
    await ground.check_books()


async def test_postgres_killed_and_started_again__commands_wait_in_order(ground: Ground) -> None:
    client = await ground.ready_with(worker={})
    wallet_id = await client.create_wallet()
    assert_applied(await ground.witness.deposit(client, wallet_id, "1.00"), "1.00")

    ground.postgres.kill()
    requests = []
    for number in range(5):
        requests.append(start(ground.witness.deposit(client, wallet_id, "1.00")))
        await ground.until_queued(wallet_id, number + 1)
    ground.postgres.start()

    balances = [answer.body["balance"] for answer in await asyncio.gather(*requests) if answer]
    assert balances == ["2.00", "3.00", "4.00", "5.00", "6.00"]
    await ground.check_books()


async def test_postgres_away_longer_than_the_wait__202_and_decided_once_it_is_back(ground: Ground) -> None:
    client = await ground.ready_with(worker={})
    wallet_id = await client.create_wallet()

    ground.postgres.kill()
    answer = await ground.witness.deposit(client, wallet_id, "1.00", prefer="wait=1")
    assert answer is not None
    assert answer.status == 202
    reading = await client.get(f"/api/v1/wallets/{wallet_id}")
    assert (reading.status, reading.code) == (503, "unavailable")
    assert int(reading.headers["Retry-After"]) >= 1
    ground.postgres.start()

    await until_balance(client, wallet_id, "1.00")
    await ground.check_books()


# ---- messages that are not as they should be ------------------------------------------------------------------------


async def test_ready_message_missing__the_sweep_finds_the_stream_and_it_is_served(ground: Ground) -> None:
    client = await ground.ready_with(worker={})
    wallet_id = await client.create_wallet()
    ground.service.workers.popitem()[1].stop()
    request = start(ground.witness.deposit(client, wallet_id, "1.00", prefer="wait=8"))
    await ground.until_queued(wallet_id, 1)
    await ground.redis_client.delete(keys.ready_stream(ground.partition(wallet_id)))
    ground.service.start_worker()
    await ground.service.wait_ready()
    await ground.until_queued(wallet_id, 1)  # nobody knows of it

    settings = MaintenanceSettings.model_validate(ground.settings.model_dump())
    nodes, session = Nodes(settings), await connect(settings, "test")
    assert (await Sweep(settings, nodes, session).run())["restored"] == 1
    await session.close()
    await nodes.close()

    assert_applied(await request, "1.00")
    await ground.check_books()


async def test_redis_frozen_after_a_submit__who_sent_a_key_is_answered_in_time_as_well(ground: Ground) -> None:
    client = await ground.ready_with(gateway={})
    # A wallet for each: what Redis lost is submitted again meanwhile, and would be counted with the next.
    wallets = {await client.create_wallet(): headers for headers in ({}, {"Idempotency_Key": "k"})}
    for wallet_id, headers in wallets.items():
        began = time.monotonic()
        request = start(ground.witness.deposit(client, wallet_id, "1.00", prefer="wait=2", **headers))
        await ground.until_queued(wallet_id, 1)
        # That the gateway has heard so as well is told by the answer to the next: one trip to Redis follows another.
        next_one = await ground.witness.deposit(client, wallet_id, "1.00", prefer="wait=0")
        assert next_one is not None
        assert next_one.status == 202
        ground.redis.pause()
        answer = await request
        took_seconds = time.monotonic() - began
        ground.redis.resume()

        assert answer is not None
        assert answer.status == 202
        late = "it waited for what would only have told who asked first"
        assert took_seconds < 2 + SOCKET_TIMEOUT_SECONDS, late
        await ground.redis_client.flushall()
    ground.service.start_worker()
    for wallet_id in wallets:
        await until_balance(client, wallet_id, "2.00")
    await ground.check_books()


async def test_message_that_cannot_be_parsed__is_a_dead_letter_and_the_wallet_goes_on(ground: Ground) -> None:
    client = await ground.ready_with()
    wallet_id = await client.create_wallet()
    stream = ground.wallet_stream(wallet_id)
    before = start(ground.witness.deposit(client, wallet_id, "1.00"))
    await ground.until_queued(wallet_id, 1)
    await ground.redis_client.xadd(stream, {"nonsense": "by hand"})
    await ground.until_queued(wallet_id, 2)
    after = start(ground.witness.deposit(client, wallet_id, "2.00"))
    await ground.until_queued(wallet_id, 3)

    ground.service.start_worker()

    assert_applied(await before, "1.00")
    assert_applied(await after, "3.00")
    dead = keys.dead_stream(ground.partition(wallet_id))

    async def buried() -> bool:
        return int(await ground.redis_client.xlen(dead)) == 1

    await until(buried)
    [(_, letter)] = await ground.redis_client.xrange(dead)
    assert (letter[b"wallet"].decode(), letter[b"nonsense"]) == (wallet_id, b"by hand")
    assert letter[b"reason"]
    await ground.redis_client.delete(dead)  # an operator has looked
    await ground.check_books()


async def test_message_damaged_on_its_way__its_client_is_told_and_nothing_is_applied(ground: Ground) -> None:
    client = await ground.ready_with(worker={})
    wallet_id = await client.create_wallet()
    ground.service.workers.popitem()[1].stop()
    request = start(client.deposit(wallet_id, "1.00"))
    await ground.until_queued(wallet_id, 1)
    stream, dead = ground.wallet_stream(wallet_id), keys.dead_stream(ground.partition(wallet_id))
    [(message_id, fields)] = await ground.redis_client.xrange(stream)
    async with ground.redis_client.pipeline(transaction=True) as pipeline:
        pipeline.delete(stream)
        pipeline.xadd(stream, saying({**said_in(fields), "amount": "1 EUR"}), id=message_id)
        await pipeline.execute()

    ground.service.start_worker()

    answer = await request
    assert answer is not None
    assert (answer.status, answer.code) == (422, "operation_unreadable")
    assert await client.balance(wallet_id) == "0.00"
    assert await ground.redis_client.xlen(dead) == 1
    await ground.redis_client.delete(dead)
    await ground.check_books()


async def test_redis_frozen_and_killed_and_the_gateway_told_to_stop__what_got_a_202_is_decided(ground: Ground) -> None:
    client = await ground.ready_with(worker={})
    wallet_id = await client.create_wallet()
    ground.redis.pause()
    key = {"key": "kept", "prefer": "wait=1"}
    answer = await ground.witness.deposit(client, wallet_id, "1.00", **key)
    assert answer is not None
    assert answer.status == 202
    ground.redis.kill()  # nothing of the command ever reached it

    gateway = ground.service.gateways["gateway"]
    gateway.signal(signal.SIGTERM)
    ground.redis.start()

    assert await ended(gateway) == 0
    await ground.heal(gateways=1, workers=1)
    await until_balance(ground.client(), wallet_id, "1.00")
    await ground.check_books()
