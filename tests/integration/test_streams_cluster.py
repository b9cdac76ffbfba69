"""The door to Redis where that is a Cluster of which a node is away or silent: the others are served, and what is known
of its own is told as it is."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from devstack.cluster import Cluster
from devstack.redis import Redis
from gateway.dispatcher import Dispatcher
from shared import keys
from shared.commands import Command, Reply
from shared.settings import GatewaySettings, Settings, WorkerSettings
from shared.streams import RedisError, Streams, Submission
from tests.books import BooksAsTheyStand
from tests.commands import deposit, wallet_in
from tests.integration.stage import claim_of, working
from tests.waiting import until

PARTITIONS = Settings.model_fields["partition_count"].default


@pytest.fixture
async def streams(cluster: Cluster) -> AsyncIterator[Streams]:
    opened = Streams(Settings.model_validate({"redis_url": cluster.urls, "redis_cluster": True}))
    await opened.load_library()
    yield opened
    await opened.close()


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that says nothing is taken to be silent sooner."""
    monkeypatch.setattr("shared.node.SOCKET_TIMEOUT_SECONDS", 1.5)  # above every block
    monkeypatch.setattr("shared.node.CONNECT_TIMEOUT_SECONDS", 0.5)


def owner_of(cluster: Cluster, command: Command) -> Redis:
    return cluster.owner(cluster.slot(stream_of(command)))


async def test_look_for_lost_messages_while_a_node_is_away__finds_those_of_the_others(
    cluster: Cluster, streams: Streams
) -> None:
    commands = [deposit(wallet_in(partition, PARTITIONS)) for partition in range(PARTITIONS)]
    ids = await streams.submit(commands, 10, 10)
    waiting = [(command, str(message_id)) for command, message_id in zip(commands, ids, strict=True)]
    away = cluster.nodes[1]
    theirs = {command.id for command in commands if owner_of(cluster, command) is away}
    assert 0 < len(theirs) < PARTITIONS
    assert await streams.missing(waiting) == []
    gone = [(command, "1-1") for command in commands]

    away.kill()

    assert {command.id for command in await streams.missing(gone)} == {c.id for c in commands} - theirs
    assert await streams.missing(waiting) == []
    with pytest.raises(RedisError):
        await streams.missing([pair for pair in waiting if pair[0].id in theirs])


@pytest.mark.usefixtures("_quick")
async def test_silent_node__what_is_not_sent_to_it_is_certainly_not_there(cluster: Cluster, streams: Streams) -> None:
    commands = [deposit(wallet_in(partition, PARTITIONS)) for partition in range(PARTITIONS)]
    frozen = cluster.nodes[1]
    theirs = [command for command in commands if owner_of(cluster, command) is frozen]
    others = [command for command in commands if command not in theirs]
    frozen.pause()

    sent = await streams.submit(theirs, 100, 100)
    not_sent = await streams.submit(theirs, 100, 100)

    assert set(sent) == {Submission.UNKNOWN}  # it may take them when it wakes
    assert set(not_sent) == {Submission.NOT_RUN}  # so that they are refused for good, and no 202 is told
    assert all(isinstance(answer, str) for answer in await streams.submit(others, 100, 100))

    frozen.resume()

    async def takes_them() -> bool:
        return all(isinstance(answer, str) for answer in await streams.submit(theirs, 100, 100))

    await until(takes_them, 10)


async def test_ready_key_of_the_wrong_type__is_named_with_what_to_do_and_its_partition_alone_waits(
    cluster: Cluster, streams: Streams
) -> None:
    spoilt, other = 5, 9
    key = keys.ready_stream(spoilt)
    owner = cluster.owner(cluster.slot(key))
    cluster.ask(owner, "SET", key, "by hand")
    commands = [deposit(wallet_in(partition, PARTITIONS)) for partition in (spoilt, other)]
    refused, accepted = await streams.submit(commands, 10, 10)
    assert (refused, isinstance(accepted, str)) == (Submission.NOT_A_STREAM, True)

    async def is_ready(partition: int) -> bool:
        return any(one.partition == partition for one in await streams.wait_ready([spoilt, other], 10, 100))

    with capture_logs() as lines:
        for _ in range(3):
            await until(lambda: is_ready(other))
        cluster.ask(owner, "DEL", key)
        await streams.submit(commands[:1], 10, 10)
        await until(lambda: is_ready(spoilt))

    told = [(line["log_level"], line.get("keys"), "what_to_do" in line) for line in lines]
    assert told == [("error", [key], True), ("info", [key], False)]


