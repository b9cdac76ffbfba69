"""The express lane takes the usual request and leaves every other one alone, unread."""

import asyncio
from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest

from gateway.access import Access, ApiKey, Scope, make_token
from gateway.dispatcher import Dispatcher
from gateway.express import Express
from gateway.looks import Looks
from gateway.operations import Desk
from gateway.room import Room
from shared.commands import Command, Reply, Wallet
from shared.errors import Pending, ServiceError, Unavailable, WalletQueueFull
from shared.streams import Streams
from tests.commands import EPOCH, empty_wallet
from tests.waiting import until
from worker.ledger import decide

WALLET = UUID("01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10")
PATH = f"/api/v1/wallets/{WALLET}/operation"
BODY = b'{"operation_type": "DEPOSIT", "amount": 1.50}'
TYPE = "Content-Type: application/json"


class Counter:
    """Stands where the dispatcher does: keeps what it is given, and whom to tell."""

    def __init__(self) -> None:
        self.begun: list[tuple[Command, float, Callable[[Reply | ServiceError], None]]] = []

    def begin(self, command: Command, wait_seconds: float, tell: Callable[[Reply | ServiceError], None]) -> None:
        self.begun.append((command, wait_seconds, tell))


class Window:
    """Stands where the looks do."""

    def __init__(self) -> None:
        self.wallets: dict[UUID, Wallet] = {}
        self.error: Exception | None = None

    def begin(self, wallet_id: UUID, tell: Callable[[Wallet | Exception | None], None]) -> None:
        asyncio.get_running_loop().call_soon(tell, self.error or self.wallets.get(wallet_id))


def request(
    path: str = PATH, *headers: str, method: str = "POST", body: bytes = BODY, version: str = "1.1", sent: int = 10**6
) -> bytes:
    names = {header.partition(":")[0] for header in headers}
    own = [header for header in ("Host: x", TYPE, f"Content-Length: {len(body)}") if header.split(":")[0] not in names]
    head = "\r\n".join([f"{method} {path} HTTP/{version}", *own, *headers])
    return f"{head}\r\n\r\n".encode() + body[:sent]


class Lane:
    """A lane over a counter, and what it wrote."""

    def __init__(self, access: Access | None = None, requests_max: int = 10) -> None:
        self.counter, self.window, self.room = Counter(), Window(), Room(requests_max)
        self.written: list[bytes] = []
        desk = Desk(lambda: "{gw-a}:replies", 10.0)
        dispatcher = cast(Dispatcher, self.counter)
        looks = cast(Looks, self.window)
        self._express = Express(desk, dispatcher, looks, cast(Streams, self.counter), access, self.room, 1_000)

    def take(self, text: bytes) -> bool:
        return self._express.take(text, self.written.append)

    async def is_answered(self) -> bool:
        return bool(self.written)

    def answer(self) -> tuple[int, dict[str, str], Any]:
        """Return the status, the headers and the body of the one answer that was written."""
        [text] = self.written
        head, _, body = text.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        assert headers["Content-Length"] == str(len(body))
        return int(first.split()[1]), headers, msgspec.json.decode(body)


@pytest.mark.parametrize(
    "text",
    [
        request(),
        request(f"{PATH}/"),
        request(PATH, "Idempotency-Key: k", "Prefer: wait=3", "X-Request-ID: mine", "Connection: keep-alive"),
        request(body=b'{"amount": "7", "operation_type": "WITHDRAW"}'),
        request(body=b"not even JSON"),
    ],
)
async def test_usual_request__is_taken(text: bytes) -> None:
    assert Lane().take(text)


@pytest.mark.parametrize(
    "text",
    [
        request(method="PUT"),
        request(f"{PATH}?a=b"),
        request(f"/api/v1/wallets/{str(WALLET).upper()}/operation"),
        request(f"/api/v1/wallets/{WALLET.hex}/operation"),
        request("/api/v1/wallets"),
        request(f"/api/v1/wallets/{WALLET}"),
        request(method="GET", body=b""),
        request(f"/api/v1/wallets/{WALLET}", method="GET", body=b"{}"),
        request(f"/api/v1/wallets/{WALLET}?a=b", method="GET", body=b""),
        request(f"/api/v1/wallets/{WALLET}", method="HEAD", body=b""),
        request(f"{PATH}s"),
        request(PATH, "Content-Type: text/plain"),
        request(PATH, "Content-Type: application/json; charset=latin-1"),
        request(PATH, "Content-Encoding: identity"),
        request(PATH, "Content-Encoding: gzip"),
        request(PATH, "Expect: 100-continue"),
        request(PATH, "Connection: close"),
        request(version="1.0"),
        request(sent=10),  # the rest of the body is still to come
        request(body=b" " * 1_001),
        b"POST "
        + PATH.encode()
        + b" HTTP/1.1\r\nHost: x\r\n"
        + TYPE.encode()
        + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2d\r\n" + BODY + b"\r\n0\r\n\r\n",
    ],
)
async def test_request_out_of_the_ordinary__is_left_alone(text: bytes) -> None:
    lane = Lane()

    assert not lane.take(text)
    assert (lane.counter.begun, lane.written, lane.room.under_way) == ([], [], 0)


