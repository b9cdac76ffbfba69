"""The express lane is offered what a request begins with, and never the inside of one, however it comes in pieces."""

import asyncio
import itertools
import re
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.connection import Connection, Limits
from gateway.express import Express
from gateway.usual import HEAD_END, read
from tests.waiting import until

WALLET = b"/api/v1/wallets/01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10"
BODY = b'{"operation_type": "DEPOSIT", "amount": 1.50}'
HEAD = b" HTTP/1.1\r\nHost: x\r\n"
USUAL = b"POST " + WALLET + b"/operation" + HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
HIDDEN = b"Content-Length: %d\r\n\r\n" % len(USUAL) + USUAL  # one in the body of another
CHUNK = b"%x\r\n" % len(USUAL) + USUAL + b"\r\n0\r\n\r\n"
REQUESTS = {
    "usual": USUAL,
    "look": b"GET " + WALLET + HEAD + b"\r\n",
    "other": b"GET /healthz" + HEAD + b"\r\n",
    "with a body": b"POST /api/v1/wallets" + HEAD + b"Content-Length: 2\r\n\r\n{}",
    "in a body": b"PUT /a" + HEAD + HIDDEN,
    "in a body of its own kind": b"POST " + WALLET + b"/operation" + HEAD + HIDDEN,
    "in chunks": b"POST /a" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK,
    "after a line": b"\r\n" + USUAL,
    "after two lines": b"\r\n\r\nPUT /a" + HEAD + HIDDEN,
    "with a long length": b"PUT /a" + HEAD + b"Content-Length: " + b"0" * 5_000 + b"2\r\n\r\n{}",
    "with blank lines in it": b"POST /a" + HEAD + b"Content-Length: 8\r\n\r\n\r\n\r\n\r\n\r\n",
}
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Wire(asyncio.Transport):
    """Stands where the socket does: keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.text = b""

    def write(self, data: Any) -> None:
        self.text += data

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        del name
        return default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


class Lane:
    """Stands where the express lane does: takes what is usual, and answers it at once or a moment later."""

    def __init__(self, *, answers_at_once: bool, after_seconds: float = 0.001) -> None:
        self.at = 0  # how much came before
        self.offered: list[int] = []  # where each began that was offered
        self.taken = 0
        self._answers_at_once = answers_at_once
        self._after_seconds = after_seconds
        self._is_busy = False

    def take(self, data: bytes, write: Callable[[bytes], None]) -> bool:
        self.offered.append(self.at)
        if read(data) is None:
            return False
        self.taken += 1
        assert not self._is_busy, "two at once: their answers could change places"
        if self._answers_at_once:
            write(ANSWER)
        else:
            self._is_busy = True
            asyncio.get_running_loop().call_later(self._after_seconds, self._answer, write)
        return True

    def _answer(self, write: Callable[[bytes], None]) -> None:
        self._is_busy = False
        write(ANSWER)


async def connected(lane: Lane, **arguments: Any) -> tuple[Connection, Wire]:
    """Return a connection that waits for its first request, before a server that says yes to everything."""

    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response()

    connection, wire = Connection(web.Server(answer), set(), cast(Express, lane), access_log=None, **arguments), Wire()
    connection.connection_made(wire)
    await asyncio.sleep(0)
    return connection, wire


async def serve(parts: list[bytes], lane: Lane, answers: int, *, patiently: bool) -> int:
    """Give a connection these parts, wait for its answers, and return how many there were.

    Who is patient sends the next part when there is nothing more to be had for the last one.
    """
    connection, wire = await connected(lane)

    async def is_over() -> bool:
        waits = connection._waiter is not None and not connection._waiter.done()
        return connection._due_bytes != 0 or (waits and not connection._request_in_progress)

    for part in parts:
        connection.data_received(part)
        lane.at += len(part)
        for _ in range(3):
            await asyncio.sleep(0)
        if patiently:
            await until(is_over)

    async def are_answered() -> bool:
        return wire.text.count(b"HTTP/1.1 200") >= answers

    await until(are_answered)
    connection.connection_lost(None)
    return wire.text.count(b"HTTP/1.1 200")


@settings(max_examples=400, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(REQUESTS)), min_size=1, max_size=5),
    cuts=st.lists(st.floats(0, 1), max_size=5),
    cuts_at=st.sets(st.sampled_from(["begins", "heads"])),
    answers_at_once=st.booleans(),
    is_patient=st.booleans(),
)
@example(names=["usual", "look", "usual"], cuts=[], cuts_at={"begins"}, answers_at_once=True, is_patient=True)
@example(names=["in chunks"], cuts=[], cuts_at={"begins", "heads"}, answers_at_once=True, is_patient=True)
@example(names=["in a body", "usual"], cuts=[0.3], cuts_at={"begins"}, answers_at_once=False, is_patient=False)
def test_pieces__are_offered_where_a_request_begins_and_each_request_is_answered_once(
    names: list[str], cuts: list[float], cuts_at: set[str], answers_at_once: bool, is_patient: bool
) -> None:
    requests = [REQUESTS[name] for name in names]
    text = b"".join(requests)
    begins = {sum(map(len, requests[:number])) for number in range(len(requests))}
    known = {"begins": begins, "heads": {match.end() for match in re.finditer(HEAD_END, text)}}
    places = sorted({0, len(text)}.union({round(cut * len(text)) for cut in cuts}, *(known[at] for at in cuts_at)))
    parts = [text[start:end] for start, end in itertools.pairwise(places)]
    lane = Lane(answers_at_once=answers_at_once)

    assert asyncio.run(serve(parts, lane, len(requests), patiently=is_patient)) == len(requests)
    assert set(lane.offered) <= begins


def test_requests_each_by_itself__are_all_offered() -> None:
    """Without this, a lane that is never offered anything would pass."""
    parts = [REQUESTS[name] for name in ("usual", "other", "look", "with a body", "usual", "in a body", "usual")]
    lane = Lane(answers_at_once=True)

    asyncio.run(serve(parts, lane, len(parts), patiently=True))

    assert (len(lane.offered), lane.taken) == (len(parts), 4)


async def test_blank_lines_before_a_head__do_not_pass_for_its_end() -> None:
    """The body is as long as the head would then be too short."""
    head = b"\r\n\r\nPUT /a" + HEAD + b"Content-Length: %d\r\n\r\n"
    connection, _ = await connected(Lane(answers_at_once=True))

    connection.data_received(head % (len(head % 10) - len(HEAD_END)))

    assert connection._due_bytes < 0
    await asyncio.sleep(0)  # aiohttp's loop begins with it
    connection.connection_lost(None)


async def test_header_that_begins_while_the_lane_has_a_request__has_its_time_and_is_refused_after_the_answer() -> None:
    connection, wire = await connected(Lane(answers_at_once=False))
    connection.data_received(USUAL)
    connection.data_received(b"GET /slow HT")
    limits, late = Limits(10, 10, 10), asyncio.get_running_loop().time() + 11
    connection.check_time(limits, late)
    assert wire.text == b""

    async def is_answered() -> bool:
        return wire.text == ANSWER

    await until(is_answered)
    connection.check_time(limits, late)

    async def is_refused() -> bool:
        return b" 408 " in wire.text

    await until(is_refused)
    assert wire.text.startswith(ANSWER)
    connection.connection_lost(None)


async def test_request_that_the_lane_has_for_longer_than_a_connection_may_be_idle__is_answered() -> None:
    lane = Lane(answers_at_once=False, after_seconds=0.2)
    connection, wire = await connected(lane, keepalive_timeout=0.02)
    connection.data_received(REQUESTS["other"])

    async def are_answered() -> bool:
        return wire.text.count(b"HTTP/1.1 200") == 1 + lane.taken and connection._waiter is not None

    await until(are_answered)
    connection.data_received(USUAL)

    assert lane.taken == 1
    await until(are_answered)
    connection.connection_lost(None)


def test_body_that_comes_after_its_head__keeps_the_lane_open_for_the_next() -> None:
    whole = REQUESTS["with a body"]
    lane = Lane(answers_at_once=True)

    asyncio.run(serve([whole[:-2], whole[-2:], USUAL], lane, 2, patiently=True))

    assert lane.offered == [0, len(whole)]
