"""Everything that may go wrong, split by who must act.

ServiceError
├── CallerError             the caller changes the request
│   ├── Malformed           the body is not JSON
│   ├── Invalid             well-formed, but a field is not acceptable
│   ├── NotFound            no such wallet or operation
│   ├── Unauthenticated     no valid API key
│   ├── Forbidden           a valid one that lacks the scope
│   └── KeyReused           the Idempotency-Key belongs to another body
├── Refused                 nothing was accepted and nothing will happen: the caller tries again later
│   ├── WalletQueueFull     too many commands wait for this wallet
│   └── Unavailable         too many wait in all, or a store is away
├── Pending                 accepted and not decided yet: nobody needs to act
└── OperatorError           the process cannot go on; the message says what to do
    ├── Misconfigured       a setting contradicts the database or another setting
    └── StoreUnreachable    Postgres or Redis did not answer
"""

from collections.abc import Sequence
from uuid import UUID

from shared.commands import Command, Reason


class ServiceError(Exception):
    """The root: `detail` is a sentence for people."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class CallerError(ServiceError):
    """The caller must change the request."""


class Malformed(CallerError):
    """The body is not JSON (RFC 8259)."""


class Invalid(CallerError):
    """A field is not acceptable; `errors` names each as (location, message)."""

    def __init__(self, detail: str, errors: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(detail)
        self.errors = errors


class NotFound(CallerError):
    """There is no such wallet or operation; `code` says which."""

    def __init__(self, detail: str, code: str) -> None:
        super().__init__(detail)
        self.code = code

    @classmethod
    def wallet(cls, wallet_id: UUID) -> "NotFound":
        return cls(f"There is no wallet {wallet_id}.", Reason.WALLET_NOT_FOUND)

    @classmethod
    def operation(cls, wallet_id: UUID, operation_id: UUID) -> "NotFound":
        return cls(f"Wallet {wallet_id} has no operation {operation_id}.", "operation_not_found")


class Unauthenticated(CallerError):
    """The request has no valid API key."""


class Forbidden(CallerError):
    """The API key lacks the scope."""


class KeyReused(CallerError):
    """The Idempotency-Key was used before, on this wallet, with another body."""


class Refused(ServiceError):
    """Nothing was accepted and nothing will happen; worth a retry after `retry_after_seconds`."""

    def __init__(self, detail: str, retry_after_seconds: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class WalletQueueFull(Refused):
    """As many commands as allowed wait for this wallet."""


class Unavailable(Refused):
    """The service cannot take the command now."""


class Pending(ServiceError):
    """The command was accepted and will be decided exactly once; the wait ended first."""

    def __init__(self, command: Command) -> None:
        super().__init__(f"Operation {command.id} was accepted and is not decided yet.")
        self.command = command


class OperatorError(ServiceError):
    """The process cannot go on; the message says what to do."""


class Misconfigured(OperatorError):
    """A setting contradicts the database or another setting."""


class StoreUnreachable(OperatorError):
    """Postgres or Redis did not answer in time."""
