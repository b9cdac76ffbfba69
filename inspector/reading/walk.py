"""Walks through all partitions and compares what stands in their ready streams, their wallet streams and their `meta`.

Works beside live traffic: what looks wrong is looked at again before it is called so. Guarantees that memory holds the
wallets of a group of partitions at most, never of all of them.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from inspector.progress import progress
from inspector.reading.sampling import PAGE, pages, wallet_in
from inspector.stores import Stores
from shared import keys

GROUP_WALLETS = 250_000  # ready wallets remembered at a time: some 30 MB
FAULTS_MAX = 10_000  # of one kind; what is beyond is found by the next look
AGAIN_SECONDS = 0.5  # pause before what looks wrong is looked at again: far above any batch
DEPTH_LOOKS = 3


@dataclass(frozen=True, slots=True)
class Hollow:
    """A ready message whose wallet has no messages."""

    partition: int
    ready_id: str
    wallet: str


@dataclass(slots=True)
class Faults:
    """What is wrong in the streams. `depths` is what has to be added to each partition's depth."""

    lost: list[tuple[int, str]] = field(default_factory=list)
    is_cut: bool = False  # whether more may be lost than was looked at
    hollow: list[Hollow] = field(default_factory=list)
    depths: dict[int, int] = field(default_factory=dict)
    depths_unknown: list[int] = field(default_factory=list)
    wallets: int = 0
    messages: int = 0


@dataclass(slots=True)
class Walk:
    """One partition from end to end: its meta before and after, and its ready wallets in between."""

    before: Sequence[bytes | None]
    after: Sequence[bytes | None] = ()
    wallets: set[str] = field(default_factory=set)
    waiting: int = 0
    hollow: list[Hollow] = field(default_factory=list)

    def missing_depth(self, waiting_unready: int) -> int | None:
        """Return what is missing in `depth`: 0 when it may well be right, None when traffic hides it."""
        depth, depth_after = int(self.before[0] or 0), int(self.after[0] or 0)
        waiting = self.waiting + waiting_unready
        if self.before[1] is None or self.after[1] is None:
            return waiting - depth if self.before == self.after else None
        came = int(self.after[1]) - int(self.before[1])
        went = came - (depth_after - depth)
        if came < 0 or went < 0:
            return None
        if depth - went <= waiting <= depth + came:
            return 0
        return waiting - depth if came == went == 0 else None


async def walk(stores: Stores) -> Faults:
    """Walk through everything."""
    faults = Faults()
    lengths = await stores.many([(s, ("XLEN", s)) for s in map(keys.ready_stream, stores.partitions)])
    ready = dict(zip(stores.partitions, lengths, strict=True))
    for group in _groups(ready):
        with progress("ready wallets", sum(ready[p] for p in group)) as step:
            walks = {p: await _walk(stores, p, step) for p in group}
        suspects, cut = await _suspects(stores, walks)
        lost = await still_lost(stores, suspects)
        for p, partition in walks.items():
            faults.wallets += len(partition.wallets)
            faults.messages += partition.waiting
            faults.hollow += partition.hollow[: FAULTS_MAX - len(faults.hollow)]
            if p in cut:  # what waits unready there was not looked at: any sum would be too small
                faults.depths_unknown.append(p)
            else:
                await _compare_depth(stores, faults, p, partition, [wallet for at, wallet in lost if at == p])
        faults.is_cut = faults.is_cut or bool(cut) or len(faults.lost) + len(lost) > FAULTS_MAX
        faults.lost += lost[: FAULTS_MAX - len(faults.lost)]
    if faults.hollow:
        await asyncio.sleep(AGAIN_SECONDS)
        faults.hollow = await _still_hollow(stores, faults.hollow)
    return faults


def _groups(ready: Mapping[int, int]) -> Iterator[list[int]]:
    """Cut the partitions into groups with few enough ready wallets; one partition is a group, however full."""
    group: list[int] = []
    for partition, wallets in ready.items():
        if group and sum(ready[p] for p in group) + wallets > GROUP_WALLETS:
            yield group
            group = []
        group.append(partition)
    yield group


