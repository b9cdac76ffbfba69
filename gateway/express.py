"""The express lane: the two requests that carry the load, arrived whole, without aiohttp's ceremony.

aiohttp makes a request, a task, a response and a writer of each message and looks for its route. This takes what
`gateway/usual.py` reads and writes its answer to the connection: for an operation, and for a look at a wallet. It
decides nothing: what is asked and what is answered come from `gateway/operations.py`, as on the other way, and whatever
is out of the ordinary it leaves to that one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import cache
from http import HTTPStatus
from typing import TypeVar

import structlog
from aiohttp import hdrs
from aiohttp.helpers import rfc822_formatted_time
from prometheus_client import Histogram

from gateway import metrics, operations, problems, requests
from gateway.access import Access, Scope
from gateway.dispatcher import Dispatcher
from gateway.handlers import ANYBODY
from gateway.looks import Looks
from gateway.middleware import new_request_id
from gateway.operations import Asked, Desk
from gateway.responses import HEADERS, JSON, Answer, write_json
from gateway.room import Room
from gateway.usual import Usual, read
from shared.commands import Reply, Wallet
from shared.errors import Pending, ServiceError
from shared.ids import read_id
from shared.streams import Streams

WALLET_ROUTE = "GET /api/v1/wallets/{wallet_id}"
OPERATION_ROUTE = "POST /api/v1/wallets/{wallet_id}/operation"
Write = Callable[[bytes], None]
Outcome = TypeVar("Outcome")

log = structlog.get_logger(__name__)


class Express:
    """The express lane of one gateway process. `access` is None where nobody has to say who they are."""

    def __init__(
        self,
        desk: Desk,
        dispatcher: Dispatcher,
        looks: Looks,
        streams: Streams,
        access: Access | None,
        room: Room,
        body_bytes_max: int,
    ) -> None:
        self.desk = desk
        self.dispatcher = dispatcher
        self.looks = looks
        self.streams = streams
        self.room = room
        self._access = access
        self._body_bytes_max = body_bytes_max
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, data: bytes, write: Write) -> bool:
        """Serve what came if it is one request of a usual kind, and call `write` once, now or later, with the answer.

        Returns False, and has done nothing, where it is not.
        """
        if self.room.is_full:
            return False
        usual = read(data)
        if usual is None:
            return False
        if usual.is_operation and usual.headers.get(hdrs.CONTENT_TYPE) != JSON:
            return False
        if len(usual.body) > (self._body_bytes_max if usual.is_operation else 0):
            return False
        caller: str | None = ANYBODY
        if self._access is not None:
            scope = Scope.OPERATE if usual.is_operation else Scope.READ
            caller = self._access.known_caller(usual.headers.get(hdrs.AUTHORIZATION), scope)
        if caller is None:
            return False
        if usual.is_operation:
            _Passage(self, OPERATION_ROUTE, usual, write).operate(caller)
        else:
            _Passage(self, WALLET_ROUTE, usual, write).look()
        return True

    def start(self, rest: Coroutine[None, None, None]) -> None:
        """Go on with a request that has to wait for a store."""
        task = asyncio.create_task(rest)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Passage:
    """One request on its way through the lane."""

    __slots__ = ("_asked", "_began", "_lane", "_request_id", "_route", "_usual", "_wallet_id", "_write")

    def __init__(self, lane: Express, route: str, usual: Usual, write: Write) -> None:
        self._began = time.perf_counter()
        self._lane = lane
        self._route = route
        self._usual = usual
        self._wallet_id = read_id(usual.wallet_id)
        self._write = write
        self._request_id = requests.request_id(usual) or new_request_id(usual)
        self._asked: Asked | None = None
        lane.room.enter()

    def operate(self, caller: str) -> None:
        """Submit an operation; its outcome is answered when it comes."""
        lane, usual = self._lane, self._usual
        try:
            key = requests.idempotency_key(usual)
            self._asked = asked = lane.desk.ask(usual, self._wallet_id, key, usual.body, caller, self._request_id)
            lane.dispatcher.begin(asked.command, asked.wait_seconds, self._end)
        except ServiceError as error:
            self._end(error)
        except Exception:  # noqa: BLE001 it is logged there
            self._answer(self._defect())

    def look(self) -> None:
        """Answer with the wallet as it stands, when it was read."""
        self._lane.looks.begin(self._wallet_id, lambda seen: self._tell(self._answer_of_look, seen))

    def _end(self, outcome: Reply | ServiceError) -> None:
        """Answer with what became of the operation."""
        if self._asked is not None and isinstance(outcome, Pending):
            pending = operations.answer_of_pending(self._asked, outcome, self._lane.streams)
            self._lane.start(self._answer_with(pending))
            return
        self._tell(self._answer_of, outcome)

    def _tell(self, answer_of: Callable[[Outcome], Answer], outcome: Outcome) -> None:
        try:
            answer = answer_of(outcome)
        except Exception:  # noqa: BLE001 it is logged there
            answer = self._defect()
        self._answer(answer)

    async def _answer_with(self, coming: Awaitable[Answer]) -> None:
        try:
            answer = await coming
        except ServiceError as error:
            answer = problems.answer_of(error, self._usual.path)
        except Exception:  # noqa: BLE001 it is logged there
            answer = self._defect()
        self._answer(answer)

    def _defect(self) -> Answer:
        """Log the exception that is being handled, and return the answer that says nothing of it."""
        log.exception("defect", request_id=self._request_id, path=self._usual.path)
        return problems.answer_of_defect(self._usual.path)

    def _answer_of(self, outcome: Reply | ServiceError) -> Answer:
        if isinstance(outcome, Reply):
            assert self._asked is not None  # noqa: S101 there is no reply before something was asked
            answer = operations.answer_of_reply(self._asked, outcome, self._usual.path)
            return answer if isinstance(answer, Answer) else problems.answer_of(answer, self._usual.path)
        return problems.answer_of(outcome, self._usual.path)

    def _answer_of_look(self, seen: Wallet | Exception | None) -> Answer:
        if isinstance(seen, ServiceError):
            return problems.answer_of(seen, self._usual.path)
        if isinstance(seen, Exception):
            raise seen
        answer = operations.answer_of_wallet(seen, self._wallet_id)
        return answer if isinstance(answer, Answer) else problems.answer_of(answer, self._usual.path)

    def _answer(self, answer: Answer) -> None:
        self._lane.room.leave()
        _observer_of(self._route, answer.status).observe(time.perf_counter() - self._began)
        self._write(_written(answer, self._request_id))


@cache
def _observer_of(route: str, status: int) -> Histogram:
    return metrics.observer_of(route, status)


def _written(answer: Answer, request_id: str) -> bytes:
    """Write an answer as it travels (RFC 9112). Nothing in its headers is a client's but a request id that is sane."""
    body = write_json(answer.body)
    own = "".join([f"{name}: {value}\r\n" for name, value in answer.headers.items()]) if answer.headers else ""
    head = (
        f"{_head_of(answer.status, answer.media_type)}{own}X-Request-ID: {request_id}\r\n"
        f"Content-Length: {len(body)}\r\nDate: {rfc822_formatted_time()}\r\n\r\n"
    )
    return head.encode("ascii") + body


@cache
def _head_of(status: int, media_type: str) -> str:
    """Return the part of a head that all answers of a status and a media type have in common."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Type: {media_type}"]
    return "".join(f"{line}\r\n" for line in [*lines, *(f"{name}: {value}" for name, value in HEADERS.items())])
