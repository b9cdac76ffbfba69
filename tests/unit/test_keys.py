"""Where a wallet is, for good: its partition, and keys that one cluster node holds together."""

from collections import Counter
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from shared import keys

partitions = st.integers(0, 4095)


@pytest.mark.parametrize(
    ("wallet_id", "partition"),
    [
        ("00000000-0000-0000-0000-000000000000", 21),
        ("01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10", 30),
        ("ffffffff-ffff-ffff-ffff-ffffffffffff", 26),
    ],
)
def test_partition_of_a_wallet__is_the_same_for_ever(wallet_id: str, partition: int) -> None:
    # A release that changes this looks for waiting commands where they are not.
    assert keys.partition_of(UUID(wallet_id), 64) == partition


@given(st.uuids(), st.integers(1, 4096))
def test_partition__is_one_of_those_there_are(wallet_id: UUID, partition_count: int) -> None:
    assert 0 <= keys.partition_of(wallet_id, partition_count) < partition_count


def test_wallets__spread_evenly_over_the_partitions() -> None:
    counts = Counter(keys.partition_of(uuid4(), 64) for _ in range(64_000))

    assert len(counts) == 64
    # 1000 expected; six standard deviations of a fair draw are 190.
    assert all(810 < count < 1_190 for count in counts.values())


def test_wallets_made_one_after_another__spread_evenly() -> None:
    counts = Counter(keys.partition_of(UUID(int=n), 64) for n in range(64_000))

    assert all(810 < count < 1_190 for count in counts.values())


@given(partitions, st.uuids())
def test_keys_of_one_partition__share_a_cluster_slot(partition: int, wallet_id: UUID) -> None:
    together = [
        keys.wallet_stream(partition, wallet_id),
        keys.ready_stream(partition),
        keys.meta(partition),
        keys.dead_stream(partition),
    ]

    assert len({key_slot(key.encode()) for key in together}) == 1
    assert len(set(together)) == len(together)


def test_partitions__spread_over_the_slots_of_a_cluster() -> None:
    slots = [key_slot(keys.ready_stream(partition).encode()) for partition in range(64)]

    by_node = Counter(slot * 3 // 16_384 for slot in slots)
    assert len(set(slots)) == 64
    assert min(by_node.values()) > 10


@given(partitions, partitions, st.uuids())
def test_keys_of_two_partitions__are_never_the_same(first: int, second: int, wallet_id: UUID) -> None:
    if first != second:
        assert keys.wallet_stream(first, wallet_id) != keys.wallet_stream(second, wallet_id)
        assert keys.ready_stream(first) != keys.ready_stream(second)


@given(partitions, st.uuids())
def test_wallet_stream__is_the_prefix_and_the_wallet(partition: int, wallet_id: UUID) -> None:
    key = keys.wallet_stream(partition, wallet_id)

    assert key.removeprefix(keys.wallet_prefix(partition)) == str(wallet_id)


@given(partitions, st.uuids())
def test_partition__is_told_by_each_of_its_keys(partition: int, wallet_id: UUID) -> None:
    for key in (keys.wallet_stream(partition, wallet_id), keys.ready_stream(partition), keys.meta(partition)):
        assert keys.partition_named_in(key) == partition


@pytest.mark.parametrize(
    "key", ["{gw-a}:replies", "arq:queue", "{p7}:meta", "{p007}:meta", "{p\u0660\u0667}:meta", "x{p07}:meta"]
)
def test_key_of_no_partition__tells_none(key: str) -> None:
    assert keys.partition_named_in(key) is None


def test_reply_keys_of_two_gateways__differ() -> None:
    assert keys.reply_stream("a") != keys.reply_stream("b")


def test_keys__are_spelled_as_the_design_says() -> None:
    assert keys.wallet_stream(7, UUID(int=0)) == "{p07}:wallet:00000000-0000-0000-0000-000000000000"
    assert (keys.ready_stream(7), keys.meta(7), keys.dead_stream(7)) == ("{p07}:ready", "{p07}:meta", "{p07}:dead")
    assert keys.reply_stream("a1b2") == "{gw-a1b2}:replies"
