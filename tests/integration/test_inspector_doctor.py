"""The doctor finds each fault that was planted, and no other; repair mends what can be mended and says what it did."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis as Client

from devstack.postgres import Postgres
from devstack.redis import Redis
from shared import keys
from shared.database import connect
from shared.migrations import migrate
from shared.settings import Settings
from shared.streams import Streams
from tests.books import BooksAsTheyStand
from tests.commands import deposit, wallet_in
from tests.integration.inspector_stage import Inspector
from tests.integration.stage import claim_of
from tests.service import Service
from tests.waiting import until

COUNT = Settings.model_fields["partition_count"].default
P = 12


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again sooner: but for one test there is no traffic that could look like a fault."""
    monkeypatch.setattr("inspector.reading.walk.AGAIN_SECONDS", 0.02)
    monkeypatch.setattr("inspector.reading.doctor.AGAIN_SECONDS", 0.02)
    monkeypatch.setattr("inspector.reading.partitions.SAMPLE_SECONDS", 0.1)


@pytest.fixture
def inspect(stores: dict[str, Any]) -> Inspector:
    return Inspector(Settings(**stores))


@pytest.fixture
async def client(stores: dict[str, Any]) -> AsyncIterator[Client]:
    """A plain client that breaks things."""
    opened: Client = Client.from_url(stores["redis_url"])
    yield opened
    await opened.aclose()


async def three_waiting(streams: Streams) -> str:
    """Let three commands wait for one wallet of partition P, and one for another; returns the first."""
    wallet_id = wallet_in(P, COUNT)
    await streams.submit([deposit(wallet_id) for _ in range(3)], 10, 10)
    await streams.submit([deposit(wallet_in(P, COUNT))], 10, 10)
    return str(wallet_id)


@pytest.fixture(scope="module")
def safe_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A Postgres as in a deployment: the tests' own does not sync, and the doctor says so."""
    server = Postgres(tmp_path_factory.mktemp("safe") / "data")
    server.start()
    yield server
    server.stop()


