"""Looks through Redis for what a crash or a partial restore left behind, and mends what can be mended without harm.

Guarantees that nothing is removed that somebody alive may need, and that nothing is done to a wallet that is merely
busy: its ready message counts as lost when one and the same message waited through a whole look at the ready stream.
One SCAN of each node does for all, and memory is bounded however many wallets wait. What lies under partitions that
there are none of: `leftovers.py`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog

from shared import keys
from shared.database import Connection
from shared.node import RedisError, is_wrong_type
from shared.nodes import Nodes
from shared.settings import MaintenanceSettings
from worker.housekeeping.leftovers import Leftovers

PAGE = 500  # keys or messages in one go: well under a millisecond of Redis' time
WALLETS_MAX = 100_000  # held in memory at a time, some 15 MB
LOG_WALLETS_MAX = 10

_REPLY_HEAD, _REPLY_TAIL = keys.reply_stream("|").split("|")

# What is not looked for: `meta` and `ready` of an idle partition, one small key each (`last_id` must not be forgotten);
# a ready message without a stream, which its owner finishes; a depth below zero, which the functions correct; a wallet
# under another partition than its own, which whoever owns that one settles like any other: the books are the same.

Wallets = Mapping[int, Sequence[str]]  # by partition

log = structlog.get_logger(__name__)


class Sweep:
    """One look through all nodes."""

    def __init__(self, settings: MaintenanceSettings, nodes: Nodes, connection: Connection) -> None:
        self._partition_count = settings.partition_count
        self._reply_ttl_ms = settings.reply_ttl_seconds * 1000
        self._nodes = nodes
        self._waiting: dict[int, list[str]] = defaultdict(list)
        self._leftovers = Leftovers(settings.partition_count, nodes, connection)
        self._counts: Counter[str] = Counter(waiting_wallets=0, restored=0, reply_keys_expiring=0)

    async def run(self) -> Mapping[str, Any]:
        """Return how many wallets waited, how many were made ready again, and what else was done.

        Raises RedisError, once the nodes that answer were swept, and DatabaseError.
        """
        away: BaseException | None = None
        try:
            await self._walk()
        except RedisError as error:
            away = error
        await self._restore(self._waiting)
        await self._leftovers.end()
        if away:
            raise away
        return {**self._counts, **self._leftovers.counts}

    async def _walk(self) -> None:
        count = 0
        async for found in self._nodes.scan(keys.ALL, PAGE, streams_only=False):
            page = [key.decode(errors="replace") for key in found]
            await self._expire(key for key in page if key.startswith(_REPLY_HEAD) and key.endswith(_REPLY_TAIL))
            await self._leftovers.look(page)
            for partition, wallet in filter(None, map(_wallet_of, page)):
                if partition < self._partition_count:
                    self._waiting[partition].append(wallet)
                    count += 1
            if count >= WALLETS_MAX:
                await self._restore(self._waiting)
                self._waiting.clear()
                count = 0

    # ---- wallets without a ready message ------------------------------------------------------------------------

    async def _restore(self, waiting: Wallets) -> None:
        self._counts["waiting_wallets"] += sum(map(len, waiting.values()))
        for partition, wallets in (await self.lost(waiting)).items():
            ready, meta, prefix = keys.ready_stream(partition), keys.meta(partition), keys.wallet_prefix(partition)
            calls = [("FCALL", "wallet_restore", 3, ready, meta, f"{prefix}{wallet}", wallet) for wallet in wallets]
            answers = await self._many([(ready, call) for call in calls])
            self._counts["restored"] += sum(answers)
            log.warning(
                "restored ready messages", partition=partition, wallets=wallets[:LOG_WALLETS_MAX], count=len(wallets)
            )

    async def lost(self, waiting: Wallets) -> Wallets:
        """Return those of some waiting wallets that certainly have no ready message.

        Two looks: a wallet seen by SCAN and missing in the first may just have been finished. Whoever has the same
        first message before and after the second had messages all through it; a ready message then can only have moved
        to the END of its stream, ahead of the reader, who would have seen it.
        """
        suspects = await self._without_ready(waiting)
        before = await self._first_messages(suspects)
        suspects = await self._without_ready(
            {p: [wallet for wallet in wallets if before[p, wallet]] for p, wallets in suspects.items()}
        )
        after = await self._first_messages(suspects)
        stuck = {
            p: [wallet for wallet in wallets if after[p, wallet] == before[p, wallet]]
            for p, wallets in suspects.items()
        }
        return {p: wallets for p, wallets in stuck.items() if wallets}

    async def _without_ready(self, waiting: Wallets) -> Wallets:
        suspects = {}
        for partition, wallets in waiting.items():
            if not wallets:
                continue
            left = set(wallets)
            stream, after = keys.ready_stream(partition), "-"
            try:
                while left and (page := await self._nodes.one(stream, "XRANGE", stream, after, "+", "COUNT", PAGE)):
                    for _, fields in page:
                        left.discard(fields.get(b"wallet", b"").decode(errors="replace"))
                    after = f"({page[-1][0].decode()}"
            except RedisError as error:
                if not is_wrong_type(error):
                    raise
                continue  # made by hand: nothing can be made ready there until it is deleted
            suspects[partition] = [wallet for wallet in wallets if wallet in left]
        return suspects

    async def _first_messages(self, waiting: Wallets) -> Mapping[tuple[int, str], bytes | None]:
        names = [(partition, wallet) for partition, wallets in waiting.items() for wallet in wallets]
        firsts: dict[tuple[int, str], bytes | None] = {}
        for i in range(0, len(names), PAGE):
            streams = [keys.wallet_stream(*name) for name in names[i : i + PAGE]]
            pages = await self._nodes.many([(s, ("XRANGE", s, "-", "+", "COUNT", 1)) for s in streams])
            for name, page in zip(names[i : i + PAGE], pages, strict=True):
                if isinstance(page, Exception):
                    if not is_wrong_type(page):
                        raise page
                    firsts[name] = None  # made by hand, and nobody's messages
                else:
                    firsts[name] = page[0][0] if page else None
        return firsts

    # ---- reply keys that nothing would remove -------------------------------------------------------------------

    async def _expire(self, reply_keys: Iterable[str]) -> None:
        """Give a reply key that lost its time to live another: of a gateway alive, the next reply renews it."""
        calls = [(key, ("PEXPIRE", key, self._reply_ttl_ms, "NX")) for key in reply_keys]
        expiring = sum(await self._many(calls)) if calls else 0
        if expiring:
            log.warning("reply keys had no time to live", count=expiring)
            self._counts["reply_keys_expiring"] += expiring

    # ---- reading ------------------------------------------------------------------------------------------------

    async def _many(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        answers = await self._nodes.many(calls)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


def _wallet_of(key: str) -> tuple[int, str] | None:
    partition = keys.partition_named_in(key)
    prefix = keys.wallet_prefix(partition or 0)
    return (partition or 0, key.removeprefix(prefix)) if key.startswith(prefix) else None
