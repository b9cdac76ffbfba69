"""Looks for those that wait longest.

A wallet's age is that of its first message. Who became ready first stands first, but for wallets that were put back at
the end with older messages: with few ready wallets all are looked at, with many the first and last of each partition,
unless all are asked for. Guarantees that memory holds no more than a page and the result.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from inspector.progress import progress
from inspector.reading.partitions import owners
from inspector.reading.sampling import PAGE, Entry, ms_of, pages, redis_ms, wallet_in
from inspector.seen import OldestSeen, WaitingWallet
from inspector.stores import Stores
from shared import keys
from shared.codec import texts_of

HOT_SAMPLE = 10  # from each end of each partition's line: this is looked at every second
LOOKS_MAX = 20_000  # ready wallets that are all looked at without being asked to: about a second


class _Longest:
    """The `limit` wallets with the oldest first message, of all that are offered; a wallet counts once."""

    def __init__(self, limit: int, now_ms: int, owned: Mapping[int, str]) -> None:
        self._limit, self._now_ms, self._owned = limit, now_ms, owned
        self._heap: list[tuple[float, str, WaitingWallet]] = []
        self.looked_at = 0

    def offer(self, partition: int, wallet: str, first: Entry) -> None:
        age_seconds = max(0.0, (self._now_ms - ms_of(first[0])) / 1000)
        if len(self._heap) == self._limit and age_seconds <= self._heap[0][0]:
            return
        if any(kept == wallet for _, kept, _ in self._heap):
            return
        operation_id = texts_of(first[1]).get("id", "")
        seen = WaitingWallet(wallet, partition, self._owned.get(partition), age_seconds, 0, operation_id)
        push = heapq.heappush if len(self._heap) < self._limit else heapq.heapreplace
        push(self._heap, (age_seconds, wallet, seen))

    def result(self) -> list[WaitingWallet]:
        return [seen for *_, seen in sorted(self._heap, key=lambda item: (-item[0], item[1]))]


async def read_oldest(stores: Stores, limit: int, *, everyone: bool) -> OldestSeen:
    """Look for the wallets whose first message waits longest."""
    lengths = await stores.many([(s, ("XLEN", s)) for s in map(keys.ready_stream, stores.partitions)])
    ready = sum(lengths)
    longest = _Longest(limit, await redis_ms(stores), await owners(stores))
    if everyone or ready <= LOOKS_MAX:
        with progress("looking at all ready wallets", ready) as step:
            for partition in stores.partitions:
                async for page in pages(stores, keys.ready_stream(partition)):
                    await _offer(stores, longest, partition, page)
                    step(len(page))
    else:
        each = min(PAGE, max(limit, LOOKS_MAX // (2 * len(stores.partitions))))
        for partition in stores.partitions:
            ends = await _ends(stores, [partition], each)
            await _offer(stores, longest, partition, ends[partition])
    return OldestSeen(await _with_queues(stores, longest.result()), ready, longest.looked_at)


async def read_hottest(stores: Stores, limit: int) -> list[WaitingWallet]:
    """Look for the longest queues among the first and last ready wallets of each partition.

    A hot wallet is put back at the end again and again: it is never far from either end.
    """
    ends = await _ends(stores, stores.partitions, HOT_SAMPLE)
    sample = list(dict.fromkeys((p, wallet_in(entry)) for p, entries in ends.items() for entry in entries))
    calls = []
    for p, wallet in sample:
        stream = keys.wallet_stream(p, wallet)
        calls += [(stream, ("XLEN", stream)), (stream, ("XRANGE", stream, "-", "+", "COUNT", 1))]
    answers = await stores.many(calls)
    now_ms, owned = await redis_ms(stores), await owners(stores)
    seen = []
    for i, (p, wallet) in enumerate(sample):
        waiting, first = answers[2 * i], answers[2 * i + 1]
        if first:
            message_id, fields = first[0]
            operation_id = texts_of(fields).get("id", "")
            age_seconds = max(0.0, (now_ms - ms_of(message_id)) / 1000)
            seen.append(WaitingWallet(wallet, p, owned.get(p), age_seconds, waiting, operation_id))
    return heapq.nlargest(limit, seen, key=lambda wallet: (wallet.waiting, wallet.oldest_age_seconds))


async def _ends(stores: Stores, partitions: Sequence[int], each: int) -> dict[int, list[Entry]]:
    """Return the first and the last messages of these partitions' ready streams."""
    calls = []
    for stream in map(keys.ready_stream, partitions):
        calls.append((stream, ("XRANGE", stream, "-", "+", "COUNT", each)))
        calls.append((stream, ("XREVRANGE", stream, "+", "-", "COUNT", each)))
    answers = await stores.many(calls)
    ends = {}
    for i, partition in enumerate(partitions):
        ends[partition] = list({entry[0]: entry for entry in (*answers[2 * i], *answers[2 * i + 1])}.values())
    return ends


async def _with_queues(stores: Stores, wallets: Sequence[WaitingWallet]) -> list[WaitingWallet]:
    """Return the wallets with how much waits for each: asked last, and of these alone."""
    streams = [keys.wallet_stream(wallet.partition, wallet.wallet_id) for wallet in wallets]
    lengths = await stores.many([(s, ("XLEN", s)) for s in streams])
    return [replace(wallet, waiting=waiting) for wallet, waiting in zip(wallets, lengths, strict=True)]


async def _offer(stores: Stores, longest: _Longest, partition: int, entries: Iterable[Entry]) -> None:
    wallets = list(dict.fromkeys(wallet_in(entry) for entry in entries))
    streams = [keys.wallet_stream(partition, wallet) for wallet in wallets]
    heads = await stores.many([(s, ("XRANGE", s, "-", "+", "COUNT", 1)) for s in streams])
    longest.looked_at += len(wallets)
    for wallet, first in zip(wallets, heads, strict=True):
        if first:
            longest.offer(partition, wallet, first[0])
