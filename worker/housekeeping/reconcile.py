"""Walks all wallets, round after round, and checks that each one's books agree with themselves; see `audit.py`.

Guarantees that live traffic causes no finding (a chunk is read in one snapshot), that nobody waits for it (plain reads,
short transactions, a pause after each), and that a chunk is bounded however long a wallet's history is: a long one is
followed piece by piece. Its place is in Postgres, moved with the findings in one transaction.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import structlog

import sql
from shared.commands import OperationType
from shared.database import Connection, Record
from shared.settings import MaintenanceSettings
from worker.housekeeping.audit import Finding, Kind, Row, Walk

LAST_WALLET = UUID(int=2**128 - 1)
REJECTED_MAX = 10_000  # a wallet's newest rejections that are searched for one that explains a difference
LOG_LINES_MAX = 10  # of one chunk; the table has them all

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the walk is: all wallets up to this one are done, or, with `walk`, this one is followed so far."""

    wallet_id: UUID
    walk: Walk | None
    began_at: datetime | None
    now: datetime

    @classmethod
    def of(cls, row: Record) -> "Place":
        walk = None
        if row["wallet_began_at"]:
            walk = Walk(row["wallet_id"], row["seq"], int(row["balance"]), int(row["total"]))
        return cls(row["wallet_id"], walk, row["wallet_began_at"], row["now"])


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one look found: `first` and `last` name the wallets that are done, none when `unfinished` is set."""

    first: UUID
    last: UUID
    wallets: int
    operations: int
    findings: Sequence[Finding]
    unfinished: Walk | None = None
    ends_round: bool = False


class Reconciliation:
    """One run: goes on from the kept place until the round, the time or the process ends."""

    def __init__(self, settings: MaintenanceSettings, connection: Connection, over: asyncio.Event) -> None:
        self._chunk_rows = settings.reconcile_chunk_operations
        self._pause_seconds = settings.reconcile_pause_seconds
        self._run_seconds = settings.reconcile_run_seconds
        self._connection = connection
        self._over = over

    async def run(self) -> Mapping[str, Any]:
        """Return what was looked at, what was found, and how many findings are open now."""
        counts: Counter[str] = Counter(wallets=0, operations=0, chunks=0, found=0, resolved=0)
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._run_seconds
        while True:
            chunk, resolved = await self.step()
            counts["chunks"] += 1
            counts["wallets"] += chunk.wallets
            counts["operations"] += chunk.operations
            counts["found"] += len(chunk.findings)
            counts["resolved"] += resolved
            if chunk.ends_round or loop.time() >= ends or await self._is_over_after_the_pause():
                break
        open_findings = await self._connection.fetchval(sql.query("open_findings"))
        row = await self._row()
        return {**counts, "open": open_findings, "rounds": row["rounds"], "round_began_at": row["round_began_at"]}

    async def step(self) -> tuple[Chunk, int]:
        """Look at one chunk and keep what was found; returns it, and how many old findings are gone."""
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            place = Place.of(await self._row())
            chunk = await (self._go_on(place.walk) if place.walk else self._next(place))
            explained = [await self._explain(finding) for finding in chunk.findings]
            chunk = replace(chunk, findings=[*chunk.findings, *filter(None, explained)])
        # killed here: the place has not moved, and the chunk is looked at again.
        resolved = await self._keep(place, chunk)
        for finding in chunk.findings[:LOG_LINES_MAX]:
            log.error("the books disagree", wallet=str(finding.wallet_id), kind=finding.kind, subject=finding.subject)
        return chunk, resolved

    # ---- reading: one snapshot ----------------------------------------------------------------------------------

    async def _row(self) -> Record:
        row = await self._connection.fetchrow(sql.query("reconcile_place"))
        assert row is not None  # noqa: S101 the migration put it there
        return row

    async def _next(self, place: Place) -> Chunk:
        """Look at as many whole wallets as fit, or at the first piece of one that does not."""
        first = UUID(int=min(place.wallet_id.int + 1, LAST_WALLET.int))
        limit = self._chunk_rows
        wallets = await self._connection.fetch(sql.query("reconcile_wallets"), place.wallet_id, LAST_WALLET, limit)
        if not wallets:
            return Chunk(first, LAST_WALLET, 0, 0, [], ends_round=True)
        last = wallets[-1]["id"]
        rows = await self._connection.fetch(sql.query("reconcile_operations"), first, -(2**63), last, limit)
        by_wallet: dict[UUID, list[Row]] = defaultdict(list)
        for wallet_id, *row in rows:
            by_wallet[wallet_id].append(Row(*row))
        if len(rows) == limit:
            # The page is full: of its last wallet there may be more.
            cut = rows[-1]["wallet_id"]
            wallets = [wallet for wallet in wallets if wallet["id"] < cut]
            if not wallets:
                walk = Walk(cut)
                walk.follow(by_wallet[cut])
                return Chunk(first, cut, 0, limit, walk.findings, unfinished=walk)
            last = wallets[-1]["id"]
            ends_round = False
        else:
            ends_round = len(wallets) < limit
        findings: list[Finding] = []
        for wallet_id, balance, seq in wallets:
            walk = Walk(wallet_id)
            walk.follow(by_wallet[wallet_id])
            walk.arrive(balance, seq)
            findings += walk.findings
        operations = sum(len(by_wallet[wallet["id"]]) for wallet in wallets)
        return Chunk(
            first, LAST_WALLET if ends_round else last, len(wallets), operations, findings, ends_round=ends_round
        )

    async def _go_on(self, walk: Walk) -> Chunk:
        """Look at the next piece of a long wallet."""
        wallet_id, limit = walk.wallet_id, self._chunk_rows
        rows = await self._connection.fetch(sql.query("reconcile_operations"), wallet_id, walk.seq, wallet_id, limit)
        walk.follow(Row(*row) for _, *row in rows)
        if len(rows) == limit:
            return Chunk(wallet_id, wallet_id, 0, limit, walk.findings, unfinished=walk)
        wallet = await self._connection.fetchrow(sql.query("reconcile_wallet"), wallet_id)
        if wallet is not None:
            walk.arrive(wallet["balance"], wallet["seq"])
        return Chunk(wallet_id, wallet_id, 1, len(rows), walk.findings)

    async def _explain(self, finding: Finding) -> Finding | None:
        """Name the rejected operation that would account for money that moved, if there is one."""
        if not finding.moved:
            return None
        type_ = OperationType.DEPOSIT if finding.moved > 0 else OperationType.WITHDRAW
        amount = Decimal(abs(finding.moved))
        rejected = await self._connection.fetchval(
            sql.query("reconcile_rejected"), finding.wallet_id, type_.value, amount, REJECTED_MAX
        )
        if rejected is None:
            return None
        detail = f"a rejected {type_} of {amount} is what {finding.kind} of {finding.subject} is wrong by"
        return Finding(finding.wallet_id, Kind.REJECTED_MOVED_MONEY, str(rejected), 0, finding.moved, detail)

    # ---- writing: one transaction, on tables that only housekeeping writes --------------------------------------

    async def _keep(self, place: Place, chunk: Chunk) -> int:
        async with self._connection.transaction():
            if columns := _columns(chunk.findings):
                await self._connection.execute(sql.query("record_findings"), *columns, place.now)
            if walk := chunk.unfinished:
                kept = (walk.wallet_id, place.began_at or place.now, walk.seq, walk.balance, walk.total)
                await self._keep_place(*kept)
                return 0
            began_at = place.began_at or place.now
            gone = await self._connection.fetch(
                sql.query("resolve_findings"), chunk.first, chunk.last, began_at, place.now
            )
            if chunk.ends_round:
                await self._connection.execute(sql.query("end_reconcile_round"))
            else:
                await self._keep_place(chunk.last, None, 0, 0, 0)
        for row in gone:
            log.info("the books agree again", wallet=str(row["wallet_id"]), kind=row["kind"], subject=row["subject"])
        return len(gone)

    async def _keep_place(self, wallet_id: UUID, began_at: datetime | None, seq: int, balance: int, total: int) -> None:
        query = sql.query("keep_reconcile_place")
        await self._connection.execute(query, wallet_id, began_at, seq, Decimal(balance), Decimal(total))

    async def _is_over_after_the_pause(self) -> bool:
        try:
            async with asyncio.timeout(self._pause_seconds):
                return await self._over.wait()
        except TimeoutError:
            return False


def _columns(findings: Iterable[Finding]) -> list[list[Any]]:
    """Turn findings into the arrays of `record_findings`, each subject once."""
    rows = {(f.wallet_id, f.kind, f.subject): f for f in findings}.values()
    if not rows:
        return []
    return [
        [f.wallet_id for f in rows],
        [f.kind.value for f in rows],
        [f.subject for f in rows],
        [Decimal(f.expected) for f in rows],
        [Decimal(f.found) for f in rows],
        [f.detail for f in rows],
    ]
