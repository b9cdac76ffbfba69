"""Looks through Redis for what a crash or a partial restore left behind, and mends what can be mended without harm.

Guarantees that nothing is removed that somebody alive may need, and that nothing is done to a wallet that is merely
busy: its ready message counts as lost when one and the same message waited through a whole look at the ready stream.
One SCAN of each node does for all partitions, and memory is bounded however many wallets wait.
"""

import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import structlog

from shared import keys
from shared.nodes import Nodes
from shared.settings import MaintenanceSettings

PAGE = 500  # keys or messages in one go: well under a millisecond of Redis' time
WALLETS_MAX = 100_000  # held in memory at a time, some 15 MB
LOG_WALLETS_MAX = 10

_REPLY_HEAD, _REPLY_TAIL = keys.reply_stream("|").split("|")
# The partition in a wallet stream's key: also one beyond this database's, left by an earlier one.
_WALLET_STREAM = re.compile(re.escape(keys.wallet_prefix(0)).replace("00", r"(\d+)") + "(.+)", re.DOTALL)

# What is not looked for: `meta` and `ready` of an idle partition, one small key each (`last_id` must not be forgotten);
# a ready message without a stream, which its owner finishes; a depth below zero, which the functions correct.

Wallets = Mapping[int, Sequence[str]]  # by partition

log = structlog.get_logger(__name__)


class Sweep:
    """One look through all nodes."""

    def __init__(self, settings: MaintenanceSettings, nodes: Nodes) -> None:
        self._partition_count = settings.partition_count
        self._reply_ttl_ms = settings.reply_ttl_seconds * 1000
        self._nodes = nodes
        self._counts: Counter[str] = Counter(waiting_wallets=0, restored=0, reply_keys_expiring=0, stranded_wallets=0)

    async def run(self) -> Mapping[str, Any]:
        """Return how many wallets waited, how many were made ready again, and what else was seen; raises RedisError."""
        for node in await self._a_key_of_each_node():
            waiting: dict[int, list[str]] = defaultdict(list)
            count = 0
            async for page in self._streams(node):
                await self._expire(key for key in page if key.startswith(_REPLY_HEAD) and key.endswith(_REPLY_TAIL))
                for partition, wallet in filter(None, map(_wallet_of, page)):
                    if partition < self._partition_count:
                        waiting[partition].append(wallet)
                        count += 1
                    else:
                        # Commands of another database: not ours to apply, and not ours to throw away.
                        self._counts["stranded_wallets"] += 1
                if count >= WALLETS_MAX:
                    await self._restore(waiting)
                    waiting.clear()
                    count = 0
            await self._restore(waiting)
        if self._counts["stranded_wallets"]:
            log.warning("wallets wait in partitions that there are none of", count=self._counts["stranded_wallets"])
        return dict(self._counts)

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
            while left and (page := await self._nodes.one(stream, "XRANGE", stream, after, "+", "COUNT", PAGE)):
                for _, fields in page:
                    left.discard(fields.get(b"wallet", b"").decode(errors="replace"))
                after = f"({page[-1][0].decode()}"
            suspects[partition] = [wallet for wallet in wallets if wallet in left]
        return suspects

    async def _first_messages(self, waiting: Wallets) -> Mapping[tuple[int, str], bytes | None]:
        names = [(partition, wallet) for partition, wallets in waiting.items() for wallet in wallets]
        firsts: dict[tuple[int, str], bytes | None] = {}
        for i in range(0, len(names), PAGE):
            streams = [keys.wallet_stream(*name) for name in names[i : i + PAGE]]
            pages = await self._many([(s, ("XRANGE", s, "-", "+", "COUNT", 1)) for s in streams])
            firsts |= {
                name: page[0][0] if page else None for name, page in zip(names[i : i + PAGE], pages, strict=True)
            }
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

    async def _a_key_of_each_node(self) -> list[str]:
        """Return, for each node that has partitions, a key that leads there."""
        ready = [keys.ready_stream(partition) for partition in range(self._partition_count)]
        if not self._nodes.is_cluster:
            return ready[:1]
        ranges = await self._nodes.one(ready[0], "CLUSTER", "SLOTS")
        slots = await self._many([(key, ("CLUSTER", "KEYSLOT", key)) for key in ready])
        by_owner: dict[Any, str] = {}
        for key, slot in zip(ready, slots, strict=True):
            owner = next((tuple(primary[:2]) for low, high, primary, *_ in ranges if low <= slot <= high), None)
            by_owner.setdefault(owner, key)
        return list(by_owner.values())

    async def _streams(self, node: str) -> AsyncIterator[list[str]]:
        cursor: Any = -1
        while cursor:
            scan = ("SCAN", max(cursor, 0), "COUNT", PAGE, "TYPE", "stream")
            cursor, found = await self._nodes.one(node, *scan)
            yield [key.decode(errors="replace") for key in found]

    async def _many(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        answers = await self._nodes.many(calls)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


def _wallet_of(key: str) -> tuple[int, str] | None:
    match = _WALLET_STREAM.fullmatch(key)
    return (int(match[1]), match[2]) if match else None