async def test_what_it_asks__is_what_the_request_says() -> None:
    lane = Lane()
    lane.take(request(PATH, "Prefer: wait=3", "X-Request-ID: mine"))

    [(command, wait_seconds, _)] = lane.counter.begun
    assert (command.wallet_id, command.type, command.amount) == (WALLET, "DEPOSIT", 150)
    assert (command.reply_to, command.request_id, wait_seconds) == ("{gw-a}:replies", "mine", 3)
    assert lane.room.under_way == 1
    assert lane.written == []


async def test_outcomes__are_answered_once_each() -> None:
    for outcome_of, status in (
        (lambda command: Reply(decide(command, empty_wallet(WALLET), EPOCH), EPOCH), 200),
        (lambda command: Reply(decide(command, None, EPOCH), None), 404),
        (Pending, 202),
        (lambda _: WalletQueueFull("Full.", 7), 429),
    ):
        lane = Lane()
        lane.take(request(PATH, "X-Request-ID: mine"))
        [(command, _, tell)] = lane.counter.begun

        tell(outcome_of(command))

        await until(lane.is_answered)
        told, headers, body = lane.answer()
        assert told == status
        assert headers["X-Request-ID"] == "mine"
        assert headers["Content-Type"] == ("application/json" if status < 400 else "application/problem+json")
        assert ("Retry-After" in headers) == (status in {202, 429})
        assert body.get("instance") == (PATH if status >= 400 else None)
        assert lane.room.under_way == 0


async def test_request_that_is_not_acceptable__is_answered_at_once_and_nothing_is_begun() -> None:
    for text, status, code in (
        (request(body=b"{"), 400, "malformed_json"),
        (request(body=b""), 400, "malformed_json"),
        (request(body=b'{"operation_type": "DEPOSIT", "amount": 0}'), 422, "validation_error"),
        (request(PATH, "Idempotency-Key: two words"), 422, "validation_error"),
    ):
        lane = Lane()
        assert lane.take(text)

        told, _, body = lane.answer()
        assert (told, body["code"]) == (status, code)
        assert (lane.counter.begun, lane.room.under_way) == ([], 0)


@pytest.mark.parametrize(("wallet", "status"), [(empty_wallet(WALLET), 200), (None, 404)])
async def test_look_at_a_wallet__is_answered_with_it_or_with_a_problem(wallet: Wallet | None, status: int) -> None:
    lane = Lane()
    if wallet:
        lane.window.wallets[WALLET] = wallet
    assert lane.take(request(f"/api/v1/wallets/{WALLET}", "X-Request-ID: mine", method="GET", body=b""))

    await until(lane.is_answered)
    told, headers, body = lane.answer()
    assert (told, headers["X-Request-ID"]) == (status, "mine")
    assert body["balance" if wallet else "code"] == ("0.00" if wallet else "wallet_not_found")
    assert lane.room.under_way == 0


@pytest.mark.parametrize(
    ("error", "status"), [(Unavailable("The database does not answer."), 503), (ValueError("a secret"), 500)]
)
async def test_look_that_fails__says_whether_another_try_is_worth_it_and_no_more(error: Exception, status: int) -> None:
    lane = Lane()
    lane.window.error = error
    assert lane.take(request(f"/api/v1/wallets/{WALLET}", method="GET", body=b""))

    await until(lane.is_answered)
    told, headers, body = lane.answer()
    assert told == body["status"] == status
    assert ("Retry-After" in headers) == (status == 503)
    assert "secret" not in str(body)
    assert lane.room.under_way == 0


async def test_no_room__is_left_to_the_other_way() -> None:
    lane = Lane(requests_max=1)
    assert lane.take(request())
    assert not lane.take(request())


async def test_defect__is_a_500_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane()
    lane.take(request())
    [(_, _, tell)] = lane.counter.begun
    monkeypatch.setattr("gateway.operations.answer_of_reply", lambda *_: 1 / 0)

    tell(Reply(decide(lane.counter.begun[0][0], empty_wallet(WALLET), EPOCH), EPOCH))

    status, _, body = lane.answer()
    assert (status, body["code"]) == (500, "internal_error")
    assert "division" not in str(body)


async def test_callers_whose_key_is_known__are_taken_and_all_others_left_to_the_other_way() -> None:
    token, digest = make_token(UUID(int=7))
    foreign, _ = make_token(UUID(int=8))

    async def load() -> list[ApiKey]:
        return [ApiKey(UUID(int=7), "shop", digest, frozenset({Scope.OPERATE}), None)]

    access = Access(load)
    async with access.running():
        await access.caller(f"Bearer {token}", Scope.OPERATE)

        assert Lane(access).take(request(PATH, f"Authorization: Bearer {token}"))
        for header in (f"Authorization: Bearer {foreign}", f"Authorization: Basic {token}", "X: y"):
            assert not Lane(access).take(request(PATH, header))
