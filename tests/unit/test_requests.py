"""What a client may send is read exactly; whatever else it sends is its error, never the service's."""

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway import problems, requests
from gateway.requests import PAGE_MAX, OperationBody, encode_cursor
from shared.commands import Status
from shared.errors import CallerError, Invalid, Malformed
from shared.money import AMOUNT_MAX

WALLET = UUID("01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10")


def request(query: str = "", *, match: dict[str, str] | None = None, headers: Any = ()) -> web.Request:
    return make_mocked_request("GET", f"/?{query}", headers=headers, match_info=match or {})


def posted(body: bytes, content_type: str = "application/json") -> web.Request:
    loop = asyncio.get_running_loop()
    payload = StreamReader(BaseProtocol(loop), limit=2**16, loop=loop)
    payload.feed_data(body)
    payload.feed_eof()
    headers = {"Content-Type": content_type, "Content-Length": str(len(body))}
    return make_mocked_request("POST", "/", headers=headers, payload=payload, client_max_size=2**20)


async def read(body: bytes | str, content_type: str = "application/json") -> OperationBody:
    text = await requests.json_body(posted(body.encode() if isinstance(body, str) else body, content_type))
    return requests.read_operation(text)


# Wallets and operations in the path.


@pytest.mark.parametrize(
    "text",
    [
        "01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10",
        "01920A5E-7B1C-7C3A-9F00-5D2F8F3B9A10",
        "01920a5e7b1c7c3a9f005d2f8f3b9a10",
        "{01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10}",
        "urn:uuid:01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10",
        "URN:UUID:01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10",
    ],
)
def test_uuid__is_read_in_any_usual_spelling(text: str) -> None:
    assert requests.uuid_in_path(request(match={"wallet_id": text}), "wallet_id") == WALLET


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "x" * 32,
        "01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a1",
        "01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a100",
        "{01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10",
        "01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10}",
        "01920a5e7b1c-7c3a-9f00-5d2f8f3b9a10",
        "0-1-9-2-0a5e7b1c7c3a9f005d2f8f3b9a10",
        "01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10\n",
        " 01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10",
        "\u06601920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10",
        "01920a5e_7b1c_7c3a_9f00_5d2f8f3b9a10",
        "0x920a5e7b1c7c3a9f005d2f8f3b9a10",
    ],
)
def test_text_that_is_no_uuid__is_refused_and_named(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        requests.uuid_in_path(request(match={"wallet_id": text}), "wallet_id")

    assert refused.value.errors == [("path.wallet_id", "must be a UUID")]


# Headers.


@pytest.mark.parametrize(
    ("sent", "key"),
    [("order-1", "order-1"), ('"order-1"', "order-1"), ("!~", "!~"), ("x" * 255, "x" * 255), ('a"b', 'a"b')],
)
def test_idempotency_key__is_read_quoted_or_not(sent: str, key: str) -> None:
    assert requests.idempotency_key(request(headers={"Idempotency-Key": sent})) == key


def test_no_idempotency_key__is_none() -> None:
    assert requests.idempotency_key(request()) is None


@pytest.mark.parametrize("sent", ["", '""', "a b", "x" * 256, "ключ", "a\tb", "\x7f", '"a b"'])
def test_idempotency_key_that_is_not_acceptable__is_refused(sent: str) -> None:
    with pytest.raises(Invalid):
        requests.idempotency_key(request(headers={"Idempotency-Key": sent}))


def test_two_idempotency_keys__are_refused() -> None:
    with pytest.raises(Invalid):
        requests.idempotency_key(request(headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")]))


@pytest.mark.parametrize(
    ("sent", "wait"),
    [
        ("wait=5", 5),
        ("wait=0", 0),
        ("WAIT = 5", 5),
        ('wait="5"', 5),
        ("respond-async, wait=5", 5),
        ("wait=5, respond-async", 5),
        ("return=minimal; foo, wait=10", 10),
        ("wait=007", 7),
    ],
)
def test_preferred_wait__is_read(sent: str, wait: int) -> None:
    assert requests.preferred_wait(request(headers={"Prefer": sent})) == wait


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "wait",
        "wait=",
        "wait=-1",
        "wait=1.5",
        "wait=1e3",
        "wait=x",
        "wait=٣",
        "await=5",
        "wait=" + "9" * 40,
    ],
)
def test_preference_that_cannot_be_understood__is_passed_over(sent: str) -> None:
    assert requests.preferred_wait(request(headers={"Prefer": sent})) is None


def test_preferred_wait_in_a_header_of_its_own__is_read() -> None:
    # RFC 7240, 2: several Prefer headers are the same as one with commas.
    headers = [("Prefer", "respond-async"), ("Prefer", "wait=5")]

    assert requests.preferred_wait(request(headers=headers)) == 5


@pytest.mark.parametrize("sent", ["abc", "A-1_b.c:d/e+f=g@h", "x" * 128])
def test_sane_request_id__is_kept(sent: str) -> None:
    assert requests.request_id(request(headers={"X-Request-ID": sent})) == sent


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "a\tb", "é", "<script>", '"'])
def test_request_id_that_is_not_sane__is_not_kept(sent: str) -> None:
    assert requests.request_id(request(headers={"X-Request-ID": sent})) is None


