"""A blocking HTTP client that sends exactly the bytes it is given, over a connection that stays open, and quickly.

Guarantees that what comes back is one whole answer with nothing after it. Knows nothing of wallets.
"""

import json
import socket
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SECONDS_MAX = 30.0  # for one answer: far above any wait of the service
JSON_TYPES = ("application/json", "application/problem+json")


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `route` is the path's template in the OpenAPI document, None where it has none."""

    method: str
    path: str
    route: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None

    def encode(self) -> bytes:
        """Return the bytes to send; header values may hold any byte, as latin-1."""
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: wallet", *(f"{n}: {v}" for n, v in self.headers)]
        if self.body is not None:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (self.body or b"")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: header names in lower case; `body` is decoded JSON where the media type says so."""

    status: int
    headers: dict[str, str]
    body: Any
    text: bytes = field(repr=False, default=b"")

    @property
    def code(self) -> str | None:
        """The problem's code, None when it is no problem."""
        return self.body.get("code") if isinstance(self.body, dict) else None


class Wire:
    """One connection; made again when the service said that it closes it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None
        self._awaited = 0  # answers
        self.statuses: Counter[int] = Counter()

    def ask(self, request: Request) -> Answer:
        """Send a request and return its answer."""
        self.send(request.encode())
        return self.receive(has_body=request.method != "HEAD")

    def send(self, data: bytes) -> None:
        """Send bytes; `receive` returns what they bring."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address, SECONDS_MAX)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._awaited += 1
        self._socket.sendall(data)

    def receive(self, *, has_body: bool = True) -> Answer:
        """Return the next answer; raises AssertionError when more, or less, than one came."""
        assert self._socket is not None
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more(data)
        first, *lines = data[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0")) if has_body else 0
        while len(data) < end + 4 + length:
            data += self._more(data)
        self._awaited -= 1
        text = data[end + 4 :]
        assert len(text) == length, f"more came than was announced: {data!r}"
        if headers.get("connection", "").lower() == "close" or first.startswith("HTTP/1.0"):
            self.close()
        status = int(first.split(" ")[1])
        self.statuses[status] += 1
        is_json = text and headers.get("content-type", "").split(";")[0] in JSON_TYPES
        return Answer(status, headers, json.loads(text) if is_json else text, text)

    def clear(self) -> None:
        """Begin anew when something that was sent got no answer, or none that could be read."""
        if self._awaited:
            self.close()

    def close(self) -> None:
        """Close the connection; the next request makes another."""
        self._awaited = 0
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _more(self, so_far: bytes) -> bytes:
        assert self._socket is not None
        chunk = self._socket.recv(65_536)
        assert chunk, f"the connection ended before the answer did: {so_far!r}"
        return chunk


def total(wires: Iterable[Wire]) -> Counter[int]:
    """Return how many answers of each status came over several connections."""
    return sum((wire.statuses for wire in wires), Counter())