async def test_healthy_service_under_load__has_no_fault(
    safe_postgres: Postgres, own_redis: Redis, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real pauses: this one has traffic
    values: dict[str, Any] = {"postgres_port": safe_postgres.port, "redis_url": own_redis.url}
    settings = Settings(**values)
    connection = await connect(settings, "test")
    await migrate(connection)
    books, streams = BooksAsTheyStand(connection), Streams(settings)
    await streams.load_library()
    wallets = [await books.create_wallet() for _ in range(40)]
    service = Service(settings, tmp_path)
    service.start_worker()

    async def load() -> None:
        while True:
            await streams.submit([deposit(wallet_id) for wallet_id in wallets for _ in range(3)], 10_000, 100_000)
            await asyncio.sleep(0.005)

    async def works() -> bool:
        return (await books.wallet(wallets[0])).seq > 0

    loading = asyncio.create_task(load())
    try:
        await until(works, 15)
        said = await Inspector(settings)("doctor", "--json")
    finally:
        loading.cancel()
        service.stop()
        await streams.close()
        await connection.close()

    verdicts = {one["name"]: one["verdict"] for one in said.json["checks"]}
    # Whether a depth is right cannot always be told while it moves.
    assert verdicts.pop("depth") in {"ok", "unknown"}
    assert verdicts.pop("housekeeping") == "unknown"  # it has not run
    assert set(verdicts.values()) == {"ok"}, said.out
    assert said.code == 0


async def test_stream_without_a_ready_message__is_found_and_mended(
    inspect: Inspector, streams: Streams, client: Client
) -> None:
    wallet = await three_waiting(streams)
    assert (await inspect.check("streams_without_ready_message"))["verdict"] == "ok"
    [first, *_] = await client.xrange(keys.ready_stream(P))
    await client.xdel(keys.ready_stream(P), first[0])

    found = await inspect.check("streams_without_ready_message")
    would = await inspect("repair")
    assert await client.xlen(keys.ready_stream(P)) == 1  # nothing was done yet
    did = await inspect("repair", "--yes")

    assert (found["verdict"], found["examples"]) == ("fault", [f"{P}/{wallet}"])
    # The messages that it hides are not taken for a wrong depth.
    assert "depth" not in would.out
    assert f"would make wallet {wallet} of partition {P} ready" in would.lines
    assert f"made wallet {wallet} of partition {P} ready" in did.lines
    assert (await inspect.check("streams_without_ready_message"))["verdict"] == "ok"
    assert sum(len(claim.messages) for claim in await claim_of(streams, [P], 10, 100)) == 4


async def test_repair_beside_live_traffic__restores_the_lost_wallet_alone_and_no_busy_one(
    inspect: Inspector, streams: Streams, client: Client, own_service: Service
) -> None:
    """Busy wallets are out of the ready stream and in it again all the time: who looks once takes them for lost."""
    lost, *busy = [wallet_in(P, COUNT) for _ in range(3_000)]
    stream = keys.wallet_stream(P, lost)
    worker = own_service.start_worker()
    over = asyncio.Event()

    async def load() -> None:
        for number in itertools.count():
            if over.is_set():
                return
            await streams.submit([deposit(wallet_id) for wallet_id in busy[number % 60 :: 60]], 100_000, 1_000_000)

    async def works() -> bool:
        return "took partitions" in worker.log_path.read_text()

    await until(works, 15)
    loading = asyncio.create_task(load())
    await client.xadd(stream, {"id": "made by hand"})  # without a ready message: nobody comes for it
    try:
        said = await inspect("repair", "--yes")
    finally:
        over.set()
        await loading

    assert [line for line in said.lines if line.startswith("made wallet")] == [
        f"made wallet {lost} of partition {P} ready"
    ]

    async def is_taken() -> bool:
        return not await client.exists(stream)

    await until(is_taken, 15)


async def test_lost_wallets_beyond_what_is_looked_at__leave_the_depth_unknown_and_right(
    inspect: Inspector, streams: Streams, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inspector.reading.walk.FAULTS_MAX", 5)
    await streams.submit([deposit(wallet_in(P, COUNT)) for _ in range(12)], 100, 100)
    await client.xtrim(keys.ready_stream(P), maxlen=0, approximate=False)

    checks = {one["name"]: one for one in (await inspect.read("doctor"))["checks"]}
    said = [await inspect("repair", "--yes") for _ in range(3)]

    assert checks["streams_without_ready_message"]["line"].startswith("5 or more wallets")
    assert checks["depth"]["verdict"] == "unknown"
    made = [[line for line in one.lines if line.startswith("made wallet")] for one in said]
    assert [len(lines) for lines in made] == [5, 5, 2]
    assert not any("depth" in line for one in said[:2] for line in one.lines)
    assert await client.hget(keys.meta(P), "depth") == b"12"  # type: ignore[misc] # its stubs
    assert await client.xlen(keys.ready_stream(P)) == 12


async def calls_of_functions(client: Client) -> int:
    return int((await client.info("commandstats"))["cmdstat_fcall"]["calls"])


async def test_many_faults__are_mended_a_page_at_a_time(
    inspect: Inspector, streams: Streams, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inspector.stores.CALLS_PER_TRIP", 3)
    monkeypatch.setattr("inspector.changing.repairs.CALLS_PER_TRIP", 3)
    wallets = [wallet_in(P, COUNT) for _ in range(20)]
    await streams.submit([deposit(wallet_id) for wallet_id in wallets], 100, 100)
    entries = await client.xrange(keys.ready_stream(P))
    await client.xdel(keys.ready_stream(P), *(message_id for message_id, _ in entries[:10]))
    await client.delete(*(keys.wallet_stream(P, wallet_id) for wallet_id in wallets[10:]))
    await client.hincrby(keys.meta(P), "depth", -10)  # type: ignore[misc] # its stubs
    called = await calls_of_functions(client)

    said = await inspect("repair", "--yes")

    assert sum(line.startswith("made wallet") for line in said.lines) == 10
    assert sum(line.startswith("removed the ready message") for line in said.lines) == 10
    left = [fields[b"wallet"].decode() for _, fields in await client.xrange(keys.ready_stream(P))]
    assert sorted(left) == sorted(str(wallet_id) for wallet_id in wallets[:10])
    # Two looks at the library, one restore each, and the ready messages without a stream in four pages.
    assert await calls_of_functions(client) - called >= 2 + 10 + 4


async def test_ready_message_without_a_stream__is_found_and_removed(
    inspect: Inspector, streams: Streams, client: Client
) -> None:
    wallet = await three_waiting(streams)
    await client.delete(keys.wallet_stream(P, wallet))
    await client.hincrby(keys.meta(P), "depth", -3)  # type: ignore[misc] # its stubs

    found = await inspect.check("ready_messages_without_stream")
    did = await inspect("repair", "--yes")

    assert (found["verdict"], found["examples"]) == ("fault", [f"{P}/{wallet}"])
    assert any(line.startswith("removed the ready message") and wallet in line for line in did.lines)
    assert (await inspect.check("ready_messages_without_stream"))["verdict"] == "ok"
    assert await client.xlen(keys.ready_stream(P)) == 1


@pytest.mark.parametrize("by", [5, -2])
async def test_wrong_depth__is_found_and_corrected(
    inspect: Inspector, streams: Streams, client: Client, by: int
) -> None:
    await three_waiting(streams)
    assert (await inspect.check("depth"))["verdict"] == "ok"
    await client.hincrby(keys.meta(P), "depth", by)  # type: ignore[misc] # its stubs

    found = await inspect.check("depth")
    did = await inspect("repair", "--yes")

    assert (found["verdict"], found["examples"]) == ("fault", [f"{P}: {-by:+d}"])
    assert f"corrected the depth of partition {P} by {-by:+d}" in did.lines
    assert await client.hget(keys.meta(P), "depth") == b"4"  # type: ignore[misc] # its stubs


async def test_lost_function_library__is_found_and_loaded(on_own_redis: dict[str, Any], own_redis: Redis) -> None:
    inspect = Inspector(Settings(**on_own_redis))

    found = await inspect.check("function_library")
    did = await inspect("repair", "--yes")

    assert found["verdict"] == "fault"
    assert found["examples"] == [f"{own_redis.host}:{own_redis.port}: none"]
    assert any("loaded version" in line for line in did.lines)
    assert (await inspect.check("function_library"))["verdict"] == "ok"


async def test_repair_that_cannot_go_on__tells_what_it_did_before(
    on_own_redis: dict[str, Any], own_redis: Redis
) -> None:
    streams = Streams(Settings(**on_own_redis))
    await streams.load_library()
    wallet = await three_waiting(streams)
    await streams.submit([deposit(wallet_in(P + 1, COUNT))], 10, 10)
    await streams.close()
    client: Client = Client.from_url(own_redis.url)
    [(first, _), *_] = await client.xrange(keys.ready_stream(P))
    await client.xdel(keys.ready_stream(P), first)
    await client.hincrby(keys.meta(P + 1), "depth", 5)  # type: ignore[misc] # its stubs
    await client.config_set("maxmemory", 1)  # full: what takes away or mends a stream still works, a count does not

    said = await Inspector(Settings(**on_own_redis))("repair", "--yes")
    await client.aclose()

    assert said.code == 1
    assert said.lines[0] == f"made wallet {wallet} of partition {P} ready"
    assert said.lines[1].startswith(f"it ended there: Redis at {own_redis.host}:{own_redis.port} did not answer: ")


async def test_ready_key_of_the_wrong_type__is_named_with_what_to_do_which_helps(
    inspect: Inspector, streams: Streams, client: Client
) -> None:
    wallet = await three_waiting(streams)
    await client.set(keys.ready_stream(P), "by hand")

    for command in ("doctor", "repair --yes", "oldest", "partitions", "overview"):
        said = await inspect(*command.split())
        assert said.code, command
        assert f"has something else at {keys.ready_stream(P)} than this service puts there" in said.err, command
        assert len(said.err.splitlines()) == 1, command

    await client.delete(keys.ready_stream(P))
    assert f"made wallet {wallet} of partition {P} ready" in (await inspect("repair", "--yes")).lines
    assert (await inspect.check("streams_without_ready_message"))["verdict"] == "ok"


async def test_settings_that_endanger_data__are_found(on_own_redis: dict[str, Any], own_redis: Redis) -> None:
    inspect = Inspector(Settings(**on_own_redis))
    assert (await inspect.check("redis_settings"))["verdict"] == "ok"
    client: Client = Client.from_url(own_redis.url)
    await client.config_set("maxmemory-policy", "allkeys-lru")
    await client.config_set("appendonly", "no")
    await client.aclose()

    redis = await inspect.check("redis_settings")
    postgres = await inspect.check("postgres_settings")

    assert redis["verdict"] == "fault"
    assert "allkeys-lru" in redis["line"]
    assert "append-only file is off" in redis["line"]
    assert (postgres["verdict"], postgres["examples"]) == ("fault", ["fsync"])  # the tests' own Postgres
    overview = await inspect.read("overview")
    assert sum("maxmemory-policy is allkeys-lru" in line for line in overview["problems"]) == 1
    # Nobody mends these but the operator: repair says so, and does nothing to them.
    said = await inspect("repair", "--yes")
    assert said.code == 1
    assert any(line.startswith("for you: settings of Redis") for line in said.lines)


async def test_partitions_owned_by_nobody__are_found(inspect: Inspector) -> None:
    found = await inspect.check("owners")

    assert found["verdict"] == "fault"
    assert f"{COUNT} partitions are owned by nobody: 0-{COUNT - 1}" in found["line"]


async def test_worker_that_is_late__is_found(inspect: Inspector, own_service: Service) -> None:
    worker = own_service.start_worker("frozen", SESSION_TIMEOUT_SECONDS="60")

    async def owns_all() -> bool:
        return str((await inspect.check("owners"))["verdict"]) == "ok"

    await until(owns_all, 15)
    assert (await inspect.check("heartbeats"))["verdict"] == "ok"
    worker.pause()

    async def is_late() -> bool:
        return str((await inspect.check("heartbeats"))["verdict"]) == "fault"

    await until(is_late, 5)
    found = await inspect.check("heartbeats")
    worker.resume()
    assert found["examples"][0].startswith("frozen: ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE wallets SET balance = balance + 1 WHERE id = $1", "the balance is 601 minor units"),
        ("UPDATE wallets SET seq = seq + 1 WHERE id = $1", "seq is 4, the last operation is 3"),
        ("DELETE FROM operations WHERE wallet_id = $1 AND seq = 2", "there is a gap between seq 1 and 3"),
        ("UPDATE operations SET balance = 150 WHERE wallet_id = $1 AND seq = 1", "it began with 50 minor units"),
    ],
)
async def test_books_that_do_not_add_up__are_found(
    inspect: Inspector, books: BooksAsTheyStand, change: str, reason: str
) -> None:
    wallet_id = await books.create_wallet(balance=600, seq=3)
    for seq, (amount, balance) in enumerate([(100, 100), (200, 300), (300, 600)], start=1):
        await books.connection.execute(
            "INSERT INTO operations (id, wallet_id, type, amount, status, seq, balance, submitted_at, decided_at) "
            "VALUES (gen_random_uuid(), $1, 'DEPOSIT', $2, 'APPLIED', $3, $4, now(), now())",
            wallet_id,
            amount,
            seq,
            balance,
        )
    assert (await inspect.check("books"))["verdict"] == "ok"
    await books.connection.execute(change, wallet_id)

    found = await inspect.check("books")

    assert found["verdict"] == "fault"
    assert found["examples"][0].startswith(f"{wallet_id}: {reason}")


async def test_sample_of_the_books__is_of_the_whole_file_and_not_of_its_beginning(
    inspect: Inspector, books: BooksAsTheyStand
) -> None:
    await books.connection.execute(
        "INSERT INTO wallets (id, balance, seq) SELECT gen_random_uuid(), 0, CASE WHEN n > 40000 THEN 1 ELSE 0 END"
        " FROM generate_series(1, 50000) AS n"
    )

    line = (await inspect.check("books"))["line"]

    # A fifth, at the end of the file: of 200 some 40, give or take 12 for how pages are drawn.
    assert 5 <= int(line.split(" of 200 sampled wallets do not add up")[0]) <= 90, line


async def test_findings_of_housekeeping__are_told(inspect: Inspector, books: BooksAsTheyStand) -> None:
    await books.connection.execute(
        "INSERT INTO maintenance_runs (job, started_at, finished_at, error) VALUES ('sweep', now(), now(), 'no Redis')"
    )

    found = await inspect.check("housekeeping")

    assert (found["verdict"], found["examples"]) == ("fault", ["sweep: no Redis"])
    assert "housekeeping: sweep failed: no Redis" in (await inspect.read("overview"))["problems"]


async def test_wallets_of_partitions_that_there_are_none_of__are_told(
    inspect: Inspector, books: BooksAsTheyStand
) -> None:
    await books.connection.execute(
        "INSERT INTO maintenance_runs (job, started_at, finished_at, succeeded_at, result)"
        """ VALUES ('sweep', now(), now(), now(), '{"stranded_wallets": 3}')"""
    )
    told = "3 wallets wait in partitions that there are none of"

    found = await inspect.check("housekeeping")

    assert (found["verdict"], found["examples"]) == ("fault", [told])
    assert f"housekeeping: {told}" in (await inspect.read("overview"))["problems"]


async def test_nothing_to_mend__is_said(inspect: Inspector, streams: Streams) -> None:
    await three_waiting(streams)

    said = await inspect("repair", "--yes")

    assert "nothing to mend" in said.lines
    assert said.code == 1  # nobody works, which repair cannot mend
    assert any("owned by nobody" in line for line in said.lines)
