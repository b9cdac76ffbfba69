"""One Redis server, and the trips to it. With `shared/nodes.py` the only module that imports redis.

redis-py opens the connections, logs in, and knows what errors mean; a trip writes all its commands and reads all their
answers at once. Guarantees that a connection whose trip broke is never used again, that no command is repeated, and
that a cancellation ends a trip. Knows nothing of slots, or of what the keys mean.

redis-py's own way of running a command costs some 100 us of Python's time: it tries to read from the socket first, and
makes a task to write and a time-out for each answer. A worker makes three trips for a batch.
"""

import asyncio
from collections.abc import Sequence
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
            socket_keepalive=True,
            parser_class=ClusterParser,  # the other one makes no types of MOVED, ASK and TRYAGAIN
            retry=Retry(NoBackoff(), 0),  # retries belong to who knows what a repeated call means
        )
        if address:
            self._pool.connection_kwargs.update(host=address[0], port=address[1])
        # What redis-py makes of an answer, by command: streams as pairs of id and fields, and the like.
        self._readers = Redis(connection_pool=self._pool).response_callbacks
        self._idle: list[Any] = []  # of redis-py's connections, which its types know too little of
        self._avoids_silence = avoids_silence
        self._probe: asyncio.Task[None] | None = None

    @property
    def host(self) -> str:
        """The server's host."""
        return str(self._pool.connection_kwargs.get("host", "localhost"))

    @property
    def name(self) -> str:
        """Host and port, or the path of its socket."""
        at = self._pool.connection_kwargs
        return str(at["path"]) if "path" in at else f"{self.host}:{at.get('port', 6379)}"

    async def close(self) -> None:
        """Close all connections."""
        if self._probe is not None:
            self._probe.cancel()
        for connection in self._idle:
            await connection.disconnect(nowait=True)
        self._idle.clear()

    async def trip(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Run commands; each answer may be an exception, and is for all when the connection breaks."""
        if self._probe is not None:
            return [Silent(f"{self.name} does not answer")] * len(commands)
        try:
            return await self._trip(commands)
        except RedisError as error:
            if isinstance(error, TimeoutError) and self._avoids_silence and self._probe is None:
                self._probe = asyncio.create_task(self._until_it_answers())
            return [error] * len(commands)

    async def _trip(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        connection = self._take()
        try:
            async with asyncio.timeout(SOCKET_TIMEOUT_SECONDS):
                if not connection.is_connected:
                    await connection.connect()
                writer, parser = connection._writer, connection._parser  # noqa: SLF001 see the module's docstring
                writer.write(b"".join([_packed(command) for command in commands]))
                await writer.drain()
                answers = [await parser.read_response() for _ in commands]
        except BaseException:
            # What was asked and not read must not answer the next.
            await connection.disconnect(nowait=True)
            raise
        self._idle.append(connection)
        return [self._read(command[0], answer) for command, answer in zip(commands, answers, strict=True)]

    def _take(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if connection._reader is not None and not connection._reader.at_eof():  # noqa: SLF001
                return connection
            connection._close()  # noqa: SLF001 the server has closed it
        return self._pool.make_connection()  # type: ignore[no-untyped-call]

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


def _packed(command: Sequence[Any]) -> bytes:
    name, *rest = command
    packed: bytes = hiredis.pack_command((*name.encode().split(), *rest))  # a name may be two words
    return packed
