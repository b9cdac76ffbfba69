"""One function per route: read the request, ask the dispatcher or the books, write the response."""

import functools
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway import operations, requests, responses
from gateway.access import Access, Scope
from gateway.books import Books
from gateway.dispatcher import Dispatcher
from gateway.middleware import COMMAND, REQUEST_ID
from gateway.operations import Desk
from gateway.readiness import Readiness
from shared.commands import Status
from shared.errors import CallerError, NotFound, Pending, Unavailable
from shared.ids import new_id
from shared.settings import GatewaySettings
from shared.streams import RedisError, Streams

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SETTINGS = web.AppKey("settings", GatewaySettings)
BOOKS = web.AppKey("books", Books)
ACCESS: web.AppKey[Access | None] = web.AppKey("access")
STREAMS = web.AppKey("streams", Streams)
DISPATCHER = web.AppKey("dispatcher", Dispatcher)
DESK = web.AppKey("desk", Desk)
READINESS = web.AppKey("readiness", Readiness)

CALLER = "caller"
ANYBODY = ""  # the caller, when nobody has to say who they are


def guarded(handler: Handler, scope: Scope) -> Handler:
    """Let in only callers whose API key has the scope; with AUTH=off, anybody."""

    @functools.wraps(handler)
    async def guard(request: web.Request) -> web.StreamResponse:
        access = request.app[ACCESS]
        authorization = request.headers.get("Authorization")
        request[CALLER] = await access.caller(authorization, scope) if access else ANYBODY
        return await handler(request)

    return guard


async def create_wallet(request: web.Request) -> web.Response:
    """Create an empty wallet."""
    await requests.empty_body(request)
    wallet = await request.app[BOOKS].create_wallet(new_id())
    location = f"/api/v1/wallets/{wallet.id}"
    return responses.as_json(responses.wallet_view(wallet), 201, {"Location": location})


async def read_wallet(request: web.Request) -> web.Response:
    """Return a wallet."""
    wallet_id = requests.uuid_in_path(request, "wallet_id")
    return responses.respond(await operations.answer_of_look(request.app[BOOKS], wallet_id))


async def operate(request: web.Request) -> web.Response:
    """Submit an operation and wait for its outcome."""
    wallet_id = requests.uuid_in_path(request, "wallet_id")
    key = requests.idempotency_key(request)
    body = await requests.json_body(request)
    asked = request.app[DESK].ask(request, wallet_id, key, body, request[CALLER], request[REQUEST_ID])
    request[COMMAND] = asked.command
    try:
        reply = await request.app[DISPATCHER].submit(asked.command, asked.wait_seconds)
    except Pending as pending:
        return responses.respond(await operations.answer_of_pending(asked, pending, request.app[STREAMS]))
    answer = operations.answer_of_reply(asked, reply, request.rel_url.raw_path)
    if isinstance(answer, CallerError):
        raise answer
    return responses.respond(answer)


async def list_operations(request: web.Request) -> web.Response:
    """Return a page of a wallet's operations, newest first."""
    wallet_id = requests.uuid_in_path(request, "wallet_id")
    asked = requests.page_query(request)
    books = request.app[BOOKS]
    # One more than asked for tells whether there is a next page.
    if asked.status is Status.APPLIED:
        listed = await books.applied(wallet_id, asked.below_seq, asked.limit + 1)
    else:
        listed = await books.rejected(wallet_id, asked.below, asked.limit + 1)
    if not listed and await books.wallet(wallet_id) is None:
        raise NotFound.wallet(wallet_id)
    page, last = listed[: asked.limit], None
    if len(listed) > asked.limit:
        end = page[-1]
        last = requests.encode_cursor(end.seq) if end.seq else requests.encode_cursor(end.decided_at, end.id)
    return responses.as_json(responses.page_view(page, last))


async def read_operation(request: web.Request) -> web.Response:
    """Return one operation: decided, or pending while it waits in its wallet's stream."""
    wallet_id = requests.uuid_in_path(request, "wallet_id")
    operation_id = requests.uuid_in_path(request, "operation_id")
    books = request.app[BOOKS]
    operation = await books.operation(wallet_id, operation_id)
    if operation is None:
        held = request.app[DISPATCHER].find_held(operation_id)
        try:
            command = held or await request.app[STREAMS].find_waiting(wallet_id, operation_id)
        except RedisError as error:
            raise Unavailable("The operations queue does not answer.") from error
        # It may have been decided, and have left the stream, between the two looks: the books have the last word.
        operation = await books.operation(wallet_id, operation_id)
        if operation is None and command is not None and command.wallet_id == wallet_id:
            headers = {"Retry-After": str(responses.RETRY_AFTER_SECONDS)}
            return responses.as_json(responses.pending_view(command), headers=headers)
    if operation is None:
        if await books.wallet(wallet_id) is None:
            raise NotFound.wallet(wallet_id)
        raise NotFound.operation(wallet_id, operation_id)
    return responses.as_json(responses.operation_view(operation))


async def healthz(request: web.Request) -> web.Response:
    """Say that this process is alive."""
    return responses.as_json({"status": "ok", "missing": []})


async def readyz(request: web.Request) -> web.Response:
    """Say whether operations can be served: both stores answer and a worker owns every partition."""
    missing = await request.app[READINESS].missing()
    status = "unavailable" if missing else "ok"
    return responses.as_json({"status": status, "missing": missing}, 503 if missing else 200)
