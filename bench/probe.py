"""A few requests a second beside a load, to see what one client sees: latencies by status.

Guarantees that the probe itself is no load: tens of requests a second over connections of its own.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

from bench.http_connection import Connection, connect, read_requests

CONNECTIONS = 64
Latencies = dict[int, list[float]]


def probe(port: int, requests: Path, rate: float, seconds: float) -> Latencies:
    """Send requests at this rate for so long; returns the latencies in ms by status (0: no answer)."""
    return asyncio.run(_probe(port, requests, rate, seconds))


def percentile(latencies_ms: Sequence[float], percent: int) -> float | None:
    """Return a percentile of latencies; None when there are too few."""
    return quantiles(latencies_ms, n=100)[percent - 1] if len(latencies_ms) > 1 else None


async def _probe(port: int, path: Path, rate: float, seconds: float) -> Latencies:
    requests = read_requests(path, port)
    latencies: Latencies = defaultdict(list)

    def answered(connection: Connection, status: int) -> None:
        latencies[status].append((time.perf_counter() - connection.sent_at) * 1000)
        if connection.is_open:
            idle.append(connection)

    idle: list[Connection] = list(await connect(port, CONNECTIONS, answered))
    opened = list(idle)
    began = time.perf_counter()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(began + number / rate - time.perf_counter())
        if idle:
            idle.pop(0).send(requests[number % len(requests)], time.perf_counter())
    await asyncio.sleep(1.0)  # the last answers
    for connection in opened:
        connection.close()
    return latencies
