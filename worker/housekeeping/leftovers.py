"""What lies in Redis under partitions that this database does not have: of an installation before it, or made by hand.

Guarantees that no command is removed that the books have no outcome of, whoever is at work meanwhile: a wallet's stream
goes only as a worker's `finish` takes it, up to the last message that was looked at. What holds anything undecided, or
cannot be told, is kept, counted and named.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import structlog

import sql
from shared import keys
from shared.codec import texts_of
from shared.database import Connection
from shared.ids import read_id
from shared.messages import START, Claim, Message
from shared.node import is_refused
from shared.nodes import Nodes

WALLETS = 50  # looked at together
MESSAGES = 100  # of each of them, in one go: with the above some 5 MB, and one statement of 5,000 ids
SECONDS_MAX = 20.0  # of one sweep; what was not looked at by then is kept, and counted as such
# A partition in which something was submitted so lately may be somebody's who shares this Redis: it keeps its keys.
QUIET_MS = 600_000
EXAMPLES_MAX = 10

STRANDED, KEPT, REMOVED = "stranded_wallets", "kept_leftovers", "removed_leftovers"

Entries = list[tuple[bytes, dict[bytes, bytes]]]

log = structlog.get_logger(__name__)


class Leftovers:
    """Of one sweep: `look` at pages of keys as they are found, then `end`."""

    def __init__(self, partition_count: int, nodes: Nodes, connection: Connection) -> None:
        self.counts: Counter[str] = Counter({STRANDED: 0, KEPT: 0, REMOVED: 0})
        self._partition_count = partition_count
        self._nodes = nodes
        self._connection = connection
        self._ends = asyncio.get_running_loop().time() + SECONDS_MAX
        self._partitions: dict[int, bool] = {}  # whether a wallet of it is kept
        self._examples: list[str] = []

    async def look(self, found: Iterable[str]) -> None:
        """Remove the wallet streams among some keys that hold nothing undecided; raises RedisError, DatabaseError."""
        wallets = []
        for key in found:
            partition = keys.partition_named_in(key)
            if partition is None or partition < self._partition_count:
                continue
            self._partitions.setdefault(partition, False)
            if "\ufffd" in key:
                self._keep(KEPT, partition, key)  # not as it is spelled: it cannot be asked for
            elif key.startswith(keys.wallet_prefix(partition)):
                wallets.append((partition, key.removeprefix(keys.wallet_prefix(partition))))
            elif key not in {keys.ready_stream(partition), keys.meta(partition), keys.dead_stream(partition)}:
                self._keep(KEPT, partition, key)  # nothing that the service makes
        for start in range(0, len(wallets), WALLETS):
            await self._look_at(wallets[start : start + WALLETS])

    async def end(self) -> None:
        """Remove what is left of partitions without a wallet, and tell what was removed and what is kept."""
        for partition, has_wallets in self._partitions.items():
            await self._clear(partition, has_wallets=has_wallets)
        if self.counts[REMOVED]:
            log.warning("removed leftovers of partitions that there are none of", count=self.counts[REMOVED])
        if self.counts[STRANDED] or self.counts[KEPT]:
            log.warning(
                "kept leftovers of partitions that there are none of",
                wallets=self.counts[STRANDED],
                others=self.counts[KEPT],
                keys=self._examples,
            )

    # ---- wallets ------------------------------------------------------------------------------------------------

    async def _look_at(self, wallets: Sequence[tuple[int, str]]) -> None:
        if asyncio.get_running_loop().time() > self._ends:
            for partition, wallet in wallets:
                self._keep(STRANDED, partition, keys.wallet_stream(partition, wallet))
            return
        heads = await self._read([(keys.wallet_stream(*wallet), "-") for wallet in wallets])
        recorded = await self._recorded(entry for head in heads for entry in head or ())
        claims = []
        for (partition, wallet), head in zip(wallets, heads, strict=True):
            last = None if head is None else await self._last_decided(partition, wallet, head, recorded)
            if last is None:
                self._keep(STRANDED, partition, keys.wallet_stream(partition, wallet))
            else:
                claims.append(Claim(partition, wallet, START, [Message(last, {})] if last else []))
        await self._finish(claims)

    async def _last_decided(
        self, partition: int, wallet: str, page: Entries, recorded: set[tuple[UUID, UUID]]
    ) -> str | None:
        """Return the last message id of a stream that is in the books to its end, "" of an empty one; else None."""
        stream, last = keys.wallet_stream(partition, wallet), ""
        while all(_operation_of(wallet, fields) in recorded for _, fields in page):
            last = page[-1][0].decode() if page else last
            if len(page) < MESSAGES:
                return last
            [next_page] = await self._read([(stream, f"({last}")])
            page = next_page or []
            recorded = await self._recorded(page)
        return None

    async def _read(self, streams: Sequence[tuple[str, str]]) -> list[Entries | None]:
        """Return a page of each stream from a place on; None of what is no stream."""
        calls = [(stream, ("XRANGE", stream, after, "+", "COUNT", MESSAGES)) for stream, after in streams]
        return [None if isinstance(page, Exception) else page for page in await self._many(calls)]

    async def _recorded(self, entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> set[tuple[UUID, UUID]]:
        """Return which of some messages' operations the books have: their ids, each with its wallet's."""
        ids = [id_ for _, fields in entries if (id_ := _id_in(texts_of(fields).get("id", "")))]
        rows = await self._connection.fetch(sql.query("recorded_ids"), ids) if ids else []
        return {(row["id"], row["wallet_id"]) for row in rows}

    async def _finish(self, claims: Sequence[Claim]) -> None:
        calls: list[tuple[str, Sequence[Any]]] = []
        for claim in claims:
            ready, stream = keys.ready_stream(claim.partition), keys.wallet_stream(claim.partition, claim.wallet)
            on = (ready, keys.meta(claim.partition), stream)
            # What came meanwhile is behind the last message that was looked at, and stays.
            calls.append((stream, ("FCALL", "wallet_finish", 3, *on, 1, claim.wallet, claim.ready_id, claim.keep_from)))
            calls.append((stream, ("EXISTS", stream)))
        answers = await self._many(calls)
        for claim, still_there in zip(claims, answers[1::2], strict=True):
            if still_there:
                self._keep(STRANDED, claim.partition, keys.wallet_stream(claim.partition, claim.wallet))
            else:
                self.counts[REMOVED] += 1

    # ---- the rest of a partition --------------------------------------------------------------------------------

    async def _clear(self, partition: int, *, has_wallets: bool) -> None:
        """Remove what the service made of a partition, where no wallet and no dead letter needs it."""
        ready, meta, dead = keys.ready_stream(partition), keys.meta(partition), keys.dead_stream(partition)
        expected = {ready: b"stream", meta: b"hash", dead: b"stream"}
        letters, last_id, (seconds, _), *types = await self._many(
            [
                (dead, ("XLEN", dead)),
                (meta, ("HGET", meta, "last_id")),
                (ready, ("TIME",)),
                *((key, ("TYPE", key)) for key in expected),
            ]
        )
        # What lies beside a wallet that is kept belongs to it, and is not counted by itself.
        needed = {ready, meta} if has_wallets else set()
        there = {key: type_ for key, type_ in zip(expected, types, strict=True) if type_ != b"none"}
        removable = []
        for key, type_ in there.items():
            if type_ != expected[key] or (key == dead and letters):
                self._keep(KEPT, partition, key)
            elif key in needed:
                continue
            elif _is_quiet(last_id, 1000 * seconds):
                removable.append(key)
            else:
                self._keep(KEPT, partition, key)
        if removable:
            [removed] = await self._many([(ready, ("DEL", *removable))])
            self.counts[REMOVED] += removed if isinstance(removed, int) else 0

    # ---- both ---------------------------------------------------------------------------------------------------

    def _keep(self, count: str, partition: int, key: str) -> None:
        self.counts[count] += 1
        if len(self._examples) < EXAMPLES_MAX:
            self._examples.append(key)
        if count == STRANDED:
            self._partitions[partition] = True

    async def _many(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Run commands; an answer that says no, as to a key of another type, is an exception. Raises any other."""
        answers = await self._nodes.many(calls)
        for answer in answers:
            if isinstance(answer, Exception) and not is_refused(answer):
                raise answer
        return answers


def _operation_of(wallet: str, fields: dict[bytes, bytes]) -> tuple[UUID | None, UUID | None]:
    return _id_in(texts_of(fields).get("id", "")), _id_in(wallet)


def _id_in(text: str) -> UUID | None:
    try:
        return read_id(text)
    except ValueError:
        return None


def _is_quiet(last_id: object, now_ms: int) -> bool:
    """Tell whether the last message of a partition, as its `meta` has it, is old; it is also where there is none."""
    if last_id is None:
        return True
    milliseconds = last_id.partition(b"-")[0] if isinstance(last_id, bytes) else b""
    return milliseconds.isdigit() and int(milliseconds[:20]) < now_ms - QUIET_MS
