"""One Redis server, and the trips to it. With `shared/nodes.py` the only module that imports redis.

redis-py opens the connections, logs in, and knows what errors mean; then a protocol of our own takes a connection over.
A trip writes all its commands at once and is woken when all their answers are there. Guarantees that a connection whose
trip broke is never used again, that no command is repeated, and that a cancellation ends a trip. Knows nothing of
slots, or of what the keys mean.

redis-py's own way of running a command costs some 100 us of Python's time: it tries to read from the socket first, and
makes a task to write and a time-out for each answer. A trip over its streams, without that, costs 28 us, and one over
this protocol 14; 40 answers 150 and 83. A worker makes three trips for a batch.
"""

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Any

import hiredis
import redis.exceptions
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.cluster import ClusterParser
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

SOCKET_TIMEOUT_SECONDS = 5.0  # a Redis that does not answer for this long is treated as lost
CONNECT_TIMEOUT_SECONDS = 2.0
PROBE_SECONDS = 0.2  # pause between looks for a node that went silent

# What a caller catches: Redis is away, slow, or refuses. OSError and TimeoutError come from the socket itself.
RedisError = (redis.exceptions.RedisError, OSError, TimeoutError)


_TOO_LATE = (TimeoutError, redis.exceptions.TimeoutError)  # of the trip, and of redis-py's connecting


class Silent(redis.exceptions.ConnectionError):
    """A command was not sent: its node let an earlier one go unanswered, and was not heard of since."""


# Answers that say "I did not run this": the client makes types of some, and takes the word away.
_NOT_RUN = (
    Silent,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.MovedError,
    redis.exceptions.AskError,
    redis.exceptions.TryAgainError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.MasterDownError,
)
_NOT_RUN_WORDS = ("BUSY", "MISCONF", "NOREPLICAS", "CLUSTERDOWN", "MASTERDOWN")


def was_not_run(answer: Exception) -> bool:
    """Tell whether an error says that the command certainly did not run."""
    return isinstance(answer, _NOT_RUN) or str(answer).startswith(_NOT_RUN_WORDS)


def is_refused(answer: object) -> bool:
    """Tell whether an error is a node's own answer: it is there, and says no."""
    return isinstance(answer, redis.exceptions.ResponseError)


def is_unknown_function(answer: object) -> bool:
    """Tell whether an error says that the function library is not there, as on a Redis that came back empty."""
    return isinstance(answer, redis.exceptions.ResponseError) and "Function not found" in str(answer)


def is_wrong_type(answer: object) -> bool:
    """Tell whether an error says that the key holds something else than a stream."""
    return isinstance(answer, redis.exceptions.ResponseError) and str(answer).startswith("WRONGTYPE")


