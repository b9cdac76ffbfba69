"""A child process that cannot outlive its parent.

Guarantees: when this Python process ends in any way, SIGKILL included, the kernel sends the child its death signal; and
after `stop()` or `kill()` neither the child nor anything it started is left. Knows nothing of what the child does.
"""

import functools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals

from devstack import procfs
from devstack.errors import StackError

PROJECT_DIR = Path(__file__).resolve().parent.parent

_STOP_TIMEOUT_S = 30.0  # above what the gateway takes by default: DRAIN_SECONDS (15 s), and 10 s to close everything
_KILL_TIMEOUT_S = 10.0  # a killed process only has to leave the kernel; a disk that hangs can delay that
_TAIL_BYTES = 8192

# The kernel sends the death signal when the THREAD that started the child ends, so children are started only by threads
# that live as long as the process: the main one, or this one for callers in short-lived threads.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")

# Between fork and the moment the death signal is set, the parent may have died already: then the child has another
# parent, and leaves by itself.
_STILL_MY_PARENT = 'test "$PPID" = "$1" || exit 1; shift; exec "$@"'


@functools.cache
def _setpriv_works() -> bool:
    """Say whether this system can set a death signal (util-linux 2.33 or newer)."""
    probe = ["setpriv", "--pdeathsig", "TERM", "--", "true"]
    return (
        shutil.which("setpriv") is not None and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    )


def _bound_to_this_process(command: Sequence[str], death_signal: Signals) -> list[str]:
    if not _setpriv_works():
        return list(command)
    pact = ["setpriv", "--pdeathsig", death_signal.name.removeprefix("SIG"), "--"]
    return [*pact, "sh", "-c", _STILL_MY_PARENT, "sh", str(os.getpid()), *command]


@dataclass
class ChildProcess:
    """A program that can be started, stopped, killed, frozen and started again; its output goes to `log_path`.

    `wrapper` runs first and must exec the rest (it may change users, which would clear a death signal set before).
    `environment` is laid over this process's own. The log is emptied by the first start and appended to by later ones.
    """

    name: str
    command: Sequence[str]
    log_path: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    wrapper: Sequence[str] = ()
    stop_signal: Signals = SIGTERM
    death_signal: Signals = SIGTERM
    _popen: "subprocess.Popen[bytes] | None" = field(default=None, init=False, repr=False)

    @property
    def pid(self) -> int:
        """The pid of the last start; 0 before the first."""
        return self._popen.pid if self._popen else 0

    @property
    def exit_code(self) -> int | None:
        """How the child ended (negative: by that signal); None while it runs and before it was started."""
        return self._popen.poll() if self._popen else None

    @property
    def is_alive(self) -> bool:
        """Whether the child runs (or is frozen)."""
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        """Start the child; it does not wait for the child to be ready. Does nothing when it runs already."""
        if self.is_alive:
            return
        if threading.current_thread() is threading.main_thread():
            self._popen = self._spawn()
        else:
            self._popen = _spawner.submit(self._spawn).result()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        if self._popen is None and self.log_path.exists():  # of the run before: it may tell why that ended
            self.log_path.replace(self.log_path.with_name(f"{self.log_path.name}.1"))
        with self.log_path.open("ab") as log:
            try:
                return subprocess.Popen(
                    [*self.wrapper, *_bound_to_this_process(self.command, self.death_signal)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=PROJECT_DIR,
                    env={**os.environ, **self.environment},
                    # Out of the terminal's group, so that Ctrl-C reaches the parent only and the order of stopping is
                    # the parent's; in the same session, so that the kernel wakes a frozen child whose parent died.
                    process_group=0,
                )
            except OSError as error:
                raise StackError(f"{self.name} could not be started ({self.command[0]}): {error}") from error

    def stop(self, timeout_s: float = _STOP_TIMEOUT_S) -> int | None:
        """Ask the child to end and wait; after `timeout_s` kill it. Give its exit code (None: it was never started).

        What it started does not outlive it; neither when it had ended before, by itself.
        """
        if self._popen is None:
            return None
        below = self._below()
        if self.is_alive:
            self.resume()
            self.signal(self.stop_signal)
            try:
                self._popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        self._end(below)
        return self._popen.returncode

    def kill(self) -> None:
        """SIGKILL the child and everything below it, frozen or not, and wait until all of it is gone."""
        if self._popen is None:
            return
        below = self._below()
        self.signal(SIGKILL)
        self._end(below)
        self._popen.wait(_KILL_TIMEOUT_S)

    def _below(self) -> set[int]:
        """List what the child started: its descendants, and its group, in which those stay whose parent ended."""
        if self.is_alive:
            return {*procfs.descendants(self.pid), *procfs.group(self.pid)}
        # The kernel gives the number of a group to nobody while it has members: alive again, it is somebody else's.
        return set() if procfs.is_alive(self.pid) else set(procfs.group(self.pid))

    def _end(self, below: Iterable[int]) -> None:
        """Kill what is left of the processes below the child."""
        left = [pid for pid in below if procfs.is_alive(pid)]
        for pid in left:
            procfs.send(pid, SIGKILL)
        if not procfs.wait_until(lambda: not any(procfs.is_alive(pid) for pid in left), _KILL_TIMEOUT_S):
            raise StackError(f"{self.name}: processes below pid {self.pid} survive SIGKILL; the disk may hang")

    def pause(self) -> None:
        """Freeze the child and everything below it (SIGSTOP): it keeps its connections and answers nobody."""
        if not self.is_alive:
            return
        self.signal(SIGSTOP)  # first, so that it starts no more children while they are listed
        for pid in procfs.descendants(self.pid):
            procfs.send(pid, SIGSTOP)

    def resume(self) -> None:
        """Let a frozen child go on; harmless when it is not frozen."""
        if not self.is_alive:
            return
        for pid in (*procfs.descendants(self.pid), self.pid):
            procfs.send(pid, SIGCONT)

    def signal(self, number: Signals) -> None:
        """Send one signal to the child itself; nothing happens when it has ended."""
        if self._popen is not None:
            self._popen.send_signal(number)  # polls first: a pid that was given to someone else is never hit

    def owns_port(self, port: int) -> bool:
        """Say whether every process that listens on `port` is this child or below it: who answers is really it."""
        holders = procfs.listeners(port)
        return self.is_alive and bool(holders) and holders <= {self.pid, *procfs.descendants(self.pid)}

    def log_tail(self, lines_max: int = 10) -> list[str]:
        """Give the last lines that the child wrote."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                return log.read().decode(errors="replace").splitlines()[-lines_max:]
        except OSError:
            return []


def python_module(
    module: str,
    log_path: Path,
    environment: Mapping[str, str],
    name: str = "",
    death_signal: Signals = SIGKILL,
) -> ChildProcess:
    """Make (not start) a child that runs `python -m <module>` in the project's folder, with this very interpreter.

    `module` may be followed by arguments, each a word. SIGTERM lets the child drain. When its parent dies it is killed:
    the stores die with the same parent, so there would be nothing left to drain into, and the service is made to
    survive exactly that.
    """
    command = (sys.executable, "-m", *module.split())
    return ChildProcess(name or module, command, log_path, environment, death_signal=death_signal)
