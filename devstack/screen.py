"""What `make up` says on the terminal: a line per step, ticked when it is done, and one line when it cannot go on.

Guarantees that a terminal that went away never keeps the stack from being stopped: what cannot be written is dropped.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO


class Step:
    """One line of progress, while the step is under way."""

    def __init__(self) -> None:
        """Begin without a remark."""
        self.remark = ""


def say(line: str = "", *, to: TextIO | None = None, end: str = "\n") -> None:
    """Write one line at once."""
    stream = to or sys.stdout
    try:
        print(line, end=end, file=stream, flush=True)
    except UnicodeEncodeError:  # a terminal without ticks
        print(line.encode("ascii", "replace").decode(), end=end, file=stream, flush=True)
    except OSError:  # the terminal is gone, or the reader of the pipe: nothing is to be said there any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def step(name: str) -> Iterator[Step]:
    """Show that `name` is under way, and tick it with its time when the block ends well; set `remark` to say more."""
    under_way = Step()
    began = time.monotonic()
    passing = sys.stdout.isatty()
    if passing:
        say(f"  · {name} …", end="\r")
    try:
        yield under_way
    except BaseException:
        if passing:
            say(f"  ✗ {name}\x1b[K")
        raise
    wipe = "\x1b[K" if passing else ""
    say(f"  ✓ {name:<12} {under_way.remark:<40} {time.monotonic() - began:5.1f} s{wipe}")


def fail(message: str, log_tail: Iterable[str] = ()) -> None:
    """Say on stderr why the stack cannot go on: one line, and the log lines that show it, if any."""
    say(f"make up: {message}", to=sys.stderr)
    for line in log_tail:
        say(f"    {line}", to=sys.stderr)
