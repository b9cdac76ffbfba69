"""Settling in a real Postgres: each command is recorded once, in order, whatever is redelivered and whatever dies."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

import sql
from shared.commands import Command, Reason, Reply, Status, operation_id_of_key
from shared.database import PARTITION_LOCKS, DatabaseError
from shared.money import BALANCE_MAX
from shared.settings import WorkerSettings
from tests.books import BooksAsTheyStand
from tests.commands import deposit, withdraw
from tests.integration.conftest import OpenSession
from tests.waiting import until
from worker import ledger
from worker.session import Session
from worker.store import Store

CURSED = 666  # the amount that the database is made to refuse


@pytest.fixture
def store(session: Session) -> Store:
    return Store(session)


def outcomes(replies: list[Reply]) -> list[tuple[str, int | None, int]]:
    """Return what was decided: applied or the reason, seq, balance."""
    return [(r.operation.reason or r.operation.status, r.operation.seq, r.operation.balance) for r in replies]


async def test_settled_batch__is_what_the_books_say(store: Store, books: BooksAsTheyStand) -> None:
    wallet_id = await books.create_wallet()
    commands = [deposit(wallet_id, 500), withdraw(wallet_id, 200), withdraw(wallet_id, 301), withdraw(wallet_id, 300)]

    replies = await store.settle(commands)

    assert outcomes(replies) == [
        (Status.APPLIED, 1, 500),
        (Status.APPLIED, 2, 300),
        (Reason.INSUFFICIENT_FUNDS, None, 300),
        (Status.APPLIED, 3, 0),
    ]
    recorded = {operation.id: operation for operation in await books.operations(wallet_id)}
    assert [recorded[command.id] for command in commands] == [reply.operation for reply in replies]
    wallet = await books.wallet(wallet_id)
    assert (wallet.balance, wallet.seq, wallet.updated_at) == (0, 3, replies[-1].operation.decided_at)
    assert {reply.wallet_created_at for reply in replies} == {wallet.created_at}


async def test_batch_over_many_wallets__each_has_books_of_its_own(store: Store, books: BooksAsTheyStand) -> None:
    wallets = [await books.create_wallet() for _ in range(20)]
    commands = [deposit(wallet_id, amount) for amount in range(1, 11) for wallet_id in wallets]

    replies = await store.settle(commands)

    assert [reply.operation.id for reply in replies] == [command.id for command in commands]
    for wallet_id in wallets:
        operations = await books.operations(wallet_id)
        assert [(o.seq, o.amount) for o in operations] == [(n, n) for n in range(1, 11)]
        assert await books.balance(wallet_id) == 55


async def test_duplicate_within_one_batch__is_applied_once_and_answered_twice(
    store: Store, books: BooksAsTheyStand
) -> None:
    wallet_id = await books.create_wallet()
    command = deposit(wallet_id, 100)

    first, second = await store.settle([command, command])

    assert first == second
    assert await books.balance(wallet_id) == 100
    assert len(await books.operations(wallet_id)) == 1


async def test_same_id_with_another_body_within_one_batch__changes_nothing(
    store: Store, books: BooksAsTheyStand
) -> None:
    wallet_id = await books.create_wallet()
    command = deposit(wallet_id, 100)
    conflicting = withdraw(wallet_id, 50, id=command.id)

    first, second = await store.settle([command, conflicting])

    assert first == second
    assert first.operation.answers(command)
    assert not second.operation.answers(conflicting)
    assert await books.balance(wallet_id) == 100


@pytest.mark.parametrize("has_key", [True, False], ids=["with a key", "with an id that no client chose"])
async def test_replay_in_a_later_batch__gets_the_stored_outcome(
    store: Store, books: BooksAsTheyStand, *, has_key: bool
) -> None:
    wallet_id = await books.create_wallet()
    command = deposit(wallet_id, 100, id=operation_id_of_key(wallet_id, "", "a key") if has_key else None)
    first = await store.settle([command])
    again = replace(command, token=command.token + 1)

    between, replayed = await store.settle([deposit(wallet_id, 1), again])

    assert [replayed] == first
    assert replayed.operation.replays(again)
    assert not replayed.operation.replays(command)
    assert between.operation.seq == 2
    assert await books.balance(wallet_id) == 101


async def test_same_id_on_another_wallet__is_a_conflict_and_changes_neither(
    store: Store, books: BooksAsTheyStand
) -> None:
    first, second = await books.create_wallet(), await books.create_wallet()
    command = deposit(first, 100)
    await store.settle([command])

    [reply] = await store.settle([deposit(second, 100, id=command.id)])

    assert reply.operation.wallet_id == first
    assert (await books.balance(first), await books.balance(second)) == (100, 0)


async def test_missing_wallet__is_answered_and_not_recorded(store: Store, books: BooksAsTheyStand) -> None:
    missing, present = uuid4(), await books.create_wallet()

    lost, applied = await store.settle([deposit(missing), deposit(present)])

    assert (lost.operation.reason, lost.wallet_created_at) == (Reason.WALLET_NOT_FOUND, None)
    assert applied.operation.status is Status.APPLIED
    assert await books.operations(missing) == []


async def test_batch_of_missing_wallets_only__is_answered(store: Store) -> None:
    replies = await store.settle([deposit(uuid4()), withdraw(uuid4())])

    assert {reply.operation.reason for reply in replies} == {Reason.WALLET_NOT_FOUND}


async def test_rejected_command__is_recorded_and_never_applied_later(store: Store, books: BooksAsTheyStand) -> None:
    wallet_id = await books.create_wallet()
    refused = withdraw(wallet_id, 100)
    [rejected] = await store.settle([refused])
    await store.settle([deposit(wallet_id, 1_000)])

    assert await store.settle([refused]) == [rejected]

    assert rejected.operation.reason is Reason.INSUFFICIENT_FUNDS
    assert rejected.operation in await books.operations(wallet_id)
    assert await books.balance(wallet_id) == 1_000


async def test_balance_limit__holds_to_the_last_unit(store: Store, books: BooksAsTheyStand) -> None:
    wallet_id = await books.create_wallet(BALANCE_MAX - 1, seq=7)

    replies = await store.settle([deposit(wallet_id, 2), deposit(wallet_id, 1), deposit(wallet_id, 1)])

    limit = Reason.BALANCE_LIMIT_EXCEEDED
    assert outcomes(replies) == [
        (limit, None, BALANCE_MAX - 1),
        (Status.APPLIED, 8, BALANCE_MAX),
        (limit, None, BALANCE_MAX),
    ]


async def test_time_of_a_wallet__never_goes_back(store: Store, books: BooksAsTheyStand) -> None:
    wallet_id = await books.create_wallet()
    ahead = datetime.now(UTC) + timedelta(hours=1)
    await books.connection.execute("UPDATE wallets SET updated_at = $1", ahead)

    [reply] = await store.settle([deposit(wallet_id)])

    assert reply.operation.decided_at == ahead


@pytest.mark.parametrize("first", ["ahead", "usual"])
async def test_batch_over_wallets_of_different_times__each_operation_and_wallet_has_its_own(
    store: Store, books: BooksAsTheyStand, first: str
) -> None:
    ahead, usual, refused = [await books.create_wallet() for _ in range(3)]
    to_come, long_ago = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(hours=1)
    await books.connection.execute("UPDATE wallets SET updated_at = $1 WHERE id = $2", to_come, ahead)
    await books.connection.execute("UPDATE wallets SET updated_at = $1 WHERE id = $2", long_ago, refused)
    commands = [deposit(ahead), deposit(usual), withdraw(refused)]

    replies = await store.settle(commands if first == "ahead" else commands[1:] + commands[:1])

    decided = {reply.operation.wallet_id: reply.operation.decided_at for reply in replies}
    assert decided[ahead] == to_come
    assert decided[usual] == decided[refused] < to_come
    for wallet_id in (ahead, usual, refused):
        [operation] = await books.operations(wallet_id)
        assert operation.decided_at == decided[wallet_id]
    stand = {wallet_id: (await books.wallet(wallet_id)).updated_at for wallet_id in (ahead, usual, refused)}
    assert stand == {ahead: to_come, usual: decided[usual], refused: long_ago}


# What the database refuses.


@asynccontextmanager
async def refusing(books: BooksAsTheyStand, condition: str, code: str = "P0001") -> AsyncIterator[None]:
    """Make the database refuse operations that meet a condition, as a rule of its owner might."""
    await books.connection.execute(
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = '{code}'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON operations FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse();
        """
    )
    yield
    await books.connection.execute("DROP FUNCTION refuse() CASCADE")


