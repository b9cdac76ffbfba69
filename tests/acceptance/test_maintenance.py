"""Housekeeping as a process of its own: it does its jobs, keeps its place, and outlives Redis."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from devstack.process import PROJECT_DIR, ChildProcess
from devstack.redis import Redis
from shared import keys
from shared.database import Connection, connect
from shared.settings import Settings
from shared.streams import Streams
from tests.books import BooksAsTheyStand
from tests.commands import deposit
from tests.service import Service
from tests.waiting import until
from worker.maintenance import WorkerSettings, jobs

SLOW = {"RECONCILE_CHUNK_OPERATIONS": "1", "RECONCILE_PAUSE_SECONDS": "0.1"}
WALLETS = 100
EVER = datetime.min.replace(tzinfo=UTC)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path / "own-redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def ground(stores: dict[str, Any], own_redis: Redis, tmp_path: Path) -> Iterator[Service]:
    """Processes over a Redis that may be killed."""
    service = Service(Settings(**{**stores, "redis_url": own_redis.url}), tmp_path)
    yield service
    service.stop()


@pytest.fixture
async def books(ground: Service) -> AsyncIterator[BooksAsTheyStand]:
    connection = await connect(ground.settings, "test")
    yield BooksAsTheyStand(connection)
    await connection.close()


def start(ground: Service, name: str = "maintenance", **environment: str) -> ChildProcess:
    return ground.start_worker(name, module="worker.maintenance", **environment)


async def finished(connection: Connection, job: str, after: datetime = EVER) -> dict[str, Any]:
    """Wait until a run of a job has ended, later than some moment; returns it."""
    query = "SELECT * FROM maintenance_runs WHERE job = $1 AND finished_at > $2"

    async def has_ended() -> object:
        return await connection.fetchrow(query, job, after)

    await until(has_ended, 20)
    row = await connection.fetchrow(query, job, after)
    assert row is not None
    return {**row, "result": msgspec.json.decode(row["result"] or "null")}


async def moved_on(connection: Connection) -> str:
    """Wait until the reconciliation has some wallets behind it; returns the last of them."""
    query = (
        "SELECT wallet_id FROM reconciliation_progress WHERE (SELECT count(*) FROM wallets WHERE id <= wallet_id) > 3"
    )

    async def some_are_done() -> object:
        return await connection.fetchval(query)

    await until(some_are_done, 20)
    return str(await connection.fetchval(query))


async def ended(process: ChildProcess) -> int | None:
    async def look() -> bool:
        return not process.is_alive

    await until(look, 10)
    return process.exit_code


async def test_process__does_every_job_at_its_start_and_says_so(
    ground: Service, books: BooksAsTheyStand, own_redis: Redis
) -> None:
    wallet_id = await books.create_wallet(balance=7)
    streams = Streams(ground.settings)
    await streams.load_library()
    await streams.submit([deposit(wallet_id)], 10, 10)
    await streams.close()
    with redis.Redis.from_url(own_redis.url) as client:
        ready = keys.ready_stream(keys.partition_of(wallet_id, ground.settings.partition_count))
        client.delete(ready)

        process = start(ground)
        runs = {job: await finished(books.connection, job) for job in ("sweep", "reconcile", "statistics")}

        assert {job: run["error"] for job, run in runs.items()} == dict.fromkeys(runs)
        assert runs["sweep"]["result"]["restored"] == client.xlen(ready) == 1
        assert runs["reconcile"]["result"]["open"] == 1
        assert runs["statistics"]["result"]["added"] == 0

        assert 0 < client.pttl("arq:queue:health-check") <= 6_000
        assert client.keys("arq:result:*") == []
    process.signal(signal.SIGTERM)
    assert await ended(process) == 0
    lines = [msgspec.json.decode(line) for line in process.log_path.read_bytes().splitlines()]
    assert {line["job"] for line in lines if line["event"] == "housekeeping done"} == set(runs)


async def test_told_to_stop_in_the_middle_of_a_job__ends_in_order_and_keeps_its_place(
    ground: Service, books: BooksAsTheyStand
) -> None:
    for _ in range(WALLETS):
        await books.create_wallet()
    process = start(ground, **SLOW)
    await moved_on(books.connection)

    process.signal(signal.SIGTERM)

    assert await ended(process) == 0
    run = await books.connection.fetchrow("SELECT * FROM maintenance_runs WHERE job = 'reconcile'")
    assert run is not None
    assert run["finished_at"] is not None
    assert run["error"] is None
    looked_at = msgspec.json.decode(run["result"])["wallets"]
    done = "SELECT count(*) FROM wallets WHERE id <= (SELECT wallet_id FROM reconciliation_progress)"
    assert looked_at == await books.connection.fetchval(done) < WALLETS


async def test_killed_in_the_middle_of_a_job__the_next_process_goes_on_there(
    ground: Service, books: BooksAsTheyStand
) -> None:
    for _ in range(WALLETS):
        await books.create_wallet()
    process = start(ground, **SLOW)
    await moved_on(books.connection)

    process.kill()

    done = "SELECT count(*) FROM wallets WHERE id <= (SELECT wallet_id FROM reconciliation_progress)"
    behind = await books.connection.fetchval(done)
    assert 0 < behind < WALLETS
    run = await books.connection.fetchrow("SELECT * FROM maintenance_runs WHERE job = 'reconcile'")
    assert run is not None
    assert run["finished_at"] is None  # it began and did not end: what a killed run looks like

    start(ground, "next")
    assert (await finished(books.connection, "reconcile"))["result"]["wallets"] == WALLETS - behind


async def test_redis_killed_and_started_again__the_jobs_go_on(
    ground: Service, books: BooksAsTheyStand, own_redis: Redis
) -> None:
    process = start(ground)
    before = await finished(books.connection, "sweep")

    own_redis.kill()

    async def noticed() -> bool:
        return b"redis is away" in process.log_path.read_bytes()

    await until(noticed, 10)
    await asyncio.to_thread(own_redis.restart, empty=True)

    assert (await finished(books.connection, "sweep", before["finished_at"]))["error"] is None
    assert process.is_alive
    process.signal(signal.SIGTERM)
    assert await ended(process) == 0


async def test_redis_that_falls_silent__is_noticed_and_the_jobs_go_on_when_it_speaks(
    ground: Service, books: BooksAsTheyStand, own_redis: Redis
) -> None:
    process = start(ground)
    before = await finished(books.connection, "sweep")

    own_redis.pause()

    async def noticed() -> bool:
        return b"redis is away" in process.log_path.read_bytes()

    await until(noticed, 12)
    own_redis.resume()

    assert (await finished(books.connection, "sweep", before["finished_at"]))["error"] is None


async def test_told_to_stop_while_redis_is_away__ends_in_order(
    ground: Service, books: BooksAsTheyStand, own_redis: Redis
) -> None:
    process = start(ground)
    await finished(books.connection, "sweep")
    own_redis.kill()

    process.signal(signal.SIGTERM)

    assert await ended(process) == 0


async def arq(ground: Service, *arguments: str) -> asyncio.subprocess.Process:
    """Start arq by its own command line, as one who knows arq does."""
    settings = ground.settings
    stores = {
        "POSTGRES_HOST": settings.postgres_host,
        "POSTGRES_PORT": str(settings.postgres_port),
        "POSTGRES_USER": settings.postgres_user,
        "POSTGRES_DB": settings.postgres_db,
        "REDIS_URL": settings.redis_url.get_secret_value(),
    }
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "arq", *arguments, "worker.maintenance.WorkerSettings"),
        cwd=PROJECT_DIR,
        env={**os.environ, **stores},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_run_by_arqs_own_command__every_line_is_json_and_is_there_once(
    ground: Service, books: BooksAsTheyStand
) -> None:
    process = await arq(ground)
    for job in ("sweep", "reconcile", "statistics"):
        await finished(books.connection, job)
    checking = await arq(ground, "--check")
    checked, check_errors = await checking.communicate()
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        out, errors = await process.communicate()

    assert (errors, check_errors, checking.returncode) == (b"", b"", 0)
    lines = [msgspec.json.decode(line) for line in out.splitlines()]
    assert all(line["process"] == "maintenance" and line["timestamp"] for line in lines)
    said = [line["event"] for line in lines if line.get("logger") == "arq.worker"]
    assert said[0].startswith("Starting worker for 3 functions")
    done = Counter(line["job"] for line in lines if line["event"] == "housekeeping done")
    assert set(done) == {"sweep", "reconcile", "statistics"}
    # On a slow machine its time comes twice.
    assert len([event for event in said if "cron:sweep ●" in event]) == done["sweep"]
    [line] = [msgspec.json.decode(line) for line in checked.splitlines()]
    assert line["event"].startswith("Health check successful")


def test_jobs__are_json_even_when_they_failed() -> None:
    written = WorkerSettings.job_serializer({"r": ValueError("x"), "a": ()})

    assert WorkerSettings.job_deserializer(written) == {"r": "x", "a": []}
    assert {job.max_tries for job in jobs()} == {1}
    assert {job.keep_result_s for job in jobs()} == {0}


async def test_wrong_setting__is_one_line(ground: Service) -> None:
    process = start(ground, PARTITION_COUNT="many")

    assert await ended(process) == 1
    [line] = process.log_path.read_text().splitlines()
    assert "PARTITION_COUNT" in line
