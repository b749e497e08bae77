"""Exact rational arithmetic on int64 columns: products over products, rounded once (handbook section 3).

A row takes the fast path only when bounds prove that no intermediate leaves 64 bits. The proof is by block: the largest factors of a
block of rows multiply to at most `_LIMIT`. Where that fails, each row is proved alone; a row that cannot be proved is reduced by common
divisors, and what still does not fit is computed with Python integers. All paths give the same exact answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

IntColumn = npt.NDArray[np.int64]
Factor = IntColumn | int

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)

#: With numerator and denominator at most 2**61, 2·numerator + denominator and 2·denominator stay below 2**63.
_LIMIT = 2**61
#: Rows per block: the columns of a block stay in the processor's cache.
_BLOCK = 1 << 14

Rounding = Literal["half_up", "floor"]


def round_half_up(numerator: Factor, denominator: Factor) -> IntColumn:
    """`numerator` / `denominator` rounded to the nearest integer, halves away from zero (handbook section 3).

    Both int64 columns of one length or integers; every denominator must be positive. Raises ValueError otherwise.
    """
    return muldiv_round((numerator,), (denominator,))


def muldiv_round(numerators: Sequence[Factor], denominators: Sequence[Factor]) -> IntColumn:
    """The product of `numerators` over the product of `denominators`, exact, rounded once, halves away from zero.

    Factors are int64 columns of one length, or integers that hold for every row; factors of the numerator may be negative, those of the
    denominator must be positive (ValueError). Returns an int64 column; OverflowError when a result does not fit into 64 bits.
    """
    return _muldiv(numerators, denominators, "half_up")


def muldiv_floor(numerators: Sequence[Factor], denominators: Sequence[Factor]) -> IntColumn:
    """As `muldiv_round`, but the largest integer not above the exact quotient."""
    return _muldiv(numerators, denominators, "floor")


def product(factors: Sequence[Factor]) -> IntColumn:
    """The product of the columns, row by row. OverflowError when a row does not fit into 64 bits."""
    return _muldiv(factors, (1,), "floor")


def fits(factors: Sequence[Factor], limit: int = INT64_MAX) -> npt.NDArray[np.bool_]:
    """True for each row whose product is proved to be at most `limit` (<= 2**63 - 1) in absolute value, at every step.

    False does not prove the contrary when a later factor is 0.
    """
    columns = _columns(factors)
    acc = _magnitude(columns[0])
    proved = acc <= np.uint64(limit)
    for column in columns[1:]:
        factor = _magnitude(column)
        proved &= acc <= np.uint64(limit) // np.maximum(factor, np.uint64(1))
        acc = np.where(proved, acc, np.uint64(0)) * factor
    return proved


def _columns(factors: Sequence[Factor]) -> list[IntColumn]:
    arrays = [np.asarray(f) for f in factors]
    for array in arrays:
        if array.dtype.kind not in "iu" or array.dtype == np.uint64:
            raise TypeError(f"integer column expected, got {array.dtype}")
        if array.ndim > 1:
            raise TypeError("one-dimensional column expected")
    return [np.atleast_1d(a) for a in np.broadcast_arrays(*[a.astype(np.int64, copy=False) for a in arrays])]


def _magnitude(column: IntColumn) -> npt.NDArray[np.uint64]:
    # The absolute value of -2**63 exists only without sign.
    unsigned = column.view(np.uint64) if column.flags.c_contiguous else column.astype(np.uint64)
    negative = column < 0
    if not negative.any():
        return unsigned
    return np.where(negative, ~unsigned + np.uint64(1), unsigned)


def _muldiv(numerators: Sequence[Factor], denominators: Sequence[Factor], rounding: Rounding) -> IntColumn:
    if not numerators:
        raise ValueError("at least one numerator factor is needed")
    constant_n, columns_n = _split(numerators)
    constant_d, columns_d = _split(denominators)
    if constant_d <= 0:
        raise ValueError("every denominator must be positive")
    lengths = {len(c) for c in (*columns_n, *columns_d)}
    if len(lengths) > 1:
        raise ValueError(f"columns of different lengths: {sorted(lengths)}")
    rows = lengths.pop() if lengths else 1
    result = np.empty(rows, np.int64)
    for start in range(0, rows, _BLOCK):
        block = slice(start, min(start + _BLOCK, rows))
        part_n, part_d = [c[block] for c in columns_n], [c[block] for c in columns_d]
        result[block] = _block(constant_n, part_n, constant_d, part_d, block.stop - start, rounding)
    return result


def _split(factors: Sequence[Factor]) -> tuple[int, list[IntColumn]]:
    """The product of all factors that hold for every row, and the columns."""
    constant, columns = 1, []
    for factor in factors:
        if isinstance(factor, np.ndarray) and factor.ndim == 1:
            if factor.dtype.kind not in "iu" or factor.dtype == np.uint64:
                raise TypeError(f"integer column expected, got {factor.dtype}")
            columns.append(factor.astype(np.int64, copy=False))
        elif isinstance(factor, (int, np.integer)) and not isinstance(factor, bool):
            constant *= int(factor)
        else:
            raise TypeError(f"int64 column or integer expected, got {type(factor).__name__}")
    return constant, columns


def _block(
    constant_n: int, columns_n: list[IntColumn], constant_d: int, columns_d: list[IntColumn], rows: int, rounding: Rounding
) -> IntColumn:
    bound_n, bound_d, negative = abs(constant_n), constant_d, constant_n < 0
    for column in columns_n:
        low, high = int(column.min()), int(column.max())
        bound_n *= max(abs(low), abs(high))
        negative |= low < 0
    for column in columns_d:
        if int(column.min()) <= 0:
            raise ValueError("every denominator must be positive")
        bound_d *= int(column.max())
    if bound_n <= _LIMIT and bound_d <= _LIMIT:
        return _divide(_multiply(constant_n, columns_n, rows), _multiply(constant_d, columns_d, rows), negative, rounding)
    factors_n = [np.array(c, np.int64) for c in columns_n]
    factors_d = [np.array(c, np.int64) for c in columns_d]
    return _by_row(constant_n, factors_n, constant_d, factors_d, rows, rounding)


def _multiply(constant: int, columns: list[IntColumn], rows: int) -> Factor:
    if not columns:
        return constant
    acc = columns[0]
    for column in columns[1:]:
        acc = acc * column
    return acc if constant == 1 else acc * np.int64(constant)


def _divide(n: Factor, d: Factor, negative: bool, rounding: Rounding) -> IntColumn:
    """Both proved to be at most `_LIMIT` in absolute value."""
    if rounding == "floor":
        return np.asarray(np.floor_divide(n, d), np.int64)
    if not negative:
        return np.asarray((2 * n + d) // (2 * d), np.int64)
    magnitude = (2 * np.abs(n) + d) // (2 * d)
    return np.asarray(np.where(np.less(n, 0), -magnitude, magnitude), np.int64)


def _by_row(
    constant_n: int, columns_n: list[IntColumn], constant_d: int, columns_d: list[IntColumn], rows: int, rounding: Rounding
) -> IntColumn:
    if max(abs(constant_n), constant_d) > INT64_MAX:
        return _big(constant_n, columns_n, constant_d, columns_d, np.arange(rows), rows, rounding)
    numerators = [np.full(rows, constant_n, np.int64), *columns_n]
    denominators = [np.full(rows, constant_d, np.int64), *columns_d]
    result = np.empty(rows, np.int64)
    proved = fits(numerators, _LIMIT) & fits(denominators, _LIMIT)
    _fill(result, proved, numerators, denominators, rounding)
    rest = np.flatnonzero(~proved)
    if not len(rest):
        return result
    numerators, denominators = [c[rest] for c in numerators], [c[rest] for c in denominators]
    for i in range(len(numerators)):
        for j in range(len(denominators)):
            common = np.gcd(numerators[i], denominators[j])
            numerators[i] = numerators[i] // common
            denominators[j] = denominators[j] // common
    small = fits(numerators, _LIMIT) & fits(denominators, _LIMIT)
    reduced = np.empty(len(rest), np.int64)
    _fill(reduced, small, numerators, denominators, rounding)
    result[rest] = _big(1, numerators, 1, denominators, np.flatnonzero(~small), len(rest), rounding, reduced)
    return result


def _fill(
    result: IntColumn, rows: npt.NDArray[np.bool_], numerators: list[IntColumn], denominators: list[IntColumn], rounding: Rounding
) -> None:
    if rows.any():
        n = _multiply(1, [c[rows] for c in numerators], 0)
        d = _multiply(1, [c[rows] for c in denominators], 0)
        result[rows] = _divide(n, d, True, rounding)


def _big(
    constant_n: int,
    columns_n: list[IntColumn],
    constant_d: int,
    columns_d: list[IntColumn],
    which: npt.NDArray[np.intp],
    rows: int,
    rounding: Rounding,
    result: IntColumn | None = None,
) -> IntColumn:
    """Python integers for the rows `which`; the others keep what `result` holds."""
    out = np.empty(rows, np.int64) if result is None else result
    lists_n, lists_d = [c[which].tolist() for c in columns_n], [c[which].tolist() for c in columns_d]
    for position, row in enumerate(which.tolist()):
        n, d = constant_n, constant_d
        for values in lists_n:
            n *= values[position]
        for values in lists_d:
            d *= values[position]
        quotient = n // d if rounding == "floor" else round_half_up_int(n, d)
        if not INT64_MIN <= quotient <= INT64_MAX:
            raise OverflowError("a result does not fit into 64 bits")
        out[row] = quotient
    return out


def round_half_up_int(numerator: int, denominator: int) -> int:
    """`numerator` / `denominator` (> 0) of Python integers, rounded to the nearest integer, halves away from zero."""
    magnitude = (2 * abs(numerator) + denominator) // (2 * denominator)
    return -magnitude if numerator < 0 else magnitude
