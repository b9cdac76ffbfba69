"""Shows how far a long look has come: a bar on a terminal's stderr, nothing elsewhere.

Guarantees that one thing at a time draws on the terminal: no bar within another's, none while a screen is watched.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

_is_drawn_on: ContextVar[bool] = ContextVar("is_drawn_on", default=False)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar until the look is over; yields what is told of each step. `total` is None where it is not known."""
    if _is_drawn_on.get() or not sys.stderr.isatty():
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with without_bars(), Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda steps: bar.advance(task, steps)


@contextmanager
def without_bars() -> Iterator[None]:
    """Draw no bar: something else draws."""
    token = _is_drawn_on.set(True)
    try:
        yield
    finally:
        _is_drawn_on.reset(token)
