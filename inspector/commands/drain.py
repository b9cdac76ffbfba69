"""Workers in and out of service: `drain`, `resume`."""

from typing import Annotated

import typer

from inspector import tables
from inspector.changing import draining
from inspector.options import AsJson, Yes, change_of
from inspector.screen import show
from inspector.seen import Done
from inspector.stores import Stores

Worker = Annotated[str, typer.Argument(metavar="WORKER", help="Its name, as `workers` lists it.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(drain)
    app.command()(resume)


def drain(
    context: typer.Context,
    worker: Worker,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait until it owns nothing.")] = 30.0,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Move a worker's partitions to the others, without a failed request, and keep it out until `resume`."""

    async def change(stores: Stores) -> Done:
        return await draining.drain(stores, worker, timeout, yes=yes)

    raise typer.Exit(show(change_of(context, as_json), change, tables.done, writing=True))


def resume(context: typer.Context, worker: Worker, yes: Yes = False, as_json: AsJson = False) -> None:
    """Let a drained worker own partitions again."""

    async def change(stores: Stores) -> Done:
        return await draining.resume(stores, worker, yes=yes)

    raise typer.Exit(show(change_of(context, as_json), change, tables.done, writing=True))
