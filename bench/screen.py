"""What is seen while a run goes on, and the table at its end. Knows nothing of how figures come about."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.status import Status
from rich.table import Table

WIDTH_IN_A_FILE = 140
BUSY_SHARE = 0.5  # of the cores
STOLEN_SHARE = 0.05  # of their time
HEADINGS = ("scenario", "service/s", "p50 ms", "p99 ms", "beside", "per s", "p50 ms", "p99 ms", "pgbench/s")


class Screen:
    """A line that says what is being done, a line per result, and the table."""

    def __init__(self) -> None:
        """Progress goes to standard error: standard output is for the figures."""
        self._console = Console(stderr=True, highlight=False)
        self._status = Status("starting the stores", console=self._console, refresh_per_second=2)
        self._doing = ""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show what is being done, on a terminal."""
        with self._status:
            yield

    def begin(self, name: str) -> None:
        """Something new begins."""
        self._doing = name

    def tell(self, what: str) -> None:
        """Say what is being done."""
        line = f"{self._doing} · {what}" if self._doing else what
        self._status.update(line)
        if not self._console.is_terminal:
            self._console.print(line, soft_wrap=True)

    def conditions(self, conditions: Mapping[str, Any]) -> None:
        """Warn of a machine that does something else as well."""
        if conditions["load_before"] > conditions["cores"] * BUSY_SHARE:
            self._console.print(
                f"[yellow]This machine is busy (load {conditions['load_before']}, {conditions['cores']} cores): "
                "figures and ratios of this run mean little.[/]",
                soft_wrap=True,
            )

    def scenario(self, measured: Mapping[str, Any]) -> None:
        """Say what a scenario came to."""
        for goal in measured["goals"]:
            mark = "[green]met[/]" if goal["met"] else "[red]not met[/]"
            self._console.print(
                f"[bold]{measured['name']}[/] · {goal['text']}: {goal['value']:.2f} {mark}", soft_wrap=True
            )
        stolen = max(stolen_shares(measured["rounds"]), default=0.0)
        if stolen > STOLEN_SHARE:
            self._console.print(
                f"[yellow]{measured['name']}: this machine's host took up to {stolen:.0%} of the cores' time in a "
                "round: the figures mean less.[/]",
                soft_wrap=True,
            )

    def part(self, name: str, said: str) -> None:
        """Say what a part about costs came to."""
        self._console.print(f"[bold]{name}[/] · {said}", soft_wrap=True)

    @staticmethod
    def table(report: Mapping[str, Any]) -> None:
        """Print the tables of a report."""
        out = Console(highlight=False)
        if not out.is_terminal:
            out.width = WIDTH_IN_A_FILE
        if report["scenarios"]:
            out.print(_table(HEADINGS, [_row(measured) for measured in report["scenarios"]]))
            goals = [
                [
                    measured["name"],
                    goal["text"],
                    f"{goal['value']:.2f}",
                    "[green]met[/]" if goal["met"] else "[red]not met[/]",
                ]
                for measured in report["scenarios"]
                for goal in measured["goals"]
            ]
            out.print(_table(("scenario", "goal", "measured", ""), goals))
        for part in report["parts"]:
            out.print(f"[bold]{part['title']}[/]")
            out.print(_table(part["columns"], [[written(cell) for cell in row] for row in part["rows"]]))


def stolen_shares(rounds: Sequence[Mapping[str, float]]) -> list[float]:
    """Return the share of the cores' time that the host took, of each round the most of its sides; [] if not noted."""
    noted = [[share for name, share in figures.items() if name.endswith("_stolen_share")] for figures in rounds]
    return [max(shares) for shares in noted if shares]


def written(cell: str | float | None) -> str:
    """Write a figure with as many digits as mean something."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, heading in enumerate(headings):
        is_number = any(row[position].replace(",", "").replace(".", "").isdigit() for row in rows)
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=is_number)
    for row in rows:
        table.add_row(*row)
    return table


def _row(measured: Mapping[str, Any]) -> list[str]:
    medians = measured["medians"]
    other = compared_with(medians)
    name = f"{other}, pool {measured['pool_size']}" if other == "direct" else other
    pgbench = written(medians["pgbench_rate"]) if "pgbench_rate" in medians else ""
    return [measured["name"], *_numbers(medians, "service"), name, *_numbers(medians, other), pgbench]


def compared_with(medians: Mapping[str, float]) -> str:
    """Name the side that the service is compared with."""
    return next(side for side in sides_of(medians) if side not in {"service", "pgbench"})


def sides_of(medians: Mapping[str, float]) -> list[str]:
    """Name the sides that were measured, the service first."""
    sides = [name.removesuffix("_rate") for name in medians if name.endswith("_rate")]
    return sorted(sides, key=lambda side: side != "service")


def _numbers(medians: Mapping[str, float], side: str) -> list[str]:
    return [written(medians[f"{side}_{figure}"]) for figure in ("rate", "p50_ms", "p99_ms")]
