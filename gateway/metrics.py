"""What the gateway counts. The names are for dashboards and alerts: `monitoring/`, `docs/operations.md`.

One request costs one observation (about a microsecond), all else is counted once per flush, per refusal or per second.
"""

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import Counter, Gauge, Histogram

from shared.metrics import COMMANDS, SECONDS_OF_A_REQUEST, SECONDS_SHORT

UNKNOWN = "unknown"  # the route of whatever was asked for and is not served
UNREADABLE = "unreadable"  # the route of what is no valid request, or whose header did not come in time

REQUESTS = Histogram(
    "wallet_gateway_request_duration_seconds",
    "From the request's header to its answer, by route and status; _count is the number of requests.",
    ["route", "status"],
    buckets=SECONDS_OF_A_REQUEST,
)
HELD = Gauge(
    "wallet_gateway_commands_held",
    "Commands that are not decided yet, answered with a 202 or not; looked at once a second.",
    multiprocess_mode="livesum",
)
FLUSH_COMMANDS = Histogram(
    "wallet_gateway_flush_commands", "Commands that went to Redis in one trip.", buckets=COMMANDS
)
SUBMIT_SECONDS = Histogram(
    "wallet_gateway_submit_duration_seconds", "One trip to Redis with commands.", buckets=SECONDS_SHORT
)
RESUBMISSIONS = Counter(
    "wallet_gateway_resubmissions", "Commands submitted again, because Redis lost them or did not take them before."
)
REFUSALS = Counter(
    "wallet_gateway_refusals", "Commands and requests that were not accepted: 429 and 503, by reason.", ["reason"]
)
REDIS_LOSSES = Counter("wallet_gateway_redis_losses", "How often Redis was found away.")

REFUSAL_REASONS = (
    "wallet_queue_full",
    "partition_queue_full",
    "not_a_stream",
    "redis_away",
    "held_commands_max",
    "wallet_requests_max",
    "requests_max",
)
_refusals = {reason: REFUSALS.labels(reason) for reason in REFUSAL_REASONS}  # from the start, at zero

# By what answers a route, which each request brings along: that is found faster than the route itself.
_observers: dict[Handler, dict[int, Histogram]] = {}


def note_request(handler: Handler, request: web.Request, status: int, seconds: float) -> None:
    """Count a request that was answered; `handler` is its route's own."""
    try:
        observer = _observers[handler][status]
    except KeyError:
        observer = observer_of(route_name(request), status)
        # What is not served has a new handler each time, which must not be kept.
        if request.match_info.route.resource is not None:
            _observers.setdefault(handler, {})[status] = observer
    observer.observe(seconds)


def note_unreadable(status: int) -> None:
    """Count what could not be read as a request; it took no time, because that begins with the header."""
    observer_of(UNREADABLE, status).observe(0)


def observer_of(route: str, status: int) -> Histogram:
    """Return where requests of one route that were answered with one status are counted, by the seconds they took."""
    return REQUESTS.labels(route, status)


def route_name(request: web.Request) -> str:
    """Return the method and the path as the route table has it, never the path that was asked for."""
    route = request.match_info.route
    if route.resource is None:
        return UNKNOWN
    return f"{route.method} {route.resource.canonical.rstrip('/')}"


def note_refusal(reason: str) -> None:
    """Count something that was not accepted."""
    _refusals[reason].inc()
