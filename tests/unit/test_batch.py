"""A batch: the commands of a claim in order, and what to do with messages that are none."""

from uuid import UUID, uuid4

import pytest

from shared.commands import Command, Reason, Reply, Status
from shared.messages import START, Claim, Message
from tests.commands import EPOCH, deposit, empty_wallet, fields_of, saying
from worker.batch import Batch, DeadLetter
from worker.ledger import decide, reject


def claim_of(*messages: dict[bytes, bytes], wallet: str = "") -> Claim:
    return Claim(3, wallet or str(uuid4()), "9-0", [Message(f"5-{n}", fields) for n, fields in enumerate(messages)])


def reply_to(command: Command) -> Reply:
    return Reply(decide(command, empty_wallet(command.wallet_id), command.submitted_at), command.submitted_at)


def test_batch__holds_the_commands_in_stream_order() -> None:
    first, second = uuid4(), uuid4()
    commands = [deposit(first, 1), deposit(first, 2), deposit(second, 3)]
    claims = [
        claim_of(*map(fields_of, commands[:2]), wallet=str(first)),
        claim_of(fields_of(commands[2]), wallet=str(second)),
    ]

    batch = Batch.of(claims, EPOCH)

    assert batch.commands == commands
    assert batch.sources == [(claims[0], "5-0"), (claims[0], "5-1"), (claims[1], "5-0")]
    assert batch.claims == claims
    assert not batch.unreadable


def test_unreadable_message__is_put_aside_and_the_others_go_on() -> None:
    wallet_id = uuid4()
    commands = [deposit(wallet_id, 1), deposit(wallet_id, 2)]
    claim = claim_of(fields_of(commands[0]), saying({"amount": "?"}), fields_of(commands[1]), wallet=str(wallet_id))

    batch = Batch.of([claim], EPOCH)

    assert batch.commands == commands
    assert [(letter.claim, letter.message_id) for letter in batch.unreadable] == [(claim, "5-1")]
    assert batch.unreadable[0].reason


def test_unreadable_message_that_says_who_waits__gets_a_reply_of_refusal() -> None:
    operation_id, wallet_id = uuid4(), uuid4()
    message = saying({"id": str(operation_id), "reply_to": "{gw-a}:replies", "amount": "?"})

    batch = Batch.of([claim_of(message, wallet=str(wallet_id))], EPOCH)

    [reply] = batch.by_reply_key([])["{gw-a}:replies"]
    assert (reply.operation.id, reply.operation.wallet_id) == (operation_id, wallet_id)
    assert (reply.operation.status, reply.operation.reason) == (Status.REJECTED, Reason.UNREADABLE)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {b"command": b"\xff"},
        saying({"id": "?", "reply_to": "{gw-a}:replies"}),
        saying({"id": str(UUID(int=1))}),
        saying({"id": str(UUID(int=1)), "reply_to": ""}),
    ],
)
def test_unreadable_message_that_does_not_say_who_waits__is_put_aside_silently(message: dict[bytes, bytes]) -> None:
    batch = Batch.of([claim_of(message)], EPOCH)

    assert len(batch.unreadable) == 1
    assert batch.by_reply_key([]) == {}


def test_claim_of_something_that_is_no_wallet__is_put_aside_message_by_message() -> None:
    batch = Batch.of([claim_of(fields_of(deposit(uuid4())), fields_of(deposit(uuid4())), wallet="petty cash")], EPOCH)

    assert batch.commands == []
    assert [letter.message_id for letter in batch.unreadable] == ["5-0", "5-1"]


def test_command_that_the_database_refused__becomes_a_dead_letter() -> None:
    wallet_id = uuid4()
    commands = [deposit(wallet_id, 1), deposit(wallet_id, 2)]
    claim = claim_of(*map(fields_of, commands), wallet=str(wallet_id))
    batch = Batch.of([claim], EPOCH)
    refused = Reply(reject(commands[1], Reason.REFUSED_BY_DATABASE, 0, commands[1].submitted_at), None)

    assert batch.refused([reply_to(commands[0]), refused]) == [DeadLetter(claim, "5-1", Reason.REFUSED_BY_DATABASE)]


def test_command_that_the_rules_rejected__is_no_dead_letter() -> None:
    command = deposit(uuid4())
    batch = Batch.of([claim_of(fields_of(command), wallet=str(command.wallet_id))], EPOCH)
    rejected = Reply(reject(command, Reason.INSUFFICIENT_FUNDS, 0, command.submitted_at), None)

    assert batch.refused([rejected]) == []


def test_replies__are_sorted_by_the_gateway_that_waits() -> None:
    wallet_id = uuid4()
    commands = [deposit(wallet_id, n, reply_to=key) for n, key in enumerate(["a", "b", "a", ""], 1)]
    batch = Batch.of([claim_of(*map(fields_of, commands), wallet=str(wallet_id))], EPOCH)
    replies = [reply_to(command) for command in commands]

    assert batch.by_reply_key(replies) == {"a": [replies[0], replies[2]], "b": [replies[1]]}


def test_what_finish_keeps__begins_right_after_the_last_claimed_message() -> None:
    assert Claim(0, "w", "9-0", [Message("5-0", {}), Message("5-41", {})]).keep_from == "5-42"
    assert Claim(0, "w", "9-0", []).keep_from == START
