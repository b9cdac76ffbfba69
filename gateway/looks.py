"""Looks at wallets, many at a time: those asked for while one query is under way are the next query's.

Guarantees that a look is answered by a query that began after it was asked, so that a caller reads its own writes.
There is no timer, and nothing is kept: a lone look is a query of its own.
"""

import asyncio
from collections.abc import Callable
from itertools import islice
from uuid import UUID

import sql
from shared.commands import Wallet
from shared.database import DatabaseLost, Pool, Record
from shared.errors import Unavailable
from shared.process import end_process_when_broken
from shared.records import wallet_of

LOOKS_MAX = 500  # wallets in one query: some milliseconds
LOOK_SECONDS_MAX = 5.0  # a query by key that takes longer is lost

# Takes the wallet, None where there is none, or what went wrong. Called once, and must not raise.
Tell = Callable[[Wallet | Exception | None], None]


class Looks:
    """The looks of one gateway process, over its pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._asked: dict[UUID, list[Tell]] = {}
        self._reading: asyncio.Task[None] | None = None

    def begin(self, wallet_id: UUID, tell: Tell) -> None:
        """Look at a wallet; `tell` hears what is there."""
        self._asked.setdefault(wallet_id, []).append(tell)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="looks")
            self._reading.add_done_callback(end_process_when_broken)

    async def wallet(self, wallet_id: UUID) -> Wallet | None:
        """Return a wallet, or None when there is none; raises Unavailable."""
        future: asyncio.Future[Wallet | None] = asyncio.get_running_loop().create_future()

        def tell(seen: Wallet | Exception | None) -> None:
            if future.done():
                return
            if isinstance(seen, Exception):
                future.set_exception(seen)
            else:
                future.set_result(seen)

        self.begin(wallet_id, tell)
        return await future

    async def _read(self) -> None:
        while self._asked:
            asked = {wallet_id: self._asked.pop(wallet_id) for wallet_id in list(islice(self._asked, LOOKS_MAX))}
            try:
                rows = await self._rows(list(asked))
            except Exception as error:  # noqa: BLE001 each who asked hears of it
                # So does who asked meanwhile: they would wait as long for the same.
                asked |= {wallet_id: asked.get(wallet_id, []) + tells for wallet_id, tells in self._asked.items()}
                self._asked.clear()
                for tells in asked.values():
                    for tell in tells:
                        tell(_told(error))
            else:
                seen = {row["id"]: wallet_of(row) for row in rows}
                for wallet_id, tells in asked.items():
                    for tell in tells:
                        tell(seen.get(wallet_id))
        self._reading = None

    async def _rows(self, wallet_ids: list[UUID]) -> list[Record]:
        try:
            return await self._pool.fetch(sql.query("read_wallets"), wallet_ids, timeout=LOOK_SECONDS_MAX)
        except TimeoutError:
            raise
        except DatabaseLost:
            # Most likely this one session alone, which many share here: once more, on another.
            return await self._pool.fetch(sql.query("read_wallets"), wallet_ids, timeout=LOOK_SECONDS_MAX)


def _told(error: Exception) -> Exception:
    if not isinstance(error, DatabaseLost):
        return error
    unavailable = Unavailable("The database does not answer.")
    unavailable.__cause__ = error
    return unavailable
