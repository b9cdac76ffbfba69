"""The rules of the books, one by one."""

from datetime import timedelta
from uuid import uuid4

import pytest
from msgspec.structs import replace

from shared.commands import Command, Operation, Reason, Status, Wallet
from shared.money import BALANCE_MAX
from tests.commands import EPOCH, deposit, empty_wallet, withdraw
from worker.ledger import Settlement, settle

NOW = EPOCH + timedelta(days=1)


def settled(commands: list[Command], *wallets: Wallet, recorded: tuple[Operation, ...] = ()) -> Settlement:
    return settle(commands, {w.id: w for w in wallets}, {o.id: o for o in recorded}, NOW)


@pytest.fixture
def wallet() -> Wallet:
    return replace(empty_wallet(uuid4(), balance=500), seq=3)


def test_deposit__adds_and_takes_the_next_seq(wallet: Wallet) -> None:
    command = deposit(wallet.id, 25)

    settlement = settled([command], wallet)

    assert settlement.outcomes == [
        Operation(
            id=command.id,
            wallet_id=wallet.id,
            type=command.type,
            amount=25,
            status=Status.APPLIED,
            reason=None,
            seq=4,
            balance=525,
            submitted_at=command.submitted_at,
            decided_at=NOW,
            token=command.token,
        )
    ]
    assert settlement.operations == settlement.outcomes
    assert settlement.wallets == [replace(wallet, balance=525, seq=4, updated_at=NOW)]


def test_withdrawal_of_everything__leaves_zero(wallet: Wallet) -> None:
    [operation] = settled([withdraw(wallet.id, 500)], wallet).outcomes

    assert (operation.status, operation.balance, operation.seq) == (Status.APPLIED, 0, 4)


def test_withdrawal_of_more_than_there_is__is_rejected_and_recorded(wallet: Wallet) -> None:
    settlement = settled([withdraw(wallet.id, 501)], wallet)

    [operation] = settlement.operations
    assert (operation.status, operation.reason) == (Status.REJECTED, Reason.INSUFFICIENT_FUNDS)
    assert (operation.balance, operation.seq) == (500, None)
    assert settlement.wallets == [wallet]


def test_deposit_to_the_limit__is_applied_and_one_unit_more_is_rejected() -> None:
    wallet = empty_wallet(uuid4(), balance=BALANCE_MAX - 1)

    reached, beyond = settled([deposit(wallet.id, 1), deposit(wallet.id, 1)], wallet).outcomes

    assert (reached.status, reached.balance) == (Status.APPLIED, BALANCE_MAX)
    assert (beyond.reason, beyond.balance) == (Reason.BALANCE_LIMIT_EXCEEDED, BALANCE_MAX)


def test_commands_of_one_batch__see_each_other_in_order(wallet: Wallet) -> None:
    settlement = settled([withdraw(wallet.id, 600), deposit(wallet.id, 100), withdraw(wallet.id, 600)], wallet)

    assert [(o.status, o.balance, o.seq) for o in settlement.outcomes] == [
        (Status.REJECTED, 500, None),
        (Status.APPLIED, 600, 4),
        (Status.APPLIED, 0, 5),
    ]


def test_wallet_that_changed_many_times__is_written_once(wallet: Wallet) -> None:
    settlement = settled([deposit(wallet.id, 1) for _ in range(10)], wallet)

    assert settlement.wallets == [replace(wallet, balance=510, seq=13, updated_at=NOW)]


def test_wallets_of_one_batch__do_not_touch_each_other(wallet: Wallet) -> None:
    other = empty_wallet(uuid4())

    settlement = settled([deposit(other.id, 7), withdraw(wallet.id, 7)], wallet, other)

    assert {w.id: w.balance for w in settlement.wallets} == {other.id: 7, wallet.id: 493}


def test_missing_wallet__is_rejected_and_not_recorded() -> None:
    settlement = settled([deposit(uuid4())])

    assert [o.reason for o in settlement.outcomes] == [Reason.WALLET_NOT_FOUND]
    assert (settlement.operations, settlement.wallets) == ([], [])


def test_recorded_command__gets_the_recorded_outcome_and_changes_nothing(wallet: Wallet) -> None:
    command = deposit(wallet.id, 25)
    [recorded] = settled([command], wallet).operations

    settlement = settled([command], wallet, recorded=(recorded,))

    assert settlement.outcomes == [recorded]
    assert (settlement.operations, settlement.wallets) == ([], [])


def test_recorded_rejection__stands_though_there_is_money_now(wallet: Wallet) -> None:
    command = withdraw(wallet.id, 1_000)
    [recorded] = settled([command], wallet).operations

    settlement = settled([command], replace(wallet, balance=5_000), recorded=(recorded,))

    assert settlement.outcomes == [recorded]
    assert settlement.wallets == []


def test_same_id_twice_in_one_batch__is_decided_once(wallet: Wallet) -> None:
    command = deposit(wallet.id, 25)

    settlement = settled([command, withdraw(wallet.id, 1, id=command.id), command], wallet)

    assert settlement.outcomes == [settlement.operations[0]] * 3
    assert [w.balance for w in settlement.wallets] == [525]


def test_id_that_belongs_to_another_wallet__gets_that_wallets_outcome(wallet: Wallet) -> None:
    other = empty_wallet(uuid4())
    command = deposit(wallet.id, 25)
    [recorded] = settled([command], wallet).operations

    settlement = settled([deposit(other.id, 25, id=command.id)], other, recorded=(recorded,))

    assert settlement.outcomes == [recorded]
    assert settlement.wallets == []


def test_clock_that_went_back__leaves_a_wallets_times_in_order(wallet: Wallet) -> None:
    ahead = replace(wallet, updated_at=NOW + timedelta(seconds=5))

    settlement = settled([deposit(wallet.id, 1), withdraw(wallet.id, 9_999)], ahead)

    assert [o.decided_at for o in settlement.outcomes] == [ahead.updated_at] * 2
    assert settlement.wallets[0].updated_at == ahead.updated_at


def test_empty_batch__comes_to_nothing() -> None:
    assert settled([]) == Settlement([], [], [])
