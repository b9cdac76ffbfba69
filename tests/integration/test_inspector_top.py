"""`top`, driven by keys through textual's own test pilot, over real stores in a known state."""

from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from devstack.redis import Redis
from inspector.top import Board, Top
from shared.settings import Settings, WorkerSettings
from shared.streams import Streams
from tests.commands import deposit, wallet_in
from tests.waiting import until

COUNT = Settings.model_fields["partition_count"].default
P = 3


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.reading.partitions.SAMPLE_SECONDS", 0.1)


def column(board: Board, index: int) -> list[str]:
    return [str(board.get_row_at(row)[index]) for row in range(board.row_count)]


async def seen(app: Top) -> None:
    async def has_seen() -> bool:
        return app.has_seen and app.query_one("#wallets", Board).row_count > 0

    await until(has_seen)


async def pressed(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()


async def test_top__shows_sorts_and_moves_by_keys_and_quits(stores: dict[str, Any], streams: Streams) -> None:
    wallets = {}
    for waiting in (3, 9, 5):
        wallet_id = wallet_in(P, COUNT)
        await streams.submit([deposit(wallet_id) for _ in range(waiting)], 100, 1_000)
        wallets[waiting] = str(wallet_id)
    app = Top(WorkerSettings(**stores))
    async with app.run_test(size=(140, 40)) as pilot:
        await seen(app)
        await pressed(pilot, "space")  # nothing moves by itself from here on
        board = app.query_one("#wallets", Board)
        assert column(board, 0) == ["9", "5", "3"]
        assert column(board, 2) == [wallets[9], wallets[5], wallets[3]]
        assert column(board, 4) == ["nobody"] * 3

        await pressed(pilot, "r")
        assert column(board, 0) == ["3", "5", "9"]

        assert board.cursor_row == 0  # not moved yet, it stays at the top
        await pressed(pilot, "w", "down", "down")
        assert board.get_row_at(board.cursor_row)[2] == wallets[9]
        await pressed(pilot, "r")  # moved, it stays on its wallet
        assert (board.cursor_row, board.get_row_at(0)[2]) == (0, wallets[9])
        await pressed(pilot, "down", "r")
        assert board.get_row_at(board.cursor_row)[2] == wallets[5]
        await pressed(pilot, "r", "down", "r")
        assert (board.cursor_row, board.get_row_at(0)[2]) == (0, wallets[3])
        await pressed(pilot, "r", "up")

        await pressed(pilot, "s", "s")  # by wallet
        assert column(board, 2) == sorted(wallets.values(), reverse=True)

        await pressed(pilot, "p")
        partitions = app.query_one("#partitions", Board)
        assert app.focused is partitions
        assert column(partitions, 5)[0] == f"{P:02d}"  # the slowest stands first
        assert column(partitions, 1)[0] == "17"
        await pressed(pilot, "o")
        assert app.focused is app.query_one("#workers", Board)

        await pressed(pilot, "q")
    assert not app.is_running


async def test_top__follows_what_changes(stores: dict[str, Any], streams: Streams) -> None:
    wallet_id = wallet_in(P, COUNT)
    await streams.submit([deposit(wallet_id)], 100, 1_000)
    app = Top(WorkerSettings(**stores))
    async with app.run_test(size=(140, 40)):
        await seen(app)
        board = app.query_one("#wallets", Board)
        assert column(board, 0) == ["1"]

        await streams.submit([deposit(wallet_id)], 100, 1_000)

        async def is_followed() -> bool:
            return column(board, 0) == ["2"]

        await until(is_followed)


async def test_top_of_a_store_that_goes_away__says_so_and_goes_on(
    on_own_redis: dict[str, Any], own_redis: Redis
) -> None:
    app = Top(WorkerSettings(**on_own_redis))
    async with app.run_test(size=(140, 40)):
        line = app.query_one("#line", Static)

        async def says(text: str) -> None:
            async def is_said() -> bool:
                return text in str(line.render())

            await until(is_said)

        await says("without an owner")
        own_redis.kill()
        await says(f"Redis at {own_redis.host}:{own_redis.port} did not answer")
        own_redis.start()
        await says("without an owner")