async def _walk(stores: Stores, partition: int, step: Callable[[int], None]) -> Walk:
    meta = keys.meta(partition)
    seen = Walk(await stores.one(meta, "HMGET", meta, "depth", "submitted", "last_id"))
    async for page in pages(stores, keys.ready_stream(partition)):
        wallets = [wallet_in(entry) for entry in page]
        streams = [keys.wallet_stream(partition, wallet) for wallet in wallets]
        lengths = await stores.many([(s, ("XLEN", s)) for s in streams])
        for entry, wallet, waiting in zip(page, wallets, lengths, strict=True):
            if not waiting:
                seen.hollow.append(Hollow(partition, entry[0].decode(), wallet))
            if wallet not in seen.wallets:  # put back at the end of the line meanwhile
                seen.wallets.add(wallet)
                seen.waiting += waiting
        step(len(page))
    seen.after = await stores.one(meta, "HMGET", meta, "depth", "submitted", "last_id")
    return seen


async def _suspects(stores: Stores, walks: Mapping[int, Walk]) -> tuple[list[tuple[int, str]], set[int]]:
    """Return the wallets of these partitions that have a stream and were not seen ready, and where there are more."""
    partitions = {keys.wallet_prefix(p): p for p in walks}
    suspects: dict[tuple[int, str], None] = {}  # in order, each once: SCAN may bring a key twice
    cut: set[int] = set()
    with progress("all streams", None) as step:
        async for page in stores.scan("*", PAGE):
            for key in page:
                prefix, colon, wallet = key.decode(errors="replace").rpartition(":")
                p = partitions.get(prefix + colon)
                if p is None or wallet in walks[p].wallets or (p, wallet) in suspects:
                    continue
                if len(suspects) < FAULTS_MAX:
                    suspects[p, wallet] = None
                else:
                    cut.add(p)
            step(len(page))
    return list(suspects), cut


async def still_lost(stores: Stores, suspects: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return those wallets that certainly have messages and no ready message.

    Became ready since, or waits unseen? Its ready message is looked for once more, and its head must not have moved:
    who is finished meanwhile goes to the end of the line, ahead of this look.
    """
    if not suspects:
        return []
    before = await _heads(stores, suspects)
    await asyncio.sleep(AGAIN_SECONDS)
    again = {p: (await _walk(stores, p, lambda _: None)).wallets for p in {p for p, _ in suspects}}
    after = await _heads(stores, suspects)
    return [
        (p, wallet)
        for (p, wallet), old, new in zip(suspects, before, after, strict=True)
        if old and old == new and wallet not in again[p]
    ]


async def _heads(stores: Stores, wallets: Sequence[tuple[int, str]]) -> list[list[bytes]]:
    streams = [keys.wallet_stream(p, wallet) for p, wallet in wallets]
    answers = await stores.many([(s, ("XRANGE", s, "-", "+", "COUNT", 1)) for s in streams])
    return [[entry[0] for entry in entries] for entries in answers]


async def _compare_depth(stores: Stores, faults: Faults, p: int, seen: Walk, lost: Sequence[str]) -> None:
    streams = [keys.wallet_stream(p, wallet) for wallet in lost]
    unready = sum(await stores.many([(s, ("XLEN", s)) for s in streams]))
    missing = seen.missing_depth(unready)
    for _ in range(DEPTH_LOOKS - 1):
        if missing == 0:
            return
        await asyncio.sleep(AGAIN_SECONDS / DEPTH_LOOKS)
        missing = (await _walk(stores, p, lambda _: None)).missing_depth(unready)
    if missing is None:
        faults.depths_unknown.append(p)
    elif missing:
        faults.depths[p] = missing


async def _still_hollow(stores: Stores, suspects: Sequence[Hollow]) -> list[Hollow]:
    """Return those that have not changed: a worker's batch under way looks the same for a moment."""
    calls = []
    for hollow in suspects:
        ready, stream = keys.ready_stream(hollow.partition), keys.wallet_stream(hollow.partition, hollow.wallet)
        calls += [(stream, ("XLEN", stream)), (ready, ("XRANGE", ready, hollow.ready_id, hollow.ready_id))]
    answers = await stores.many(calls)
    return [h for i, h in enumerate(suspects) if not answers[2 * i] and answers[2 * i + 1]]
