"""`top`: three live tables on a full screen, sortable, with keys to move.

Guarantees that a store that is away is said in the last line, and that the tables go on once it is back. Knows how to
show what was seen; how it is seen is the reading side's.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Static

from inspector import tables
from inspector.reading.partitions import read_partitions
from inspector.reading.waiting import read_hottest
from inspector.reading.workers import recent, workers_of
from inspector.seen import PartitionsSeen, WaitingWallet, WorkersSeen
from inspector.stores import Stores
from shared.errors import ServiceError
from shared.settings import WorkerSettings

LOOK_SECONDS = 1.0  # pause after a store did not answer
PAUSE_SECONDS = 0.1  # between two looks, each of which takes the second between its two readings
ROWS_MAX = 200  # nobody scrolls further, and a screen must stay quick


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, how a row's cell is written, and by what it is sorted."""

    title: str
    text: Callable[[Any], str]
    sort: Callable[[Any], Any]


WALLETS = (
    Column("waiting", lambda w: tables.number(w.waiting), lambda w: w.waiting),
    Column("oldest", lambda w: tables.age(w.oldest_age_seconds), lambda w: w.oldest_age_seconds),
    Column("wallet", lambda w: w.wallet_id, lambda w: w.wallet_id),
    Column("partition", lambda w: f"{w.partition:02d}", lambda w: w.partition),
    Column("owner", lambda w: w.owner or "nobody", lambda w: w.owner or ""),
)
PARTITIONS = (
    Column("oldest", lambda p: tables.age(p.oldest_age_seconds), lambda p: p.oldest_age_seconds or 0.0),
    Column("waiting", lambda p: tables.number(p.waiting), lambda p: p.waiting),
    Column("ready", lambda p: tables.number(p.ready_wallets), lambda p: p.ready_wallets),
    Column("in/s", lambda p: tables.rate(p.in_per_second), lambda p: p.in_per_second or 0.0),
    Column("out/s", lambda p: tables.rate(p.out_per_second), lambda p: p.out_per_second or 0.0),
    Column("partition", lambda p: f"{p.partition:02d}", lambda p: p.partition),
    Column("owner", lambda p: p.owner or "nobody", lambda p: p.owner or ""),
)
WORKERS = (
    Column("ops/s", lambda w: tables.rate(w.ops_per_second), lambda w: w.ops_per_second or 0.0),
    Column("worker", lambda w: w.name, lambda w: w.name),
    Column("partitions", lambda w: str(len(w.partitions)), lambda w: len(w.partitions)),
    Column("batch", lambda w: tables.batch(w.batch_size), lambda w: w.batch_size or 0),
    Column("last batch", lambda w: tables.clock(w.last_batch_at), lambda w: tables.clock(w.last_batch_at)),
    Column("heard", lambda w: tables.age(w.silent_seconds), lambda w: w.silent_seconds),
    Column("draining", lambda w: "yes" if w.draining else "no", lambda w: w.draining),
)


class Board(DataTable[str]):
    """One sortable table. A cursor that was moved stays on its row when rows change places."""

    def __init__(self, title: str, columns: Sequence[Column], key_of: Callable[[Any], str], **options: Any) -> None:
        super().__init__(cursor_type="row", zebra_stripes=True, **options)
        self.border_title = title
        self._columns = columns
        self._key_of = key_of
        self._sorted_by = 0
        self._is_descending = True
        self._seen: list[Any] = []

    def on_mount(self) -> None:
        self._fill()

    def show(self, seen: Sequence[Any]) -> None:
        """Show these, sorted as was chosen."""
        self._seen = list(seen)
        self._fill()

    def sort_by_next(self) -> None:
        """Sort by the next column, largest first."""
        self._sorted_by, self._is_descending = (self._sorted_by + 1) % len(self._columns), True
        self._fill()

    def turn_around(self) -> None:
        """Sort the other way round."""
        self._is_descending = not self._is_descending
        self._fill()

    def _fill(self) -> None:
        at = self.cursor_row
        kept = self.ordered_rows[at].key.value if 0 <= at < self.row_count else None
        self.clear(columns=True)
        arrow = "▼" if self._is_descending else "▲"
        for i, column in enumerate(self._columns):
            self.add_column(f"{column.title} {arrow}" if i == self._sorted_by else column.title)
        rows = sorted(self._seen, key=self._columns[self._sorted_by].sort, reverse=self._is_descending)[:ROWS_MAX]
        for row in rows:
            self.add_row(*(column.text(row) for column in self._columns), key=self._key_of(row))
        if at > 0 and rows:  # who has not moved looks at the top of the list, whoever is there
            names = [self._key_of(row) for row in rows]
            self.move_cursor(row=names.index(kept) if kept in names else min(at, len(rows) - 1))


