"""THE route table: what is served, and what the OpenAPI document says of it. One entry, one operation."""

from dataclasses import dataclass

from aiohttp import web
from pydantic import BaseModel

from gateway import handlers, pages
from gateway.access import Scope
from gateway.handlers import Handler
from gateway.middleware import expect
from gateway.parameters import (
    CURSOR,
    IDEMPOTENCY_KEY,
    LIMIT,
    OPERATION_ID,
    PREFER,
    REQUEST_ID,
    STATUS,
    WALLET_ID,
    Header,
    Parameter,
)
from gateway.schemas import (
    AppliedView,
    EmptyRequest,
    Health,
    OperationPage,
    OperationRequest,
    OperationView,
    PendingView,
    WalletView,
)

LOCATION = Header(
    "Location", "Where to read what was made.", {"type": "string", "format": "uri-reference"}, is_required=True
)
SECONDS = {"type": "integer", "minimum": 1}
WWW_AUTHENTICATE = Header("WWW-Authenticate", "`Bearer`.")
RETRY_AFTER = Header("Retry-After", "Seconds until it is worth another try.", SECONDS, is_required=True)
LOOK_AGAIN = Header("Retry-After", "Seconds until it is worth another look, while it is PENDING.", SECONDS)
REPLAYED = Header(
    "Idempotency-Replayed", "Only when this is the stored outcome of an earlier request.", {"const": "true"}
)
WAIT_APPLIED = Header(
    "Preference-Applied", "The wait that was asked for and granted.", {"type": "string", "pattern": "^wait=[0-9]+$"}
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One successful answer: its status, its body and what it means."""

    status: int
    model: type[BaseModel]
    description: str
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API. `problems` are the codes of `gateway/problems.py` that it may answer with."""

    method: str
    path: str
    handler: Handler
    summary: str
    answers: tuple[Answer, ...]
    description: str = ""
    body: type[BaseModel] | None = None
    is_body_required: bool = False
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[str, ...] = ()
    problem_headers: tuple[Header, ...] = ()
    tag: str = "wallets"
    scope: Scope | None = None

    @property
    def guarded_handler(self) -> Handler:
        """The handler behind the check of the caller's API key, where the route needs one."""
        return handlers.guarded(self.handler, self.scope) if self.scope else self.handler


# What the check of the API key may answer, on every route that has a scope.
GUARD_PROBLEMS = ("unauthenticated", "forbidden")
_BODY_PROBLEMS = (
    "malformed_json",
    "bad_request",
    "request_timeout",
    "body_too_large",
    "unsupported_media_type",
    "validation_error",
)

ROUTES = (
    Route(
        "POST",
        "/api/v1/wallets",
        handlers.create_wallet,
        "Create a wallet",
        answers=(Answer(201, WalletView, "The new, empty wallet.", (LOCATION,)),),
        body=EmptyRequest,
        scope=Scope.CREATE,
        parameters=(REQUEST_ID,),
        problems=(*_BODY_PROBLEMS, "unavailable"),
    ),
    Route(
        "GET",
        "/api/v1/wallets/{wallet_id}",
        handlers.read_wallet,
        "Read a wallet",
        answers=(Answer(200, WalletView, "The wallet as it stands."),),
        scope=Scope.READ,
        parameters=(WALLET_ID, REQUEST_ID),
        problems=("wallet_not_found", "validation_error", "unavailable"),
    ),
    Route(
        "POST",
        "/api/v1/wallets/{wallet_id}/operation",
        handlers.operate,
        "Deposit or withdraw",
        description="Applies the operation and answers with the wallet right after it. Operations on one wallet are "
        "applied one after another. With an `Idempotency-Key` a repeated request gets the stored outcome, whether it "
        "was applied or rejected. When the outcome takes longer than the wait, the answer is 202: the operation was "
        "accepted and will be decided exactly once; its `Location` says what became of it. Operations on the same "
        "wallet that are sent later through the same gateway stay behind it; before sending one that must come after "
        "it through another gateway, wait until the `Location` tells the outcome.",
        answers=(
            Answer(200, AppliedView, "Applied: the wallet after it.", (REPLAYED, WAIT_APPLIED)),
            Answer(202, PendingView, "Accepted, not decided yet.", (LOCATION, RETRY_AFTER, WAIT_APPLIED)),
        ),
        body=OperationRequest,
        is_body_required=True,
        scope=Scope.OPERATE,
        parameters=(WALLET_ID, IDEMPOTENCY_KEY, PREFER, REQUEST_ID),
        problems=(
            *_BODY_PROBLEMS,
            "insufficient_funds",
            "balance_limit_exceeded",
            "wallet_not_found",
            "idempotency_key_reused",
            "operation_refused",
            "operation_unreadable",
            "wallet_queue_full",
            "unavailable",
        ),
        problem_headers=(REPLAYED, WAIT_APPLIED),
    ),
    Route(
        "GET",
        "/api/v1/wallets/{wallet_id}/operations",
        handlers.list_operations,
        "List a wallet's operations",
        description="Newest first. Applied ones, unless rejected ones are asked for.",
        answers=(Answer(200, OperationPage, "A page of operations."),),
        scope=Scope.READ,
        parameters=(WALLET_ID, LIMIT, CURSOR, STATUS, REQUEST_ID),
        problems=("wallet_not_found", "validation_error", "unavailable"),
    ),
    Route(
        "GET",
        "/api/v1/wallets/{wallet_id}/operations/{operation_id}",
        handlers.read_operation,
        "Read an operation",
        answers=(Answer(200, OperationView, "The operation: decided, or PENDING.", (LOOK_AGAIN,)),),
        scope=Scope.READ,
        parameters=(WALLET_ID, OPERATION_ID, REQUEST_ID),
        problems=("wallet_not_found", "operation_not_found", "validation_error", "unavailable"),
    ),
    Route(
        "GET",
        "/healthz",
        handlers.healthz,
        "Is this process alive?",
        answers=(Answer(200, Health, "It is."),),
        parameters=(REQUEST_ID,),
        tag="health",
    ),
    Route(
        "GET",
        "/readyz",
        handlers.readyz,
        "Can operations be served?",
        answers=(
            Answer(200, Health, "Both stores answer and every partition has an owner."),
            Answer(503, Health, "Something is missing; the body names it."),
        ),
        parameters=(REQUEST_ID,),
        tag="health",
    ),
)

# Pages and files for people: served beside the API, no part of its document.
PAGES: tuple[tuple[str, Handler], ...] = (
    ("/docs", pages.docs),
    ("/redoc", pages.redoc),
    ("/static/{name}", pages.static),
)


def add_routes(app: web.Application, openapi: Handler) -> None:
    """Serve every route and page, with and without a trailing slash, without a redirect."""
    # aiohttp tries the resources in this order: the one that carries the load comes first.
    ordered = sorted(ROUTES, key=lambda route: route.handler is not handlers.operate)
    table = [(route.method, route.path, route.guarded_handler) for route in ordered]
    table += [("GET", path, handler) for path, handler in (*PAGES, ("/openapi.json", openapi))]
    for method, path, handler in table:
        # aiohttp's own pattern leaves out braces, in which a UUID may be written.
        pattern = path.replace("}", ":[^/]+}")
        for spelling in (pattern, f"{pattern}/"):
            if method == "GET":
                app.router.add_get(spelling, handler, expect_handler=expect)
            else:
                app.router.add_route(method, spelling, handler, expect_handler=expect)
