"""The partition count that the first start wrote holds for every process; a service that stands still may have more."""

import asyncio
from urllib.parse import urlsplit

import pytest
import redis
from pydantic import SecretStr

import sql
from devstack import ports
from devstack.process import ChildProcess
from inspector.changing import partitioning
from inspector.stores import Stores
from shared import keys
from shared.database import connect
from shared.errors import Misconfigured
from shared.migrations import agree_on_partitions
from shared.process import prepare_database
from shared.settings import MaintenanceSettings, Settings, WorkerSettings
from shared.streams import Streams
from tests.commands import deposit, wallet_in
from tests.faults.proxy import Proxy
from tests.integration.inspector_stage import Inspector
from tests.service import Client, Service
from tests.waiting import until
from worker import maintenance
from worker.session import Session

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
    worker.stop()
    await is_refused_for("whoever waits for messages from 127.0.0.1:")
    gateway.stop()
    port = str(ports.pick_free())
    housekeeping = own_service.start_worker("maintenance", module="worker.maintenance", METRICS_PORT=port)

    async def is_keeping_house() -> bool:
        return "maintenance-watch is at work" in (await inspect("repartition", str(MORE))).out

    await until(is_keeping_house, 20)
    housekeeping.stop()
    for job in ("sweep", "reconcile", "statistics"):
        session = await connect(own_service.settings, f"maintenance-{job}")  # as a job under way has one
        await is_refused_for(f"maintenance-{job} is at work")
        await session.close()
    wallet_id = wallet_in(MORE - 1, MORE)  # it would belong elsewhere
    streams = Streams(own_service.settings)
    await streams.submit([deposit(wallet_id)], 10, 10)
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
    missing = (await client.get("/readyz")).body["missing"]
    assert missing == [f"a restart of this gateway: it knows of {DEFAULT} of {MORE} partitions"]
    await client.close()
    await other.close()


async def test_redis_that_does_not_tell_who_waits__is_in_the_way(own_service: Service) -> None:
    own_service.start_gateway()
    await own_service.wait_ready("/healthz")
    url = own_service.settings.redis_url.get_secret_value()
    with redis.Redis.from_url(url) as client:
        client.execute_command("ACL", "SETUSER", "limited", "on", ">secret", "~*", "+@all", "-client|list")
    limited = SecretStr(url.replace("redis://", "redis://limited:secret@"))
    inspect = Inspector(own_service.settings.model_copy(update={"redis_url": limited}))

    said = await inspect("repartition", str(MORE), "--yes")

    assert said.code == 1
    assert "does not tell who waits there" in said.out
    assert "CLIENT LIST" in said.out
    assert len((await inspect.read("partitions"))["partitions"]) == DEFAULT


async def test_worker_that_was_frozen_meanwhile__owns_nothing_and_ends_with_what_to_do(own_service: Service) -> None:
    inspect = Inspector(own_service.settings)
    former = own_service.start_worker("former")
    await until(lambda: _owns(inspect, "former", DEFAULT), 20)
    former.pause()
    await until(lambda: _is_repartitioned(inspect), 20)  # Postgres ends its session

    former.resume()

    await _ends_with_what_to_do(former)
    own_service.start_worker("new")
    await until(lambda: _owns(inspect, "new", MORE), 20)


async def test_worker_that_waited_for_redis_meanwhile__owns_nothing_and_ends_with_what_to_do(
    own_service: Service,
) -> None:
    url = urlsplit(own_service.settings.redis_url.get_secret_value())
    later = Proxy("127.0.0.1", url.port or 6379)
    former = own_service.start_worker("former", REDIS_URL=f"redis://127.0.0.1:{later.port}{url.path}")
    await until(lambda: _logs(former, "waiting for a store"), 20)  # so it has read the number
    assert await _is_repartitioned(Inspector(own_service.settings))

    async with later.running():
        await _ends_with_what_to_do(former)


