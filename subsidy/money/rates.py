"""Rates as text and as integer ppm, millionths a year (handbook section 3). 3.5 % is 35000."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsidy.money.amounts import Parsed
from subsidy.money.digits import POWERS, Digits, read_digits
from subsidy.money.exact import muldiv_round
from subsidy.money.spans import Spans

RateUnit = Literal["fraction", "percent", "permille_month"]

#: Units in which files send rates: 0.0310000, 3.10 %, or 2.5833 ‰ a month.
RATE_UNITS: tuple[RateUnit, ...] = ("fraction", "percent", "permille_month")

#: Decimals with which one millionth a year is the last place.
_PLACES = {"fraction": 6, "percent": 4}
#: Ppm of one per mille a month: 12 / 1000 of a year.
_PPM_PER_PERMILLE_MONTH = 12_000
_LEAST_DECIMALS = 4


def ppm_from_fraction(text: str) -> int:
    """Ppm of an annual rate sent as a fraction, ``0.0310000`` is 31000. ValueError when it is no number or finer than a millionth."""
    return parse_rate(text, "fraction")


def ppm_from_percent(text: str) -> int:
    """Ppm of an annual rate sent in percent, ``3.075`` is 30750. ValueError when it is no number or finer than a millionth."""
    return parse_rate(text, "percent")


def ppm_from_permille_month(text: str) -> int:
    """Ppm of a monthly rate in per mille with at least four decimals, ``2.5833`` is 31000.

    The annual rate is the nearest millionth to twelve times the monthly one; ValueError unless dividing it by twelve and rounding to
    the sent decimals gives the sent figure back (handbook section 3).
    """
    return parse_rate(text, "permille_month")


def parse_rate(text: str, unit: RateUnit) -> int:
    """Ppm of `text` in `unit`. ValueError when it is not a number of the grammar, too fine, or too coarse."""
    parsed = parse_rate_column(pa.array([text]), unit)
    if not parsed.valid[0]:
        raise ValueError(f"not an exact rate ({unit})")
    return int(parsed.values[0])


def parse_rate_column(column: pa.Array | pa.ChunkedArray | Spans, unit: RateUnit) -> Parsed:
    """`parse_rate` of a whole text column: ppm int64 and which rows are valid."""
    read = read_digits(column)
    return _from_month(read) if unit == "permille_month" else _from_year(read, _PLACES[unit])


def _from_year(read: Digits, places: int) -> Parsed:
    decimals: npt.NDArray[np.int64] = read.decimals
    if len(decimals) and int(decimals.min()) == int(decimals.max()):
        # One divisor for all rows: numpy divides by a single number much faster.
        decimals = decimals[:1]
    divisor, factor = POWERS[np.clip(decimals - places, 0, 18)], POWERS[np.clip(places - decimals, 0, 18)]
    if len(divisor) == 1:
        divisor, factor = divisor[0], factor[0]
    whole = read.unscaled // divisor
    valid = read.valid & (whole * divisor == read.unscaled) & (np.abs(read.unscaled) <= (2**62) // factor)
    return Parsed(np.where(valid, whole, 0) * factor, valid)


def _from_month(read: Digits) -> Parsed:
    valid = read.valid & (read.decimals >= _LEAST_DECIMALS)
    unscaled = np.where(valid, read.unscaled, 0)
    scale = POWERS[np.where(valid, read.decimals, 0)]
    ppm = muldiv_round((unscaled, _PPM_PER_PERMILLE_MONTH), (scale,))
    back = muldiv_round((ppm, scale), (_PPM_PER_PERMILLE_MONTH,))
    valid &= back == unscaled
    return Parsed(np.where(valid, ppm, 0), valid)


def format_percent(ppm: int) -> str:
    """The rate in percent with two to four decimals: 35000 is ``3.50%``, 30750 is ``3.075%``."""
    whole, part = divmod(abs(int(ppm)), 10_000)
    decimals = f"{part:04d}".rstrip("0").ljust(2, "0")
    return f"{'-' if ppm < 0 else ''}{whole}.{decimals}%"
