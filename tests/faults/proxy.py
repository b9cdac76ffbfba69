"""A TCP proxy between the service and a store: it can hold back, cut, and swallow answers at a chosen word.

Everything that passes is forwarded unchanged until told otherwise. Speaks no protocol: it looks for bytes.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

from devstack import ports

CHUNK_BYTES = 65_536


class Cut(Enum):
    """When a connection is cut at a word: before the server gets it, or after the server answered it."""

    BEFORE = "before the server gets it"
    AFTER = "after the server answered"


@dataclass(eq=False)
class _Link:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    swallowing: bool = False

    def cut(self) -> None:
        # An abort is a reset: both ends see it at once, whatever was on its way is lost.
        self.client.transport.abort()
        self.server.transport.abort()


@dataclass
class Proxy:
    """Forwards connections to one address."""

    host: str
    target_port: int
    port: int = field(default_factory=ports.pick_free)
    _links: set[_Link] = field(default_factory=set)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _word: bytes = b""
    _when: Cut = Cut.BEFORE
    _left: int = 0  # how often the word still has to be said; 0: nothing is to be cut
    fired: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def redis_url(self) -> str:
        """The address as redis clients read it."""
        return f"redis://{self.host}:{self.port}/0"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        """Listen; leaving cuts everything."""
        self._flowing.set()
        server = await asyncio.start_server(self._accept, self.host, self.port)
        try:
            yield self
        finally:
            server.close()
            self.cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every open connection; new ones are accepted."""
        for link in list(self._links):
            link.cut()

    def hold(self) -> None:
        """Forward nothing more, in neither direction; connections stay open."""
        self._flowing.clear()

    def flow(self) -> None:
        """Forward again."""
        self._flowing.set()

    def cut_at(self, word: bytes, when: Cut, nth: int = 1) -> None:
        """Cut the connection on which a client says `word` for the nth time from now; `fired` is set then."""
        self._word, self._when, self._left = word.lower(), when, nth
        self.fired.clear()

    async def _accept(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            server_reader, server = await asyncio.open_connection(self.host, self.target_port)
        except OSError:
            client.transport.abort()
            return
        link = _Link(client, server)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._requests(link, client_reader))
                ways.create_task(self._answers(link, server_reader))
        except* (OSError, asyncio.CancelledError):
            pass  # the connection is over, or so is the test
        finally:
            link.cut()
            self._links.discard(link)

    async def _requests(self, link: _Link, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await self._flowing.wait()
            if self._is_told_to_cut(chunk):
                if self._when is Cut.BEFORE:
                    self.fired.set()
                    break
                link.swallowing = True
            link.server.write(chunk)
            await link.server.drain()
        # Either side's end is the other's: half-closed connections are not what this is about.
        link.cut()

    def _is_told_to_cut(self, chunk: bytes) -> bool:
        if self._left and self._word in chunk.lower():
            self._left -= 1
            return self._left == 0
        return False

    async def _answers(self, link: _Link, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await self._flowing.wait()
            if link.swallowing:
                # The server has answered, so it has done what it was told; nobody will know.
                self.fired.set()
                break
            with contextlib.suppress(ConnectionError):
                link.client.write(chunk)
                await link.client.drain()
        link.cut()
