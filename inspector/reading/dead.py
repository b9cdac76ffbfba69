"""Looks at the dead letters: messages that could not be understood or stored. `07/1763-0` names one of partition 7."""

import heapq

from inspector.reading.sampling import Entry, ms_of, time_of
from inspector.seen import DeadLetterSeen, DeadSeen
from inspector.stores import Stores
from shared import keys
from shared.codec import texts_of
from shared.errors import OperatorError

_OWN = {"wallet", "message_id", "reason"}  # what burying adds to a message's own fields


async def read_dead(stores: Stores, limit: int) -> DeadSeen:
    """Return the newest dead letters of all partitions."""
    calls = []
    for p in stores.partitions:
        stream = keys.dead_stream(p)
        calls += [(stream, ("XLEN", stream)), (stream, ("XREVRANGE", stream, "+", "-", "COUNT", limit))]
    answers = await stores.many(calls)
    letters = [letter_of(p, entry) for p in stores.partitions for entry in answers[2 * p + 1]]
    newest = heapq.nlargest(limit, letters, key=lambda letter: ms_of(letter.letter.partition("/")[2]))
    return DeadSeen(sum(answers[::2]), newest)


async def read_dead_letter(stores: Stores, letter: str) -> DeadLetterSeen:
    """Return one dead letter; raises NoSuchLetter."""
    partition, entry = await find_letter(stores, letter)
    return letter_of(partition, entry)


class NoSuchLetter(OperatorError):
    """There is no dead letter of that name."""


async def find_letter(stores: Stores, letter: str) -> tuple[int, Entry]:
    """Return a dead letter as it stands; raises NoSuchLetter."""
    number, _, message_id = letter.partition("/")
    ms, _, n = message_id.partition("-")
    if not (number.isdigit() and ms.isdigit() and n.isdigit() and int(number) in stores.partitions):
        raise NoSuchLetter(f"{letter} names no dead letter: they are listed as partition/id by `dead list`.")
    stream = keys.dead_stream(int(number))
    entries = await stores.one(stream, "XRANGE", stream, message_id, message_id)
    if not entries:
        raise NoSuchLetter(f"There is no dead letter {letter}: it was dropped, put back, or pushed out by newer ones.")
    return int(number), entries[0]


def letter_of(partition: int, entry: Entry) -> DeadLetterSeen:
    """Return a dead letter as it is shown."""
    message_id, fields = entry
    texts = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}
    said = texts_of(fields)
    hidden = _OWN | {"command"} if said else _OWN
    return DeadLetterSeen(
        letter=f"{partition:02d}/{message_id.decode()}",
        partition=partition,
        died_at=time_of(message_id),
        wallet_id=texts.get("wallet", ""),
        operation_id=said.get("id"),
        message_id=texts.get("message_id", ""),
        reason=texts.get("reason", ""),
        fields={name: value for name, value in (texts | said).items() if name not in hidden},
    )
