"""Real stores for every test: one Postgres and one Redis for the run, a database and a key space for each test."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis

from devstack.cluster import Cluster
from devstack.postgres import Postgres
from devstack.redis import Redis
from shared import logs
from shared.migrations import migrate
from shared.settings import GatewaySettings, Settings, WorkerSettings
from shared.streams import Streams
from tests.service import Client, Service

TEMPLATE = "wallet_template"
REDIS_DATABASES = 16
_numbers = itertools.count(1)
_databases = itertools.count(1)


@pytest.fixture(autouse=True, scope="session")
def _logs() -> None:
    """Log as the service does: structlog's own default draws tracebacks so richly that sessions time out meanwhile."""
    logs.configure(Settings.load().model_copy(update={"log_format": "console"}), "tests")


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """Let what a test starts hear Ctrl-C: a shell that runs `make test &` has all of it ignore SIGINT."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
async def _no_unhandled_errors() -> AsyncIterator[None]:
    """Fail a test in whose time a task died unseen."""
    unhandled: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    yield
    loop.set_exception_handler(None)
    assert not unhandled, unhandled


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A Postgres server for the run. Nothing here outlives a power cut, so it does not sync: that only costs time."""
    server = Postgres(tmp_path_factory.mktemp("postgres") / "data", options={"fsync": "off", "max_connections": "200"})
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Valkey (or Redis) server for the run."""
    server = Redis(tmp_path_factory.mktemp("redis") / "data")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def cluster_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Redis Cluster of three nodes for the tests of a file."""
    nodes = Cluster(tmp_path_factory.mktemp("cluster"))
    nodes.start()
    yield nodes
    nodes.stop()


@pytest.fixture
async def cluster(cluster_nodes: Cluster) -> AsyncIterator[Cluster]:
    """Three nodes that serve, and hold nothing."""
    for node in cluster_nodes.nodes:
        cluster_nodes.ask(node, "FLUSHALL")
    yield cluster_nodes
    await asyncio.to_thread(cluster_nodes.start)  # and again, whatever became of them


@pytest.fixture(scope="session")
async def template(postgres: Postgres) -> str:
    """A migrated database that others are cloned from."""
    await _admin(postgres, f"CREATE DATABASE {TEMPLATE}")
    connection = await asyncpg.connect(host=postgres.host, port=postgres.port, user=postgres.user, database=TEMPLATE)
    await migrate(connection)
    await connection.close()
    return TEMPLATE


async def _settings(postgres: Postgres, redis_url: str, template: str, *, shared: bool = False) -> dict[str, Any]:
    number = next(_numbers)
    # Database 0 is the shared service's own.
    url = redis_url.rsplit("/", 1)[0] + f"/{0 if shared else 1 + number % (REDIS_DATABASES - 1)}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return {**await books_of(postgres, template), "redis_url": url}


async def books_of(postgres: Postgres, template: str) -> dict[str, Any]:
    """Return the settings of a fresh database."""
    name = f"wallet_{next(_databases)}"
    await _admin(postgres, f"CREATE DATABASE {name} TEMPLATE {template}")
    return {
        "postgres_host": postgres.host,
        "postgres_port": postgres.port,
        "postgres_user": postgres.user,
        "postgres_db": name,
    }


@pytest.fixture
async def stores(postgres: Postgres, valkey: Redis, template: str) -> dict[str, Any]:
    """The store settings of one test: a fresh database and an empty key space."""
    return await _settings(postgres, valkey.url, template)


@pytest.fixture
def gateway_settings(stores: dict[str, Any]) -> GatewaySettings:
    return GatewaySettings(**stores)


@pytest.fixture
def worker_settings(stores: dict[str, Any]) -> WorkerSettings:
    return WorkerSettings(**stores, worker_name="worker-under-test")


@pytest.fixture
async def streams(gateway_settings: GatewaySettings) -> AsyncIterator[Streams]:
    """The streams of this test's key space, with the library loaded."""
    opened = Streams(gateway_settings)
    await opened.load_library()
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
async def service(
    postgres: Postgres, valkey: Redis, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """One running service for all tests that break nothing: one gateway, one worker."""
    settings = Settings(**await _settings(postgres, valkey.url, template, shared=True))
    running = Service(settings, tmp_path_factory.mktemp("service"))
    running.start_gateway()
    running.start_worker()
    await running.wait_ready()
    yield running
    assert running.stop() == [0, 0]


@pytest.fixture
async def own_service(stores: dict[str, Any], tmp_path: Path) -> AsyncIterator[Service]:
    """A service of one's own, nothing started yet: for tests that start, stop and kill its processes."""
    own = Service(Settings(**stores), tmp_path)
    yield own
    own.stop()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    """A client of the shared service."""
    opened = Client(service.url)
    yield opened
    await opened.close()


async def _admin(postgres: Postgres, statement: str) -> None:
    connection = await asyncpg.connect(
        host=postgres.host, port=postgres.port, user=postgres.user, database=postgres.database
    )
    await connection.execute(statement)
    await connection.close()
