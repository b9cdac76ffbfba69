"""A slot of a Redis Cluster that is half moved: its keys are on two nodes, and calls that need several are refused.

Who was accepted before is answered meanwhile, who comes now waits for the end of the move, and nobody else waits.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import pytest

from shared import keys
from tests.faults.cluster_faults import Move, half_moved
from tests.faults.ground import Ground, assert_applied, start
from tests.service import Client
from tests.waiting import until

# Which keys are gone while it is half moved, of a partition in which two wallets have something waiting.
Gone = Callable[[int, Sequence[str]], list[str]]
HALVES: tuple[Gone, ...] = (
    lambda partition, _: [keys.meta(partition)],
    lambda partition, _: [keys.ready_stream(partition)],
    lambda partition, wallets: [keys.wallet_stream(partition, wallets[0])],
    lambda partition, wallets: [
        keys.meta(partition),
        keys.ready_stream(partition),
        *(keys.wallet_stream(partition, wallet) for wallet in wallets),
    ],
)
OTHERS_SECONDS_MAX = 5.0  # for ten operations one after another, beside a worker whose finish is refused


@pytest.fixture
async def client(ground_on_cluster: Ground) -> Client:
    """A client of a gateway that has no worker behind it yet."""
    return await ground_on_cluster.ready_with()


async def test_slots_half_moved_in_every_way__what_was_accepted_is_answered_and_what_comes_waits(
    ground_on_cluster: Ground, client: Client
) -> None:
    ground, cluster, witness = ground_on_cluster, ground_on_cluster.cluster, ground_on_cluster.witness
    *pairs, others = await _pairs(ground, client, len(HALVES) + 1)
    wallets = [wallet for pair in pairs for wallet in pair]
    refused = {word: cluster.errors(word) for word in ("TRYAGAIN", "ASK")}
    accepted = [start(witness.deposit(client, wallet, "1")) for wallet in wallets]
    await until(lambda: _all_queued(ground, wallets))

    async with AsyncExitStack() as moves:
        for gone, pair in zip(HALVES, pairs, strict=True):
            partition = ground.partition(pair[0])
            move: Move = await moves.enter_async_context(half_moved(cluster, partition))
            await move.some(*gone(partition, pair))
        assert len(cluster.unsettled([])) == 2 * len(HALVES)
        ground.service.start_worker()

        for answer in await asyncio.gather(*accepted):
            assert_applied(answer, "1.00")
        coming = [start(witness.deposit(client, wallet, "1", key="new")) for wallet in wallets]
        async with asyncio.timeout(OTHERS_SECONDS_MAX):
            for _ in range(5):
                for wallet in others:
                    assert_applied(await witness.deposit(client, wallet, "1"), await client.balance(wallet))
        # Not accepted, and said so: there is no telling how long it stays half moved.
        for seconds in (0, 1):
            impatient = await witness.withdraw(client, pairs[0][0], "0.50", prefer=f"wait={seconds}")
            assert impatient is not None
            assert (impatient.status, impatient.headers["Retry-After"]) == (503, "1")
        assert not any(each.done() for each in coming[:4])
        assert await client.balance(wallets[0]) == "1.00"
    for word, count in refused.items():
        assert cluster.errors(word) > count, f"nobody was told {word}"

    answers = await asyncio.gather(*coming)
    assert cluster.unsettled(cluster.slot(ground.wallet_stream(wallet)) for wallet in wallets) == []
    for answer in answers:
        assert_applied(answer, "2.00")
    await ground.check_books()


async def test_operation_answered_with_202_before_its_slot_was_half_moved__is_shown_as_pending_and_decided(
    ground_on_cluster: Ground, client: Client
) -> None:
    ground, witness = ground_on_cluster, ground_on_cluster.witness
    wallet = await client.create_wallet()
    partition = ground.partition(wallet)
    answer = await witness.deposit(client, wallet, "1", prefer="wait=0")
    assert answer is not None
    assert answer.status == 202
    await until(lambda: _all_queued(ground, [wallet]))

    async with half_moved(ground.cluster, partition) as move:
        await move.some(keys.wallet_stream(partition, wallet))
        shown = await client.get(answer.headers["Location"])
        assert (shown.status, shown.body["status"]) == (200, "PENDING")

        ground.service.start_worker()
        await until(lambda: _is_decided(client, answer.headers["Location"]), 10)
    await ground.check_books()


async def _pairs(ground: Ground, client: Client, count: int) -> list[list[str]]:
    """Create wallets until so many partitions have two of them; returns those."""
    found: dict[int, list[str]] = defaultdict(list)
    while len(pairs := [wallets[:2] for wallets in found.values() if len(wallets) > 1]) < count:
        wallet = await client.create_wallet()
        found[ground.partition(wallet)].append(wallet)
    return pairs


async def _all_queued(ground: Ground, wallets: Sequence[str]) -> bool:
    lengths = [await asyncio.to_thread(_length, ground, ground.wallet_stream(wallet)) for wallet in wallets]
    return all(lengths)


def _length(ground: Ground, stream: str) -> int:
    cluster = ground.cluster
    return int(cluster.ask(cluster.owner(cluster.slot(stream)), "XLEN", stream))


async def _is_decided(client: Client, location: str) -> bool:
    return bool((await client.get(location)).body["status"] == "APPLIED")