class Node:
    """A server by its URL, or by another address with the rest of that URL.

    Where `avoids_silence`, a node that let a trip run into its time-out is asked nothing more until it answers a PING:
    on a Cluster nobody else shall wait for it.
    """

    def __init__(self, url: str, address: tuple[str, int] | None = None, *, avoids_silence: bool = False) -> None:
        self._pool = ConnectionPool.from_url(
            url,
            socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
            parser_class=ClusterParser,  # the other one makes no types of MOVED, ASK and TRYAGAIN
            retry=Retry(NoBackoff(), 0),  # retries belong to who knows what a repeated call means
        )
        if "path" not in self._pool.connection_kwargs:  # a Unix socket knows no keepalive
            self._pool.connection_kwargs["socket_keepalive"] = True
        if address:
            self._pool.connection_kwargs.update(host=address[0], port=address[1])
        # What redis-py makes of an answer, by command: streams as pairs of id and fields, and the like.
        self._readers = dict(Redis(connection_pool=self._pool).response_callbacks)
        self._idle: list[_Wire] = []
        self._is_closed = False
        self._avoids_silence = avoids_silence
        self._probe: asyncio.Task[None] | None = None

    @property
    def host(self) -> str:
        """The server's host."""
        return str(self._pool.connection_kwargs.get("host", "localhost"))

    @property
    def is_silent(self) -> bool:
        """Whether it is asked nothing, because it let a trip run into its time-out and was not heard of since."""
        return self._probe is not None

    @property
    def name(self) -> str:
        """Host and port, or the path of its socket."""
        at = self._pool.connection_kwargs
        return str(at["path"]) if "path" in at else f"{self.host}:{at.get('port', 6379)}"

    async def close(self) -> None:
        """Close all connections; one that a trip is on, when that is over."""
        self._is_closed = True
        if self._probe is not None:
            self._probe.cancel()
        for wire in self._idle:
            await wire.close()
        self._idle.clear()

    async def trip(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Run commands; each answer may be an exception, and is for all when the connection breaks."""
        if not commands:
            return []
        if self._probe is not None:
            return [Silent(f"{self.name} does not answer")] * len(commands)
        try:
            return await self._trip(commands)
        except RedisError as error:
            if isinstance(error, _TOO_LATE) and self._avoids_silence and self._probe is None and not self._is_closed:
                self._probe = asyncio.create_task(self._until_it_answers())
            return [error] * len(commands)

    async def _trip(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        wire = await self._take()
        try:
            answers = await wire.trip(b"".join([_packed(command) for command in commands]), len(commands))
        except BaseException:
            # What was asked and not read must not answer the next.
            await wire.close()
            raise
        if self._is_closed:
            await wire.close()
        else:
            self._idle.append(wire)
        return [self._read(command[0], answer) for command, answer in zip(commands, answers, strict=True)]

    async def _take(self) -> "_Wire":
        while self._idle:
            wire = self._idle.pop()
            if wire.is_open:
                return wire
            await wire.close()
        connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(SOCKET_TIMEOUT_SECONDS):
                await connection.connect()
            wire = _Wire(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        if not wire.is_open:
            await wire.close()
            raise redis.exceptions.ConnectionError("Redis closed the connection at once")
        return wire

    def _read(self, name: str, answer: Any) -> Any:
        reader = self._readers.get(name)
        return answer if reader is None or isinstance(answer, Exception) else reader(answer)

    async def _until_it_answers(self) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await self._trip([("PING",)])
            except RedisError:
                continue
            self._probe = None
            return


class _Wire(asyncio.Protocol):
    """A connection that redis-py has opened, from then on read by this."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._transport: asyncio.Transport = connection._writer.transport  # noqa: SLF001 there is no other way to it
        self._transport.set_protocol(self)
        self._reader = hiredis.Reader(
            protocolError=redis.exceptions.InvalidResponse, replyError=_error_of, notEnoughData=_NOT_YET
        )
        self._answers: list[Any] = []
        self._awaited = 0
        self._are_there: asyncio.Future[None] | None = None
        self.is_open = not self._transport.is_closing()

    async def trip(self, commands: bytes, answers: int) -> list[Any]:
        """Send commands and return so many answers; raises RedisError when they do not come."""
        loop = asyncio.get_running_loop()
        self._answers, self._awaited, self._are_there = [], answers, loop.create_future()
        late = loop.call_later(SOCKET_TIMEOUT_SECONDS, self._fail, TimeoutError("Redis did not answer in time"))
        try:
            self._transport.write(commands)
            await self._are_there
            return self._answers[:answers]
        finally:
            late.cancel()
            self._are_there = None

    def data_received(self, data: bytes) -> None:
        """Read on, and wake the trip when it has all its answers."""
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not _NOT_YET:
                self._answers.append(answer)
        except redis.exceptions.RedisError as error:
            self.is_open = False
            self._fail(error)
            return
        if self._are_there is None or len(self._answers) > self._awaited:
            self.is_open = False  # nobody asked: what comes next would answer something else
        elif len(self._answers) == self._awaited and not self._are_there.done():
            self.is_open = self.is_open and not self._reader.has_data()  # the beginning of one that nobody asked for
            self._are_there.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the trip under way; there will be no other."""
        self.is_open = False
        self._fail(redis.exceptions.ConnectionError(f"the connection to Redis broke: {exc or 'closed by the server'}"))

    def _fail(self, error: Exception) -> None:
        if self._are_there is not None and not self._are_there.done():
            self._are_there.set_exception(error)

    async def close(self) -> None:
        """End the connection, and what was not sent yet with it."""
        self.is_open = False
        self._transport.abort()
        await self._connection.disconnect(nowait=True)


_NOT_YET = object()


def _error_of(text: str) -> Exception:
    try:
        error: Exception = ClusterParser.parse_error(text)  # with types of MOVED, ASK and TRYAGAIN
    except (ValueError, IndexError):  # MOVED and ASK name a slot and an address
        return redis.exceptions.ResponseError(text)
    return error


def _packed(command: Sequence[Any]) -> bytes:
    name, *rest = command
    packed: bytes = hiredis.pack_command((*_words_of(name), *rest))
    return packed


@cache
def _words_of(name: str) -> list[bytes]:
    """Return what a command's name is sent as: it may be two words."""
    return name.encode().split()
