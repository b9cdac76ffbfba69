"""Where the keys live: on one Redis, or on the nodes of a Cluster. The only module that imports redis.

Guarantees that a call reaches the node that has its key's slot, that no call is repeated unless it certainly did not
run, and that a node that is away takes nobody else along. Knows nothing of what the keys mean.

redis-py's own Cluster client was tried first: when a node dies it closes connections that others are using, and forgets
node after node until it knows none.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any

import hiredis
import redis.exceptions
from redis.asyncio import Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot

from shared.settings import Settings

SOCKET_TIMEOUT_SECONDS = 5.0  # a Redis that does not answer for this long is treated as lost
CONNECT_TIMEOUT_SECONDS = 2.0
REFRESH_SECONDS = 0.1  # least time between two looks at who has which slot

# What a caller catches: Redis is away, slow, or refuses. OSError and TimeoutError come from the socket itself.
RedisError = (redis.exceptions.RedisError, OSError, TimeoutError)

# Answers that say "I did not run this": the client makes types of some, and takes the word away.
_NOT_RUN = (
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.MovedError,
    redis.exceptions.AskError,
    redis.exceptions.TryAgainError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.MasterDownError,
)
_NOT_RUN_WORDS = ("BUSY", "MISCONF", "NOREPLICAS")

Address = tuple[str, int]
Call = tuple[str, Sequence[Any]]  # the key that says where, and the command


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


class Nodes:
    """The connections of one process, by node."""

    def __init__(self, settings: Settings) -> None:
        self.is_cluster = settings.redis_cluster
        self._url = settings.redis_url.get_secret_value()
        self._first = _connect(self._url)
        self._clients: dict[Address, Redis] = {}
        self._owners: dict[int, Address] = {}
        self._is_stale = self.is_cluster
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()

    async def close(self) -> None:
        """Close all connections."""
        for client in (self._first, *self._clients.values()):
            await client.aclose()

    async def ping(self) -> None:
        """Raise RedisError when no node answers."""
        errors = [error for error in await self.everywhere("PING") if isinstance(error, Exception)]
        if len(errors) == len(await self._primaries()):
            raise errors[0]

    async def one(self, key: str, *command: Any) -> Any:
        """Run one command where `key` lives; raises RedisError."""
        [answer] = await self.many([(key, command)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def many(self, calls: Sequence[Call]) -> list[Any]:
        """Run commands, one trip per node; each answer may be an exception."""
        answers = await self._trips(calls)
        moved = [i for i, answer in enumerate(answers) if isinstance(answer, redis.exceptions.MovedError)]
        if moved:
            for i, answer in zip(moved, await self._trips([calls[i] for i in moved]), strict=True):
                answers[i] = answer
        return answers

    async def read(self, cursors: Mapping[str, str], count: int, block_ms: int) -> list[Any]:
        """Wait for messages beyond the cursors of some streams, which on a Cluster are of one slot; raises RedisError.

        Holds a connection meanwhile. `block_ms` stays below the socket's time-out.
        """
        command = ("XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", *cursors, *cursors.values())
        return await self.one(next(iter(cursors)), *command) or []

    async def everywhere(self, *command: Any) -> list[Any]:
        """Run one command on every primary; each answer may be an exception."""
        return [answer for answers in (await self.each(command)).values() for answer in answers]

    async def each(self, *commands: Sequence[Any]) -> dict[str, list[Any]]:
        """Run commands on every primary, one trip each; returns the answers, any of them an exception, by node."""
        nodes = await self._primaries()
        answers = await asyncio.gather(*(self._trip(client, commands) for client in nodes))
        return {_name_of(client): answer for client, answer in zip(nodes, answers, strict=True)}

    async def scan(self, pattern: str, count: int) -> AsyncIterator[list[bytes]]:
        """Walk through the streams of every primary, a page of keys at a time; raises RedisError.

        A key that is there all the time comes at least once.
        """
        for client in await self._primaries():
            cursor = -1
            while cursor:
                command = ("SCAN", max(cursor, 0), "MATCH", pattern, "COUNT", count, "TYPE", "stream")
                [answer] = await self._trip(client, [command])
                if isinstance(answer, Exception):
                    raise answer
                cursor, page = answer
                yield page

    # ---- trips --------------------------------------------------------------------------------------------------

    async def _trips(self, calls: Sequence[Call]) -> list[Any]:
        if not self.is_cluster:
            return await self._trip(self._first, [command for _, command in calls])
        await self._look_if_stale()
        by_node: dict[Address | None, list[int]] = defaultdict(list)
        for i, (key, _) in enumerate(calls):
            by_node[self._owners.get(key_slot(key.encode()))].append(i)
        trips = []
        for address, indexes in by_node.items():
            client = self._clients[address] if address else self._first
            trips.append(self._trip(client, [calls[i][1] for i in indexes]))
        answers: list[Any] = [None] * len(calls)
        for indexes, trip in zip(by_node.values(), await asyncio.gather(*trips), strict=True):
            for i, answer in zip(indexes, trip, strict=True):
                answers[i] = answer
        return answers

    async def _trip(self, client: Redis, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Run commands on one node; when the connection breaks, the error is every command's answer."""
        try:
            if len(commands) == 1:
                answers = [await _heed(client.execute_command(*commands[0]))]  # type: ignore[no-untyped-call]
            else:
                pipeline = client.pipeline(transaction=False)
                for command in commands:
                    pipeline.execute_command(*command)
                answers = await _heed(pipeline.execute(raise_on_error=False))
        except RedisError as error:
            answers = [error] * len(commands)
        if self.is_cluster and any(isinstance(answer, Exception) for answer in answers):
            self._is_stale = True
        return answers

    # ---- who has which slot -------------------------------------------------------------------------------------

    async def _primaries(self) -> list[Redis]:
        await self._look_if_stale()
        return [self._clients[address] for address in set(self._owners.values())] or [self._first]

    async def _look_if_stale(self) -> None:
        if not self._is_stale:
            return
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if not self._is_stale or now - self._looked_at < REFRESH_SECONDS:
                return
            self._looked_at = now
            for client in (self._first, *self._clients.values()):
                try:
                    ranges = await _heed(client.execute_command("CLUSTER SLOTS"))  # type: ignore[no-untyped-call]
                except RedisError:
                    continue
                self._note_owners(client, ranges)
                self._is_stale = False
                return

    def _note_owners(self, asked: Redis, ranges: Any) -> None:
        owners: dict[int, Address] = {}
        for first, last, (host, port, *_), *_ in ranges:
            # A node that does not know its own name leaves it empty: it is the one that was asked.
            address = (host.decode() if host else asked.connection_pool.connection_kwargs["host"], port)
            if address not in self._clients:
                self._clients[address] = _connect(self._url, *address)
            owners.update(dict.fromkeys(range(first, last + 1), address))
        self._owners = owners


class _Connection(Connection):
    """redis-py's, but commands are packed in C: some hundred arguments a time in Python took as long as their trip."""

    def pack_command(self, *args: Any) -> list[bytes]:
        name, *rest = args
        return [hiredis.pack_command((*name.encode().split(), *rest))]  # a name may be two words


def _connect(url: str, host: str = "", port: int = 0) -> Redis:
    """Open a client that hides no retry: those belong to who knows what a repeated call means."""
    client: Redis = Redis.from_url(
        url,
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        connection_class=_Connection,  # over TLS (rediss://) redis-py takes its own
    )
    if host:
        client.connection_pool.connection_kwargs.update(host=host, port=port)
    return client


def _name_of(client: Redis) -> str:
    at = client.connection_pool.connection_kwargs
    return f"{at['host']}:{at['port']}" if "host" in at else str(at.get("path"))


async def _heed(answer: Awaitable[Any]) -> Any:
    """Await an answer of Redis; raise a cancellation that came meanwhile, if the client let it pass.

    It sends within `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that comes as the last byte
    leaves: the loop that was to end would go on for ever.
    """
    try:
        return await answer
    finally:
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError
