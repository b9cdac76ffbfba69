"""Hundreds of wallets whose rows somebody else has locked, as a long transaction by hand does: others are served."""

import time
from typing import Any

import pytest

from shared.commands import Reply
from shared.database import connect
from shared.settings import WorkerSettings
from shared.streams import Streams
from tests.books import BooksAsTheyStand
from tests.commands import deposit, wallet_in
from tests.integration.stage import working
from tests.waiting import until
from worker.store import Store, WalletsLocked

COUNT = 64
SAME, OTHER = 5, 9  # partitions
LOCKED = 300
ASIDE_SECONDS = 0.5  # instead of 5: less to wait for
LOCKED_FOR_SECONDS = 5 * ASIDE_SECONDS


async def test_many_wallets_locked_for_long__are_waited_for_once_and_the_others_are_served(
    worker_settings: WorkerSettings, streams: Streams, books: BooksAsTheyStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.aside.ASIDE_SECONDS", ASIDE_SECONDS)
    waits = _note_waits(monkeypatch)
    locked = [wallet_in(SAME, COUNT) for _ in range(LOCKED)]
    others = [wallet_in(partition, COUNT) for partition in (SAME, OTHER)]
    await books.connection.executemany("INSERT INTO wallets (id) VALUES ($1)", [(w,) for w in (*locked, *others)])
    by_hand, rounds = await connect(worker_settings, "by hand"), 0

    async def are_settled() -> bool:
        return {len(await books.operations(wallet_id)) for wallet_id in others} == {rounds}

    async def all_are_settled() -> bool:
        count = await books.connection.fetchval("SELECT count(*) FROM operations")
        return bool(count == LOCKED + len(others) * rounds)

    async with working(worker_settings):
        async with by_hand.transaction():
            await by_hand.execute("UPDATE wallets SET balance = balance WHERE id = ANY ($1::uuid[])", locked)
            await streams.submit([deposit(wallet_id) for wallet_id in locked], 100, 1_000)
            until_when = time.monotonic() + LOCKED_FOR_SECONDS
            while time.monotonic() < until_when or rounds < 5:
                rounds += 1
                await streams.submit([deposit(wallet_id) for wallet_id in others], 100, 1_000)
                await until(are_settled)
        await until(all_are_settled, 10)
    await by_hand.close()

    # Each wait is a second in which this worker serves nobody.
    assert len(waits) == 1
    assert {len(await books.operations(wallet_id)) for wallet_id in locked} == {1}


def _note_waits(monkeypatch: pytest.MonkeyPatch) -> list[WalletsLocked]:
    """Return what will hold each time that a worker waited for a row in vain."""
    waits: list[WalletsLocked] = []
    settle = Store.settle

    async def settle_and_note(*args: Any) -> list[Reply]:
        try:
            return await settle(*args)
        except WalletsLocked as error:
            waits.append(error)
            raise

    monkeypatch.setattr(Store, "settle", settle_and_note)
    return waits
