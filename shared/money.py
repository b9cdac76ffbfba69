"""Money as an exact integer of minor units (cents), and its two spellings outside.

Guarantees that no amount ever passes through a float. Knows the limits of one amount and of one balance; knows
nothing of wallets.
"""

import re
from decimal import Decimal

DECIMALS = 2
WHOLE_DIGITS_MAX = 16
UNITS_PER_WHOLE: int = 10**DECIMALS
# 16 digits before the point: the sum of two such numbers still fits Postgres' bigint with room to spare.
AMOUNT_MAX: int = 10 ** (WHOLE_DIGITS_MAX + DECIMALS) - 1
BALANCE_MAX = AMOUNT_MAX

AMOUNT_PATTERN = r"^(0|[1-9][0-9]{0,15})(\.[0-9]{1,2})?$"
_FRACTIONS = [f".{units:0{DECIMALS}d}" for units in range(UNITS_PER_WHOLE)]  # each answer needs two: made once
_PLAIN_DECIMAL = re.compile(AMOUNT_PATTERN.removesuffix("$") + r"\Z", re.ASCII)


def parse_amount(value: object) -> int:
    """Read an amount of money, in minor units, from a Decimal (an exact JSON number token) or a plain decimal string.

    Raises ValueError, with a message made for the caller, for anything that is not a positive number of at most 16
    digits before the point and 2 after it.
    """
    if isinstance(value, Decimal):
        units = _units_of_number(value)
    elif isinstance(value, str):
        units = _units_of_text(value)
    else:
        raise ValueError("must be a number or a plain decimal string such as 1000.50")  # noqa: TRY004 pydantic's contract
    if units <= 0:
        raise ValueError("must be greater than 0")
    return units


def format_units(units: int) -> str:
    """Write minor units as a plain decimal with two decimals: 100050 → "1000.50"."""
    if units < 0:
        return f"-{format_units(-units)}"
    return f"{units // UNITS_PER_WHOLE}{_FRACTIONS[units % UNITS_PER_WHOLE]}"


def _units_of_number(number: Decimal) -> int:
    if not number.is_finite():
        raise ValueError("must be a finite number")
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -DECIMALS:
        raise ValueError(f"must have at most {DECIMALS} decimals")
    if number and number.adjusted() >= WHOLE_DIGITS_MAX:
        raise ValueError(f"must have at most {WHOLE_DIGITS_MAX} digits before the point")
    # At most 18 digits are left here: the product is exact in the default context of 28.
    return int(number.scaleb(DECIMALS))


def _units_of_text(text: str) -> int:
    if not _PLAIN_DECIMAL.match(text):
        raise ValueError(
            "must be a plain decimal string such as 1000.50: at most 16 digits before the point and 2 after it"
        )
    return units_of_plain(text)


def units_of_plain(text: str) -> int:
    """Read minor units, 0 or more, from a text that AMOUNT_PATTERN has matched."""
    whole, _, fraction = text.partition(".")
    return int(whole) * UNITS_PER_WHOLE + int(fraction.ljust(DECIMALS, "0"))
