"""What lies under partitions that there are none of: removed where the books have it all, kept where they do not."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis as Client
from structlog.testing import capture_logs

from devstack.cluster import Cluster
from shared import keys
from shared.codec import encode_command
from shared.commands import Command
from shared.nodes import Nodes
from shared.settings import MaintenanceSettings
from shared.streams import Streams
from tests.books import BooksAsTheyStand
from tests.commands import deposit, said_in, saying, withdraw
from tests.integration.conftest import OpenSession
from tests.integration.stage import PARTITIONS, streams_over
from tests.integration.test_housekeeping_sweep import content
from tests.service import Service
from tests.waiting import until
from worker.housekeeping import leftovers
from worker.housekeeping.sweep import Sweep
from worker.store import Store

BEYOND = PARTITIONS + 3  # a partition that there is none of
LONG_AGO = "1000-0"


@pytest.fixture
def settings(stores: dict[str, str]) -> MaintenanceSettings:
    return MaintenanceSettings(**{**stores, "partition_count": PARTITIONS})  # type: ignore[arg-type]


@pytest.fixture
async def nodes(settings: MaintenanceSettings) -> AsyncIterator[Nodes]:
    opened, streams = Nodes(settings), streams_over(settings.redis_url.get_secret_value())
    await streams.load_library()
    await streams.close()
    yield opened
    await opened.close()


@pytest.fixture
async def client(settings: MaintenanceSettings) -> AsyncIterator[Client]:
    async with Client.from_url(settings.redis_url.get_secret_value()) as opened:
        yield opened


@pytest.fixture
async def store(open_session: OpenSession) -> Store:
    return Store(await open_session(session_timeout_seconds=120))


@pytest.fixture
def sweeps(settings: MaintenanceSettings, nodes: Nodes, books: BooksAsTheyStand) -> Any:
    """A way to sweep once: returns what was done of leftovers, and the log's lines."""

    async def sweep() -> tuple[dict[str, int], list[Any]]:
        with capture_logs() as lines:
            result = await Sweep(settings, nodes, books.connection).run()
        names = ("removed_leftovers", "kept_leftovers", "stranded_wallets")
        assert result["restored"] == 0
        return {name: result[name] for name in names if result[name]}, lines

    return sweep


async def leave(nodes: Nodes, *commands: Command, partition: int = BEYOND, when: str = LONG_AGO) -> None:
    """Do what a gateway of an installation with more partitions did, long ago."""
    ready, meta = keys.ready_stream(partition), keys.meta(partition)
    for command in commands:
        stream = keys.wallet_stream(partition, command.wallet_id)
        if not await nodes.one(stream, "XLEN", stream):
            await nodes.one(ready, "XADD", ready, "*", "wallet", str(command.wallet_id))
        await nodes.one(stream, "XADD", stream, "*", "command", encode_command(command))
    await nodes.one(meta, "HSET", meta, "last_id", when, "depth", len(commands), "submitted", len(commands))


async def decided(store: Store, books: BooksAsTheyStand, count: int) -> list[Command]:
    """Return commands of one wallet, applied and rejected, that the books have."""
    wallet_id = await books.create_wallet()
    commands = [deposit(wallet_id) if n % 3 else withdraw(wallet_id, 10**9) for n in range(count)]
    await store.settle(commands)
    return commands


async def test_partition_of_which_all_is_decided__is_removed_without_a_trace(
    client: Client, nodes: Nodes, store: Store, books: BooksAsTheyStand, sweeps: Any
) -> None:
    before = await content(client)
    for _ in range(3):
        await leave(nodes, *await decided(store, books, 4))
    await leave(nodes, partition=BEYOND + 1)  # an idle one: its meta alone
    await client.xadd(keys.ready_stream(BEYOND + 2), {"wallet": "gone"})
    await client.xgroup_create(keys.wallet_stream(BEYOND + 3, uuid4()), "g", mkstream=True)  # an empty stream
    await client.xgroup_create(keys.dead_stream(BEYOND + 3), "g", mkstream=True)

    counts, lines = await sweeps()

    # Three wallets, ready and meta; a meta; a ready; an empty wallet and an empty place of dead letters.
    assert counts == {"removed_leftovers": 3 + 2 + 1 + 1 + 2}
    assert await content(client) == before
    assert [line["count"] for line in lines if line["event"].startswith("removed leftovers")] == [9]
    assert (await sweeps())[0] == {}


