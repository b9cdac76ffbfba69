"""`python -m worker` serves; `python -m worker health` tells whether the worker of this host's name lives."""

import sys
import tempfile
import time
from pathlib import Path

from shared import logs
from shared.process import open_streams, prepare_database, run, stop_event
from shared.settings import WorkerSettings
from worker.worker import Worker

HEALTHY_SECONDS = 5.0  # ten heartbeats


async def serve() -> None:
    """Work until SIGTERM, then drain."""
    settings = WorkerSettings.load()
    logs.configure(settings, settings.worker_name)
    stop = stop_event()
    await prepare_database(settings)
    async with open_streams(settings) as streams:
        await Worker(settings, streams, health_file(settings)).run(stop)


def health() -> int:
    """Print and return whether the worker's session lived and its loop turned in the last seconds: 0 yes, 1 no."""
    settings = WorkerSettings.load()
    try:
        age = time.time() - health_file(settings).stat().st_mtime
    except FileNotFoundError:
        sys.stdout.write(f"worker {settings.worker_name} has not held a session yet\n")
        return 1
    sys.stdout.write(f"worker {settings.worker_name}: last heartbeat {age:.1f} s ago\n")
    return 0 if age <= HEALTHY_SECONDS else 1


def health_file(settings: WorkerSettings) -> Path:
    """Return the file that the worker touches at each heartbeat."""
    return Path(tempfile.gettempdir()) / f"wallet-worker-{settings.worker_name}.health"


if __name__ == "__main__":
    if sys.argv[1:] == ["health"]:
        sys.exit(health())
    elif sys.argv[1:]:
        sys.exit("usage: python -m worker [health]")
    run(serve)
