"""`python -m worker` serves; `python -m worker health` tells whether the worker of this host's name lives."""

import sys

from shared.settings import WorkerSettings
from worker.health import Health


def main() -> None:
    """Run what the command line asks for."""
    if sys.argv[1:] == ["health"]:
        sys.exit(Health(WorkerSettings.load()).check())
    if sys.argv[1:]:
        sys.exit("usage: python -m worker [health]")
    # Here, because a health check that is made every few seconds should not load what only a worker needs.
    from shared.process import run  # noqa: PLC0415
    from worker.serve import serve  # noqa: PLC0415

    run(serve)


if __name__ == "__main__":
    main()
