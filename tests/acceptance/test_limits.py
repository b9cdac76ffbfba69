"""No more requests under way than a gateway can carry, and none that waits for Postgres without an end."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median

import asyncpg
import pytest

from gateway.looks import LOOK_SECONDS_MAX
from shared.database import DatabaseLost, open_pool
from shared.settings import GatewaySettings
from tests.acceptance.problems import assert_problem
from tests.service import Answer, Client, Service
from tests.waiting import until

REQUESTS_MAX = 8
AT_ONCE_SECONDS_MAX = 0.5


@pytest.fixture
async def alone(own_service: Service) -> AsyncIterator[Client]:
    """A client of a gateway that takes few requests at once, and behind which no worker runs yet."""
    own_service.start_gateway("", None, REQUESTS_MAX=str(REQUESTS_MAX), POSTGRES_POOL_MAX="2")
    await own_service.wait_ready("/healthz")
    client = Client(own_service.url)
    yield client
    await client.close()


@asynccontextmanager
async def locked_wallets(service: Service) -> AsyncIterator[None]:
    """Keep every reader of the wallets waiting, as a migration that went wrong would."""
    settings = service.settings
    connection = await asyncpg.connect(
        host=settings.postgres_host,
        port=settings.postgres_port,
        user=settings.postgres_user,
        database=settings.postgres_db,
    )
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE wallets IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def on_a_new_connection(service: Service, ask: Callable[[Client], Awaitable[Answer]]) -> Answer:
    """Ask on a connection that no request was refused on: that would rest for a second."""
    client = Client(service.url)
    try:
        return await ask(client)
    finally:
        await client.close()


async def test_more_requests_than_allowed__503_at_once_and_those_before_are_served(
    alone: Client, own_service: Service
) -> None:
    wallet_id = await alone.create_wallet()
    path = f"/api/v1/wallets/{wallet_id}"
    sent = [asyncio.create_task(alone.deposit(wallet_id, 1)) for _ in range(REQUESTS_MAX + 5)]

    async def is_full() -> bool:
        """Those beyond the limit have their answer."""
        return sum(task.done() for task in sent) == 5

    await until(is_full)
    took_seconds = []
    for _ in range(20):
        began = time.monotonic()
        read = await on_a_new_connection(own_service, lambda client: client.get(path))
        written = await on_a_new_connection(own_service, lambda client: client.deposit(wallet_id, 100))
        took_seconds.append(time.monotonic() - began)
        assert_problem(read, 503, "unavailable", path)
        assert_problem(written, 503, "unavailable", f"{path}/operation")
        assert int(read.headers["Retry-After"]) >= 1
    assert median(took_seconds) < AT_ONCE_SECONDS_MAX
    assert (await alone.get("/healthz")).status == 200
    assert (await alone.get("/readyz")).body["missing"]  # its own answer: it was not refused

    own_service.start_worker()
    statuses = [answer.status for answer in await asyncio.gather(*sent)]
    assert sorted(statuses) == [200] * REQUESTS_MAX + [503] * 5
    assert await alone.balance(wallet_id) == f"{REQUESTS_MAX}.00"


async def test_client_that_asks_again_at_once__is_not_read_before_its_retry_after(
    alone: Client, own_service: Service
) -> None:
    wallet_id = await alone.create_wallet()
    waiting = [asyncio.create_task(alone.deposit(wallet_id, 1, prefer="wait=3")) for _ in range(REQUESTS_MAX + 1)]
    impatient = Client(own_service.url, connections_max=1)

    async def is_full() -> bool:
        return sum(task.done() for task in waiting) == 1

    await until(is_full)
    refused = await impatient.get(f"/api/v1/wallets/{wallet_id}")
    began = time.monotonic()
    again = await impatient.get(f"/api/v1/wallets/{wallet_id}")
    rested_seconds = time.monotonic() - began

    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert again.status in {200, 503}
    assert rested_seconds > 0.9
    assert {answer.status for answer in await asyncio.gather(*waiting)} == {202, 503}
    await impatient.close()


async def test_refused_connection__is_read_again_once_there_is_room_to_spare(
    alone: Client, own_service: Service
) -> None:
    wallet_id = await alone.create_wallet()
    worker = own_service.start_worker()
    await own_service.wait_ready()
    worker.pause()  # and not away: it has to serve them within the second that a refused connection rests
    waiting = [asyncio.create_task(alone.deposit(wallet_id, 1)) for _ in range(REQUESTS_MAX + 5)]
    patient = [Client(own_service.url, connections_max=1) for _ in range(5)]

    async def is_full() -> bool:
        return sum(task.done() for task in waiting) == 5

    await until(is_full)
    for client in patient:
        assert (await client.get(f"/api/v1/wallets/{wallet_id}")).status == 503
    worker.resume()
    await asyncio.gather(*waiting)

    async def time_again(client: Client) -> float:
        began = time.monotonic()
        assert (await client.get(f"/api/v1/wallets/{wallet_id}")).status == 200
        await client.close()
        return time.monotonic() - began

    took_seconds = await asyncio.gather(*map(time_again, patient))
    assert min(took_seconds) < AT_ONCE_SECONDS_MAX


async def test_hot_wallet_whose_clients_wait__does_not_lock_others_out(own_service: Service) -> None:
    own_service.start_gateway("", None, REQUESTS_MAX="20", WALLET_REQUESTS_MAX="5")
    await own_service.wait_ready("/healthz")
    client = Client(own_service.url)
    hot, other = await client.create_wallet(), await client.create_wallet()
    sent = [asyncio.create_task(client.deposit(hot, 1)) for _ in range(15)]

    async def is_limited() -> bool:
        return sum(task.done() for task in sent) == 10

    await until(is_limited)
    elsewhere = asyncio.create_task(client.deposit(other, 1))
    own_service.start_worker()

    assert (await elsewhere).status == 200
    answers = await asyncio.gather(*sent)
    assert sorted(answer.status for answer in answers) == [200] * 5 + [429] * 10
    for answer in answers:
        if answer.status == 429:
            assert_problem(answer, 429, "wallet_queue_full", f"/api/v1/wallets/{hot}/operation")
            assert int(answer.headers["Retry-After"]) >= 1
    await client.close()


async def test_reads_while_postgres_answers_none__503_in_time_for_all_of_them(
    alone: Client, own_service: Service
) -> None:
    path = f"/api/v1/wallets/{await alone.create_wallet()}"
    async with locked_wallets(own_service):

        async def read() -> float:
            began = time.monotonic()
            answer = await alone.get(path)
            assert_problem(answer, 503, "unavailable", path)
            assert int(answer.headers["Retry-After"]) >= 1
            return time.monotonic() - began

        seconds = sorted(await asyncio.gather(*(read() for _ in range(REQUESTS_MAX - 1))))

    # One query was for the first, and the others waited for the next; they are not kept for as long again.
    assert seconds[0] == pytest.approx(LOOK_SECONDS_MAX, abs=0.5)
    assert seconds[-1] == pytest.approx(LOOK_SECONDS_MAX, abs=0.5)
    assert (await alone.get(path)).status == 200


async def test_wait_for_a_connection_that_was_given_up__takes_none_away(gateway_settings: GatewaySettings) -> None:
    async with await open_pool(gateway_settings, "limits", 1) as pool:
        async with pool.acquire():
            for _ in range(3):
                with pytest.raises(DatabaseLost):
                    await pool.acquire(timeout=0.05)
        assert await pool.fetchval("SELECT 1") == 1
