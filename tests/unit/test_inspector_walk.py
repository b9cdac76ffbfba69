"""Whether a partition's depth is right, told from readings that traffic may have moved apart. Pure."""

import pytest

from inspector.reading.walk import Walk


def walked(before: tuple[int, int], after: tuple[int, int], waiting: int) -> Walk:
    """Return a walk that found so many messages; before and after are (depth, submitted)."""
    first, last = ([str(number).encode() for number in reading] for reading in (before, after))
    return Walk(first, last, set(), waiting)


@pytest.mark.parametrize(("waiting", "missing"), [(7, 0), (9, 2), (0, -7)])
def test_depth_of_a_quiet_partition__is_compared_exactly(waiting: int, missing: int) -> None:
    assert walked((7, 100), (7, 100), waiting).missing_depth(0) == missing


def test_messages_that_are_not_ready__count_as_waiting() -> None:
    assert walked((7, 100), (7, 100), 4).missing_depth(3) == 0


@pytest.mark.parametrize("waiting", [2, 7, 17])
def test_what_traffic_explains__is_no_fault(waiting: int) -> None:
    # Ten came and five went meanwhile: anything from 7 - 5 to 7 + 10 may have been seen.
    assert walked((7, 100), (12, 110), waiting).missing_depth(0) == 0


@pytest.mark.parametrize("waiting", [1, 18])
def test_what_traffic_does_not_explain__is_not_called_a_fault_while_it_moves(waiting: int) -> None:
    assert walked((7, 100), (12, 110), waiting).missing_depth(0) is None


def test_redis_that_began_anew_meanwhile__tells_nothing() -> None:
    assert walked((7, 100), (1, 1), 7).missing_depth(0) is None


def test_library_that_does_not_count__is_compared_only_when_nothing_moved() -> None:
    assert Walk([b"7", None, b"5-0"], [b"7", None, b"5-0"], set(), 9).missing_depth(0) == 2
    assert Walk([b"7", None, b"5-0"], [b"7", None, b"6-0"], set(), 7).missing_depth(0) is None


def test_partition_that_was_never_used__has_the_depth_nothing() -> None:
    assert Walk([None, None, None], [None, None, None]).missing_depth(0) == 0