async def test_command_that_is_not_in_the_books__is_kept_with_all_around_it_and_named(
    client: Client, nodes: Nodes, store: Store, books: BooksAsTheyStand, sweeps: Any
) -> None:
    known = await decided(store, books, 3)
    undecided = deposit(known[0].wallet_id)
    await leave(nodes, *known, undecided)
    before = await content(client)

    counts, lines = await sweeps()

    assert counts == {"stranded_wallets": 1}
    assert await content(client) == before
    [line] = [line for line in lines if line["event"].startswith("kept leftovers")]
    assert (line["log_level"], line["wallets"], line["others"]) == ("warning", 1, 0)
    assert line["keys"] == [keys.wallet_stream(BEYOND, undecided.wallet_id)]

    await store.settle([undecided])
    assert (await sweeps())[0] == {"removed_leftovers": 3}


@pytest.mark.parametrize("place", [0, 4, 5, 9, 13])
async def test_long_stream__is_removed_only_when_every_page_of_it_is_in_the_books(
    place: int,
    client: Client,
    nodes: Nodes,
    store: Store,
    books: BooksAsTheyStand,
    sweeps: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leftovers, "MESSAGES", 5)
    commands = await decided(store, books, 13)
    commands.insert(place, deposit(commands[0].wallet_id))
    await leave(nodes, *commands)

    assert (await sweeps())[0] == {"stranded_wallets": 1}
    assert await client.xlen(keys.wallet_stream(BEYOND, commands[0].wallet_id)) == 14
    await store.settle([commands[place]])
    assert (await sweeps())[0] == {"removed_leftovers": 3}


async def test_id_of_another_wallets_operation__is_not_what_the_books_have(
    nodes: Nodes, store: Store, books: BooksAsTheyStand, sweeps: Any
) -> None:
    [known] = await decided(store, books, 1)
    await leave(nodes, deposit(await books.create_wallet(), id=known.id))

    assert (await sweeps())[0] == {"stranded_wallets": 1}


