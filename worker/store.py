"""Settles a batch of commands in Postgres: one statement writes it, and is its transaction.

Guarantees that outcomes returned are committed, that a command is recorded at most once, that a wallet was as it was
taken to be, and that one command the database refuses does not hold up the others. Knows nothing of streams.

Nobody but the owner of its partition applies to a wallet, so what the owner wrote last is what stands: wallets are
remembered, and not read again. The statement that writes compares; where it finds otherwise nothing is written, and the
batch is settled again under row locks, with nothing remembered and every id looked up. So it is whatever the refusal.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from operator import attrgetter
from uuid import UUID

import structlog

import sql
from shared.commands import Command, Operation, Reason, Reply, Wallet
from shared.database import Connection, DatabaseRefused, RowLocked
from shared.ids import is_new
from shared.records import operation_of, wallet_of
from worker import ledger, metrics
from worker.session import Session

KNOWN_WALLETS_MAX = 20_000  # some 10 MB

log = structlog.get_logger(__name__)


class WalletsLocked(Exception):
    """Nothing was settled: somebody else has locked the rows of these wallets, or had until this moment."""

    def __init__(self, wallet_ids: Collection[UUID]) -> None:
        super().__init__(f"{len(wallet_ids)} wallets are locked by somebody else")
        self.wallet_ids = wallet_ids


class Store:
    """The books, written through the session that owns the partitions."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[UUID, Wallet] = {}  # as written last, and the longest unused first

    def forget(self) -> None:
        """Remember no wallet: others may have owned some meanwhile."""
        self._known.clear()

    async def settle(self, commands: Sequence[Command], claimed_at: datetime | None = None) -> list[Reply]:
        """Apply commands in order and return each one's reply, once all are committed.

        Raises DatabaseError when the session is lost: then nothing is known, and settling again decides. Raises
        WalletsLocked when it waited too long for a row; settled again, what was written of it is found.
        """
        try:
            return await self._settle_all(commands, claimed_at)
        except RowLocked as error:
            raise WalletsLocked(await self.locked({c.wallet_id for c in commands})) from error

    async def locked(self, wallet_ids: Collection[UUID]) -> list[UUID]:
        """Return those wallets whose rows somebody else has locked at this moment; waits for none."""
        async with self._session.statements() as connection:
            rows = await connection.fetch(sql.query("locked_wallets"), list(wallet_ids))
        return [row["id"] for row in rows]

    async def _settle_all(self, commands: Sequence[Command], claimed_at: datetime | None) -> list[Reply]:
        try:
            try:
                async with self._session.statements() as connection:
                    # A new id is not looked up: it was recorded before only when its message is here a second time.
                    keyed = [c.id for c in commands if not is_new(c.id)]
                    return await self._settle(connection, commands, keyed, claimed_at)
            except DatabaseRefused:
                # Perhaps for what was taken to be so: an id is recorded, a wallet stands otherwise or is gone.
                # Or for a rule of its own, which may come before that: what is recorded must not be refused now.
                self.forget()
                async with self._session.transaction() as connection:
                    await connection.fetch(sql.query("lock_wallets"), list({c.wallet_id for c in commands}))
                    return await self._settle(connection, commands, [c.id for c in commands], claimed_at)
        except DatabaseRefused as error:
            self.forget()
            if len(commands) == 1:
                # It is not in the books: its id was looked up just now, and nobody else writes what this owner settles.
                return [await self._record_refused(commands[0], claimed_at, error)]
            # One of them is refused, and the transaction with it: halves, in order, until it stands alone.
            half = len(commands) // 2
            return [
                *await self._settle_all(commands[:half], claimed_at),
                *await self._settle_all(commands[half:], claimed_at),
            ]

    async def _settle(
        self,
        connection: Connection,
        commands: Sequence[Command],
        may_be_recorded: Sequence[UUID],
        claimed_at: datetime | None,
    ) -> list[Reply]:
        began = time.perf_counter()
        wallets = await self._wallets(connection, {command.wallet_id for command in commands})
        recorded = {}
        if may_be_recorded:
            # Whatever an earlier owner committed is seen here: it was committed before its locks were free.
            rows = await connection.fetch(sql.query("recorded_operations"), may_be_recorded)
            recorded = {row["id"]: operation_of(row) for row in rows}
        settlement = ledger.settle(commands, wallets, recorded, self._session.now())
        known = time.perf_counter()
        # killed here: nothing is written; the next owner claims the same messages.
        if settlement.operations:
            await connection.execute(sql.query("settle_batch"), *_arrays(settlement, wallets, claimed_at))
        # killed here: the next owner finds the operations and repeats the replies.
        self._remember(settlement.wallets)
        metrics.SETTLE.observe(known - began)
        metrics.COMMIT.observe(time.perf_counter() - known)
        metrics.note_settled(settlement.operations, _repeats(settlement))
        return [
            Reply(operation, wallets[operation.wallet_id].created_at if operation.wallet_id in wallets else None)
            for operation in settlement.outcomes
        ]

    async def _wallets(self, connection: Connection, wallet_ids: Collection[UUID]) -> dict[UUID, Wallet]:
        """Return those wallets of these that there are, remembered or read."""
        wallets = {wallet_id: self._known[wallet_id] for wallet_id in wallet_ids if wallet_id in self._known}
        unknown = [wallet_id for wallet_id in wallet_ids if wallet_id not in wallets]
        if unknown:
            wallets |= {row["id"]: wallet_of(row) for row in await connection.fetch(sql.query("read_wallets"), unknown)}
        return wallets

    def _remember(self, wallets: Iterable[Wallet]) -> None:
        for wallet in wallets:
            self._known.pop(wallet.id, None)
            self._known[wallet.id] = wallet
        for wallet_id in list(islice(self._known, max(0, len(self._known) - KNOWN_WALLETS_MAX))):
            del self._known[wallet_id]

    async def _record_refused(self, command: Command, claimed_at: datetime | None, error: Exception) -> Reply:
        concerns = {"operation_id": str(command.id), "request_id": command.request_id}
        # Not what the error says: that repeats the row, with its amounts.
        log.error("database refused a command", **concerns, **_without_values(error))
        try:
            async with self._session.transaction() as connection:
                [row] = await connection.fetch(sql.query("lock_wallets"), [command.wallet_id])
                wallet = wallet_of(row)
                decided_at = max(self._session.now(), wallet.updated_at)
                refused = ledger.reject(command, Reason.REFUSED_BY_DATABASE, wallet.balance, decided_at)
                settlement = ledger.Settlement([refused], [refused], [])
                await connection.execute(sql.query("settle_batch"), *_arrays(settlement, {}, claimed_at))
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


