"""A batch: what one claim brought, understood as commands, in stream order per wallet. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from shared.codec import Unreadable, decode_command, texts_of
from shared.commands import Command, Operation, OperationType, Reason, Reply, Status
from shared.ids import read_id
from shared.messages import Claim, Message


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message to bury, with the reason, and the reply to whoever may wait for it."""

    claim: Claim
    message_id: str
    reason: str

    @property
    def concerns(self) -> dict[str, str]:
        """The ids of the operation and the request, as far as the message tells them."""
        fields = next((m.fields for m in self.claim.messages if m.id == self.message_id), {})
        said = texts_of(fields)
        named = {"operation_id": said.get("id"), "request_id": said.get("request_id")}
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True)
class Batch:
    """Commands to settle in one transaction, the claims they came from, and what could not be understood."""

    claimed_at: datetime
    claims: Sequence[Claim]
    commands: Sequence[Command]
    sources: Sequence[tuple[Claim, str]]
    unreadable: Sequence[DeadLetter]
    apologies: Mapping[str, Sequence[Reply]]

    @classmethod
    def of(cls, claims: Sequence[Claim], claimed_at: datetime) -> "Batch":
        """Read every message of the claims; a message that is not a command becomes a dead letter."""
        commands: list[Command] = []
        sources: list[tuple[Claim, str]] = []
        unreadable: list[DeadLetter] = []
        apologies: dict[str, list[Reply]] = defaultdict(list)
        for claim in claims:
            wallet_id: UUID | None = None
            for message in claim.messages:
                try:
                    wallet_id = wallet_id or read_id(claim.wallet)
                    command = decode_command(wallet_id, message.fields)
                except (Unreadable, ValueError) as error:
                    unreadable.append(DeadLetter(claim, message.id, str(error)))
                    for reply_to, reply in _apology(claim, message):
                        apologies[reply_to].append(reply)
                else:
                    commands.append(command)
                    sources.append((claim, message.id))
        return cls(claimed_at, claims, commands, sources, unreadable, apologies)

    def refused(self, replies: Sequence[Reply]) -> list[DeadLetter]:
        """Return the dead letters of the commands that the database refused."""
        return [
            DeadLetter(claim, message_id, Reason.REFUSED_BY_DATABASE)
            for (claim, message_id), command, reply in zip(self.sources, self.commands, replies, strict=True)
            # Not for a client's retry of it, whose message is another one: that is only answered.
            if reply.operation.reason is Reason.REFUSED_BY_DATABASE and not reply.operation.replays(command)
        ]

    def by_reply_key(self, replies: Sequence[Reply]) -> dict[str, list[Reply]]:
        """Sort replies by the gateway that waits for them."""
        sorted_replies: dict[str, list[Reply]] = {key: list(outcomes) for key, outcomes in self.apologies.items()}
        for command, reply in zip(self.commands, replies, strict=True):
            if command.reply_to:
                sorted_replies.setdefault(command.reply_to, []).append(reply)
        return sorted_replies


def _apology(claim: Claim, message: Message) -> list[tuple[str, Reply]]:
    """Return the reply to an unreadable command, if it can still be told who waits for what."""
    try:
        said = texts_of(message.fields)
        operation_id, wallet_id, reply_to = UUID(said["id"]), UUID(claim.wallet), said["reply_to"]
    except (KeyError, ValueError):
        return []
    now = datetime.now(UTC)
    rejection = Operation(
        operation_id, wallet_id, OperationType.DEPOSIT, 0, Status.REJECTED, Reason.UNREADABLE, None, 0, now, now, 0
    )
    return [(reply_to, Reply(rejection, None))] if reply_to else []
