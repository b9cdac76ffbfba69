"""The door to Postgres: how a pool and a worker's own session are opened, and which errors mean what.

With `shared/migrations.py` the only modules that import asyncpg. Guarantees that every wait has a limit. Knows no
statement: those are in `sql/`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import structlog

from shared.errors import Misconfigured, StoreUnreachable
from shared.settings import Settings

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:  # generic in its stubs only
    Connection, Pool = asyncpg.Connection, asyncpg.Pool
Record = asyncpg.Record

Result = TypeVar("Result")

CONNECT_TIMEOUT_SECONDS = 5.0
POOL_TIMEOUT_SECONDS = 5.0  # the wait for a connection that others use, or for a new one
QUERY_TIMEOUT_SECONDS = 10.0  # far above any statement of the service: what takes longer is lost
RETRY_SECONDS = 0.2

# Postgres is away, restarting, or the session was ended: what a caller waits out or reports as unavailable.
DatabaseLost = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InsufficientResourcesError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, in the middle of a failover
)
# Postgres refuses this very data: constraint, range, or a trigger's own word, under a code of its own or not. Any other
# error is worth another try.
DatabaseRefused = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.PLPGSQLError,
    asyncpg.UnknownPostgresError,
)
# Somebody else holds the lock on a row for longer than `lock_timeout`.
RowLocked = asyncpg.LockNotAvailableError
DatabaseError = (*DatabaseLost, asyncpg.PostgresError)

# The classes of the advisory locks that say who owns what: pg_locks.classid, with the objid beside it.
WORKER_LOCKS = 7_001  # objid: the session's process id in Postgres
PARTITION_LOCKS = 7_002  # objid: the partition
# 7_003: housekeeping jobs (worker/housekeeping/runs.py); 7_004: releases of workers (shared/release.py)

log = structlog.get_logger(__name__)


def connect_arguments(settings: Settings, application_name: str, **server_settings: str) -> dict[str, Any]:
    """Return the arguments that asyncpg's `connect` and `create_pool` share."""
    return {
        "host": settings.postgres_host,
        "port": settings.postgres_port,
        "user": settings.postgres_user,
        "password": settings.postgres_password.get_secret_value() or None,
        "database": settings.postgres_db,
        "timeout": CONNECT_TIMEOUT_SECONDS,
        "command_timeout": QUERY_TIMEOUT_SECONDS,
        "server_settings": {"application_name": application_name, "timezone": "UTC", "jit": "off", **server_settings},
    }


async def connect(settings: Settings, application_name: str, **server_settings: str) -> Connection:
    """Open one session outside any pool; raises DatabaseLost or DatabaseRefused."""
    return await asyncpg.connect(**connect_arguments(settings, application_name, **server_settings))


class _Bare(Connection):
    """A connection of the pool: each statement stands alone, so that nothing has to be undone when it is given back."""

    def get_reset_query(self) -> str:
        """Spare the trip that a pool makes before it takes a connection back."""
        return ""


class _ImpatientPool(Pool):
    """A pool whose callers wait for a connection for so long and no longer: by itself it lets them wait for ever."""

    def acquire(
        self, *, timeout: float | None = POOL_TIMEOUT_SECONDS
    ) -> "asyncpg.pool.PoolAcquireContext[asyncpg.Record]":
        return super().acquire(timeout=timeout)


async def open_pool(settings: Settings, application_name: str, connections_max: int) -> Pool:
    """Open a pool for short statements; connections are made when first needed, so Postgres may come later.

    A statement that no connection can be had for raises TimeoutError, which is one of DatabaseLost.
    """
    # Some sessions may be kept long and see a small table grow: a sequential scan must not stay in their plans.
    arguments = connect_arguments(settings, application_name, enable_seqscan="off")
    return await _ImpatientPool(
        min_size=0,
        max_size=connections_max,
        max_queries=50_000,
        max_inactive_connection_lifetime=300.0,
        connection_class=_Bare,
        record_class=asyncpg.Record,
        loop=asyncio.get_running_loop(),
        **arguments,
    )


async def wait_until_up(
    name: str,
    address: str,
    timeout_seconds: float,
    attempt: Callable[[], Awaitable[Result]],
    away: tuple[type[Exception], ...],
) -> Result:
    """Repeat `attempt` while it raises one of `away`; returns what it returns.

    Raises StoreUnreachable after the time-out, and Misconfigured when Postgres refuses the login.
    """
    ends = time.monotonic() + timeout_seconds
    told = False
    while True:
        try:
            return await attempt()
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
            raise Misconfigured(
                f"{name} at {address} refuses the login: {error}. Check the POSTGRES_… settings."
            ) from None
        except away as error:
            if time.monotonic() >= ends:
                raise StoreUnreachable(
                    f"{name} at {address} did not answer within {timeout_seconds:g} s ({error!r}). "
                    "Start it, or correct its address in the settings."
                ) from None
            if not told:
                log.warning("waiting for a store", store=name, address=address, error=repr(error))
                told = True
            await asyncio.sleep(RETRY_SECONDS)
