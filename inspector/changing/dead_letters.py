"""Puts dead letters back as commands, or drops them.

Guarantees that a command goes back under its own operation id, before its letter is removed: killed in between, it is
put back twice and decided once. What is in the books already is not put back.
"""

from collections.abc import Sequence
from uuid import UUID

import sql
from inspector.reading.dead import find_letter, letter_of
from inspector.reading.sampling import Entry
from inspector.seen import Done
from inspector.stores import Stores
from shared import keys
from shared.codec import Unreadable, decode_command
from shared.commands import Command
from shared.settings import GatewaySettings
from shared.streams import Full, Streams, Submission


async def drop(stores: Stores, letters: Sequence[str], *, yes: bool) -> Done:
    """Remove dead letters for good."""
    found = [(letter, *await find_letter(stores, letter)) for letter in letters]
    if not yes:
        lines = [f"would drop {letter}: {letter_of(p, entry).reason}" for letter, p, entry in found]
        return Done(False, [*lines, "nothing was changed; --yes does it"], is_fine=False)
    for _, p, entry in found:
        await _remove(stores, p, entry)
    return Done(True, [f"dropped {letter}" for letter, *_ in found])


async def requeue(stores: Stores, letters: Sequence[str], *, yes: bool) -> Done:
    """Put dead letters back into their wallets' streams, as new messages of the same operations."""
    lines, refused = [], []
    for letter in letters:
        partition, entry = await find_letter(stores, letter)
        command, why_not = await _command_of(stores, entry)
        if command is None:
            refused.append(f"{letter} cannot be put back: {why_not}")
        elif not yes:
            lines.append(f"would put {letter} back as operation {command.id} of wallet {command.wallet_id}")
        else:
            message_id, why_not = await _submit(stores, command)
            if why_not:
                refused.append(f"{letter} was not taken: {why_not}")
                continue
            # killed here: the letter stays, and putting it back again makes a replay.
            await _remove(stores, partition, entry)
            lines.append(f"put {letter} back as operation {command.id}, message {message_id}")
    if not yes:
        lines.append("nothing was changed; --yes does it")
    return Done(yes and bool(lines), lines, refused, is_fine=yes and not refused)


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
    return command, ""


async def _submit(stores: Stores, command: Command) -> tuple[str, str]:
    """Submit a command within the gateways' limits; returns its message id, or why it was not taken."""
    limits = GatewaySettings.load()
    streams = Streams(stores.settings)
    try:
        [answer] = await streams.submit([command], limits.wallet_queue_max, limits.partition_queue_max)
    finally:
        await streams.close()
    reasons = {
        Submission.WALLET_FULL: "too many commands wait for this wallet",
        Submission.PARTITION_FULL: "too many commands wait in its partition",
        Submission.NOT_RUN: "Redis refused",
        Submission.UNKNOWN: "Redis did not answer: it may have been taken; putting it back again is safe",
    }
    if isinstance(answer, str):
        return answer, ""
    return "", reasons[answer.queue if isinstance(answer, Full) else answer]


async def _remove(stores: Stores, partition: int, entry: Entry) -> None:
    stream = keys.dead_stream(partition)
    await stores.one(stream, "XDEL", stream, entry[0])
