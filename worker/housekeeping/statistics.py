"""Counts what was decided, by day (in UTC), type and outcome, for the dashboard.

Guarantees that each operation is counted once: what is added and how far that goes is one transaction. Operations count
once they are old enough for their transactions to be over; a day that is over is counted once more from the start,
for those that came with an earlier time (the clock of Postgres was set back). Both go on a piece at a time, in turns
and from where the last run ended: neither holds up the other, however much was decided on a day.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import structlog

import sql
from shared.database import Connection, DatabaseError, Record
from shared.settings import MaintenanceSettings

# No transaction of the service is that long: its statements are cut at 10 s, its silences at 2 s.
SETTLED_SECONDS = 60.0
SLICE = timedelta(minutes=10)  # counted by one statement at most: a million operations, at 1,500 a second
# A run begins with this and doubles it while that is quick: a statement that takes too long is ended by Postgres, and a
# piece that could never be counted would hold up all that comes after it.
FIRST_SLICE = timedelta(minutes=1)
QUICK_SECONDS = 1.0
BEFORE_ANY = date(2000, 1, 1)

log = structlog.get_logger(__name__)

# Operations and their amount, by type and outcome.
Totals = Counter[tuple[str, str]]


class Statistics:
    """One run: goes on from where the last one ended to what may be counted by now."""

    def __init__(self, settings: MaintenanceSettings, connection: Connection, over: asyncio.Event) -> None:
        self._run_seconds = settings.statistics_run_seconds
        self._connection = connection
        self._over = over
        self._slice = FIRST_SLICE

    async def run(self) -> Mapping[str, Any]:
        """Return how many operations were added, and up to when all are counted."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._run_seconds
        await self._summarize()
        place = await self._place()
        limit, counted_until = place["countable_until"], place["counted_until"]
        day, upto = place["recounted_until"], place["recounted_upto"]
        if counted_until is None:
            counted_until = await self._first_day(limit)
            day = counted_until.date()
        added = recounted = 0
        while not self._over.is_set():
            is_behind, is_day_over = counted_until < limit, day < counted_until.date()
            if is_behind:
                more, counted_until = await self._add(counted_until, limit, day)
                added += more
            if is_day_over:
                upto = await self._recount(day, upto or _midnight(day))
                if upto is None:
                    day += timedelta(days=1)
                    recounted += 1
            if loop.time() >= ends or not (is_behind or is_day_over):
                break
        return {"added": added, "recounted_days": recounted, "counted_until": counted_until}

    async def _place(self) -> Record:
        row = await self._connection.fetchrow(sql.query("statistics_place"), SETTLED_SECONDS)
        assert row is not None  # noqa: S101 the migration put it there
        return row

    async def _summarize(self) -> None:
        try:
            await self._connection.execute(sql.query("summarize_operations"))
        except DatabaseError as error:
            # A vacuum is at the table, for one: it does the same, and until then a count only reads more pages.
            log.info("could not bring the summary of times up to date", error=repr(error))

    async def _first_day(self, limit: datetime) -> datetime:
        """Find the first day with an operation, by halves: the least time itself would be a scan of the whole table."""
        none_before, some_before = BEFORE_ANY, limit.date() + timedelta(days=1)
        if not await self._connection.fetchval(sql.query("operations_before"), limit):
            return limit
        while some_before - none_before > timedelta(days=1):
            middle = none_before + (some_before - none_before) // 2
            if await self._connection.fetchval(sql.query("operations_before"), _midnight(middle)):
                some_before = middle
            else:
                none_before = middle
        return _midnight(none_before)

    async def _add(self, since: datetime, limit: datetime, recounted_until: date) -> tuple[int, datetime]:
        """Add the next piece; returns how many operations it had and where it ends."""
        upto = min(self._end_of_piece(since), limit)
        operations, amounts = await self._count(since, upto)
        async with self._connection.transaction():
            await self._connection.execute(sql.query("add_totals"), since.date(), *_columns(operations, amounts))
            await self._connection.execute(sql.query("keep_statistics_place"), upto, recounted_until)
        # killed before the commit: nothing was added, and the same stretch is counted again.
        return operations.total(), upto

    async def _recount(self, day: date, since: datetime) -> datetime | None:
        """Count the next piece of a day once more; returns where it ends, None when the day is done."""
        upto = self._end_of_piece(since)
        operations, amounts = await self._count(since, upto)
        is_done = upto.date() > day
        async with self._connection.transaction():
            await self._connection.execute(sql.query("add_recount"), *_columns(operations, amounts))
            if is_done:
                await self._connection.execute(sql.query("forget_totals"), day)
                await self._connection.execute(sql.query("take_recount"), day)
            place = (upto.date(), None) if is_done else (day, upto)
            await self._connection.execute(sql.query("keep_recount_place"), *place)
        return None if is_done else upto

    async def _count(self, since: datetime, upto: datetime) -> tuple[Totals, Totals]:
        began = asyncio.get_running_loop().time()
        rows = await self._connection.fetch(sql.query("count_operations"), since, upto)
        is_quick = asyncio.get_running_loop().time() - began < QUICK_SECONDS
        self._slice = min(2 * self._slice, SLICE) if is_quick else max(self._slice / 2, FIRST_SLICE)
        operations = Totals({(row["type"], row["status"]): row["operations"] for row in rows})
        return operations, Totals({(row["type"], row["status"]): row["amount"] for row in rows})

    def _end_of_piece(self, since: datetime) -> datetime:
        return min(since + self._slice, _midnight(since.date() + timedelta(days=1)))


def _columns(operations: Totals, amounts: Totals) -> tuple[list[str], list[str], list[int], list[int]]:
    outcomes = list(operations)
    types, statuses = [type_ for type_, _ in outcomes], [status for _, status in outcomes]
    return types, statuses, [operations[outcome] for outcome in outcomes], [amounts[outcome] for outcome in outcomes]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
