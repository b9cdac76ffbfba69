"""Looks at one wallet: where it lives, whose it is, what waits for it and what was decided last."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

import sql
from inspector.reading.partitions import owners
from inspector.reading.sampling import Entry, ms_of, redis_ms, slot_of
from inspector.seen import MessageSeen, OperationSeen, WalletSeen
from inspector.stores import Stores
from shared import keys
from shared.codec import texts_of
from shared.commands import Operation
from shared.money import format_units
from shared.records import operation_of, wallet_of

_ABOVE_ALL_SEQS = 2**63 - 1
_ABOVE_ALL_IDS = UUID(int=2**128 - 1)


async def read_wallet(stores: Stores, wallet_id: UUID, shown_max: int) -> WalletSeen:
    """Look at a wallet, with at most `shown_max` messages and operations."""
    partition = keys.partition_of(wallet_id, stores.settings.partition_count)
    stream = keys.wallet_stream(partition, wallet_id)
    waiting, entries = await stores.many(
        [(stream, ("XLEN", stream)), (stream, ("XRANGE", stream, "-", "+", "COUNT", shown_max))]
    )
    now_ms = await redis_ms(stores)
    rows = await stores.rows(sql.query("read_wallet"), wallet_id)
    wallet = wallet_of(rows[0]) if rows else None
    return WalletSeen(
        wallet_id=wallet_id,
        partition=partition,
        slot=slot_of(partition),
        owner=(await owners(stores)).get(partition),
        exists=wallet is not None,
        balance=format_units(wallet.balance) if wallet else None,
        seq=wallet.seq if wallet else None,
        created_at=wallet.created_at if wallet else None,
        updated_at=wallet.updated_at if wallet else None,
        waiting=waiting,
        messages=[_message(entry, now_ms) for entry in entries],
        operations=await _operations(stores, wallet_id, shown_max),
    )


async def _operations(stores: Stores, wallet_id: UUID, shown_max: int) -> list[OperationSeen]:
    after_all = datetime.max.replace(tzinfo=UTC)
    applied = await stores.rows(sql.query("list_applied"), wallet_id, _ABOVE_ALL_SEQS, shown_max)
    rejected = await stores.rows(sql.query("list_rejected"), wallet_id, after_all, _ABOVE_ALL_IDS, shown_max)
    newest = sorted(map(operation_of, (*applied, *rejected)), key=lambda o: (o.decided_at, o.seq or 0), reverse=True)
    return [operation_seen(operation) for operation in newest[:shown_max]]


def operation_seen(operation: Operation) -> OperationSeen:
    """Return an operation as it is shown."""
    return OperationSeen(
        operation.id,
        operation.type,
        format_units(operation.amount),
        operation.status,
        operation.reason,
        operation.seq,
        format_units(operation.balance),
        operation.submitted_at,
        operation.decided_at,
    )


def _message(entry: Entry, now_ms: int) -> MessageSeen:
    message_id, fields = entry
    said = texts_of(fields)
    return MessageSeen(
        message_id.decode(),
        said.get("id", ""),
        said.get("type", ""),
        amount_of(said),
        said.get("submitted_at", ""),
        max(0.0, (now_ms - ms_of(message_id)) / 1000),
    )


def amount_of(said: Mapping[str, str]) -> str:
    """Return a command's amount as a decimal; as it stands there when it is not a number of minor units."""
    text = said.get("amount", "")
    return format_units(int(text)) if text.isascii() and text.isdigit() else text
