"""Dead letters: `dead list`, `dead show`, `dead requeue`, `dead drop`."""

from typing import Annotated

import typer

from inspector import tables
from inspector.changing import dead_letters
from inspector.options import AsJson, Watch, Yes, change_of, view
from inspector.reading.dead import read_dead, read_dead_letter
from inspector.screen import show
from inspector.seen import DeadLetterSeen, DeadSeen, Done
from inspector.stores import Stores

SHOWN = 20
SHOWN_MAX = 1_000

Letters = Annotated[list[str], typer.Argument(metavar="LETTER...", help="As listed: partition/id.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Dead letters: messages that could not be understood or stored.", no_args_is_help=True)
    group.command("list")(list_letters)
    for command in (show_letter, requeue, drop):
        group.command(command.__name__.removesuffix("_letter"))(command)
    app.add_typer(group, name="dead")


def list_letters(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=SHOWN_MAX, help="Letters to show, newest first.")] = SHOWN,
    as_json: AsJson = False,
    watch: Watch = None,
) -> None:
    """The newest dead letters. Exit code 1: there are some."""

    async def look(stores: Stores) -> DeadSeen:
        return await read_dead(stores, limit)

    raise typer.Exit(show(view(context, as_json, watch), look, tables.dead))


def show_letter(
    context: typer.Context,
    letter: Annotated[str, typer.Argument(metavar="LETTER", help="As listed: partition/id.")],
    as_json: AsJson = False,
    watch: Watch = None,
) -> None:
    """One dead letter with all its fields."""

    async def look(stores: Stores) -> DeadLetterSeen:
        return await read_dead_letter(stores, letter)

    raise typer.Exit(show(view(context, as_json, watch), look, tables.dead_letter))


def requeue(context: typer.Context, letters: Letters, yes: Yes = False, as_json: AsJson = False) -> None:
    """Put dead letters back as commands, under their own operation ids, unless their callers were told an outcome."""

    async def change(stores: Stores) -> Done:
        return await dead_letters.requeue(stores, letters, yes=yes)

    raise typer.Exit(show(change_of(context, as_json), change, tables.done))


def drop(context: typer.Context, letters: Letters, yes: Yes = False, as_json: AsJson = False) -> None:
    """Remove dead letters for good."""

    async def change(stores: Stores) -> Done:
        return await dead_letters.drop(stores, letters, yes=yes)

    raise typer.Exit(show(change_of(context, as_json), change, tables.done))
