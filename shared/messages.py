"""What a claim brings from Redis: messages, not yet understood. Pure."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

START = "0-0"  # below every message id


class Ready(Struct, frozen=True, gc=False):
    """One record of a ready stream: a wallet that has, or had, waiting messages."""

    partition: int
    id: str
    wallet: str


class Message(Struct, frozen=True, gc=False):
    """One record of a wallet stream: its id and its fields, not yet understood."""

    id: str
    fields: Mapping[bytes, bytes]


class Claim(Struct, frozen=True, gc=False):
    """The head of one wallet's stream, to be settled as a whole and then finished."""

    partition: int
    wallet: str
    ready_id: str
    messages: Sequence[Message] = ()

    @property
    def keep_from(self) -> str:
        """The first message id that `finish` must keep: right after the last claimed one."""
        if not self.messages:
            return START
        ms, _, n = self.messages[-1].id.partition("-")
        return f"{ms}-{int(n) + 1}"
