"""What every request passes through: its id, and the turning of errors into problem documents."""

import logging
from random import getrandbits

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway import problems, requests
from shared.errors import ServiceError

REQUEST_ID = "request_id"

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


@web.middleware
async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id, answer it, and turn whatever is raised into a problem document."""
    request_id = requests.request_id(request) or _new_request_id()
    request[REQUEST_ID] = request_id
    response: web.StreamResponse
    try:
        response = await handler(request)
    except ServiceError as error:
        response = problems.of_service_error(error, request)
    except web.HTTPException as error:
        response = problems.of_http_error(error, request)
    except (web.RequestPayloadError, ConnectionResetError):  # a body not in the encoding it claims, or cut short
        response = problems.of_http_error(web.HTTPBadRequest(), request)
        response.force_close()  # where the next request would start is not known
    except Exception:
        log.exception("defect", request_id=request_id, method=request.method, path=request.path)
        response = problems.of_defect(request)
    if not response.prepared:
        response.headers["X-Request-ID"] = request_id
    if log.is_enabled_for(logging.DEBUG):  # asked first: the path alone takes longer to put together than all the rest
        log.debug("request", request_id=request_id, method=request.method, path=request.path, status=response.status)
    return response


def _new_request_id() -> str:
    return f"{getrandbits(128):032x}"  # a name, not a secret: the system's randomness costs a call to the kernel
