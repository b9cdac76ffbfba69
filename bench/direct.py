"""The direct baseline: the same contract without a queue, as well as aiohttp and asyncpg can do it.

One statement per operation, prepared once per connection; no access log, no reset between uses of a connection, plans
that cannot fall for an empty table. Guarantees what the service guarantees about money; records no refusals, knows no
idempotency and no limits, which all is in its favour.
"""

import argparse
import os
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from random import getrandbits
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import uvloop
from aiohttp import web
from uuid_utils.compat import uuid7

from shared.database import connect_arguments
from shared.process import relax_garbage_collector, stop_event
from shared.settings import Settings

SQL = Path(__file__).parent / "sql"
OPERATE = (SQL / "operate.sql").read_text(encoding="utf-8")
READ_WALLET = (SQL / "read_wallet.sql").read_text(encoding="utf-8")
SIGNS = {"DEPOSIT": 1, "WITHDRAW": -1}
MINOR_UNITS = 100

POOL: web.AppKey[Any] = web.AppKey("pool")


class BareConnection(asyncpg.Connection):
    """A connection that nothing has to be undone on: every statement stands alone."""

    def get_reset_query(self) -> str:
        """Spare the round trip that a pool makes before it takes a connection back."""
        return ""


async def operate(request: web.Request) -> web.Response:
    """Apply an operation, or refuse it."""
    submitted_at = datetime.now(UTC)
    try:
        wallet_id = UUID(request.match_info["wallet_id"])
        body = msgspec.json.decode(await request.read())
        kind = body["operation_type"]
        amount = round(body["amount"] * MINOR_UNITS)
        signed = amount * SIGNS[kind]
    except (msgspec.MsgspecError, ValueError, KeyError, TypeError):
        return as_json({"detail": "not an operation"}, 400)
    operation_id = uuid7()
    row = await request.app[POOL].fetchrow(
        OPERATE, operation_id, wallet_id, kind, amount, signed, submitted_at, getrandbits(63)
    )
    if row is None:
        return as_json({"detail": "no such wallet"}, 404)
    if not row["applied"]:
        return as_json({"detail": "the balance does not cover it", "code": "insufficient_funds"}, 400)
    balance = in_units(row["balance"])
    return as_json(
        {
            "id": str(wallet_id),
            "balance": balance,
            "created_at": row["created_at"],
            "updated_at": row["updated_at"],
            "operation": {
                "id": str(operation_id),
                "operation_type": kind,
                "amount": in_units(amount),
                "status": "APPLIED",
                "seq": row["seq"],
                "balance": balance,
                "created_at": submitted_at,
                "applied_at": row["updated_at"],
            },
        }
    )


async def read_wallet(request: web.Request) -> web.Response:
    """Return a wallet."""
    try:
        wallet_id = UUID(request.match_info["wallet_id"])
    except ValueError:
        return as_json({"detail": "not a wallet id"}, 400)
    row = await request.app[POOL].fetchrow(READ_WALLET, wallet_id)
    if row is None:
        return as_json({"detail": "no such wallet"}, 404)
    return as_json(
        {
            "id": str(wallet_id),
            "balance": in_units(row["balance"]),
            "created_at": row["created_at"],
            "updated_at": row["updated_at"],
        }
    )


async def ready(request: web.Request) -> web.Response:
    """Say that the pool is open."""
    del request
    return as_json({"status": "ok"})


def as_json(body: Any, status: int = 200) -> web.Response:
    """Return a JSON response."""
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


def in_units(minor_units: int) -> str:
    """Return an amount as the contract writes it."""
    units, rest = divmod(minor_units, MINOR_UNITS)
    return f"{units}.{rest:02d}"


def build(settings: Settings, pool_size: int) -> web.Application:
    """Return the application over a pool that is opened whole at the start."""
    app = web.Application()

    async def pool(app: web.Application) -> AsyncIterator[None]:
        arguments = connect_arguments(settings, "direct", enable_seqscan="off")
        async with asyncpg.create_pool(
            **arguments,
            min_size=pool_size,
            max_size=pool_size,
            max_queries=1_000_000_000,
            max_inactive_connection_lifetime=0,
            connection_class=BareConnection,
        ) as opened:
            app[POOL] = opened
            yield

    app.cleanup_ctx.append(pool)
    app.router.add_post("/api/v1/wallets/{wallet_id}/operation", operate)
    app.router.add_get("/api/v1/wallets/{wallet_id}", read_wallet)
    app.router.add_get("/readyz", ready)
    return app


async def serve(settings: Settings, listener: socket.socket, pool_size: int) -> None:
    """Serve until SIGTERM."""
    stop = stop_event(10.0)
    runner = web.AppRunner(build(settings, pool_size), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    relax_garbage_collector()
    await stop.wait()
    await runner.cleanup()


def main() -> None:
    """Serve on a port, with as many processes as the gateway it is compared with."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pool", type=int, required=True)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", arguments.port), backlog=1024)
    for _ in range(arguments.processes - 1):
        if not os.fork():
            break
    uvloop.run(serve(Settings.load(), listener, arguments.pool))


if __name__ == "__main__":
    main()
