"""Serves what a process counted to Prometheus, on a port of its own: whoever reaches the API does not see it.

Guarantees that a scrape never waits for the event loop, nor the loop for a scrape: it is answered by a thread. Several
processes that count into one folder are served as one by their parent. Knows no metric.
"""

import contextlib
from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry, disable_created_metrics, multiprocess, start_http_server
from prometheus_client.registry import Collector

from shared.errors import Misconfigured
from shared.settings import Settings

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each, with when it was first counted: nobody asks

SECONDS_SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
SECONDS_OF_A_REQUEST = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
COMMANDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)


@contextlib.contextmanager
def served(settings: Settings, registry: Collector = REGISTRY) -> Iterator[None]:
    """Serve what this process counts, unless METRICS_PORT is 0; raises Misconfigured when the port is not to be had."""
    if not settings.metrics_port:
        yield
        return
    try:
        server, thread = start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as error:
        raise Misconfigured(
            f"Cannot serve metrics on {settings.metrics_host}:{settings.metrics_port}: {error.strerror}. "
            "Each process needs a METRICS_PORT of its own."
        ) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def of_all_processes() -> CollectorRegistry:
    """Return the sum of what several processes count into the folder that `count_metrics_in` names."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


def process_ended(pid: int) -> None:
    """Forget the gauges of a process that ended; what it counted stays counted."""
    multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
