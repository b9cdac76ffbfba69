"""A real Valkey or Redis of one's own, set up as in production: append-only file, nothing evicted, small stream nodes.

Guarantees that after `start()` it is this object's own server that answers on its port. Speaks to it with two words
of its protocol, so that this package needs no client library.
"""

import re
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from devstack import ports, procfs
from devstack.binaries import Binary, find_real_redis, find_redis
from devstack.errors import StackError
from devstack.process import ChildProcess

_START_TIMEOUT_S = 60.0  # it reads its whole append-only file before it answers
_STOP_TIMEOUT_S = 15.0
_LEFTOVERS_TIMEOUT_S = 5.0
_ASK_TIMEOUT_S = 1.0
_ANSWER_BYTES_MAX = 65536

# An idle stream costs a node; 512 bytes instead of 4096 keeps a wallet with one waiting command under 1 KB.
_SETTINGS = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
    "stream-node-max-bytes": "512",
}


class Redis:
    """One server on the loopback address, without a password."""

    host = ports.HOST

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        arguments: Sequence[str] = (),
        binary: Binary | None = None,
        log_path: Path | None = None,
    ) -> None:
        """Describe a server; nothing is touched before `start()`.

        `arguments` come last on its command line and so win (`["--cluster-enabled", "yes"]`). The log goes to
        `<data_dir>.log` unless `log_path` says otherwise.
        """
        self.data_dir = data_dir.absolute()
        self.port = port or ports.pick_free()
        self._binary = binary or find_redis()
        command = [str(self._binary.path), "--port", str(self.port), "--bind", self.host, "--dir", str(self.data_dir)]
        for name, value in _SETTINGS.items():
            command += [f"--{name}", value]
        self._process = ChildProcess(
            self._binary.flavour.capitalize(),
            [*command, *arguments],
            log_path or self.data_dir.with_name(f"{self.data_dir.name}.log"),
        )

    @classmethod
    def real(cls, data_dir: Path, port: int | None = None, *, arguments: Sequence[str] = ()) -> "Redis | None":
        """Describe a server of the system's redis-server, which is Redis and not Valkey; None when there is none."""
        binary = find_real_redis()
        return cls(data_dir, port, arguments=arguments, binary=binary) if binary else None

    @property
    def process(self) -> ChildProcess:
        """The server as a child process: its pid, its log, whether it lives."""
        return self._process

    @property
    def pid(self) -> int:
        """The server's pid; 0 before the first start."""
        return self._process.pid

    @property
    def flavour(self) -> str:
        """Which of the two it is: "valkey" or "redis"."""
        return self._binary.flavour

    @property
    def version(self) -> str:
        """The version of the program in use, such as "9.1.2"."""
        return self._binary.version

    @property
    def url(self) -> str:
        """The address as redis clients read it."""
        return f"redis://{self.host}:{self.port}/0"

    def start(self) -> None:
        """Start it and return when it has read its data and answers.

        Does nothing when it runs. Raises StackError, with the last lines of its log, when it cannot be started.
        """
        if self._process.is_alive:
            return
        self._wait_for_leftovers()
        ports.require_free(self.port, "Redis needs it: stop what listens there")
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StackError(
                f"the Redis data folder {self.data_dir} cannot be made ({error.strerror}): "
                "choose a data folder that this user may write to"
            ) from error
        self._process.start()
        ready = False

        def settled() -> bool:
            nonlocal ready
            ready = self._is_ready()
            return ready or not self._process.is_alive

        procfs.wait_until(settled, _START_TIMEOUT_S)
        if not ready:
            how = "did not answer in time" if self._process.is_alive else "did not start"
            self._process.kill()
            raise self._start_error(how)

    def stop(self) -> None:
        """Stop it in order: everything it holds is on the disk afterwards."""
        self._process.stop(_STOP_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL it; up to the last second of its writes may be lost with the machine, none with the process alone."""
        self._process.kill()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self._process.pause()

    def resume(self) -> None:
        """Let a frozen server go on where it was."""
        self._process.resume()

    def restart(self, *, empty: bool = False) -> None:
        """Stop it when it runs, and start it again on the same port; with `empty`, it comes back without its data."""
        self.stop()
        if empty and self.data_dir.exists():
            shutil.rmtree(self.data_dir)
        self.start()

    def _wait_for_leftovers(self) -> None:
        """Wait for an earlier server on this folder: two that append to one file would ruin it."""
        names = ("valkey-server", "redis-server")
        if not procfs.wait_until(lambda: not procfs.working_in(self.data_dir, names), _LEFTOVERS_TIMEOUT_S):
            pid = next(iter(procfs.working_in(self.data_dir, names)), 0)
            raise StackError(
                f"another Redis (pid {pid}) is running on {self.data_dir}: "
                f"stop it (kill {pid}) or choose another data folder"
            )

    def _is_ready(self) -> bool:
        told = re.search(r"^process_id:(\d+)", self._ask("INFO server"), re.MULTILINE)
        # PING is refused while the data is read, INFO is not.
        return told is not None and int(told[1]) == self._process.pid and self._ask("PING").startswith("+PONG")

    def _ask(self, command: str) -> str:
        """Send one inline command and give the first piece of the answer; empty when nobody answers."""
        try:
            with socket.create_connection((self.host, self.port), _ASK_TIMEOUT_S) as connection:
                connection.sendall(f"{command}\r\n".encode())
                return connection.recv(_ANSWER_BYTES_MAX).decode(errors="replace")
        except OSError:
            return ""

    def _start_error(self, how: str) -> StackError:
        tail = self._process.log_tail()
        told = re.findall(r" # (.+)", "\n".join(tail))
        reason = (told or tail or ["it said nothing"])[-1]
        return StackError(
            f"{self._process.name} {how} on {self.data_dir}: {reason} (log: {self._process.log_path}); "
            "if the folder is broken, move it away to begin anew: it holds only commands on their way",
            tail,
        )
