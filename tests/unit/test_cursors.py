"""A cursor is taken in the one spelling that the service gives, and in no other."""

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway import requests
from shared.errors import Invalid


@pytest.mark.parametrize("seq", [1, 2, 10**17])
def test_cursor_as_it_was_given__is_read_back(seq: int) -> None:
    request = make_mocked_request("GET", f"/?cursor={requests.encode_cursor(seq)}")

    assert requests.page_query(request).below_seq == seq


@pytest.mark.parametrize("cursor", ["MQ==", "MQ=", "MR", "MA", "MDE", "LTE", "MSwy", "", "=", "%00", "8J-YgA"])
def test_cursor_in_another_spelling_or_of_no_operation__is_refused(cursor: str) -> None:
    # MQ== is padded, MR has stray bits, MA says 0, MDE says 01.
    request = make_mocked_request("GET", f"/?cursor={cursor}")

    with pytest.raises(Invalid):
        requests.page_query(request)
