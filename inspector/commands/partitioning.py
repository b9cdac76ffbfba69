"""More partitions for a service that stands still: `repartition`."""

from typing import Annotated

import typer

from inspector import tables
from inspector.changing import partitioning
from inspector.options import AsJson, Yes, change_of
from inspector.screen import show
from inspector.seen import Done
from inspector.stores import Stores
from shared.settings import PARTITIONS_MAX

Count = Annotated[int, typer.Argument(min=1, max=PARTITIONS_MAX, help="How many there shall be.")]


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(repartition)


def repartition(context: typer.Context, count: Count, yes: Yes = False, as_json: AsJson = False) -> None:
    """Have more partitions, hence work for more workers, once the service is stopped and nothing waits.

    The steps: docs/inspector.md, "More partitions".
    """

    async def change(stores: Stores) -> Done:
        return await partitioning.repartition(stores, count, yes=yes)

    raise typer.Exit(show(change_of(context, as_json), change, tables.done, writing=True))
