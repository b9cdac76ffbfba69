"""The contract of bodies: one JSON object with exactly the known fields, in UTF-8, of at most 64 KiB."""

import json
from typing import Any

import pytest

from tests.acceptance.problems import assert_problem, wrong_fields
from tests.service import Answer, Client

GOOD = {"operation_type": "DEPOSIT", "amount": 1}
LIMIT_BYTES = 65_536
DEPTH = 30_000

UNREADABLE = {
    "nothing": "",
    "blank": " \n",
    "cut short": '{"operation_type": "DEPOSIT", "amount": 1',
    "two values": '{"operation_type": "DEPOSIT", "amount": 1} {}',
    "a word": "deposit",
    "single quotes": "{'operation_type': 'DEPOSIT', 'amount': 1}",
    "a comment": '{"operation_type": "DEPOSIT", "amount": 1} // one',
    "a comma too many": '{"operation_type": "DEPOSIT", "amount": 1,}',
    "an amount twice": '{"operation_type": "DEPOSIT", "amount": 1, "amount": 1000}',
    "a type twice, once escaped": '{"operation_type": "DEPOSIT", "operation_t\\u0079pe": "WITHDRAW", "amount": 1}',
    "a doubled name deep inside": '{"operation_type": "DEPOSIT", "amount": {"a": 1, "a": 2}}',
    "a line break in a string": '{"operation_type": "DEPO\nSIT", "amount": 1}',
    "a byte order mark": '\ufeff{"operation_type": "DEPOSIT", "amount": 1}',
    "arrays without end": "[" * DEPTH,
    "arrays in arrays": "[" * DEPTH + "]" * DEPTH,
    "objects in objects": '{"amount":' * (DEPTH // 6) + "1" + "}" * (DEPTH // 6),
}
BROKEN_BYTES = {
    "a lone byte": b'{"operation_type": "DEPOSIT\xff", "amount": 1}',
    "a surrogate": b'{"operation_type": "DEPOSIT\xed\xa0\x80", "amount": 1}',
    "an overlong slash": b'{"operation_type": "DEPOSIT\xc0\xaf", "amount": 1}',
    "UTF-16": json.dumps(GOOD).encode("utf-16"),
    "zeros": b"\0" * 100,
}
UNACCEPTABLE: dict[str, tuple[Any, set[str]]] = {
    "an array": ([GOOD], {"body"}),
    "a string": ("DEPOSIT", {"body"}),
    "a number": (1, {"body"}),
    "true": (True, {"body"}),
    "null": (None, {"body"}),
    "an empty object": ({}, {"body.operation_type", "body.amount"}),
    "no amount": ({"operation_type": "DEPOSIT"}, {"body.amount"}),
    "no type": ({"amount": 1}, {"body.operation_type"}),
    "another type": ({**GOOD, "operation_type": "TRANSFER"}, {"body.operation_type"}),
    "a type in small letters": ({**GOOD, "operation_type": "deposit"}, {"body.operation_type"}),
    "a type with a blank": ({**GOOD, "operation_type": "DEPOSIT "}, {"body.operation_type"}),
    "a type that is null": ({**GOOD, "operation_type": None}, {"body.operation_type"}),
    "a type that is a list": ({**GOOD, "operation_type": ["DEPOSIT"]}, {"body.operation_type"}),
    "an unknown field": ({**GOOD, "currency": "EUR"}, {"body.currency"}),
    "a field in capitals": ({**GOOD, "Amount": 1}, {"body.Amount"}),
    "the usual API's other name": (
        {"operationType": "DEPOSIT", "amount": 1},
        {"body.operation_type", "body.operationType"},
    ),
    "everything wrong": (
        {"operation_type": 1, "amount": True, "x": 0},
        {"body.operation_type", "body.amount", "body.x"},
    ),
    "a field without a name": ({**GOOD, "": 1}, {"body."}),
}


@pytest.fixture(scope="module")
async def path(client_of_module: Client) -> str:
    return f"/api/v1/wallets/{await client_of_module.create_wallet()}/operation"


async def send(client: Client, path: str, data: str | bytes, content_type: str = "application/json") -> Answer:
    return await client.request("POST", path, data=data, Content_Type=content_type)


@pytest.mark.parametrize("what", UNREADABLE)
async def test_body_that_is_no_json__400(client: Client, path: str, what: str) -> None:
    assert_problem(await send(client, path, UNREADABLE[what]), 400, "malformed_json", path)


@pytest.mark.parametrize("what", BROKEN_BYTES)
async def test_body_that_is_no_utf_8__400(client: Client, path: str, what: str) -> None:
    assert_problem(await send(client, path, BROKEN_BYTES[what]), 400, "malformed_json", path)


@pytest.mark.parametrize("what", UNACCEPTABLE)
async def test_body_with_wrong_fields__422_names_each(client: Client, path: str, what: str) -> None:
    body, fields = UNACCEPTABLE[what]
    answer = await send(client, path, json.dumps(body))
    assert_problem(answer, 422, "validation_error", path, "errors")
    assert wrong_fields(answer) == fields


async def test_thousands_of_unknown_fields__422_names_a_few(client: Client, path: str) -> None:
    answer = await send(client, path, json.dumps({**GOOD, **{f"x{i}": 0 for i in range(4000)}}))
    assert_problem(answer, 422, "validation_error", path, "errors")
    assert len(answer.body["errors"]) == 20


async def test_lone_surrogate_anywhere__is_no_500(client: Client, path: str) -> None:
    for body in (r'{"\ud800": 1}', r'{"operation_type": "\ud800", "amount": 1}', r'"\udfff"'):
        assert (await send(client, path, body)).status == 422


async def test_body_of_64_kib__is_read_and_one_byte_more_is_413(client: Client, path: str) -> None:
    body = json.dumps(GOOD)
    assert (await send(client, path, body.ljust(LIMIT_BYTES))).status == 200
    for data in (body.ljust(LIMIT_BYTES + 1), body.ljust(65 * 1024), "x" * 1_000_000):
        assert_problem(await send(client, path, data), 413, "body_too_large", path)
    assert_problem(
        await send(client, "/api/v1/wallets", "{}".ljust(LIMIT_BYTES + 1)), 413, "body_too_large", "/api/v1/wallets"
    )


@pytest.mark.parametrize(
    "content_type",
    [
        *("text/plain", "text/json", "application/x-www-form-urlencoded", "application/jsonp", "application/xml"),
        *("application/problem+json", "application/*", "json", "", "multipart/form-data; boundary=x"),
        *("application/json; charset=utf-16", "application/json; charset=latin-1", "application/json; charset=rot13"),
    ],
)
async def test_other_content_type__415(client: Client, path: str, content_type: str) -> None:
    body = json.dumps(GOOD)
    assert_problem(await send(client, path, body, content_type), 415, "unsupported_media_type", path)
    creating = await send(client, "/api/v1/wallets", "{}", content_type)
    assert_problem(creating, 415, "unsupported_media_type", "/api/v1/wallets")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=UTF-8", 'APPLICATION/JSON;charset="utf-8"', "application/json;x=y"]
)
async def test_json_in_another_spelling__is_json(client: Client, path: str, content_type: str) -> None:
    assert (await send(client, path, json.dumps(GOOD), content_type)).status == 200
