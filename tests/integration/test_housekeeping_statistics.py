"""Daily totals over real books: right, counted once, and cheap however long the history is."""

import asyncio
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

import sql
from shared.database import Connection
from shared.settings import MaintenanceSettings
from tests.books import BooksAsTheyStand
from tests.commands import deposit, withdraw
from worker.housekeeping import statistics
from worker.housekeeping.runs import open_session
from worker.housekeeping.statistics import Statistics
from worker.session import Session
from worker.store import Store

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
def settings(stores: dict[str, Any]) -> MaintenanceSettings:
    return MaintenanceSettings(**stores)


@pytest.fixture
async def wallet_id(books: BooksAsTheyStand) -> UUID:
    return await books.create_wallet()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count operations as soon as they are decided."""
    monkeypatch.setattr(statistics, "SETTLED_SECONDS", 0.0)


async def count(settings: MaintenanceSettings) -> dict[str, Any]:
    session = await open_session(settings, "test")
    try:
        return dict(await Statistics(settings, session, asyncio.Event()).run())
    finally:
        session.terminate()


async def decide(books: BooksAsTheyStand, wallet_id: UUID, at: datetime, amount: int = 100, rows: int = 1) -> None:
    """Write rejected deposits as they would be after a decision at some time."""
    await books.connection.executemany(
        "INSERT INTO operations (id, wallet_id, type, amount, status, reason, balance, submitted_at, decided_at)"
        " VALUES ($1, $2, 'DEPOSIT', $3, 'REJECTED', 'balance_limit_exceeded', 0, $4, $4)",
        [(uuid4(), wallet_id, amount, at) for _ in range(rows)],
    )


async def totals(books: BooksAsTheyStand) -> dict[tuple[date, str, str], tuple[int, int]]:
    rows = await books.connection.fetch("SELECT * FROM daily_totals")
    return {(r["day"], r["type"], r["status"]): (r["operations"], int(r["amount"])) for r in rows}


async def by_hand(connection: Connection) -> dict[tuple[date, str, str], tuple[int, int]]:
    rows = await connection.fetch("SELECT type, status, amount, decided_at FROM operations")
    operations, amounts = Counter[Any](), Counter[Any]()
    for row in rows:
        key = (row["decided_at"].date(), row["type"], row["status"])
        operations[key] += 1
        amounts[key] += row["amount"]
    return {key: (operations[key], amounts[key]) for key in operations}


@pytest.mark.usefixtures("at_once")
async def test_totals__are_what_the_books_say(
    settings: MaintenanceSettings, session: Session, books: BooksAsTheyStand, wallet_id: UUID
) -> None:
    store = Store(session)
    await store.settle([deposit(wallet_id, 700), deposit(wallet_id, 300), withdraw(wallet_id, 250)])
    await store.settle([withdraw(wallet_id, 99_999)])

    assert (await count(settings))["added"] == 4

    day = (await books.wallet(wallet_id)).updated_at.date()
    assert await totals(books) == {
        (day, "DEPOSIT", "APPLIED"): (2, 1000),
        (day, "WITHDRAW", "APPLIED"): (1, 250),
        (day, "WITHDRAW", "REJECTED"): (1, 99_999),
    }


@pytest.mark.usefixtures("at_once")
async def test_counted_again__nothing_changes_and_only_what_is_new_is_added(
    settings: MaintenanceSettings, session: Session, books: BooksAsTheyStand, wallet_id: UUID
) -> None:
    store = Store(session)
    await store.settle([deposit(wallet_id) for _ in range(10)])

    runs = [await count(settings), await count(settings)]
    before = await totals(books)
    await store.settle([deposit(wallet_id) for _ in range(3)])
    runs.append(await count(settings))

    assert [run["added"] for run in runs] == [10, 0, 3]
    assert [n for n, _ in before.values()] == [10]
    assert await totals(books) == await by_hand(books.connection)


async def test_history_of_days__is_counted_from_its_first_and_each_operation_on_its_day(
    settings: MaintenanceSettings, books: BooksAsTheyStand, wallet_id: UUID
) -> None:
    second = timedelta(seconds=1)
    for days, at in ((9, timedelta(0)), (9, timedelta(hours=5)), (8, -second), (3, timedelta(hours=23)), (2, second)):
        await decide(books, wallet_id, TODAY - timedelta(days=days) + at, amount=days, rows=days)

    result = await count(settings)

    assert (result["added"], result["recounted_days"]) == (31, 9)
    assert await totals(books) == await by_hand(books.connection)


async def test_operation_that_came_late__is_counted_when_its_day_is_over(
    settings: MaintenanceSettings, books: BooksAsTheyStand, wallet_id: UUID
) -> None:
    yesterday = TODAY - timedelta(days=1)
    await decide(books, wallet_id, yesterday + timedelta(hours=3))
    await books.connection.execute(
        sql.query("keep_statistics_place"), yesterday + timedelta(hours=23, minutes=59), yesterday.date()
    )
    # Decided before what is counted already: the clock of Postgres was set back.
    await decide(books, wallet_id, yesterday + timedelta(hours=4), rows=2)

    await count(settings)

    assert await totals(books) == {(yesterday.date(), "DEPOSIT", "REJECTED"): (3, 300)}


async def test_stretch_over_midnight__each_operation_is_counted_on_its_day(
    settings: MaintenanceSettings, books: BooksAsTheyStand, wallet_id: UUID
) -> None:
    midnight = TODAY - timedelta(days=1)
    minute = timedelta(minutes=1)
    # Where runs end depends on when they run: not at a full hour. No day is counted once more: that would hide it.
    place = (midnight - 5 * minute, TODAY.date())
    await books.connection.execute(sql.query("keep_statistics_place"), *place)
    for at in (midnight - 3 * minute, midnight, midnight + 3 * minute):
        await decide(books, wallet_id, at)

    await count(settings)

    assert await totals(books) == await by_hand(books.connection)


async def test_operation_of_this_moment__waits_until_its_transaction_must_be_over(
    settings: MaintenanceSettings, session: Session, books: BooksAsTheyStand, wallet_id: UUID
) -> None:
    await decide(books, wallet_id, TODAY - timedelta(days=1))
    await Store(session).settle([deposit(wallet_id)])

    assert (await count(settings))["added"] == 1
    assert await books.connection.fetchval("SELECT count(*) FROM daily_totals WHERE status = 'APPLIED'") == 0


async def test_run_cut_short__the_next_goes_on_there_and_counts_nothing_twice(
    settings: MaintenanceSettings, books: BooksAsTheyStand, wallet_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow the machine is, a run gets on by this.
    monkeypatch.setattr(statistics, "SLICE", timedelta(minutes=20))
    monkeypatch.setattr(statistics, "FIRST_SLICE", timedelta(minutes=20))
    for hours in range(48, 24, -1):
        await decide(books, wallet_id, TODAY - timedelta(hours=hours), rows=2)
    hasty = settings.model_copy(update={"statistics_run_seconds": 0.02})

    runs = [await count(hasty)]
    while runs[-1]["counted_until"] < TODAY:
        runs.append(await count(hasty))

    assert len(runs) > 2
    assert sum(run["added"] for run in runs) == 48
    assert await totals(books) == await by_hand(books.connection)


async def test_day_that_takes_more_than_a_run__is_counted_once_more_piece_by_piece_and_holds_up_nothing(
    settings: MaintenanceSettings, books: BooksAsTheyStand, wallet_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "SLICE", timedelta(hours=2))
    monkeypatch.setattr(statistics, "FIRST_SLICE", timedelta(hours=2))
    yesterday = TODAY - timedelta(days=1)
    for hours in range(24):
        await decide(books, wallet_id, yesterday + timedelta(hours=hours), rows=2)
    await books.connection.execute(sql.query("keep_statistics_place"), TODAY, yesterday.date())
    hasty = settings.model_copy(update={"statistics_run_seconds": 1e-6})  # one piece of each kind

    runs: list[dict[str, Any]] = []
    while sum(run["recounted_days"] for run in runs) == 0:
        runs.append(await count(hasty))
        assert len(runs) <= 12
        if len(runs) == 6:
            assert await totals(books) == {}  # the day's totals are replaced when it is done, and not before
            # A piece that was counted is not counted again.
            await decide(books, wallet_id, yesterday)

    assert len(runs) == 12
    assert await totals(books) == {(yesterday.date(), "DEPOSIT", "REJECTED"): (48, 4_800)}
    # What was decided since was counted beside it.
    assert runs[0]["counted_until"] > TODAY
    assert await books.connection.fetchval("SELECT count(*) FROM statistics_recount") == 0


@pytest.mark.parametrize(("quick_seconds", "minutes"), [(60.0, 1 + 2 + 4 + 8 + 10), (0.0, 5)])
async def test_pieces__grow_while_counting_is_quick_and_are_small_where_it_is_not(
    settings: MaintenanceSettings,
    books: BooksAsTheyStand,
    monkeypatch: pytest.MonkeyPatch,
    quick_seconds: float,
    minutes: int,
) -> None:
    monkeypatch.setattr(statistics, "QUICK_SECONDS", quick_seconds)
    session = await open_session(settings, "test")
    counting = Statistics(settings, session, asyncio.Event())
    upto = TODAY - timedelta(days=1)

    for _ in range(5):
        upto = await counting._recount(upto.date(), upto) or upto
    session.terminate()

    assert upto - (TODAY - timedelta(days=1)) == timedelta(minutes=minutes)


async def test_empty_books__have_no_totals_and_the_history_is_not_walked(
    settings: MaintenanceSettings, books: BooksAsTheyStand
) -> None:
    assert (await count(settings))["added"] == 0
    assert await totals(books) == {}


async def test_long_history__a_count_reads_its_stretch_only(
    settings: MaintenanceSettings, books: BooksAsTheyStand, wallet_id: UUID
) -> None:
    await books.connection.execute(
        "INSERT INTO operations (id, wallet_id, type, amount, status, reason, balance, submitted_at, decided_at)"
        " SELECT gen_random_uuid(), $1, 'DEPOSIT', 1, 'REJECTED', 'x', 0, at, at"
        " FROM generate_series($2::timestamptz, $2::timestamptz + interval '5 days', interval '4 seconds') AS at",
        wallet_id,
        TODAY - timedelta(days=6),
    )
    session = await open_session(settings, "test")
    await session.execute(sql.query("summarize_operations"))
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON, TIMING OFF) {sql.query('count_operations')}"
    since = TODAY - timedelta(days=3)
    [plan] = (await session.fetchval(explain, since, since + statistics.SLICE)).split("\x00")
    pages = await session.fetchval("SELECT pg_relation_size('operations') / 8192")
    session.terminate()

    assert "operations_decided_at" in plan
    read = sum(int(line.split(":")[1].strip(" ,")) for line in plan.splitlines() if "Heap Blocks" in line)
    assert 0 < read <= pages / 15
