"""Whether a wallet's books agree with themselves: one walk over its applied operations in order of seq. Pure.

Guarantees that a walk cut into any pieces finds what the same walk in one piece finds. What a rejected operation did to
the money shows here as a difference that no applied operation explains.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

FINDINGS_MAX = 20  # of one walk of one wallet in one piece: books that are wrong throughout need no more lines


class Kind(StrEnum):
    """What can be wrong."""

    SEQ_GAP = "seq_gap"
    RUNNING_BALANCE = "running_balance"
    WALLET_SEQ = "wallet_seq"
    WALLET_BALANCE = "wallet_balance"
    REJECTED_MOVED_MONEY = "rejected_moved_money"


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement: amounts in minor units, or numbers of operations."""

    wallet_id: UUID
    kind: Kind
    subject: str
    expected: int
    found: int
    detail: str

    @property
    def moved(self) -> int:
        """By how much money moved that no applied operation moved; 0 when this is not about money."""
        return self.found - self.expected if self.kind in {Kind.RUNNING_BALANCE, Kind.WALLET_BALANCE} else 0


@dataclass(frozen=True, slots=True)
class Row:
    """An applied operation: `balance` is what it says of the wallet right after it, `change` is signed."""

    seq: int
    balance: int
    change: int


@dataclass(slots=True)
class Walk:
    """How far a wallet's operations were followed: the last row's seq and balance, and the sum of the changes."""

    wallet_id: UUID
    seq: int = 0
    balance: int = 0
    total: int = 0
    findings: list[Finding] = field(default_factory=list)

    def follow(self, rows: Iterable[Row]) -> None:
        """Go on over the next rows, in order of seq."""
        for row in rows:
            if row.seq != self.seq + 1:
                detail = f"operation {row.seq} follows operation {self.seq}"
                self._note(Kind.SEQ_GAP, f"seq {row.seq}", self.seq + 1, row.seq, detail)
            elif row.balance != self.balance + row.change:
                # After a gap this would only say the same again.
                detail = f"{self.balance} changed by {row.change:+} is not {row.balance}"
                self._note(Kind.RUNNING_BALANCE, f"seq {row.seq}", self.balance + row.change, row.balance, detail)
            self.seq, self.balance, self.total = row.seq, row.balance, self.total + row.change

    def arrive(self, balance: int, seq: int) -> None:
        """Compare with what the wallet's own row says, when there are no more operations."""
        if seq != self.seq:
            self._note(Kind.WALLET_SEQ, "wallet", self.seq, seq, f"the last operation is number {self.seq}")
        if balance != self.total:
            self._note(Kind.WALLET_BALANCE, "wallet", self.total, balance, f"its operations add up to {self.total}")

    def _note(self, kind: Kind, subject: str, expected: int, found: int, detail: str) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(self.wallet_id, kind, subject, expected, found, detail))
