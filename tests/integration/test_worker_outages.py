"""What a worker says and counts while a store is away: once that it went, once that it is back, and nothing false."""

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from redis.asyncio import Redis as Client
from structlog.testing import capture_logs

from devstack import ports
from devstack.postgres import Postgres
from devstack.process import ChildProcess
from devstack.redis import Redis
from shared import keys
from shared.database import connect
from shared.migrations import migrate
from shared.settings import Settings, WorkerSettings
from shared.streams import Streams
from tests.books import BooksAsTheyStand
from tests.commands import deposit
from tests.integration.stage import working
from tests.scraping import scrape, total
from tests.service import Service
from tests.waiting import until
from worker import metrics

TRIES = 8  # of a worker whose store is away: a line for each would be seen
START_SECONDS_MAX = 15.0


def said(worker: ChildProcess) -> Counter[str]:
    return Counter(json.loads(line)["event"] for line in worker.log_path.read_text().splitlines())


async def counted(port: int, name: str, **labels: str) -> float:
    return total(await scrape(port), name, **labels)


async def knocked(postgres: Postgres, times: int) -> None:
    """Wait until somebody wanted to speak to a Postgres that is away for so many times."""
    came = 0
    enough = asyncio.Event()

    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came
        came += 1
        writer.close()
        if came >= times:
            enough.set()

    async with await asyncio.start_server(refuse, postgres.host, postgres.port):
        async with asyncio.timeout(20):
            await enough.wait()


async def test_postgres_restarted__one_session_is_lost_and_the_outage_is_told_in_two_lines(
    valkey: Redis, tmp_path: Path
) -> None:
    postgres = Postgres(tmp_path / "own-postgres", options={"fsync": "off"})
    postgres.start()
    values: dict[str, Any] = {"postgres_host": postgres.host, "postgres_port": postgres.port, "redis_url": valkey.url}
    settings = Settings(**{**values, "redis_url": f"{valkey.url.rsplit('/', 1)[0]}/15"})
    connection = await connect(settings, "test")
    await migrate(connection)
    await connection.close()
    service = Service(settings, tmp_path)
    port = ports.pick_free()
    worker = service.start_worker(METRICS_PORT=str(port), SESSION_TIMEOUT_SECONDS="30")

    async def owns_all() -> bool:
        return await counted(port, "wallet_worker_partitions_owned") == settings.partition_count

    try:
        await until(owns_all, START_SECONDS_MAX)
        await asyncio.to_thread(postgres.stop)

        async def noticed() -> bool:
            return said(worker)["postgres is away"] > 0

        await until(noticed)
        await knocked(postgres, TRIES)
        await asyncio.to_thread(postgres.start)
        await until(owns_all, START_SECONDS_MAX)

        assert await counted(port, "wallet_worker_sessions_lost_total") == 1
        lines = said(worker)
        assert {event: lines[event] for event in ("session lost", "postgres is away", "postgres answers again")} == {
            "session lost": 1,
            "postgres is away": 1,
            "postgres answers again": 1,
        }
        assert lines["took partitions"] == 2
    finally:
        service.stop()
        postgres.stop()


async def test_redis_killed_and_started_again__the_outage_is_told_in_two_lines(
    on_own_redis: dict[str, Any], own_redis: Redis, tmp_path: Path
) -> None:
    service = Service(Settings(**on_own_redis), tmp_path)
    port = ports.pick_free()
    worker = service.start_worker(METRICS_PORT=str(port))

    async def owns_all() -> bool:
        return await counted(port, "wallet_worker_partitions_owned") == service.settings.partition_count

    async def has_tried() -> bool:
        return await counted(port, "wallet_worker_redis_failures_total", step="claim") >= TRIES

    async def is_back() -> bool:
        return said(worker)["redis answers again"] > 0

    try:
        await until(owns_all, START_SECONDS_MAX)
        own_redis.kill()
        await until(has_tried, 10)
        await asyncio.to_thread(own_redis.restart)
        await until(is_back, 10)
    finally:
        service.stop()

    lines = said(worker)
    assert (lines["redis is away"], lines["redis answers again"]) == (1, 1)
    known = {"took partitions", "redis is away", "redis answers again", "released partitions", "waiting for a store"}
    assert lines.keys() <= known
    assert lines["took partitions"] == 1


async def test_redis_that_only_reads__is_told_once_although_claims_succeed(
    on_own_redis: dict[str, Any], own_redis: Redis
) -> None:
    settings = WorkerSettings(**on_own_redis, worker_name="here")
    connection = await connect(settings, "test")
    books = BooksAsTheyStand(connection)
    streams = Streams(settings)
    await streams.load_library()
    client: Client = Client.from_url(own_redis.url)
    wallet_id = await books.create_wallet()
    await streams.submit([deposit(wallet_id)], 10, 10)
    await client.replicaof("127.0.0.1", str(ports.pick_free()))  # a replica answers reads, and refuses to write
    failed_before = metrics.FINISH_FAILURES._value.get()

    async def has_failed() -> bool:
        return bool(metrics.FINISH_FAILURES._value.get() >= failed_before + TRIES)

    async def is_finished() -> bool:
        return not bool(await client.exists(keys.wallet_stream(keys.partition_of(wallet_id, 64), wallet_id)))

    with capture_logs() as lines:
        async with working(settings):
            await until(has_failed, 15)
            await client.replicaof("NO", "ONE")
            await until(is_finished)
    await streams.close()
    await client.aclose()
    await connection.close()

    events = Counter(line["event"] for line in lines)
    assert (events["redis is away"], events["redis answers again"]) == (1, 1)


async def test_workers_that_want_the_same_partitions__say_what_they_took_and_no_more(
    stores: dict[str, Any], streams: Streams
) -> None:
    names = [f"worker-{number}" for number in range(8)]
    settings = [WorkerSettings(**stores, worker_name=name) for name in names]

    async def owned() -> int:
        taken = sum(line["partitions"] for line in lines if line["event"] == "took partitions")
        given_back = sum(line["partitions"] for line in lines if line["event"] == "released partitions")
        return int(taken - given_back)

    async def all_are_owned() -> bool:
        return await owned() == settings[0].partition_count

    with capture_logs() as lines:
        async with AsyncExitStack() as workers:
            await asyncio.gather(*(workers.enter_async_context(working(one)) for one in settings))
            await until(all_are_owned, 15)

    took = [line["partitions"] for line in lines if line["event"] == "took partitions"]
    assert took
    assert 0 not in took
