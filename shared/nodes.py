"""Where the keys live: on one Redis, or on the nodes of a Cluster.

Guarantees that a call reaches the node that has its key's slot, that no call is repeated unless it certainly did not
run, and that a node that is away or silent takes nobody else along. Knows nothing of what the keys mean.

redis-py's own Cluster client was tried first: when a node dies it closes connections that others are using, and forgets
node after node until it knows none.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any

from redis.crc import key_slot
from redis.exceptions import AskError, MovedError

from shared.messages import START
from shared.node import Node
from shared.settings import Settings

REFRESH_SECONDS = 0.1  # least time between two looks at who has which slot

# Commands that may be asked of the node that a slot is moving to.
READS = ("XRANGE", "XREAD")

Address = tuple[str, int]
Call = tuple[str, Sequence[Any]]  # the key that says where, and the command


class Nodes:
    """The connections of one process, by node."""

    def __init__(self, settings: Settings) -> None:
        self.is_cluster = settings.redis_cluster
        url = settings.redis_url.get_secret_value()
        self._urls = url.split(",") if self.is_cluster else [url]
        self._seeds = [Node(each, avoids_silence=self.is_cluster) for each in self._urls]
        self._nodes: dict[Address, Node] = {}
        self._owners: dict[int, Address] = {}
        self._is_stale = self.is_cluster
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()

    async def close(self) -> None:
        """Close all connections."""
        for node in (*self._seeds, *self._nodes.values()):
            await node.close()

    async def ping(self) -> None:
        """Raise RedisError when no node answers."""
        errors = [error for error in await self.everywhere("PING") if isinstance(error, Exception)]
        if len(errors) == len(await self._primaries()):
            raise errors[0]

    async def silent(self) -> list[str]:
        """Return what does not answer: `redis`, or of a Cluster which nodes."""
        away = [name for name, [answer] in (await self.each(("PING",))).items() if isinstance(answer, Exception)]
        return [f"redis {name}" for name in away] if self.is_cluster else ["redis" for _ in away]

    async def one(self, key: str, *command: Any) -> Any:
        """Run one command where `key` lives; raises RedisError."""
        [answer] = await self.many([(key, command)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def many(self, calls: Sequence[Call]) -> list[Any]:
        """Run commands, one trip per node; each answer may be an exception."""
        if not self.is_cluster:
            return await self._trip(self._seeds[0], [command for _, command in calls])
        await self._look_if_stale()
        asked = [self._owner_of(key) for key, _ in calls]
        answers = await self._trips(calls, asked)
        moved = [i for i, answer in enumerate(answers) if isinstance(answer, MovedError)]
        if moved:
            # To the node that is named, whatever others say: after a move some do not know of it yet, or never will.
            for i in moved:
                asked[i] = self._named_in(answers[i], asked[i])
            again = await self._trips([calls[i] for i in moved], [asked[i] for i in moved])
            for i, answer in zip(moved, again, strict=True):
                answers[i] = answer
        for i, answer in enumerate(answers):
            if isinstance(answer, AskError) and calls[i][1][0] in READS:
                # Of the node that a slot is moving to. What changes something waits: its keys move one by one.
                answers[i] = (await self._named_in(answer, asked[i]).trip([("ASKING",), calls[i][1]]))[1]
        return answers

    async def read(self, streams: Sequence[str], count: int, block_ms: int, after: str = START) -> list[Any]:
        """Wait for messages beyond an id in some streams, which on a Cluster are of one slot; raises RedisError.

        Holds a connection meanwhile. `block_ms` stays below the socket's time-out.
        """
        command = ("XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", *streams, *[after] * len(streams))
        return await self.one(streams[0], *command) or []

    async def everywhere(self, *command: Any) -> list[Any]:
        """Run one command on every primary; each answer may be an exception."""
        return [answer for answers in (await self.each(command)).values() for answer in answers]

    async def each(self, *commands: Sequence[Any]) -> dict[str, list[Any]]:
        """Run commands on every primary, one trip each; returns the answers, any of them an exception, by node."""
        nodes = await self._primaries()
        answers = await asyncio.gather(*(self._trip(node, commands) for node in nodes))
        return {node.name: answer for node, answer in zip(nodes, answers, strict=True)}

    async def scan(self, pattern: str, count: int, *, streams_only: bool = True) -> AsyncIterator[list[bytes]]:
        """Walk through the keys of every primary, of streams or of all types, a page at a time.

        A key that is there all the time comes at least once. Raises RedisError, once the nodes that answer were walked.
        """
        which = ("MATCH", pattern, "COUNT", count, *(("TYPE", "stream") if streams_only else ()))
        failure: Exception | None = None
        for node in await self._primaries():
            cursor = -1
            while cursor:
                command = ("SCAN", max(cursor, 0), *which)
                [answer] = await self._trip(node, [command])
                if isinstance(answer, Exception):
                    failure = answer
                    break
                cursor, page = answer
                yield page
        if failure:
            raise failure

    # ---- trips --------------------------------------------------------------------------------------------------

    async def _trips(self, calls: Sequence[Call], nodes: Sequence[Node]) -> list[Any]:
        """Run each command on its node."""
        by_node: dict[Node, list[int]] = defaultdict(list)
        for i, node in enumerate(nodes):
            by_node[node].append(i)
        trips = [self._trip(node, [calls[i][1] for i in indexes]) for node, indexes in by_node.items()]
        answers: list[Any] = [None] * len(calls)
        for indexes, trip in zip(by_node.values(), await asyncio.gather(*trips), strict=True):
            for i, answer in zip(indexes, trip, strict=True):
                answers[i] = answer
        return answers

    async def _trip(self, node: Node, commands: Sequence[Sequence[Any]]) -> list[Any]:
        answers = await node.trip(commands)
        if self.is_cluster and any(isinstance(answer, Exception) for answer in answers):
            self._is_stale = True
        return answers

    # ---- who has which slot -------------------------------------------------------------------------------------

    async def _primaries(self) -> list[Node]:
        await self._look_if_stale()
        return [self._nodes[address] for address in set(self._owners.values())] or [self._seeds[0]]

    def _owner_of(self, key: str) -> Node:
        address = self._owners.get(key_slot(key.encode()))
        return self._nodes[address] if address else self._seeds[0]

    def _named_in(self, redirection: AskError, asked: Node) -> Node:
        """Return the node that an answer names; a node that does not know its own name leaves the host empty."""
        return self._node_at((redirection.host or asked.host, redirection.port))

    def _node_at(self, address: Address) -> Node:
        if address not in self._nodes:
            self._nodes[address] = Node(self._urls[0], address, avoids_silence=True)
        return self._nodes[address]

    async def _look_if_stale(self) -> None:
        if not self._is_stale:
            return
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if not self._is_stale or now - self._looked_at < REFRESH_SECONDS:
                return
            self._looked_at = now
            for node in sorted((*self._nodes.values(), *self._seeds), key=lambda node: node.is_silent):
                [ranges] = await node.trip([("CLUSTER SLOTS",)])
                if not isinstance(ranges, Exception) and ranges:
                    self._note_owners(node, ranges)
                    self._is_stale = False
                    return

    def _note_owners(self, asked: Node, ranges: Any) -> None:
        owners: dict[int, Address] = {}
        for first, last, (host, port, *_), *_ in ranges:
            # A node that does not know its own name leaves it empty: it is the one that was asked.
            address = (host.decode() if host else asked.host, port)
            self._node_at(address)
            owners.update(dict.fromkeys(range(first, last + 1), address))
        self._owners = owners
