"""Settles a batch of commands in Postgres: one transaction, two or three statements.

Guarantees that outcomes returned are committed, that a command is recorded at most once, and that one command the
database refuses does not hold up the others. Knows nothing of streams.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import structlog

import sql
from shared.commands import Command, Operation, Reason, Reply
from shared.database import AlreadyRecorded, DatabaseRefused
from shared.records import operation_of, wallet_of
from worker import ledger, metrics
from worker.session import Session

NEW_ID_VERSION = 7  # of the ids that gateways make; that of an Idempotency-Key is derived, and may come again

log = structlog.get_logger(__name__)


class Store:
    """The books, written through the session that owns the partitions."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def settle(self, commands: Sequence[Command], on_writing: Callable[[], None] = lambda: None) -> list[Reply]:
        """Apply commands in order and return each one's reply, once all are committed.

        `on_writing` is called when the outcomes are known and only the write and the commit are left. Raises
        DatabaseError when the session is lost: then nothing is known, and settling again decides.
        """
        try:
            try:
                # A new id is not looked up: it was recorded before only when its message is here a second time.
                keyed = [c.id for c in commands if c.id.version != NEW_ID_VERSION]
                return await self._transaction(commands, keyed, on_writing)
            except AlreadyRecorded:
                return await self._transaction(commands, [c.id for c in commands], on_writing)
        except DatabaseRefused as error:
            if len(commands) == 1:
                return [await self._record_refused(commands[0], error)]
            # One of them is refused, and the transaction with it: halves, in order, until it stands alone.
            half = len(commands) // 2
            return await self.settle(commands[:half]) + await self.settle(commands[half:])

    async def _transaction(
        self, commands: Sequence[Command], may_be_recorded: Sequence[UUID], on_writing: Callable[[], None]
    ) -> list[Reply]:
        began = time.perf_counter()
        async with self._session.transaction() as connection:
            rows = await connection.fetch(sql.query("lock_wallets"), list({c.wallet_id for c in commands}))
            wallets = {row["id"]: wallet_of(row) for row in rows}
            now = rows[0]["now"] if rows else datetime.now(UTC)  # Postgres' clock, for whatever is recorded
            recorded = {}
            if may_be_recorded:
                # After the locks: whatever an earlier owner committed is seen here.
                rows = await connection.fetch(sql.query("recorded_operations"), may_be_recorded)
                recorded = {row["id"]: operation_of(row) for row in rows}
            settlement = ledger.settle(commands, wallets, recorded, now)
            on_writing()
            # killed here: rolled back; the next owner claims the same messages.
            if settlement.operations:
                await connection.execute(sql.query("settle_batch"), *_arrays(settlement))
            written = time.perf_counter()
        # killed here: the next owner finds the operations and repeats the replies.
        metrics.SETTLE.observe(written - began)
        metrics.COMMIT.observe(time.perf_counter() - written)
        metrics.note_settled(settlement.operations, _repeats(settlement))
        return [
            Reply(operation, wallets[operation.wallet_id].created_at if operation.wallet_id in wallets else None)
            for operation in settlement.outcomes
        ]

    async def _record_refused(self, command: Command, error: Exception) -> Reply:
        concerns = {"operation_id": str(command.id), "request_id": command.request_id}
        # Not what the error says: that repeats the row, with its amounts.
        log.error("database refused a command", **concerns, **_without_values(error))
        try:
            async with self._session.transaction() as connection:
                [row] = await connection.fetch(sql.query("lock_wallets"), [command.wallet_id])
                wallet = wallet_of(row)
                decided_at = max(row["now"], wallet.updated_at)
                refused = ledger.reject(command, Reason.REFUSED_BY_DATABASE, wallet.balance, decided_at)
                settlement = ledger.Settlement([refused], [refused], [])
                await connection.execute(sql.query("settle_batch"), *_arrays(settlement))
            metrics.note_settled(settlement.operations, 0)
        except DatabaseRefused as again:
            # Not even the rejection can be stored: the dead letter and the reply are all that is left of it.
            log.error("database refused a rejection as well", **concerns, **_without_values(again))  # noqa: TRY400
        return Reply(refused, wallet.created_at)


def _repeats(settlement: ledger.Settlement) -> int:
    """Return how many outcomes were in the books before; that of a missing wallet never is."""
    if len(settlement.outcomes) == len(settlement.operations):
        return 0
    missing = sum(outcome.reason is Reason.WALLET_NOT_FOUND for outcome in settlement.outcomes)
    return len(settlement.outcomes) - len(settlement.operations) - missing


def _without_values(error: Exception) -> dict[str, str]:
    """Return what an error of the database is about, and nothing of the row that it is about."""
    named = {name: getattr(error, name, None) for name in ("sqlstate", "table_name", "column_name", "constraint_name")}
    return {"error": type(error).__name__, **{name: value for name, value in named.items() if value}}


def _arrays(settlement: ledger.Settlement) -> list[object]:
    operations: Sequence[Operation] = settlement.operations
    wallet_ids: list[UUID] = [wallet.id for wallet in settlement.wallets]
    return [
        [o.id for o in operations],
        [o.wallet_id for o in operations],
        [o.type.value for o in operations],
        [o.amount for o in operations],
        [o.status.value for o in operations],
        [o.reason.value if o.reason else None for o in operations],
        [o.seq for o in operations],
        [o.balance for o in operations],
        [o.submitted_at for o in operations],
        [o.decided_at for o in operations],
        [o.token for o in operations],
        wallet_ids,
        [wallet.balance for wallet in settlement.wallets],
        [wallet.seq for wallet in settlement.wallets],
        [wallet.updated_at for wallet in settlement.wallets],
    ]