def _arrays(settlement: ledger.Settlement, known: Mapping[UUID, Wallet], claimed_at: datetime | None) -> list[object]:
    operations: Sequence[Operation] = settlement.operations
    after = sorted(settlement.wallets, key=attrgetter("id"))
    before = [known[wallet.id] for wallet in after]
    usual = operations[0].decided_at
    return [
        [o.id for o in operations],
        [o.wallet_id for o in operations],
        [o.type for o in operations],
        [o.amount for o in operations],
        # Shorter arrays are filled up with nulls, and most batches have no reasons, and one time: then none is sent.
        [o.reason for o in operations] if any(o.reason for o in operations) else [],
        [o.seq for o in operations],
        [o.balance for o in operations],
        [o.submitted_at for o in operations],
        _unless_all(usual, [o.decided_at for o in operations]),
        [o.token for o in operations],
        claimed_at,
        usual,
        [wallet.id for wallet in after],
        [wallet.balance for wallet in before],
        [wallet.seq for wallet in before],
        [wallet.balance for wallet in after],
        [wallet.seq for wallet in after],
        _unless_all(usual, [wallet.updated_at for wallet in after]),
    ]


def _unless_all(usual: datetime, times: list[datetime]) -> list[datetime]:
    return [] if times.count(usual) == len(times) else times
