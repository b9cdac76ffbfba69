"""One keep-alive connection to an HTTP server, as cheap as Python has it: a request at a time, no pipelining.

Reads only what a generator counts: the status, and where an answer ends (Content-Length). Guarantees that every request
ends in exactly one `on_answer`: with its status, or with 0 when the connection was lost before the answer.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

LOST = 0
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


class Connection(asyncio.Protocol):
    """A connection; `sent_at` is for its user: the time that the latency of the request under way counts from."""

    def __init__(self, on_answer: Callable[["Connection", int], None]) -> None:
        """Describe it; `on_answer` gets the connection and the status."""
        self._on_answer = on_answer
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._is_waiting = False
        self.sent_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def send(self, request: bytes, sent_at: float) -> None:
        """Send a request; the answer to the one before must have come."""
        assert self._transport is not None
        self.sent_at = sent_at
        self._is_waiting = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Count an answer once it is whole."""
        received = self._received + data if self._received else data
        head_ends = received.find(_HEAD_END)
        if head_ends >= 0:
            head = received[:head_ends].lower()
            at = head.find(_LENGTH)
            length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(received) >= head_ends + len(_HEAD_END) + length:
                self._received = b""
                self._is_waiting = False
                self._on_answer(self, int(received[9:12]))
                return
        self._received = received

    def connection_lost(self, error: Exception | None) -> None:
        """Tell of a request that will have no answer."""
        del error
        self._transport = None
        self._received = b""
        if self._is_waiting:
            self._is_waiting = False
            self._on_answer(self, LOST)

    def close(self) -> None:
        """Close it, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()


def read_requests(path: Path, port: int) -> list[bytes]:
    """Make the bytes of every line of a load's file: "METHOD PATH" or "METHOD PATH BODY"."""
    texts = []
    for line in path.read_text(encoding="utf-8").splitlines():
        method, target, body, *_ = [*line.split(" ", 2), ""]
        head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n"
        texts.append(f"{head}\r\n{body}".encode())
    return texts


async def connect(port: int, count: int, on_answer: Callable[[Connection, int], None]) -> list[Connection]:
    """Open connections, one after another."""
    loop = asyncio.get_running_loop()
    opened = []
    for _ in range(count):
        _, connection = await loop.create_connection(lambda: Connection(on_answer), "127.0.0.1", port)
        opened.append(connection)
    return opened


def counted(latencies_ms: Sequence[float], seconds: float, by_status: dict[int, int]) -> dict[str, object]:
    """Return what a generator reports; an answer with status 0 is none and counts as failed."""
    ordered = sorted(latencies_ms)

    def percentile(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) if ordered else 0.0

    failed = by_status.get(LOST, 0)
    return {
        "requests": sum(by_status.values()) - failed,
        "seconds": round(seconds, 6),
        "p50_ms": percentile(0.50),
        "p90_ms": percentile(0.90),
        "p99_ms": percentile(0.99),
        "max_ms": percentile(1.0),
        "refused": sum(count for status, count in by_status.items() if status > 399),
        "failed": failed,
        "by_status": {str(status): count for status, count in by_status.items() if status != LOST},
    }
