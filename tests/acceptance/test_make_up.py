"""`make up` as a person uses it: start, paste the curl, Ctrl-C, start again; and each way in which it can go wrong.

Runs the real thing, in a process group of its own, on a free port and a temporary data folder.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack import ports, procfs
from devstack.postgres import Postgres
from devstack.process import PROJECT_DIR
from devstack.redis import Redis

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
READY = "Ctrl-C stops everything"


class MakeUp:
    """One run of `make up`."""

    def __init__(self, folder: Path, port: int | None = None, **environment: str) -> None:
        self.folder = folder
        self.port = port or ports.pick_free()
        self._is_told_on_the_command_line = "ENV_FILE" not in environment
        self._environment = environment
        self._out = folder.parent / f"{folder.name}.{self.port}.out"
        self._err = folder.parent / f"{folder.name}.{self.port}.err"

    def __enter__(self) -> "MakeUp":
        # The environment that runs this test is the installed one: make must neither look for nor make another.
        command = ["make", "-o", ".venv/.installed", "up", f"PYTHON={sys.executable}"]
        if self._is_told_on_the_command_line:
            command += [f"PORT={self.port}", f"DATA_DIR={self.folder}"]
        # Nothing of a `make test` that runs this test, nor of the person who runs that.
        strange = re.compile("POSTGRES_|REDIS_|MAKE|MFLAGS|WORKERS|GATEWAY_|AUTH|PORT$|DATA_DIR$")
        environment = {name: value for name, value in os.environ.items() if not strange.match(name)}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.make = subprocess.Popen(
                command,
                cwd=PROJECT_DIR,
                env=environment | self._environment,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.make.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.make.pid, signal.SIGKILL)
            self.make.wait()

    @property
    def said(self) -> str:
        return self._out.read_text()

    @property
    def complained(self) -> list[str]:
        """What it wrote to stderr, without the line that make itself adds when a command fails."""
        return [line for line in self._err.read_text().splitlines() if not line.startswith("make: ***")]

    @property
    def note(self) -> dict[str, Any]:
        note: dict[str, Any] = json.loads((self.folder / "stack.json").read_text())
        return note

    def pids(self) -> dict[str, int]:
        note = self.note
        return {name: entry["pid"] for name, entry in note["processes"].items()} | {"up": note["up_pid"]}

    def wait_until_ready(self) -> None:
        procfs.wait_until(lambda: READY in self.said or self.make.poll() is not None, START_TIMEOUT_S)
        assert READY in self.said, self.said + "\n".join(self.complained)

    def press_ctrl_c(self) -> int:
        """Send SIGINT to the whole group, as a terminal does; give make's exit code."""
        os.killpg(self.make.pid, signal.SIGINT)
        return self.make.wait(STOP_TIMEOUT_S)

    def wait_for_failure(self) -> str:
        """Wait for the end that nobody asked for; give the one line that says why."""
        assert self.make.wait(START_TIMEOUT_S) != 0
        assert len(self.complained) == 1, self.complained
        return self.complained[0]

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(ports.HOST, self.port, timeout=15)
        with contextlib.closing(connection):
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())


def wallet_with(up: MakeUp, amount: str) -> str:
    status, wallet = up.call("POST", "/api/v1/wallets")
    assert status == 201, wallet
    deposit(up, wallet["id"], amount)
    return str(wallet["id"])


def deposit(up: MakeUp, wallet_id: str, amount: str) -> None:
    body = {"operation_type": "DEPOSIT", "amount": amount}
    status, answer = up.call("POST", f"/api/v1/wallets/{wallet_id}/operation", body)
    assert status == 200, answer


def balance(up: MakeUp, wallet_id: str) -> str:
    status, wallet = up.call("GET", f"/api/v1/wallets/{wallet_id}")
    assert status == 200, wallet
    return str(wallet["balance"])


def assert_nothing_left(up: MakeUp, pids: dict[str, int], timeout_s: float = 5) -> None:
    left: list[str] = []

    def gone() -> bool:
        left[:] = [name for name, pid in pids.items() if procfs.is_alive(pid)]
        stores = [folder for folder in ("postgres", "redis") if _servers_in(up.folder / folder)]
        left.extend(f"a server in {folder}" for folder in stores)
        return not left and ports.is_free(up.port)

    assert procfs.wait_until(gone, timeout_s), left


