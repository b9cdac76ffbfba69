"""The stores as the inspector meets them: every read goes through here.

Guarantees that nothing is written to Postgres by a look (the session is read-only), and that a store that does not
answer is named: Unanswered, in one line. Knows nothing of what is read.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import sql
from shared.database import Connection, DatabaseError, Record, connect
from shared.errors import OperatorError
from shared.node import RedisError, is_refused, is_wrong_type
from shared.nodes import Call, Nodes
from shared.settings import WorkerSettings
from shared.where import names_stores

NAME = "wallet-streams"  # in pg_stat_activity
CALLS_PER_TRIP = 500  # some 2 ms of Redis' time: nobody else waits long, whatever is asked
_UNDEFINED_TABLE = "42P01"
_NOBODY_NAMES_IT = "no `make up` runs in this data folder, and no setting names the stores"


class Unanswered(OperatorError):
    """A store did not answer, or refused; the text names it."""


class Stores:
    """Redis and Postgres, open for looking."""

    def __init__(self, settings: WorkerSettings, nodes: Nodes, books: Connection) -> None:
        self.settings = settings
        self._nodes = nodes
        self._books = books
        self._redis = settings.redis_address
        self._postgres = f"{settings.postgres_host}:{settings.postgres_port}"

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: WorkerSettings, *, writing: bool = False) -> AsyncIterator["Stores"]:
        """Open both; raises Unanswered. `writing` is for those commands that change something."""
        try:
            read_only = "off" if writing else "on"
            books = await connect(settings, NAME, default_transaction_read_only=read_only)
        except DatabaseError as error:
            told = _told("Postgres", f"{settings.postgres_host}:{settings.postgres_port}", error)
            raise Unanswered(told if names_stores(settings) else f"{told} ({_NOBODY_NAMES_IT})") from None
        nodes = Nodes(settings)
        try:
            stores = cls(settings, nodes, books)
            await stores.agree_on_partitions()
            yield stores
        finally:
            await nodes.close()
            books.terminate()

    @property
    def partitions(self) -> range:
        """All partitions."""
        return range(self.settings.partition_count)

    async def agree_on_partitions(self) -> None:
        """Take the partition count that is in the books, whatever this process is configured with."""
        stored = await self.value(sql.query("read_partition_count"))
        if stored:
            self.settings = self.settings.model_copy(update={"partition_count": stored})

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Have what is asked of Postgres meanwhile happen at once, or not at all; raises Unanswered."""
        try:
            async with self._books.transaction():
                yield
        except DatabaseError as error:
            raise self._unanswered_by_books(error) from None

    # ---- Redis --------------------------------------------------------------------------------------------------

    async def one(self, key: str, *command: Any) -> Any:
        """Run one command where `key` lives; raises Unanswered."""
        return (await self.many([(key, command)]))[0]

    async def many(self, calls: Sequence[Call]) -> list[Any]:
        """Run commands in as few trips as is decent; raises Unanswered when one has no answer."""
        answers: list[Any] = []
        for start in range(0, len(calls), CALLS_PER_TRIP):
            answers += await self._nodes.many(calls[start : start + CALLS_PER_TRIP])
        for (key, _), answer in zip(calls, answers, strict=True):
            if is_wrong_type(answer):
                raise Unanswered(
                    f"Redis at {self._redis} has something else at {key} than this service puts there: somebody wrote "
                    "it by hand. Delete that key, then run `repair`."
                )
            if isinstance(answer, Exception):
                raise self.unanswered(answer)
        return answers

    async def each(self, *commands: Sequence[Any]) -> dict[str, list[Any]]:
        """Run commands on every node; what a node refuses is an exception in its answers. Raises Unanswered."""
        by_node = await self._nodes.each(*commands)
        for node, answers in by_node.items():
            for answer in answers:
                if isinstance(answer, Exception) and not is_refused(answer):
                    raise Unanswered(_told("Redis", node, answer))
        return by_node

    async def scan(self, pattern: str, count: int) -> AsyncIterator[list[bytes]]:
        """Walk through the streams of all nodes, a page of keys at a time; raises Unanswered."""
        try:
            async for page in self._nodes.scan(pattern, count):
                yield page
        except RedisError as error:
            raise self.unanswered(error) from None

    def unanswered(self, error: Exception) -> Unanswered:
        """Return an error of Redis as the line that names it."""
        return Unanswered(_told("Redis", self._redis, error))

    # ---- Postgres -----------------------------------------------------------------------------------------------

    async def rows(self, statement: str, *values: Any) -> list[Record]:
        """Run a statement; raises Unanswered."""
        try:
            return list(await self._books.fetch(statement, *values))
        except DatabaseError as error:
            raise self._unanswered_by_books(error) from None

    async def value(self, statement: str, *values: Any) -> Any:
        """Run a statement for the first column of its first row, None without one; raises Unanswered."""
        try:
            return await self._books.fetchval(statement, *values)
        except DatabaseError as error:
            raise self._unanswered_by_books(error) from None

    def _unanswered_by_books(self, error: Exception) -> Unanswered:
        if getattr(error, "sqlstate", "") == _UNDEFINED_TABLE:
            return Unanswered(
                f"Postgres at {self._postgres} has no tables of this release ({error}): start a worker or a gateway "
                "of it first, they bring the schema up to date."
            )
        return Unanswered(_told("Postgres", self._postgres, error))


def _told(store: str, address: str, error: object) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{store} at {address} did not answer: {reason}"
