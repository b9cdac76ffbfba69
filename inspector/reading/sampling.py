"""What the looks share: how streams are paged, and what the ids of messages and operations tell of time.

Guarantees that no reply and no list holds more than a page. Pure but for the paging itself.
"""

from binascii import crc_hqx
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

from inspector.stores import Stores
from shared import keys

PAGE = 1_000
SLOTS = 16_384

Entry = tuple[bytes, dict[bytes, bytes]]


def ms_of(message_id: str | bytes) -> int:
    """Return when a message entered its stream, by its id."""
    text = message_id.decode() if isinstance(message_id, bytes) else message_id
    return int(text.partition("-")[0])


def time_of(message_id: str | bytes) -> datetime:
    """Return when a message entered its stream, by its id."""
    return datetime.fromtimestamp(ms_of(message_id) / 1000, UTC)


def slot_of(partition: int) -> int:
    """Return the cluster slot of a partition's keys: CRC16 (XMODEM) of their hash tag."""
    key = keys.ready_stream(partition)
    return crc_hqx(key[1 : key.index("}")].encode(), 0) % SLOTS


def ms_in(operation_id: UUID) -> int | None:
    """Return the moment in a UUIDv7; None for an id made of an Idempotency-Key."""
    return operation_id.int >> 80 if operation_id.version == 7 else None


async def redis_ms(stores: Stores) -> int:
    """Return the clock of Redis, which message ids are made of."""
    seconds, micros = await stores.one(keys.meta(0), "TIME")
    return int(seconds) * 1000 + int(micros) // 1000


async def pages(stores: Stores, stream: str, *, first: str = "-", size: int = PAGE) -> AsyncIterator[Sequence[Entry]]:
    """Read a stream from `first` on, a page at a time."""
    after = first
    while page := await stores.one(stream, "XRANGE", stream, after, "+", "COUNT", size):
        yield page
        if len(page) < size:
            return
        after = f"({page[-1][0].decode()}"


def wallet_in(entry: Entry) -> str:
    """Return the wallet that a ready message names."""
    return entry[1].get(b"wallet", b"").decode(errors="replace")
