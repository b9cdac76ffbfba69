"""What the express lane reads of a request, aiohttp's parser reads as well: the same, and to the last byte."""

import asyncio
from typing import Any

import pytest
from aiohttp import HttpVersion11
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from gateway.usual import FIELDS_MAX, HEAD_BYTES_MAX, read

WALLET = "/api/v1/wallets/01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10"
OPERATION = f"POST {WALLET}/operation HTTP/1.1"
LOOK = f"GET {WALLET} HTTP/1.1"
BODY = b'{"operation_type": "DEPOSIT", "amount": 1.50}'
USUAL = ("Host: wallets.example:8000", "Content-Type: application/json", "Accept: */*", f"Content-Length: {len(BODY)}")
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"


def written(first: str = OPERATION, *fields: str, body: bytes = BODY, ends: str = "\r\n") -> bytes:
    return ends.join([first, *fields, "", ""]).encode("utf-8", "surrogateescape") + body


def parse(*parts: bytes) -> Any:
    """Return what aiohttp's parser finds in these parts, one after the other."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
        return [parser.feed_data(part)[0] for part in parts]
    finally:
        loop.close()


def check(data: bytes) -> bool:
    """Hold what is read of these bytes against aiohttp; returns whether anything was."""
    usual = read(data)
    if usual is None:
        return False
    # The second request is found as well: nothing was left of the first, and nothing of it was waited for.
    [[(message, payload)], [(after, _)]] = parse(data, NEXT)
    assert (message.method, message.path) == ("POST" if usual.is_operation else "GET", usual.path)
    assert message.path.rstrip("/") == WALLET.replace(WALLET[-36:], usual.wallet_id) + "/operation" * usual.is_operation
    assert message.headers == usual.headers  # names in any case
    assert b"".join(payload._buffer if payload.total_bytes else []) == usual.body
    assert payload.is_eof()
    assert message.version == HttpVersion11
    assert (message.should_close, message.chunked, message.upgrade, message.compression) == (False, False, False, None)
    assert after.path == "/next"
    return True


@pytest.mark.parametrize(
    "data",
    [
        written(OPERATION, *USUAL),
        written(OPERATION, *USUAL, "Connection: keep-alive", "Idempotency-Key: a: b", "Prefer: wait=3"),
        written(
            OPERATION, *USUAL, "Connection: Keep-Alive", "X-Forwarded-For: 10.0.0.1, 10.0.0.2", "User-Agent: a (b)"
        ),
        written(OPERATION.replace("operation", "operation/"), *USUAL),
        written(OPERATION, "Host: x", "content-length: 0", body=b""),
        written(OPERATION, "Host: x", body=b""),
        written(LOOK, "Host: x", body=b""),
        written(LOOK, "host: x", "Authorization: Bearer abc", "Content-Length: 0", body=b""),
    ],
)
def test_usual_request__is_read_as_aiohttp_reads_it(data: bytes) -> None:
    assert check(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        written(OPERATION, *USUAL)[:-1],  # the rest of the body is still to come
        written(OPERATION, *USUAL)[:-50],  # of the head
        written(OPERATION, *USUAL) + b"\r\n",
        written(OPERATION, *USUAL) + NEXT,
        written(LOOK, "Host: x", body=b"") + NEXT,
        b"\r\n" + written(OPERATION, *USUAL),
        written(OPERATION, *USUAL, ends="\n"),
        written(OPERATION, *USUAL[1:]),  # no host
        written(OPERATION, *USUAL, "Host: y"),
        written(OPERATION, *USUAL, "HOST: y"),
        written(OPERATION, *USUAL, "X: a", "x: b"),
        written(OPERATION, *USUAL, f"Content-Length: {len(BODY)}"),
        written(OPERATION, "Host: x", f"Content-Length: 0{len(BODY)}"),
        written(OPERATION, "Host: x", f"Content-Length: +{len(BODY)}"),
        written(OPERATION, "Host: x", "Content-Length: -1", body=b""),
        written(OPERATION, "Host: x"),  # a body, and no length
        written(OPERATION, *USUAL, "Transfer-Encoding: chunked"),
        written(OPERATION, *USUAL, "transfer-encoding: identity"),
        written(OPERATION, *USUAL, "Transfer-Encoding : chunked"),
        written(OPERATION, *USUAL, "Transfer_Encoding: chunked"),
        written(OPERATION, *USUAL, "Content-Encoding: gzip"),
        written(OPERATION, *USUAL, "Expect: 100-continue"),
        written(OPERATION, *USUAL, "Upgrade: h2c"),
        written(OPERATION, *USUAL, "Connection: close"),
        written(OPERATION, *USUAL, "Connection: keep-alive, close"),
        written(OPERATION, *USUAL, "Proxy-Connection: close"),
        written(OPERATION, *USUAL, "Sec-WebSocket-Key1: x"),
        written(OPERATION, *USUAL, "X:no space"),
        written(OPERATION, *USUAL, "X:  two"),
        written(OPERATION, *USUAL, "X: behind "),
        written(OPERATION, *USUAL, "X: a\tb"),
        written(OPERATION, *USUAL, "X: a", " folded"),
        written(OPERATION, *USUAL, "X: "),
        written(OPERATION, *USUAL, "X: \x00"),
        written(OPERATION, *USUAL, "X: é"),
        written(OPERATION, *USUAL, "X: a\rTransfer-Encoding: chunked"),
        written(OPERATION, *USUAL, "X: a\nTransfer-Encoding: chunked"),
        written(OPERATION, *USUAL, ": nameless"),
        written(OPERATION, *USUAL, f"X: {'a' * HEAD_BYTES_MAX}"),
        written(OPERATION, *USUAL, *[f"X{number}: a" for number in range(FIELDS_MAX)]),
        written(f"{OPERATION} ", *USUAL),
        written(OPERATION.replace(" ", "  ", 1), *USUAL),
        written(OPERATION.replace("1.1", "1.0"), *USUAL),
        written(OPERATION.replace("POST", "post"), *USUAL),
        written(OPERATION.replace("POST", "GET"), *USUAL),
        written(OPERATION.replace("/operation", ""), *USUAL),
        written(OPERATION.replace("/operation", "/operation?x=1"), *USUAL),
        written(OPERATION.replace("/operation", "//operation"), *USUAL),
        written(OPERATION.replace(WALLET, WALLET.upper()), *USUAL),
        written(OPERATION.replace(WALLET, f"http://x{WALLET}"), *USUAL),
        written(OPERATION.replace("/operation", "/operation%00"), *USUAL),
        written(OPERATION.replace("0", "\u0660", 1), *USUAL),  # an Arabic zero
    ],
)
def test_anything_else__is_left_to_aiohttp(data: bytes) -> None:
    assert read(data) is None


BYTES = (
    b"\r\n",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b": ",
    b",",
    b"0",
    b"1",
    b"a",
    b"\x00",
    b"\x7f",
    b"\x80",
)
WORDS = (b"chunked", b"close", b"/", b"?", b"#", b"%2f", b"Host: y\r\n", b"Content-Length: 0\r\n", b"X-A: b\r\n")
FIELDS = (b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Upgrade: websocket\r\n", b"Expect: 1\r\n")
PIECES = st.sampled_from((b"", *BYTES, *WORDS, *FIELDS))


@settings(max_examples=2_000, deadline=None)
@given(
    data=st.sampled_from(
        [
            written(OPERATION, *USUAL),
            written(OPERATION, *USUAL, "Connection: keep-alive", "Idempotency-Key: k"),
            written(LOOK, "Host: x", "Accept: */*", body=b""),
        ]
    ),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), PIECES), max_size=3),
)
@example(data=written(OPERATION, *USUAL), changes=[])
def test_request_changed_at_random__is_read_as_aiohttp_reads_it_or_left_to_it(
    data: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    for place, removed, added in changes:
        place %= len(data) + 1  # noqa: PLW2901
        data = data[:place] + added + data[place + removed :]
    event("read" if check(data) else "left")


@pytest.mark.parametrize("ends", ["\n", "\r"])
def test_line_that_ends_in_another_way__is_refused_by_aiohttp_as_well(ends: str) -> None:
    """Were it not so, the end of a head would not be where `Connection` looks for it."""
    with pytest.raises(HttpProcessingError):
        parse(written(OPERATION, *USUAL, ends=ends))
