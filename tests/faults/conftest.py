"""Stores that may be killed: one pair for the run, whole again before each test, with a database for each."""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis as RedisClient

from devstack.postgres import Postgres
from devstack.redis import Redis
from shared.settings import Settings
from tests.faults.ground import Ground
from tests.faults.proxy import Proxy
from tests.service import Service

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


@pytest.fixture
async def ground(fragile_postgres: Postgres, fragile_redis: Redis, tmp_path: Path) -> AsyncIterator[Ground]:
    for store in (fragile_postgres, fragile_redis):
        store.resume()
        store.start()
    name = f"faults_{next(_numbers)}"
    admin = await asyncpg.connect(fragile_postgres.url)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    stores: dict[str, Any] = {
        "postgres_host": fragile_postgres.host,
        "postgres_port": fragile_postgres.port,
        "postgres_user": fragile_postgres.user,
        "postgres_db": name,
        "redis_url": fragile_redis.url,
    }
    settings = Settings(**stores)
    async with RedisClient.from_url(fragile_redis.url) as redis_client:
        await redis_client.flushall()
        ground = Ground(fragile_postgres, fragile_redis, Service(settings, tmp_path), redis_client)
        yield ground
        await ground.close()
    for process in (*ground.service.gateways.values(), *ground.service.workers.values()):
        process.kill()


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
