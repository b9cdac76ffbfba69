"""An open-loop generator: requests arrive at fixed times, whether or not earlier ones were answered.

Guarantees that a request's latency counts from the time it was to arrive, so a server that stalls is charged for every
request that would have come meanwhile. When all connections wait for answers an arrival waits for one, on the server's
account. The event loop's timers have a resolution of 1 ms, which is on the server's account as well.
"""

import argparse
import asyncio
import gc
import json
import sys
import time
from collections import deque
from pathlib import Path

import uvloop

from bench.http_connection import LOST, Connection, connect, counted, read_requests

ANSWER_SECONDS_MAX = 30.0  # for the last answers, after the last arrival


class OpenLoop:
    """One run."""

    def __init__(self, requests: list[bytes], rate: float, seconds: float) -> None:
        """Plan the arrivals: `rate` per second, evenly, for so long."""
        self._requests = requests
        self._rate = rate
        self._arrivals = round(rate * seconds)
        self._arrived = 0
        self._started_at = 0.0
        # In turn, so that none is idle for long: a server may close one that says nothing.
        self._idle: deque[Connection] = deque()
        self._backlog: deque[int] = deque()
        self._latencies_ms: list[float] = []
        self._by_status: dict[int, int] = {}
        self._done = asyncio.Event()

    async def run(self, port: int, connections: int) -> dict[str, object]:
        """Send everything, wait for the answers, and report."""
        opened = await connect(port, connections, self._answered)
        self._idle = deque(opened)
        gc.freeze()
        gc.disable()
        self._started_at = time.perf_counter()
        self._arrive()
        try:
            async with asyncio.timeout(self._arrivals / self._rate + ANSWER_SECONDS_MAX):
                await self._done.wait()
        except TimeoutError:
            self._by_status[LOST] = self._arrivals - sum(self._by_status.values()) + self._by_status.get(LOST, 0)
        seconds = time.perf_counter() - self._started_at
        for connection in opened:
            connection.close()
        return counted(self._latencies_ms, seconds, self._by_status)

    def _arrive(self) -> None:
        """Send what was to arrive by now, and come again when the next one is."""
        elapsed = time.perf_counter() - self._started_at
        due = min(self._arrivals, int(elapsed * self._rate) + 1)
        while self._arrived < due:
            self._backlog.append(self._arrived)
            self._arrived += 1
        self._send()
        if self._arrived < self._arrivals:
            asyncio.get_running_loop().call_later(max(0.0, self._arrived / self._rate - elapsed), self._arrive)

    def _send(self) -> None:
        while self._backlog and self._idle:
            connection = self._idle.popleft()
            if not connection.is_open:
                continue
            number = self._backlog.popleft()
            request = self._requests[number % len(self._requests)]
            connection.send(request, self._started_at + number / self._rate)

    def _answered(self, connection: Connection, status: int) -> None:
        self._by_status[status] = self._by_status.get(status, 0) + 1
        if status != LOST:
            self._latencies_ms.append((time.perf_counter() - connection.sent_at) * 1000)
        if connection.is_open:
            self._idle.append(connection)
        self._send()
        if sum(self._by_status.values()) == self._arrivals:
            self._done.set()


def main(argv: list[str]) -> None:
    """Run as a program of its own and print the report as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--requests", type=Path, required=True)
    arguments = parser.parse_args(argv)

    async def run() -> dict[str, object]:
        requests = read_requests(arguments.requests, arguments.port)
        return await OpenLoop(requests, arguments.rate, arguments.seconds).run(arguments.port, arguments.connections)

    print(json.dumps(uvloop.run(run())))


if __name__ == "__main__":
    main(sys.argv[1:])
