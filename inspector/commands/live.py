"""The full-screen view: `top`."""

import sys

import typer

from inspector.screen import FINE, complain


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(top)


def top(context: typer.Context) -> None:
    """Live tables of the hottest wallets, the slowest partitions and the workers; q quits."""
    if not sys.stdout.isatty():
        raise typer.Exit(complain("top needs a terminal; elsewhere, give another command --watch"))
    # Here, because no other command should wait for a terminal toolkit to load.
    from inspector.top import Top  # noqa: PLC0415

    screen = Top(context.obj)
    screen.run()
    raise typer.Exit(complain(screen.trouble) if screen.trouble and not screen.has_seen else FINE)
