"""The sweep over a real Redis: it makes ready again exactly what is stuck, and leaves alone what is alive."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis as Client

from devstack.cluster import Cluster
from shared import keys
from shared.node import RedisError
from shared.nodes import Nodes
from shared.settings import MaintenanceSettings
from shared.streams import Streams
from tests.books import BooksAsTheyStand
from tests.commands import deposit, wallet_in
from tests.integration.stage import PARTITIONS, Stage, streams_over
from tests.service import Service
from tests.waiting import until
from worker.housekeeping import sweep as sweep_module
from worker.housekeeping.sweep import Sweep

REPLY_TTL_MS = 60_000


@pytest.fixture
def settings(stores: dict[str, str]) -> MaintenanceSettings:
    return MaintenanceSettings(**{**stores, "partition_count": PARTITIONS})  # type: ignore[arg-type]


@pytest.fixture
async def nodes(settings: MaintenanceSettings) -> AsyncIterator[Nodes]:
    opened = Nodes(settings)
    yield opened
    await opened.close()


@pytest.fixture
async def sweep(settings: MaintenanceSettings, nodes: Nodes, books: BooksAsTheyStand) -> Sweep:
    return Sweep(settings, nodes, books.connection)


@pytest.fixture
async def stage(settings: MaintenanceSettings) -> AsyncIterator[Stage]:
    async with stage_over(settings.redis_url.get_secret_value()) as opened:
        yield opened


@asynccontextmanager
async def stage_over(url: str) -> AsyncIterator[Stage]:
    client, streams = Client.from_url(url), streams_over(url)
    await streams.load_library()
    yield Stage(streams, client)
    await streams.close()
    await client.aclose()


async def content(client: Client) -> dict[bytes, object]:
    """Return all that Redis holds, as it would be written to another."""
    return {key: await client.dump(key) for key in sorted(await client.keys())}


async def lose_ready_messages(stage: Stage, partition: int, *wallets: UUID) -> None:
    names = {str(wallet) for wallet in wallets}
    for message_id, fields in await stage.client.xrange(keys.ready_stream(partition)):
        if fields[b"wallet"].decode() in names:
            await stage.client.xdel(keys.ready_stream(partition), message_id)


async def test_wallets_without_a_ready_message__and_only_those__are_made_ready_again(
    stage: Stage, sweep: Sweep
) -> None:
    by_partition = {p: [wallet_in(p, PARTITIONS) for _ in range(5)] for p in range(PARTITIONS)}
    await stage.submit(*[deposit(wallet) for wallets in by_partition.values() for wallet in wallets * 2])
    for partition, wallets in by_partition.items():
        await lose_ready_messages(stage, partition, *wallets[:partition])

    result = await sweep.run()

    assert (result["restored"], result["waiting_wallets"]) == (0 + 1 + 2 + 3, 20)
    for partition, wallets in by_partition.items():
        assert sorted(await stage.ready(partition)) == sorted(map(str, wallets))


async def test_nothing_wrong__nothing_changes(stage: Stage, sweep: Sweep, nodes: Nodes) -> None:
    wallets = [uuid4() for _ in range(50)]
    await stage.submit(*[deposit(wallet) for wallet in wallets])
    gone = wallet_in(1, PARTITIONS)
    await stage.submit(deposit(gone))
    await stage.client.delete(keys.wallet_stream(1, gone))  # a ready message without a stream: the owner's to finish
    await stage.client.xadd(keys.dead_stream(2), {"reason": "x"})
    before = await content(stage.client)

    result = await sweep.run()

    assert {name: count for name, count in result.items() if count} == {"waiting_wallets": len(set(wallets))}
    assert await content(stage.client) == before


async def test_swept_twice__the_second_time_changes_nothing(
    stage: Stage, settings: MaintenanceSettings, nodes: Nodes, books: BooksAsTheyStand
) -> None:
    wallet = wallet_in(1, PARTITIONS)
    await stage.submit(deposit(wallet))
    await lose_ready_messages(stage, 1, wallet)
    assert (await Sweep(settings, nodes, books.connection).run())["restored"] == 1
    before = await content(stage.client)

    assert (await Sweep(settings, nodes, books.connection).run())["restored"] == 0
    assert await content(stage.client) == before


async def test_wallet_finished_and_filled_again_between_two_looks__is_not_lost(
    stage: Stage, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, stuck = (wallet_in(1, PARTITIONS) for _ in range(2))
    await stage.submit(deposit(busy), deposit(stuck))
    await lose_ready_messages(stage, 1, busy, stuck)
    looks = 0
    first_messages = Sweep._first_messages

    async def while_traffic_goes_on(self: Sweep, waiting: sweep_module.Wallets) -> object:
        nonlocal looks
        looks += 1
        if looks == 2:
            # What a worker and a gateway do: the wallet is emptied, and waits again with a ready message of its own.
            await stage.client.delete(keys.wallet_stream(1, busy))
            await stage.submit(deposit(busy))
        return await first_messages(self, waiting)

    monkeypatch.setattr(Sweep, "_first_messages", while_traffic_goes_on)

    assert (await sweep.run())["restored"] == 1
    assert sorted(await stage.ready()) == sorted([str(busy), str(stuck)])


async def test_more_wallets_than_fit_at_a_time__are_all_looked_at(
    stage: Stage, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "WALLETS_MAX", 50)
    monkeypatch.setattr(sweep_module, "PAGE", 20)
    wallets = [uuid4() for _ in range(400)]
    await stage.submit(*[deposit(wallet) for wallet in wallets])
    for partition in range(PARTITIONS):
        await lose_ready_messages(stage, partition, *wallets[::4])

    result = await sweep.run()

    assert (result["restored"], result["waiting_wallets"]) == (100, 400)
    assert sum([len(await stage.ready(p)) for p in range(PARTITIONS)]) == 400


async def test_reply_key_without_a_time_to_live__gets_one_and_others_keep_theirs(stage: Stage, sweep: Sweep) -> None:
    left, alive = keys.reply_stream("left"), keys.reply_stream("alive")
    for key in (left, alive):
        await stage.client.xadd(key, {"outcomes": "[]"})
    await stage.client.pexpire(alive, 5_000)

    assert (await sweep.run())["reply_keys_expiring"] == 1

    assert REPLY_TTL_MS - 5_000 < await stage.client.pttl(left) <= REPLY_TTL_MS
    assert 0 < await stage.client.pttl(alive) <= 5_000
    # A gateway that was alive after all still reads what is there.
    assert await stage.client.xlen(left) == 1


async def test_live_traffic__nothing_is_restored(
    stores: dict[str, str], streams: Streams, books: BooksAsTheyStand, own_service: Service
) -> None:
    own_service.start_worker()
    settings = MaintenanceSettings(**stores)  # type: ignore[arg-type]
    nodes = Nodes(settings)
    wallets = [await books.create_wallet() for _ in range(300)]

    async def submit() -> None:
        for n in range(250):
            await streams.submit([deposit(wallets[(n * 40 + i) % 300]) for i in range(40)], 10_000, 10_000)
            await asyncio.sleep(0.002)

    async def all_are_decided() -> bool:
        return bool(await books.connection.fetchval("SELECT count(*) = 10000 FROM operations"))

    traffic = asyncio.create_task(submit())
    waited = 0
    while not traffic.done():
        result = await Sweep(settings, nodes, books.connection).run()
        waited += result["waiting_wallets"]
        assert result["restored"] == 0
    await traffic
    await until(all_are_decided, 20)
    assert waited > 100, "no sweep saw a wallet at work"
    await nodes.close()


async def test_key_that_is_no_stream_under_a_wallets_name__holds_up_nobody(stage: Stage, sweep: Sweep) -> None:
    wallet = wallet_in(1, PARTITIONS)
    await stage.submit(deposit(wallet))
    await lose_ready_messages(stage, 1, wallet)
    await stage.client.set(keys.wallet_stream(1, uuid4()), "made by hand")

    assert (await sweep.run())["restored"] == 1


async def test_claimed_and_not_finished__is_not_lost(stage: Stage, sweep: Sweep) -> None:
    wallet = wallet_in(1, PARTITIONS)
    await stage.submit(deposit(wallet))
    await stage.claim(1)

    assert (await sweep.run())["restored"] == 0


async def test_on_a_cluster__wallets_and_reply_keys_of_every_node_are_mended(
    tmp_path: Path, books: BooksAsTheyStand
) -> None:
    cluster = Cluster(tmp_path)
    await asyncio.to_thread(cluster.start)
    values: dict[str, Any] = {"redis_url": cluster.url, "redis_cluster": True, "maintenance_redis_url": "redis://x"}
    settings = MaintenanceSettings(**values)
    streams, nodes = Streams(settings), Nodes(settings)
    try:
        await streams.load_library()
        wallets = [uuid4() for _ in range(60)]
        await streams.submit([deposit(wallet) for wallet in wallets], 10, 1000)
        for partition in range(settings.partition_count):
            await nodes.one(keys.ready_stream(partition), "DEL", keys.ready_stream(partition))
        for key in [keys.reply_stream(str(number)) for number in range(20)]:
            await nodes.one(key, "XADD", key, "*", "outcomes", "[]")

        result = await Sweep(settings, nodes, books.connection).run()

        assert (result["restored"], result["waiting_wallets"], result["reply_keys_expiring"]) == (60, 60, 20)
        assert (await Sweep(settings, nodes, books.connection).run())["restored"] == 0

        for partition in range(settings.partition_count):
            await nodes.one(keys.ready_stream(partition), "DEL", keys.ready_stream(partition))
        cluster.nodes[1].kill()
        with pytest.raises(RedisError):
            await Sweep(settings, nodes, books.connection).run()

        lengths = await nodes.many([(key, ("XLEN", key)) for key in map(keys.ready_stream, range(64))])
        there = [length for length in lengths if isinstance(length, int)]
        assert len(there) < 64
        # A node that is away keeps nothing on the others from being mended.
        partitions = [keys.partition_of(wallet, settings.partition_count) for wallet in wallets]
        assert sum(there) == sum(isinstance(lengths[partition], int) for partition in partitions)
    finally:
        await streams.close()
        await nodes.close()
        cluster.stop()