def _servers_in(folder: Path) -> list[int]:
    return procfs.working_in(folder, ["postgres", "valkey-server", "redis-server"])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    data = tmp_path / "data"
    yield data
    assert procfs.wait_until(lambda: not _servers_in(data / "postgres") and not _servers_in(data / "redis"), 5)


def test_started_operated_stopped_started_again__the_balance_is_still_there(folder: Path) -> None:
    with MakeUp(folder) as up:
        up.wait_until_ready()
        wallet_id = wallet_with(up, "10.00")
        pids = up.pids()
        assert set(pids) >= {"up", "postgres", "redis", "gateway", "worker-1", "maintenance"}
        up.press_ctrl_c()
        assert up.complained == []
        assert_nothing_left(up, pids)
        assert not (folder / "stack.json").exists()
    with MakeUp(folder, up.port) as up:
        up.wait_until_ready()
        assert balance(up, wallet_id) == "10.00"
        up.press_ctrl_c()


def test_printed_curl__works_when_pasted_and_others_are_told_apart(folder: Path) -> None:
    with MakeUp(folder) as up:
        up.wait_until_ready()
        assert f"http://127.0.0.1:{up.port}/docs" in up.said
        assert "AUTH=off" in up.said
        lines = re.search(r"^id=\$.*?\n\n", up.said, re.MULTILINE | re.DOTALL)
        assert lines is not None, up.said
        script = f"{lines[0]}\necho $id"
        pasted = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=30)
        wallet, wallet_id = pasted.stdout.split("\n")[:2]
        assert (json.loads(wallet)["balance"], balance(up, wallet_id)) == ("1000.50", "1000.50")

        with MakeUp(folder) as second:
            assert str(folder) in (line := second.wait_for_failure())
            assert f"pid {up.pids()['up']}" in line
        with MakeUp(folder.with_name("other"), up.port) as third:
            assert f"port {up.port}" in (line := third.wait_for_failure())
            assert "PORT=" in line
        assert balance(up, wallet_id) == "1000.50"
        up.press_ctrl_c()


def test_several_workers_and_sigterm__all_end_in_order(folder: Path) -> None:
    with MakeUp(folder, WORKERS="3") as up:
        up.wait_until_ready()
        pids = up.pids()
        assert {"worker-1", "worker-2", "worker-3"} <= set(pids)
        wallet_with(up, "0.01")
        os.kill(pids["up"], signal.SIGTERM)
        assert up.make.wait(STOP_TIMEOUT_S) == 0
        assert up.complained == []
        assert_nothing_left(up, pids)
        # Nobody lost a store: those were stopped last.
        assert all("session lost" not in (folder / "logs" / f"worker-{n}.log").read_text() for n in (1, 2, 3))


def test_up_killed__nothing_is_left_and_the_next_start_finds_everything(folder: Path) -> None:
    with MakeUp(folder) as up:
        up.wait_until_ready()
        wallet_id = wallet_with(up, "7.00")
        pids = up.pids()
        os.kill(pids["up"], signal.SIGKILL)
        up.make.wait(STOP_TIMEOUT_S)
    with MakeUp(folder, up.port) as again:  # at once: it waits itself for what is still ending
        again.wait_until_ready()
        assert not any(procfs.is_alive(pid) for pid in pids.values())
        assert balance(again, wallet_id) == "7.00"
        pids = again.pids()
        os.killpg(again.make.pid, signal.SIGKILL)
        again.make.wait(STOP_TIMEOUT_S)
        assert_nothing_left(again, pids)


@pytest.mark.parametrize("victim", ["gateway", "redis", "postgres"])
def test_a_child_dies__it_is_named_and_the_rest_is_stopped(folder: Path, victim: str) -> None:
    with MakeUp(folder) as up:
        up.wait_until_ready()
        pids = up.pids()
        os.kill(pids[victim], signal.SIGKILL)
        assert up.make.wait(STOP_TIMEOUT_S) != 0
        assert victim in up.complained[0]
        assert "SIGKILL" in up.complained[0]
        assert_nothing_left(up, pids)