# Pages.


@pytest.mark.parametrize(
    ("query", "limit"), [("", 50), ("limit=1", 1), (f"limit={PAGE_MAX}", PAGE_MAX), ("limit=007", 7)]
)
def test_page_limit__is_read(query: str, limit: int) -> None:
    assert requests.page_query(request(query)).limit == limit


def wrong_in_query(query: str) -> set[str]:
    with pytest.raises(Invalid) as refused:
        requests.page_query(request(query))
    return {field for field, _ in refused.value.errors}


@pytest.mark.parametrize("limit", ["0", "501", "-1", "+1", "", "x", "1.0", "1e2", "%D9%A3", "9" * 40, "1%0A", "1_0"])
def test_page_limit_that_is_not_acceptable__is_refused(limit: str) -> None:
    assert wrong_in_query(f"limit={limit}") == {"query.limit"}


@pytest.mark.parametrize("status", ["PENDING", "applied", "", "APPLIED,REJECTED"])
def test_status_that_cannot_be_listed__is_refused(status: str) -> None:
    assert wrong_in_query(f"status={status}") == {"query.status"}


def test_all_that_is_wrong_with_a_query__is_named() -> None:
    assert wrong_in_query("limit=0&status=foo") == {"query.limit", "query.status"}
    assert wrong_in_query("limit=0&cursor=x") == {"query.limit", "query.cursor"}
    assert wrong_in_query("limit=1&limit=2&status=APPLIED&status=REJECTED") == {"query.limit", "query.status"}
    assert wrong_in_query("limit=0&status=foo&cursor=x") == {"query.limit", "query.status", "query.cursor"}
    # Of which list it should have been, nobody knows.
    for cursor in (encode_cursor(5), encode_cursor(datetime.now(UTC), WALLET)):
        assert wrong_in_query(f"status=foo&cursor={cursor}") == {"query.status"}


@given(st.integers(1, 10**18 - 1))
def test_cursor_of_applied_operations__leads_back_to_its_place(seq: int) -> None:
    assert requests.page_query(request(f"cursor={encode_cursor(seq)}")).below_seq == seq


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_cursor_of_rejected_operations__leads_back_to_its_place(moment: datetime, operation_id: UUID) -> None:
    query = f"status=REJECTED&cursor={encode_cursor(moment, operation_id)}"

    assert requests.page_query(request(query)).below == (moment, operation_id)


def test_no_cursor__is_the_first_page() -> None:
    assert requests.page_query(request()) == (50, Status.APPLIED, None, None)
    assert requests.page_query(request("status=REJECTED")) == (50, Status.REJECTED, None, None)


BAD_CURSORS = [
    "",
    "x",
    "%00",
    "%D9%A3",
    "====",
    "a" * 5_000,
    encode_cursor("x"),
    encode_cursor("-1"),
    encode_cursor("1", "2", "3"),
    encode_cursor("9" * 30),
    encode_cursor("٣"),
    encode_cursor("2026-01-01T00:00:00", WALLET),  # of which time zone?
    encode_cursor("0001-01-01T00:00:00+14:00", WALLET),  # before the first year, once it is UTC
    encode_cursor("9999-12-31T23:59:59-14:00", WALLET),
    encode_cursor("2026-01-01T00:00:00+00:00", "x"),
]


