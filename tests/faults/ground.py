"""One fault test's ground: its stores, its processes, and the witness of what clients are told."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from redis.asyncio import Redis as RedisClient

from devstack.cluster import Cluster
from devstack.postgres import Postgres
from devstack.process import ChildProcess
from devstack.redis import Redis
from shared import keys
from shared.settings import Settings
from tests.faults.checker import Witness, check
from tests.service import Answer, Client, Service
from tests.waiting import until


@dataclass
class Ground:
    """One test's stores, its service (nothing started yet), and the witness of what clients are told."""

    postgres: Postgres
    redis: Redis  # on a Cluster: the first node
    service: Service
    redis_client: RedisClient
    nodes: Cluster | None = None
    witness: Witness = field(default_factory=Witness)
    _clients: list[Client] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        """Where the stores really are, past any proxy."""
        return self.service.settings

    @property
    def cluster(self) -> Cluster:
        """The three nodes, where this ground has them in place of one Redis."""
        assert self.nodes is not None, "this ground has one Redis"
        return self.nodes

    def client(self, gateway: str = "") -> Client:
        """Return a new client of one gateway, the first by default."""
        client = Client(self.service.urls[gateway] if gateway else self.service.url)
        self._clients.append(client)
        return client

    def start_crashing_worker(self, point: str, signal: str = "SIGKILL", **environment: str) -> None:
        """Start a worker that sends itself a signal at a named point (`crashing_worker.py`)."""
        self.service.start_worker(
            "crashing", module="tests.faults.crashing_worker", CRASH_POINT=point, CRASH_SIGNAL=signal, **environment
        )

    async def ready_with(
        self, *, gateway: dict[str, str] | None = None, worker: dict[str, str] | None = None
    ) -> Client:
        """Start a gateway and, unless `worker` is None, a worker, each with its environment; returns a client."""
        self.service.start_gateway("gateway", None, **(gateway or {}))
        if worker is not None:
            self.service.start_worker(**worker)
        await self.service.wait_ready("/healthz" if worker is None else "/readyz")
        return self.client()

    async def heal(self, gateways: int, workers: int) -> None:
        """Make everything whole that was killed, frozen or added, until so many gateways and workers are ready."""
        service = self.service
        for store in (self.postgres, self.redis):
            await asyncio.to_thread(store.resume)
            await asyncio.to_thread(store.start)
        if self.nodes is not None:
            await asyncio.to_thread(self.nodes.start)
        for process in service.workers.values():
            process.resume()
        for name in [name for name, process in service.workers.items() if not process.is_alive]:
            del service.workers[name]
        for name in list(service.workers)[workers:]:
            await asyncio.to_thread(service.workers.pop(name).stop)
        for _ in range(workers - len(service.workers)):
            await asyncio.to_thread(service.start_worker)
        for name in list(service.gateways)[gateways:]:
            await asyncio.to_thread(service.gateways.pop(name).stop)
            del service.urls[name]
        for name, process in list(service.gateways.items()):
            if not process.is_alive:  # at its old address: its clients come back to it
                await asyncio.to_thread(service.start_gateway, name, int(service.urls[name].rpartition(":")[2]))
        for _ in range(gateways - len(service.gateways)):
            await asyncio.to_thread(service.start_gateway)
        await service.wait_ready()

    async def configure(self, environment: Mapping[str, str]) -> None:
        """Give what is started from now on this environment; a gateway that has another one is stopped."""
        if environment == self.service.environment:
            return
        self.service.environment = environment
        for process in self.service.gateways.values():
            await asyncio.to_thread(process.stop)

    async def until_queued(self, wallet_id: str, messages: int) -> None:
        """Wait until so many messages wait in a wallet's stream."""

        async def look() -> bool:
            return int(await self.redis_client.xlen(self.wallet_stream(wallet_id))) == messages

        await until(look)

    def wallet_stream(self, wallet_id: str) -> str:
        """Return the key of a wallet's stream."""
        return keys.wallet_stream(self.partition(wallet_id), wallet_id)

    def partition(self, wallet_id: str) -> int:
        return keys.partition_of(UUID(wallet_id), self.settings.partition_count)

    async def check_books(self) -> None:
        """Compare what every client was told with the stores."""
        await check(self.witness, self.settings)

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


@asynccontextmanager
async def ground_over(
    postgres: Postgres,
    redis: Redis | Cluster,
    database: str,
    logs: Path,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Ground]:
    """Open a ground over stores that run; its processes are killed in the end."""
    cluster = redis if isinstance(redis, Cluster) else None
    first = redis.nodes[0] if isinstance(redis, Cluster) else redis
    settings = Settings.model_validate(
        {
            "postgres_host": postgres.host,
            "postgres_port": postgres.port,
            "postgres_user": postgres.user,
            "postgres_db": database,
            "redis_url": cluster.urls if cluster else redis.url,
            "redis_cluster": cluster is not None,
        }
    )
    service = Service(settings, logs, environment or {})
    async with RedisClient.from_url(first.url) as redis_client:
        ground = Ground(postgres, first, service, redis_client, cluster)
        try:
            yield ground
        finally:
            await ground.close()
            for process in (*service.gateways.values(), *service.workers.values()):
                process.kill()


def start(operation: Coroutine[Any, Any, Answer | None]) -> "asyncio.Task[Answer | None]":
    return asyncio.create_task(operation)


async def ended(process: ChildProcess) -> int:
    """Wait until a child process has ended; returns its exit code."""

    async def look() -> bool:
        return not process.is_alive

    await until(look, 10)
    return process.exit_code or 0


def assert_applied(answer: Answer | None, balance: str, *, replayed: bool | None = False) -> None:
    """Check a 200: the balance, and whether it is an earlier request's outcome (None: either is right)."""
    assert answer is not None
    assert (answer.status, answer.body.get("balance")) == (200, balance), answer
    assert replayed is None or ("Idempotency-Replayed" in answer.headers) == replayed


async def until_balance(client: Client, wallet_id: str, balance: str) -> None:
    async def look() -> bool:
        answer = await client.get(f"/api/v1/wallets/{wallet_id}")
        return answer.status == 200 and bool(answer.body["balance"] == balance)

    await until(look, 10)
