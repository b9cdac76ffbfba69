"""The rules of the books: what each command does to its wallet. Pure: no I/O, no clock.

Guarantees that any list of commands, cut into any batches and redelivered in any way, has the outcomes of the same
commands walked one by one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.commands import Command, Operation, OperationType, Reason, Status, Wallet
from shared.money import BALANCE_MAX


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a batch comes to: an outcome per command in the order given, and what of it is new in the books.

    `wallets` are those of the new operations as they stand after them, changed or not.
    """

    outcomes: list[Operation]
    operations: list[Operation]
    wallets: list[Wallet]


def settle(
    commands: Iterable[Command], wallets: Mapping[UUID, Wallet], recorded: Mapping[UUID, Operation], now: datetime
) -> Settlement:
    """Walk commands in order over wallets as they stand; `recorded` holds the operations that are in the books already.

    A command whose id is recorded, earlier in this batch or before it, gets the recorded outcome, whatever its body:
    whether that is a replay or a conflict is for the asker to see. A missing wallet's rejection is not recorded: wallet
    ids are never chosen by clients, so that answer cannot change.
    """
    decided = dict(recorded)
    standing: dict[UUID, Wallet] = {}
    outcomes: list[Operation] = []
    operations: list[Operation] = []
    for command in commands:
        operation = decided.get(command.id)
        if operation is None:
            wallet = standing.get(command.wallet_id) or wallets.get(command.wallet_id)
            operation = decide(command, wallet, now)
            if wallet is not None:
                decided[command.id] = operation
                operations.append(operation)
                standing[wallet.id] = apply(wallet, operation) if operation.status is Status.APPLIED else wallet
        outcomes.append(operation)
    return Settlement(outcomes, operations, list(standing.values()))


def decide(command: Command, wallet: Wallet | None, now: datetime) -> Operation:
    """Return the outcome of one command on a wallet as it stands (None: there is no such wallet)."""
    if wallet is None:
        return reject(command, Reason.WALLET_NOT_FOUND, 0, now)
    # A wallet's times never go back, even when Postgres' clock does.
    now = max(now, wallet.updated_at)
    if command.type is OperationType.DEPOSIT:
        balance = wallet.balance + command.amount
        if balance > BALANCE_MAX:
            return reject(command, Reason.BALANCE_LIMIT_EXCEEDED, wallet.balance, now)
    else:
        balance = wallet.balance - command.amount
        if balance < 0:
            return reject(command, Reason.INSUFFICIENT_FUNDS, wallet.balance, now)
    return _operation(command, Status.APPLIED, None, wallet.seq + 1, balance, now)


def reject(command: Command, reason: Reason, balance: int, now: datetime) -> Operation:
    """Return a rejection that leaves the wallet's balance, in minor units, as it is."""
    return _operation(command, Status.REJECTED, reason, None, balance, now)


def apply(wallet: Wallet, operation: Operation) -> Wallet:
    """Return the wallet after an applied operation."""
    assert operation.seq is not None  # noqa: S101 an applied operation has one: operations_applied_has_seq
    return Wallet(wallet.id, operation.balance, operation.seq, wallet.created_at, operation.decided_at)


def _operation(
    command: Command, status: Status, reason: Reason | None, seq: int | None, balance: int, now: datetime
) -> Operation:
    return Operation(
        command.id,
        command.wallet_id,
        command.type,
        command.amount,
        status,
        reason,
        seq,
        balance,
        command.submitted_at,
        now,
        command.token,
    )