@pytest.mark.parametrize("position", [0, 4, 8])
async def test_command_that_the_database_refuses__is_recorded_as_refused_and_the_others_go_through(
    store: Store, books: BooksAsTheyStand, position: int
) -> None:
    wallet_id, other = await books.create_wallet(), await books.create_wallet()
    commands = [deposit(wallet_id if n % 3 else other, 10 + n) for n in range(8)]
    commands.insert(position, deposit(wallet_id, CURSED))

    async with refusing(books, f"NEW.amount = {CURSED} AND NEW.status = 'APPLIED'"):
        replies = await store.settle(commands)

    assert [reply.operation.id for reply in replies] == [command.id for command in commands]
    assert [c for c, r in zip(commands, replies, strict=True) if r.operation.reason] == [commands[position]]
    assert replies[position].operation.reason is Reason.REFUSED_BY_DATABASE
    for each in (wallet_id, other):
        mine = [command for command in commands if command.wallet_id == each and command.amount != CURSED]
        applied = [o for o in await books.operations(each) if o.status is Status.APPLIED]
        assert [(o.id, o.seq) for o in applied] == [(command.id, n) for n, command in enumerate(mine, 1)]
        assert await books.balance(each) == sum(command.amount for command in mine)


async def test_command_refused_under_a_code_of_the_owners_own__does_not_hold_up_the_others(
    store: Store, books: BooksAsTheyStand
) -> None:
    wallet_id = await books.create_wallet()

    async with refusing(books, f"NEW.amount = {CURSED} AND NEW.status = 'APPLIED'", code="MY001"):
        replies = await store.settle([deposit(wallet_id, CURSED), deposit(wallet_id, 1)])

    assert outcomes(replies) == [(Reason.REFUSED_BY_DATABASE, None, 0), (Status.APPLIED, 1, 1)]


