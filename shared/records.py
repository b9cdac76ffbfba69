"""How rows of Postgres become the vocabulary's words. Knows the column names of `sql/`; pure."""

from shared.commands import Operation, OperationType, Reason, Reply, Status, Wallet
from shared.database import Record


def wallet_of(row: Record) -> Wallet:
    """Return a wallet from its row."""
    return Wallet(row["id"], row["balance"], row["seq"], row["created_at"], row["updated_at"])


def operation_of(row: Record) -> Operation:
    """Return an operation from its row."""
    return Operation(
        id=row["id"],
        wallet_id=row["wallet_id"],
        type=OperationType(row["type"]),
        amount=row["amount"],
        status=Status(row["status"]),
        reason=Reason(row["reason"]) if row["reason"] else None,
        seq=row["seq"],
        balance=row["balance"],
        submitted_at=row["submitted_at"],
        decided_at=row["decided_at"],
        token=row["token"],
    )


def reply_of(row: Record) -> Reply:
    """Return a stored operation as the reply that its waiter missed (`find_operations.sql`)."""
    return Reply(operation_of(row), row["wallet_created_at"])
