"""The console command itself: where it looks, what it says when it cannot, and how it goes on looking."""

import asyncio
import json
import os
import pty
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from devstack import ports
from devstack.redis import Redis
from inspector.options import fill_in_watch
from shared.settings import Settings
from tests.integration.inspector_stage import Inspector, note
from tests.waiting import until

STRANGE = ("POSTGRES_", "REDIS_", "DATA_DIR", "PARTITION_")


async def started(
    folder: Path, *arguments: str, environment: Mapping[str, str], stdout: int, stderr: int = asyncio.subprocess.PIPE
) -> Any:
    """Start `python -m inspector` in a folder, with nothing in its environment but what is given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(STRANGE)}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "inspector", *arguments),
        cwd=folder,
        env={**clean, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        stdout=stdout,
        stderr=stderr,
    )


async def run(folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    process = await started(folder, *arguments, environment=environment, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_in_the_folder_of_make_up__its_stores_are_found(stores: dict[str, Any], tmp_path: Path) -> None:
    note(tmp_path / ".data", stores)

    code, out, err = await run(tmp_path, "--json")

    assert (code, err) == (1, "")  # nobody works there
    assert json.loads(out)["nodes"][0]["node"] in stores["redis_url"]


async def test_settings__win_over_the_stack_in_the_folder(stores: dict[str, Any], tmp_path: Path) -> None:
    note(tmp_path / "data", stores)
    nobody = ports.pick_free()

    code, out, err = await run(tmp_path, POSTGRES_HOST="127.0.0.1", POSTGRES_PORT=str(nobody), DATA_DIR="data")

    assert (code, out) == (2, "")
    assert err.startswith(f"Postgres at 127.0.0.1:{nobody} did not answer: ")
    assert len(err.splitlines()) == 1


async def test_where_nothing_runs_and_nothing_is_set__says_so(tmp_path: Path) -> None:
    code, out, err = await run(tmp_path)

    assert (code, out) == (2, "")
    assert err.endswith("(no `make up` runs in this data folder, and no setting names the stores)\n")
    assert len(err.splitlines()) == 1


async def test_note_that_is_broken__is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".data").mkdir()
    (tmp_path / ".data" / "stack.json").write_text('{"environment": ')

    code, _, err = await run(tmp_path, "workers")

    assert code == 2
    assert "stack.json cannot be read" in err
    assert len(err.splitlines()) == 1


async def test_redis_that_is_away__is_named_in_one_line_by_every_command(stores: dict[str, Any]) -> None:
    nobody = ports.pick_free()
    inspect = Inspector(Settings(**{**stores, "redis_url": f"redis://127.0.0.1:{nobody}/0"}))

    for command in ("overview", "partitions", "workers", "oldest", "doctor", "repair --yes", "dead list", "tail"):
        said = await inspect(*command.split())

        assert (said.code, said.out) == (2, ""), command
        assert said.err.startswith(f"Redis at 127.0.0.1:{nobody} did not answer: "), command
        assert len(said.err.splitlines()) == 1, command


async def test_redis_that_is_frozen__is_named_in_one_line(
    on_own_redis: dict[str, Any], own_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.node.SOCKET_TIMEOUT_SECONDS", 0.3)
    own_redis.pause()

    said = [await Inspector(Settings(**on_own_redis))(command) for command in ("overview", "oldest", "doctor")]

    own_redis.resume()
    assert [one.code for one in said] == [2, 2, 2]
    address = f"{own_redis.host}:{own_redis.port}"
    assert all(one.err.startswith(f"Redis at {address} did not answer: ") for one in said)
    assert [len(one.err.splitlines()) for one in said] == [1, 1, 1]


async def test_options_before_the_command__are_heeded_as_behind_it(stores: dict[str, Any]) -> None:
    inspect = Inspector(Settings(**stores))

    said = await inspect("--json", "workers")

    assert said.json.keys() == {"workers", "partitions_without_owner"}
    assert (await inspect("--json", "dead", "list")).json == {"dead_letters": 0, "letters": []}
    assert json.loads((await inspect("--json", "repair")).out)["changed"] is False


async def test_watch_before_the_command__watches(stores: dict[str, Any], tmp_path: Path) -> None:
    environment = {name.upper(): str(value) for name, value in stores.items()}
    arguments = ("--watch", "0.1", "--json", "oldest")
    process = await started(tmp_path, *arguments, environment=environment, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        for _ in range(3):
            assert json.loads(await process.stdout.readline())["ready_wallets"] == 0
        process.send_signal(2)
        await process.communicate()

    assert process.returncode == 0


async def test_options_that_a_command_cannot_heed__are_refused(stores: dict[str, Any]) -> None:
    inspect = Inspector(Settings(**stores))

    for arguments in (["--watch", "repair", "--yes"], ["--watch", "1", "resume", "worker-1"]):
        said = await inspect(*arguments)
        assert said.code == 2
        assert "--watch is for views" in said.err
    for arguments in (["top", "--json"], ["--json", "top"]):
        said = await inspect(*arguments)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith("top is for people; ")


async def test_database_without_the_schema__is_said(stores: dict[str, Any]) -> None:
    said = await Inspector(Settings(**{**stores, "postgres_db": "postgres"}))("workers")

    assert said.code == 2
    assert "has no tables of this release" in said.err
    assert len(said.err.splitlines()) == 1


async def test_watch__goes_on_over_an_outage_with_one_document_a_line(
    on_own_redis: dict[str, Any], own_redis: Redis, tmp_path: Path
) -> None:
    environment = {name.upper(): str(value) for name, value in on_own_redis.items()}
    arguments = ("oldest", "--json", "--watch", "0.1")
    process = await started(tmp_path, *arguments, environment=environment, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        for _ in range(2):
            assert json.loads(await process.stdout.readline())["ready_wallets"] == 0
        await asyncio.to_thread(own_redis.stop)
        while "Redis at" not in (await process.stderr.readline()).decode():
            pass
        await asyncio.to_thread(own_redis.start)
        while process.stdout._buffer:  # what was said before the outage
            await process.stdout.readline()
        assert json.loads(await process.stdout.readline())["ready_wallets"] == 0
        process.send_signal(2)
        _, err = await process.communicate()

    assert process.returncode == 0
    assert b"Traceback" not in err


async def test_on_a_terminal__watch_draws_a_screen_and_elsewhere_plain_lines(
    stores: dict[str, Any], tmp_path: Path
) -> None:
    environment = {name.upper(): str(value) for name, value in stores.items()}
    look = ("wallet", str(uuid4()))
    _, plain, _ = await run(tmp_path, *look, **environment)
    assert "\x1b" not in plain
    assert not [line for line in plain.splitlines() if line != line.rstrip()]

    ours, theirs = pty.openpty()
    process = await started(tmp_path, *look, "--watch", environment={**environment, "TERM": "xterm"}, stdout=theirs)
    os.close(theirs)
    os.set_blocking(ours, False)
    drawn = b""

    async def draws() -> bool:
        nonlocal drawn
        try:
            drawn += os.read(ours, 65536)
        except (BlockingIOError, OSError):
            return False
        return b"no such wallet" in drawn

    await until(draws, 15)
    process.send_signal(2)
    async with asyncio.timeout(10):
        await process.wait()
    os.close(ours)
    assert b"\x1b[?1049h" in drawn  # a screen of its own, which Ctrl-C gives back
    assert b"\x1b[31m" in drawn


async def test_progress__is_drawn_of_a_long_look_and_never_over_what_is_watched(
    stores: dict[str, Any], tmp_path: Path
) -> None:
    environment = {**{name.upper(): str(value) for name, value in stores.items()}, "TERM": "xterm"}
    drawn = {}
    for how in ((), ("--watch", "0.1")):
        ours, theirs = pty.openpty()
        process = await started(
            tmp_path, "doctor", "--json", *how, environment=environment, stdout=asyncio.subprocess.PIPE, stderr=theirs
        )
        os.close(theirs)
        async with asyncio.timeout(30):
            if how:
                for _ in range(2):
                    assert json.loads(await process.stdout.readline())["checks"]
                process.send_signal(2)
            await process.communicate()
        os.set_blocking(ours, False)
        try:
            drawn[how] = os.read(ours, 65536)
        except OSError:  # nothing came, and nobody has the other end any more
            drawn[how] = b""
        os.close(ours)

    assert b"ready wallets" in drawn[()]
    assert b"all streams" in drawn[()]
    assert drawn["--watch", "0.1"] == b""


def test_watch_without_a_number__has_a_default() -> None:
    assert fill_in_watch(["workers", "--watch"]) == ["workers", "--watch", "2"]
    assert fill_in_watch(["--watch", "workers"]) == ["--watch", "2", "workers"]
    assert fill_in_watch(["workers", "--watch", "0.5", "--json"]) == ["workers", "--watch", "0.5", "--json"]
    assert fill_in_watch(["--watch=3"]) == ["--watch=3"]