async def test_command_that_was_refused_once__stays_refused(store: Store, books: BooksAsTheyStand) -> None:
    wallet_id = await books.create_wallet()
    command = deposit(wallet_id, CURSED)
    async with refusing(books, f"NEW.amount = {CURSED} AND NEW.status = 'APPLIED'"):
        refused = await store.settle([command])

    assert await store.settle([command]) == refused

    assert [o.reason for o in await books.operations(wallet_id)] == [Reason.REFUSED_BY_DATABASE]
    assert await books.balance(wallet_id) == 0


async def test_command_that_was_applied_and_would_be_refused_now__stays_applied(
    store: Store, books: BooksAsTheyStand
) -> None:
    # A rule that came meanwhile, or one that counts (so much a day): it is asked before the id is found to be there.
    wallet_id = await books.create_wallet()
    command = deposit(wallet_id, CURSED)
    applied = await store.settle([command])

    async with refusing(books, f"NEW.amount = {CURSED} AND NEW.status = 'APPLIED'"):
        assert await store.settle([command]) == applied
        _, again, refused = await store.settle([deposit(wallet_id, 1), command, deposit(wallet_id, CURSED)])

    assert [again] == applied
    assert refused.operation.reason is Reason.REFUSED_BY_DATABASE
    assert await books.balance(wallet_id) == CURSED + 1


async def test_command_whose_refusal_cannot_be_recorded_either__does_not_hold_up_the_others(
    store: Store, books: BooksAsTheyStand
) -> None:
    wallet_id = await books.create_wallet()
    commands = [deposit(wallet_id, 1), deposit(wallet_id, CURSED), deposit(wallet_id, 2)]

    async with refusing(books, f"NEW.amount = {CURSED}"):
        replies = await store.settle(commands)

    assert outcomes(replies) == [
        (Status.APPLIED, 1, 1),
        (Reason.REFUSED_BY_DATABASE, None, 1),
        (Status.APPLIED, 2, 3),
    ]


async def test_every_command_refused__every_one_is_answered(store: Store, books: BooksAsTheyStand) -> None:
    wallet_id = await books.create_wallet()

    async with refusing(books, "NEW.status = 'APPLIED'"):
        replies = await store.settle([deposit(wallet_id) for _ in range(7)])

    assert {reply.operation.reason for reply in replies} == {Reason.REFUSED_BY_DATABASE}
    assert len(await books.operations(wallet_id)) == 7


