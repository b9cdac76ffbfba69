"""`python -m tests.faults.crashing_worker`: the real worker, which sends itself a signal at one named point, once.

CRASH_POINT names the point, CRASH_SIGNAL the signal (SIGKILL to die there, SIGSTOP to freeze there). Only methods at
the seams between the worker's stages are wrapped; the service itself knows nothing of this.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

import sql
from shared.commands import Reply
from shared.database import Connection
from shared.messages import Claim
from shared.streams import Streams
from worker.__main__ import main
from worker.store import Store

_done = False


def crash() -> None:
    """Send the signal, the first time."""
    global _done  # noqa: PLW0603 one process, one crash
    if not _done:
        _done = True
        os.kill(os.getpid(), signal.Signals[os.environ["CRASH_SIGNAL"]])


def after_claim() -> None:
    """Messages were read, nothing is settled."""
    claim = Streams.claim

    async def wrapped(self: Streams, *args: Any) -> list[Claim]:
        claims = await claim(self, *args)
        if any(each.messages for each in claims):
            crash()
        return claims

    Streams.claim = wrapped  # type: ignore[method-assign,assignment]


def before_write() -> None:
    """The outcomes are known, and nothing is written."""
    execute = Connection.execute

    async def wrapped(self: Connection, query: str, *args: Any, **kwargs: Any) -> str:
        if query == sql.query("settle_batch"):
            crash()
        return await execute(self, query, *args, **kwargs)

    Connection.execute = wrapped  # type: ignore[method-assign]


def in_the_write() -> None:
    """The statement is on its way; Postgres may commit it or not, and nobody here hears of it."""
    execute = Connection.execute

    async def wrapped(self: Connection, query: str, *args: Any, **kwargs: Any) -> str:
        writing = asyncio.ensure_future(execute(self, query, *args, **kwargs))
        if query == sql.query("settle_batch"):
            await asyncio.sleep(0)  # prepares it, the first time
            await asyncio.sleep(0.01)  # and sends it
            crash()
        return await writing

    Connection.execute = wrapped  # type: ignore[method-assign]


def after_commit() -> None:
    """The outcomes are committed, nobody was told."""
    settle = Store.settle

    async def wrapped(self: Store, *args: Any, **kwargs: Any) -> list[Reply]:
        replies = await settle(self, *args, **kwargs)
        crash()
        return replies

    Store.settle = wrapped  # type: ignore[method-assign]


def after_replies() -> None:
    """Everybody was told, the messages are still in their streams."""
    finish = Streams.finish

    async def wrapped(self: Streams, claims: Sequence[Claim], *args: Any) -> None:
        if not _done:
            await finish(self, [], *args)  # the replies alone
            crash()
        await finish(self, claims, *args)

    Streams.finish = wrapped  # type: ignore[method-assign,assignment]


POINTS: dict[str, Callable[[], None]] = {
    point.__name__: point for point in (after_claim, before_write, in_the_write, after_commit, after_replies)
}

if __name__ == "__main__":
    POINTS[os.environ["CRASH_POINT"]]()
    main()
