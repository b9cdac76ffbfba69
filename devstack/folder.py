"""The data folder of `make up`: what is kept in it, and that one stack at a time works in it.

`postgres/` and `redis/` hold the data, `logs/` what each process said in the last run, `lock` keeps a second stack out,
and `stack.json` says where the running stack is reached; it is there only while the stack runs.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from devstack import procfs, screen
from devstack.errors import StackError
from devstack.process import ChildProcess

_LEFTOVERS_TIMEOUT_S = 30.0  # a gateway whose `make up` was killed under load waits for its requests first (15 s)


class DataFolder:
    """A data folder, locked from entering to leaving it as a context."""

    def __init__(self, path: Path) -> None:
        """Describe the folder; nothing is touched before it is entered."""
        self.path = path
        self._stack_file = path / "stack.json"
        self._lock_descriptor = -1

    def __enter__(self) -> Self:
        """Make and lock the folder; raises StackError when that is impossible or another stack works in it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # Not inherited by children: the lock goes with this process, however it ends.
            self._lock_descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StackError(
                f"the data folder {self.path} cannot be used ({error.strerror}): "
                "choose one that this user may write to: make up DATA_DIR=…"
            ) from error
        try:
            fcntl.flock(self._lock_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock_descriptor, 20, 0).decode().strip() or "unknown"
            os.close(self._lock_descriptor)
            raise StackError(
                f"another make up (pid {holder}) is using the data folder {self.path}: "
                "stop it, or choose another folder and port: make up DATA_DIR=… PORT=…"
            ) from None
        os.ftruncate(self._lock_descriptor, 0)
        os.pwrite(self._lock_descriptor, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(self, *_: object) -> None:
        """Take the note of the running stack away and let others in."""
        self._stack_file.unlink(missing_ok=True)
        os.close(self._lock_descriptor)

    def log_path(self, name: str) -> Path:
        """Say where the log of the process `name` is."""
        return self.path / "logs" / f"{name}.log"

    def wait_for_leftovers(self) -> None:
        """Wait until nothing is left of a stack whose `make up` was killed; raises StackError when that stays."""
        try:
            noted = json.loads(self._stack_file.read_text())["processes"]
            old = {name: (int(entry["pid"]), entry["started_at_ticks"]) for name, entry in noted.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return  # no note, or half of one

        def alive() -> list[str]:
            return [
                f"{name} (pid {pid})" for name, (pid, ticks) in old.items() if procfs.started_at_ticks(pid) == ticks
            ]

        if not alive():
            return
        with screen.step("Last run") as step:
            if not procfs.wait_until(lambda: not alive(), _LEFTOVERS_TIMEOUT_S):
                raise StackError(f"of a make up that was killed there still run {', '.join(alive())}: stop them first")
            step.remark = "was killed, and has ended now"

    def note_stack(
        self, gateway_url: str, environment: Mapping[str, str], processes: Mapping[str, ChildProcess]
    ) -> None:
        """Write `stack.json`: the address, the settings by which a program reaches the same stores, the processes."""
        note = {
            "gateway_url": gateway_url,
            "environment": dict(environment),
            "processes": {
                name: {"pid": process.pid, "started_at_ticks": procfs.started_at_ticks(process.pid)}
                for name, process in processes.items()
            },
            "up_pid": os.getpid(),
            "noted_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        unfinished = self._stack_file.with_suffix(".json.new")
        # It may hold the password of a Postgres that the operator named.
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(note, file, indent=2)
        unfinished.replace(self._stack_file)
