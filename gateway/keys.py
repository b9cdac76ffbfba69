"""`python -m gateway keys create|list|revoke`: API keys, in the database of the settings or of the `make up` here.

Guarantees that stdout holds what was asked for and nothing else; which database that is stands on stderr.
"""

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

import sql
from gateway.access import Scope, make_token
from shared.database import Connection, DatabaseError, connect
from shared.errors import ServiceError, StoreUnreachable
from shared.ids import new_id
from shared.process import prepare_database
from shared.settings import GatewaySettings
from shared.where import find

NAME_MAX = 100
EXPIRES_DAYS_MAX = 3_650  # who means longer means for ever, and should say so by leaving it out

Command = Callable[[Connection, argparse.Namespace], Coroutine[Any, Any, int]]


def main(arguments: list[str]) -> int:
    """Run one command; returns the exit code: 0 done, 1 not done. Raises SystemExit(2) for what it cannot read."""
    options = _parser().parse_args(arguments)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        return asyncio.run(_run(options))
    except ServiceError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 1


async def _run(options: argparse.Namespace) -> int:
    where = find(GatewaySettings, options.data_dir)
    settings = where.settings
    address = f"{settings.postgres_host}:{settings.postgres_port}"
    sys.stderr.write(f"Postgres at {address}, database {settings.postgres_db} (from {where.source})\n")
    await prepare_database(settings, agree=False)
    try:
        connection = await connect(settings, "gateway-keys")
        try:
            command: Command = options.command
            return await command(connection, options)
        finally:
            await connection.close()
    except DatabaseError as error:
        raise StoreUnreachable(f"Postgres at {address} does not answer: {error}.") from error


async def _create(connection: Connection, options: argparse.Namespace) -> int:
    key_id = new_id()
    token, digest = make_token(key_id)
    days: int | None = options.expires_days
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    scopes = sorted(set(options.scope))
    await connection.execute(sql.query("create_api_key"), key_id, options.name, digest, scopes, expires_at)
    if options.json:
        _print({"id": str(key_id), "name": options.name, "scopes": scopes, "expires_at": expires_at, "key": token})
    else:
        sys.stdout.write(f"{token}\n")
        sys.stderr.write("This is the only time that the key is shown. It may be used from now on.\n")
    return 0


async def _list(connection: Connection, options: argparse.Namespace) -> int:
    rows = [dict(row) for row in await connection.fetch(sql.query("list_api_keys"))]
    if options.json:
        _print(rows)
        return 0
    for row in rows:
        sys.stdout.write(f"{row['id']}  {_state(row):8}  {row['name']:20}  {' '.join(row['scopes'])}\n")
    return 0


async def _revoke(connection: Connection, options: argparse.Namespace) -> int:
    name = await connection.fetchval(sql.query("revoke_api_key"), options.id)
    if name is None:
        sys.stderr.write(f"There is no API key {options.id}; `keys list` shows them all.\n")
        return 1
    sys.stderr.write(f"The API key {options.id} ({name}) is refused everywhere within seconds.\n")
    return 0


def _state(row: dict[str, Any]) -> str:
    if row["revoked_at"]:
        return "revoked"
    return "expired" if row["expires_at"] and row["expires_at"] <= datetime.now(UTC) else "valid"


def _print(value: object) -> None:
    sys.stdout.write(json.dumps(value, default=_as_text) + "\n")


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _name(text: str) -> str:
    if text.strip() and text.isprintable() and len(text) <= NAME_MAX:
        return text
    raise argparse.ArgumentTypeError(f"a name has 1 to {NAME_MAX} printable characters")


def _days(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= EXPIRES_DAYS_MAX:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 to {EXPIRES_DAYS_MAX}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gateway keys", description="Manage API keys.")
    commands = parser.add_subparsers(required=True, metavar="create|list|revoke")
    create = commands.add_parser("create", help="make a key; it is shown once")
    create.add_argument("--name", required=True, type=_name, help="whose key it is")
    create.add_argument(
        "--scope", required=True, action="append", choices=[scope.value for scope in Scope], help="may be repeated"
    )
    create.add_argument("--expires-days", type=_days, help="days until it expires (default: never)")
    create.set_defaults(command=_create)
    listing = commands.add_parser("list", help="show all keys, without their secrets")
    listing.set_defaults(command=_list)
    revoke = commands.add_parser("revoke", help="refuse a key from now on")
    revoke.add_argument("id", type=UUID)
    revoke.set_defaults(command=_revoke)
    for command in (create, listing, revoke):
        command.add_argument("--json", action="store_true", help="for machines")
        command.add_argument("--data-dir", type=Path, help="the data folder of the `make up` to find (default: .data)")
    return parser
