"""The schema at start: whoever comes first, each file once, wholly or not at all, and never another than before."""

import asyncio
import json
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

import sql
from devstack.postgres import Postgres
from devstack.process import PROJECT_DIR
from shared.database import Connection, connect
from shared.errors import Misconfigured
from shared.migrations import agree_on_partitions, migrate
from shared.process import prepare_database
from shared.settings import Settings

PROCESSES = 6
MIGRATE = """
import asyncio, json, sys
from pathlib import Path
from shared.database import connect
from shared.migrations import agree_on_partitions, migrate
from shared.process import prepare_database
from shared.settings import Settings

async def main():
    settings = Settings.load()
    connection = await connect(settings, "migrations")
    sys.stdin.readline()
    print(json.dumps(await migrate(connection, Path(sys.argv[1]))))
    await connection.close()

asyncio.run(main())
"""


@pytest.fixture
async def empty(postgres: Postgres) -> AsyncIterator[Settings]:
    """The settings of a database in which there is nothing at all."""
    name = f"empty_{uuid4().hex}"
    at: dict[str, Any] = {"host": postgres.host, "port": postgres.port, "user": postgres.user}
    admin = await asyncpg.connect(**at, database=postgres.database)
    await admin.execute(f"CREATE DATABASE {name}")
    values: dict[str, Any] = {f"postgres_{key}": value for key, value in at.items()}
    yield Settings(**values, postgres_db=name)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def connection(empty: Settings) -> AsyncIterator[Connection]:
    opened = await connect(empty, "test")
    yield opened
    await opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations, to add to and to spoil."""
    return Path(shutil.copytree(sql.MIGRATIONS, tmp_path / "migrations"))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.sql"))


async def tables(connection: Connection) -> set[str]:
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row["tablename"] for row in rows}


async def test_six_processes_at_once_on_an_empty_database__each_file_is_applied_once(
    empty: Settings, connection: Connection, folder: Path
) -> None:
    # Slow, and ruined by a second time: whoever does not wait for its turn fails.
    (folder / "9001_slow.sql").write_text("CREATE TABLE slow (n int); SELECT pg_sleep(0.2);")
    (folder / "9002_count.sql").write_text("INSERT INTO slow SELECT count(*) FROM slow;")
    names = names_in(folder)
    environment = {
        "POSTGRES_HOST": empty.postgres_host,
        "POSTGRES_PORT": str(empty.postgres_port),
        "POSTGRES_USER": empty.postgres_user,
        "POSTGRES_DB": empty.postgres_db,
    }
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", MIGRATE, str(folder)),
            cwd=PROJECT_DIR,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]
    # All are connected before the first may begin.
    said = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))

    assert [process.returncode for process in processes] == [0] * PROCESSES, said
    lines = [line for out, _ in said for line in out.decode().splitlines() if line.startswith("[")]
    assert sorted(name for line in lines for name in json.loads(line)) == names
    assert await connection.fetchval("SELECT count(*) FROM slow") == 1
    assert await connection.fetchval("SELECT count(*) FROM migrations") == len(names)


async def test_every_index__says_which_queries_it_serves(connection: Connection) -> None:
    await migrate(connection)
    rows = await connection.fetch(
        "SELECT relname, obj_description(oid, 'pg_class') AS serves FROM pg_class"
        " WHERE relkind = 'i' AND relnamespace = 'public'::regnamespace"
    )
    queries = {path.stem for path in sql.QUERIES.glob("*.sql")}

    assert len(rows) > 10
    for row in rows:
        named = set(re.findall(r"[a-z]+(?:_[a-z]+)+", row["serves"] or ""))
        assert named, row["relname"]
        assert named <= queries, row["relname"]


async def test_second_start__applies_nothing(connection: Connection, folder: Path) -> None:
    assert await migrate(connection, folder) == names_in(folder)

    assert await migrate(connection, folder) == []


async def test_new_file__is_applied_alone(connection: Connection, folder: Path) -> None:
    await migrate(connection, folder)
    (folder / "9001_more.sql").write_text("CREATE TABLE more (n int)")

    assert await migrate(connection, folder) == ["9001_more.sql"]
    assert "more" in await tables(connection)


async def test_file_edited_after_it_was_applied__is_refused_in_a_clear_line(
    connection: Connection, folder: Path
) -> None:
    await migrate(connection, folder)
    first = folder / names_in(folder)[0]
    first.write_text(first.read_text() + "-- a word more\n")
    (folder / "9001_more.sql").write_text("CREATE TABLE more (n int)")

    with pytest.raises(Misconfigured) as refused:
        await migrate(connection, folder)

    assert first.name in refused.value.detail
    assert "\n" not in refused.value.detail
    assert "more" not in await tables(connection)


async def test_file_that_fails_halfway__leaves_nothing_and_can_be_corrected(
    connection: Connection, folder: Path
) -> None:
    broken = folder / "9001_broken.sql"
    broken.write_text("CREATE TABLE half (n int); CREATE TABLE half (n int);")

    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(connection, folder)

    assert "half" not in await tables(connection)
    assert "wallets" in await tables(connection)  # the files before it stand
    broken.write_text("CREATE TABLE half (n int);")
    assert await migrate(connection, folder) == ["9001_broken.sql"]


async def test_file_that_cannot_be_noted_as_applied__is_not_applied(connection: Connection, folder: Path) -> None:
    # As if killed between the two: a file that stands applied and is not noted would be applied again.
    (folder / "9001_noted.sql").write_text(
        "CREATE TABLE half (n int); INSERT INTO migrations (name, checksum) VALUES ('9001_noted.sql', '')"
    )

    with pytest.raises(asyncpg.UniqueViolationError):
        await migrate(connection, folder)

    assert "half" not in await tables(connection)


async def test_failed_migration__lets_the_next_process_in(empty: Settings, folder: Path) -> None:
    (folder / "9001_broken.sql").write_text("CREATE")
    first, second = await connect(empty, "first"), await connect(empty, "second")
    try:
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await migrate(first, folder)
        (folder / "9001_broken.sql").unlink()
        # The first is still connected: a lock that it kept would be waited for in vain.
        assert await asyncio.wait_for(migrate(second, folder), 5) == []
    finally:
        await first.close()
        await second.close()


async def test_newer_release_has_migrated__an_older_process_still_starts(connection: Connection, folder: Path) -> None:
    (folder / "9001_newer.sql").write_text("CREATE TABLE newer (n int)")
    await migrate(connection, folder)
    (folder / "9001_newer.sql").unlink()

    assert await migrate(connection, folder) == []


async def test_first_start__writes_the_partition_count(empty: Settings) -> None:
    first = await prepare_database(empty.model_copy(update={"partition_count": 64}))
    second = await prepare_database(empty)

    assert (first.partition_count, second.partition_count) == (64, 64)
    assert "partition_count" not in empty.model_fields_set


async def test_first_start_that_asks_for_none__writes_the_default(empty: Settings) -> None:
    default = Settings.model_fields["partition_count"].default

    assert (await prepare_database(empty)).partition_count == default
    with pytest.raises(Misconfigured):
        await prepare_database(empty.model_copy(update={"partition_count": default + 1}))


async def test_other_partition_count_than_the_first_start__is_refused_in_a_clear_line(empty: Settings) -> None:
    await prepare_database(empty.model_copy(update={"partition_count": 64}))

    with pytest.raises(Misconfigured) as refused:
        await prepare_database(empty.model_copy(update={"partition_count": 32}))

    assert "PARTITION_COUNT is 32" in refused.value.detail
    assert "PARTITION_COUNT=64" in refused.value.detail
    assert "\n" not in refused.value.detail
    assert (await prepare_database(empty)).partition_count == 64


async def test_starts_at_the_same_time__agree_on_one_partition_count(empty: Settings, connection: Connection) -> None:
    await migrate(connection)
    connections = [await connect(empty, "test") for _ in range(PROCESSES)]
    try:
        agreed = await asyncio.gather(
            *(agree_on_partitions(each, 1 + i, is_asked_for=False) for i, each in enumerate(connections))
        )
    finally:
        for each in connections:
            await each.close()

    assert len(set(agreed)) == 1
