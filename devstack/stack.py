"""The whole service on one machine: both stores, the gateway, the workers.

Guarantees an order: what is needed starts first; and stopping follows the work: the gateway takes no more, the workers
finish what they have, then the stores go.
"""

import signal
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from devstack import ports, screen, services
from devstack.errors import StackError
from devstack.folder import DataFolder
from devstack.process import ChildProcess
from devstack.stores import Stores

_READY_TIMEOUT_S = 60.0
_READY_INTERVAL_S = 0.05
_LAST_LINES_EACH = 5
_RESTARTS_MAX = 20  # of one process: what is killed more often is not killed by hand


class Stack:
    """Everything that `make up` runs, in one locked data folder."""

    def __init__(
        self, folder: DataFolder, environment: Mapping[str, str], *, port: int, workers: int, auth: str
    ) -> None:
        """Describe the stack; nothing is started before `start()`."""
        self.url = f"http://{ports.HOST}:{port}"
        self._port = port
        self._workers = workers
        self._auth = auth
        self._folder = folder
        self._stores = Stores(folder, environment)
        self._gateway: ChildProcess | None = None
        self._behind: list[ChildProcess] = []
        self._restarts: Counter[str] = Counter()

    def start(self) -> None:
        """Start everything and return when the service is ready; raises StackError."""
        self._folder.wait_for_leftovers()
        another = max(self._port + 1, 8000)
        ports.require_free(self._port, f"choose another (make up PORT={another}) or stop what listens there")
        self._stores.start()
        settings = self._stores.settings
        self._gateway = services.gateway(self._folder, settings, self._port, self._auth)
        self._behind = services.behind_the_gateway(self._folder, settings, self._workers)
        with screen.step("Service") as step:
            for process in self._service():
                process.start()
            self._folder.note_stack(self.url, settings, self._processes())
            self._wait_until_ready()
            step.remark = f"gateway and {self._workers} worker{'s' if self._workers > 1 else ''}"

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings by which a program reaches the same stores."""
        return self._stores.settings

    @property
    def is_running(self) -> bool:
        """Whether anything that was started here still runs."""
        return any(process.is_alive for process in self._processes().values())

    def start_killed_ones_again(self) -> None:
        """Start workers and housekeeping again that somebody killed, as a deployment does; each so often at most."""
        for process in self._behind:
            if process.is_alive or process.exit_code != -signal.SIGKILL:
                continue
            if self._restarts[process.name] < _RESTARTS_MAX:
                self._restarts[process.name] += 1
                process.start()
                self._folder.note_stack(self.url, self.settings, self._processes())
                screen.say(f"  ✓ {process.name} was killed, and is started again")

    def require_all_alive(self) -> None:
        """Raise StackError, with the last lines of its log, when a process ended by itself."""
        for name, process in self._processes().items():
            if not process.is_alive:
                raise StackError(
                    f"{name} ended by itself ({_how(process)}), see {process.log_path}", process.log_tail()
                )

    def stop(self) -> list[str]:
        """Stop everything in order; give the names of those of the service that did not end well."""
        asked = [process for process in self._service() if process.is_alive]
        if self._gateway:
            self._gateway.stop()
        with ThreadPoolExecutor(max_workers=max(1, len(self._behind))) as at_once:
            list(at_once.map(ChildProcess.stop, self._behind))
        self._stores.stop()
        # Ended by the very signal: it was asked before it could listen for it, so it had nothing to finish.
        well = (0, -signal.SIGTERM)
        return [f"{process.name} ({_how(process)})" for process in asked if process.exit_code not in well]

    def hurry(self) -> None:
        """Do not wait for the service to drain: what it has under way is decided at the next start."""
        for process in self._service():
            process.signal(signal.SIGKILL)

    def _service(self) -> list[ChildProcess]:
        return [*([self._gateway] if self._gateway else []), *self._behind]

    def _processes(self) -> dict[str, ChildProcess]:
        return self._stores.processes | {process.name: process for process in self._service()}

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while reason := services.not_ready_because(self._port):
            self.require_all_alive()
            if time.monotonic() > deadline:
                each = [(process.name, process.log_tail(_LAST_LINES_EACH)) for process in self._service()]
                tails = [f"{name}: {line}" for name, tail in each for line in tail]
                raise StackError(f"the service is not ready after {_READY_TIMEOUT_S:.0f} s: {reason}", tails)
            time.sleep(_READY_INTERVAL_S)
        self.require_all_alive()
        if self._gateway and not self._gateway.owns_port(self._port):
            raise StackError(f"port {self._port} is answered by another process than this gateway: choose another port")


def _how(process: ChildProcess) -> str:
    code = process.exit_code or 0
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
