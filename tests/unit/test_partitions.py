"""What a worker keeps in mind of its partitions: fair shares, what is to be given back, what is under way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messages import Claim
from worker.partitions import Partitions, fair_share

P, Q = 3, 4


def claim(wallet: str, ready_id: str, partition: int = P) -> Claim:
    return Claim(partition, wallet, ready_id)


@pytest.fixture
def partitions() -> Partitions:
    owned = Partitions()
    owned.add([P, Q])
    return owned


@given(st.integers(1, 200), st.integers(1, 40))
def test_fair_shares__are_even_and_cover_everything(partition_count: int, workers: int) -> None:
    owned: list[list[int]] = [[] for _ in range(workers)]
    for own in owned:
        held = [partition for others in owned for partition in others]
        wanted, surplus = fair_share(partition_count, workers, own, held)
        assert surplus == []
        own.extend(wanted)

    assert sorted(partition for own in owned for partition in own) == list(range(partition_count))
    # Nobody has more than a full share, so nobody has to give back, and shares come to rest.
    assert max(map(len, owned)) <= -(-partition_count // workers)


@given(st.integers(1, 64), st.integers(1, 8))
def test_shares__come_to_rest_when_one_had_everything(partition_count: int, workers: int) -> None:
    owned: list[set[int]] = [set() for _ in range(workers)]
    owned[0] = set(range(partition_count))  # one was alone until the others came
    for _ in range(3):
        for own in owned:
            held = set().union(*owned)
            wanted, surplus = fair_share(partition_count, workers, own, held)
            assert not (wanted and surplus)
            own.update(wanted)
            own.difference_update(surplus)

    assert sum(map(len, owned)) == partition_count
    for own in owned:
        assert fair_share(partition_count, workers, own, set().union(*owned))[1] == []


def test_fair_share__takes_only_what_is_free() -> None:
    assert fair_share(4, 2, [0], [0, 1, 2]) == ([3], [])


def test_fair_share__gives_back_what_is_too_much() -> None:
    assert fair_share(4, 2, [0, 1, 2, 3], [0, 1, 2, 3]) == ([], [2, 3])


def test_fair_share_of_a_drained_worker__is_none_whatever_is_free() -> None:
    assert fair_share(4, 1, [0, 1], [0, 1], is_drained=True) == ([], [0, 1])


def test_fair_share_of_more_workers_than_partitions__is_one_or_none() -> None:
    assert fair_share(2, 5, [], [0]) == ([1], [])
    assert fair_share(2, 5, [], [0, 1]) == ([], [])


def test_new_partition__is_owned_and_claimed_from(partitions: Partitions) -> None:
    assert sorted(partitions) == sorted(partitions.claimable()) == [P, Q]
    assert len(partitions) == 2
    assert P in partitions
    assert 5 not in partitions


def test_wallet_that_stands_twice_in_one_claim__is_taken_once(partitions: Partitions) -> None:
    assert partitions.begin([claim("a", "5-0"), claim("a", "5-1")]) == [claim("a", "5-0")]


def test_same_wallet_name_in_two_partitions__is_two_wallets(partitions: Partitions) -> None:
    assert len(partitions.begin([claim("a", "5-0"), claim("a", "5-0", Q)])) == 2


def test_retiring_partition__is_claimed_no_further_and_given_back_at_once_where_nothing_is_under_way(
    partitions: Partitions,
) -> None:
    partitions.retire([P])

    assert partitions.is_retiring
    assert partitions.claimable() == [Q]
    assert partitions.pop_retired() == [P]
    assert not partitions.is_retiring
    assert list(partitions) == [Q]


def test_retiring_partition_with_a_batch_under_way__is_given_back_when_that_has_ended(partitions: Partitions) -> None:
    partitions.begin([claim("a", "5-0")])
    partitions.retire([P, Q])

    assert partitions.pop_retired() == [Q]
    assert P in partitions
    partitions.end()
    assert partitions.pop_retired() == [P]


@pytest.mark.parametrize("is_given_back", [False, True])
def test_partition_let_go_while_it_was_claimed__is_in_no_batch(partitions: Partitions, *, is_given_back: bool) -> None:
    partitions.retire([P])
    if is_given_back:
        partitions.pop_retired()

    assert partitions.begin([claim("a", "5-0"), claim("b", "5-0", Q)]) == [claim("b", "5-0", Q)]
    partitions.retire([Q])
    assert Q not in partitions.pop_retired()


def test_partition_that_comes_back__is_claimed_from_again(partitions: Partitions) -> None:
    partitions.retire([P])
    partitions.pop_retired()

    partitions.add([P])

    assert sorted(partitions.claimable()) == [P, Q]
