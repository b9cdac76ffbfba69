"""Who may call: API keys over real HTTP, made and revoked by the command that operators use."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psutil
import pytest

from devstack.process import PROJECT_DIR
from gateway.routes import ROUTES
from shared.database import connect
from tests.acceptance.problems import assert_problem
from tests.model.document import Document
from tests.model.wire import Answer as Judged
from tests.model.wire import Request
from tests.service import Client, Service
from tests.waiting import until

REVOCATION_SECONDS_MAX = 10.0
Keys = Callable[..., Any]


@pytest.fixture
def keys(own_service: Service) -> Keys:
    """Run `python -m gateway keys …` on the service's database; returns what it prints with --json."""

    def run(*arguments: str) -> Any:
        done = own_service.keys(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout else None

    return run


@pytest.fixture
async def guarded(own_service: Service) -> AsyncIterator[Client]:
    """A client of a service that asks for API keys, through the first of its two gateways."""
    for _ in range(2):
        own_service.start_gateway(AUTH="required")
    own_service.start_worker()
    await own_service.wait_ready()
    client = Client(own_service.url)
    yield client
    await client.close()


def bearer(key: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['key']}"}


def make(keys: Keys, *scopes: str) -> dict[str, Any]:
    flags = [part for scope in scopes for part in ("--scope", scope)]
    made: dict[str, Any] = keys("create", "--name", "a shop", *flags)
    return made


async def test_no_valid_key__401_and_how_to_ask(guarded: Client, keys: Keys) -> None:
    key = make(keys, "admin")
    other = make(keys, "admin")
    mixed = key["key"].rsplit("_", 1)[0] + "_" + other["key"].rsplit("_", 1)[1]
    tokens = ("", "Basic abc", "Bearer", "Bearer x", "Bearer wk_1_2", f"Bearer {key['key']}x", f"Bearer {mixed}")

    for token in tokens:
        answer = await guarded.request("POST", "/api/v1/wallets", Authorization=token)
        assert (answer.status, answer.code) == (401, "unauthenticated"), token
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    assert (await guarded.request("POST", "/api/v1/wallets")).status == 401
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert (await guarded.get(path)).status == 200


async def test_every_guarded_route__refuses_in_the_words_of_the_document(guarded: Client, keys: Keys) -> None:
    described = (await guarded.get("/openapi.json")).body
    document = Document(described)
    routes = [
        (path, method.upper())
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
        if operation.get("security") == [{"apiKey": []}]
    ]
    lacking = {scope: bearer(make(keys, scope)) for scope in ("wallets:create", "wallets:read")}
    somewhere = str(UUID(int=1))
    assert len(routes) == len([route for route in ROUTES if route.scope]) == 5

    for path, method in routes:
        place = path.replace("{wallet_id}", somewhere).replace("{operation_id}", somewhere)
        wrong = lacking["wallets:read" if method == "POST" else "wallets:create"]
        for status, code, headers in ((401, "unauthenticated", {}), (403, "forbidden", wrong)):
            answer = await guarded.request(method, place, {}, **headers)
            assert_problem(answer, status, code, place)
            seen = {name.lower(): value for name, value in answer.headers.items()}
            document.check(Request(method, place, path), Judged(answer.status, seen, answer.body))


async def test_each_scope__allows_its_own_requests_and_no_other(guarded: Client, keys: Keys) -> None:
    creator, reader, operator, admin = (
        bearer(make(keys, scope)) for scope in ("wallets:create", "wallets:read", "wallets:operate", "admin")
    )
    created = await guarded.request("POST", "/api/v1/wallets", **creator)
    assert created.status == 201
    path = f"/api/v1/wallets/{created.body['id']}"
    deposit = {"operation_type": "DEPOSIT", "amount": 1}

    for headers, may_create, may_operate, may_read in (
        (creator, True, False, False),
        (operator, False, True, False),
        (reader, False, False, True),
        (admin, True, True, True),
    ):
        answers = [
            await guarded.request("POST", "/api/v1/wallets", **headers),
            await guarded.request("POST", f"{path}/operation", deposit, **headers),
            await guarded.get(path, **headers),
            await guarded.get(f"{path}/operations", **headers),
        ]
        wanted = [201 if may_create else 403, 200 if may_operate else 403, *[200 if may_read else 403] * 2]
        assert [answer.status for answer in answers] == wanted
    refused = await guarded.get(path, **creator)
    assert refused.code == "forbidden"
    assert "wallets:read" in refused.body["detail"]


async def test_revoked_key__is_refused_by_every_gateway_within_seconds(
    guarded: Client, own_service: Service, keys: Keys
) -> None:
    key = make(keys, "wallets:create")
    clients = [Client(url) for url in own_service.urls.values()]
    assert [(await c.request("POST", "/api/v1/wallets", **bearer(key))).status for c in clients] == [201, 201]

    keys("revoke", key["id"])

    ends = time.monotonic() + REVOCATION_SECONDS_MAX
    while [(await c.request("POST", "/api/v1/wallets", **bearer(key))).status for c in clients] != [401, 401]:
        assert time.monotonic() < ends
        await asyncio.sleep(0.1)
    assert keys("list")[0]["revoked_at"]
    for client in clients:
        await client.close()


async def test_expired_key__is_refused_like_one_that_never_was(
    guarded: Client, own_service: Service, keys: Keys
) -> None:
    key = keys("create", "--name", "a shop", "--scope", "admin", "--expires-days", "1")
    left = datetime.fromisoformat(key["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(days=1)
    assert (await guarded.request("POST", "/api/v1/wallets", **bearer(key))).status == 201
    connection = await connect(own_service.settings, "test")
    await connection.execute("UPDATE api_keys SET expires_at = now()")
    await connection.close()

    async def is_refused() -> bool:
        answer = await guarded.request("POST", "/api/v1/wallets", **bearer(key))
        return (answer.status, answer.body.get("code")) == (401, "unauthenticated")

    await until(is_refused, REVOCATION_SECONDS_MAX)
    assert "expired" in own_service.keys("list").stdout


async def test_days_that_make_no_sense__make_no_key(own_service: Service, keys: Keys) -> None:
    for days in ("0", "-1", "3651", "1.5"):
        refused = own_service.keys("create", "--name", "a shop", "--scope", "admin", f"--expires-days={days}")
        assert refused.returncode == 2
        assert refused.stderr.splitlines()[-1].endswith(f"{days} is not a whole number from 1 to 3650")
        assert refused.stdout == ""

    assert keys("list") == []


async def test_idempotency_keys__are_separate_per_api_key(guarded: Client, keys: Keys) -> None:
    one, two = (bearer(make(keys, "admin")) for _ in range(2))
    wallet_id = (await guarded.request("POST", "/api/v1/wallets", **one)).body["id"]

    first = await guarded.deposit(wallet_id, 1, Idempotency_Key="same", **one)
    second = await guarded.deposit(wallet_id, 2, Idempotency_Key="same", **two)
    again = await guarded.deposit(wallet_id, 1, Idempotency_Key="same", **one)

    assert (first.status, second.status, again.status) == (200, 200, 200)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.body["operation"] == first.body["operation"]
    assert second.body["balance"] == "3.00"


async def test_secret__is_nowhere_but_with_its_owner(guarded: Client, own_service: Service, keys: Keys) -> None:
    key = make(keys, "wallets:read")
    secret = key["key"].rsplit("_", 1)[1]
    await guarded.request("POST", "/api/v1/wallets", **bearer(key))
    await guarded.get("/api/v1/wallets/x", **bearer(key))

    assert "key" not in keys("list")[0]
    logged = "".join(path.read_text() for path in own_service.logs.iterdir() if path.suffix == ".log")
    assert secret not in logged


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_open_door_on_a_public_address__is_refused(host: str) -> None:
    environment = {**os.environ, "AUTH": "off", "HOST": host, "PORT": "0"}
    command = [sys.executable, "-m", "gateway"]
    done = subprocess.run(command, env=environment, cwd=PROJECT_DIR, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "AUTH=off" in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_open_door_said_twice__lets_anybody_in_from_anywhere(own_service: Service) -> None:
    gateway = own_service.start_gateway(AUTH="off", HOST="0.0.0.0", AUTH_OFF_IN_PUBLIC="true")
    own_service.start_worker()
    await own_service.wait_ready()
    listened = {c.laddr.ip for c in psutil.Process(gateway.pid).net_connections("tcp") if c.status == "LISTEN"}
    client = Client(own_service.url)

    assert listened == {"0.0.0.0"}
    wallet_id = await client.create_wallet()
    assert (await client.deposit(wallet_id, 1)).status == 200
    await client.close()
