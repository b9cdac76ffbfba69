"""Watches commands and outcomes as they pass.

Commands are seen in the streams, looked at again and again: one that is settled between two looks is seen by its
outcome alone. Outcomes are seen in the gateways' reply keys, which keep them for a while: those of commands that
nobody waits for are not there. Removes nothing and blocks nobody.
"""

import time
from collections import OrderedDict
from collections.abc import Iterable
from uuid import UUID

from inspector.reading.operations import reply_keys
from inspector.reading.sampling import Entry, ms_of, pages, redis_ms, time_of, wallet_in
from inspector.reading.wallets import amount_of
from inspector.seen import Passed
from inspector.stores import Stores
from shared import keys
from shared.codec import decode_replies, texts_of
from shared.money import format_units

LOOK_SECONDS = 0.2
GATEWAYS_SECONDS = 10.0  # between two looks for gateways that were not seen by a command of theirs
NO_GATEWAY_SECONDS = 1.0  # the same while none is known: the reply key of one that rests is not there
READY_PAGE = 100  # newly ready wallets of a partition that one look follows
HEAD = 20  # waiting messages of one wallet that one look shows
REMEMBERED = 50_000  # messages that are not shown a second time


class Passing:
    """What passes from the first look on; of one wallet, or of all."""

    def __init__(self, stores: Stores, wallet_id: UUID | None) -> None:
        self._stores = stores
        self._wallet_id = wallet_id
        self._since_ms = 0
        self._ready: dict[int, str] = {}
        self._replies: dict[str, str] = {}
        self._shown: OrderedDict[tuple[int, str], None] = OrderedDict()
        self._looked_for_gateways_at = float("-inf")

    async def look(self) -> list[Passed]:
        """Return what came since the last look, in order."""
        if not self._since_ms:
            self._since_ms = await redis_ms(self._stores)
            self._ready = dict.fromkeys(self._stores.partitions, self._before)
        every_seconds = GATEWAYS_SECONDS if self._replies else NO_GATEWAY_SECONDS
        if time.monotonic() - self._looked_for_gateways_at > every_seconds:
            self._looked_for_gateways_at = time.monotonic()
            self._know(await reply_keys(self._stores))
        passed = [*await self._commands(), *await self._outcomes()]
        return sorted(passed, key=lambda one: (one.at, one.kind))

    def _know(self, gateways: Iterable[str]) -> None:
        for key in gateways:
            self._replies.setdefault(key, self._before)

    @property
    def _before(self) -> str:
        """An id to read on from: what came in the very millisecond of the first look is seen."""
        return f"{self._since_ms - 1}-0"

    async def _commands(self) -> list[Passed]:
        wallets = await self._wallets()
        streams = [keys.wallet_stream(p, wallet) for p, wallet in wallets]
        first = f"{self._since_ms}-0"
        heads = await self._stores.many([(s, ("XRANGE", s, first, "+", "COUNT", HEAD)) for s in streams])
        passed = []
        for (p, wallet), entries in zip(wallets, heads, strict=True):
            for entry in entries:
                mark = (p, entry[0].decode())
                if mark not in self._shown:
                    self._shown[mark] = None
                    passed.append(self._command(wallet, entry))
        while len(self._shown) > REMEMBERED:
            self._shown.popitem(last=False)
        return passed

    async def _wallets(self) -> list[tuple[int, str]]:
        """Return the wallets to look at: the one that was asked for, or those that became ready."""
        if self._wallet_id:
            partition = keys.partition_of(self._wallet_id, self._stores.settings.partition_count)
            return [(partition, str(self._wallet_id))]
        calls = []
        for p, after in self._ready.items():
            stream = keys.ready_stream(p)
            calls.append((stream, ("XRANGE", stream, f"({after}", "+", "COUNT", READY_PAGE)))
        wallets: dict[tuple[int, str], None] = {}
        for p, entries in zip(list(self._ready), await self._stores.many(calls), strict=True):
            for entry in entries:
                wallets[p, wallet_in(entry)] = None
            if entries:
                self._ready[p] = entries[-1][0].decode()
        return list(wallets)

    def _command(self, wallet: str, entry: Entry) -> Passed:
        message_id, fields = entry
        said = texts_of(fields)
        if reply_to := said.get("reply_to"):
            self._know([reply_to])
        return Passed(time_of(message_id), "command", wallet, said.get("id", ""), said.get("type", ""), amount_of(said))

    async def _outcomes(self) -> list[Passed]:
        passed = []
        for key, after in list(self._replies.items()):
            async for page in pages(self._stores, key, first=f"({after}", size=100):
                self._replies[key] = page[-1][0].decode()
                for message_id, fields in page:
                    passed += self._outcomes_of(message_id, fields.get(b"outcomes", b"[]"))
        return passed

    def _outcomes_of(self, message_id: bytes, outcomes: bytes) -> list[Passed]:
        if ms_of(message_id) < self._since_ms:
            return []
        return [
            Passed(
                time_of(message_id),
                "outcome",
                str(operation.wallet_id),
                str(operation.id),
                operation.type,
                format_units(operation.amount),
                operation.status,
                operation.reason,
                operation.seq,
                format_units(operation.balance),
            )
            for operation in (reply.operation for reply in decode_replies(outcomes))
            if self._wallet_id in {None, operation.wallet_id}
        ]
