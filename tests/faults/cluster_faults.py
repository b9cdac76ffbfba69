"""What breaks a Redis Cluster: a node that dies or freezes, and a slot that is moved and for a while is half moved."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from devstack.cluster import Cluster
from devstack.redis import Redis
from shared import keys
from tests.faults.ground import Ground
from tests.faults.scenario import Pace
from tests.waiting import until

BUSIEST = (
    "SELECT wallet_id FROM (SELECT wallet_id FROM operations ORDER BY decided_at DESC LIMIT 50) AS latest"
    " GROUP BY wallet_id ORDER BY count(*) DESC LIMIT 1"
)


async def kill_node(ground: Ground, pace: Pace) -> None:
    node = await _busiest_node(ground)
    await asyncio.to_thread(node.kill)
    await pace.pass_seconds(3)
    await asyncio.to_thread(node.start)


async def freeze_node(ground: Ground, pace: Pace) -> None:
    node = await _busiest_node(ground)
    await asyncio.to_thread(node.pause)
    try:
        await pace.pass_seconds(5)
    finally:
        await asyncio.to_thread(node.resume)


async def half_move_slot(ground: Ground, pace: Pace) -> None:
    """Move the busiest partition; stay where some of its keys are gone (TRYAGAIN), then where all are (ASK)."""
    cluster, partition = ground.cluster, await busiest_partition(ground)
    async with half_moved(cluster, partition) as move:
        await move.some(keys.meta(partition))
        await _met(cluster, "TRYAGAIN")
        await pace.pass_seconds(1.5)
        await move.everything()
        await _met(cluster, "ASK")
        await pace.pass_seconds(1.5)


async def _met(cluster: Cluster, word: str) -> None:
    """Wait until somebody is told so by a node from now on."""
    before = await asyncio.to_thread(cluster.errors, word)

    async def is_told() -> bool:
        return await asyncio.to_thread(cluster.errors, word) > before

    await until(is_told)


@dataclass
class Move:
    """A slot that is open on both sides: what has not been moved yet is asked of the one, the rest of the other."""

    cluster: Cluster
    partition: int
    slot: int
    source: Redis
    target: Redis

    async def some(self, *moved: str) -> None:
        """Move these keys: what needs others beside them finds its keys on no side."""
        await asyncio.to_thread(self.cluster.move_keys, self.source, self.target, moved)

    async def everything(self) -> None:
        """Move all keys that are left, and tell nobody."""
        await asyncio.to_thread(self.cluster.move_all_keys, self.slot, self.source, self.target)


@asynccontextmanager
async def half_moved(cluster: Cluster, partition: int) -> AsyncIterator[Move]:
    """Open a partition's slot towards the next node; leaving moves what is left, and closes it."""
    slot = cluster.slot(keys.meta(partition))
    source = await asyncio.to_thread(cluster.owner, slot)
    target = cluster.nodes[(cluster.nodes.index(source) + 1) % len(cluster.nodes)]
    await asyncio.to_thread(cluster.begin_move, slot, source, target)
    try:
        yield Move(cluster, partition, slot, source, target)
    finally:
        await asyncio.to_thread(cluster.end_move, slot, source, target)


async def busiest_partition(ground: Ground) -> int:
    """Return the partition of the wallet that has most of what was decided last."""
    settings = ground.settings
    connection = await asyncpg.connect(
        host=settings.postgres_host,
        port=settings.postgres_port,
        user=settings.postgres_user,
        database=settings.postgres_db,
    )
    try:
        wallet_id = await connection.fetchval(BUSIEST)
    finally:
        await connection.close()
    return ground.partition(str(wallet_id))


async def _busiest_node(ground: Ground) -> Redis:
    partition = await busiest_partition(ground)
    return await asyncio.to_thread(ground.cluster.owner, ground.cluster.slot(keys.meta(partition)))
