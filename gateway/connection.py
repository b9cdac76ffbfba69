"""A client's connection, and how long a client may take: what is not a request, or comes too late, gets a problem.

Guarantees that no client holds a connection by being slow: header, body and the taking of an answer have each their
time. A request that waits for its outcome, and an idle connection between two requests, are not slow. The limits cost
a request next to nothing: a sweep looks at all connections, and a request leaves no more than it needs.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from aiohttp import hdrs, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _ErrInfo

from gateway import metrics, problems
from gateway.express import Express
from gateway.middleware import NO_ROOM
from gateway.requests import TooSlow
from gateway.usual import HEAD_END
from shared.settings import GatewaySettings

BLANK = b"\r\n"  # what a line before a request's first one, which HTTP allows, begins with
LENGTH_DIGITS_MAX = 10  # of a body's length; more are zeros, or more bytes than any body here may have
LOST = -1  # where aiohttp's parser stands, once that is not known
HEADER_BYTES_MAX = 65_536  # of one request's header that comes in pieces; aiohttp limits each line, not their sum
SWEEP_SECONDS_MAX = 1.0  # how much later than its limit a slow client may be cut
SWEEP_AT_ONCE = 500  # connections: less than a millisecond in which nobody else is served
# No access log; an idle connection is kept for longer than load balancers keep theirs.
ARGUMENTS: dict[str, Any] = {"access_log": None, "keepalive_timeout": 75.0}
# How long a connection rests, at most, after a request on it was refused for want of room: what Retry-After asks for.
# To refuse costs more than to serve, so who asks again at once must not be refused again at once.
REFUSED_REST_SECONDS = 1.0
# What aiohttp hands over in the place of what it could not read says `UNKNOWN /`, which nobody asked for.
UNREADABLE = "What came is not a valid HTTP request, or its header is longer than this service reads."
LATE = "The header of the request did not arrive in time."
LINGERING_SECONDS_MAX = 10.0  # to take the rest of a body whose request is answered already

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a client may take, in seconds."""

    header_seconds: float
    body_seconds: float
    answer_seconds: float

    @property
    def sweep_seconds(self) -> float:
        """How often to look: often enough for short limits, too."""
        return min(SWEEP_SECONDS_MAX, self.header_seconds / 4, self.body_seconds / 4, self.answer_seconds / 4)


