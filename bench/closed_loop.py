"""A closed-loop generator for machines without wrk: every connection sends its next request when its answer came.

Costs several times the CPU of wrk, on the same cores as what is measured: the report names the generator.
"""

import argparse
import asyncio
import gc
import json
import sys
import time
from pathlib import Path

import uvloop

from bench.http_connection import LOST, Connection, connect, counted, read_requests

ANSWER_SECONDS_MAX = 30.0  # for the last answers, after the time is over


class ClosedLoop:
    """One run."""

    def __init__(self, requests: list[bytes], seconds: float) -> None:
        """Plan to send for so long."""
        self._requests = requests
        self._seconds = seconds
        self._ends_at = 0.0
        self._sent = 0
        self._under_way = 0
        self._latencies_ms: list[float] = []
        self._by_status: dict[int, int] = {}
        self._done = asyncio.Event()

    async def run(self, port: int, connections: int) -> dict[str, object]:
        """Send until the time is over, wait for the answers, and report."""
        opened = await connect(port, connections, self._answered)
        gc.freeze()
        gc.disable()
        started_at = time.perf_counter()
        self._ends_at = started_at + self._seconds
        for connection in opened:
            self._send(connection)
        try:
            async with asyncio.timeout(self._seconds + ANSWER_SECONDS_MAX):
                await self._done.wait()
        except TimeoutError:
            self._by_status[LOST] = self._by_status.get(LOST, 0) + self._under_way
        seconds = time.perf_counter() - started_at
        for connection in opened:
            connection.close()
        return counted(self._latencies_ms, seconds, self._by_status)

    def _send(self, connection: Connection) -> None:
        self._under_way += 1
        request = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        connection.send(request, time.perf_counter())

    def _answered(self, connection: Connection, status: int) -> None:
        now = time.perf_counter()
        self._under_way -= 1
        self._by_status[status] = self._by_status.get(status, 0) + 1
        if status != LOST:
            self._latencies_ms.append((now - connection.sent_at) * 1000)
        if now < self._ends_at and connection.is_open:
            self._send(connection)
        elif not self._under_way:
            self._done.set()


def main(argv: list[str]) -> None:
    """Run as a program of its own and print the report as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0, help="not for this generator: answers set the pace")
    parser.add_argument("--requests", type=Path, required=True)
    arguments = parser.parse_args(argv)

    async def run() -> dict[str, object]:
        requests = read_requests(arguments.requests, arguments.port)
        return await ClosedLoop(requests, arguments.seconds).run(arguments.port, arguments.connections)

    print(json.dumps(uvloop.run(run())))


if __name__ == "__main__":
    main(sys.argv[1:])
