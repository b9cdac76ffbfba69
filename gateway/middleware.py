"""What every request passes through: its id, and the turning of errors into problem documents."""

import logging
from random import getrandbits

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway import problems, requests
from shared.errors import ServiceError, Unavailable

REQUEST_ID = "request_id"
HEALTH = ("/healthz", "/readyz")  # answered under any load: to the one who decides whether to restart this process

log = structlog.get_logger(__name__)


async def expect(request: web.Request) -> web.StreamResponse | None:
    """Answer `Expect` (RFC 9110, 10.1.1), which aiohttp asks about before any middleware."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself is still to come
        return None
    response = problems.of_http_error(web.HTTPExpectationFailed(), request)
    response.headers["X-Request-ID"] = requests.request_id(request) or _new_request_id()
    return response


def edge(requests_max: int) -> Middleware:
    """Return the middleware that gives a request its id, answers it, and turns whatever is raised into a problem.

    Beyond `requests_max` requests under way the answer is a 503 at once: those who wait already are served first.
    """
    under_way = 0

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal under_way
        request_id = requests.request_id(request) or _new_request_id()
        request[REQUEST_ID] = request_id
        response: web.StreamResponse
        if under_way >= requests_max and request.path.rstrip("/") not in HEALTH:
            handler = _refuse
        under_way += 1
        try:
            response = await handler(request)
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
            under_way -= 1
        if not response.prepared:
            response.headers["X-Request-ID"] = request_id
        if log.is_enabled_for(logging.DEBUG):  # asked first: the path alone takes long to put together
            log.debug(
                "request", request_id=request_id, method=request.method, path=request.path, status=response.status
            )
        return response

    return answer


def _new_request_id() -> str:
    return f"{getrandbits(128):032x}"  # a name, not a secret: the system's randomness costs a call to the kernel


async def _refuse(request: web.Request) -> web.StreamResponse:
    del request
    raise Unavailable("Too many requests are under way in this gateway.")