@pytest.mark.parametrize(
    "submitted_at",
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
    ],
    ids=["before the first year", "after the last year"],
)
async def test_command_with_a_time_that_postgres_cannot_hold__does_not_hold_up_the_others(
    store: Store, books: BooksAsTheyStand, submitted_at: datetime
) -> None:
    wallet_id = await books.create_wallet()
    impossible = replace(deposit(wallet_id, CURSED), submitted_at=submitted_at)

    replies = await store.settle([deposit(wallet_id, 1), impossible, deposit(wallet_id, 2)])

    assert outcomes(replies) == [
        (Status.APPLIED, 1, 1),
        (Reason.REFUSED_BY_DATABASE, None, 1),
        (Status.APPLIED, 2, 3),
    ]


# What dies.


async def test_result_lost_after_the_commit__settling_again_gives_the_same(
    store: Store, books: BooksAsTheyStand, open_session: OpenSession
) -> None:
    wallet_id = await books.create_wallet()
    commands = [deposit(wallet_id, 100), withdraw(wallet_id, 30), withdraw(wallet_id, 100)]
    lost = await store.settle(commands)

    next_owner = Store(await open_session())
    assert await next_owner.settle(commands) == lost

    assert await books.balance(wallet_id) == 70
    assert len(await books.operations(wallet_id)) == 3


async def test_session_ended_in_the_write__nothing_is_recorded_and_the_next_owner_applies_once(
    session: Session, books: BooksAsTheyStand, open_session: OpenSession
) -> None:
    wallet_id = await books.create_wallet()
    commands = [deposit(wallet_id, 100), withdraw(wallet_id, 30)]
    blocker = await open_session()

    async with session.statements() as connection:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
    async with blocker.transaction() as held:
        # Somebody holds the wallet's row, so that the settling session is met in the middle of its write.
        await held.execute("SELECT 1 FROM wallets WHERE id = $1 FOR UPDATE", wallet_id)
        settling = asyncio.create_task(Store(session).settle(commands))
        await until(partial(waits_for_a_lock, books, pid))
        await books.connection.execute("SELECT pg_terminate_backend($1, 5000)", pid)
        with pytest.raises(DatabaseError):
            await settling
    assert await books.operations(wallet_id) == []

    replies = await Store(await open_session()).settle(commands)
    assert outcomes(replies) == [(Status.APPLIED, 1, 100), (Status.APPLIED, 2, 70)]


async def waits_for_a_lock(books: BooksAsTheyStand, pid: int) -> bool:
    return bool(
        await books.connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'", pid
        )
    )


