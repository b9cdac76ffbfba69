"""Streams under test beside a plain client that looks at what they left in Redis, and a worker of this process."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from redis.asyncio import Redis as Client

from shared import keys
from shared.commands import Command
from shared.messages import Claim
from shared.settings import Settings, WorkerSettings
from shared.streams import Streams
from tests.commands import said_in
from worker.health import Health
from worker.worker import Worker

PARTITIONS = 4
MANY = 1_000
BLOCK_MS = 20  # where nothing is ready
P = 1  # the partition that most tests look at


def streams_over(redis_url: str) -> Streams:
    """Return streams over a server, with few partitions."""
    values: dict[str, Any] = {"redis_url": redis_url, "partition_count": PARTITIONS}
    return Streams(Settings(**values))


@dataclass(frozen=True, slots=True)
class Stage:
    """Streams under test, and a client that looks at what they left in Redis."""

    streams: Streams
    client: Client

    async def submit(self, *commands: Command, wallet_max: int = MANY, partition_max: int = MANY) -> list[str]:
        """Submit commands that must all be accepted."""
        ids = await self.streams.submit(commands, wallet_max, partition_max)
        assert all(isinstance(answer, str) for answer in ids), ids
        return [str(message_id) for message_id in ids]

    async def claim(self, *partitions: int, wallets_max: int = MANY, messages_max: int = MANY) -> list[Claim]:
        return await claim_of(self.streams, partitions or [P], wallets_max, messages_max)

    async def restore(self, wallet_id: UUID) -> int:
        """Make a wallet ready again, as the sweep does; returns whether something waits there."""
        partition = keys.partition_of(wallet_id, PARTITIONS)
        on = [keys.ready_stream(partition), keys.meta(partition), keys.wallet_stream(partition, wallet_id)]
        [answer] = await self.streams._call([("wallet_restore", on, [str(wallet_id)])])
        return int(answer)

    async def finish(self, *claims: Claim) -> None:
        await self.streams.finish(claims, {}, 60, 256)

    async def messages(self, wallet_id: UUID) -> list[str]:
        """Return the message ids that wait for a wallet."""
        entries = await self.client.xrange(keys.wallet_stream(keys.partition_of(wallet_id, PARTITIONS), wallet_id))
        return [message_id.decode() for message_id, _ in entries]

    async def waiting(self, wallet_id: UUID) -> list[str]:
        """Return the operation ids that wait for a wallet, in order."""
        entries = await self.client.xrange(keys.wallet_stream(keys.partition_of(wallet_id, PARTITIONS), wallet_id))
        return [said_in(fields)["id"] for _, fields in entries]

    async def ready(self, partition: int = P) -> list[str]:
        """Return the wallets of a ready stream, in order."""
        return [fields[b"wallet"].decode() for _, fields in await self.client.xrange(keys.ready_stream(partition))]

    async def depth(self, partition: int = P) -> int:
        return int(await self.client.hget(keys.meta(partition), "depth") or 0)  # type: ignore[misc] # its stubs

    async def keys(self) -> set[str]:
        """Return every key there is, but for the two that each partition has for good."""
        fixed = {key for p in range(PARTITIONS) for key in (keys.meta(p), keys.ready_stream(p))}
        return {key.decode() for key in await self.client.keys()} - fixed


@asynccontextmanager
async def working(settings: WorkerSettings) -> AsyncIterator[None]:
    """Have a worker work meanwhile; leaving tells it to stop, and waits until it has."""
    streams, stop = Streams(settings), asyncio.Event()
    running = asyncio.create_task(Worker(settings, streams, Health(settings)).run(stop))
    try:
        yield
    finally:
        stop.set()
        await running
        await streams.close()


async def claim_of(
    streams: Streams, partitions: Sequence[int], wallets_max: int = MANY, messages_max: int = MANY
) -> list[Claim]:
    """Claim what is ready, as a worker does."""
    ready = await streams.wait_ready(partitions, wallets_max, BLOCK_MS)
    return await streams.claim(ready, wallets_max, messages_max)


def in_order(ids: Sequence[str]) -> bool:
    numbers = [tuple(map(int, message_id.split("-"))) for message_id in ids]
    return all(earlier < later for earlier, later in itertools.pairwise(numbers))
