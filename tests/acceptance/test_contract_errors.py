"""The contract of everything else that may be asked: addresses, methods, request ids."""

import re
from uuid import UUID, uuid4

import pytest

from tests.acceptance.problems import assert_problem
from tests.service import Client, Service

MADE_UP = re.compile(r"[0-9a-f]{32}")
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/",
            "/api",
            "/api/v1",
            "/api/v1/",
            "/api/v2/wallets",
            "/api/v1/wallet",
            "/API/V1/WALLETS",
            "/x%20y",
            "/é",
            "/%ff",
        ),
        *("/api/v1/wallets//", f"/api/v1/wallets/{UUID(int=1)}/x", f"/api/v1/wallets/{UUID(int=1)}/operation/x/y"),
        *("/api/v1/wallets/a/operations/b/c", "/openapi.yaml", "/docs/x", "/static", "/static/", "/static/nothing.js"),
        *("/static/..%2f__init__.py", "/static/%2e%2e/app.py", "/metrics", "/favicon.ico", "/.env"),
    ],
)
async def test_unknown_path__404(client: Client, path: str) -> None:
    answer = await client.get(path)
    assert_problem(answer, 404, "not_found", answer.body["instance"])


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/wallets", {"POST"}),
        ("/api/v1/wallets/{id}", {"GET", "HEAD"}),
        ("/api/v1/wallets/{id}/operation", {"POST"}),
        ("/api/v1/wallets/{id}/operations", {"GET", "HEAD"}),
        ("/api/v1/wallets/{id}/operations/{id}", {"GET", "HEAD"}),
        *((path, {"GET", "HEAD"}) for path in ("/healthz", "/readyz", "/openapi.json", "/docs", "/redoc")),
    ],
)
async def test_other_method__405_names_the_allowed_ones(client: Client, path: str, allowed: set[str]) -> None:
    for spelling in (path, f"{path}/"):
        real = spelling.replace("{id}", str(uuid4()))
        for method in METHODS - allowed - {"HEAD"}:
            answer = await client.request(method, real)
            assert_problem(answer, 405, "method_not_allowed", real)
            assert set(answer.headers["Allow"].split(", ")) == allowed, (method, real)


async def test_head__has_the_headers_of_get_and_no_body(client: Client) -> None:
    wallet = f"/api/v1/wallets/{await client.create_wallet()}"
    for path in (wallet, f"{wallet}/operations", "/healthz", "/openapi.json", f"/api/v1/wallets/{uuid4()}", "/nothing"):
        head, get = await client.request("HEAD", path), await client.get(path)
        assert (head.status, head.body) == (get.status, b"")
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
        # A problem's detail repeats the method, so that only the length of a success is the same.
        assert get.status != 200 or head.headers["Content-Length"] == get.headers["Content-Length"]
        assert head.headers["X-Request-ID"]


async def test_request_id__is_the_callers_on_every_kind_of_answer(client: Client) -> None:
    wallet_id = await client.create_wallet()
    wallet, operation = f"/api/v1/wallets/{wallet_id}", f"/api/v1/wallets/{wallet_id}/operation"
    kinds = [
        (201, "POST", "/api/v1/wallets", None),
        (200, "GET", wallet, None),
        (200, "POST", operation, '{"operation_type": "DEPOSIT", "amount": 1}'),
        (400, "POST", operation, '{"operation_type": "WITHDRAW", "amount": 99}'),
        (400, "POST", operation, "{"),
        (404, "GET", "/nothing", None),
        (404, "GET", f"/api/v1/wallets/{uuid4()}", None),
        (405, "DELETE", wallet, None),
        (413, "POST", operation, " " * 70_000),
        (422, "POST", operation, "{}"),
        (422, "GET", "/api/v1/wallets/x", None),
        *((200, "GET", path, None) for path in ("/healthz", "/readyz", "/openapi.json", "/docs", "/redoc")),
    ]
    for number, (status, method, path, data) in enumerate(kinds):
        answer = await client.request(method, path, data=data, X_Request_ID=f"mine-{number}")
        assert (answer.status, answer.headers["X-Request-ID"]) == (status, f"mine-{number}"), (method, path)
        answer = await client.request(method, path, data=data)
        assert MADE_UP.fullmatch(answer.headers["X-Request-ID"]), (method, path)


@pytest.mark.parametrize("sane", ["x", "a" * 128, str(UUID(int=1)), "trace:1/2+3=4@host.example_5"])
async def test_sane_request_id__comes_back(client: Client, sane: str) -> None:
    assert (await client.get("/healthz", X_Request_ID=sane)).headers["X-Request-ID"] == sane


@pytest.mark.parametrize("insane", ["", " ", "a b", "a" * 129, "é", "<script>", 'a"b', "a,b", "a;b", "\u2028"])
async def test_insane_request_id__is_replaced_and_nothing_else_happens(client: Client, insane: str) -> None:
    answer = await client.get("/healthz", X_Request_ID=insane)
    assert answer.status == 200
    assert MADE_UP.fullmatch(answer.headers["X-Request-ID"])


async def test_request_ids__are_not_given_twice(client: Client) -> None:
    ids = {(await client.get("/healthz")).headers["X-Request-ID"] for _ in range(50)}
    assert len(ids) == 50


async def test_answers_about_money__are_kept_by_no_cache(client: Client) -> None:
    wallet = f"/api/v1/wallets/{await client.create_wallet()}"
    for path in (wallet, f"{wallet}/operations", f"/api/v1/wallets/{uuid4()}"):
        answer = await client.get(path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_refusals__are_no_defects_in_the_log(client: Client, service: Service) -> None:
    path = f"/api/v1/wallets/{await client.create_wallet()}/operation"
    await client.request("POST", path, data=b"\x1f\x8b nothing", Content_Encoding="gzip")
    await client.request("POST", path, data="[" * 50_000)
    await client.get("/api/v1/wallets/%ff")
    for gateway in service.gateways.values():
        assert '"event":"defect"' not in gateway.log_path.read_text()