async def test_worker_frozen_in_the_middle_of_a_batch__its_session_ends_and_it_commits_nothing(
    open_session: OpenSession, books: BooksAsTheyStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = await open_session(session_timeout_seconds=0.2)
    assert await frozen.take([5]) == [5]
    wallet_id = await books.create_wallet()
    settle = ledger.settle

    def settle_and_freeze(*asked: Any) -> ledger.Settlement:
        # The whole process stands still, at the worst of moments: outcomes known, nothing written.
        settlement = settle(*asked)
        time.sleep(1)
        return settlement

    monkeypatch.setattr(ledger, "settle", settle_and_freeze)
    with pytest.raises(DatabaseError):
        await Store(frozen).settle([deposit(wallet_id)])

    assert await books.operations(wallet_id) == []
    assert await books.balance(wallet_id) == 0
    next_owner = await open_session()
    assert await next_owner.take([5]) == [5]


async def test_healthy_session__outlives_its_timeout_by_its_heartbeat(open_session: OpenSession) -> None:
    session = await open_session(session_timeout_seconds=0.4)
    [partition] = await session.take([3])

    for _ in range(8):
        await asyncio.sleep(0.1)
        assert partition in (await session.survey()).own


async def test_two_sessions_over_the_same_wallets__neither_deadlocks_nor_loses_a_unit(
    open_session: OpenSession, books: BooksAsTheyStand
) -> None:
    # Owners never share wallets; should a release ever make them, the order of locks keeps them from a deadlock.
    wallets = [await books.create_wallet() for _ in range(10)]
    stores = [Store(await open_session()), Store(await open_session())]

    async def settle_many(store: Store, order: int) -> None:
        for _ in range(20):
            await store.settle([deposit(wallet_id, 1) for wallet_id in wallets[::order]])

    await asyncio.gather(settle_many(stores[0], 1), settle_many(stores[1], -1))

    assert [await books.balance(wallet_id) for wallet_id in wallets] == [40] * 10


# What is remembered.


@pytest.mark.parametrize("seq_moves", [False, True], ids=["its balance", "its seq as well"])
async def test_wallet_changed_by_hand__is_settled_as_it_stands_and_not_as_remembered(
    store: Store, books: BooksAsTheyStand, *, seq_moves: bool
) -> None:
    wallet_id, other = await books.create_wallet(), await books.create_wallet()
    await store.settle([deposit(wallet_id, 100), deposit(other, 100)])
    await books.connection.execute(
        "UPDATE wallets SET balance = 1000, seq = seq + $2 WHERE id = $1", wallet_id, int(seq_moves)
    )

    replies = await store.settle([deposit(other, 5), deposit(wallet_id, 1)])

    assert outcomes(replies) == [(Status.APPLIED, 2, 105), (Status.APPLIED, 2 + seq_moves, 1001)]
    assert (await books.balance(other), await books.balance(wallet_id)) == (105, 1001)


async def test_wallet_filled_by_hand__a_withdrawal_is_not_refused_for_what_is_remembered(
    store: Store, books: BooksAsTheyStand
) -> None:
    wallet_id = await books.create_wallet()
    await store.settle([deposit(wallet_id, 100), withdraw(wallet_id, 101)])
    await books.connection.execute("UPDATE wallets SET balance = 1000 WHERE id = $1", wallet_id)

    assert outcomes(await store.settle([withdraw(wallet_id, 101)])) == [(Status.APPLIED, 2, 899)]


@pytest.mark.parametrize("others", [0, 3], ids=["alone in its batch", "among others"])
async def test_wallet_removed_by_hand__is_missing_and_not_as_remembered(
    store: Store, books: BooksAsTheyStand, others: int
) -> None:
    wallet_id, *present = [await books.create_wallet() for _ in range(1 + others)]
    await store.settle([deposit(each, 100) for each in (wallet_id, *present)])
    await books.connection.execute("DELETE FROM operations WHERE wallet_id = $1", wallet_id)
    await books.connection.execute("DELETE FROM wallets WHERE id = $1", wallet_id)

    missing, *applied = await store.settle([deposit(each, 5) for each in (wallet_id, *present)])

    assert (missing.operation.reason, missing.wallet_created_at) == (Reason.WALLET_NOT_FOUND, None)
    assert outcomes(applied) == [(Status.APPLIED, 2, 105)] * others


async def test_wallet_changed_while_the_write_waits_for_it__is_settled_as_it_stands(
    session: Session, books: BooksAsTheyStand, open_session: OpenSession
) -> None:
    wallet_id = await books.create_wallet()
    store, by_hand = Store(session), await open_session()
    await store.settle([deposit(wallet_id, 100)])
    async with session.statements() as connection:
        pid = await connection.fetchval("SELECT pg_backend_pid()")

    async with by_hand.transaction() as changing:
        await changing.execute("UPDATE wallets SET balance = 10 WHERE id = $1", wallet_id)
        settling = asyncio.create_task(store.settle([withdraw(wallet_id, 100), deposit(wallet_id, 1)]))
        await until(partial(waits_for_a_lock, books, pid))

    assert outcomes(await settling) == [(Reason.INSUFFICIENT_FUNDS, None, 10), (Status.APPLIED, 2, 11)]
    assert await books.balance(wallet_id) == 11


async def test_more_wallets_than_are_remembered__are_read_again(
    session: Session, books: BooksAsTheyStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.store.KNOWN_WALLETS_MAX", 2)
    wallets = [await books.create_wallet() for _ in range(3)]
    store = Store(session)
    for wallet_id in wallets:
        await store.settle([deposit(wallet_id, 1)])
    statements: list[str] = []
    async with session.statements() as connection:
        connection.add_query_logger(lambda record: statements.append(record.query))

    for wallet_id in reversed(wallets):
        assert outcomes(await store.settle([deposit(wallet_id, 1)])) == [(Status.APPLIED, 2, 2)]

    await until(lambda: _is_complete(statements))
    assert statements.count(sql.query("read_wallets")) == 1


# Times.


async def test_operation__says_when_it_was_claimed_and_when_decided_by_the_clock_of_postgres(
    session: Session, books: BooksAsTheyStand
) -> None:
    wallet_id = await books.create_wallet()
    before = await books.connection.fetchval("SELECT clock_timestamp()")

    [reply] = await Store(session).settle([deposit(wallet_id)], session.now())

    after = await books.connection.fetchval("SELECT clock_timestamp()")
    claimed_at = await books.connection.fetchval("SELECT claimed_at FROM operations WHERE id = $1", reply.operation.id)
    a_trip = timedelta(seconds=0.1)  # the session's clock is that of Postgres as it was read, plus the time since
    assert before - a_trip <= claimed_at <= reply.operation.decided_at <= after + a_trip


# How it is found.


async def _settle_and_tell(session: Session, commands: list[Command]) -> None:
    await Store(session).settle(commands)
    async with session.transaction() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")


@pytest.mark.parametrize("wallet_count", [0, 3_000], ids=["few wallets", "many wallets"])
@pytest.mark.parametrize("analyzed", [False, True], ids=["as made", "as analyzed"])
async def test_settling__reads_no_table_from_end_to_end(
    open_session: OpenSession, books: BooksAsTheyStand, wallet_count: int, analyzed: bool
) -> None:
    # Where there are few rows a scan looks cheap, and its plan would stay when there are many.
    wallets = [await books.create_wallet() for _ in range(50)]
    await books.connection.execute(
        "INSERT INTO wallets (id) SELECT gen_random_uuid() FROM generate_series(1, $1)", wallet_count
    )
    if analyzed:
        await books.connection.execute("ANALYZE wallets, operations")
    session = await open_session()
    before = await books.sequential_scans()

    for _ in range(10):
        await _settle_and_tell(session, [deposit(wallet_id) for wallet_id in wallets])

    assert await books.sequential_scans() == before


async def test_settling__is_counted_as_reading_by_index(session: Session, books: BooksAsTheyStand) -> None:
    # The other half of the promise above: the statistics are there, and they move.
    wallet_id = await books.create_wallet()
    await _settle_and_tell(session, [deposit(wallet_id)])

    scans = await books.connection.fetchval("SELECT idx_scan FROM pg_stat_user_tables WHERE relname = 'wallets'")
    assert scans > 0


@pytest.mark.parametrize(
    ("keys", "is_known", "statements_expected"),
    [
        (0, True, ["settle_batch"]),
        (0, False, ["read_wallets", "settle_batch"]),
        (1, True, ["recorded_operations", "settle_batch"]),
    ],
    ids=["a wallet that is remembered", "one that is not", "ids of keys are looked up"],
)
async def test_settling_a_hundred_commands__takes_few_statements_and_the_one_that_writes_is_the_transaction(
    session: Session, books: BooksAsTheyStand, keys: int, *, is_known: bool, statements_expected: list[str]
) -> None:
    wallet_id = await books.create_wallet()
    commands = [deposit(wallet_id) for _ in range(100)]
    commands += [deposit(wallet_id, id=operation_id_of_key(wallet_id, "", str(key))) for key in range(keys)]
    store = Store(session)
    await store.settle([deposit(wallet_id, id=operation_id_of_key(wallet_id, "", "first"))])  # every one is prepared
    if not is_known:
        store.forget()
    statements: list[str] = []
    async with session.statements() as connection:
        connection.add_query_logger(lambda record: statements.append(record.query))

    await store.settle(commands)

    await until(lambda: _is_complete(statements))
    assert statements == [sql.query(name) for name in statements_expected]


async def _is_complete(statements: list[str]) -> bool:
    """The write was logged."""
    return bool(statements) and statements[-1] == sql.query("settle_batch")


async def test_owner_of_a_partition__can_be_read_in_postgres(
    session: Session, books: BooksAsTheyStand, worker_settings: WorkerSettings
) -> None:
    await session.take([7, 9])

    rows = await books.connection.fetch(
        """
        SELECT a.application_name, l.objid::int AS partition
        FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
        WHERE l.locktype = 'advisory' AND l.classid::bigint = $1 AND a.datname = current_database() ORDER BY 2
        """,
        PARTITION_LOCKS,
    )
    assert [tuple(row) for row in rows] == [(worker_settings.worker_name, 7), (worker_settings.worker_name, 9)]
