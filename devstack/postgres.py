"""A real Postgres of one's own: made at the first start, kept over stops, kills and freezes.

Guarantees that after `start()` it is this object's own server, on this object's data folder, that answers on its port.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from signal import SIGINT
from types import MappingProxyType

from devstack import ports, postgres_data, procfs, unprivileged
from devstack.binaries import find_postgres
from devstack.errors import StackError
from devstack.process import ChildProcess

_START_TIMEOUT_S = 60.0  # after a crash it replays its log first, which takes as long as it takes
_STOP_TIMEOUT_S = 30.0  # a fast shutdown writes one checkpoint
_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
# As in the deployment: with it, an operation's commit has a time that can be looked up.
_SETTINGS: Mapping[str, str] = MappingProxyType({"track_commit_timestamp": "on"})


class Postgres:
    """One server on the loopback address; superuser `postgres`, no password."""

    host = ports.HOST
    user = "postgres"
    password = ""
    database = "postgres"

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        options: Mapping[str, str] = _NO_OPTIONS,
        log_path: Path | None = None,
    ) -> None:
        """Describe a server; nothing is touched before `start()`.

        `options` become `-c name=value`; with `fsync` "off" its making is not synced to the disk either. The log
        goes to `<data_dir>.log` unless `log_path` says otherwise.
        """
        self.data_dir = data_dir.absolute()
        self.port = port or ports.pick_free()
        self._options = dict(options)
        self._binary = find_postgres()
        self._process = ChildProcess(
            "Postgres",
            self._command(),
            log_path or self.data_dir.with_name(f"{self.data_dir.name}.log"),
            environment={"LC_ALL": "C"},  # messages in English, in a locale that every system has
            stop_signal=SIGINT,
            death_signal=SIGINT,
        )

    def _command(self) -> list[str]:
        command = [str(self._binary.path), "-D", str(self.data_dir), "-h", self.host, "-p", str(self.port), "-k", ""]
        for name, value in {**_SETTINGS, **self._options}.items():
            command += ["-c", f"{name}={value}"]
        return command

    @property
    def process(self) -> ChildProcess:
        """The postmaster as a child process: its pid, its log, whether it lives."""
        return self._process

    @property
    def pid(self) -> int:
        """The postmaster's pid; 0 before the first start."""
        return self._process.pid

    @property
    def version(self) -> str:
        """The version of the programs in use, such as "18.6"."""
        return self._binary.version

    @property
    def url(self) -> str:
        """The address as libpq and asyncpg read it."""
        return f"postgresql://{self.user}@{self.host}:{self.port}/{self.database}"

    def start(self) -> None:
        """Start it, made anew when the data folder is empty or missing, and return when it answers.

        Does nothing when it runs. Raises StackError, with the last lines of its log, when it cannot be started.
        """
        if self._process.is_alive:
            return
        synced = self._options.get("fsync") != "off"
        postgres_data.prepare(self.data_dir, self._binary, user=self.user, synced=synced)
        postgres_data.clear_leftovers(self.data_dir)
        ports.require_free(self.port, "Postgres needs it: stop what listens there")
        self._process.wrapper = unprivileged.wrapper(self.data_dir, self._binary.path)
        self._process.start()
        procfs.wait_until(lambda: self._is_ready() or not self._process.is_alive, _START_TIMEOUT_S)
        if not self._is_ready():
            how = "did not answer in time" if self._process.is_alive else "did not start"
            self._process.kill()
            raise self._start_error(how)

    def stop(self) -> None:
        """Stop it in order: open transactions are rolled back, everything is written to the disk."""
        self._process.stop(_STOP_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL the postmaster and its backends, as a crash of the machine would; what was committed is kept."""
        self._process.kill()

    def pause(self) -> None:
        """Freeze the postmaster and every backend: connections stay open and nothing answers."""
        self._process.pause()

    def resume(self) -> None:
        """Let a frozen server go on where it was."""
        self._process.resume()

    def restart(self) -> None:
        """Stop it when it runs, and start it again on the same port and data."""
        self.stop()
        self.start()

    def _is_ready(self) -> bool:
        """Read the postmaster's own pid file, as pg_ctl does: it must name our child, and say "ready"."""
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready"

    def _start_error(self, how: str) -> StackError:
        tail = self._process.log_tail()
        told = re.search(r"(?:FATAL|PANIC): +(.*)", "\n".join(tail))
        reason = told[1] if told else (tail or ["it said nothing"])[-1]
        return StackError(
            f"Postgres {how} on {self.data_dir}: {reason} (log: {self._process.log_path}); "
            "if the folder is broken, restore it or move it away to begin anew",
            tail,
        )
