"""What a client may send: amounts in every spelling, bodies, keys, paths and headers, good and bad, with their verdict.

Each input carries what is wrong with it, as it was made; no part of the service is asked.
"""

import json
from dataclasses import dataclass
from urllib.parse import quote

from hypothesis import strategies as st

from tests.model.reference import LIMIT, cents_of_number, cents_of_text, written

Headers = tuple[tuple[str, str], ...]
JSON: Headers = (("Content-Type", "application/json"),)
BODY_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount as it stands in the JSON text: `cents` is None when it is none, and `is_json` says which way."""

    token: str
    cents: int | None
    is_json: bool = True


@dataclass(frozen=True, slots=True)
class Body:
    """A body and its headers, and the problem it gets: None for a good one, which asks for `kind` and `cents`."""

    text: bytes | None
    problem: tuple[int, str] | None
    kind: str = ""
    cents: int = 0
    headers: Headers = JSON


MALFORMED = (400, "malformed_json")
INVALID = (422, "validation_error")
MEDIA_TYPE = (415, "unsupported_media_type")
TOO_LARGE = (413, "body_too_large")


# Amounts.


def _spellings(cents: int) -> list[str]:
    """Return ways to write so many cents, as JSON text."""
    plain = written(cents)
    short = plain.rstrip("0").rstrip(".") if cents % 100 else plain[:-3]
    numbers = [plain, short, f"{cents}e-2", f"{cents}E-02"]
    if cents % 1000 == 0:
        numbers += [f"{cents // 1000}e1", f"{cents // 1000}E+1", f"{cents // 1000}.0e01"]
    escaped = "".join(f"\\u{ord(c):04x}" for c in short)
    return [*numbers, f'"{plain}"', f'"{short}"', f'"{escaped}"']


def _told(token: str, is_text: bool) -> Amount:
    """Return a token with what the model reads in it."""
    return Amount(json.dumps(token), cents_of_text(token)) if is_text else Amount(token, cents_of_number(token))


CENTS = st.one_of(
    st.integers(1, 50_000), st.integers(1, LIMIT), st.sampled_from([1, 99, 100, LIMIT, LIMIT - 1, LIMIT // 2])
)
_digits = st.text("0123456789", min_size=1, max_size=18)
_numbers = st.builds(
    lambda sign, whole, fraction, exponent: f"{sign}{int(whole)}{fraction}{exponent}",
    st.sampled_from(["", "", "-"]),
    _digits,
    st.one_of(st.just(""), _digits.map(lambda text: f".{text}")),
    st.one_of(st.just(""), st.integers(-30, 400).map(lambda n: f"e{n}")),
)
NO_AMOUNT_TEXTS = (
    *("", " ", " 5", "5 ", "+1", "1_0", "1,0", "1e3", ".5", "5.", "007", "0x10", "\u0661", "\uff11", "²", "NaN", "inf"),
    *("Infinity", "-1", "0", "0.00", "1.000", "1" * 17, "1\u00a00", "\n5", "5\n", "\x00", "9" * 5000, "5.001", "null"),
)
NO_AMOUNTS = (
    *("true", "false", "null", "[]", "[1]", "{}", '{"amount": 1}', '"\\ud800"', '"\\udc00\\ud800"', '["1"]'),
    *("0", "-0", "0.00", "0e5", "-1", "0.001", "1.000", "1e16", "1e400", "1e-400", "9" * 400, "1" + "0" * 16),
)
NO_JSON_TOKENS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "+1",
    "01",
    ".5",
    "5.",
    "1_0",
    "0x10",
    "1e",
    "'1'",
    "",
    "1 2",
    "\u0661",
)

GOOD_AMOUNTS = CENTS.flatmap(lambda cents: st.sampled_from([Amount(token, cents) for token in _spellings(cents)]))
ODD_AMOUNTS = st.one_of(
    _numbers.map(lambda token: _told(token, is_text=False)),
    st.text("0123456789.", max_size=20).map(lambda token: _told(token, is_text=True)),
    st.text(max_size=8).map(lambda token: _told(token, is_text=True)),
    st.sampled_from(NO_AMOUNT_TEXTS).map(lambda token: Amount(json.dumps(token), None)),
    st.sampled_from(NO_AMOUNTS).map(lambda token: Amount(token, None)),
    st.sampled_from(NO_JSON_TOKENS).map(lambda token: Amount(token, None, is_json=False)),
)


# Bodies of an operation.

KINDS = ("DEPOSIT", "WITHDRAW")
NO_KINDS = ('"deposit"', '"TRANSFER"', '""', "null", "1", "true", "[]", '["DEPOSIT"]', '"DEPOSIT "', '"\\ud800"')
_LAYOUTS = (
    '{{"operation_type": {kind}, "amount": {amount}}}',
    '{{"amount":{amount},"operation_type":{kind}}}',
    ' \r\n\t{{ "operation_type" :\n{kind} , "\\u0061mount": {amount} }} ',
)
_SPOILED = (
    ('{{"operation_type": {kind}}}', INVALID),
    ('{{"amount": {amount}}}', INVALID),
    ('{{"operation_type": {kind}, "amount": {amount}, "more": 1}}', INVALID),
    ('{{"operation_type": {kind}, "amount": {amount}, "\\ud800": 1}}', INVALID),
    ('{{"operation_type": {kind}, "amount": {amount}, "": null}}', INVALID),
    ('[{{"operation_type": {kind}, "amount": {amount}}}]', INVALID),
    ('"{kind}"', MALFORMED),
    ('{{"operation_type": {kind}, "amount": {amount}, "amount": {amount}}}', MALFORMED),
    ('{{"operation_type": {kind}, "amount": {amount}', MALFORMED),
    ('{{"operation_type": {kind}, "amount": {amount}}}}}', MALFORMED),
    ('{{"operation_type": {kind}, "amount": {amount},}}', MALFORMED),
    ("{{'operation_type': {kind}, 'amount': {amount}}}", MALFORMED),
    ('\ufeff{{"operation_type": {kind}, "amount": {amount}}}', MALFORMED),
    ('/**/{{"operation_type": {kind}, "amount": {amount}}}', MALFORMED),
)
_CONTENT_TYPES = (
    *(
        ("application/json", True),
        ("APPLICATION/json ; charset=UTF-8", True),
        ('application/json; charset="utf8"', True),
    ),
    *(("text/plain", False), ("application/json; charset=latin-1", False), ("application/problem+json", False)),
    *(("application/x-www-form-urlencoded", False), (";;;", False), ("", False), ("json", False)),
)
RAW = (
    *(
        (text, MALFORMED)
        for text in (b"", b" ", b"{", b"\xff\xfe", b"nul", b"[" * 40_000, b"\x00", b'"', b"[1,]", b"{}{}")
    ),
    *((text, INVALID) for text in (b"{}", b"[]", b"null", b"0", b'""', b"true", b"[[[]]]", b"1e5", b'{"a": {}}')),
    (b'{"operation_type": "DEPOSIT", "amount": 1}'.decode().encode("utf-16"), MALFORMED),
    (b" " * BODY_BYTES_MAX + b"{}", TOO_LARGE),
)


@st.composite
def _operation_bodies(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS) -> Body:
    """A body of the right shape: good when its amount is."""
    kind, amount = draw(st.sampled_from(kinds)), draw(st.one_of(GOOD_AMOUNTS, GOOD_AMOUNTS, GOOD_AMOUNTS, ODD_AMOUNTS))
    layout = draw(st.sampled_from(_LAYOUTS))
    text = layout.format(kind=json.dumps(kind), amount=amount.token).encode()
    if not amount.is_json:
        return Body(text, MALFORMED)
    return Body(text, None, kind, amount.cents) if amount.cents else Body(text, INVALID)


@st.composite
def _bad_bodies(draw: st.DrawFn) -> Body:
    """A body that is wrong in its shape, its type, its size or its headers."""
    cents = draw(st.integers(1, 50_000))
    amount, kind = written(cents), draw(st.sampled_from(KINDS))
    match draw(st.integers(0, 4)):
        case 0:
            layout, problem = draw(st.sampled_from(_SPOILED))
            return Body(layout.format(kind=f'"{kind}"', amount=amount).encode(), problem)
        case 1:
            return Body(_LAYOUTS[0].format(kind=draw(st.sampled_from(NO_KINDS)), amount=amount).encode(), INVALID)
        case 2:
            return Body(*draw(st.sampled_from(RAW)))
        case 3:
            media_type, is_right = draw(st.sampled_from(_CONTENT_TYPES))
            text = _LAYOUTS[0].format(kind=f'"{kind}"', amount=amount).encode()
            headers = (("Content-Type", media_type),)
            return Body(text, None if is_right else MEDIA_TYPE, kind, cents, headers)
        case _:
            text = _LAYOUTS[0].format(kind=f'"{kind}"', amount=amount).encode()
            return draw(st.sampled_from([Body(text, MEDIA_TYPE, headers=()), Body(None, MEDIA_TYPE, headers=())]))


GOOD_BODIES = st.builds(
    lambda kind, amount: Body(
        f'{{"operation_type": "{kind}", "amount": {amount.token}}}'.encode(), None, kind, amount.cents or 0
    ),
    st.sampled_from(KINDS),
    GOOD_AMOUNTS,
)
BODIES = st.one_of(_operation_bodies(), _operation_bodies(), _bad_bodies())

# What may stand in the body of a wallet's making: nothing, or an object with nothing in it.
NEW_WALLET_BODIES = st.sampled_from(
    [
        *(Body(None, None, headers=()), Body(b"{}", None), Body(b" {\n} ", None), Body(b"", None, headers=())),
        *(Body(b'{"balance": 5}', INVALID), Body(b"[]", INVALID), Body(b"null", INVALID), Body(b"{", MALFORMED)),
        *(Body(b"{}", MEDIA_TYPE, headers=()), Body(b'{"\\ud800": 0}', INVALID), Body(b'{"a":1,"a":1}', MALFORMED)),
    ]
)

# Keys: a number names a key of the run's own; what is bad is refused before the body is read.
BAD_KEYS: tuple[Headers, ...] = (
    *((("Idempotency-Key", value),) for value in ("", '""', "a b", "k" * 256, "\xe9", '"' + "k" * 256 + '"', "a\tb")),
    (("Idempotency-Key", "a"), ("Idempotency-Key", "a")),
)

BAD_IDS = (
    *(
        "abc",
        "0",
        "-",
        "%00",
        "%ff",
        "%E2%82%AC",
        "01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a1",
        "g1920a5e7b1c7c3a9f005d2f8f3b9a10",
    ),
    *(
        "01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10x",
        "%7B01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10",
        "0192-0a5e7b1c7c3a9f005d2f8f3b9a10",
    ),
    *("%20", "null", "*", "01920a5e%0A", "a" * 1000, ";", "..;", "0x01920a5e7b1c7c3a9f005d2f8f3b9a10"),
)


EITHER_WAY = (0, 3)  # spellings: one for the express lane, one for the ordinary way


def spell_id(canonical: str, spelling: int) -> str:
    """Write a UUID in one of its usual ways, for a path; the express lane takes the first three only."""
    ways = (
        *(canonical, canonical, canonical, canonical.upper(), canonical.replace("-", "")),
        *(quote(f"{{{canonical}}}"), f"urn:uuid:{canonical}", f"urn%3Auuid%3A{canonical}"),
    )
    return ways[spelling % len(ways)]


LIMITS = st.one_of(
    st.integers(1, 6).map(lambda n: (str(n), n)),
    st.sampled_from([("", 0), ("500", 500), ("0005", 5), ("0", 0), ("501", 0), ("-1", 0), ("1.0", 0), ("abc", 0)]),
    st.sampled_from([("1e2", 0), ("%2B5", 0), ("%D9%A3", 0), ("5%20", 0), ("99999", 0), ("5%0A", 0), ("%00", 0)]),
)
BAD_CURSORS = ("", "x", "=", "MQ==", "MA", "%00", "%ff", "LTE", "MHgx", "a" * 300, "8J-YgA", "MSwy", "KzE", "fHw", "fA")
BAD_STATUSES = ("", "applied", "PENDING", "ALL", "%00", "APPLIED%20")
REQUEST_IDS = st.sampled_from(
    ["", "x", "a" * 128, "a" * 129, "a b", "trace:1/2+3=4@host.example_5", "\xe9", "<a>", "-"]
)

# Read by no parser: each gets an answer, and then the connection ends.
_HEAD = b" HTTP/1.1\r\nHost: x\r\n"
GARBAGE = (
    *(
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"GET\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
    ),
    *(b"GET /" + b"a" * 20_000 + _HEAD + b"\r\n", b"GET /healthz" + _HEAD + b"X: " + b"a" * 20_000 + b"\r\n\r\n"),
    *(
        b"GET /healthz" + _HEAD + b"X: \x00\r\n\r\n",
        b"GET /healthz" + _HEAD + b": y\r\n\r\n",
        b"GET *" + _HEAD + b"\r\n",
    ),
    *(
        b"GET /healthz" + _HEAD + b"Content-Length: " + length + b"\r\n\r\n"
        for length in (b"x", b"-1", b"1\r\nContent-Length: 2")
    ),
)