class Top(App[None]):
    """The screen."""

    TITLE = "wallet-streams top"
    CSS = """
    Board { height: 1fr; border: round $primary; }
    Board:focus { border: round $accent; }
    #workers { height: 9; }
    #line { height: 1; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("s", "sort", "Sort by next column"),
        Binding("r", "turn", "Reverse"),
        Binding("w", "board('wallets')", "Wallets"),
        Binding("p", "board('partitions')", "Partitions"),
        Binding("o", "board('workers')", "Workers"),
        Binding("space", "pause", "Pause"),
    ]

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__()
        self._settings = settings
        self._is_paused = False
        self.trouble = ""
        self.has_seen = False

    def compose(self) -> ComposeResult:
        yield Board("hottest wallets", WALLETS, lambda w: str(w.wallet_id), id="wallets")
        yield Board("slowest partitions", PARTITIONS, lambda p: str(p.partition), id="partitions")
        yield Board("workers", WORKERS, lambda w: f"{w.name} {w.pid}", id="workers")
        yield Static("looking …", id="line")
        yield Footer()

    def on_mount(self) -> None:
        self.run_worker(self._look_for_ever())

    def action_sort(self) -> None:
        self._board().sort_by_next()

    def action_turn(self) -> None:
        self._board().turn_around()

    def action_board(self, name: str) -> None:
        self.query_one(f"#{name}", Board).focus()

    def action_pause(self) -> None:
        self._is_paused = not self._is_paused
        self._say("paused: space goes on" if self._is_paused else "looking …")

    def _board(self) -> Board:
        return self.focused if isinstance(self.focused, Board) else self.query_one("#wallets", Board)

    async def _look_for_ever(self) -> None:
        while True:
            if not self._is_paused:
                await self._look()
            await asyncio.sleep(LOOK_SECONDS if self.trouble else PAUSE_SECONDS)

    async def _look(self) -> None:
        """Look once, which takes the second between two readings; a store that is away is said."""
        try:
            async with Stores.open(self._settings) as stores:
                wallets = await read_hottest(stores, ROWS_MAX)
                newest = await recent(stores)
                partitions = await read_partitions(stores)
                workers = await workers_of(stores, partitions, newest)
        except ServiceError as error:
            self.trouble = error.detail
            self._say(error.detail)
            return
        self.trouble, self.has_seen = "", True
        if not self._is_paused:
            self._show(wallets, partitions, workers)

    def _show(self, wallets: Sequence[WaitingWallet], partitions: PartitionsSeen, workers: WorkersSeen) -> None:
        self.query_one("#wallets", Board).show(wallets)
        self.query_one("#partitions", Board).show(partitions.partitions)
        self.query_one("#workers", Board).show(workers.workers)
        speeds = [p.out_per_second for p in partitions.partitions if p.out_per_second is not None]
        waiting = sum(p.waiting for p in partitions.partitions)
        free = len(workers.partitions_without_owner)
        owned = f"{free} partitions without an owner" if free else "all partitions owned"
        self._say(f"{tables.rate(sum(speeds))} out/s · {tables.number(waiting)} waiting · {owned}")

    def _say(self, line: str) -> None:
        self.query_one("#line", Static).update(line)
