"""A wallet whose row somebody else has locked: by hand, and forgotten. No other wallet stands still for it."""

from uuid import UUID

import pytest

from shared.settings import WorkerSettings
from shared.streams import Streams
from tests.books import BooksAsTheyStand
from tests.commands import deposit, wallet_in
from tests.integration.conftest import OpenSession
from tests.integration.stage import working
from tests.waiting import until
from worker.store import Store, WalletsLocked

COUNT = 64
SAME, OTHER = 5, 9  # partitions


async def test_settle_of_a_locked_wallet__names_it_and_writes_nothing(
    open_session: OpenSession, books: BooksAsTheyStand
) -> None:
    free, locked, missing = await books.create_wallet(), await books.create_wallet(), UUID(int=1)
    by_hand, store = await open_session(), Store(await open_session())
    commands = [deposit(wallet_id) for wallet_id in (free, locked, missing)]

    async with by_hand.transaction() as forgotten:
        await forgotten.execute("UPDATE wallets SET balance = balance WHERE id = $1", locked)
        with pytest.raises(WalletsLocked) as told:
            await store.settle(commands)

    assert told.value.wallet_ids == [locked]
    assert await books.operations(free) == await books.operations(locked) == []
    assert [reply.operation.balance for reply in await store.settle(commands)] == [100, 100, 0]


async def test_wallet_whose_row_is_locked_by_hand__waits_alone_and_goes_on_afterwards(
    worker_settings: WorkerSettings, streams: Streams, books: BooksAsTheyStand, open_session: OpenSession
) -> None:
    locked, *others = [wallet_in(partition, COUNT) for partition in (SAME, SAME, OTHER)]
    for wallet_id in (locked, *others):
        await books.connection.execute("INSERT INTO wallets (id) VALUES ($1)", wallet_id)
    by_hand = await open_session()

    async def are_settled(count: int) -> bool:
        return {len(await books.operations(wallet_id)) for wallet_id in others} == {count}

    async with working(worker_settings):
        async with by_hand.transaction() as forgotten:
            await forgotten.execute("UPDATE wallets SET balance = balance WHERE id = $1", locked)
            await streams.submit([deposit(locked) for _ in range(3)], 100, 100)
            for count in range(1, 4):  # behind it in the line, and elsewhere
                await streams.submit([deposit(wallet_id) for wallet_id in others], 100, 100)
                await until(lambda count=count: are_settled(count), 4)  # type: ignore[misc] # its lambda
            assert await books.operations(locked) == []

        async def is_settled() -> bool:
            return len(await books.operations(locked)) == 3

        await until(is_settled, 10)

    assert [operation.seq for operation in await books.operations(locked)] == [1, 2, 3]
    assert not await streams.wait_ready(range(COUNT), 10, 1)
