"""A client may be slow for so long and no longer; one that waits, or is idle, is not slow."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.service import Client, Service
from tests.waiting import until

HEADER_SECONDS = 0.8
BODY_SECONDS = 1.2
ANSWER_SECONDS = 1.0
LATE_SECONDS = 1.2  # a fifth of a second between two sweeps, and a busy machine
PAUSE_SECONDS = 0.05  # "a byte a second", on the scale of these limits
LIMITS = {
    "HEADER_SECONDS": str(HEADER_SECONDS),
    "BODY_SECONDS": str(BODY_SECONDS),
    "ANSWER_SECONDS": str(ANSWER_SECONDS),
}
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = b'{"operation_type": "DEPOSIT", "amount": 1}'


@dataclass(frozen=True, slots=True)
class Told:
    """What a client was told before its connection ended, and how long that took."""

    text: bytes
    seconds: float

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", self.text)]

    @property
    def problem(self) -> dict[str, Any]:
        head, _, body = self.text.rpartition(b"\r\n\r\n")
        assert b"\r\nContent-Type: application/problem+json" in head
        assert re.search(rb"\r\nX-Request-ID: \S", head)
        problem: dict[str, Any] = json.loads(body)
        return problem


@pytest.fixture(scope="module")
async def gateway(service: Service, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """A gateway of its own, with small limits, beside the shared service's worker and stores."""
    own = Service(service.settings, tmp_path_factory.mktemp("slow"), environment=LIMITS)
    own.start_gateway()
    await own.wait_ready()
    yield own
    assert '"event":"defect' not in "".join(process.log_path.read_text() for process in own.gateways.values())
    assert own.stop() == [0]


@pytest.fixture
async def client(gateway: Service) -> AsyncIterator[Client]:
    opened = Client(gateway.url)
    yield opened
    await opened.close()


@asynccontextmanager
async def connection(
    service: Service, limit: int = 65_536
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    url = urlsplit(service.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=limit)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def operation(wallet_id: str, *headers: bytes, body: bytes = BODY) -> bytes:
    start = f"POST /api/v1/wallets/{wallet_id}/operation HTTP/1.1\r\nHost: x\r\n".encode()
    fields = (b"Content-Type: application/json", b"Content-Length: %d" % len(body), *headers)
    return start + b"\r\n".join(fields) + b"\r\n\r\n" + body


async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write byte by byte, each after a pause, for as long as anybody takes them."""
    for byte in data:
        await asyncio.sleep(PAUSE_SECONDS)
        writer.write(bytes([byte]))
        await writer.drain()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Read until the connection ends."""
    text = b""
    while True:
        try:
            chunk = await reader.read(65_536)
        except ConnectionError:
            return text
        if not chunk:
            return text
        text += chunk


async def told(service: Service, at_once: bytes, slowly: bytes = b"") -> Told:
    """Write one part at once and one slowly, and return what was heard before the connection ended."""
    async with connection(service) as (reader, writer):
        writer.write(at_once)
        began = time.monotonic()
        dripping = asyncio.create_task(drip(writer, slowly))
        try:
            async with asyncio.timeout(10):
                text = await rest(reader)
            return Told(text, time.monotonic() - began)
        finally:
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)


def cut_after(seconds: float) -> Any:
    return pytest.approx(seconds + LATE_SECONDS / 2, abs=LATE_SECONDS / 2 + 0.05)


@pytest.mark.parametrize(
    ("at_once", "slowly"),
    [
        (b"", b"GET /" + b"a" * 1000),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"X-Slow: " + b"a" * 1000),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Silent: ", b""),
        (b"G", b""),
    ],
    ids=["in the request line", "in the headers", "silent in the headers", "silent after a byte"],
)
async def test_header_that_takes_too_long__408_and_the_end(gateway: Service, at_once: bytes, slowly: bytes) -> None:
    answer = await told(gateway, at_once, slowly)

    assert answer.statuses == [408]
    assert (answer.problem["code"], answer.problem["status"]) == ("request_timeout", 408)
    assert answer.problem["instance"].startswith("urn:wallet:request:")  # its path never came, or not whole
    assert answer.seconds == cut_after(HEADER_SECONDS)


async def test_second_header_on_a_connection_that_takes_too_long__408_after_the_first_answer(gateway: Service) -> None:
    async with connection(gateway) as (reader, writer):
        writer.write(GET)
        await reader.readuntil(b"missing")
        await asyncio.sleep(HEADER_SECONDS * 0.75)  # idle time does not count
        began = time.monotonic()
        writer.write(b"GET /healthz")
        async with asyncio.timeout(10):
            text = await rest(reader)
    answer = Told(text, time.monotonic() - began)

    assert answer.statuses == [408]
    assert answer.seconds == cut_after(HEADER_SECONDS)


async def test_connection_that_says_nothing__is_closed_without_a_word(gateway: Service) -> None:
    answer = await told(gateway, b"")

    assert answer.text == b""
    assert answer.seconds == cut_after(HEADER_SECONDS)


@pytest.mark.parametrize("is_silent", [False, True], ids=["byte by byte", "silent"])
async def test_body_that_takes_too_long__408_and_nothing_happens(
    client: Client, gateway: Service, is_silent: bool
) -> None:
    wallet_id = await client.create_wallet()
    whole = operation(wallet_id, body=BODY.rjust(200))

    answer = await told(gateway, whole[:-199], b"" if is_silent else whole[-199:])

    assert answer.statuses == [408]
    assert answer.problem["instance"] == f"/api/v1/wallets/{wallet_id}/operation"
    assert answer.seconds == cut_after(BODY_SECONDS)
    assert await client.balance(wallet_id) == "0.00"