async def test_worker_that_comes_between_the_look_and_the_change__is_in_the_way(
    own_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect = Inspector(own_service.settings)
    own_service.start_worker("worker-a")
    await until(lambda: _owns(inspect, "worker-a", DEFAULT), 20)

    async def nobody(_: Stores) -> list[str]:
        return []

    monkeypatch.setattr(partitioning, "_at_work", nobody)

    said = await inspect("repartition", str(MORE), "--yes")

    assert (said.code, said.lines) == (1, ["worker-a is at work: stop the gateways, then workers and housekeeping"])
    assert await _owns(inspect, "worker-a", DEFAULT)


async def test_worker_that_comes_in_the_middle_of_the_change__waits_for_its_end(own_service: Service) -> None:
    await prepare_database(own_service.settings)
    connection = await connect(own_service.settings, "test")
    async with connection.transaction():
        await connection.execute(sql.query("lock_partition_count"))
        worker = WorkerSettings.model_validate(own_service.settings.model_dump())
        joining = asyncio.create_task(_join(worker))
        await until(lambda: connection.fetchval("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"))
        await connection.execute(sql.query("repartition"), MORE, DEFAULT)
    await connection.close()

    with pytest.raises(Misconfigured, match=f"The books have {MORE} partitions by now"):
        await joining


async def test_housekeeping_that_was_overlooked__takes_nothing_for_a_leftover(own_service: Service) -> None:
    settings = MaintenanceSettings.model_validate(own_service.settings.model_dump())
    before = await prepare_database(settings)
    assert (await Inspector(settings)("repartition", str(MORE), "--yes")).code == 0
    streams = Streams(settings.model_copy(update={"partition_count": MORE}))
    await streams.load_library()
    await streams.submit([deposit(wallet_in(MORE - 1, MORE))], 10, 10)
    await streams.close()

    done = await maintenance.sweep({"settings": before})

    assert done is not None
    assert (done["waiting_wallets"], done["stranded_wallets"]) == (1, 0)


async def test_books_of_an_earlier_time__have_their_partitions_back_and_what_waits_is_decided(
    own_service: Service,
) -> None:
    await prepare_database(own_service.settings)
    inspect = Inspector(own_service.settings)
    assert (await inspect("repartition", str(MORE), "--yes")).code == 0
    gateway = own_service.start_gateway()
    await own_service.wait_ready("/healthz")
    client = Client(own_service.url)
    wallets = [await client.create_wallet() for _ in range(12)]
    waiting = [await client.operate(wallet_id, "DEPOSIT", 1, Prefer="wait=0") for wallet_id in wallets]
    assert {answer.status for answer in waiting} == {202}
    gateway.stop()
    connection = await connect(own_service.settings, "test")
    await connection.execute(sql.query("repartition"), DEFAULT, MORE)  # as a dump of before has it
    await connection.close()

    too_many = await inspect("repartition", str(32 * MORE), "--yes")
    said = await inspect("repartition", str(MORE), "--yes")

    assert "first have as many as there were when they were queued" in too_many.out
    assert said.code == 0, said
    own_service.urls.clear()
    own_service.start_gateway("again")
    own_service.start_worker()
    await own_service.wait_ready()
    await client.close()
    client = Client(own_service.url)

    async def are_decided() -> bool:
        seen = [await client.get(answer.headers["Location"]) for answer in waiting]
        return all(answer.body.get("status") == "APPLIED" for answer in seen)

    await until(are_decided, 10)
    await client.close()


async def test_keys_before_the_first_start__leave_the_count_to_it(own_service: Service) -> None:
    assert own_service.keys("list").returncode == 0

    begun = own_service.settings.model_copy(update={"partition_count": 16})

    assert (await prepare_database(begun)).partition_count == 16


async def _join(settings: WorkerSettings) -> None:
    async with Session.open(settings):
        pass


async def _owns(inspect: Inspector, worker: str, count: int) -> bool:
    seen = await inspect("partitions", "--json")
    return [row["owner"] for row in seen.json["partitions"]] == [worker] * count


async def _is_repartitioned(inspect: Inspector) -> bool:
    return (await inspect("repartition", str(MORE), "--yes")).code == 0


async def _logs(process: ChildProcess, words: str) -> bool:
    return any(words in line for line in process.log_tail(100))


async def _ends_with_what_to_do(process: ChildProcess) -> None:
    await until(lambda: _logs(process, f"The books have {MORE} partitions by now"), 20)
    await until(lambda: asyncio.to_thread(lambda: process.exit_code == 1))
