"""The model: wallets as a reader of the README would keep them by hand, one operation after another.

Shares no code with the service: amounts are read digit by digit, balances are whole cents, and an operation is what was
told about it when it was decided. Knows nothing of HTTP.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

LIMIT = 10**18 - 1  # cents: the largest amount, and the largest balance
DIGITS = set("0123456789")


def written(cents: int) -> str:
    """Write cents as the service does."""
    return f"{cents // 100}.{cents % 100:02d}"


def cents_of_text(text: str) -> int | None:
    """Read a plain decimal string; None when it is no amount."""
    whole, point, fraction = text.partition(".")
    if not whole or not set(whole) <= DIGITS or len(whole) > 16 or (whole[0] == "0" and whole != "0"):
        return None
    if point and not (1 <= len(fraction) <= 2 and set(fraction) <= DIGITS):
        return None
    return (int(whole) * 100 + int((fraction + "00")[:2])) or None


def cents_of_number(token: str) -> int | None:
    """Read a JSON number token; None when it is no amount. Decimals count as they are written: 1.000 has three."""
    mantissa, _, exponent = token.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    power = int(exponent or "0") - len(fraction)
    digits = int(whole + fraction)
    if mantissa.startswith("-") or digits == 0 or power < -2:
        return None
    if len(str(digits)) + power > 16:
        return None
    value = Fraction(digits) * Fraction(10) ** power * 100
    assert value.denominator == 1
    return int(value)


@dataclass(slots=True, eq=False)
class Operation:
    """A decided operation; what is None was not told yet."""

    id: str
    type: str
    cents: int
    reason: str | None
    seq: int | None
    balance: int
    applied_at: str | None = None
    created_at: str | None = None

    def view(self) -> dict[str, Any]:
        """Return the operation as the service must show it; its time of arrival is the service's to tell, once."""
        view = {
            "id": self.id,
            "operation_type": self.type,
            "amount": written(self.cents),
            "status": "REJECTED" if self.reason else "APPLIED",
            "seq": self.seq,
            "balance": written(self.balance),
            "created_at": self.created_at,
            "applied_at": self.applied_at,
        }
        return {**view, "reason": self.reason} if self.reason else view

    def is_shown_as(self, shown: dict[str, Any]) -> bool:
        """Tell whether a view of it is right; learns when it arrived from the first."""
        self.created_at = self.created_at or shown["created_at"]
        return self.view() == shown


@dataclass(slots=True, eq=False)
class Wallet:
    """A wallet: its balance, its history, and what its keys were used for."""

    id: str
    created_at: str
    balance: int = 0
    updated_at: str = ""
    applied: list[Operation] = field(default_factory=list)
    rejected: list[Operation] = field(default_factory=list)
    keys: dict[str, Operation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.updated_at = self.created_at

    def view(self) -> dict[str, Any]:
        """Return the wallet as the service must show it."""
        return {
            "id": self.id,
            "balance": written(self.balance),
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }

    def reason_against(self, kind: str, cents: int, balance: int | None = None) -> str | None:
        """Return why an operation is refused at a balance, its own by default; None when it is applied."""
        balance = self.balance if balance is None else balance
        if kind == "WITHDRAW":
            return "insufficient_funds" if cents > balance else None
        return "balance_limit_exceeded" if balance + cents > LIMIT else None

    def record(self, operation: Operation, key: str | None = None) -> None:
        """Enter what was decided."""
        if key is not None:
            self.keys[key] = operation
        if operation.reason:
            self.rejected.append(operation)
            return
        self.balance = operation.balance
        self.updated_at = operation.applied_at or self.updated_at
        self.applied.append(operation)

    def after(self, kind: str, cents: int) -> int:
        """Return the balance after an operation that is applied."""
        return self.balance + (cents if kind == "DEPOSIT" else -cents)
