"""What was written into Redis is read back as it was; anything else is unreadable, and says why."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.codec import Unreadable, decode_command, decode_replies, encode_replies, texts_of
from shared.commands import Command, Operation, OperationType, Reason, Reply, Status
from shared.money import AMOUNT_MAX, BALANCE_MAX
from tests.commands import deposit, fields_of, former_fields_of, said_in, saying

NAMES = ("id", "type", "amount", "submitted_at", "reply_to", "request_id", "token")

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
    try:
        elsewhere = command.submitted_at.astimezone(east)
    except OverflowError:
        return

    assert decode_command(command.wallet_id, fields_of(command, submitted_at=elsewhere)) == command


@given(commands, st.randoms())
def test_order_of_names__does_not_matter(command: Command, random: Any) -> None:
    pairs = list(said_in(fields_of(command)).items())
    random.shuffle(pairs)

    assert decode_command(command.wallet_id, saying(dict(pairs))) == command


def test_value_of_a_newer_release__is_passed_over() -> None:
    command = deposit(UUID(int=1))

    assert decode_command(command.wallet_id, {**fields_of(command, colour="blue"), b"size": b"5"}) == command


def test_command__is_json_with_whole_words_and_texts() -> None:
    command = deposit(UUID(int=1), 250, reply_to="{gw-a}:replies")

    said = said_in(fields_of(command))

    assert tuple(said) == NAMES
    assert (said["id"], said["type"], said["amount"]) == (str(command.id), "DEPOSIT", 250)
    assert texts_of(fields_of(command)) == {name: str(value) for name, value in said.items()}


def without(*names: str) -> dict[bytes, bytes]:
    """Return a message that leaves out some names."""
    said = said_in(fields_of(deposit(UUID(int=1))))
    return saying({name: value for name, value in said.items() if name not in names})


def test_command_of_somebody_who_awaits_no_reply__is_read() -> None:
    command = decode_command(UUID(int=1), without("reply_to", "request_id", "token"))

    assert (command.reply_to, command.request_id, command.token) == ("", "", 0)


@pytest.mark.parametrize("name", ["id", "type", "amount", "submitted_at"])
def test_missing_value__is_unreadable_and_named(name: str) -> None:
    with pytest.raises(Unreadable, match=f"missing required field `{name}`"):
        decode_command(UUID(int=1), without(name))


DAMAGES: dict[str, list[Any]] = {
    "id": ["", "x", "1234", 5, None, []],
    "type": ["", "deposit", "TRANSFER", 1, None, [], {}],
    "amount": ["", "5", 1.5, 2.0, 0, -1, 1e3, True, None, [], AMOUNT_MAX + 1],
    "submitted_at": ["", "yesterday", "2026-13-01T00:00:00+00:00", 5, None, "2026-01-01T00:00:00"],  # the last: where?
    "token": ["", "5", -1, 1.5, True, None, 2**63],
    "reply_to": [5, None, []],
    "request_id": [5, None, []],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in DAMAGES.items() for value in values])
def test_damaged_value__is_unreadable(name: str, value: Any) -> None:
    with pytest.raises(Unreadable) as unreadable:
        decode_command(UUID(int=1), fields_of(deposit(UUID(int=1)), **{name: value}))

    assert str(unreadable.value)


NESTED = b'{"other": ' + b"[" * 5_000  # deeper than any stack: what nobody reads is walked through, too


@pytest.mark.parametrize("text", [b"", b"x", b"\xff", b"5", b"null", b"[]", b"{", b'"text"', b"[" * 5_000, NESTED])
def test_message_that_is_no_object__is_unreadable_and_says_nothing(text: bytes) -> None:
    with pytest.raises(Unreadable, match="the field command is not"):
        decode_command(UUID(int=1), {b"command": text})
    assert texts_of({b"command": text}) == {}


@pytest.mark.parametrize("number", [b"9" * 5_000, b"1e400", b"100000000000000000000", b"NaN", b"Infinity"])
@pytest.mark.parametrize("name", ["amount", "token"])
def test_number_that_no_machine_holds__is_unreadable(name: str, number: bytes) -> None:
    text = fields_of(deposit(UUID(int=1)), **{name: "here"})[b"command"].replace(b'"here"', number)

    with pytest.raises(Unreadable):
        decode_command(UUID(int=1), {b"command": text})


values = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | names
messages = (
    st.binary(max_size=40).map(lambda text: {b"command": text})
    | st.dictionaries(st.sampled_from([*NAMES, "other"]), values | st.lists(values, max_size=2)).map(saying)
    | st.builds(
        lambda command, other: fields_of(command, **other), commands, st.dictionaries(st.sampled_from(NAMES), values)
    )
)


@given(messages)
def test_any_message_at_all__is_a_command_or_unreadable(fields: dict[bytes, bytes]) -> None:
    try:
        command = decode_command(UUID(int=1), fields)
    except Unreadable:
        return
    assert decode_command(UUID(int=1), fields_of(command)) == command
    assert type(command.amount) is int
    assert 0 < command.amount <= AMOUNT_MAX
    assert command.submitted_at.tzinfo is not None


@given(commands)
def test_message_of_a_former_release__is_read(command: Command) -> None:
    assert decode_command(command.wallet_id, former_fields_of(command)) == command
    assert texts_of(former_fields_of(command)) == texts_of(fields_of(command))


def test_request_id_of_a_former_release_that_is_a_number__stays_text() -> None:
    command = replace(deposit(UUID(int=1)), request_id="12345")

    assert decode_command(UUID(int=1), former_fields_of(command)) == command


FORMER_DAMAGES: dict[bytes, list[bytes | None]] = {
    b"id": [None, b"", b"x", b"1234", b"\xff" * 16],
    b"type": [None, b"", b"deposit", b"TRANSFER", b"\xff"],
    b"amount": [
        None,
        b"",
        b"x",
        b"1.5",
        b"0",
        b"-1",
        b"1e3",
        b"NaN",
        b"\xff",
        b"9" * 5_000,
        str(AMOUNT_MAX + 1).encode(),
    ],
    b"submitted_at": [None, b"", b"yesterday", b"2026-13-01T00:00:00+00:00", b"\xff", b"2026-01-01T00:00:00"],
    b"token": [b"", b"x", b"-1", b"1.5", str(2**63).encode(), b"9" * 5_000],
    b"reply_to": [b"\xff"],
    b"request_id": [b"\xff"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in FORMER_DAMAGES.items() for value in values]
)
def test_damaged_field_of_a_former_release__is_unreadable(name: bytes, value: bytes | None) -> None:
    fields = former_fields_of(deposit(UUID(int=1)))
    del fields[name]

    with pytest.raises(Unreadable):
        decode_command(UUID(int=1), fields if value is None else {**fields, name: value})


def test_message_without_any_field__is_unreadable() -> None:
    with pytest.raises(Unreadable, match="the field command is missing"):
        decode_command(UUID(int=1), {})
    assert texts_of({}) == {}


@given(replies)
def test_replies__are_read_back_as_they_were_written(sent: list[Reply]) -> None:
    assert decode_replies(encode_replies(sent)) == sent


@pytest.mark.parametrize("text", [b"", b"x", b"\xff", b"5", b"{}", b"[{}]", b"[null]", b"[" * 5_000, b"[" + NESTED])
def test_anything_else__is_no_replies(text: bytes) -> None:
    with pytest.raises(Unreadable):
        decode_replies(text)


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

    [fields] = msgspec.json.decode(encode_replies([Reply(operation, None)]))

    operation = fields["operation"]
    assert (operation["status"], operation["reason"], operation["amount"]) == ("REJECTED", "insufficient_funds", 100)
