"""Tells from outside whether a worker lives: a file that each heartbeat touches."""

import contextlib
import sys
import tempfile
import time
from pathlib import Path

import structlog

from shared.settings import WorkerSettings

HEALTHY_SECONDS = 5.0  # ten heartbeats

log = structlog.get_logger(__name__)


class Health:
    """The file of one worker, named after it."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._worker = settings.worker_name
        self._file = Path(tempfile.gettempdir()) / f"wallet-worker-{settings.worker_name}.health"
        self._told = False

    def beat(self) -> None:
        """Note that the session lives and the loop turns. A file that cannot be written is told once, and no more."""
        try:
            self._file.touch()
        except OSError as error:
            if not self._told:
                log.warning("cannot write the health file", file=str(self._file), error=str(error))
            self._told = True

    def end(self) -> None:
        """Take the file away: this worker has ended in order."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

    def check(self) -> int:
        """Print and return whether there was a heartbeat in the last seconds: 0 yes, 1 no."""
        try:
            age = time.time() - self._file.stat().st_mtime
        except OSError:
            sys.stdout.write(f"worker {self._worker} has not held a session yet\n")
            return 1
        sys.stdout.write(f"worker {self._worker}: last heartbeat {age:.1f} s ago\n")
        return 0 if age <= HEALTHY_SECONDS else 1
