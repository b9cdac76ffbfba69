"""The options that commands share, and how `--watch` may stand without a number."""

from collections.abc import Sequence
from typing import Annotated

import typer

WATCH_SECONDS = 2.0

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
Watch = Annotated[
    float | None,
    typer.Option("--watch", metavar="[SECONDS]", min=0.1, help=f"Look again and again; {WATCH_SECONDS:g} s apart."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without this, only say what would be done.")]


def fill_in_watch(arguments: Sequence[str]) -> list[str]:
    """Give a `--watch` without a number its default: an option whose value may be missing is not the parser's idea."""
    filled = []
    for i, argument in enumerate(arguments):
        filled.append(argument)
        following = arguments[i + 1] if i + 1 < len(arguments) else ""
        if argument == "--watch" and not following.replace(".", "", 1).isdigit():
            filled.append(f"{WATCH_SECONDS:g}")
    return filled
