"""Money is exact to the last unit, and whatever is not plainly money is refused."""

import json
from decimal import Decimal, localcontext

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.money import AMOUNT_MAX, AMOUNT_PATTERN, BALANCE_MAX, format_units, parse_amount

units = st.integers(1, AMOUNT_MAX)


@given(units)
@example(AMOUNT_MAX)
@example(9_999_999_999_999_999)  # 99999999999999.99: as a float it would lose its last cent
@example(1)
def test_amount__survives_the_way_out_and_in_as_a_string(amount: int) -> None:
    assert parse_amount(format_units(amount)) == amount


@given(units)
@example(AMOUNT_MAX)
def test_amount__survives_the_way_out_and_in_as_a_number_token(amount: int) -> None:
    token = json.loads(format_units(amount), parse_float=Decimal, parse_int=Decimal)

    assert parse_amount(token) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1000.50", 100_050),
        ("1000.5", 100_050),
        ("1000", 100_000),
        ("0.01", 1),
        ("0.1", 10),
        ("99999999999999.99", 9_999_999_999_999_999),
        ("9999999999999999.99", AMOUNT_MAX),
    ],
)
def test_plain_decimal__is_the_same_as_string_and_as_number(text: str, amount: int) -> None:
    assert parse_amount(text) == amount
    assert parse_amount(Decimal(text)) == amount


@pytest.mark.parametrize(
    ("token", "amount"), [("1e3", 100_000), ("1E-2", 1), ("100000000000000000e-1", 10**18), ("1.5e1", 1_500)]
)
def test_number_token_with_an_exponent__is_read_exactly(token: str, amount: int) -> None:
    if amount > AMOUNT_MAX:
        with pytest.raises(ValueError, match="16 digits"):
            parse_amount(Decimal(token))
    else:
        assert parse_amount(Decimal(token)) == amount


REFUSED_TEXTS = [
    "",
    " ",
    " 5 ",
    "5 ",
    " 5",
    "5\n",
    "\t5",
    "1_000",
    "1,000",
    "1,5",
    "+5",
    "-5",
    "-0",
    "0",
    "0.0",
    "0.00",
    "00",
    "05",
    ".5",
    "5.",
    "0.001",
    "1.000",
    "1e3",
    "1E3",
    "0x10",
    "NaN",
    "nan",
    "Infinity",
    "-Infinity",
    "inf",
    "sNaN",
    "10000000000000000",  # 17 digits
    "10000000000000000.00",
    "9" * 5_000,
    "٣",  # Arabic-Indic three
    "\uff11",  # full-width one
    "5٣",
    "1.٣",
    "²",
    "5\u200b",
    "\ufeff5",
    "5\x00",
    "\ud800",
    "five",
    "$5",
]


@pytest.mark.parametrize("text", REFUSED_TEXTS, ids=[ascii(text)[:20] for text in REFUSED_TEXTS])
def test_string_that_is_not_a_plain_positive_decimal__is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be "):
        parse_amount(text)


@pytest.mark.parametrize(
    "token",
    [
        *("0", "0.00", "-0", "-1", "-0.01", "0e9", "0e-9", "0e999999999999"),
        *("0.001", "1.000", "1e-3", "1e-999999999999"),
        *("10000000000000000", "1e16", "1e999999999999", "9" * 5_000),
        *("NaN", "sNaN", "Infinity", "-Infinity"),
    ],
)
def test_number_that_is_not_a_positive_amount__is_refused(token: str) -> None:
    with pytest.raises(ValueError, match=r"^must "):
        parse_amount(Decimal(token))


@pytest.mark.parametrize("value", [True, False, None, 5, 5.0, float("nan"), b"5", [], ["5"], {}, {"amount": "5"}, 5j])
def test_value_of_another_type__is_refused(value: object) -> None:
    # A plain int or float never comes from a body: numbers arrive as Decimal, so that none was a float on the way.
    with pytest.raises(ValueError, match="number or a plain decimal"):
        parse_amount(value)


@given(st.decimals(allow_nan=True, allow_infinity=True))
def test_any_number__is_read_exactly_or_refused(number: Decimal) -> None:
    try:
        amount = parse_amount(number)
    except ValueError:
        return
    assert Decimal(amount) == number * 100
    assert 0 < amount <= AMOUNT_MAX


@given(st.text())
def test_any_text__is_read_exactly_or_refused(text: str) -> None:
    try:
        amount = parse_amount(text)
    except ValueError:
        return
    assert Decimal(amount) == Decimal(text) * 100


@given(st.from_regex(AMOUNT_PATTERN))
def test_text_that_the_documented_pattern_allows__is_read_unless_it_is_zero(text: str) -> None:
    plain = text.removesuffix("\n")  # `$` of a regular expression allows one; the service does not
    if text != plain or Decimal(plain) == 0:
        with pytest.raises(ValueError, match=r"^must be "):
            parse_amount(text)
    else:
        assert parse_amount(text) > 0


def test_decimal_context_of_somebody_else__changes_nothing() -> None:
    with localcontext(prec=28):
        assert parse_amount(Decimal("9999999999999999.99")) == AMOUNT_MAX


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0.00"), (1, "0.01"), (99, "0.99"), (100, "1.00"), (100_050, "1000.50"), (-1, "-0.01"), (-250, "-2.50")],
)
def test_units__are_written_with_two_decimals(amount: int, text: str) -> None:
    assert format_units(amount) == text


def test_limits__leave_room_in_a_bigint() -> None:
    assert format_units(AMOUNT_MAX) == "9999999999999999.99"
    assert BALANCE_MAX + AMOUNT_MAX < 2**63
