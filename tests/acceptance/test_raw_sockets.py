"""What no HTTP client sends: garbage, floods, halves. Never a 500, and the next client is served."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from tests.service import Client, Service

ANSWER_SECONDS_MAX = 5.0
HEAD = b"Host: x\r\nContent-Type: application/json\r\n"
BODY = b'{"operation_type": "DEPOSIT", "amount": 1}'

GARBAGE = {
    "bytes": bytes(range(256)),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
    "Redis": b"*1\r\n$4\r\nPING\r\n",
    "an unknown method": b"DEPOSIT /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method alone": b"GET\r\n\r\n",
    "an unknown version": b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "a path of raw bytes": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "a query of raw bytes": b"GET /readyz?\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "half an address": b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path of 20 KB": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header of 20 KB": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    "5000 headers": b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    "a header without a name": b"GET /healthz HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "a header with a zero": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n",
    "a folded header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "a length that is none": b"POST /api/v1/wallets HTTP/1.1\r\n" + HEAD + b"Content-Length: x\r\n\r\n",
    "a negative length": b"POST /api/v1/wallets HTTP/1.1\r\n" + HEAD + b"Content-Length: -1\r\n\r\n",
    "two lengths": b"POST /api/v1/wallets HTTP/1.1\r\n" + HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and chunks": b"POST /api/v1/wallets HTTP/1.1\r\n"
    + HEAD
    + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "chunks that are none": b"POST /api/v1/wallets HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}",
    "an unknown coding": b"POST /api/v1/wallets HTTP/1.1\r\n"
    + HEAD
    + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
}


@asynccontextmanager
async def connection(service: Service) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    url = urlsplit(service.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def statuses(reader: asyncio.StreamReader, count: int) -> list[int]:
    """Read answers until there are `count` of them or the connection ends; returns their statuses in order."""
    text = b""
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        while len(found := re.findall(rb"HTTP/1\.[01] (\d{3}) ", text)) < count:
            try:
                chunk = await reader.read(65_536)
            except ConnectionError:
                break
            if not chunk:
                break
            text += chunk
    return [int(status) for status in found]


def operation(wallet_id: str, *headers: bytes, body: bytes = BODY) -> bytes:
    start = f"POST /api/v1/wallets/{wallet_id}/operation HTTP/1.1\r\n".encode()
    length = f"Content-Length: {len(body)}\r\n".encode()
    return start + HEAD + length + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body


@pytest.mark.parametrize("what", GARBAGE)
async def test_garbage__400_or_a_closed_connection_and_the_next_is_served(
    client: Client, service: Service, what: str
) -> None:
    async with connection(service) as (reader, writer):
        writer.write(GARBAGE[what])
        # With an end that it could wait for, every server answers.
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), ANSWER_SECONDS_MAX)
    head, _, body = answer.partition(b"\r\n\r\n")
    if answer:
        assert re.match(rb"HTTP/1\.[01] 400 ", head), what
        assert b"\r\nContent-Type: application/problem+json" in head
        assert re.search(rb"\r\nX-Request-ID: [0-9a-f]{32}", head)
        assert b"aiohttp" not in answer
        assert json.loads(body)["code"] == "bad_request"
        assert b"UNKNOWN" not in body  # as aiohttp calls what it could not read
    assert (await client.get("/healthz")).status == 200
    assert all(gateway.is_alive for gateway in service.gateways.values())


@pytest.mark.parametrize("what", ["Redis", "no host", "a header of 20 KB", "two lengths"])
async def test_unreadable_request__is_named_by_its_id_because_its_path_is_not_known(
    service: Service, what: str
) -> None:
    async with connection(service) as (reader, writer):
        writer.write(GARBAGE[what])
        head, _, body = (await asyncio.wait_for(reader.read(), ANSWER_SECONDS_MAX)).partition(b"\r\n\r\n")

    named = re.search(rb"\r\nX-Request-ID: ([0-9a-f]{32})", head)
    assert named
    assert json.loads(body)["instance"] == f"urn:wallet:request:{named[1].decode()}"


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "in two pieces"])
async def test_body_not_in_the_coding_it_claims__400(
    client: Client, service: Service, coding: bytes, at_once: bool
) -> None:
    request = operation(await client.create_wallet(), b"Content-Encoding: " + coding, body=b"no such thing")
    async with connection(service) as (reader, writer):
        writer.write(request if at_once else request[:-5])
        if not at_once:
            await asyncio.sleep(0.05)
            writer.write(request[-5:])
        assert await statuses(reader, 1) == [400]


@pytest.mark.parametrize("coding", [b"gzip", b"foo"])
async def test_body_in_a_coding__415_and_nothing_happens(client: Client, service: Service, coding: bytes) -> None:
    wallet_id = await client.create_wallet()
    body = b'{"operation_type": "DEPOSIT", "amount": 1}'
    async with connection(service) as (reader, writer):
        coded = gzip.compress(body) if coding == b"gzip" else body
        writer.write(operation(wallet_id, b"Content-Encoding: " + coding, body=coded))
        assert await statuses(reader, 1) == [415]
    assert await client.balance(wallet_id) == "0.00"


async def test_body_that_unpacks_to_megabytes__413(client: Client, service: Service) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 65_536
    async with connection(service) as (reader, writer):
        writer.write(operation(await client.create_wallet(), b"Content-Encoding: gzip", body=bomb))
        assert await statuses(reader, 1) == [413]


async def test_idempotency_key_given_twice__422(client: Client, service: Service) -> None:
    wallet_id = await client.create_wallet()
    async with connection(service) as (reader, writer):
        writer.write(operation(wallet_id, b"Idempotency-Key: a", b"Idempotency-Key: b"))
        assert await statuses(reader, 1) == [422]
    assert await client.balance(wallet_id) == "0.00"


async def test_fifty_requests_in_one_write__answered_in_order_and_applied_in_order(
    client: Client, service: Service
) -> None:
    wallet_id = await client.create_wallet()
    requests = [
        operation(wallet_id, body=json.dumps({"operation_type": "DEPOSIT", "amount": n}).encode()) for n in range(1, 51)
    ]
    async with connection(service) as (reader, writer):
        writer.write(b"".join(requests))
        assert await statuses(reader, 50) == [200] * 50
    assert [item["amount"] for item in await client.history(wallet_id)] == [f"{n}.00" for n in range(50, 0, -1)]


async def test_half_requests_by_the_hundred__hold_up_nobody_and_apply_nothing(client: Client, service: Service) -> None:
    wallet_id = await client.create_wallet()
    whole = operation(wallet_id)
    halves = [whole[:10], whole[:60], whole[: -len(BODY)], whole[:-1]]
    open_ones = [connection(service) for _ in range(100)]
    for number, half in enumerate(open_ones):
        _, writer = await half.__aenter__()
        writer.write(halves[number % len(halves)])
    assert (await client.deposit(wallet_id, 5)).body["balance"] == "5.00"
    for half in open_ones:
        await half.__aexit__(None, None, None)
    assert (await client.deposit(wallet_id, 5)).body["balance"] == "10.00"
    for gateway in service.gateways.values():
        assert '"event":"defect"' not in gateway.log_path.read_text()


async def test_client_gone_while_it_waits__its_operation_is_applied_once(client: Client, service: Service) -> None:
    wallet_id = await client.create_wallet()
    for _ in range(20):
        async with connection(service) as (_, writer):
            writer.write(operation(wallet_id, b"Idempotency-Key: same"))
            await writer.drain()
    assert (await client.deposit(wallet_id, 1, Idempotency_Key="same")).body["balance"] == "1.00"
    assert await client.balance(wallet_id) == "1.00"


async def test_expectation_that_nobody_can_meet__a_problem_with_a_request_id(client: Client) -> None:
    path = f"/api/v1/wallets/{await client.create_wallet()}"

    refused = await client.get(path, Expect="banana")

    assert (refused.status, refused.code) == (400, "bad_request")
    assert refused.headers["X-Request-ID"]
    assert (await client.get(path, Expect="100-continue")).status == 200