async def test_chunks_that_take_too_long__408(client: Client, gateway: Service) -> None:
    path = f"/api/v1/wallets/{await client.create_wallet()}/operation"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"

    answer = await told(gateway, head.encode(), b"1\r\n \r\n" * 100)

    assert answer.statuses == [408]


async def test_body_nobody_reads__is_not_waited_for_longer_than_it_may_take(gateway: Service) -> None:
    # Answered at once: what is not there needs no body. aiohttp then reads on for a while before it closes.
    answer = await told(gateway, b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"a" * 900)

    assert answer.statuses == [404]
    assert answer.seconds == cut_after(BODY_SECONDS)


async def test_slow_but_honest_client__is_served(client: Client, gateway: Service) -> None:
    wallet_id = await client.create_wallet()
    whole = operation(wallet_id)
    header, body = whole[: -len(BODY)], whole[-len(BODY) :]
    async with connection(gateway) as (reader, writer):
        for _ in range(3):  # each has its time anew
            for part, seconds in ((header, HEADER_SECONDS), (body, BODY_SECONDS)):
                for place in range(0, len(part), len(part) // 5 + 1):
                    writer.write(part[place : place + len(part) // 5 + 1])
                    await asyncio.sleep(seconds / 10)
            async with asyncio.timeout(5):
                assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
                await reader.readuntil(b'"applied_at"')
                await reader.readuntil(b"}}")
    assert await client.balance(wallet_id) == "3.00"


async def test_request_that_waits_for_its_outcome__is_not_cut(own_service: Service) -> None:
    own_service.environment = LIMITS
    own_service.start_gateway()  # and no worker
    await own_service.wait_ready("/healthz")
    client = Client(own_service.url)
    wallet_id = await client.create_wallet()
    began = time.monotonic()

    answer = await client.deposit(wallet_id, 1, prefer="wait=3")

    assert answer.status == 202
    assert time.monotonic() - began > 3 > HEADER_SECONDS + BODY_SECONDS
    await client.close()


async def test_idle_connection__is_kept(gateway: Service) -> None:
    async with connection(gateway) as (reader, writer):
        for _ in range(2):
            # In two pieces: what is left of a header in pieces must not count against the idle time after it.
            writer.write(GET[:10])
            await asyncio.sleep(PAUSE_SECONDS)
            writer.write(GET[10:])
            async with asyncio.timeout(5):
                assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
                await reader.readuntil(b"[]}")
            await asyncio.sleep(max(HEADER_SECONDS, BODY_SECONDS) + 0.5)  # two sweeps later


async def test_header_that_never_ends__400_before_it_fills_the_memory(gateway: Service) -> None:
    async with connection(gateway) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        for number in range(100):
            writer.write(b"X-%d: " % number + b"a" * 2000 + b"\r\n")
            if await _has_ended(reader):
                break
        async with asyncio.timeout(5):
            answer = Told(await rest(reader), 0)
    assert 10 < number < 60
    assert answer.statuses in ([400], [])  # a client that goes on writing may lose the answer


async def _has_ended(reader: asyncio.StreamReader) -> bool:
    await asyncio.sleep(0.002)
    return reader.at_eof() or bool(reader._buffer)  # type: ignore[attr-defined]


async def test_client_that_does_not_read__is_cut_and_its_memory_given_back(client: Client, gateway: Service) -> None:
    wallet_id = await client.create_wallet()
    for _ in range(10):
        await asyncio.gather(*(client.deposit(wallet_id, 1) for _ in range(50)))
    page = f"GET /api/v1/wallets/{wallet_id}/operations?limit=500 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    process = next(iter(gateway.gateways.values()))
    async with connection(gateway, limit=1024) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(page * 100)

        async def is_cut() -> bool:
            """The gateway says that it cut the client."""
            return "answer not taken in time" in process.log_path.read_text()

        assert await until(is_cut, 10) > ANSWER_SECONDS * 0.75
    unsent = re.findall(r'"unsent_bytes":(\d+)', process.log_path.read_text())
    assert 0 < max(map(int, unsent)) < 1_000_000
    assert (await client.get("/healthz")).status == 200


async def test_quick_client_beside_a_hundred_slow_ones__is_served_at_once(client: Client, gateway: Service) -> None:
    wallet_id = await client.create_wallet()
    whole = operation(wallet_id)
    slow = [asyncio.create_task(told(gateway, whole[:20], whole[20:])) for _ in range(50)]
    slow += [asyncio.create_task(told(gateway, whole[:-10], b"")) for _ in range(50)]
    await asyncio.sleep(HEADER_SECONDS / 2)
    longest = 0.0
    for number in range(1, 21):
        began = time.monotonic()
        answer = await client.deposit(wallet_id, 1)
        longest = max(longest, time.monotonic() - began)
        assert (answer.status, answer.body["balance"]) == (200, f"{number}.00")
    assert longest < HEADER_SECONDS  # no slow one had to be cut first
    assert {answer.statuses[0] for answer in await asyncio.gather(*slow)} == {408}
    assert await client.balance(wallet_id) == "20.00"
