"""Whether operations can be served: both stores answer, and a worker owns every partition.

Guarantees that however many ask, the stores are asked twice a second at most.
"""

import asyncio

from gateway.books import Books
from shared.errors import Unavailable
from shared.streams import Streams

FRESH_SECONDS = 0.5


class Readiness:
    """What is missing, looked at when somebody asks and the last look is too old."""

    def __init__(self, books: Books, streams: Streams, partition_count: int) -> None:
        self._books = books
        self._streams = streams
        self._partition_count = partition_count
        self._looking = asyncio.Lock()
        self._looked_at = float("-inf")
        self._missing: list[str] = []

    async def missing(self) -> list[str]:
        """Return what is missing, by name."""
        loop = asyncio.get_running_loop()
        async with self._looking:
            if loop.time() - self._looked_at >= FRESH_SECONDS:
                self._missing = [*await self._missing_of_postgres(), *await self._streams.silent_nodes()]
                self._looked_at = loop.time()
        return self._missing

    async def _missing_of_postgres(self) -> list[str]:
        try:
            owned, partition_count = await self._books.partitions()
        except Unavailable:
            return ["postgres"]
        if partition_count not in {None, self._partition_count}:
            return [f"a restart of this gateway: it knows of {self._partition_count} of {partition_count} partitions"]
        if owned == self._partition_count:
            return []
        missing = self._partition_count - owned
        return [f"workers: {missing} of {self._partition_count} partitions have no owner"]