@pytest.mark.parametrize("cursor", BAD_CURSORS)
@pytest.mark.parametrize("status", list(Status))
def test_cursor_that_was_never_given_out__is_refused(cursor: str, status: Status) -> None:
    assert wrong_in_query(f"status={status}&cursor={cursor}") == {"query.cursor"}


def test_cursor_of_the_other_list__is_refused() -> None:
    assert wrong_in_query(f"cursor={encode_cursor(datetime.now(UTC), WALLET)}") == {"query.cursor"}
    assert wrong_in_query(f"status=REJECTED&cursor={encode_cursor(5)}") == {"query.cursor"}


# Bodies.


@pytest.mark.parametrize(
    ("amount", "units"),
    [
        ("99999999999999.99", 9_999_999_999_999_999),
        ("9999999999999999.99", AMOUNT_MAX),
        ("0.01", 1),
        ("1000.50", 100_050),
        ("1000.5", 100_050),
        ("1e3", 100_000),
        ("1.5E+1", 1_500),
        ('"99999999999999.99"', 9_999_999_999_999_999),
        ('"1000"', 100_000),
    ],
)
async def test_amount__arrives_to_the_last_cent(amount: str, units: int) -> None:
    body = await read(f'{{"operation_type": "DEPOSIT", "amount": {amount}}}')

    assert (body.operation_type, body.amount) == ("DEPOSIT", units)


@pytest.mark.parametrize(
    "amount",
    [
        *("true", "false", "null", "[]", "{}", "[5]"),
        *("0", "-0", "-1", "0.001", "1.000", "10000000000000000", "1e400", "1e-400", "9" * 5_000, "1e99999999"),
        *('"1_000"', '" 5 "', '"5 "', '"\\u0665"', '"NaN"', '"Infinity"', '""', '"1e3"', '"\\ud800"', '"5\\u0000"'),
    ],
)
async def test_amount_that_is_not_acceptable__is_refused_and_named(amount: str) -> None:
    with pytest.raises(Invalid) as refused:
        await read(f'{{"operation_type": "DEPOSIT", "amount": {amount}}}')

    assert [field for field, _ in refused.value.errors] == ["body.amount"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"}",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": 01}',
        b'{"a": +1}',
        b'{"a": .5}',
        b'{"a": 5.}',
        b'{"a": 0x10}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1} {"a": 2}',
        b'{"a": 1}\x00',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',  # a surrogate in UTF-8
        b'{"a": "\xc0\x80"}',
        b'{"a": "\x01"}',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": 1, "a": 1}',
        b'{"operation_type": "DEPOSIT", "amount": 1, "amount": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'{"\\u0061": 1, "a": 1}',
        b"[" * 60_000,
        b'{"a":' * 12_000,
        b'{"a": 1e999999999999999999999999}',
        b'{"a": -1e-999999999999999999999999}',
    ],
    ids=lambda text: ascii(text)[2:30],
)
async def test_body_that_is_no_json__is_malformed(text: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        await read(text)

    assert "\n" not in refused.value.detail


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        "x",
        [],
        [{"operation_type": "DEPOSIT", "amount": 1}],
        {},
        {"operation_type": "DEPOSIT"},
        {"amount": 1},
        {"operation_type": "deposit", "amount": 1},
        {"operation_type": "TRANSFER", "amount": 1},
        {"operation_type": None, "amount": 1},
        {"operation_type": ["DEPOSIT"], "amount": 1},
        {"operation_type": {}, "amount": 1},
        {"operation_type": True, "amount": 1},
        {"operation_type": "DEPOSIT", "amount": 1, "note": "x"},
        {"operation_type": "DEPOSIT", "amount": 1, "\ud800": "x"},
        {"operation_type": "\ud800", "amount": 1},
        {"operation_type": "DEPOSIT", "amount": 1, "": 1},
        {"operation_type": "DEPOSIT", "amount": 1} | {f"field{n}": n for n in range(500)},
    ],
    ids=lambda value: ascii(value)[:40],
)
async def test_json_of_another_shape__is_refused_and_can_be_answered(value: object) -> None:
    with pytest.raises(Invalid) as refused:
        await read(json.dumps(value))

    assert 1 <= len(refused.value.errors) <= 20
    assert problems.of_service_error(refused.value, request()).status == 422


