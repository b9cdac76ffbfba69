"""How what was seen is shown: tables for people, one JSON document for programs, again and again with `--watch`.

Guarantees the exit codes: 0 fine, 1 something found, 2 could not look, with one line that names who did not answer.
Colour is for terminals only. Knows nothing of what is shown.
"""

import asyncio
import dataclasses
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
from rich.console import Console, RenderableType
from rich.live import Live

from inspector.progress import without_bars
from inspector.stores import Stores
from shared.errors import ServiceError
from shared.settings import WorkerSettings

FINE, FOUND, COULD_NOT_LOOK = 0, 1, 2
INTERRUPTED = 130  # by Ctrl-C, as shells say it
PLAIN_WIDTH = 400  # what is piped is not cut to a screen


class Seen(Protocol):
    """What every look brings."""

    @property
    def is_fine(self) -> bool:
        """Whether there is nothing that a person should look at."""


Look = Callable[[Stores], Awaitable[Any]]
Draw = Callable[[Any], RenderableType]


@dataclasses.dataclass(frozen=True, slots=True)
class Manner:
    """How one command shows what it sees."""

    settings: WorkerSettings
    as_json: bool = False
    watch_seconds: float | None = None


def console() -> Console:
    """Return a console for people on a terminal, and for plain wide lines elsewhere."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, emoji=False)


def show(manner: Manner, look: Look, draw: Draw, *, writing: bool = False) -> int:
    """Look, show, and return the exit code."""
    try:
        if manner.watch_seconds is not None:
            with without_bars():
                return asyncio.run(_watch(manner, look, draw, manner.watch_seconds))
        seen = asyncio.run(_look(manner, look, writing=writing))
    except ServiceError as error:
        return complain(error.detail)
    except KeyboardInterrupt:
        return INTERRUPTED
    _put(manner, seen, draw)
    return FINE if seen.is_fine else FOUND


def complain(line: str) -> int:
    """Say in one line why there was nothing to see."""
    sys.stderr.write(f"{line}\n")
    return COULD_NOT_LOOK


async def _look(manner: Manner, look: Look, *, writing: bool = False) -> Any:
    async with Stores.open(manner.settings, writing=writing) as stores:
        return await look(stores)


async def _watch(manner: Manner, look: Look, draw: Draw, seconds: float) -> int:
    """Look again and again; a store that is away is said, and looked for again. Ends with Ctrl-C, or who reads us."""
    out = console()
    live = Live(console=out, screen=True, auto_refresh=False) if out.is_terminal and not manner.as_json else None
    code = FINE
    try:
        if live:
            live.start()
        while True:
            try:
                seen = await _look(manner, look)
                code = FINE if seen.is_fine else FOUND
                if live:
                    live.update(draw(seen), refresh=True)
                else:
                    _put(manner, seen, draw)
            except ServiceError as error:
                code = COULD_NOT_LOOK
                if live:
                    live.update(error.detail, refresh=True)
                else:
                    complain(error.detail)
            await asyncio.sleep(seconds)
    except (KeyboardInterrupt, asyncio.CancelledError, BrokenPipeError):
        return code
    finally:
        if live:
            live.stop()


def _put(manner: Manner, seen: Any, draw: Draw) -> None:
    if manner.as_json:
        # Watched, a document is a line; alone, it is for people as well.
        put_json(seen, indented=manner.watch_seconds is None)
    else:
        out = console()
        with out.capture() as drawn:
            out.print(draw(seen))
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines()))
        sys.stdout.flush()


def put_json(seen: Any, *, indented: bool) -> None:
    """Write one document."""
    line = msgspec.json.encode(seen, enc_hook=str)
    text = msgspec.json.format(line, indent=2) if indented else line
    sys.stdout.write(f"{text.decode()}\n")
    sys.stdout.flush()
