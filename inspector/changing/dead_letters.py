"""Puts dead letters back as commands, or drops them.

Guarantees that a command goes back under its own operation id, before its letter is removed: killed in between, it is
put back twice and decided once. Not put back: what is in the books already, and what somebody was told had failed. What
was done before something went wrong is told.
"""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import sql
from inspector.reading.dead import find_letter, letter_of
from inspector.reading.sampling import Entry
from inspector.seen import Done
from inspector.stores import Stores
from shared import keys
from shared.codec import Unreadable, decode_command
from shared.commands import Command
from shared.errors import ServiceError
from shared.settings import GatewaySettings
from shared.streams import Full, Streams, Submission

Letter = tuple[str, int, Entry]  # its name, its partition, and as it stands


async def drop(stores: Stores, letters: Sequence[str], *, yes: bool) -> Done:
    """Remove dead letters for good."""
    found = await _find(stores, letters)
    if not yes:
        lines = [f"would drop {letter}: {letter_of(p, entry).reason}" for letter, p, entry in found]
        return Done(False, [*lines, "nothing was changed; --yes does it"], is_fine=False)

    async def drop_one(letter: str, partition: int, entry: Entry) -> tuple[str, str]:
        await _remove(stores, partition, entry)
        return f"dropped {letter}", ""

    return await one_by_one(found, drop_one)


async def requeue(stores: Stores, letters: Sequence[str], *, yes: bool) -> Done:
    """Put dead letters back into their wallets' streams, as new messages of the same operations."""
    found = await _find(stores, letters)
    streams = Streams(stores.settings)

    async def put_back(letter: str, partition: int, entry: Entry) -> tuple[str, str]:
        command, why_not = await _command_of(stores, entry)
        if command is None:
            return "", f"{letter} cannot be put back: {why_not}"
        if not yes:
            return f"would put {letter} back as operation {command.id} of wallet {command.wallet_id}", ""
        message_id, why_not = await _submit(streams, command)
        if why_not:
            return "", f"{letter} was not taken: {why_not}"
        # killed here: the letter stays, and putting it back again makes a replay.
        await _remove(stores, partition, entry)
        return f"put {letter} back as operation {command.id}, message {message_id}", ""

    try:
        done = await one_by_one(found, put_back)
    finally:
        await streams.close()
    if yes:
        return done
    return Done(False, [*done.lines, "nothing was changed; --yes does it"], done.refused, is_fine=False)


async def _find(stores: Stores, letters: Sequence[str]) -> list[Letter]:
    """Return all letters; raises NoSuchLetter before anything was done."""
    return [(letter, *await find_letter(stores, letter)) for letter in letters]


async def one_by_one(letters: Sequence[Letter], act: Callable[[str, int, Entry], Awaitable[tuple[str, str]]]) -> Done:
    """Act on each letter; an error after the first ends it, and is told behind what was done."""
    lines: list[str] = []
    refused: list[str] = []
    for i, letter in enumerate(letters):
        try:
            line, why_not = await act(*letter)
        except ServiceError as error:
            if not lines and not refused:
                raise
            refused.append(f"{letter[0]} and all after it, {len(letters) - i} in all: {error.detail}")
            break
        if line:
            lines.append(line)
        if why_not:
            refused.append(why_not)
    return Done(bool(lines), lines, refused, is_fine=not refused)


async def _command_of(stores: Stores, entry: Entry) -> tuple[Command | None, str]:
    """Return the command that a letter holds, or why there is none to put back."""
    fields = entry[1]
    try:
        wallet_id = UUID(fields[b"wallet"].decode())
        command = decode_command(wallet_id, fields)
    except (Unreadable, ValueError, KeyError) as error:
        return None, f"it still cannot be understood ({error}); drop it"
    rows = await stores.rows(sql.query("inspect_operation"), command.id)
    if rows:
        outcome = " ".join(filter(None, (rows[0]["status"], rows[0]["reason"])))
        return None, f"operation {command.id} is in the books as {outcome}, and that stays; drop it"
    if command.reply_to:
        # Who buried it answered as well, or else its gateway submits it again: either way it is not ours to apply.
        return None, "its caller was told that it failed, and is to send it again; drop it"
    return command, ""


async def _submit(streams: Streams, command: Command) -> tuple[str, str]:
    """Submit a command within the gateways' limits; returns its message id, or why it was not taken."""
    limits = GatewaySettings.load()
    [answer] = await streams.submit([command], limits.wallet_queue_max, limits.partition_queue_max)
    reasons = {
        Submission.WALLET_FULL: "too many commands wait for this wallet",
        Submission.PARTITION_FULL: "too many commands wait in its partition",
        Submission.NOT_A_STREAM: "something that is no stream has the key of its wallet's stream in Redis",
        Submission.NOT_RUN: "Redis refused",
        Submission.UNKNOWN: "Redis did not answer: it may have been taken; putting it back again is safe",
    }
    if isinstance(answer, str):
        return answer, ""
    return "", reasons[answer.queue if isinstance(answer, Full) else answer]


async def _remove(stores: Stores, partition: int, entry: Entry) -> None:
    stream = keys.dead_stream(partition)
    await stores.one(stream, "XDEL", stream, entry[0])
