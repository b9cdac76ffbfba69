"""What every request passes through: its id, and the turning of errors into problem documents."""

import logging
import time
from random import randbytes

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway import metrics, problems, requests
from gateway.refusals import refusals
from gateway.room import Room
from shared import tracing
from shared.errors import ServiceError, Unavailable

REQUEST_ID = "request_id"
COMMAND = "command"  # what was asked for, where the request came so far
NO_ROOM = "no_room"  # on the answer to a request for which there was none: the Room
HEALTH = ("/healthz", "/readyz")  # answered under any load: to the one who decides whether to restart this process

log = structlog.get_logger(__name__)


async def expect(request: web.Request) -> web.StreamResponse | None:
    """Answer `Expect` (RFC 9110, 10.1.1), which aiohttp asks about before any middleware."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself is still to come
        return None
    response = problems.of_http_error(web.HTTPExpectationFailed(), request)
    response.headers["X-Request-ID"] = requests.request_id(request) or new_request_id(request)
    return response


def edge(room: Room) -> Middleware:
    """Return the middleware that gives a request its id, answers it, and turns whatever is raised into a problem.

    Where there is no room the answer is a 503 at once: those who wait already are served first.
    """

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        request_id = requests.request_id(request) or new_request_id(request)
        request[REQUEST_ID] = request_id
        response: web.StreamResponse
        is_refused = room.is_full and request.path.rstrip("/") not in HEALTH
        if is_refused:
            refusals.note("requests_max")
        room.enter()
        try:
            response = await (_refuse if is_refused else handler)(request)
        except ServiceError as error:
            response = problems.of_service_error(error, request)
        except web.HTTPException as error:
            response = problems.of_http_error(error, request)
        except requests.TooSlow as slow:
            log.info("slow request", request_id=request_id, part=str(slow))
            response = problems.of_http_error(web.HTTPRequestTimeout(), request)
            response.force_close()  # the rest of the body may still come
        except (web.RequestPayloadError, ConnectionResetError):  # a body not in the encoding it claims, or cut short
            response = problems.of_http_error(web.HTTPBadRequest(), request)
            response.force_close()  # where the next request would start is not known
        except Exception:
            log.exception("defect", request_id=request_id, method=request.method, path=request.path)
            response = problems.of_defect(request)
        finally:
            room.leave()
        if is_refused:
            response[NO_ROOM] = room
        if not response.prepared:
            response.headers["X-Request-ID"] = request_id
        seconds = time.perf_counter() - began
        metrics.note_request(handler, request, response.status, seconds)
        if tracing.tracer is not None or log.is_enabled_for(logging.DEBUG):  # asked first: the rest takes long
            _tell(request, request_id, response.status, seconds)
        return response

    return answer


def _tell(request: web.Request, request_id: str, status: int, seconds: float) -> None:
    """Write of a request that was answered into the log and the traces, whichever want it."""
    command = request.get(COMMAND)
    if log.is_enabled_for(logging.DEBUG):
        concerns = {"operation_id": str(command.id)} if command else {}
        log.debug(
            "request",
            request_id=request_id,
            **concerns,
            route=metrics.route_name(request),
            path=request.path,
            status=status,
            milliseconds=round(seconds * 1_000, 3),
        )
    if tracing.tracer is not None:
        began_ns = time.time_ns() - int(seconds * 1e9)
        traceparent = request.headers.get(tracing.HEADER)
        tracing.tracer.request(request_id, metrics.route_name(request), began_ns, status, traceparent, command)


def new_request_id(request: requests.HasHeaders) -> str:
    """Return a request id: the one that the caller's trace names, or a new one."""
    if tracing.tracer is not None and (named := tracing.request_id_in(request.headers.get(tracing.HEADER))):
        return named  # so that the worker's part belongs to the caller's trace
    return randbytes(16).hex()  # noqa: S311 a name, not a secret: the system's randomness costs a call to the kernel


async def _refuse(request: web.Request) -> web.StreamResponse:
    del request
    raise Unavailable("Too many requests are under way in this gateway.")
