"""The dev stack itself: real servers that start, die, freeze and come back; and that never outlive their parent."""

import asyncio
import operator
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import redis as client

from devstack import binaries, ports, postgres_data, procfs, unprivileged
from devstack.errors import StackError
from devstack.postgres import Postgres
from devstack.process import PROJECT_DIR, ChildProcess
from devstack.redis import Redis

FAST = {"fsync": "off"}  # these tests end processes, not machines

PARENT = """
import sys, time
from pathlib import Path
from devstack.postgres import Postgres
from devstack.redis import Redis
postgres = Postgres(Path(sys.argv[1]) / "postgres", options={"fsync": "off"})
redis = Redis(Path(sys.argv[1]) / "redis")
postgres.start()
redis.start()
if sys.argv[2] == "frozen":
    redis.pause()
print(postgres.port, redis.port, flush=True)
time.sleep(60)
"""


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    server = Postgres(tmp_path / "postgres", options=FAST)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["valkey", "redis"])
def redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path / "redis") if request.param == "valkey" else Redis.real(tmp_path / "redis")
    if server is None:
        pytest.skip("redis-server is not installed")
    server.start()
    yield server
    server.stop()


async def query(server: Postgres, statement: str) -> object:
    connection = await asyncpg.connect(server.url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def ask(server: Redis, use: "Callable[[client.Redis], object]") -> object:
    with client.Redis.from_url(server.url, decode_responses=True, socket_timeout=5) as connection:
        return use(connection)


def one_line(error: pytest.ExceptionInfo[StackError], *words: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def nothing_left(server: Postgres | Redis) -> bool:
    names = ["postgres", "valkey-server", "redis-server"]
    return ports.is_free(server.port) and not procfs.working_in(server.data_dir, names)


async def test_postgres_started__answers_as_our_own_child(postgres: Postgres) -> None:
    assert await query(postgres, "SELECT 1") == 1
    assert postgres.process.owns_port(postgres.port)
    assert procfs.is_alive(postgres.pid)


async def test_postgres_options__reach_the_server(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres", options={**FAST, "max_connections": "7"})
    server.start()
    assert await query(server, "SHOW max_connections") == "7"
    assert await query(server, "SHOW fsync") == "off"
    server.stop()


async def test_postgres_killed__nothing_is_left_and_what_was_committed_is_kept(postgres: Postgres) -> None:
    port, pid = postgres.port, postgres.pid
    await query(postgres, "CREATE TABLE kept AS SELECT 42 AS n")
    postgres.kill()
    assert nothing_left(postgres)
    postgres.start()
    assert (postgres.port, postgres.pid == pid) == (port, False)
    assert await query(postgres, "SELECT n FROM kept") == 42


async def test_postgres_paused__connections_stay_and_nothing_answers_until_resumed(postgres: Postgres) -> None:
    connection = await asyncpg.connect(postgres.url)
    postgres.pause()
    answer = asyncio.ensure_future(connection.fetchval("SELECT 1"))
    done, _ = await asyncio.wait([answer], timeout=0.3)
    assert not done
    postgres.resume()
    assert await asyncio.wait_for(answer, 5) == 1
    await connection.close()


async def test_postmaster_killed_while_a_backend_is_frozen__next_start_ends_the_backend(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_data, "_LEFTOVERS_TIMEOUT_S", 0.3)
    connection = await asyncpg.connect(postgres.url)
    backend = await connection.fetchval("SELECT pg_backend_pid()")
    os.kill(backend, signal.SIGSTOP)
    postgres.process.signal(signal.SIGKILL)
    assert procfs.wait_until(lambda: not postgres.process.is_alive, 5)
    assert procfs.is_alive(backend)
    postgres.start()
    assert not procfs.is_alive(backend)
    assert await query(postgres, "SELECT 1") == 1
    connection.terminate()


def test_pid_file_names_an_unrelated_process__postgres_starts(postgres: Postgres) -> None:
    postgres.kill()
    pid_file = postgres.data_dir / "postmaster.pid"
    _, *rest = pid_file.read_text().splitlines()
    unrelated = subprocess.Popen(["sleep", "60"])
    try:
        pid_file.write_text("\n".join([str(unrelated.pid), *rest]))
        postgres.start()
        assert asyncio.run(query(postgres, "SELECT 1")) == 1
    finally:
        unrelated.kill()
        unrelated.wait()


def test_second_postgres_on_one_folder__is_refused_and_the_first_goes_on(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_data, "_LEFTOVERS_TIMEOUT_S", 0.3)
    with pytest.raises(StackError) as error:
        Postgres(postgres.data_dir, options=FAST).start()
    one_line(error, str(postgres.pid), str(postgres.data_dir))
    assert postgres.process.is_alive


def test_postgres_folder_of_another_version__is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("9\n")
    with pytest.raises(StackError) as error:
        Postgres(tmp_path).start()
    one_line(error, str(tmp_path), "Postgres 9")


def test_folder_of_something_else__is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(StackError) as error:
        Postgres(tmp_path).start()
    one_line(error, str(tmp_path), "neither empty nor")
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_broken_postgres_folder__is_told_with_the_servers_own_reason(postgres: Postgres) -> None:
    postgres.stop()
    (postgres.data_dir / "global" / "pg_control").write_bytes(b"")
    with pytest.raises(StackError) as error:
        postgres.start()
    one_line(error, str(postgres.data_dir), "pg_control")
    assert error.value.log_tail
    assert not postgres.process.is_alive


def test_making_postgres_was_cut_short__the_next_start_makes_it_anew(tmp_path: Path) -> None:
    (tmp_path / "postgres.unfinished" / "base").mkdir(parents=True)
    server = Postgres(tmp_path / "postgres", options=FAST)
    server.start()
    server.stop()
    assert not (tmp_path / "postgres.unfinished").exists()


@pytest.mark.parametrize("make", [lambda path, port: Postgres(path, port, options=FAST), Redis])
def test_port_taken__is_told_and_the_stranger_is_not_talked_to(
    make: Callable[[Path, int], Postgres | Redis], tmp_path: Path
) -> None:
    with socket.create_server((ports.HOST, 0)) as stranger:
        port = stranger.getsockname()[1]
        server = make(tmp_path / "data", port)
        with pytest.raises(StackError) as error:
            server.start()
        one_line(error, str(port), "in use", str(os.getpid()))
        assert not server.process.owns_port(port)


def test_two_processes_pick_ports__never_the_same() -> None:
    code = (
        "import sys; from devstack import ports; print(*(ports.pick_free() for _ in range(400)), flush=True);"
        "sys.stdin.read()"  # as long as it lives, they are its own
    )
    pickers = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=PROJECT_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    first, second = ({int(port) for port in picker.stdout.readline().split()} for picker in pickers if picker.stdout)
    for picker in pickers:
        picker.communicate()
    assert len(first) == len(second) == 400
    assert not first & second  # by chance alone, 16 would be in both


def test_second_port_of_a_cluster_node_taken__is_not_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    only, taken = 20_300, {30_300}  # no other test is given it, and nobody listens there
    monkeypatch.setattr(ports, "_FIRST_PORT", only)
    monkeypatch.setattr(ports, "_LAST_PORT", only)
    monkeypatch.setattr(ports, "is_free", lambda port: port not in taken)
    with pytest.raises(StackError):
        ports.pick_free()
    taken.clear()
    assert ports.pick_free() == only


def test_redis_started__answers_as_our_own_child_with_our_settings(redis: Redis) -> None:
    wanted = {"appendonly": "yes", "maxmemory-policy": "noeviction", "stream-node-max-bytes": "512"}
    for name, value in wanted.items():
        assert ask(redis, operator.methodcaller("config_get", name)) == {name: value}
    assert redis.process.owns_port(redis.port)


def test_another_run__keeps_the_log_of_the_one_before(tmp_path: Path) -> None:
    for word in ("first", "second", "third"):
        process = ChildProcess("echo", ["echo", word], tmp_path / "echo.log")
        process.start()
        while process.is_alive:
            time.sleep(0.01)

    assert (tmp_path / "echo.log").read_text() == "third\n"
    assert (tmp_path / "echo.log.1").read_text() == "second\n"


def test_redis_killed__comes_back_with_its_data_on_its_port(redis: Redis) -> None:
    port = redis.port
    ask(redis, lambda connection: connection.set("kept", "yes"))
    redis.kill()
    assert nothing_left(redis)
    redis.start()
    assert ask(redis, lambda connection: connection.get("kept")) == "yes"
    assert redis.port == port


def test_redis_restarted_empty__has_lost_everything(redis: Redis) -> None:
    ask(redis, lambda connection: connection.set("lost", "soon"))
    redis.restart()
    assert ask(redis, lambda connection: connection.get("lost")) == "soon"
    redis.restart(empty=True)
    assert ask(redis, lambda connection: connection.dbsize()) == 0


def test_redis_paused__answers_when_resumed(redis: Redis) -> None:
    with client.Redis.from_url(redis.url, socket_timeout=0.3) as connection:
        redis.pause()
        with pytest.raises(client.TimeoutError):
            connection.ping()
        redis.resume()
        assert connection.ping()


def test_frozen_server__can_be_stopped(redis: Redis) -> None:
    redis.pause()
    redis.stop()
    assert nothing_left(redis)


def test_broken_redis_file__is_told_in_one_line(redis: Redis) -> None:
    redis.stop()
    for piece in (redis.data_dir / "appendonlydir").glob("*.manifest"):
        piece.write_text("nonsense")
    with pytest.raises(StackError) as error:
        redis.start()
    one_line(error, str(redis.data_dir), "manifest", "move it away")


@pytest.mark.parametrize("redis_is", ["awake", "frozen"])
def test_parent_killed__both_ports_are_free_soon(tmp_path: Path, redis_is: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), redis_is], stdout=subprocess.PIPE, text=True, cwd=PROJECT_DIR
    )
    with parent:
        assert parent.stdout is not None
        taken = [int(port) for port in parent.stdout.readline().split()]
        assert len(taken) == 2
        assert not any(ports.is_free(port) for port in taken)
        parent.kill()

    def all_gone() -> bool:
        left = [pid for name in ("postgres", "redis") for pid in _servers_in(tmp_path / name)]
        return all(ports.is_free(port) for port in taken) and not left

    assert procfs.wait_until(all_gone, 10)


def _servers_in(folder: Path) -> list[int]:
    return procfs.working_in(folder, ["postgres", "valkey-server", "redis-server"])


def test_started_by_a_thread_that_ended__the_server_lives_on(tmp_path: Path) -> None:
    server = Redis(tmp_path / "redis")
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    assert not procfs.wait_until(lambda: not server.process.is_alive, 0.3)
    server.stop()


def test_child_that_ignores_sigterm__is_killed_with_everything_below_it(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 60 & sleep 60"
    child = ChildProcess("stubborn", ["sh", "-c", script], tmp_path / "log")
    child.start()
    assert procfs.wait_until(lambda: len(procfs.descendants(child.pid)) == 2, 5)
    below = procfs.descendants(child.pid)
    assert child.stop(timeout_s=0.2) == -signal.SIGKILL
    assert not any(procfs.is_alive(pid) for pid in below)


def test_child_was_killed_by_somebody__stop_ends_what_it_had_started(tmp_path: Path) -> None:
    child = ChildProcess("forking", ["sh", "-c", "sleep 60 & wait"], tmp_path / "log")
    child.start()
    assert procfs.wait_until(lambda: len(procfs.descendants(child.pid)) == 1, 5)
    below = procfs.descendants(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    assert procfs.wait_until(lambda: not child.is_alive, 5)
    assert procfs.is_alive(below[0])
    assert child.stop() == -signal.SIGKILL
    assert not procfs.is_alive(below[0])


async def test_no_wheel_fits__the_systems_postgres_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PG_BINDIR", raising=False)
    monkeypatch.setattr(binaries, "_package_folder", lambda _name: None)
    try:
        server = Postgres(tmp_path / "postgres", options=FAST)
    except StackError:
        pytest.skip("the system has no Postgres of its own")
    server.start()
    assert str(await query(server, "SHOW server_version")).startswith(server.version)
    server.stop()


@pytest.mark.parametrize(
    ("variable", "find"), [("PG_BINDIR", binaries.find_postgres), ("REDIS_SERVER", binaries.find_redis)]
)
def test_named_program_does_not_run__is_told_and_nothing_else_is_taken(
    variable: str, find: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(StackError) as error:
        find()
    one_line(error, variable, str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to give its rights away")
def test_root_without_user_namespaces__postgres_runs_as_nobody_or_says_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unprivileged, "_namespaces_allowed", lambda: False)
    tmp_path.chmod(0o700)
    with pytest.raises(StackError) as error:
        Postgres(tmp_path / "postgres", options=FAST).start()
    one_line(error, "root", "nobody")
    with tempfile.TemporaryDirectory() as entered_by_all:
        Path(entered_by_all).chmod(0o755)
        server = Postgres(Path(entered_by_all) / "postgres", options=FAST)
        if not os.access(server.process.command[0], os.X_OK):
            pytest.skip("the programs lie where nobody may go")
        server.start()
        assert asyncio.run(query(server, "SELECT 1")) == 1
        assert server.data_dir.owner() == "nobody"
        server.stop()
