"""What a worker keeps in mind of its partitions: fair shares, how far each is claimed, what is under way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messages import START, Claim
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


def test_new_partition__is_claimed_from_the_start(partitions: Partitions) -> None:
    assert partitions.cursors() == {P: START, Q: START}
    assert len(partitions) == 2
    assert P in partitions
    assert 5 not in partitions


def test_claimed_wallets__are_claimed_no_further_and_the_cursor_is_behind_them(partitions: Partitions) -> None:
    claims = [claim("a", "5-0"), claim("b", "5-1")]

    assert partitions.admit(claims) == claims

    assert partitions.cursors() == {P: "5-1", Q: START}


def test_wallet_under_way__is_in_no_second_batch(partitions: Partitions) -> None:
    partitions.admit([claim("a", "5-0")])

    assert partitions.admit([claim("a", "6-0"), claim("b", "6-1")]) == [claim("b", "6-1")]


def test_wallet_that_stands_twice_in_one_claim__is_taken_once(partitions: Partitions) -> None:
    assert partitions.admit([claim("a", "5-0"), claim("a", "5-1")]) == [claim("a", "5-0")]


def test_same_wallet_name_in_two_partitions__is_two_wallets(partitions: Partitions) -> None:
    assert len(partitions.admit([claim("a", "5-0"), claim("a", "5-0", Q)])) == 2


def test_wallet_that_is_done__may_be_claimed_again(partitions: Partitions) -> None:
    first = claim("a", "5-0")
    partitions.admit([first, claim("b", "5-1")])
    partitions.done([first], finished=True)

    assert partitions.admit([claim("a", "6-0")]) == [claim("a", "6-0")]


def test_partition_with_something_under_way__goes_on_from_its_cursor(partitions: Partitions) -> None:
    first = claim("a", "5-0")
    partitions.admit([first, claim("b", "5-1")])

    partitions.done([first], finished=True)

    assert partitions.cursors()[P] == "5-1"


def test_idle_partition__is_claimed_from_the_start(partitions: Partitions) -> None:
    # A Redis that came back empty, with a clock that is behind, gives out ids below the old cursor.
    claims = partitions.admit([claim("a", "5-0"), claim("b", "5-1")])

    partitions.done(claims, finished=True)

    assert partitions.cursors()[P] == START


def test_claims_that_could_not_be_finished__are_claimed_again(partitions: Partitions) -> None:
    first = claim("a", "5-0")
    partitions.admit([first, claim("b", "5-1")])

    partitions.done([first], finished=False)

    assert partitions.cursors()[P] == START


def test_wallet_passed_over_while_it_was_under_way__is_claimed_again_once_it_is_done(partitions: Partitions) -> None:
    # finish() has put it at the end of the line already, and the next claim has read that before done() was called.
    first = claim("a", "5-0")
    partitions.admit([first, claim("b", "5-1")])
    assert partitions.admit([claim("a", "6-0"), claim("c", "6-1")]) == [claim("c", "6-1")]

    partitions.done([first], finished=True)

    # b and c are still under way: the partition may never be idle, and nobody else would ever look at 6-0.
    assert tuple(map(int, partitions.cursors()[P].split("-"))) < (6, 0)


def test_claim_read_before_a_failed_finish__does_not_hide_what_must_be_claimed_again(partitions: Partitions) -> None:
    first = claim("a", "5-0")
    partitions.admit([first, claim("b", "5-1")])
    assert partitions.cursors()[P] == "5-1"  # a claim beyond this is read in Redis …
    partitions.done([first], finished=False)  # … while a's finish fails

    partitions.admit([claim("c", "6-0")])

    assert tuple(map(int, partitions.cursors()[P].split("-"))) < (5, 0)


def test_claim_read_before_its_partition_went_idle__is_not_read_again_at_once(partitions: Partitions) -> None:
    first = claim("a", "5-0")
    partitions.admit([first])
    assert partitions.cursors()[P] == "5-0"  # a claim beyond this is read in Redis …
    partitions.done([first], finished=True)  # … while the last of what was under way is done

    second = claim("a", "6-0")
    assert partitions.admit([second]) == [second]

    assert partitions.cursors()[P] == "6-0"


def test_rewind__claims_everything_from_the_start(partitions: Partitions) -> None:
    partitions.admit([claim("a", "5-0"), claim("a", "5-0", Q)])

    partitions.rewind()

    assert partitions.cursors() == {P: START, Q: START}
    assert partitions.admit([claim("a", "5-0")]) == []  # still under way


def test_retiring_partition__is_claimed_no_more(partitions: Partitions) -> None:
    partitions.retire([P])

    assert partitions.cursors() == {Q: START}
    assert partitions.admit([claim("a", "5-0"), claim("b", "5-0", Q)]) == [claim("b", "5-0", Q)]
    assert partitions.retiring


def test_retiring_partition__is_given_back_only_when_nothing_of_it_is_under_way(partitions: Partitions) -> None:
    claims = partitions.admit([claim("a", "5-0"), claim("b", "5-1")])
    partitions.retire([P])

    assert partitions.pop_retired() == []
    partitions.done(claims[:1], finished=True)
    assert partitions.pop_retired() == []
    partitions.done(claims[1:], finished=False)
    assert partitions.pop_retired() == [P]

    assert P not in partitions
    assert not partitions.retiring
    assert partitions.pop_retired() == []


def test_claim_of_a_partition_that_was_let_go__is_not_admitted(partitions: Partitions) -> None:
    partitions.retire([P])
    partitions.pop_retired()

    assert partitions.admit([claim("a", "5-0")]) == []


def test_partition_that_comes_back__is_claimed_from_the_start(partitions: Partitions) -> None:
    partitions.done(partitions.admit([claim("a", "5-0")]), finished=True)
    partitions.retire([P])
    partitions.pop_retired()

    partitions.add([P])

    assert partitions.cursors()[P] == START


def test_wallet_passed_over__is_known_until_it_is_done(partitions: Partitions) -> None:
    # Its ready message is read and will not come again: a long wait for a new one would hold the wallet up.
    first = claim("a", "5-0")
    partitions.admit([first, claim("b", "5-1")])
    assert not partitions.has_passed_over

    partitions.admit([claim("a", "6-0")])
    assert partitions.has_passed_over

    partitions.done([first], finished=True)
    assert not partitions.has_passed_over
