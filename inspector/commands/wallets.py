"""One wallet, and one operation on its way: `wallet`, `operation`."""

from typing import Annotated
from uuid import UUID

import typer

from inspector import tables
from inspector.options import AsJson, Watch, view
from inspector.reading.operations import read_operation
from inspector.reading.wallets import read_wallet
from inspector.screen import show
from inspector.seen import OperationWay, WalletSeen
from inspector.stores import Stores
from shared.commands import operation_id_of_key

SHOWN = 10
SHOWN_MAX = 1_000


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(wallet)
    app.command()(operation)


def wallet(
    context: typer.Context,
    wallet_id: Annotated[UUID, typer.Argument(metavar="ID")],
    limit: Annotated[int, typer.Option(min=1, max=SHOWN_MAX, help="Messages and operations to show.")] = SHOWN,
    as_json: AsJson = False,
    watch: Watch = None,
) -> None:
    """One wallet: partition, slot and owner; its state; what waits for it and how long; its last operations."""

    async def look(stores: Stores) -> WalletSeen:
        return await read_wallet(stores, wallet_id, limit)

    raise typer.Exit(show(view(context, as_json, watch), look, tables.wallet))


def operation(
    context: typer.Context,
    operation_id: Annotated[UUID | None, typer.Argument(metavar="[ID]")] = None,
    key: Annotated[str | None, typer.Option(help="The Idempotency-Key, instead of the id; needs --wallet.")] = None,
    wallet_id: Annotated[UUID | None, typer.Option("--wallet", help="Its wallet: makes the search quick.")] = None,
    caller: Annotated[str, typer.Option(help="The id of the caller's API key; empty with AUTH=off.")] = "",
    as_json: AsJson = False,
    watch: Watch = None,
) -> None:
    """One operation's whole way with its times, or where it is now. Exit code 1: it is nowhere, or a dead letter."""
    if (operation_id is None) == (key is None):
        raise typer.BadParameter("give either the operation's ID, or --key with --wallet")
    if key is not None:
        if wallet_id is None:
            raise typer.BadParameter("--key needs --wallet: the same key on another wallet is another operation")
        operation_id = operation_id_of_key(wallet_id, caller, key)

    async def look(stores: Stores) -> OperationWay:
        assert operation_id is not None  # noqa: S101 one of the two was given
        return await read_operation(stores, operation_id, wallet_id)

    raise typer.Exit(show(view(context, as_json, watch), look, tables.operation))
