"""The contract of health and of the document: alive, ready, and what is served is what is documented."""

from collections.abc import Iterator
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.service import Client, Service
from tests.waiting import until


async def test_alive_and_ready__say_so(client: Client) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await client.get(path)
        assert (answer.status, answer.body) == (200, {"status": "ok", "missing": []})


async def test_no_worker__alive_but_not_ready_and_the_missing_part_is_named(own_service: Service) -> None:
    own_service.start_gateway()
    await own_service.wait_ready("/healthz")
    client = Client(own_service.url)

    answer = await client.get("/readyz")

    assert (answer.status, answer.body["status"]) == (503, "unavailable")
    assert answer.body["missing"] == ["workers: 64 of 64 partitions have no owner"]
    worker = own_service.start_worker()
    await own_service.wait_ready()
    worker.kill()

    async def not_ready() -> bool:
        return (await client.get("/readyz")).status == 503

    assert await until(not_ready, 3) < 1
    assert (await client.get("/healthz")).status == 200
    await client.close()


WALLET = "/api/v1/wallets/{wallet_id}"
BODY_CODES = {
    *("malformed_json", "bad_request", "request_timeout", "body_too_large"),
    *("unsupported_media_type", "validation_error"),
}
READ_CODES = {"wallet_not_found", "validation_error", "unavailable"}
OPERATE_CODES = {
    *("insufficient_funds", "balance_limit_exceeded", "wallet_not_found", "idempotency_key_reused"),
    *("operation_refused", "operation_unreadable", "wallet_queue_full", "unavailable"),
}
# What each operation may answer: its statuses, and the codes of its problems.
DOCUMENTED: dict[tuple[str, str], tuple[set[str], set[str]]] = {
    ("post", "/api/v1/wallets"): ({"201", "400", "408", "413", "415", "422", "503"}, BODY_CODES | {"unavailable"}),
    ("get", WALLET): ({"200", "404", "422", "503"}, READ_CODES),
    ("post", f"{WALLET}/operation"): (
        {"200", "202", "400", "404", "408", "413", "415", "422", "429", "503"},
        BODY_CODES | OPERATE_CODES,
    ),
    ("get", f"{WALLET}/operations"): ({"200", "404", "422", "503"}, READ_CODES),
    ("get", f"{WALLET}/operations/{{operation_id}}"): (
        {"200", "404", "422", "503"},
        READ_CODES | {"operation_not_found"},
    ),
    ("get", "/healthz"): ({"200"}, set()),
    ("get", "/readyz"): ({"200", "503"}, set()),
}


async def test_openapi_document__is_valid_3_1_and_names_every_answer(client: Client) -> None:
    answer = await client.get("/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.body["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(answer.body).validate()
    documented = {}
    for path, methods in answer.body["paths"].items():
        for method, operation in methods.items():
            documented[method, path] = set(operation["responses"]), set(codes_of(operation))
    assert documented == DOCUMENTED


def codes_of(operation: dict[str, Any]) -> Iterator[str]:
    """Return the codes of every problem that an operation is documented to answer with."""
    for response in operation["responses"].values():
        problem = response["content"].get("application/problem+json")
        if problem:
            yield from problem["schema"]["allOf"][1]["properties"]["code"]["enum"]
