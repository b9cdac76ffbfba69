"""The command for API keys finds the stack of `make up`, or what the settings name, and says which of them it was."""

import asyncio
import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from devstack import ports
from devstack.process import PROJECT_DIR
from tests.integration.inspector_stage import note

STRANGE = ("POSTGRES_", "REDIS_", "DATA_DIR", "PARTITION_")


async def keys(folder: Path, *arguments: str, **environment: str) -> tuple[int | None, str, str]:
    """Run `python -m gateway keys` in a folder, with nothing in its environment but what is given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(STRANGE)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "keys", *arguments),
        cwd=folder,
        env={**clean, "PYTHONPATH": str(PROJECT_DIR), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_in_the_folder_of_make_up__its_database_is_found_and_named(
    stores: dict[str, Any], tmp_path: Path
) -> None:
    note(tmp_path / ".data", stores)

    code, token, err = await keys(tmp_path, "create", "--name", "me", "--scope", "admin")
    listed = await keys(tmp_path, "list", "--json")

    assert (code, token[:3]) == (0, "wk_")
    place = f"Postgres at {stores['postgres_host']}:{stores['postgres_port']}, database {stores['postgres_db']}"
    assert err.splitlines()[0] == f"{place} (from .data/stack.json)"
    [key] = json.loads(listed[1])
    assert key["name"] == "me"
    assert datetime.fromisoformat(key["created_at"]).isoformat() == key["created_at"]


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "two\nlines"])
async def test_name_that_nobody_could_read__is_refused_before_anything_is_asked(tmp_path: Path, name: str) -> None:
    code, out, err = await keys(tmp_path, "create", "--name", name, "--scope", "admin")

    assert (code, out) == (2, "")
    assert "a name has 1 to 100 printable characters" in err


async def test_another_data_folder__is_found_by_the_environment_the_file_and_the_option(
    stores: dict[str, Any], tmp_path: Path
) -> None:
    note(tmp_path / "other", stores)
    (tmp_path / "file").write_text("DATA_DIR=other\n")

    by_option = await keys(tmp_path, "list", "--json", "--data-dir", "other")
    by_environment = await keys(tmp_path, "list", "--json", DATA_DIR="other")
    by_file = await keys(tmp_path, "list", "--json", ENV_FILE="file")

    for code, out, err in (by_option, by_environment, by_file):
        assert (code, out) == (0, "[]\n")
        assert "(from other/stack.json)" in err


async def test_settings__win_over_the_stack_in_the_folder(stores: dict[str, Any], tmp_path: Path) -> None:
    note(tmp_path / ".data", stores)
    port = str(ports.pick_free())

    code, out, err = await keys(
        tmp_path, "list", POSTGRES_HOST="127.0.0.1", POSTGRES_PORT=port, START_TIMEOUT_SECONDS="0.1"
    )

    assert (code, out) == (1, "")
    assert err.startswith(f"Postgres at 127.0.0.1:{port}, database postgres (from settings)\n")


async def test_note_that_is_broken__is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".data").mkdir()
    (tmp_path / ".data" / "stack.json").write_text("{")

    code, _, err = await keys(tmp_path, "list")

    assert code == 1
    assert err.startswith(".data/stack.json cannot be read")
    assert len(err.splitlines()) == 1
