"""Is everything as it should be: `doctor`, `repair`."""

import typer

from inspector import tables
from inspector.changing.repairs import repair as mend
from inspector.options import AsJson, Watch, Yes, change_of, view
from inspector.reading.doctor import diagnose
from inspector.screen import show
from inspector.seen import Diagnosis, Done
from inspector.stores import Stores


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(doctor)
    app.command()(repair)


def doctor(context: typer.Context, as_json: AsJson = False, watch: Watch = None) -> None:
    """Every invariant of the design, each with a line: well, a fault, or cannot be told. Exit code 1: a fault."""

    async def look(stores: Stores) -> Diagnosis:
        return (await diagnose(stores))[0]

    raise typer.Exit(show(view(context, as_json, watch), look, tables.doctor))


def repair(context: typer.Context, yes: Yes = False, as_json: AsJson = False) -> None:
    """Mend what doctor can mend, and say what was done. Exit code 1: something is left."""

    async def change(stores: Stores) -> Done:
        return await mend(stores, yes=yes)

    raise typer.Exit(show(change_of(context, as_json), change, tables.done))
