"""`python -m gateway` serves the REST API, in as many processes on one port as GATEWAY_PROCESSES says.

`python -m gateway keys` manages API keys.
"""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable

from gateway import keys
from gateway.listener import listen, refuse_open_door
from shared import logs
from shared.errors import Misconfigured, OperatorError
from shared.process import run
from shared.settings import GatewaySettings, count_metrics_in


def supervise(children: list[int], ended: Callable[[int], None] = lambda _: None) -> int:
    """Pass SIGTERM on to the processes and wait for all; when one ends by itself, end the others and return 1."""
    stopping = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopping
        stopping = True
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    failed = 0
    while children:
        child, status = os.wait()
        children.remove(child)
        ended(child)
        failed |= int(status != 0 or not stopping)
        if not stopping:
            sys.stderr.write(f"gateway process {child} ended by itself; ending the others\n")
            stop(signal.SIGTERM, None)
    return failed


def supervise_and_serve_metrics(settings: GatewaySettings, children: list[int], folder: str) -> int:
    """Supervise, and serve the sum of what the processes count in the folder, if there is one; then take it away."""
    if not folder:
        return supervise(children)
    from shared import metrics  # noqa: PLC0415 not before the folder is known, see `main`

    try:
        with metrics.served(settings, metrics.of_all_processes()):
            return supervise(children, metrics.process_ended)
    except Misconfigured as error:
        sys.stderr.write(f"{error.detail}\n")
        for child in children:
            os.kill(child, signal.SIGTERM)
        supervise(children)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Manage API keys, or serve with as many processes as are wanted over one socket: whichever is idle accepts."""
    if sys.argv[1:2] == ["keys"]:
        sys.exit(keys.main(sys.argv[2:]))
    if sys.argv[1:]:
        sys.exit("usage: python -m gateway [keys create|list|revoke]")
    try:
        settings = GatewaySettings.load()
        refuse_open_door(settings)
        listener = listen(settings)
    except OperatorError as error:
        sys.exit(error.detail)
    is_counted_together = settings.gateway_processes > 1 and settings.metrics_port > 0
    folder = tempfile.mkdtemp(prefix="wallet-metrics-") if is_counted_together else ""
    if folder:
        count_metrics_in(folder)
    # Here, because with it comes prometheus-client, which has to know that folder by then.
    from gateway.serve import serve  # noqa: PLC0415

    lifeline = None
    if settings.gateway_processes > 1:
        lifeline, held_open = os.pipe()
        children: list[int] = []
        for _ in range(settings.gateway_processes):
            if not (child := os.fork()):
                break
            children.append(child)
        else:
            listener.close()
            sys.exit(supervise_and_serve_metrics(settings, children, folder))
        os.close(held_open)
    logs.configure(settings, "gateway")
    run(lambda: serve(settings, listener, lifeline))


if __name__ == "__main__":
    main()
