"""The door to Redis where that is a Cluster of which a node is away: what the others have is known."""

import asyncio
from pathlib import Path

import pytest

from devstack.cluster import Cluster
from shared import keys
from shared.commands import Command
from shared.settings import Settings
from shared.streams import RedisError, Streams
from tests.commands import deposit, wallet_in

PARTITIONS = Settings.model_fields["partition_count"].default


async def test_look_for_lost_messages_while_a_node_is_away__finds_those_of_the_others(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    await asyncio.to_thread(cluster.start)
    streams = Streams(Settings.model_validate({"redis_url": cluster.urls, "redis_cluster": True}))
    try:
        await streams.load_library()
        commands = [deposit(wallet_in(partition, PARTITIONS)) for partition in range(PARTITIONS)]
        ids = await streams.submit(commands, 10, 10)
        waiting = [(command, str(message_id)) for command, message_id in zip(commands, ids, strict=True)]
        away = cluster.nodes[1]
        theirs = {command.id for command in commands if cluster.owner(cluster.slot(stream_of(command))) is away}
        assert 0 < len(theirs) < PARTITIONS
        assert await streams.missing(waiting) == []
        gone = [(command, "1-1") for command in commands]

        away.kill()

        assert {command.id for command in await streams.missing(gone)} == {c.id for c in commands} - theirs
        assert await streams.missing(waiting) == []
        with pytest.raises(RedisError):
            await streams.missing([pair for pair in waiting if pair[0].id in theirs])
    finally:
        await streams.close()
        cluster.stop()


def stream_of(command: Command) -> str:
    return keys.wallet_stream(keys.partition_of(command.wallet_id, PARTITIONS), command.wallet_id)
