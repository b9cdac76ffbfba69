"""The same service on a Redis Cluster of three real nodes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from redis.crc import key_slot

from devstack.cluster import Cluster
from shared import keys
from shared.settings import Settings
from tests.service import Client, Service


@pytest.fixture
async def on_cluster(cluster: Cluster, stores: dict[str, Any], tmp_path: Path) -> AsyncIterator[Service]:
    """A gateway and two workers over the cluster."""
    settings = Settings(**{**stores, "redis_url": cluster.url})
    own = replace(Service(settings, tmp_path), environment={"REDIS_CLUSTER": "true"})
    own.start_gateway()
    for _ in range(2):
        own.start_worker()
    await own.wait_ready()
    yield own
    assert set(own.stop()) == {0}


@pytest.fixture
async def client(on_cluster: Service) -> AsyncIterator[Client]:
    opened = Client(on_cluster.url)
    yield opened
    await opened.close()


async def test_many_wallets_on_all_nodes__each_has_exact_books(client: Client, cluster: Cluster) -> None:
    wallets = [await client.create_wallet() for _ in range(40)]

    answers = await asyncio.gather(*(client.deposit(wallet, 1) for wallet in wallets for _ in range(10)))

    assert {answer.status for answer in answers} == {200}
    assert {await client.balance(wallet) for wallet in wallets} == {"10.00"}
    assert all(cluster.ask(node, "DBSIZE") > 0 for node in cluster.nodes)


async def test_one_wallet_at_once__covered_withdrawals_are_paid_and_no_other(client: Client) -> None:
    wallet_id = await client.create_wallet()
    await client.deposit(wallet_id, 1000)

    answers = await asyncio.gather(*(client.withdraw(wallet_id, 100) for _ in range(40)))

    assert sorted(answer.status for answer in answers) == [200] * 10 + [400] * 30
    again = [await client.withdraw(wallet_id, 1, Idempotency_Key="same") for _ in range(2)]
    assert [answer.status for answer in again] == [400, 400]
    assert again[1].headers["Idempotency-Replayed"] == "true"


async def test_node_killed_and_started_again_under_load__nothing_is_lost(client: Client, cluster: Cluster) -> None:
    wallets = [await client.create_wallet() for _ in range(30)]
    load = [asyncio.create_task(_deposit_steadily(client, wallet)) for wallet in wallets]
    await asyncio.sleep(0.5)

    cluster.nodes[1].kill()
    await asyncio.sleep(0.5)
    await asyncio.to_thread(cluster.nodes[1].start)

    assert await asyncio.gather(*load) == ["20.00"] * len(wallets)


async def test_slot_moved_under_load__nothing_is_lost(client: Client, cluster: Cluster) -> None:
    partition_count = Settings.load().partition_count
    slots = {p: key_slot(keys.ready_stream(p).encode()) for p in range(partition_count)}
    third = 16_384 // 3
    partition = next(p for p, slot in slots.items() if slot < third)
    wallets = [w for w in [await client.create_wallet() for _ in range(200)] if _partition(w) == partition]
    load = [asyncio.create_task(_deposit_steadily(client, wallet)) for wallet in wallets]
    await asyncio.sleep(0.3)

    await asyncio.to_thread(cluster.move_slot, slots[partition], cluster.nodes[0], cluster.nodes[2])

    assert await asyncio.gather(*load) == ["20.00"] * len(wallets)
    await asyncio.to_thread(cluster.move_slot, slots[partition], cluster.nodes[2], cluster.nodes[0])


async def test_silent_node__holds_up_its_own_partitions_and_nobody_elses(
    on_cluster: Service, client: Client, cluster: Cluster
) -> None:
    wallets = [await client.create_wallet() for _ in range(30)]
    third = 16_384 // 3
    slots = {w: key_slot(keys.ready_stream(_partition(w)).encode()) for w in wallets}
    elsewhere = [w for w in wallets if slots[w] < third]
    theirs = next(w for w in wallets if third <= slots[w] < 2 * third)

    cluster.nodes[1].pause()
    try:
        held_up = asyncio.create_task(client.deposit(theirs, 1))
        # They wait for the first time-out, and for no other.
        await asyncio.gather(*(client.deposit(w, 1) for w in elsewhere))
        for _ in range(5):
            began = asyncio.get_running_loop().time()
            answers = await asyncio.gather(*(client.deposit(w, 1) for w in elsewhere))
            assert {answer.status for answer in answers} == {200}
            assert asyncio.get_running_loop().time() - began < 2
        ready = await client.get("/readyz")
    finally:
        cluster.nodes[1].resume()

    assert ready.status == 503
    assert [missing for missing in ready.body["missing"] if missing.startswith("redis 127.0.0.1:")]
    assert (await held_up).status in {200, 202, 503}
    await on_cluster.wait_ready()
    assert (await client.deposit(theirs, 1)).status == 200


async def test_first_of_the_named_nodes_is_away__the_others_are_asked(
    cluster: Cluster, stores: dict[str, Any], tmp_path: Path
) -> None:
    nobody = "redis://127.0.0.1:1/0"
    settings = Settings(**{**stores, "redis_url": f"{nobody},{cluster.url}"})
    own = replace(Service(settings, tmp_path), environment={"REDIS_CLUSTER": "true"})
    own.start_gateway()
    own.start_worker()
    await own.wait_ready()
    client = Client(own.url)
    assert (await client.deposit(await client.create_wallet(), 1)).status == 200
    await client.close()
    assert set(own.stop()) == {0}


def _partition(wallet_id: str) -> int:
    return keys.partition_of(UUID(wallet_id), Settings.load().partition_count)


async def _deposit_steadily(client: Client, wallet_id: str) -> str:
    """Make twenty deposits, one after another; returns the balance that they leave."""
    for _ in range(20):
        answer = await client.deposit(wallet_id, 1)
        assert answer.status == 200, answer
        await asyncio.sleep(0.05)
    return await client.balance(wallet_id)
