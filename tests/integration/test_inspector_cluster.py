"""The inspector on a Redis Cluster: every look and every repair goes to the node that has the partition."""

import contextlib
from typing import Any

import pytest
from redis.exceptions import ResponseError

from devstack.cluster import Cluster
from shared import keys
from shared.settings import Settings
from shared.streams import LIBRARY_VERSION, Streams
from tests.commands import deposit, wallet_in
from tests.integration.inspector_stage import Inspector

COUNT = Settings.model_fields["partition_count"].default


async def test_every_look_and_repair__works_on_all_nodes(
    cluster: Cluster, stores: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inspector.reading.partitions.SAMPLE_SECONDS", 0.1)
    monkeypatch.setattr("inspector.reading.walk.AGAIN_SECONDS", 0.1)
    settings = Settings(**{**stores, "redis_url": cluster.url, "redis_cluster": True})
    inspect = Inspector(settings)
    streams = Streams(settings)
    await streams.load_library()
    wallets = {p: wallet_in(p, COUNT) for p in range(COUNT)}
    commands = {p: deposit(wallet_id) for p, wallet_id in wallets.items()}
    await streams.submit(list(commands.values()), 10, 10)
    await streams.close()
    lost = wallets[5]
    for node in cluster.nodes:  # whichever has it; the others answer that it is elsewhere
        with contextlib.suppress(ResponseError):
            cluster.ask(node, "DEL", keys.ready_stream(5))

    partitions = (await inspect.read("partitions"))["partitions"]
    assert [p["waiting"] for p in partitions] == [1] * COUNT
    nodes = (await inspect.read("overview"))["nodes"]
    assert [node["library_version"] for node in nodes] == [LIBRARY_VERSION] * 3
    assert {node["node"] for node in nodes} == {f"127.0.0.1:{node.port}" for node in cluster.nodes}
    found = await inspect.read("operation", str(commands[17].id))
    assert (found["state"], found["partition"]) == ("waiting", 17)
    assert (await inspect.read("oldest"))["looked_at"] == COUNT - 1
    [check] = [c for c in (await inspect.read("doctor"))["checks"] if c["verdict"] == "fault" and c["mendable"]]
    assert check["examples"] == [f"05/{lost}"]
    assert f"made wallet {lost} of partition 05 ready" in (await inspect("repair", "--yes")).lines

    cluster.nodes[1].kill()
    said = await inspect("doctor")
    cluster.nodes[1].start()

    assert said.code == 2
    assert f"{cluster.nodes[1].port}" in said.err
    assert len(said.err.splitlines()) == 1
