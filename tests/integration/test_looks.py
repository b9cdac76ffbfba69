"""Looks at wallets through a real pool: few queries for many, and none of them sees what was before it was asked."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

import sql
from gateway.looks import Looks
from shared.commands import Wallet
from shared.database import open_pool
from shared.errors import Unavailable
from shared.settings import Settings
from tests.books import BooksAsTheyStand
from tests.waiting import until


class Reading:
    """Looks over a pool of their own, whose queries are counted."""

    def __init__(self, looks: Looks, books: BooksAsTheyStand) -> None:
        self.looks = looks
        self._books = books

    def ask(self, *wallet_ids: UUID) -> "asyncio.Future[list[Wallet | None]]":
        return asyncio.gather(*map(self.looks.wallet, wallet_ids))

    async def balances(self, wallet_ids: Iterable[UUID]) -> list[int | None]:
        return [wallet.balance if wallet else None for wallet in await self.ask(*wallet_ids)]

    @asynccontextmanager
    async def held_up(self) -> AsyncIterator[None]:
        """Let a look stand in Postgres until the end of the block."""
        async with self._books.connection.transaction():
            await self._books.connection.execute("LOCK TABLE wallets")
            yield

    async def until_one_stands(self) -> None:
        async def stands() -> bool:
            return bool(
                await self._books.connection.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE relation = 'wallets'::regclass AND NOT granted"
                )
            )

        await until(stands)


@pytest.fixture
async def reading(stores: dict[str, Any], books: BooksAsTheyStand) -> AsyncIterator[Reading]:
    async with await open_pool(Settings(**stores), "looks", 4) as pool:
        yield Reading(Looks(pool), books)


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the queries that were made."""
    made: list[str] = []
    query = sql.query

    def noted(name: str) -> str:
        made.append(name)
        return query(name)

    monkeypatch.setattr(sql, "query", noted)
    return made


async def test_each_look__sees_its_wallet_or_that_there_is_none(reading: Reading, books: BooksAsTheyStand) -> None:
    wallets = [await books.create_wallet(balance, balance) for balance in range(3)]
    missing = uuid4()

    assert await reading.balances([*wallets, missing, wallets[2]]) == [0, 1, 2, None, 2]
    assert await reading.looks.wallet(wallets[1]) == await books.wallet(wallets[1])


async def test_a_thousand_looks_at_once__are_few_queries(
    reading: Reading, books: BooksAsTheyStand, queries: list[str]
) -> None:
    wallets = [await books.create_wallet(balance) for balance in range(1_000)]

    assert await reading.balances(wallets) == list(range(1_000))

    assert queries == ["read_wallets"] * 2  # 500 each


async def test_look_asked_while_a_query_is_under_way__is_answered_by_a_later_one(
    reading: Reading, books: BooksAsTheyStand
) -> None:
    wallet_id = await books.create_wallet(1)
    async with reading.held_up():
        first = reading.ask(wallet_id)
        await reading.until_one_stands()
        await books.connection.execute("UPDATE wallets SET balance = 2")
        late = reading.ask(wallet_id)
        await asyncio.sleep(0.05)
        assert not first.done()
        assert not late.done()

    [[_], [seen]] = await asyncio.gather(first, late)
    assert seen is not None
    assert seen.balance == 2


async def test_many_who_read_what_they_wrote__never_see_an_older_balance(
    reading: Reading, books: BooksAsTheyStand, stores: dict[str, Any]
) -> None:
    wallets = [await books.create_wallet() for _ in range(20)]

    async def write_and_read(pool: Any, wallet_id: UUID) -> None:
        for balance in range(1, 21):
            await pool.execute("UPDATE wallets SET balance = $2 WHERE id = $1", wallet_id, balance)
            seen = await reading.looks.wallet(wallet_id)
            assert seen is not None
            assert seen.balance == balance

    async with await open_pool(Settings(**stores), "writers", 8) as pool:
        await asyncio.gather(*(write_and_read(pool, wallet_id) for wallet_id in wallets))


async def end_sessions(books: BooksAsTheyStand) -> None:
    await books.connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'looks'"
    )


async def test_session_ended_under_a_look__another_answers_all_who_wait(
    reading: Reading, books: BooksAsTheyStand
) -> None:
    wallet_id = await books.create_wallet(7)
    async with reading.held_up():
        first = reading.ask(wallet_id)
        await reading.until_one_stands()
        late = reading.ask(wallet_id)
        await end_sessions(books)
        await reading.until_one_stands()

    assert [[seen.balance for seen in await asked if seen] for asked in (first, late)] == [[7], [7]]


async def test_sessions_ended_again_and_again__all_who_wait_are_told_and_the_next_look_sees(
    reading: Reading, books: BooksAsTheyStand
) -> None:
    wallet_id = await books.create_wallet(7)
    async with reading.held_up():
        first = reading.ask(wallet_id)
        await reading.until_one_stands()
        late = reading.ask(wallet_id, uuid4())
        await asyncio.sleep(0)
        for _ in range(2):
            await reading.until_one_stands()
            await end_sessions(books)
        for asked in (first, late):
            with pytest.raises(Unavailable):
                await asked

    assert await reading.balances([wallet_id]) == [7]


async def test_defect_of_one_who_is_told__ends_the_process_and_is_not_silence_for_ever(
    reading: Reading, books: BooksAsTheyStand
) -> None:
    wallet_id = await books.create_wallet()
    told_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, told_to_end.set)  # here, the process is the test run

    reading.looks.begin(wallet_id, lambda _: 1 / 0)  # type: ignore[arg-type]

    async with asyncio.timeout(5):
        await told_to_end.wait()
    loop.remove_signal_handler(signal.SIGTERM)
