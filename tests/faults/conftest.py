"""Stores that may be killed: one pair for the run, whole again before each test, with a database for each."""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis as RedisClient

from devstack.cluster import Cluster
from devstack.postgres import Postgres
from devstack.redis import Redis
from tests.faults.ground import Ground, ground_over
from tests.faults.proxy import Proxy

_numbers = count(1)


@pytest.fixture(scope="session")
def fragile_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A Postgres of its own: what is killed here is killed as a process, so that nothing needs syncing."""
    server = Postgres(tmp_path_factory.mktemp("fragile") / "postgres", options={"fsync": "off"})
    yield server
    server.stop()


@pytest.fixture(scope="session")
def fragile_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis(tmp_path_factory.mktemp("fragile") / "redis")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def fragile_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes of a Redis Cluster, whole: what a test does to them it undoes, or `Ground.heal` does."""
    nodes = Cluster(tmp_path_factory.mktemp("fragile") / "cluster")
    nodes.start()
    yield nodes
    nodes.kill()


async def new_database(postgres: Postgres) -> str:
    """Make this Postgres whole, and an empty database in it; returns its name."""
    postgres.resume()
    postgres.start()
    name = f"faults_{next(_numbers)}"
    admin = await asyncpg.connect(postgres.url)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    return name


async def emptied(redis: Redis) -> Redis:
    """Make this Redis whole, and empty."""
    redis.resume()
    redis.start()
    async with RedisClient.from_url(redis.url) as client:
        await client.flushall()
    return redis


@pytest.fixture
async def ground(fragile_postgres: Postgres, fragile_redis: Redis, tmp_path: Path) -> AsyncIterator[Ground]:
    """Stores of this test alone, and nothing started over them yet."""
    name = await new_database(fragile_postgres)
    async with ground_over(fragile_postgres, await emptied(fragile_redis), name, tmp_path) as ground:
        yield ground


@pytest.fixture
async def ground_on_cluster(
    fragile_postgres: Postgres, fragile_cluster: Cluster, tmp_path: Path
) -> AsyncIterator[Ground]:
    """The same over the three nodes, which keep what earlier tests left."""
    async with ground_over(fragile_postgres, fragile_cluster, await new_database(fragile_postgres), tmp_path) as ground:
        yield ground


@pytest.fixture
async def redis_proxy(fragile_redis: Redis) -> AsyncIterator[Proxy]:
    """A way to Redis that can be cut; give a process `REDIS_URL=proxy.redis_url`."""
    async with Proxy(fragile_redis.host, fragile_redis.port).running() as proxy:
        yield proxy


@pytest.fixture
async def postgres_proxy(fragile_postgres: Postgres) -> AsyncIterator[Proxy]:
    """A way to Postgres that can be cut; give a process `POSTGRES_PORT=str(proxy.port)`."""
    async with Proxy(fragile_postgres.host, fragile_postgres.port).running() as proxy:
        yield proxy
