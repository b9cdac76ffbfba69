"""Every Redis key of the service is built here, and nowhere else.

All keys of one partition share the hash tag `{pNN}`, hence one cluster slot, so that a function may touch them
together. Pure: strings in, strings out.
"""

import re
from functools import cache
from uuid import UUID
from zlib import crc32

ALL = "{*"  # the pattern of every key of the service

_OF_A_PARTITION = re.compile(r"\{p([0-9]{2,4})\}:")


def partition_of(wallet_id: UUID, partition_count: int) -> int:
    """Return the partition, 0 … partition_count - 1, that a wallet belongs to for good."""
    return crc32(wallet_id.bytes) % partition_count


@cache
def wallet_prefix(partition: int) -> str:
    """Return what a wallet stream's key starts with; the wallet's id follows."""
    return f"{{p{partition:02d}}}:wallet:"


def wallet_stream(partition: int, wallet_id: UUID | str) -> str:
    """Return the stream of one wallet's waiting messages; the key does not exist while nothing waits."""
    return f"{wallet_prefix(partition)}{wallet_id}"


@cache
def ready_stream(partition: int) -> str:
    """Return the stream with one message per wallet that has waiting messages."""
    return f"{{p{partition:02d}}}:ready"


@cache
def meta(partition: int) -> str:
    """Return the hash with `last_id` (last message id given out), `depth` (waiting) and `submitted` (ever accepted)."""
    return f"{{p{partition:02d}}}:meta"


def dead_stream(partition: int) -> str:
    """Return the stream of dead letters: messages that could not be understood or stored, with the reason."""
    return f"{{p{partition:02d}}}:dead"


def partition_of_key(key: bytes) -> int:
    """Return the partition that a key of one belongs to."""
    return int(key[2 : key.index(b"}")])


def partition_named_in(key: str) -> int | None:
    """Return the partition that any key belongs to, be there such a one here or not; None of a key of none."""
    match = _OF_A_PARTITION.match(key)
    # `{p007}` is spelled by nobody here: what would be built for partition 7 is another key.
    return int(match[1]) if match and f"{int(match[1]):02d}" == match[1] else None


def reply_stream(gateway_id: str) -> str:
    """Return the reply key of one gateway process."""
    return f"{{gw-{gateway_id}}}:replies"
