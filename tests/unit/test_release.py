"""A release as a number that a lock can carry, and back."""

import pytest

from shared.release import UNKNOWN, own_release, release_number, release_text


@pytest.mark.parametrize("text", ["1.0.0", "0.0.1", "12.34.567", "999.999.999"])
def test_release__comes_back_as_it_was(text: str) -> None:
    assert release_text(release_number(text)) == text


def test_number__fits_a_lock() -> None:
    assert release_number("999.999.999") < 2**31


def test_later_release__has_a_larger_number() -> None:
    assert release_number("1.2.3") < release_number("1.10.0") < release_number("2.0.0")


@pytest.mark.parametrize("text", ["1.0", "1.0.0rc1", "1.0.1000", "", "1..0", "1.0.²"])
def test_release_that_is_not_three_numbers__is_unknown(text: str) -> None:
    assert release_number(text) == UNKNOWN
    assert release_text(release_number(text)) is None


def test_own_release__is_that_of_the_installed_package() -> None:
    assert release_text(own_release()) is not None
