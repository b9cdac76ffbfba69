"""What was written into Redis is read back as it was; anything else is unreadable, and says why."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.codec import Unreadable, decode_command, decode_replies, encode_command, encode_replies
from shared.commands import Command, Operation, OperationType, Reason, Reply, Status
from shared.money import AMOUNT_MAX, BALANCE_MAX
from tests.commands import deposit

NAMES = (b"id", b"type", b"amount", b"reply_to", b"submitted_at", b"request_id", b"token")

moments = st.datetimes(timezones=st.just(UTC))
tokens = st.integers(0, 2**63 - 1)
names = st.text(st.characters(codec="utf-8"), max_size=60)
commands = st.builds(
    Command,
    id=st.uuids(),
    wallet_id=st.uuids(),
    type=st.sampled_from(OperationType),
    amount=st.integers(1, AMOUNT_MAX),
    submitted_at=moments,
    reply_to=names,
    request_id=names,
    token=tokens,
)
operations = st.builds(
    Operation,
    id=st.uuids(),
    wallet_id=st.uuids(),
    type=st.sampled_from(OperationType),
    amount=st.integers(0, AMOUNT_MAX),
    status=st.sampled_from(Status),
    reason=st.none() | st.sampled_from(Reason),
    seq=st.none() | st.integers(1, 2**63 - 1),
    balance=st.integers(0, BALANCE_MAX),
    submitted_at=moments,
    decided_at=moments,
    token=tokens,
)
replies = st.lists(st.builds(Reply, operation=operations, wallet_created_at=st.none() | moments), max_size=4)


def fields_of(command: Command) -> dict[bytes, bytes]:
    """Return a command as its message's fields."""
    return {name: value.encode() for name, value in zip(NAMES, encode_command(command)[1:], strict=True)}


@given(commands)
@example(
    Command(
        UUID(int=2**128 - 1),
        UUID(int=0),
        OperationType.WITHDRAW,
        AMOUNT_MAX,
        datetime.max.replace(tzinfo=UTC),
        "{gw-ü}:replies",
        "\n\x00",
    )
)
def test_command__is_read_back_as_it_was_written(command: Command) -> None:
    assert decode_command(command.wallet_id, fields_of(command)) == command


@given(commands)
def test_command_in_another_time_zone__is_the_same_moment(command: Command) -> None:
    east = timezone(timedelta(hours=5, minutes=45))
    fields = fields_of(command)
    try:
        elsewhere = command.submitted_at.astimezone(east)
    except OverflowError:
        return
    fields[b"submitted_at"] = elsewhere.isoformat().encode()

    assert decode_command(command.wallet_id, fields) == command


@given(commands, st.randoms())
def test_order_of_fields__does_not_matter(command: Command, random: Any) -> None:
    pairs = list(fields_of(command).items())
    random.shuffle(pairs)

    assert decode_command(command.wallet_id, dict(pairs)) == command


def test_field_of_a_newer_release__is_passed_over() -> None:
    command = deposit(UUID(int=1))

    assert decode_command(command.wallet_id, {**fields_of(command), b"colour": b"blue"}) == command


def test_command_of_somebody_who_awaits_no_reply__is_read() -> None:
    command = deposit(UUID(int=1))
    fields = {name: value for name, value in fields_of(command).items() if name not in {b"reply_to", b"request_id"}}

    assert decode_command(command.wallet_id, fields) == command


def damaged(name: bytes, value: bytes | None) -> dict[bytes, bytes]:
    """Return a message in which one field was replaced, or (None) left out."""
    fields = fields_of(deposit(UUID(int=1)))
    del fields[name]
    return fields if value is None else {**fields, name: value}


@pytest.mark.parametrize("name", [b"id", b"type", b"amount", b"submitted_at"])
def test_missing_field__is_unreadable_and_named(name: bytes) -> None:
    with pytest.raises(Unreadable, match=name.decode()):
        decode_command(UUID(int=1), damaged(name, None))


def test_message_from_before_there_were_tokens__is_read() -> None:
    assert decode_command(UUID(int=1), damaged(b"token", None)).token == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((b"id", value) for value in (b"", b"x", b"1234", b"\xff" * 16)),
        *((b"type", value) for value in (b"", b"deposit", b"TRANSFER", b"\xff")),
        *((b"amount", value) for value in (b"", b"x", b"1.5", b"0", b"-1", b"1e3", b"NaN", b"\xff", b"9" * 5_000)),
        (b"amount", str(AMOUNT_MAX + 1).encode()),
        *((b"submitted_at", value) for value in (b"", b"yesterday", b"2026-13-01T00:00:00+00:00", b"\xff")),
        (b"submitted_at", b"2026-01-01T00:00:00"),  # of which time zone?
        *((b"token", value) for value in (b"", b"x", b"-1", b"1.5", str(2**63).encode(), b"9" * 5_000)),
        (b"reply_to", b"\xff"),
        (b"request_id", b"\xff"),
    ],
)
def test_damaged_field__is_unreadable(name: bytes, value: bytes) -> None:
    with pytest.raises(Unreadable) as unreadable:
        decode_command(UUID(int=1), damaged(name, value))

    assert str(unreadable.value)


@given(st.dictionaries(st.sampled_from([*NAMES, b"other"]), st.binary(max_size=40), max_size=8))
def test_any_message_at_all__is_a_command_or_unreadable(fields: dict[bytes, bytes]) -> None:
    try:
        command = decode_command(UUID(int=1), fields)
    except Unreadable:
        return
    assert 0 < command.amount <= AMOUNT_MAX
    assert command.submitted_at.tzinfo is not None


def test_message_without_any_field__is_unreadable() -> None:
    with pytest.raises(Unreadable):
        decode_command(UUID(int=1), {})


@given(replies)
def test_replies__are_read_back_as_they_were_written(sent: list[Reply]) -> None:
    assert decode_replies(encode_replies(sent)) == sent


def test_replies__are_json_that_people_can_read() -> None:
    command = deposit(UUID(int=1), 100)
    operation = Operation(
        command.id,
        command.wallet_id,
        command.type,
        100,
        Status.REJECTED,
        Reason.INSUFFICIENT_FUNDS,
        None,
        5,
        command.submitted_at,
        command.submitted_at,
        command.token,
    )

    [fields] = orjson.loads(encode_replies([Reply(operation, None)]))

    assert (fields["status"], fields["reason"], fields["amount"]) == ("REJECTED", "insufficient_funds", 100)
