"""Reconciliation over real books: each planted error is found and named, and live traffic never looks like one."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

import sql
from shared.database import Connection, Record
from shared.settings import MaintenanceSettings
from shared.streams import Streams
from tests.books import BooksAsTheyStand
from tests.commands import deposit, withdraw
from tests.service import Service
from tests.waiting import until
from worker.housekeeping.audit import FINDINGS_MAX
from worker.housekeeping.reconcile import Chunk, Reconciliation
from worker.housekeeping.runs import JOB_LOCKS, open_session, recorded
from worker.session import Session
from worker.store import Store

CHUNK = 50
ROUNDS_IN_TRAFFIC = 6


@dataclass
class Auditor:
    """Runs the reconciliation, and reads what it left."""

    settings: MaintenanceSettings
    session: Connection
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def reconciliation(self, **changes: object) -> Reconciliation:
        return Reconciliation(self.settings.model_copy(update=changes), self.session, self.over)

    async def round(self) -> dict[str, Any]:
        """Go through all wallets once, from wherever the last run ended."""
        return dict(await self.reconciliation().run())

    async def findings(self) -> set[tuple[str, str, int, int]]:
        """Return what is open: kind, subject, expected, found."""
        rows = await self.session.fetch("SELECT * FROM reconciliation_findings WHERE resolved_at IS NULL")
        return {(row["kind"], row["subject"], int(row["expected"]), int(row["found"])) for row in rows}

    async def place(self) -> tuple[UUID, int, int]:
        row = await self.session.fetchrow("SELECT wallet_id, seq, rounds FROM reconciliation_progress")
        assert row is not None
        return row["wallet_id"], row["seq"], row["rounds"]


@pytest.fixture
def settings(stores: dict[str, Any]) -> MaintenanceSettings:
    return MaintenanceSettings(**stores, reconcile_chunk_operations=CHUNK, reconcile_pause_seconds=0.001)


@pytest.fixture
async def auditor(settings: MaintenanceSettings) -> AsyncIterator[Auditor]:
    session = await open_session(settings, "test")
    yield Auditor(settings, session)
    await session.close()


@pytest.fixture
def store(session: Session) -> Store:
    return Store(session)


async def wallet_with_history(store: Store, books: BooksAsTheyStand, operations: int = 10) -> UUID:
    """Make a wallet with applied and rejected operations; 100 more with each applied one."""
    wallet_id = await books.create_wallet()
    await store.settle([deposit(wallet_id) for _ in range(operations)])
    await store.settle([withdraw(wallet_id, 10_000_000)])
    return wallet_id


# What is wrong is found, named, and resolved when it is mended.

WALLET, OPERATION = "UPDATE wallets SET {} WHERE id = $1", "UPDATE operations SET {} WHERE wallet_id = $1 AND {}"
ERRORS = {
    "wallet balance": (
        (WALLET.format("balance = balance + 1"), WALLET.format("balance = balance - 1")),
        {("wallet_balance", "wallet", 1000, 1001)},
    ),
    "wallet seq": (
        (WALLET.format("seq = seq + 1"), WALLET.format("seq = seq - 1")),
        {("wallet_seq", "wallet", 10, 11)},
    ),
    "running balance": (
        (OPERATION.format("balance = 301", "seq = 3"), OPERATION.format("balance = 300", "seq = 3")),
        {("running_balance", "seq 3", 300, 301), ("running_balance", "seq 4", 401, 400)},
    ),
    "amount": (
        (OPERATION.format("amount = 170", "seq = 3"), OPERATION.format("amount = 100", "seq = 3")),
        {("running_balance", "seq 3", 370, 300), ("wallet_balance", "wallet", 1070, 1000)},
    ),
    "seq": (
        (OPERATION.format("seq = 12", "seq = 10"), OPERATION.format("seq = 10", "seq = 12")),
        {("seq_gap", "seq 12", 10, 12), ("wallet_seq", "wallet", 12, 10)},
    ),
    "type": (
        (OPERATION.format("type = 'WITHDRAW'", "seq = 10"), OPERATION.format("type = 'DEPOSIT'", "seq = 10")),
        {("running_balance", "seq 10", 800, 1000), ("wallet_balance", "wallet", 800, 1000)},
    ),
}


@pytest.mark.parametrize("name", ERRORS)
async def test_planted_error__is_found_and_named_and_resolved_when_mended(
    name: str, auditor: Auditor, store: Store, books: BooksAsTheyStand
) -> None:
    (plant, mend), expected = ERRORS[name]
    wallets = [await wallet_with_history(store, books) for _ in range(12)]
    assert (await auditor.round())["found"] == 0

    await books.connection.execute(plant, wallets[5])
    found = await auditor.round()
    await auditor.round()

    assert await auditor.findings() == expected
    assert (found["found"], found["open"], found["wallets"]) == (len(expected), len(expected), 12)
    rows = await books.connection.fetch("SELECT * FROM reconciliation_findings")
    assert {row["wallet_id"] for row in rows} == {wallets[5]}
    assert all(row["first_seen_at"] < row["last_seen_at"] for row in rows)

    await books.connection.execute(mend, wallets[5])
    mended = await auditor.round()

    assert (mended["resolved"], mended["open"]) == (len(expected), 0)
    rows = await books.connection.fetch("SELECT * FROM reconciliation_findings")
    assert len(rows) == len(expected)
    assert all(row["resolved_at"] >= row["last_seen_at"] for row in rows)

    await books.connection.execute(plant, wallets[5])
    await auditor.round()
    assert await auditor.findings() == expected


async def test_missing_operation__is_a_gap_and_a_wrong_sum(
    auditor: Auditor, store: Store, books: BooksAsTheyStand
) -> None:
    wallet_id = await wallet_with_history(store, books)

    await books.connection.execute("DELETE FROM operations WHERE wallet_id = $1 AND seq = 4", wallet_id)
    await auditor.round()

    assert await auditor.findings() == {("seq_gap", "seq 5", 4, 5), ("wallet_balance", "wallet", 900, 1000)}


async def test_rejected_operation_that_moved_money__is_named(
    auditor: Auditor, store: Store, books: BooksAsTheyStand
) -> None:
    wallet_id = await books.create_wallet()
    rejected = withdraw(wallet_id, 700)
    await store.settle([deposit(wallet_id, 500), withdraw(wallet_id, 900), rejected, deposit(wallet_id, 1000)])

    await books.connection.execute("UPDATE wallets SET balance = balance - 700 WHERE id = $1", wallet_id)
    await auditor.round()

    assert await auditor.findings() == {
        ("wallet_balance", "wallet", 1500, 800),
        ("rejected_moved_money", str(rejected.id), 0, -700),
    }


async def test_wallet_without_operations_but_with_money__is_found(auditor: Auditor, books: BooksAsTheyStand) -> None:
    await books.create_wallet(balance=5)

    await auditor.round()

    assert await auditor.findings() == {("wallet_balance", "wallet", 0, 5)}


# Long wallets: bounded pieces, the same findings.


async def test_wallet_longer_than_a_chunk__is_followed_piece_by_piece(
    auditor: Auditor, store: Store, books: BooksAsTheyStand
) -> None:
    for operations in (7 * CHUNK, CHUNK, CHUNK - 1, 3):
        await wallet_with_history(store, books, operations)
    long = await wallet_with_history(store, books, 5 * CHUNK + 7)
    await books.connection.execute(OPERATION.format("balance = 1", f"seq = {CHUNK + 1}"), long)
    await books.connection.execute(WALLET.format("balance = balance + 1"), long)

    looks: list[Chunk] = []
    while not looks or not looks[-1].ends_round:
        looks.append((await auditor.reconciliation().step())[0])

    assert max(look.operations for look in looks) == CHUNK
    assert sum(look.operations for look in looks) == 14 * CHUNK + 9
    assert sum(look.wallets for look in looks) == 5
    last, total = CHUNK + 1, (5 * CHUNK + 7) * 100
    expected = {
        ("running_balance", f"seq {last}", last * 100, 1),
        ("running_balance", f"seq {last + 1}", 101, (last + 1) * 100),
        ("wallet_balance", "wallet", total, total + 1),
    }
    assert await auditor.findings() == expected
    # What a long wallet's first pieces found is still there when its last piece is done.
    await auditor.round()
    assert await auditor.findings() == expected


async def test_books_wrong_throughout__are_told_in_a_few_lines(
    auditor: Auditor, store: Store, books: BooksAsTheyStand
) -> None:
    wallet_id = await wallet_with_history(store, books, CHUNK - 1)
    await books.connection.execute("UPDATE operations SET balance = 7 WHERE wallet_id = $1", wallet_id)

    assert (await auditor.round())["open"] == FINDINGS_MAX


# The place is kept.


async def test_run_that_is_over__is_gone_on_with_where_it_ended(
    auditor: Auditor, store: Store, books: BooksAsTheyStand
) -> None:
    for _ in range(12):
        await wallet_with_history(store, books, CHUNK // 2)
    auditor.over.set()

    runs = [await auditor.round() for _ in range(3)]

    assert [run["wallets"] for run in runs] == [1, 1, 1]
    third = await books.connection.fetchval("SELECT id FROM wallets ORDER BY id LIMIT 1 OFFSET 2")
    assert await auditor.place() == (third, 0, 0)
    auditor.over.clear()
    assert (await auditor.round())["wallets"] == 9
    assert (await auditor.place())[2] == 1


async def test_run_with_its_time_up__ends(auditor: Auditor, store: Store, books: BooksAsTheyStand) -> None:
    for _ in range(4):
        await wallet_with_history(store, books, CHUNK // 2)

    assert (await auditor.reconciliation(reconcile_run_seconds=0.000001).run())["chunks"] == 1


async def test_nothing_changed__another_round_changes_nothing(
    auditor: Auditor, store: Store, books: BooksAsTheyStand
) -> None:
    wallet_id = await wallet_with_history(store, books)
    await books.connection.execute(WALLET.format("balance = 1"), wallet_id)
    await auditor.round()
    first = await books.connection.fetch("SELECT wallet_id, kind, subject, first_seen_at FROM reconciliation_findings")

    await auditor.round()

    again = await books.connection.fetch("SELECT wallet_id, kind, subject, first_seen_at FROM reconciliation_findings")
    assert (len(first), again) == (1, first)


# Live traffic.


async def test_live_traffic__is_never_a_finding(
    auditor: Auditor, streams: Streams, books: BooksAsTheyStand, own_service: Service
) -> None:
    own_service.start_worker()
    wallets = [await books.create_wallet() for _ in range(30)]
    is_enough = asyncio.Event()
    submitted = 0

    async def submit() -> None:
        nonlocal submitted
        while not is_enough.is_set():
            numbers = range(submitted, submitted + 20, 2)
            commands = [c(wallets[n % 30 if n % 4 else 0], 50 + n % 90) for n in numbers for c in (deposit, withdraw)]
            accepted = await streams.submit(commands, 100_000, 100_000)
            assert all(isinstance(answer, str) for answer in accepted)
            submitted += len(commands)
            await asyncio.sleep(0.02)  # as it comes, not all at once: many batches, and many looks between them

    async def all_are_decided() -> bool:
        return bool(await books.connection.fetchval("SELECT count(*) = $1 FROM operations", submitted))

    traffic = asyncio.create_task(submit())
    seen: set[int] = set()
    async with asyncio.timeout(30):
        while len(seen) < ROUNDS_IN_TRAFFIC:
            run = await auditor.round()
            assert run["open"] == 0, await auditor.findings()
            if run["operations"]:
                seen.add(run["operations"])
    is_enough.set()
    await traffic
    await until(all_are_decided, 30)

    last = await auditor.round()
    applied = await books.connection.fetchval("SELECT sum(seq) FROM wallets")
    assert (last["open"], last["operations"], last["wallets"]) == (0, applied, 30)


async def test_batch_committed_in_the_middle_of_a_look__is_not_a_finding(
    auditor: Auditor, store: Store, books: BooksAsTheyStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet_id = await wallet_with_history(store, books)
    fetch = asyncpg.Connection.fetch

    async def fetch_and_let_others_commit(connection: Connection, query: str, *args: object) -> list[Record]:
        rows = await fetch(connection, query, *args)
        if query == sql.query("reconcile_wallets"):
            await store.settle([deposit(wallet_id)])
        return rows

    monkeypatch.setattr(asyncpg.Connection, "fetch", fetch_and_let_others_commit)
    chunk, _ = await auditor.reconciliation().step()
    monkeypatch.undo()

    assert (chunk.operations, chunk.findings) == (10, [])
    assert (await books.wallet(wallet_id)).seq == 11


async def test_wallet_locked_by_a_settle__holds_up_nothing(
    auditor: Auditor, session: Session, store: Store, books: BooksAsTheyStand
) -> None:
    wallet_id = await wallet_with_history(store, books)

    async with session.transaction() as connection:
        await connection.execute("UPDATE wallets SET balance = 0 WHERE id = $1", wallet_id)
        async with asyncio.timeout(1):
            assert (await auditor.round())["found"] == 0


# Runs are recorded.


async def run_of(books: BooksAsTheyStand, job: str) -> dict[str, Any]:
    row = await books.connection.fetchrow("SELECT * FROM maintenance_runs WHERE job = $1", job)
    assert row is not None
    return dict(row)


async def test_run__is_recorded_with_its_duration_and_result(
    settings: MaintenanceSettings, books: BooksAsTheyStand
) -> None:
    async def work(session: Connection) -> dict[str, Any]:
        await session.execute("SELECT pg_sleep(0.05)")
        return {"things": 3}

    assert await recorded(settings, "job", work) == {"things": 3}

    run = await run_of(books, "job")
    assert 0.05 <= run["seconds"] < 1
    assert run["started_at"] < run["finished_at"] <= run["succeeded_at"]
    assert (msgspec.json.decode(run["result"]), run["error"]) == ({"things": 3}, None)


async def test_failed_run__is_recorded_with_its_sentence_and_no_secret(
    settings: MaintenanceSettings, books: BooksAsTheyStand
) -> None:
    url = "redis://:correct-horse@nowhere:6379/0"
    settings = settings.model_copy(update={"redis_url": type(settings.redis_url)(url)})

    async def succeed(_: Connection) -> dict[str, Any]:
        return {"things": 3}

    async def fail(_: Connection) -> dict[str, Any]:
        raise ConnectionError(f"cannot reach {url}\nwith correct-horse")

    await recorded(settings, "job", succeed)
    assert await recorded(settings, "job", fail) is None

    run = await run_of(books, "job")
    assert run["error"] == "ConnectionError: cannot reach … with …"
    assert run["finished_at"] > run["succeeded_at"]
    assert msgspec.json.decode(run["result"]) == {"things": 3}


async def test_session_lost_in_the_middle__is_recorded_on_another(
    settings: MaintenanceSettings, books: BooksAsTheyStand
) -> None:
    async def lose(session: Connection) -> dict[str, Any]:
        pid = await session.fetchval("SELECT pg_backend_pid()")
        await books.connection.execute("SELECT pg_terminate_backend($1)", pid)
        return {"never": await session.fetchval("SELECT 1")}

    assert await recorded(settings, "job", lose) is None

    assert (await run_of(books, "job"))["error"]


async def test_job_that_another_process_is_at__is_left_to_it(
    settings: MaintenanceSettings, books: BooksAsTheyStand
) -> None:
    async def work(_: Connection) -> dict[str, Any]:
        return {"id": str(uuid4())}

    await books.connection.execute("SELECT pg_advisory_lock($1, hashtext($2))", JOB_LOCKS, "job")
    assert await recorded(settings, "job", work) is None
    assert not await books.connection.fetch("SELECT FROM maintenance_runs")

    await books.connection.execute("SELECT pg_advisory_unlock_all()")
    assert await recorded(settings, "job", work)
