"""The two ways of an operation through the gateway, the express lane and aiohttp's, over real connections."""

import asyncio
import re
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
import pytest

from tests.acceptance.test_raw_sockets import connection, operation
from tests.service import Client, Service

ANSWER_SECONDS_MAX = 5.0
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

Read = tuple[int, dict[str, str], Any]


async def read(reader: asyncio.StreamReader) -> Read:
    """Read one answer: its status, headers and body."""
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
    return int(first.split()[1]), headers, msgspec.json.decode(body)


def comparable(answer: Read, wallet_id: str) -> str:
    """Return an answer as text, without what differs from one request to the next."""
    status, headers, body = answer
    kept = sorted((name, value) for name, value in headers.items() if name not in {"date", "content-length"})
    text = re.sub(wallet_id, "WALLET", f"{status} {kept} {body}", flags=re.IGNORECASE)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    return re.sub(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", "ID", text)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ((), b'{"operation_type": "DEPOSIT", "amount": 1}'),
        ((), b'{"amount":"1.5","operation_type":"DEPOSIT"}'),
        ((b"Prefer: wait=5",), b'{"operation_type": "DEPOSIT", "amount": 1}'),
        ((), b'{"operation_type": "WITHDRAW", "amount": 99999}'),
        ((), b'{"operation_type": "WITHDRAW", "amount": 0}'),
        ((), b'{"operation_type": "DEPOSIT"'),
        ((), b""),
        ((b"Idempotency-Key: \xc3\xa9",), b'{"operation_type": "DEPOSIT", "amount": 1}'),
    ],
)
async def test_both_ways__give_the_same_answer(
    client: Client, service: Service, headers: tuple[bytes, ...], body: bytes
) -> None:
    answers = []
    for spell in (str.lower, str.upper):  # an id in capitals is out of the ordinary
        wallet_id = await client.create_wallet()
        async with connection(service) as (reader, writer):
            writer.write(HEALTH)  # from now on the connection's own loop waits for requests
            await read(reader)
            writer.write(operation(spell(wallet_id), b"X-Request-ID: mine", *headers, body=body))
            answers.append(comparable(await read(reader), wallet_id))

    assert answers[0] == answers[1]


@pytest.mark.parametrize("exists", [True, False])
async def test_look_at_a_wallet__is_the_same_on_both_ways(client: Client, service: Service, exists: bool) -> None:
    wallet_id = await client.create_wallet() if exists else str(uuid4())
    answers = []
    for spelled in (wallet_id, wallet_id.upper()):
        async with connection(service) as (reader, writer):
            writer.write(HEALTH)
            await read(reader)
            writer.write(f"GET /api/v1/wallets/{spelled} HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\n\r\n".encode())
            answers.append(comparable(await read(reader), wallet_id))

    assert answers[0] == answers[1]
    assert answers[0].startswith("200" if exists else "404")


@pytest.mark.parametrize("spell", [str.lower, str.upper])
async def test_replay__is_marked_on_both_ways(client: Client, service: Service, spell: Any) -> None:
    wallet_id = await client.create_wallet()
    first = await client.deposit(wallet_id, 1, Idempotency_Key="k")
    async with connection(service) as (reader, writer):
        writer.write(HEALTH)
        await read(reader)
        writer.write(operation(spell(wallet_id), b"Idempotency-Key: k"))
        status, headers, body = await read(reader)

    assert (status, headers["idempotency-replayed"]) == (200, "true")
    assert body["operation"] == first.body["operation"]


async def test_requests_one_behind_the_other__are_answered_in_their_order(client: Client, service: Service) -> None:
    wallet_id = await client.create_wallet()
    async with connection(service) as (reader, writer):
        writer.write(HEALTH)
        await read(reader)
        for together in (1, 2, 5):
            writer.write(operation(wallet_id) * together + HEALTH + operation(wallet_id))
            answers = [await read(reader) for _ in range(together + 2)]
            assert [answer[0] for answer in answers] == [200] * (together + 2)
            assert "status" in answers[together][2]
    assert await client.balance(wallet_id) == "11.00"


async def test_hundreds_of_requests_in_one_go__are_all_answered(client: Client, service: Service) -> None:
    wallet_id = await client.create_wallet()
    async with connection(service) as (reader, writer):
        writer.write(HEALTH)
        await read(reader)
        writer.write(operation(wallet_id) * 500)

        assert {(await read(reader))[0] for _ in range(500)} == {200}
    assert await client.balance(wallet_id) == "500.00"


async def test_request_that_comes_while_another_waits__has_its_turn_after_it(own_service: Service) -> None:
    own_service.start_gateway()
    await own_service.wait_ready("/healthz")  # there is no worker: the operation waits for its second
    async with connection(own_service) as (reader, writer):
        writer.write(HEALTH)
        await read(reader)
        writer.write(operation(str(uuid4()), b"Prefer: wait=1"))
        await writer.drain()
        writer.write(HEALTH[:10])
        await asyncio.sleep(0.1)
        writer.write(HEALTH[10:] + operation(str(uuid4()), b"Prefer: wait=0"))

        assert [(await read(reader))[0] for _ in range(3)] == [202, 200, 202]


async def test_client_that_leaves_while_its_operation_waits__is_missed_by_nobody(own_service: Service) -> None:
    gateway = own_service.start_gateway()
    await own_service.wait_ready("/healthz")
    client = Client(own_service.url)
    wallet_id = await client.create_wallet()
    url = urlsplit(own_service.url)
    for _ in range(3):
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(HEALTH)
        await read(reader)
        writer.write(operation(wallet_id))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
    own_service.start_worker()
    await own_service.wait_ready()

    assert (await client.deposit(wallet_id, 1)).body["balance"] == "4.00"
    assert '"level":"error"' not in gateway.log_path.read_text()
    await client.close()
