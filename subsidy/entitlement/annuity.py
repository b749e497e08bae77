"""The annuity of a balance: S·m·(1+m)^r / ((1+m)^r − 1), rounded half up, exact for every balance (handbook section 4, shadow step 3).

The factor of a rate and a number of months is one rational with numbers of thousands of digits. It is taken once to 66 binary places,
rounded down; a balance times that is below the true product by less than S/2**66. Only where rounding could depend on that remainder, a
hair below a half, the rational itself decides.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np

from subsidy.entitlement.columns import Bool, Int32, Int64
from subsidy.money import muldiv_round

#: 1 in ppm a year per month: m = rate / MONTHLY.
MONTHLY = 12_000_000

_LIMB = 22
_MASK = (1 << _LIMB) - 1
#: A balance below 2**38 fen (2.7 thousand million yuan) times the top limb (below 2**23) plus a carry stays below 2**62.
_BALANCE_LIMIT = 1 << 38


@lru_cache(maxsize=20_000)
def factor(rate_ppm: int, months: int) -> Fraction:
    """A/S as an exact rational; `rate_ppm` >= 0 a year, `months` >= 1."""
    if rate_ppm == 0:
        return Fraction(1, months)
    grown, flat = (MONTHLY + rate_ppm) ** months, MONTHLY**months
    return Fraction(rate_ppm * grown, MONTHLY * (grown - flat))


@lru_cache(maxsize=20_000)
def _limbs(rate_ppm: int, months: int) -> tuple[int, int, int]:
    exact = factor(rate_ppm, months)
    scaled = (exact.numerator << 3 * _LIMB) // exact.denominator
    return scaled & _MASK, (scaled >> _LIMB) & _MASK, scaled >> 2 * _LIMB


def annuity(balance: Int64, rate_ppm: Int64, months: Int32) -> Int64:
    """A in fen for each balance (fen), rate (ppm a year, >= 0) and number of months left (>= 1)."""
    if not len(balance):
        return np.empty(0, np.int64)
    key = rate_ppm * 4096 + months
    if (key == key[0]).all():
        kinds, which = key[:1], np.zeros(len(key), np.intp)
    else:
        kinds, which = np.unique(key, return_inverse=True)
    pairs = [divmod(k, 4096) for k in kinds.tolist()]
    limbs = np.array([_limbs(rate, left) for rate, left in pairs], np.int64)
    low, middle, high = (limbs[which, i] for i in range(3))
    small = (balance >= 0) & (balance < _BALANCE_LIMIT)
    whole = np.where(small, balance, 0)
    carry = (whole * low) >> _LIMB
    inner = whole * middle + carry
    outer = whole * high + (inner >> _LIMB)
    # The fraction to 44 binary places; what is cut off below is less than 2**-44 + S/2**66 <= 2**-27.
    fraction = ((outer & _MASK) << _LIMB) | (inner & _MASK)
    half = 1 << (2 * _LIMB - 1)
    result: Int64 = (outer >> _LIMB) + (fraction >= half).astype(np.int64)
    close = (fraction < half) & (fraction >= half - (1 << 17))
    for row in np.flatnonzero(close | ~small).tolist():
        rate, left = pairs[int(which[row])]
        result[row] = exact_annuity(int(balance[row]), rate, left)
    return result


def exact_annuity(balance: int, rate_ppm: int, months: int) -> int:
    """`annuity` of one balance by Python integers."""
    product = balance * factor(rate_ppm, months)
    magnitude = (2 * abs(product.numerator) + product.denominator) // (2 * product.denominator)
    return -magnitude if product < 0 else magnitude


def equal_principal(balance: Int64, months: Int32) -> Int64:
    """The principal part of an equal-principal loan: round(S / r)."""
    return muldiv_round((balance,), (months.astype(np.int64),))


def rebuilt(balance: Int64, rate_ppm: Int64, months: Int32, by_principal: Bool) -> Int64:
    """The annuity, or the principal part where `by_principal`."""
    if not by_principal.any():
        return annuity(balance, rate_ppm, months)
    result = equal_principal(balance, months)
    rest = np.flatnonzero(~by_principal)
    result[rest] = annuity(balance[rest], rate_ppm[rest], months[rest])
    return result
