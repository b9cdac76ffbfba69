"""The partition count that the first start wrote holds for every process; a service that stands still may have more."""

import asyncio
from uuid import UUID

import pytest
import redis

import sql
from devstack import ports
from shared import keys
from shared.database import connect
from shared.migrations import agree_on_partitions
from shared.settings import Settings
from shared.streams import Streams
from tests.commands import deposit, wallet_in
from tests.integration.inspector_stage import Inspector
from tests.service import Client, Service
from tests.waiting import until

MORE = 128
DEFAULT = Settings.model_fields["partition_count"].default


@pytest.fixture
async def of_more(own_service: Service) -> Service:
    """A service whose books were begun with more than the default, and whose processes are told no number."""
    connection = await connect(own_service.settings, "test")
    await agree_on_partitions(connection, MORE, is_asked_for=True)
    await connection.close()
    return own_service


async def test_installation_of_more_partitions__goes_on_with_them(of_more: Service) -> None:
    of_more.start_gateway()
    await of_more.wait_ready("/healthz")
    client = Client(of_more.url)

    assert (await client.get("/readyz")).body["missing"] == [f"workers: {MORE} of {MORE} partitions have no owner"]

    of_more.start_worker()
    await of_more.wait_ready()
    # Wallets of partitions that the default does not have: who counts otherwise waits elsewhere.
    for _ in range(20):
        answer = await client.deposit(await client.create_wallet(), 1)
        assert answer.status == 200, answer
    await client.close()
    seen = await Inspector(of_more.settings).read("partitions")
    assert len(seen["partitions"]) == MORE
    assert all(row["owner"] for row in seen["partitions"])


@pytest.mark.parametrize("module", ["worker.maintenance", "arq worker.maintenance.WorkerSettings"])
async def test_housekeeping__sweeps_them_all(of_more: Service, module: str) -> None:
    wallet_id = wallet_in(MORE - 1, MORE)
    ready = keys.ready_stream(MORE - 1)
    with redis.Redis.from_url(of_more.settings.redis_url.get_secret_value()) as client:
        client.xadd(keys.wallet_stream(MORE - 1, wallet_id), {"command": "{}"})  # waits, and nobody would know

        of_more.start_worker("housekeeping", module=module)

        async def is_ready() -> bool:
            return bool(client.xlen(ready) == 1)

        await until(is_ready, 20)


async def test_service_that_stands_still__has_more_partitions_and_the_same_books(own_service: Service) -> None:
    own_service.start_gateway()
    own_service.start_worker()
    await own_service.wait_ready()
    client = Client(own_service.url)
    wallets = [await client.create_wallet() for _ in range(20)]
    for wallet_id in wallets:
        assert (await client.deposit(wallet_id, 1, idempotency_key="first")).status == 200
    await client.close()
    own_service.stop()
    inspect = Inspector(own_service.settings)

    would = await inspect("repartition", str(MORE))
    done = await inspect("repartition", str(MORE), "--yes", "--json")
    again = await inspect("repartition", str(MORE), "--yes")
    fewer = await inspect("repartition", str(DEFAULT), "--yes")

    assert (would.code, would.lines) == (
        1,
        [f"would have {MORE} partitions instead of {DEFAULT}", "nothing was changed; --yes does it"],
    )
    assert (done.code, done.json["changed"]) == (0, True)
    assert (again.code, again.lines) == (0, [f"there are {MORE} partitions"])
    assert fewer.code == 1
    assert "only grows" in fewer.out

    own_service.urls.clear()
    own_service.start_gateway()
    own_service.start_worker()
    await own_service.wait_ready()
    client = Client(own_service.url)
    for wallet_id in wallets:
        replay = await client.deposit(wallet_id, 1, idempotency_key="first")
        assert (replay.status, replay.headers["Idempotency-Replayed"]) == (200, "true")
        assert (await client.deposit(wallet_id, 1)).body["balance"] == "2.00"
    await client.close()
    assert len((await inspect.read("partitions"))["partitions"]) == MORE
    assert (await inspect("doctor")).code in {0, 1}


async def test_somebody_at_work_or_something_waiting__is_in_the_way(own_service: Service) -> None:
    inspect = Inspector(own_service.settings)

    async def is_refused_for(*words: str) -> None:
        said = await inspect("repartition", str(MORE), "--yes")
        assert said.code == 1, said
        assert all(word in said.out for word in words), said
        assert len((await inspect.read("partitions"))["partitions"]) == DEFAULT

    worker = own_service.start_worker("worker-a")
    gateway = own_service.start_gateway()
    await own_service.wait_ready()
    await is_refused_for("worker-a is at work")
    client = Client(own_service.url)
    wallet_id = await client.create_wallet()
    await client.close()
    worker.stop()
    await is_refused_for("whoever waits for messages from 127.0.0.1:")
    gateway.stop()
    port = str(ports.pick_free())
    housekeeping = own_service.start_worker("maintenance", module="worker.maintenance", METRICS_PORT=port)

    async def is_keeping_house() -> bool:
        return "maintenance-watch is at work" in (await inspect("repartition", str(MORE))).out

    await until(is_keeping_house, 20)
    housekeeping.stop()
    streams = Streams(own_service.settings)
    await streams.submit([deposit(UUID(wallet_id))], 10, 10)
    await streams.close()
    await is_refused_for(f"operations wait, of wallet {wallet_id}")


async def test_gateway_that_was_overlooked__does_no_harm_to_the_books(own_service: Service) -> None:
    own_service.start_gateway("overlooked")
    own_service.start_worker()
    await own_service.wait_ready()
    client = Client(own_service.urls["overlooked"])
    wallets = [await client.create_wallet() for _ in range(8)]
    for worker in own_service.workers.values():
        worker.stop()
    connection = await connect(own_service.settings, "test")
    await connection.execute(sql.query("repartition"), MORE, DEFAULT)
    await connection.close()
    own_service.start_gateway("new")
    for _ in range(2):
        own_service.start_worker()
    await own_service.wait_ready()
    other = Client(own_service.urls["new"])

    answers = await asyncio.gather(
        *(each.deposit(wallet_id, 1) for _ in range(25) for wallet_id in wallets for each in (client, other))
    )

    assert [answer.status for answer in answers] == [200] * len(answers)
    for wallet_id in wallets:
        assert await other.balance(wallet_id) == "50.00"
        assert [item["seq"] for item in await other.history(wallet_id)] == list(range(50, 0, -1))
    await client.close()
    await other.close()
