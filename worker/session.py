"""The worker's own session in Postgres: its locks are the ownership of partitions, its statements settle batches.

Guarantees that a partition is applied by whoever holds its lock and by nobody else: the lock lives and dies with the
very session that commits. A connection of its own, never one from a pool: a pool's reset would release every lock.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import sql
from shared.database import PARTITION_LOCKS, WORKER_LOCKS, Connection, connect
from shared.migrations import still_agree_on_partitions
from shared.release import RELEASE_LOCKS, own_release
from shared.settings import WorkerSettings

CHANNEL = "wallet_ownership"


@dataclass(frozen=True, slots=True)
class Survey:
    """Who holds what: the number of live workers in service, all partitions that are held, and those of this session.

    A drained session is to own nothing; while no other is in service, none counts as drained.
    """

    workers: int
    is_drained: bool
    held: frozenset[int]
    own: frozenset[int]


class Session:
    """One connection, used by one statement or transaction at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()
        self.ownership_changed = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: WorkerSettings) -> AsyncIterator["Session"]:
        """Connect and be counted among the workers; leaving closes the session, and with it goes all that it owned.

        Raises Misconfigured when there are more partitions by now than this worker knows of.
        """
        silence_ms = str(int(settings.session_timeout_seconds * 1000))
        connection = await connect(
            settings,
            settings.worker_name,
            # A frozen or unreachable worker is silent: Postgres itself ends its session, in or out of a transaction.
            idle_session_timeout=silence_ms,
            idle_in_transaction_session_timeout=silence_ms,
            tcp_user_timeout=silence_ms,
            tcp_keepalives_idle="1",
            tcp_keepalives_interval="1",
            tcp_keepalives_count="2",
            # For so long others wait for a wallet whose row somebody else has locked, before it is put aside.
            lock_timeout="1s",
            # All access is by key. Plans made while the tables are empty would keep a sequential scan or a hash of the
            # whole table: measured 2.5 to 6 times slower on a fresh database.
            enable_seqscan="off",
            enable_hashjoin="off",
            enable_mergejoin="off",
            plan_cache_mode="force_generic_plan",
        )
        try:
            session = cls(connection)
            await connection.add_listener(CHANNEL, lambda *_: session.ownership_changed.set())
            await connection.fetch(sql.query("show_release"), RELEASE_LOCKS, own_release())
            asked = time.monotonic()
            session._set_clock(await connection.fetchval(sql.query("join_workers"), WORKER_LOCKS, column=2), asked)
            # Once it is counted: whoever changes the number either sees it, or has changed it before.
            await still_agree_on_partitions(connection, settings.partition_count)
            yield session
        finally:
            connection.terminate()

    def now(self) -> datetime:
        """Return the time by Postgres' clock, to within half a trip: the times in the books come from one clock."""
        return self._read_at + timedelta(seconds=time.monotonic() - self._read_monotonic)

    def _set_clock(self, now: datetime, asked: float) -> None:
        """Note the time that Postgres told somewhere between `asked` and this moment."""
        self._read_at, self._read_monotonic = now, (asked + time.monotonic()) / 2

    @asynccontextmanager
    async def statements(self) -> AsyncIterator[Connection]:
        """Have the session for statements that each are a transaction."""
        async with self._turn:
            yield self._connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Open a READ COMMITTED transaction; leaving commits it, an exception rolls it back."""
        async with self._turn, self._connection.transaction():
            yield self._connection

    async def survey(self) -> Survey:
        """Read the locks of all workers; doubles as the heartbeat that keeps the session alive."""
        async with self._turn:
            asked = time.monotonic()
            row = await self._connection.fetchrow(sql.query("survey_locks"), WORKER_LOCKS, PARTITION_LOCKS)
        assert row is not None  # noqa: S101 an aggregate always has a row
        self._set_clock(row["now"], asked)
        return Survey(row["workers"], row["is_drained"], frozenset(row["held"]), frozenset(row["own"]))

    async def take(self, partitions: Iterable[int]) -> list[int]:
        """Take those partitions that are still free; returns them."""
        async with self._turn:
            rows = await self._connection.fetch(sql.query("take_partitions"), PARTITION_LOCKS, list(partitions))
        return [row["partition"] for row in rows]

    async def mark_taken(self, partitions: Collection[int]) -> dict[int, str]:
        """Note that partitions were taken; returns the last owner of those that it did not give back."""
        async with self._turn:
            # A statement of its own: it sees what was noted before the locks were free.
            rows = await self._connection.fetch(sql.query("mark_taken"), list(partitions))
        return {row["partition"]: row["worker"] for row in rows}

    async def release(self, partitions: Collection[int]) -> None:
        """Give partitions back and tell the other workers."""
        if partitions:
            async with self._turn:
                await self._connection.execute(sql.query("unmark_taken"), list(partitions))
                await self._connection.fetch(sql.query("release_partitions"), PARTITION_LOCKS, list(partitions))

    async def leave(self, partitions: Collection[int]) -> None:
        """Stop being counted among the workers, give everything back, and say goodbye."""
        async with self._turn:
            await self._connection.fetch(sql.query("leave_workers"), WORKER_LOCKS)
        await self.release(partitions)
        await self._connection.close(timeout=1)
