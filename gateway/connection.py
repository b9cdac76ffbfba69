"""A client's connection. What comes over it without being a request is answered as a problem, like everything else."""

import secrets

import structlog
from aiohttp import web

from gateway import problems

log = structlog.get_logger(__name__)


class Connection(web.RequestHandler):
    """aiohttp's connection, with our words when it cannot read a request."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what was not understood, and close: where the next request would start is not known."""
        request_id = secrets.token_hex(16)
        if status < 500:
            log.info("unreadable request", request_id=request_id, error=type(exc).__name__)
            response = problems.of_http_error(web.HTTPBadRequest(), request)
        else:
            log.error("defect", request_id=request_id, exc_info=exc)
            response = problems.of_defect(request)
        response.headers["X-Request-ID"] = request_id
        response.force_close()
        return response
