"""What a release with library 6 left waiting in Redis is seen, and applied, by this one."""

from redis.asyncio import Redis as Client

from shared import keys
from shared.settings import WorkerSettings
from shared.streams import Streams
from tests.books import BooksAsTheyStand
from tests.commands import deposit, former_fields_of
from tests.integration.inspector_stage import Inspector
from tests.integration.stage import working
from tests.waiting import until


async def test_messages_of_both_releases__are_seen_and_applied_in_order(
    worker_settings: WorkerSettings, streams: Streams, books: BooksAsTheyStand
) -> None:
    wallet_id = await books.create_wallet()
    partition = keys.partition_of(wallet_id, worker_settings.partition_count)
    former, new = deposit(wallet_id, 200), deposit(wallet_id, 300)
    async with Client.from_url(worker_settings.redis_url.get_secret_value()) as client:
        await client.xadd(keys.wallet_stream(partition, wallet_id), former_fields_of(former), "1-1")
        await client.xadd(keys.ready_stream(partition), {"wallet": str(wallet_id)}, "1-1")
    await streams.submit([new], 10, 10)

    assert await streams.find_waiting(wallet_id, former.id) == former
    seen = await Inspector(worker_settings).read("wallet", str(wallet_id))
    assert [(message["operation_id"], message["amount"]) for message in seen["messages"]] == [
        (str(former.id), "2.00"),
        (str(new.id), "3.00"),
    ]

    async def are_applied() -> bool:
        return [operation.id for operation in await books.operations(wallet_id)] == [former.id, new.id]

    async with working(worker_settings):
        await until(are_applied)
    assert await books.balance(wallet_id) == 500
