"""Brings the schema up to date: each file of `sql/migrations/` once, in order, whoever comes first.

Guarantees that processes starting at the same time apply each file exactly once (advisory lock), that a file is applied
wholly or not at all (a transaction each), and that an applied file is never edited (checksum). And that all processes
have the partition count of the first.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import structlog

import sql
from shared.database import Connection
from shared.errors import Misconfigured

# Any number that nothing else in the database uses for a session lock.
LOCK_ID = 7_462_301_948_113
LOCK_TIMEOUT_SECONDS = 60.0  # another process may be in the middle of a long migration

log = structlog.get_logger(__name__)


async def migrate(connection: Connection, folder: Path = sql.MIGRATIONS) -> list[str]:
    """Apply the files that the database has not seen; returns their names.

    Raises Misconfigured for a file that was edited after it had been applied.
    """
    await connection.execute(sql.query("lock_migrations"), LOCK_ID, timeout=LOCK_TIMEOUT_SECONDS)
    try:
        await connection.execute(sql.query("create_migrations"))
        applied = {row["name"]: row["checksum"] for row in await connection.fetch(sql.query("applied_migrations"))}
        files = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.sql"))}  # noqa: ASYNC240 a few small files, at start
        _refuse_edited(files, applied)
        pending = [name for name in files if name not in applied]
        for name in pending:
            async with connection.transaction():
                await connection.execute(files[name])
                await connection.execute(sql.query("record_migration"), name, _checksum(files[name]))
            log.info("migrated", migration=name)
        return pending
    finally:
        if not connection.is_closed():
            await connection.execute(sql.query("unlock_migrations"), LOCK_ID)


async def agree_on_partitions(connection: Connection, count: int, *, is_asked_for: bool) -> int:
    """Write the partition count into the books, if none is there yet; returns the one that is.

    Raises Misconfigured when another one is asked for.
    """
    await connection.execute(sql.query("agree_on_partitions"), count)
    recorded: int = await connection.fetchval(sql.query("read_partition_count"))
    if is_asked_for and recorded != count:
        raise Misconfigured(
            f"PARTITION_COUNT is {count}, but the books have {recorded} partitions: every process must use the same. "
            f"Set PARTITION_COUNT={recorded}, or leave it out."
            + (" For more, see `wallet-streams repartition --help`." if count > recorded else "")
        )
    return recorded


async def still_agree_on_partitions(connection: Connection, count: int) -> None:
    """Raise Misconfigured when the books have another partition count by now than this process was started with."""
    recorded = await connection.fetchval(sql.query("read_partition_count"))
    if recorded not in {None, count}:
        raise Misconfigured(
            f"The books have {recorded} partitions by now, and this process was started with {count}: start it again, "
            f"and where PARTITION_COUNT is set, with PARTITION_COUNT={recorded}."
        )


def _refuse_edited(files: Mapping[str, str], applied: Mapping[str, str]) -> None:
    for name, checksum in applied.items():
        # A file that is not here was applied by a newer release: an older process may still run beside it.
        if name in files and _checksum(files[name]) != checksum:
            raise Misconfigured(
                f"Migration {name} was edited after it had been applied. Restore it and put the change in a new file."
            )


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
