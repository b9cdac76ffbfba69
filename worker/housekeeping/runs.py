"""A run of a job, recorded: when it began and ended, what came of it, or the sentence that says why nothing did.

Guarantees that one run of a job goes on at a time, whoever starts it: an advisory lock on the run's own session says so
and dies with it. Knows nothing of what the jobs do, nor of who calls them when.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog

import sql
from shared.database import Connection, DatabaseError, connect
from shared.settings import MaintenanceSettings

JOB_LOCKS = 7_003  # pg_locks.classid, beside those of workers and partitions; objid: the hash of the job's name
RUN_SECONDS_MAX = 120.0  # far above any run; one that hangs must not hold up the next for ever
STATEMENT_MS_MAX = 8_000  # below the client's own limit, so that it is Postgres that ends a statement
ERROR_CHARACTERS_MAX = 500

Work = Callable[[Connection], Awaitable[Mapping[str, Any]]]

log = structlog.get_logger(__name__)


async def open_session(settings: MaintenanceSettings, job: str) -> Connection:
    """Open a session that can hold nobody up: it waits for no lock, and no commit of its own waits for the disk."""
    return await connect(
        settings,
        f"maintenance-{job}",
        statement_timeout=str(STATEMENT_MS_MAX),
        lock_timeout="1s",
        idle_in_transaction_session_timeout="5s",  # a snapshot that is kept keeps vacuum from cleaning up
        idle_session_timeout=f"{RUN_SECONDS_MAX + 30:.0f}s",  # its lock ends with it, even when this host is lost
        # Lost with the server's last moment: a place or a finding that the next run comes to again.
        synchronous_commit="off",
        # Plans of a small table must not stay with a session that sees it grow.
        enable_seqscan="off",
    )


async def recorded(settings: MaintenanceSettings, job: str, work: Work) -> Mapping[str, Any] | None:
    """Do a job's work on a session of its own and record the run; never raises but for a cancellation.

    Returns the result; None when the work failed or another process is at it.
    """
    began = time.monotonic()
    result, error = None, None
    try:
        session = await open_session(settings, job)
        try:
            if not await session.fetchval(sql.query("begin_run"), JOB_LOCKS, job):
                log.info("another process is at this job", job=job)
                return None
            async with asyncio.timeout(RUN_SECONDS_MAX):
                result = await work(session)
        finally:
            session.terminate()
    except Exception as failure:
        error = sentence(failure, settings)
        log.exception("housekeeping failed", job=job, error=error)
    seconds = time.monotonic() - began
    await _record_end(settings, job, seconds, result, error)
    if result is not None:
        log.info("housekeeping done", job=job, seconds=round(seconds, 3), **result)
    return result


async def _record_end(
    settings: MaintenanceSettings, job: str, seconds: float, result: Mapping[str, Any] | None, error: str | None
) -> None:
    # A session of its own: the work's may be what was lost, or may be in the middle of a transaction.
    text = None if result is None else msgspec.json.encode(result, enc_hook=str).decode()
    try:
        session = await open_session(settings, job)
        try:
            await session.execute(sql.query("end_run"), job, seconds, text, error)
        finally:
            session.terminate()
    except DatabaseError as failure:
        log.warning("could not record the end of a run", job=job, error=sentence(failure, settings))


def sentence(failure: Exception, settings: MaintenanceSettings) -> str:
    """Say what went wrong in one line, without any secret that an error may repeat."""
    said = str(failure).partition("\nDETAIL:")[0]  # Postgres repeats the row there
    text = " ".join(f"{type(failure).__name__}: {said}".split())
    urls = [settings.redis_url.get_secret_value(), settings.maintenance_redis_url.get_secret_value()]
    secrets = [*urls, settings.postgres_password.get_secret_value(), *(urlsplit(url).password or "" for url in urls)]
    for secret in filter(None, secrets):
        text = text.replace(secret, "…")
    return text.rstrip(": ")[:ERROR_CHARACTERS_MAX]
