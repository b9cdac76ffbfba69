"""Ids: how UUIDs (RFC 9562) are made and read.

Guarantees a `uuid.UUID`, of the C type that asyncpg brings along: equal to the standard one, but read and written ten
times as fast, and that happens to a command's two ids a dozen times on their way.
"""

from typing import TYPE_CHECKING
from uuid import UUID, uuid5

import uuid_utils
from asyncpg.pgproto import pgproto

if TYPE_CHECKING:
    Id = UUID
else:
    Id = pgproto.UUID  # what is made of an id that is read

_NEW_ID_VERSION = 7


def new_id() -> UUID:
    """Return a UUIDv7: its order is that of time, so that an index takes it at its end."""
    return pgproto.UUID(uuid_utils.uuid7().bytes)


def is_new(made: UUID) -> bool:
    """Tell whether `new_id` makes such ids: each once, while a derived one may come again."""
    return made.bytes[6] >> 4 == _NEW_ID_VERSION


def read_id(text: str) -> UUID:
    """Read an id as it is usually spelled, with or without hyphens; raises ValueError."""
    return pgproto.UUID(text)


def derive_id(namespace: UUID, name: str) -> UUID:
    """Return the UUIDv5 of a name: always the same."""
    return pgproto.UUID(uuid5(namespace, name).bytes)
