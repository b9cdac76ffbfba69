"""Tells from outside whether a worker lives: a file that each heartbeat touches.

Guarantees that the files of killed workers do not gather: a worker that starts takes away those long untouched.
"""

import contextlib
import sys
import tempfile
import time
from pathlib import Path

import structlog

from shared.settings import WorkerSettings

HEALTHY_SECONDS_MIN = 5.0  # below this a busy machine alone would make workers look dead
# A file left alone for a day is of a worker that was killed; one that was only frozen makes it anew with its next beat.
LEFT_BEHIND_SECONDS = 86_400.0

log = structlog.get_logger(__name__)


class Health:
    """The file of one worker, named after it."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._worker = settings.worker_name
        self._folder = Path(tempfile.gettempdir())
        self._file = self._folder / f"wallet-worker-{settings.worker_name}.health"
        self._told = False
        # To lose a session and to hold the next one takes this long at most, while all else is well.
        renewed_seconds = 2 * (settings.session_timeout_seconds + settings.heartbeat_seconds)
        self._healthy_seconds = max(HEALTHY_SECONDS_MIN, renewed_seconds)

    def remove_left_behind(self) -> None:
        """Take the files away that workers left behind when they were killed, as far as this user may."""
        for file in self._folder.glob("wallet-worker-*.health"):
            with contextlib.suppress(OSError):  # somebody else's, or another worker was quicker
                if time.time() - file.stat().st_mtime > LEFT_BEHIND_SECONDS:
                    file.unlink()

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
        return 0 if age <= self._healthy_seconds else 1
