"""Finds an operation, wherever it is: in the books, in its wallet's stream, among the dead letters, or on its way back.

Guarantees that a recorded operation is found at once, by its key. One that is not decided is looked for in its wallet's
stream; without the wallet, in every stream that is ready, a page at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import sql
from inspector.progress import progress
from inspector.reading.partitions import owners
from inspector.reading.sampling import PAGE, Entry, ms_in, pages, time_of, wallet_in
from inspector.reading.wallets import amount_of
from inspector.seen import OperationWay
from inspector.stores import Stores
from shared import keys
from shared.codec import texts_of
from shared.database import Record
from shared.money import format_units

CLOCKS_MS = 60_000  # how far a gateway's clock may be ahead of that of Redis
HEAD = 50  # messages of one wallet read in one go while all wallets are looked through


@dataclass(frozen=True, slots=True)
class _Found:
    """A message that waits: whose it is, and how many stand before it."""

    partition: int
    wallet: str
    entry: Entry
    ahead: int | None


async def read_operation(stores: Stores, operation_id: UUID, wallet_id: UUID | None) -> OperationWay:
    """Look for an operation; the wallet, where it is known, makes that quick."""
    rows = await stores.rows(sql.query("inspect_operation"), operation_id)
    if rows:
        return await _decided(stores, rows[0])
    found = await _in_stream(stores, operation_id, wallet_id) if wallet_id else await _anywhere(stores, operation_id)
    if found:
        return await _waiting(stores, operation_id, found)
    if rows := await stores.rows(sql.query("inspect_operation"), operation_id):
        return await _decided(stores, rows[0])  # decided while it was looked for
    return await _dead(stores, operation_id) or OperationWay(
        operation_id,
        wallet_id,
        "unknown",
        "neither in the books nor in a stream: never accepted, or still held by a gateway that submits it again",
    )


async def _decided(stores: Stores, row: Record) -> OperationWay:
    partition = keys.partition_of(row["wallet_id"], stores.settings.partition_count)
    reply_key, replied_at = await _reply(stores, row["id"])
    return OperationWay(
        row["id"],
        row["wallet_id"],
        "decided",
        "in the books" + (", and its reply is with its gateway" if reply_key else ""),
        type=row["type"],
        amount=format_units(row["amount"]),
        status=row["status"],
        reason=row["reason"],
        seq=row["seq"],
        balance=format_units(row["balance"]),
        partition=partition,
        owner=(await owners(stores)).get(partition),
        submitted_at=row["submitted_at"],
        claimed_at=row["claimed_at"],
        decided_at=row["decided_at"],
        committed_at=row["committed_at"],
        replied_at=replied_at,
        reply_key=reply_key,
    )


async def reply_keys(stores: Stores) -> list[str]:
    """Return the reply keys of all gateways that were answered lately."""
    found: set[str] = set()
    with progress("looking for reply keys", None) as step:
        async for page in stores.scan(keys.reply_stream("*"), PAGE):
            found.update(key.decode() for key in page)
            step(len(page))
    return sorted(found)


async def _reply(stores: Stores, operation_id: UUID) -> tuple[str | None, datetime | None]:
    """Look for an operation in the replies that gateways' keys still have; they are gone a minute after the last."""
    wanted = f'"{operation_id}"'.encode()
    for key in await reply_keys(stores):
        async for page in pages(stores, key, size=100):
            for message_id, fields in page:
                if wanted in fields.get(b"outcomes", b""):
                    return key, time_of(message_id)
    return None, None


async def _waiting(stores: Stores, operation_id: UUID, found: _Found) -> OperationWay:
    message_id, fields = found.entry
    said = texts_of(fields)
    owner = (await owners(stores)).get(found.partition)
    place = {None: "somewhere in line", 0: "first in line"}.get(found.ahead, f"number {(found.ahead or 0) + 1} in line")
    return OperationWay(
        operation_id,
        _uuid(found.wallet),
        "waiting",
        f"in its wallet's stream, {place}; " + (f"worker {owner} will take it" if owner else "nobody owns it"),
        type=said.get("type", ""),
        amount=amount_of(said),
        partition=found.partition,
        owner=owner,
        message_id=message_id.decode(),
        ahead=found.ahead,
        submitted_at=_time(said.get("submitted_at", "")),
        entered_at=time_of(message_id),
        reply_key=said.get("reply_to") or None,
    )


async def _in_stream(stores: Stores, operation_id: UUID, wallet_id: UUID) -> _Found | None:
    partition = keys.partition_of(wallet_id, stores.settings.partition_count)
    wanted = str(operation_id)
    ahead = 0
    async for page in pages(stores, keys.wallet_stream(partition, wallet_id)):
        for entry in page:
            if texts_of(entry[1]).get("id") == wanted:
                return _Found(partition, str(wallet_id), entry, ahead)
            ahead += 1
    return None


async def _anywhere(stores: Stores, operation_id: UUID) -> _Found | None:
    """Look through every ready wallet's stream, from the moment on that the operation's id tells."""
    wanted = str(operation_id)
    made_ms = ms_in(operation_id)
    first = f"{max(0, made_ms - CLOCKS_MS)}-0" if made_ms is not None else "-"
    lengths = await stores.many([(s, ("XLEN", s)) for s in map(keys.ready_stream, stores.partitions)])
    with progress("looking through all wallets", sum(lengths)) as step:
        for partition in stores.partitions:
            async for page in pages(stores, keys.ready_stream(partition)):
                wallets = list(dict.fromkeys(wallet_in(entry) for entry in page))
                streams = [keys.wallet_stream(partition, wallet) for wallet in wallets]
                heads = await stores.many([(s, ("XRANGE", s, first, "+", "COUNT", HEAD)) for s in streams])
                for wallet, stream, head in zip(wallets, streams, heads, strict=True):
                    entry = await _among(stores, wanted, stream, head)
                    if entry:
                        found = await _in_stream(stores, operation_id, UUID(wallet)) if _uuid(wallet) else None
                        return found or _Found(partition, wallet, entry, None)
                step(len(page))
    return None


async def _among(stores: Stores, wanted: str, stream: str, head: Sequence[Entry]) -> Entry | None:
    for entry in head:
        if texts_of(entry[1]).get("id") == wanted:
            return entry
    if len(head) == HEAD:
        async for page in pages(stores, stream, first=f"({head[-1][0].decode()}"):
            for entry in page:
                if texts_of(entry[1]).get("id") == wanted:
                    return entry
    return None


async def _dead(stores: Stores, operation_id: UUID) -> OperationWay | None:
    wanted = str(operation_id)
    for partition in stores.partitions:
        async for page in pages(stores, keys.dead_stream(partition)):
            for message_id, fields in page:
                said = texts_of(fields)
                if said.get("id") == wanted:
                    reason = fields.get(b"reason", b"").decode(errors="replace")
                    return OperationWay(
                        operation_id,
                        _uuid(fields.get(b"wallet", b"").decode(errors="replace")),
                        "dead",
                        f"a dead letter, {partition:02d}/{message_id.decode()}: {reason}",
                        amount=amount_of(said),
                        partition=partition,
                        reason=reason,
                        submitted_at=_time(said.get("submitted_at", "")),
                    )
    return None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