def test_worker_killed__is_started_again_and_the_service_goes_on(folder: Path) -> None:
    with MakeUp(folder) as up:
        up.wait_until_ready()
        wallet_id = wallet_with(up, "7.00")
        killed = up.pids()["worker-1"]
        os.kill(killed, signal.SIGKILL)

        assert procfs.wait_until(lambda: up.pids()["worker-1"] != killed, STOP_TIMEOUT_S)
        deposit(up, wallet_id, "1.00")
        assert balance(up, wallet_id) == "8.00"
        pids = up.pids()
        up.press_ctrl_c()
        assert_nothing_left(up, pids)


def test_stores_of_ones_own__are_used_and_left_alone(folder: Path, tmp_path: Path) -> None:
    postgres, redis = Postgres(tmp_path / "own-postgres", options={"fsync": "off"}), Redis(tmp_path / "own-redis")
    try:
        postgres.start()
        redis.start()
        with MakeUp(
            folder,
            POSTGRES_HOST=postgres.host,
            POSTGRES_PORT=str(postgres.port),
            POSTGRES_USER=postgres.user,
            POSTGRES_DB=postgres.database,
            REDIS_URL=redis.url,
        ) as up:
            up.wait_until_ready()
            assert not {"postgres", "redis"} & set(up.pids())
            assert up.note["environment"]["REDIS_URL"] == redis.url
            wallet_with(up, "1.00")
            up.press_ctrl_c()
        assert postgres.process.is_alive
        assert redis.process.is_alive
        redis.stop()
        with MakeUp(folder, REDIS_URL=redis.url) as up:
            assert "REDIS_URL" in up.wait_for_failure()
        with MakeUp(folder, POSTGRES_HOST="/run", REDIS_URL="redis://:s3/cret@127.0.0.1:6379/0") as up:
            assert "REDIS_URL" in (line := up.wait_for_failure())
            assert "s3" not in line
    finally:
        redis.stop()
        postgres.stop()


def test_what_the_env_file_says__is_heeded_and_keys_are_asked_for(folder: Path, tmp_path: Path) -> None:
    redis, file = Redis(tmp_path / "own-redis"), tmp_path / "env"
    port = ports.pick_free()
    file.write_text(
        f"PORT={port}\nDATA_DIR={folder}\nAUTH=required\nREDIS_URL={redis.url}\nWORKERS=9\nLOG_LEVEL=error\n"
    )
    try:
        redis.start()
        with MakeUp(folder, port, ENV_FILE=str(file), WORKERS="2") as up:
            up.wait_until_ready()
            assert set(up.pids()) == {"up", "postgres", "gateway", "worker-1", "worker-2", "maintenance"}
            assert up.note["environment"]["REDIS_URL"] == redis.url
            assert "AUTH=required" in up.said
            assert up.call("POST", "/api/v1/wallets")[0] == 401
            lines = re.search(r"^key=\$.*?\n\n", up.said, re.MULTILINE | re.DOTALL)
            assert lines is not None, up.said
            pasted = subprocess.run(["sh", "-c", lines[0]], capture_output=True, text=True, check=True, timeout=30)
            assert json.loads(pasted.stdout)["balance"] == "1000.50"
            assert f"(from {folder / 'stack.json'})" in pasted.stderr
            assert redis.url not in lines[0]  # nor anything else that a password may stand in
            up.press_ctrl_c()
            assert (folder / "logs" / "worker-1.log").read_text() == ""  # the service read the file, too
    finally:
        redis.stop()


def test_data_of_another_postgres_version__is_refused_in_one_line(folder: Path) -> None:
    (folder / "postgres").mkdir(parents=True)
    (folder / "postgres" / "PG_VERSION").write_text("9\n")
    with MakeUp(folder) as up:
        assert "Postgres 9" in up.wait_for_failure()


def test_data_folder_is_a_file__is_refused_in_one_line(folder: Path) -> None:
    folder.write_text("")
    with MakeUp(folder) as up:
        assert str(folder) in up.wait_for_failure()


@pytest.mark.parametrize("workers", ["many", "0", "1000"])
def test_number_of_workers_that_is_none__is_refused_in_one_line(folder: Path, workers: str) -> None:
    with MakeUp(folder, WORKERS=workers) as up:
        assert "WORKERS" in up.wait_for_failure()
