"""What waits and what passes: `oldest`, `tail`."""

import asyncio
import sys
import time
from typing import Annotated
from uuid import UUID

import typer

from inspector import tables
from inspector.options import AsJson, Watch, view
from inspector.reading.passing import LOOK_SECONDS, Passing
from inspector.reading.waiting import read_oldest
from inspector.screen import FINE, complain, console, put_json, show
from inspector.seen import OldestSeen, Passed
from inspector.stores import Stores
from shared.errors import ServiceError
from shared.settings import WorkerSettings

SHOWN = 20
SHOWN_MAX = 1_000


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(oldest)
    app.command()(tail)


def oldest(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=SHOWN_MAX, help="Wallets to show.")] = SHOWN,
    everyone: Annotated[bool, typer.Option("--all", help="Look at every ready wallet, however many.")] = False,
    as_json: AsJson = False,
    watch: Watch = None,
) -> None:
    """The wallets whose first operation waits longest."""

    async def look(stores: Stores) -> OldestSeen:
        return await read_oldest(stores, limit, everyone=everyone)

    raise typer.Exit(show(view(context, as_json, watch), look, tables.oldest))


def tail(
    context: typer.Context,
    wallet_id: Annotated[UUID | None, typer.Option("--wallet", help="Of this wallet only.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many lines.")] = None,
    seconds: Annotated[float | None, typer.Option("--for", min=0.1, help="End after so many seconds.")] = None,
    as_json: AsJson = False,
) -> None:
    """Commands and outcomes as they pass, until Ctrl-C. With --json, each a line."""
    manner = view(context, as_json, None)  # watching is what it does
    try:
        asyncio.run(_follow(manner.settings, wallet_id, count, seconds, as_json=manner.as_json))
    except ServiceError as error:
        raise typer.Exit(complain(error.detail)) from None
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    raise typer.Exit(FINE)


async def _follow(
    settings: WorkerSettings, wallet_id: UUID | None, count: int | None, seconds: float | None, *, as_json: bool
) -> None:
    out = console()
    ends = time.monotonic() + seconds if seconds else None
    left = count
    async with Stores.open(settings) as stores:
        passing = Passing(stores, wallet_id)
        while ends is None or time.monotonic() < ends:
            for passed in await passing.look():
                put_json(passed, indented=False) if as_json else out.print(_line(passed), soft_wrap=True)
                left = left - 1 if left is not None else None
                if left == 0:
                    return
            sys.stdout.flush()
            await asyncio.sleep(LOOK_SECONDS)


def _line(passed: Passed) -> str:
    line = f"{passed.at:%H:%M:%S.%f}"[:-3] + f"  {passed.kind}  {passed.wallet_id}  {passed.operation_id}"
    line += f"  {passed.type:<8}  {passed.amount:>12}"
    if passed.kind == "command":
        return line
    return line + f"  {passed.status}" + (f" {passed.reason}" if passed.reason else f"  balance {passed.balance}")
