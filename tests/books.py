"""The books as they stand in Postgres, read and prepared by tests through a session that is nobody's but theirs."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from shared.commands import Operation, Wallet
from shared.database import Connection, Record
from shared.records import operation_of, wallet_of


@dataclass(frozen=True, slots=True)
class BooksAsTheyStand:
    """What one database holds."""

    connection: Connection

    async def create_wallet(self, balance: int = 0, seq: int = 0) -> UUID:
        """Write a wallet as it would be after `seq` operations."""
        wallet_id = uuid4()
        await self.connection.execute(
            "INSERT INTO wallets (id, balance, seq) VALUES ($1, $2, $3)", wallet_id, balance, seq
        )
        return wallet_id

    async def wallet(self, wallet_id: UUID) -> Wallet:
        row = await self.connection.fetchrow("SELECT * FROM wallets WHERE id = $1", wallet_id)
        assert row is not None
        return wallet_of(row)

    async def balance(self, wallet_id: UUID) -> int:
        return (await self.wallet(wallet_id)).balance

    async def operations(self, wallet_id: UUID) -> list[Operation]:
        """Return what is recorded of a wallet: the applied ones in order of seq, then the rejected ones."""
        rows: Sequence[Record] = await self.connection.fetch(
            "SELECT * FROM operations WHERE wallet_id = $1 ORDER BY seq, decided_at, id", wallet_id
        )
        return [operation_of(row) for row in rows]

    async def sequential_scans(self) -> int:
        """Return how often the books were read from end to end, as far as the sessions have told."""
        scans: int = await self.connection.fetchval(
            "SELECT sum(seq_scan)::int FROM pg_stat_user_tables WHERE relname IN ('wallets', 'operations')"
        )
        return scans
