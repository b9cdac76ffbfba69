"""The options that commands share, how `--watch` may stand without a number, and that they may stand first as well.

Guarantees that none is ignored: what stands before the command is meant for it, and who cannot heed it refuses.
"""

from collections.abc import Sequence
from typing import Annotated

import typer

from inspector.screen import Manner

WATCH_SECONDS = 2.0

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
Watch = Annotated[
    float | None,
    typer.Option("--watch", metavar="[SECONDS]", min=0.1, help=f"Look again and again; {WATCH_SECONDS:g} s apart."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without this, only say what would be done.")]


def view(context: typer.Context, as_json: bool, watch: float | None) -> Manner:
    """Return how a view is shown: by its own options, else by those before it."""
    before: Manner = context.obj
    return Manner(before.settings, as_json or before.as_json, before.watch_seconds if watch is None else watch)


def change_of(context: typer.Context, as_json: bool) -> Manner:
    """Return how what a command did is shown; raises BadParameter when it was to do it again and again."""
    before: Manner = context.obj
    if before.watch_seconds is not None:
        raise typer.BadParameter(f"--watch is for views: {context.info_name} is done once")
    return Manner(before.settings, as_json or before.as_json)


def fill_in_watch(arguments: Sequence[str]) -> list[str]:
    """Give a `--watch` without a number its default: an option whose value may be missing is not the parser's idea."""
    filled = []
    for i, argument in enumerate(arguments):
        filled.append(argument)
        following = arguments[i + 1] if i + 1 < len(arguments) else ""
        if argument == "--watch" and not following.replace(".", "", 1).isdigit():
            filled.append(f"{WATCH_SECONDS:g}")
    return filled
