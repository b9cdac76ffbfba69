"""Which operation an Idempotency-Key means, and when an outcome answers a request or replays one."""

from uuid import RFC_4122, UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.commands import Operation, OperationType, Status, operation_id_of_key
from tests.commands import deposit, empty_wallet
from worker.ledger import decide

WALLET = UUID("00000000-0000-0000-0000-000000000001")
callers = st.text(max_size=12)
idempotency_keys = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=12)


def outcome_of(amount: int = 100) -> Operation:
    command = deposit(uuid4(), amount)
    return decide(command, empty_wallet(command.wallet_id), command.submitted_at)


def test_operation_id_of_a_key__is_the_same_for_ever() -> None:
    # A release that changes this makes every stored key a new operation: money would move twice.
    assert operation_id_of_key(WALLET, "", "order-1") == UUID("b68eb793-aa9a-5b1e-b143-233cd220964d")
    assert operation_id_of_key(WALLET, "shop", "order-1") == UUID("97829583-1405-5b6b-b9cf-b99efbbecde8")


@given(
    st.lists(st.tuples(st.uuids(), callers, idempotency_keys), min_size=2, max_size=5, unique=True),
)
def test_another_wallet_caller_or_key__is_another_operation(asked: list[tuple[UUID, str, str]]) -> None:
    assert len({operation_id_of_key(*one) for one in asked}) == len(asked)


def test_caller_and_key__cannot_be_spelled_as_another_pair() -> None:
    pairs = [("a", "b:c"), ("a:b", "c"), ("", "a:b:c"), ("1:a", "b:c"), ("", "1:a:b:c")]

    assert len({operation_id_of_key(WALLET, caller, key) for caller, key in pairs}) == len(pairs)


def test_operation_id_of_a_key__is_a_uuid_of_version_five() -> None:
    made = operation_id_of_key(WALLET, "", "order-1")

    assert (made.version, made.variant) == (5, RFC_4122)


def test_outcome__answers_the_request_with_the_same_body() -> None:
    command = deposit(uuid4(), 100)
    operation = decide(command, empty_wallet(command.wallet_id), command.submitted_at)

    assert operation.answers(command)
    assert operation.answers(replace(command, request_id="another", reply_to="elsewhere"))


def test_outcome__does_not_answer_another_body() -> None:
    command = deposit(uuid4(), 100)
    operation = decide(command, empty_wallet(command.wallet_id), command.submitted_at)

    assert not operation.answers(replace(command, amount=101))
    assert not operation.answers(replace(command, type=OperationType.WITHDRAW))
    assert not operation.answers(replace(command, wallet_id=uuid4()))


def test_outcome_of_an_earlier_request__is_a_replay() -> None:
    command = deposit(uuid4())
    operation = decide(command, empty_wallet(command.wallet_id), command.submitted_at)

    assert not operation.replays(command)
    assert operation.replays(replace(command, token=command.token + 1))


def test_words_on_the_wire__are_those_of_the_contract() -> None:
    assert {word.value for word in OperationType} == {"DEPOSIT", "WITHDRAW"}
    assert {word.value for word in Status} == {"APPLIED", "REJECTED"}
