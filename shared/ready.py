"""Waits for ready wallets: one blocking read for all partitions of a single Redis, one for each on a Cluster.

A blocking read holds its connection and, on a Cluster, may name the keys of one slot only. Guarantees that a partition
whose ready stream has a message beyond its cursor is returned; knows nothing of what is claimed then.
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import structlog

from shared import keys
from shared.messages import START
from shared.nodes import Nodes, RedisError

BUSY_MESSAGES = 8  # a claim that brought as many is most likely followed by one that finds something, too
CLUSTER_BLOCK_MS = 500  # a cursor that was set back is seen this soon; each partition costs two reads a second

log = structlog.get_logger(__name__)


class ReadyReader(Protocol):
    """What the two have in common."""

    async def wait(self, cursors: Mapping[int, str], block_ms: int) -> list[int]:
        """Return what may have a ready message beyond its cursor, [] after the block; raises RedisError."""

    def note(self, messages: int) -> None:
        """Hear how many messages the last claim brought."""

    async def close(self) -> None:
        """End the reads under way."""


class SingleReader:
    """One read for all; none while there is much to do: the claim itself, one call for all, finds out what is ready."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._is_busy = False

    def note(self, messages: int) -> None:
        self._is_busy = messages >= BUSY_MESSAGES

    async def wait(self, cursors: Mapping[int, str], block_ms: int) -> list[int]:
        if self._is_busy:
            return list(cursors)
        by_key = {keys.ready_stream(partition).encode(): partition for partition in cursors}
        wanted = {keys.ready_stream(partition): after for partition, after in cursors.items()}
        return [by_key[key] for key, _ in await self._nodes.read(wanted, 1, block_ms)]

    async def close(self) -> None:
        """Nothing goes on between two waits."""


class ClusterReader:
    """One read per partition, which goes on over several waits. A node that is away leaves its partitions unready."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._reads: dict[int, asyncio.Task[bool]] = {}
        self._afters: dict[int, str] = {}

    def note(self, messages: int) -> None:
        """A claim is a call for each partition: it is worth knowing which."""

    async def wait(self, cursors: Mapping[int, str], block_ms: int) -> list[int]:
        rewound = []
        for partition, after in cursors.items():
            if partition not in self._reads:
                self._reads[partition] = asyncio.create_task(self._has_more(partition, after))
            elif after == START != self._afters[partition]:
                rewound.append(partition)  # its read goes on beyond what may be there to be claimed again
            self._afters[partition] = after
        if rewound:
            return rewound
        await asyncio.wait(self._reads.values(), timeout=block_ms / 1000, return_when=asyncio.FIRST_COMPLETED)
        done = [partition for partition, read in self._reads.items() if read.done()]
        more = [partition for partition in done if self._reads.pop(partition).result()]
        return [partition for partition in more if partition in cursors]

    async def close(self) -> None:
        for read in self._reads.values():
            read.cancel()
        await asyncio.gather(*self._reads.values(), return_exceptions=True)
        self._reads.clear()

    async def _has_more(self, partition: int, after: str) -> bool:
        try:
            return bool(await self._nodes.read({keys.ready_stream(partition): after}, 1, CLUSTER_BLOCK_MS))
        except RedisError as error:
            log.warning("cannot read a partition", partition=partition, error=repr(error))
            await asyncio.sleep(CLUSTER_BLOCK_MS / 1000)
            return False