@pytest.mark.usefixtures("_quick")
async def test_reply_key_on_a_silent_node__keeps_nothing_from_being_finished(
    cluster: Cluster, streams: Streams
) -> None:
    frozen = cluster.nodes[1]
    reply_key = reply_key_on(cluster, frozen)
    command = command_elsewhere(cluster, frozen)
    await streams.submit([command], 10, 10)
    partition = keys.partition_of(command.wallet_id, PARTITIONS)
    claims = await claim_of(streams, [partition])
    frozen.pause()

    for _ in range(2):  # sent in vain, and not sent
        await streams.finish(claims, {reply_key: []}, 60, 256)
        assert await streams.find_waiting(command.wallet_id, command.id) is None


@pytest.mark.usefixtures("_quick")
async def test_gateway_whose_reply_key_is_on_a_silent_node__is_told_its_outcomes_by_another(
    cluster: Cluster, stores: dict[str, Any], books: BooksAsTheyStand
) -> None:
    values = {**stores, "redis_url": cluster.urls, "redis_cluster": True}
    settings = GatewaySettings(**values)
    streams = Streams(settings)
    await streams.load_library()
    frozen = cluster.nodes[1]

    async def finds_nothing(_: Sequence[UUID]) -> Sequence[Reply]:
        return []

    dispatcher = Dispatcher(settings, streams, finds_nothing)
    dispatcher.reply_key = reply_key_on(cluster, frozen)
    wallet_id = command_elsewhere(cluster, frozen).wallet_id
    await books.connection.execute("INSERT INTO wallets (id) VALUES ($1)", wallet_id)

    async def reads_elsewhere() -> bool:
        return cluster.owner(cluster.slot(dispatcher.reply_key)) is not frozen

    async with working(WorkerSettings(**values)), dispatcher.running():
        try:
            first = await dispatcher.submit(deposit(wallet_id, reply_to=dispatcher.reply_key), 10)
            frozen.pause()
            await until(reads_elsewhere, 10)
            second = await dispatcher.submit(deposit(wallet_id, reply_to=dispatcher.reply_key), 10)
        finally:
            frozen.resume()
    await streams.close()

    assert [reply.operation.seq for reply in (first, second)] == [1, 2]


async def test_node_that_names_the_wrong_owner_of_a_slot__hinders_nobody(cluster: Cluster, streams: Streams) -> None:
    """After a move nodes can differ in who has a slot, with some servers for good: redis/redis, issue 3776."""
    mistaken, former, owner = cluster.nodes
    partition = next(p for p in range(PARTITIONS) if cluster.owner(cluster.slot(keys.meta(p))) is former)
    slot = cluster.slot(keys.meta(partition))
    cluster.move_slot(slot, former, owner)

    async def is_served_meanwhile() -> bool:
        cluster.unlearn_move(slot, former, mistaken)
        command = deposit(wallet_in(partition, PARTITIONS))
        [answer] = await streams.submit([command], 10, 10)
        assert isinstance(answer, str), answer
        await streams.finish(await claim_of(streams, [partition]), {}, 60, 256)
        assert await streams.find_waiting(command.wallet_id, command.id) is None
        return cluster.owner(slot) is former  # Valkey 9.1 comes to know better within a second

    try:
        await until(is_served_meanwhile)
    finally:
        cluster.ask(mistaken, "CLUSTER", "SETSLOT", slot, "NODE", cluster.node_id(owner))


def command_elsewhere(cluster: Cluster, node: Redis) -> Command:
    """Return a command whose wallet's stream lives on another node."""
    commands = (deposit(wallet_in(partition, PARTITIONS)) for partition in range(PARTITIONS))
    return next(command for command in commands if owner_of(cluster, command) is not node)


def reply_key_on(cluster: Cluster, node: Redis) -> str:
    """Return a reply key that lives on a node."""
    names = (keys.reply_stream(f"number-{number}") for number in range(1_000))
    return next(name for name in names if cluster.owner(cluster.slot(name)) is node)


def stream_of(command: Command) -> str:
    return keys.wallet_stream(keys.partition_of(command.wallet_id, PARTITIONS), command.wallet_id)
