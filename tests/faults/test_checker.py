"""The checker finds every kind of error that a fault could leave in the books: each is planted once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.commands import operation_id_of_key
from tests.faults.checker import Books, Lost, Told, unseen_statuses, violations, wrong_statuses
from tests.service import Answer

WALLET = str(uuid4())
IDS = [str(operation_id_of_key(UUID(WALLET), "", "k")), *(str(uuid4()) for _ in range(3))]


@dataclass
class Case:
    """Books and what clients were told of them: at first everything agrees."""

    told: list[Told]
    wallets: dict[str, dict[str, Any]]
    operations: dict[str, dict[str, Any]]

    def violations(self) -> list[str]:
        return violations(self.told, Books(self.wallets, self.operations))


def row(number: int, type_: str, amount: int, seq: int | None, balance: int) -> dict[str, Any]:
    status, reason = ("APPLIED", None) if seq else ("REJECTED", "insufficient_funds")
    return {
        "id": IDS[number],
        "wallet_id": WALLET,
        "type": type_,
        "amount": amount,
        "seq": seq,
        "balance": balance,
        "status": status,
        "reason": reason,
    }


def applied(number: int, units: int, seq: int, balance: str, key: str | None = None) -> Told:
    body = {"operation": {"id": IDS[number], "seq": seq, "balance": balance, "applied_at": f"t{number}"}}
    times = (2.0 * number, 2.0 * number + 1.0)  # one after another
    return Told("one client", WALLET, "DEPOSIT", units, key, Answer(200, body, {}), Lost.BROKEN, *times)


@pytest.fixture
def case() -> Case:
    """Three deposits, one of them told twice under its key, and a withdrawal that was refused."""
    refused = {"code": "insufficient_funds", "balance": "6.00", "operation_id": IDS[3]}
    told = [
        applied(0, 100, 1, "1.00", "k"),
        applied(1, 200, 2, "3.00"),
        applied(0, 100, 1, "1.00", "k"),
        applied(2, 300, 3, "6.00"),
        Told("one client", WALLET, "WITHDRAW", 999, None, Answer(400, refused, {})),
    ]
    operations = [
        row(0, "DEPOSIT", 100, 1, 100),
        row(1, "DEPOSIT", 200, 2, 300),
        row(2, "DEPOSIT", 300, 3, 600),
        row(3, "WITHDRAW", 999, None, 600),
    ]
    wallets = {WALLET: {"id": WALLET, "balance": 600, "seq": 3}}
    return Case(told, wallets, {operation["id"]: operation for operation in operations})


def told_another_outcome_for_the_key(case: Case) -> None:
    case.told[2] = applied(0, 100, 1, "1.01", "k")


def two_operations_for_one_key(case: Case) -> None:
    case.told[1] = replace(case.told[1], key="k")


def one_operation_for_two_requests(case: Case) -> None:
    case.told[2] = replace(case.told[2], key=None)


def overtaken(case: Case) -> None:
    # Sent after the third was answered, but in the books before it.
    case.told[1] = replace(case.told[1], sent_at=6.0, answered_at=7.0)


def overtaken_after_a_202(case: Case) -> None:
    accepted = Answer(202, {"operation": {"id": IDS[2]}}, {"Retry-After": "1"})
    case.told[3] = replace(case.told[3], answer=accepted, sent_at=0.0, answered_at=1.0)


def overtaken_after_a_202_that_was_seen_to_be_decided(case: Case) -> None:
    overtaken_after_a_202(case)
    case.told[3] = replace(case.told[3], answered_at=0.5, decided_at=1.0)


def overtaken_in_spite_of_a_key(case: Case) -> None:
    case.told[0] = replace(case.told[0], sent_at=6.0, answered_at=7.0)
    case.told[2] = replace(case.told[2], sent_at=6.0, answered_at=7.0)


def nobody_was_told(case: Case) -> None:
    del case.told[3]


def broken_once_but_applied_twice(case: Case) -> None:
    case.told[1] = replace(case.told[1], answer=None)
    case.operations["again"] = {**row(1, "DEPOSIT", 200, 4, 800), "id": "again"}
    case.wallets[WALLET] |= {"balance": 800, "seq": 4}


def nobody_could_hear_it_but_it_was_applied(case: Case) -> None:
    case.told[1] = replace(case.told[1], answer=None, lost=Lost.UNREACHED)


def key_without_an_answer_but_another_operation_was_applied(case: Case) -> None:
    case.told[1] = replace(case.told[1], answer=None, key="another")


def refused_busy_but_applied(case: Case) -> None:
    busy = Answer(503, {"code": "unavailable"}, {"Retry-After": "1"})
    case.told[1] = replace(case.told[1], answer=busy)


def refused_though_covered(case: Case) -> None:
    case.operations[IDS[3]]["amount"] = 600
    case.told[4] = replace(case.told[4], units=600)


def refused_at_a_balance_that_never_was(case: Case) -> None:
    case.operations[IDS[3]]["balance"] = 555
    refused = {"code": "insufficient_funds", "balance": "5.55", "operation_id": IDS[3]}
    case.told[4] = replace(case.told[4], answer=Answer(400, refused, {}))


def told_of_another_wallet(case: Case) -> None:
    case.told[1] = replace(case.told[1], wallet_id=str(uuid4()))


def accepted_and_never_decided(case: Case) -> None:
    pending = Answer(202, {"operation": {"id": str(uuid4())}}, {})
    case.told.append(Told("", WALLET, "DEPOSIT", 100, None, pending))


def told_but_lost(case: Case) -> None:
    del case.operations[IDS[2]]
    case.wallets[WALLET] |= {"balance": 300, "seq": 2}


def refused_but_applied(case: Case) -> None:
    case.operations[IDS[3]] = row(3, "WITHDRAW", 100, 4, 500)
    case.wallets[WALLET] |= {"balance": 500, "seq": 4}


def another_amount(case: Case) -> None:
    case.operations[IDS[2]] |= {"amount": 301, "balance": 601}
    case.wallets[WALLET]["balance"] = 601


def balance_is_not_the_sum(case: Case) -> None:
    case.wallets[WALLET]["balance"] = 601


def gap_in_seq(case: Case) -> None:
    case.operations[IDS[2]]["seq"] = 4
    case.wallets[WALLET]["seq"] = 4


def wrong_balance_on_the_way(case: Case) -> None:
    case.operations[IDS[1]]["balance"] = 301


ERRORS = (
    told_another_outcome_for_the_key,
    two_operations_for_one_key,
    one_operation_for_two_requests,
    overtaken,
    overtaken_after_a_202,
    overtaken_after_a_202_that_was_seen_to_be_decided,
    overtaken_in_spite_of_a_key,
    nobody_could_hear_it_but_it_was_applied,
    key_without_an_answer_but_another_operation_was_applied,
    refused_busy_but_applied,
    refused_though_covered,
    refused_at_a_balance_that_never_was,
    told_of_another_wallet,
    nobody_was_told,
    broken_once_but_applied_twice,
    accepted_and_never_decided,
    told_but_lost,
    refused_but_applied,
    another_amount,
    balance_is_not_the_sum,
    gap_in_seq,
    wrong_balance_on_the_way,
)


def test_books_and_answers_agree__nothing_is_found(case: Case) -> None:
    assert case.violations() == []


def test_passed_by_between_a_202_and_its_outcome__is_no_error_where_the_client_waits_for_that(case: Case) -> None:
    overtaken_after_a_202(case)
    assert case.violations()

    case.told[3] = replace(case.told[3], decided_at=20.0)

    assert case.violations() == []


@pytest.mark.parametrize("plant", ERRORS)
def test_planted_error__is_found(case: Case, plant: Callable[[Case], None]) -> None:
    plant(case)
    assert case.violations()


def test_broken_connection__explains_one_operation(case: Case) -> None:
    case.told[1] = replace(case.told[1], answer=None)
    assert case.violations() == []


def test_message_left_in_a_stream__is_found(case: Case) -> None:
    assert violations(case.told, Books(case.wallets, case.operations), ["{p00}:ready holds 1 messages"])


def test_key_without_an_answer__explains_its_own_operation(case: Case) -> None:
    case.told[0] = replace(case.told[0], answer=None)
    case.told[2] = replace(case.told[2], answer=None, lost=Lost.LEFT)
    assert case.violations() == []


def test_client_that_left__may_find_its_operation_applied_or_not(case: Case) -> None:
    case.told[1] = replace(case.told[1], answer=None, lost=Lost.LEFT)
    case.told.append(Told("another", WALLET, "DEPOSIT", 777, None, None, Lost.LEFT))
    assert case.violations() == []


def test_status_that_the_fault_does_not_allow__is_found(case: Case) -> None:
    assert wrong_statuses(case.told, {200, 400}) == []
    assert len(wrong_statuses(case.told, {200})) == 1
    case.told.append(Told("", WALLET, "DEPOSIT", 1, None, Answer(503, {}, {"Retry-After": "1"})))
    assert len(wrong_statuses(case.told, {200, 400})) == 1
    assert wrong_statuses(case.told, {200, 400, 503}) == []


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "soon"}])
@pytest.mark.parametrize("status", [202, 429, 503])
def test_refusal_without_retry_after__is_found(case: Case, status: int, headers: dict[str, str]) -> None:
    case.told.append(Told("", WALLET, "DEPOSIT", 1, None, Answer(status, {}, headers)))
    assert len(wrong_statuses(case.told, {200, 400, status})) == 1


def test_status_that_the_fault_has_to_bring_and_nobody_saw__is_found(case: Case) -> None:
    assert unseen_statuses(case.told, {200, 400}) == []
    assert unseen_statuses(case.told, {200, 429, 503}) == ["nobody was told 429", "nobody was told 503"]


def test_broken_connection__is_found_where_none_may_break(case: Case) -> None:
    case.told.append(Told("", WALLET, "DEPOSIT", 1, None, None))
    assert len(wrong_statuses(case.told, {200, 400})) == 1
    assert wrong_statuses(case.told, {0, 200, 400}) == []
    case.told[-1] = replace(case.told[-1], lost=Lost.LEFT)
    assert wrong_statuses(case.told, {200, 400}) == []


def test_202__is_for_those_who_do_not_wait_or_where_the_fault_allows_it(case: Case) -> None:
    accepted = Answer(202, {"operation": {"id": IDS[1]}}, {"Retry-After": "1"})
    case.told[1] = replace(case.told[1], answer=accepted)
    assert len(wrong_statuses(case.told, {200, 400})) == 1
    case.told[1] = replace(case.told[1], waits=False)
    assert wrong_statuses(case.told, {200, 400}) == []
    assert case.violations() == []


def test_503_for_those_who_do_not_wait__is_for_when_the_queue_is_away(case: Case) -> None:
    refused = Answer(503, {}, {"Retry-After": "1"})
    case.told.append(Told("", WALLET, "DEPOSIT", 1, None, refused, waits=False))
    assert len(wrong_statuses(case.told, {200, 400})) == 1
    assert wrong_statuses(case.told, {200, 400}, is_queue_away=True) == []
