"""What integration tests share: a Redis of one's own, the books, and sessions over them."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from redis.asyncio import Redis as Client

from devstack.redis import Redis
from shared.database import connect
from shared.settings import Settings, WorkerSettings
from tests.books import BooksAsTheyStand
from tests.integration.stage import Stage, streams_over
from worker.session import Session


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    """A server of one's own: for tests that kill, freeze or fill it."""
    server = Redis(tmp_path / "own-redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def on_own_redis(stores: dict[str, Any], own_redis: Redis) -> dict[str, Any]:
    """The store settings of a test that breaks its Redis."""
    return {**stores, "redis_url": own_redis.url}


@pytest.fixture
async def books(stores: dict[str, Any]) -> AsyncIterator[BooksAsTheyStand]:
    """The books of this test's database."""
    connection = await connect(Settings(**stores), "test")
    yield BooksAsTheyStand(connection)
    await connection.close()


class OpenSession(Protocol):
    """Opens a worker session that ends with the test; settings may differ from the usual ones."""

    async def __call__(self, **changes: object) -> Session: ...


@pytest.fixture
async def open_session(worker_settings: WorkerSettings) -> AsyncIterator[OpenSession]:
    """A way to open worker sessions that end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_one(**changes: object) -> Session:
            return await stack.enter_async_context(Session.open(worker_settings.model_copy(update=changes)))

        yield open_one


@pytest.fixture
async def session(open_session: OpenSession) -> Session:
    """One worker session."""
    return await open_session()


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """Each kind of Redis in turn, for this module alone: some tests take its functions away."""
    folder = tmp_path_factory.mktemp("functions") / "data"
    running = Redis(folder) if request.param == "valkey" else Redis.real(folder)
    if running is None:
        pytest.skip("no redis-server of Redis itself is installed: the functions are tried on Valkey only")
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def stage(server: Redis) -> AsyncIterator[Stage]:
    client: Client = Client.from_url(server.url)
    await client.flushall()
    await client.execute_command("FUNCTION FLUSH")  # type: ignore[no-untyped-call]
    streams = streams_over(server.url)
    await streams.load_library()
    yield Stage(streams, client)
    await streams.close()
    await client.aclose()
