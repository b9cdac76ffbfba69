"""What every answer says to browsers and caches: nothing is guessed, framed, kept or loaded from elsewhere."""

from collections.abc import Mapping

import pytest

from gateway.pages import FINGERPRINTS
from tests.acceptance.test_raw_sockets import connection
from tests.service import Client, Service

PAGE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Server": "wallet",  # and not which versions of what it is made of
}
JSON = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "wallet"}
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",  # neither inline nor from elsewhere, nor made by eval
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


def shown(headers: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str | None]:
    return {name: headers.get(name) for name in wanted}


@pytest.mark.parametrize(("path", "more"), [("/docs", {}), ("/redoc", {"worker-src": "blob:"})])
async def test_pages__allow_nothing_that_they_do_not_need(client: Client, path: str, more: dict[str, str]) -> None:
    for spelling in (path, f"{path}/"):
        answer = await client.get(spelling)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert shown(answer.headers, PAGE) == PAGE
        assert answer.headers["Cache-Control"] == "no-cache"
        said = [part.strip().split(maxsplit=1) for part in answer.headers["Content-Security-Policy"].split(";")]
        assert dict(said) == POLICY | more


@pytest.mark.parametrize("name", sorted(FINGERPRINTS))
async def test_files_of_the_pages__are_what_they_say_and_are_kept_only_while_they_are_the_same(
    client: Client, name: str
) -> None:
    kind = {"js": "javascript", "css": "css", "txt": "plain"}[name.rpartition(".")[2]]
    for query, caching in ((f"?v={FINGERPRINTS[name]}", "public, max-age=31536000, immutable"), ("?v=0", "no-cache")):
        answer = await client.get(f"/static/{name}{query}")
        assert answer.status == 200
        assert answer.headers["Content-Type"].partition(";")[0] in {f"text/{kind}", f"application/{kind}"}
        assert shown(answer.headers, PAGE) == PAGE
        assert answer.headers["Cache-Control"] == caching


@pytest.mark.parametrize("name", ["VERSIONS", "nothing.js", "..%2fpages.py", "%2e%2e/pages.py", "docs.js.gz"])
async def test_what_is_no_file_of_the_pages__is_not_served(client: Client, name: str) -> None:
    answer = await client.get(f"/static/{name}")

    assert (answer.status, answer.code) == (404, "not_found")
    assert shown(answer.headers, JSON) == JSON


async def test_answers_in_json__are_kept_by_nobody_and_guessed_at_by_nobody(client: Client) -> None:
    wallet_id = await client.create_wallet()
    path = f"/api/v1/wallets/{wallet_id}"
    deposit = {"operation_type": "DEPOSIT", "amount": 1}
    answers = [
        (201, await client.request("POST", "/api/v1/wallets")),
        (200, await client.get(path)),
        (200, await client.deposit(wallet_id, 1)),
        (
            200,
            await client.request("POST", f"{path}/operation", deposit, Content_Type="application/json; charset=utf-8"),
        ),
        (400, await client.withdraw(wallet_id, 5000)),
        (404, await client.get("/nowhere")),
        (405, await client.request("DELETE", path)),
        (413, await client.request("POST", f"{path}/operation", data=b"1" * 65_537)),
        (415, await client.request("POST", f"{path}/operation", data=b"x", Content_Type="text/plain")),
        (422, await client.deposit(wallet_id, -1)),
        (200, await client.get("/healthz")),
        (200, await client.get("/readyz")),
        (200, await client.get("/openapi.json")),
    ]

    for status, answer in answers:
        assert (answer.status, shown(answer.headers, JSON)) == (status, JSON), answer


async def test_answer_to_what_is_no_http__says_the_same(service: Service) -> None:
    async with connection(service) as (reader, writer):
        writer.write(b"NONSENSE\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")

    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    assert shown(headers, JSON) == JSON
