"""Something that is no stream at the key of a partition's ready stream: by hand. No other partition waits for it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis as Client
from structlog.testing import capture_logs

from shared import keys
from shared.nodes import Nodes
from shared.settings import MaintenanceSettings, WorkerSettings
from shared.streams import Streams, Submission
from tests.books import BooksAsTheyStand
from tests.commands import deposit, wallet_in
from tests.integration.stage import working
from tests.waiting import until
from worker.housekeeping.sweep import Sweep

COUNT = 64
SPOILT, *OTHERS = 5, 9, 40  # partitions
SPOILT_LINE = "ready keys that hold no stream"


@pytest.fixture
async def client(worker_settings: WorkerSettings) -> AsyncIterator[Client]:
    async with Client.from_url(worker_settings.redis_url.get_secret_value()) as opened:
        yield opened


async def test_ready_key_of_the_wrong_type__its_partition_alone_waits_and_goes_on_once_the_key_is_gone(
    worker_settings: WorkerSettings, streams: Streams, books: BooksAsTheyStand, client: Client
) -> None:
    spoilt, *others = [wallet_in(partition, COUNT) for partition in (SPOILT, *OTHERS)]
    for wallet_id in (spoilt, *others):
        await books.connection.execute("INSERT INTO wallets (id) VALUES ($1)", wallet_id)

    async def are_settled(count: int) -> bool:
        return {len(await books.operations(wallet_id)) for wallet_id in others} == {count}

    async def is_settled() -> bool:
        return len(await books.operations(spoilt)) == 1

    with capture_logs() as lines:
        await client.set(keys.ready_stream(SPOILT), "by hand")
        async with working(worker_settings):
            for count in range(1, 4):
                await streams.submit([deposit(wallet_id) for wallet_id in others], 100, 100)
                await until(lambda count=count: are_settled(count))  # type: ignore[misc] # its lambda
            assert await streams.submit([deposit(spoilt)], 100, 100) == [Submission.NOT_A_STREAM]
            await until(lambda: _has(lines, SPOILT_LINE))

            await client.delete(keys.ready_stream(SPOILT))
            await streams.submit([deposit(spoilt)], 100, 100)
            await until(is_settled)

    told = [line for line in lines if line["event"] == SPOILT_LINE]
    assert [line["keys"] for line in told] == [[keys.ready_stream(SPOILT)]]


async def test_ready_stream_overwritten_while_wallets_wait__they_go_on_once_it_was_deleted_and_swept(
    stores: dict[str, Any],
    worker_settings: WorkerSettings,
    streams: Streams,
    books: BooksAsTheyStand,
    client: Client,
) -> None:
    spoilt, other = wallet_in(SPOILT, COUNT), wallet_in(OTHERS[0], COUNT)
    await books.connection.execute("INSERT INTO wallets (id) VALUES ($1)", spoilt)
    await streams.submit([deposit(spoilt), deposit(other)], 100, 100)
    await client.set(keys.ready_stream(SPOILT), "by hand")
    await client.delete(keys.ready_stream(OTHERS[0]))
    assert await _sweep(stores, books) == 1  # the other one: it does not end at the spoilt key

    async def is_settled() -> bool:
        return len(await books.operations(spoilt)) == 1

    with capture_logs() as lines:
        async with working(worker_settings):
            await until(lambda: _has(lines, SPOILT_LINE))
            await client.delete(keys.ready_stream(SPOILT))
            assert await _sweep(stores, books) == 1
            await until(is_settled)


async def test_every_ready_key_of_the_wrong_type__is_no_busy_loop(
    worker_settings: WorkerSettings, streams: Streams, client: Client
) -> None:
    await client.mset({keys.ready_stream(partition): "by hand" for partition in (SPOILT, *OTHERS)})

    assert await streams.wait_ready([SPOILT, *OTHERS], 10, 100) == []  # finds out
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await streams.wait_ready([SPOILT, *OTHERS], 10, 100) == []
    assert loop.time() - began >= 0.09


async def _has(lines: Sequence[Mapping[str, Any]], event: str) -> bool:
    return any(line["event"] == event for line in lines)


async def _sweep(stores: dict[str, Any], books: BooksAsTheyStand) -> int:
    settings = MaintenanceSettings(**stores)
    nodes = Nodes(settings)
    restored: int = (await Sweep(settings, nodes, books.connection).run())["restored"]
    await nodes.close()
    return restored
