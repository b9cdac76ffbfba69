"""The service as a whole: `overview`, `partitions`, `workers`."""

import typer

from inspector import tables
from inspector.options import AsJson, Watch, view
from inspector.reading.overview import read_overview
from inspector.reading.partitions import read_partitions
from inspector.reading.workers import read_workers
from inspector.screen import show


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (overview, partitions, workers):
        app.command()(command)


def overview(context: typer.Context, as_json: AsJson = False, watch: Watch = None) -> None:
    """One screen: throughput, what waits, workers, rejections, dead letters, memory, settings; and what is wrong."""
    raise typer.Exit(show(view(context, as_json, watch), read_overview, tables.overview))


def partitions(context: typer.Context, as_json: AsJson = False, watch: Watch = None) -> None:
    """Each partition: owner, ready wallets, waiting operations, oldest age, speed, hottest wallet."""
    raise typer.Exit(show(view(context, as_json, watch), read_partitions, tables.partitions))


def workers(context: typer.Context, as_json: AsJson = False, watch: Watch = None) -> None:
    """Each worker: its Postgres session, partitions, batches, speed, release, and whether it is drained."""
    raise typer.Exit(show(view(context, as_json, watch), read_workers, tables.workers))
