"""Dead letters that Redis does not take: their slot is being moved, or another key was made under their name."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis as Client

from shared import keys
from shared.settings import WorkerSettings
from shared.streams import Streams
from tests.books import BooksAsTheyStand
from tests.commands import deposit, wallet_in
from tests.integration.stage import working
from tests.waiting import until

SPOILT, SAME, OTHER = 5, 5, 9  # partitions
COUNT = 64


@pytest.fixture
async def client(stores: dict[str, Any]) -> AsyncIterator[Client]:
    opened: Client = Client.from_url(stores["redis_url"])
    yield opened
    await opened.aclose()


async def test_dead_letter_that_cannot_be_buried__holds_up_its_own_wallet_and_no_other(
    worker_settings: WorkerSettings, streams: Streams, books: BooksAsTheyStand, client: Client
) -> None:
    spoilt, *others = [wallet_in(partition, COUNT) for partition in (SPOILT, SAME, OTHER)]
    for wallet_id in (spoilt, *others):
        await books.connection.execute("INSERT INTO wallets (id) VALUES ($1)", wallet_id)
    await client.set(keys.dead_stream(SPOILT), "made by hand")
    await streams.submit([deposit(spoilt)], 100, 100)
    unreadable = await client.xadd(keys.wallet_stream(SPOILT, spoilt), {"no": "command"})

    async def nothing_waits(*wallets: Any) -> bool:
        names = [keys.wallet_stream(keys.partition_of(each, COUNT), each) for each in wallets]
        return not await client.exists(*names)

    async with working(worker_settings):
        for _ in range(3):  # batch after batch
            await streams.submit([deposit(wallet_id) for wallet_id in others for _ in range(40)], 100, 100)
            await until(lambda: nothing_waits(*others))
        [*_, last] = await client.xrange(keys.wallet_stream(SPOILT, spoilt))
        assert last[0] == unreadable

        await client.delete(keys.dead_stream(SPOILT))
        await until(lambda: nothing_waits(spoilt))

    assert [await books.balance(wallet_id) for wallet_id in (spoilt, *others)] == [100, 12_000, 12_000]
    [(_, letter)] = await client.xrange(keys.dead_stream(SPOILT))
    assert letter[b"message_id"] == unreadable
