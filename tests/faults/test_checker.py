"""The checker finds every kind of error that a fault could leave in the books: each is planted once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pytest

from tests.faults.checker import Books, Told, violations
from tests.service import Answer

WALLET = str(uuid4())
IDS = [str(uuid4()) for _ in range(4)]


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
    return Told("one client", WALLET, "DEPOSIT", units, key, Answer(200, body, {}))


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
    case.told[1], case.told[3] = case.told[3], case.told[1]


def nobody_was_told(case: Case) -> None:
    del case.told[3]


def broken_once_but_applied_twice(case: Case) -> None:
    case.told[1] = replace(case.told[1], answer=None)
    case.operations["again"] = {**row(1, "DEPOSIT", 200, 4, 800), "id": "again"}
    case.wallets[WALLET] |= {"balance": 800, "seq": 4}


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


@pytest.mark.parametrize("plant", ERRORS)
def test_planted_error__is_found(case: Case, plant: Callable[[Case], None]) -> None:
    plant(case)
    assert case.violations()


def test_broken_connection__explains_one_operation(case: Case) -> None:
    case.told[1] = replace(case.told[1], answer=None)
    assert case.violations() == []


def test_message_left_in_a_stream__is_found(case: Case) -> None:
    assert violations(case.told, Books(case.wallets, case.operations), ["{p00}:ready holds 1 messages"])