@pytest.mark.parametrize(
    ("body", "said"),
    [
        *((text, {"body": "must be a JSON object"}) for text in ("[]", '"x"', "5", "null", "true")),
        ("{}", {"body.operation_type": "is required", "body.amount": "is required"}),
        ('{"operation_type": 5, "amount": 1}', {"body.operation_type": "must be DEPOSIT or WITHDRAW"}),
        (
            '{"operation_type": "\\ud800", "amount": 1}',
            {"body.operation_type": "must be Unicode text, without lone surrogates"},
        ),
        (
            '{"operation_type": "DEPOSIT", "amount": 0, "note": 1}',
            {"body.amount": "must be greater than 0", "body.note": "is not a field of this request"},
        ),
    ],
)
async def test_what_is_wrong_with_a_body__is_said_in_the_words_of_the_contract(body: str, said: dict[str, str]) -> None:
    with pytest.raises(Invalid) as refused:
        await read(body)

    assert dict(refused.value.errors) == said


async def test_what_is_wrong_with_a_new_wallet__is_said_in_the_words_of_the_contract() -> None:
    with pytest.raises(Invalid) as no_object:
        await requests.empty_body(posted(b"[]"))
    with pytest.raises(Invalid) as a_field:
        await requests.empty_body(posted(b'{"balance": 5}'))

    assert no_object.value.errors == [("body", "must be a JSON object")]
    assert a_field.value.errors == [("body.balance", "is not a field of this request")]


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def outcome_of(body: bytes) -> object:
    try:
        return requests.read_operation(body)
    except CallerError as error:
        return type(error), error.detail, getattr(error, "errors", None)


@given(
    st.sampled_from(["DEPOSIT", "WITHDRAW", "deposit"]),
    st.sampled_from(["", " "]),
    st.sampled_from(["", '"']),
    st.from_regex(r"[-+]?[0-9]{0,18}(\.[0-9]{0,3})?(e1)?", fullmatch=True),
    st.sampled_from(["", " ", "\n", "}", "x"]),
)
@example("DEPOSIT", " ", "", "99999999999999.99", "")
@example("DEPOSIT", " ", '"', "9999999999999999.99", "")
@example("WITHDRAW", "", "", "0.00", "")
def test_usual_body__is_read_as_the_general_way_reads_it(
    kind: str, space: str, quote: str, text: str, end: str
) -> None:
    body = f'{{"operation_type":{space}"{kind}",{space}"amount":{space}{quote}{text}{quote}}}{end}'.encode()

    assert outcome_of(body) == outcome_of(body + b" ")  # which only the general way reads


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
@example(b'{"operation_type": "DEPOSIT", "amount": 1e-2}')
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_body__is_read_or_the_callers_error(body: bytes) -> None:
    messages: set[str] = set()
    try:
        amount, status = (await read(body)).amount, 200
    except CallerError as error:
        amount, status = 1, problems.of_service_error(error, request()).status
        messages = {message for _, message in getattr(error, "errors", ())}

    assert 0 < amount <= AMOUNT_MAX
    assert status in {200, 400, 422}
    # Of the table and of shared/money.py; none is for want of an entry in the table.
    assert all(re.match(r"must |is (?!not acceptable)", message) for message in messages), messages


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", "application/octet-stream", "application/json; charset=latin-1", "x"],
)
async def test_body_of_another_type__is_refused(content_type: str) -> None:
    with pytest.raises(web.HTTPUnsupportedMediaType):
        await read(b"{}", content_type)


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "application/json; charset=UTF8"]
)
async def test_json_in_utf8__is_read_however_it_is_called(content_type: str) -> None:
    body = b'{"operation_type": "WITHDRAW", "amount": 1}'

    assert (await read(body, content_type)).operation_type == "WITHDRAW"


@pytest.mark.parametrize("body", [b"", b"{}", b" { } "])
async def test_wallet_that_nothing_is_said_of__may_be_created(body: bytes) -> None:
    await requests.empty_body(posted(body))


@pytest.mark.parametrize("body", [b'{"balance": 5}', b"[]", b"null"])
async def test_wallet_that_something_is_said_of__is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        await requests.empty_body(posted(body))
