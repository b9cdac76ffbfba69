"""`wallet-streams`, also `python -m inspector`: the console command, and where it looks.

Guarantees one line and exit code 2 when it cannot look. The commands are in `inspector/commands/`.
"""

import logging
import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer

from inspector.commands import dead, drain, health, live, partitioning, service, waiting, wallets
from inspector.options import AsJson, Watch, fill_in_watch
from inspector.screen import Manner, complain
from shared.errors import ServiceError
from shared.settings import WorkerSettings
from shared.where import find

app = typer.Typer(
    help="The stream inspector: what waits, who works, what is wrong. Reads only, unless a command is given --yes.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def where(
    context: typer.Context,
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="DATA_DIR", help="The data folder of the `make up` to look at.", show_default=".data"),
    ] = None,
    as_json: AsJson = False,
    watch: Watch = None,
) -> None:
    """Look at the stores that the settings name, else at those of the `make up` that runs in this folder.

    Exit codes: 0 all is well, 1 something was found, 2 could not look.
    """
    try:
        context.obj = Manner(find(WorkerSettings, data_dir).settings, as_json, watch)
    except ServiceError as error:
        raise typer.Exit(complain(error.detail)) from None
    if context.invoked_subcommand is None:
        service.overview(context)


for group in (service, wallets, waiting, dead, health, drain, partitioning, live):
    group.register(app)


def main() -> None:
    """Run what the command line asks for."""
    # Nothing is logged here but what goes wrong below, and that apart from what is shown.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    app(args=fill_in_watch(sys.argv[1:]), prog_name="wallet-streams")


if __name__ == "__main__":
    main()