async def test_message_appended_after_the_look__stays(
    client: Client,
    nodes: Nodes,
    store: Store,
    books: BooksAsTheyStand,
    sweeps: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = await decided(store, books, 3)
    late = deposit(known[0].wallet_id)
    await leave(nodes, *known)
    finish = leftovers.Leftovers._finish

    async def somebody_is_quicker(self: leftovers.Leftovers, claims: Any) -> None:
        await leave(nodes, late)
        await finish(self, claims)

    monkeypatch.setattr(leftovers.Leftovers, "_finish", somebody_is_quicker)

    assert (await sweeps())[0] == {"stranded_wallets": 1}
    left = await client.xrange(keys.wallet_stream(BEYOND, late.wallet_id))
    assert [said_in(fields)["id"] for _, fields in left] == [str(late.id)]
    assert await client.exists(keys.meta(BEYOND), keys.ready_stream(BEYOND)) == 2


async def test_partition_in_which_something_was_submitted_lately__keeps_its_keys(
    client: Client, nodes: Nodes, store: Store, books: BooksAsTheyStand, sweeps: Any
) -> None:
    """It may be of another installation, which shares this Redis and is alive."""
    await leave(nodes, *await decided(store, books, 1), when=f"{datetime.now(UTC).timestamp() * 1000:.0f}-0")

    assert (await sweeps())[0] == {"removed_leftovers": 1, "kept_leftovers": 2}
    assert sorted(await client.keys()) == sorted(key.encode() for key in (keys.ready_stream(BEYOND), keys.meta(BEYOND)))


async def test_wallet_that_is_kept_in_a_busy_partition__is_counted_once(nodes: Nodes, sweeps: Any) -> None:
    await leave(nodes, deposit(uuid4()), when=f"{datetime.now(UTC).timestamp() * 1000:.0f}-0")

    assert (await sweeps())[0] == {"stranded_wallets": 1}


async def test_what_cannot_be_told__is_kept(client: Client, sweeps: Any) -> None:
    await client.xadd(keys.dead_stream(BEYOND), {"reason": "a letter"})
    await client.set(keys.meta(BEYOND + 1), "no hash")
    await client.set(keys.ready_stream(BEYOND + 1), "no stream")
    await client.set(keys.wallet_stream(BEYOND + 2, uuid4()), "no stream")
    await client.xadd(keys.wallet_stream(BEYOND + 2, uuid4()), saying({"id": "no id"}))
    await client.xadd(keys.wallet_stream(BEYOND + 2, "nobody"), {"amount": "5"})
    await client.set(keys.wallet_prefix(BEYOND).encode() + b"\xff", "no text")
    await client.set(keys.meta(BEYOND).replace("meta", "other"), "no key of the service")
    await client.hset(keys.meta(BEYOND + 3), mapping={"last_id": "no-id"})  # type: ignore[misc] # its stubs
    await client.set(keys.meta(7).replace("7", "007"), "another spelling")  # not looked at
    before = await content(client)

    counts, lines = await sweeps()

    assert counts == {"stranded_wallets": 3, "kept_leftovers": 6}
    assert await content(client) == before
    [line] = [line for line in lines if line["event"].startswith("kept leftovers")]
    assert len(line["keys"]) == 9


async def test_time_that_is_up__what_was_not_looked_at_is_kept_and_counted(
    client: Client,
    nodes: Nodes,
    store: Store,
    books: BooksAsTheyStand,
    sweeps: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leftovers, "SECONDS_MAX", -1.0)
    await leave(nodes, *await decided(store, books, 3))
    before = await content(client)

    assert (await sweeps())[0] == {"stranded_wallets": 1}
    assert await content(client) == before


async def test_many_wallets__are_told_apart(
    client: Client, nodes: Nodes, store: Store, books: BooksAsTheyStand, sweeps: Any
) -> None:
    wallets = [await decided(store, books, 2) for _ in range(120)]
    await leave(nodes, *[command for commands in wallets for command in commands])
    undecided = [deposit(commands[0].wallet_id) for commands in wallets[::10]]
    await leave(nodes, *undecided)

    assert (await sweeps())[0] == {"removed_leftovers": 108, "stranded_wallets": 12}
    streams = {key.decode() for key in await client.keys(keys.wallet_stream(BEYOND, "*"))}
    assert streams == {keys.wallet_stream(BEYOND, command.wallet_id) for command in undecided}


async def test_wallet_under_another_partition_than_its_own__is_settled_by_whoever_owns_that_one(
    settings: MaintenanceSettings, own_service: Service, books: BooksAsTheyStand
) -> None:
    """As of an installation with another number of partitions, where the number of this one exists here as well."""
    own_service.start_worker()
    settings = settings.model_copy(update={"partition_count": own_service.settings.partition_count})
    nodes = Nodes(settings)
    wallet_id = await books.create_wallet()
    other = (keys.partition_of(wallet_id, settings.partition_count) + 1) % settings.partition_count
    await leave(nodes, deposit(wallet_id), deposit(wallet_id), partition=other)
    await nodes.one(keys.ready_stream(other), "DEL", keys.ready_stream(other))

    async def is_applied() -> bool:
        await Sweep(settings, nodes, books.connection).run()
        return (await books.wallet(wallet_id)).seq == 2

    await until(is_applied, 15)
    await nodes.close()


async def test_on_a_cluster__leftovers_of_every_node_are_found(
    tmp_path: Path, store: Store, books: BooksAsTheyStand
) -> None:
    cluster = Cluster(tmp_path)
    await asyncio.to_thread(cluster.start)
    # One partition: two of the three nodes have nothing but what lies under partitions that there are none of.
    values: dict[str, Any] = {"redis_url": cluster.url, "redis_cluster": True, "maintenance_redis_url": "redis://x"}
    settings = MaintenanceSettings(**values, partition_count=1)
    streams, nodes = Streams(settings), Nodes(settings)
    try:
        await streams.load_library()
        for partition in range(1, 21):
            await leave(nodes, *await decided(store, books, 2), partition=partition)
        lost: list[UUID] = []
        for partition in range(21, 25):
            command = deposit(await books.create_wallet())
            await leave(nodes, command, partition=partition)
            lost.append(command.wallet_id)

        result = await Sweep(settings, nodes, books.connection).run()

        assert (result["removed_leftovers"], result["stranded_wallets"]) == (20 * 3, 4)
        left = [key for [found] in (await nodes.each(("KEYS", "*"))).values() for key in found]
        assert len(left) == 4 * 3
    finally:
        await streams.close()
        await nodes.close()
        cluster.stop()
