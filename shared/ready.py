"""Waits for ready wallets: one blocking read for all partitions of a single Redis, one for each on a Cluster.

A blocking read holds its connection and, on a Cluster, may name the keys of one slot only. Guarantees that a ready
wallet is returned in its turn, which is over when it is finished; knows nothing of its messages.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import structlog

from shared import keys
from shared.messages import Ready
from shared.node import RedisError, is_wrong_type
from shared.nodes import Nodes

CLUSTER_BLOCK_MS = 500  # each partition costs two reads a second
SHARING_WALLETS = 8  # a wallet that is not alone in a claim has at most this part of its commands
SPOILT_SECONDS = 1.0  # for so long a partition is left out whose key holds something else, then looked at again
ALONE_CLAIMS = 8  # so many after the last one with others: those are about to come back with their next command

log = structlog.get_logger(__name__)


class Shares:
    """What a claim takes of whom, in the light of the claims before it."""

    def __init__(self) -> None:
        self._claims_alone = ALONE_CLAIMS

    def of(self, ready: Sequence[Ready], wallets_max: int, commands_max: int) -> list[tuple[Ready, int]]:
        """Return the wallets to claim now, and how many commands of each.

        Partitions with ready wallets share the limits equally, and have one each at least. What one wallet gets beside
        others, or soon after, is small: they do not wait for it.
        """
        is_alone = len(ready) == 1 and self._claims_alone >= ALONE_CLAIMS
        self._claims_alone = self._claims_alone + 1 if len(ready) == 1 else 0
        wallet_max = commands_max if is_alone else max(1, commands_max // SHARING_WALLETS)
        return list(_share_out(ready, wallets_max, commands_max, wallet_max))


def _share_out(
    ready: Sequence[Ready], wallets_max: int, commands_max: int, wallet_max: int
) -> Iterator[tuple[Ready, int]]:
    by_partition: dict[int, list[Ready]] = defaultdict(list)
    for wallet in ready:
        by_partition[wallet.partition].append(wallet)
    for wallets in by_partition.values():
        commands_share = max(1, commands_max // len(by_partition))
        chosen = wallets[: min(max(1, wallets_max // len(by_partition)), commands_share)]
        for wallet in chosen:
            yield wallet, min(wallet_max, commands_share // len(chosen))


class ReadyReader(Protocol):
    """What the two have in common."""

    async def wait(self, partitions: Sequence[int], wallets_max: int, block_ms: int) -> list[Ready]:
        """Return the first ready wallets of some partitions, [] after the block; raises RedisError."""

    async def close(self) -> None:
        """End the reads under way."""


class SingleReader:
    """One read for all, but for those whose key somebody has put something else at: one would hold up the others."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._shared_by = 1  # partitions that had ready wallets when there last were any
        self._spoilt: set[int] = set()
        self._look_again_at = 0.0

    async def wait(self, partitions: Sequence[int], wallets_max: int, block_ms: int) -> list[Ready]:
        if self._spoilt:
            if time.monotonic() >= self._look_again_at:
                await self._look_for_spoilt(partitions)
            partitions = [partition for partition in partitions if partition not in self._spoilt]
            if not partitions:
                await asyncio.sleep(block_ms / 1000)
                return []
        # Of each partition: as many as it may have if there are as many as last time. There may be more of them now:
        # what is read and not claimed is read again.
        count = max(1, wallets_max // self._shared_by)
        try:
            answer = await self._nodes.read([keys.ready_stream(p) for p in partitions], count, block_ms)
        except RedisError as error:
            if not is_wrong_type(error):
                raise
            await self._look_for_spoilt(partitions)
            return []
        self._shared_by = len(answer) or 1
        return list(_ready_in(answer))

    async def close(self) -> None:
        """Nothing goes on between two waits."""

    async def _look_for_spoilt(self, partitions: Sequence[int]) -> None:
        names = [keys.ready_stream(partition) for partition in partitions]
        types = await self._nodes.many([(name, ("TYPE", name)) for name in names])
        for answer in types:
            if isinstance(answer, Exception):
                raise answer
        found = {p for p, type_ in zip(partitions, types, strict=True) if type_ not in (b"stream", b"none")}
        if new := found - self._spoilt:
            _tell_spoilt(new)
        if mended := (self._spoilt & set(partitions)) - found:
            _tell_mended(mended)
        self._spoilt = (self._spoilt - set(partitions)) | found
        self._look_again_at = time.monotonic() + SPOILT_SECONDS


class ClusterReader:
    """One read per partition, which goes on over several waits. A node that is away leaves its partitions unready."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._reads: dict[int, asyncio.Task[list[Ready]]] = {}
        self._unread: set[int] = set()  # partitions whose last read failed: their node is away
        self._spoilt: set[int] = set()  # partitions whose key holds something else

    async def wait(self, partitions: Sequence[int], wallets_max: int, block_ms: int) -> list[Ready]:
        for partition in partitions:
            if partition not in self._reads:
                self._reads[partition] = asyncio.create_task(self._read(partition, wallets_max))
        await asyncio.wait(self._reads.values(), timeout=block_ms / 1000, return_when=asyncio.FIRST_COMPLETED)
        done = [partition for partition, read in self._reads.items() if read.done()]
        reads = {partition: self._reads.pop(partition).result() for partition in done}
        return [wallet for partition in done if partition in partitions for wallet in reads[partition]]

    async def close(self) -> None:
        for read in self._reads.values():
            read.cancel()
        await asyncio.gather(*self._reads.values(), return_exceptions=True)
        self._reads.clear()

    async def _read(self, partition: int, wallets_max: int) -> list[Ready]:
        try:
            stream = keys.ready_stream(partition)
            ready = list(_ready_in(await self._nodes.read([stream], wallets_max, CLUSTER_BLOCK_MS)))
        except RedisError as error:
            self._note_failure(partition, error)
            await asyncio.sleep(CLUSTER_BLOCK_MS / 1000)
            return []
        if partition in self._spoilt:
            self._spoilt.discard(partition)
            _tell_mended([partition])
        if partition in self._unread:
            self._unread.discard(partition)
            if not self._unread:
                log.info("all partitions are read again")
        return ready

    def _note_failure(self, partition: int, error: Exception) -> None:
        if is_wrong_type(error):
            if partition not in self._spoilt:
                _tell_spoilt([partition])
            self._spoilt.add(partition)
            return
        if not self._unread:  # one line for all that a node has
            log.warning("cannot read partitions", first=partition, error=repr(error))
        self._unread.add(partition)


def _tell_spoilt(partitions: Iterable[int]) -> None:
    log.error(
        "ready keys that hold no stream",
        keys=[keys.ready_stream(partition) for partition in sorted(partitions)],
        what_to_do="delete them: their partitions go on, and the sweep makes the wallets ready that wait",
    )


def _tell_mended(partitions: Iterable[int]) -> None:
    log.info("ready keys are in order again", keys=[keys.ready_stream(partition) for partition in sorted(partitions)])


def _ready_in(answer: Iterable[Any]) -> Iterator[Ready]:
    for key, entries in answer:
        partition = keys.partition_of_key(key)
        for ready_id, fields in entries:
            yield Ready(partition, ready_id.decode(), fields.get(b"wallet", b"").decode(errors="replace"))
