"""The gateway's own statements: wallets are created and read here, operations looked up; nothing is ever applied.

Guarantees that a caller reads its own writes: a 200 comes after the commit. Raises Unavailable when Postgres is away.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import sql
from gateway.access import ApiKey
from gateway.looks import Looks
from shared.commands import Operation, Reply, Wallet
from shared.database import PARTITION_LOCKS, DatabaseLost, Pool
from shared.errors import Unavailable
from shared.records import operation_of, reply_of, wallet_of

NEWEST_SEQ = 2**63 - 1
NEWEST = (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))


class Books:
    """Reads and wallet creation, over the gateway's pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.looks = Looks(pool)

    async def create_wallet(self, wallet_id: UUID) -> Wallet:
        """Create an empty wallet."""
        async with _reachable():
            row = await self._pool.fetchrow(sql.query("create_wallet"), wallet_id)
        assert row is not None  # noqa: S101 an INSERT … RETURNING has a row
        return wallet_of(row)

    async def wallet(self, wallet_id: UUID) -> Wallet | None:
        """Return a wallet, or None when there is none."""
        return await self.looks.wallet(wallet_id)

    async def find(self, operation_ids: Sequence[UUID]) -> list[Reply]:
        """Return the recorded ones of these operations, in any order; raises DatabaseError."""
        return [reply_of(row) for row in await self._pool.fetch(sql.query("find_operations"), operation_ids)]

    async def operation(self, wallet_id: UUID, operation_id: UUID) -> Operation | None:
        """Return a recorded operation of a wallet, or None."""
        async with _reachable():
            replies = await self.find([operation_id])
        return next((reply.operation for reply in replies if reply.operation.wallet_id == wallet_id), None)

    async def applied(self, wallet_id: UUID, below_seq: int | None, rows_max: int) -> list[Operation]:
        """Return a page of applied operations, newest first."""
        async with _reachable():
            rows = await self._pool.fetch(sql.query("list_applied"), wallet_id, below_seq or NEWEST_SEQ, rows_max)
        return [operation_of(row) for row in rows]

    async def rejected(self, wallet_id: UUID, below: tuple[datetime, UUID] | None, rows_max: int) -> list[Operation]:
        """Return a page of rejected operations, newest first."""
        async with _reachable():
            rows = await self._pool.fetch(sql.query("list_rejected"), wallet_id, *(below or NEWEST), rows_max)
        return [operation_of(row) for row in rows]

    async def api_keys(self) -> list[ApiKey]:
        """Return the keys that may be used; raises DatabaseError."""
        return [
            ApiKey(row["id"], row["name"], row["secret_sha256"], frozenset(row["scopes"]), row["expires_at"])
            for row in await self._pool.fetch(sql.query("valid_api_keys"))
        ]

    async def partitions(self) -> tuple[int, int | None]:
        """Return how many partitions have a live owner, and how many there are, if anybody has said so yet."""
        async with _reachable():
            row = await self._pool.fetchrow(sql.query("owned_partitions"), PARTITION_LOCKS)
        assert row is not None  # noqa: S101 an aggregate always has a row
        return row["owned"], row["partitions"]


@asynccontextmanager
async def _reachable() -> AsyncIterator[None]:
    try:
        yield
    except DatabaseLost as error:
        raise Unavailable("The database does not answer.") from error
