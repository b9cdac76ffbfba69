"""Assembles the gateway: its resources, each opened, yielded and closed in order, and its routes."""

import logging
import socket
from collections.abc import AsyncIterator

import structlog
from aiohttp import web

from gateway import openapi, responses
from gateway.access import Access
from gateway.books import Books
from gateway.dispatcher import Dispatcher
from gateway.express import Express
from gateway.handlers import ACCESS, BOOKS, DESK, DISPATCHER, READINESS, SETTINGS, STREAMS
from gateway.middleware import edge
from gateway.operations import Desk
from gateway.readiness import Readiness
from gateway.room import Room
from gateway.routes import add_routes
from shared import tracing
from shared.database import open_pool
from shared.process import open_streams
from shared.settings import GatewaySettings

ROOM = web.AppKey("room", Room)

log = structlog.get_logger(__name__)


def build(settings: GatewaySettings) -> web.Application:
    """Return the application; its resources open when it starts."""
    room = Room(settings.requests_max)
    app = web.Application(middlewares=[edge(room)], client_max_size=settings.body_bytes_max)
    app[SETTINGS], app[ROOM] = settings, room
    app.cleanup_ctx.extend([_books, _access, _streams, _dispatcher])
    document = responses.write_json(openapi.document(is_key_required=settings.auth == "required"))

    async def serve_document(request: web.Request) -> web.Response:
        del request
        return web.Response(body=document, content_type="application/json", headers=responses.HEADERS)

    add_routes(app, serve_document)
    return app


def express_of(app: web.Application) -> Express | None:
    """Return the express lane of a started application; none where each request is told about: it tells nothing."""
    if tracing.tracer is not None or log.is_enabled_for(logging.DEBUG):
        return None
    return Express(
        app[DESK],
        app[DISPATCHER],
        app[BOOKS].looks,
        app[STREAMS],
        app[ACCESS],
        app[ROOM],
        app[SETTINGS].body_bytes_max,
    )


async def _books(app: web.Application) -> AsyncIterator[None]:
    name = f"gateway-{socket.gethostname()}"[:63]
    async with await open_pool(app[SETTINGS], name, app[SETTINGS].postgres_pool_max) as pool:
        app[BOOKS] = Books(pool)
        yield


async def _access(app: web.Application) -> AsyncIterator[None]:
    if app[SETTINGS].auth == "off":
        app[ACCESS] = None
        yield
        return
    access = Access(app[BOOKS].api_keys)
    async with access.running():
        app[ACCESS] = access
        yield


async def _streams(app: web.Application) -> AsyncIterator[None]:
    async with open_streams(app[SETTINGS]) as streams:
        app[STREAMS] = streams
        app[READINESS] = Readiness(app[BOOKS], streams, app[SETTINGS].partition_count)
        yield


async def _dispatcher(app: web.Application) -> AsyncIterator[None]:
    dispatcher = Dispatcher(app[SETTINGS], app[STREAMS], app[BOOKS].find)
    async with dispatcher.running():
        app[DISPATCHER] = dispatcher
        app[DESK] = Desk(lambda: dispatcher.reply_key, app[SETTINGS].wait_seconds)
        yield
