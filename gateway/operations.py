"""An operation, and a look at a wallet, from request to answer: by aiohttp's way or by the express lane.

Guarantees that both give the same answers. Knows what the contract says; decides nothing about money.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from random import getrandbits
from uuid import UUID

from msgspec import Struct

from gateway import problems, requests, responses
from gateway.books import Books
from gateway.requests import HasHeaders
from gateway.responses import Answer
from shared.commands import Command, Operation, Reason, Reply, Status, Wallet, operation_id_of_key
from shared.errors import CallerError, KeyReused, NotFound, Pending
from shared.ids import new_id
from shared.money import format_units
from shared.node import RedisError
from shared.streams import Streams

FIRST_LOOK_SECONDS = 0.5  # for the look which request was the first under its key
UNREADABLE = "The operation was damaged on its way; nothing of it is recorded. Send it again."
KEY_REUSED = "This Idempotency-Key was used on this wallet before, with another operation or amount."


class Asked(Struct):
    """What a request asks: its command, how long it waits for the outcome, and what its answer says of that wait."""

    command: Command
    wait_seconds: float
    headers: dict[str, str]
    has_key: bool


class Desk(Struct):
    """Makes commands for one gateway process: `reply_to` tells its reply key, `wait_seconds` is the longest wait."""

    reply_to: Callable[[], str]
    wait_seconds: float

    def ask(
        self, request: HasHeaders, wallet_id: UUID, key: str | None, body: bytes, caller: str, request_id: str
    ) -> Asked:
        """Read what a request asks, under its Idempotency-Key if it has one; raises Malformed or Invalid."""
        operation_type, amount = requests.read_operation(body)
        command = Command(
            operation_id_of_key(wallet_id, caller, key) if key else new_id(),
            wallet_id,
            operation_type,
            amount,
            datetime.now(UTC),
            self.reply_to(),
            request_id,
            getrandbits(63),
        )
        preferred = requests.preferred_wait(request)
        if preferred is None or preferred > self.wait_seconds:
            return Asked(command, self.wait_seconds, {}, key is not None)
        return Asked(command, preferred, {"Preference-Applied": f"wait={preferred}"}, key is not None)


def answer_of_reply(asked: Asked, reply: Reply, instance: str) -> Answer | CallerError:
    """Return what a reply means: applied, rejected, or the caller's error; `instance` is the path as it was sent."""
    command, operation = asked.command, reply.operation
    if operation.reason is Reason.WALLET_NOT_FOUND:
        return NotFound.wallet(command.wallet_id)
    if operation.reason is Reason.UNREADABLE:
        return problems.of_rejection(operation, UNREADABLE, instance, asked.headers)
    if not operation.answers(command):
        return KeyReused(KEY_REUSED)
    headers = {**asked.headers, "Idempotency-Replayed": "true"} if operation.replays(command) else asked.headers
    if operation.status is Status.REJECTED:
        return problems.of_rejection(operation, _sentence(operation), instance, headers)
    return Answer(200, responses.applied_view(reply), headers)


async def answer_of_pending(asked: Asked, pending: Pending, streams: Streams) -> Answer:
    """Return the answer to a request whose wait is over: accepted, not decided; raises KeyReused.

    Under an Idempotency-Key another gateway may have been asked first, which decides what will be applied.
    """
    command, accepted = asked.command, pending.command
    if asked.has_key:
        # A Redis that is slow or away must not make the answer late: then this gateway's own command is told.
        with contextlib.suppress(*RedisError):
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                accepted = await streams.find_waiting(command.wallet_id, command.id) or accepted
    if (accepted.type, accepted.amount) != (command.type, command.amount):
        raise KeyReused(KEY_REUSED)
    location = f"/api/v1/wallets/{command.wallet_id}/operations/{command.id}"
    headers = {**asked.headers, "Location": location, "Retry-After": str(responses.RETRY_AFTER_SECONDS)}
    return Answer(202, {"operation": responses.pending_view(accepted)}, headers)


async def answer_of_look(books: Books, wallet_id: UUID) -> Answer:
    """Return a wallet as it stands; raises NotFound or Unavailable."""
    answer = answer_of_wallet(await books.wallet(wallet_id), wallet_id)
    if isinstance(answer, CallerError):
        raise answer
    return answer


def answer_of_wallet(wallet: Wallet | None, wallet_id: UUID) -> Answer | CallerError:
    """Return a wallet as it stands, or that there is none."""
    return Answer(200, responses.wallet_view(wallet), {}) if wallet else NotFound.wallet(wallet_id)


def _sentence(operation: Operation) -> str:
    balance, amount = format_units(operation.balance), format_units(operation.amount)
    match operation.reason:
        case Reason.INSUFFICIENT_FUNDS:
            return f"The balance {balance} does not cover {amount}."
        case Reason.BALANCE_LIMIT_EXCEEDED:
            return f"The balance {balance} may not grow by {amount}."
        case _:
            return "The database refused this operation; it was put aside for an operator to look at."
