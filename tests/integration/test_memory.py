"""What a worker remembers of wallets ends where it may have stopped to be the only one who writes them."""

import asyncio

from shared.settings import WorkerSettings
from shared.streams import Streams
from tests.books import BooksAsTheyStand
from tests.commands import deposit
from tests.integration.conftest import OpenSession
from worker.health import Health
from worker.outage import Outage
from worker.worker import Shift


async def test_partitions_taken__nothing_is_remembered_of_before(
    worker_settings: WorkerSettings, streams: Streams, books: BooksAsTheyStand, open_session: OpenSession
) -> None:
    wallet_id = await books.create_wallet()
    session = await open_session()
    shift = Shift(worker_settings, streams, session, asyncio.Event(), Health(worker_settings), Outage("redis"))
    await shift._store.settle([deposit(wallet_id)])
    assert set(shift._store._known) == {wallet_id}

    await shift._balance()

    assert len(shift._partitions) == worker_settings.partition_count
    assert shift._store._known == {}
