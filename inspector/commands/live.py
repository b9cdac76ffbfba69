"""The full-screen view: `top`."""

import sys

import typer

from inspector.options import AsJson
from inspector.screen import FINE, Manner, complain


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(top)


def top(context: typer.Context, as_json: AsJson = False) -> None:
    """Live tables of the hottest wallets, the slowest partitions and the workers; q quits."""
    manner: Manner = context.obj
    if as_json or manner.as_json:
        raise typer.Exit(complain("top is for people; partitions, workers and oldest tell the same with --json"))
    if not sys.stdout.isatty():
        raise typer.Exit(complain("top needs a terminal; elsewhere, give another command --watch"))
    # Here, because no other command should wait for a terminal toolkit to load.
    from inspector.top import Top  # noqa: PLC0415

    screen = Top(manner.settings)
    screen.run()
    raise typer.Exit(complain(screen.trouble) if screen.trouble and not screen.has_seen else FINE)