class Connection(web.RequestHandler):
    """aiohttp's connection, with our words when it cannot read a request, and an end to its patience."""

    __slots__ = (
        "_body_of",
        "_body_since",
        "_closing_since",
        "_due_bytes",
        "_express",
        "_header_bytes",
        "_header_of",
        "_header_since",
        "_open",
        "_socket",
        "_unread_since",
    )

    def __init__(
        self, manager: web.Server, open_connections: "set[Connection]", express: Express | None, **arguments: Any
    ) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **arguments)
        self._open = open_connections
        self._express = express
        self._socket: asyncio.Transport | None = None  # kept to the very end, unlike `transport`
        # What aiohttp's parser has yet to get of a request that it began: 0 between two; below, where nobody knows.
        self._due_bytes = 0
        # Since when parts of a header, or of a body, have been coming: of the request with this number.
        self._header_of, self._header_since, self._header_bytes = -1, 0.0, 0
        self._body_of, self._body_since = -1, 0.0
        self._unread_since: float | None = None
        self._closing_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the first header its time from now on."""
        super().connection_made(transport)
        self._socket = self.transport
        self._header_of, self._header_since = 0, self._loop.time()
        self._open.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._open.discard(self)
        self._socket = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Give a usual request to the express lane, and all else to aiohttp; note when a header comes in pieces."""
        if self._is_taken(data):
            return
        requests_before = self._request_count
        if self._request_in_progress and self._waiter is not None:
            # The express lane has one under way: aiohttp's loop must not begin the next before that is answered.
            waiter, self._waiter = self._waiter, None
            try:
                super().data_received(data)
            finally:
                self._waiter = waiter
        else:
            super().data_received(data)
        self._count(data, self._request_count - requests_before)
        # Nothing to be served, and nothing of aiohttp's being served, which may be a body. (Right after the connection
        # was made nobody waits yet.)
        if not self._messages and (self._waiter is not None or not self._request_count):
            self._note_part(len(data))

    def _is_taken(self, data: bytes) -> bool:
        """Offer what came to the express lane, if a request begins with it and none is under way."""
        if not data or self._express is None or self._due_bytes != 0 or self._paused or self._messages:
            return False
        if self._request_in_progress or self._waiter is None or self._waiter.done():  # aiohttp's loop has its turn
            return False
        # As aiohttp's loop does around a request: a process that is told to stop waits for this one.
        self._request_in_progress = True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._express.take(data, self._answer):  # and perhaps answered already
            self._request_count += 1
            return True
        self._request_in_progress = False
        return False

    def _count(self, data: bytes, requests: int) -> None:
        """Follow where aiohttp's parser stands, having got this, and found so many requests.

        The express lane must not begin in the midst of something. So whatever is not plainly one whole request, or the
        next part of its body, leaves the rest of the connection to aiohttp.
        """
        if not data and not requests:  # aiohttp asks itself whether there is more
            return
        if self._due_bytes:
            self._due_bytes -= len(data)
            return
        self._due_bytes = LOST
        if requests == 1 and data and data[0] not in BLANK:  # a blank line before it would pass for the head's end
            message, _ = self._messages[-1]
            if isinstance(message, RawRequestMessage) and not message.chunked and not message.upgrade:
                length = message.headers.get(hdrs.CONTENT_LENGTH, "0")
                if len(length) <= LENGTH_DIGITS_MAX:  # with zeros before it, it may be longer than Python reads
                    self._due_bytes = data.find(HEAD_END) + len(HEAD_END) + int(length) - len(data)

    def _answer(self, text: bytes) -> None:
        """Write the answer of the express lane, and go on with what came meanwhile."""
        self._request_in_progress = False
        if self.transport is not None:
            self.transport.write(text)
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if self._messages and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)  # aiohttp's loop has what came meanwhile

    def _process_keepalive(self) -> None:
        """Close an idle connection; one on which the express lane has a request under way only seems so to aiohttp."""
        if self._request_in_progress:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    def pause_writing(self) -> None:
        """Note since when the client leaves unread more than the socket and its buffer take."""
        super().pause_writing()
        self._unread_since = self._loop.time()

    def resume_writing(self) -> None:
        """Go on writing: the client reads."""
        super().resume_writing()
        self._unread_since = None

    def check_time(self, limits: Limits, now: float) -> None:
        """Cut the client if it takes too long for what it is doing."""
        socket = self._socket
        if socket is None:
            return
        if socket.is_closing():
            # What was to be sent last is still there, and its reader is not.
            self._closing_since = self._closing_since or now
            if now - self._closing_since >= limits.answer_seconds:
                socket.abort()
        elif self._unread_since is not None:
            if now - self._unread_since >= limits.answer_seconds:
                log.info("answer not taken in time", unsent_bytes=socket.get_write_buffer_size())
                socket.abort()
        elif self._waiter is not None:
            if self._header_of == self._request_count and now - self._header_since >= limits.header_seconds:
                self._refuse_header(TooSlow("header"))
        elif (request := self._current_request) is not None and not request.content.is_eof():
            if self._body_of != self._request_count:
                self._body_of, self._body_since = self._request_count, now
            if now - self._body_since >= limits.body_seconds:
                self._lingering_time = 0.0  # nor is the rest waited for once it is answered
                request.content.set_exception(TooSlow("body"))

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; after one that says that there is no room, let the connection rest."""
        sent = await super().finish_response(request, resp, start_time)
        if resp.get(NO_ROOM) and resp.keep_alive:
            await resp[NO_ROOM].rest(REFUSED_REST_SECONDS)
        return sent

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what was not understood, and close: where the next request would start is not known."""
        request_id = secrets.token_hex(16)
        if isinstance(exc, TooSlow):
            log.info("slow request", request_id=request_id, part=str(exc))
            response = problems.of_unreadable("request_timeout", LATE, request_id)
            metrics.note_unreadable(response.status)
        elif status < 500:
            log.info("unreadable request", request_id=request_id, error=type(exc).__name__)
            response = problems.of_unreadable("bad_request", UNREADABLE, request_id)
            metrics.note_unreadable(response.status)
        else:
            log.error("defect", request_id=request_id, exc_info=exc)
            response = problems.of_defect(request)
        response.headers["X-Request-ID"] = request_id
        response.force_close()
        return response

    def _note_part(self, size: int) -> None:
        """Note a part of a header. (Of a body it cannot be: then a request would be under way.)"""
        if not size:
            return
        if self._header_of != self._request_count:
            self._header_of, self._header_since, self._header_bytes = self._request_count, self._loop.time(), 0
        self._header_bytes += size
        if self._header_bytes > HEADER_BYTES_MAX:
            self._refuse_header(ValueError("header too long"))

    def _refuse_header(self, error: Exception) -> None:
        """End the wait for a header; without an answer when nothing of it came: nobody asked for one."""
        if self._waiter is None or self._waiter.done() or self._request_in_progress:  # that is answered first
            return
        if not self._header_bytes:
            self.force_close()
            return
        # As aiohttp does with what it cannot parse.
        self._request_count += 1
        self._messages.append((_ErrInfo(status=400, exc=error, message=""), EMPTY_PAYLOAD))
        self._waiter.set_result(None)


class Connections:
    """The open connections of a server, and the sweep over them."""

    def __init__(self, settings: GatewaySettings, express: Express | None) -> None:
        self._express = express
        self._limits = Limits(settings.header_seconds, settings.body_seconds, settings.answer_seconds)
        self._lingering_seconds = min(settings.body_seconds, LINGERING_SECONDS_MAX)
        self._open: set[Connection] = set()

    def accept(self, manager: web.Server) -> partial[Connection]:
        """Return what makes a connection's protocol."""
        return partial(
            Connection, manager, self._open, self._express, lingering_time=self._lingering_seconds, **ARGUMENTS
        )

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Cut slow clients; leaving ends that."""
        task = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._limits.sweep_seconds)
            now = loop.time()
            for number, connection in enumerate(tuple(self._open)):
                if number % SWEEP_AT_ONCE == 0:
                    await asyncio.sleep(0)
                try:
                    connection.check_time(self._limits, now)
                except Exception:
                    log.exception("defect in the time limits of a connection")
                    connection.force_close()
