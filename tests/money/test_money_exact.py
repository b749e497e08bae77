"""Exact arithmetic on columns: worked figures, the edges of 64 bits, and random rows against Python fractions."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subsidy.money import fits, muldiv_floor, muldiv_round, product, round_half_up

INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)


def column(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def half_up(value: Fraction) -> int:
    magnitude = int(abs(value) + Fraction(1, 2))
    return -magnitude if value < 0 else magnitude


def test_halves_go_away_from_zero() -> None:
    assert round_half_up(column(5, -5, 15, -15, 4, -4, 0), column(10, 10, 10, 10, 10, 10, 10)).tolist() == [1, -1, 2, -2, 0, 0, 0]


def test_worked_ratio_is_rounded_once() -> None:
    # Loan A, instalment 1: 1458.33 x (3.50 - 2.60) / 3.50 is 375.00; rounding the ratio first would give 374.94 (handbook section 3).
    assert muldiv_round((column(145833), 9000), (column(35000),)).tolist() == [37500]


def test_worked_cap_limits_the_numerator_only() -> None:
    assert muldiv_round((column(170833), column(35000 - 26000)), (column(41000),)).tolist() == [37500]


def test_worked_spread_by_actual_360() -> None:
    principal, days = column(50000000, 49921311, 49842393), column(31, 28, 31)
    assert muldiv_round((principal, 9000, days), (360, 1_000_000)).tolist() == [38750, 34945, 38628]


@pytest.mark.parametrize("numerator", [INT64_MIN, INT64_MIN + 1, INT64_MAX, INT64_MAX - 1, 2**62, -(2**62), 2**61, 2**61 + 1])
@pytest.mark.parametrize("denominator", [1, 2, 3, 7, 2**31, 2**61, 2**61 + 1, 2**62, INT64_MAX])
def test_edges_of_64_bits(numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)
    assert round_half_up(column(numerator), column(denominator)).tolist() == [half_up(exact)]
    assert muldiv_floor((column(numerator),), (column(denominator),)).tolist() == [exact.numerator // exact.denominator]


def test_rows_beside_an_overflowing_one_keep_their_figures() -> None:
    interest, rest = column(145833, 10**17, 145604), column(9000, 10**17, 9000)
    assert muldiv_round((interest, rest), (column(35000, 10**17, 35000),)).tolist() == [37500, 10**17, 37441]


@pytest.mark.parametrize("size", [1, 16383, 16384, 16385, 40000])
def test_blocks_meet_without_a_seam(size: int) -> None:
    values = np.arange(size, dtype=np.int64) * 7919 - 10**6
    assert np.array_equal(muldiv_round((values, 3), (10,)), [half_up(Fraction(int(v) * 3, 10)) for v in values])


def test_result_beyond_64_bits_is_refused() -> None:
    with pytest.raises(OverflowError):
        muldiv_round((column(INT64_MAX), 2), (1,))
    with pytest.raises(OverflowError):
        product((column(2**40), column(2**40)))


@pytest.mark.parametrize("bad", [column(0), column(-1)])
def test_denominator_must_be_positive(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="positive"):
        round_half_up(column(1), bad)


def test_floats_are_refused() -> None:
    with pytest.raises(TypeError):
        muldiv_round((np.array([1.5]),), (2,))
    with pytest.raises(TypeError):
        muldiv_round((1.5,), (2,))  # type: ignore[arg-type]


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="lengths"):
        muldiv_round((column(1, 2), column(1, 2, 3)), (1,))


def test_empty_columns() -> None:
    assert muldiv_round((column(), 5), (column(),)).tolist() == []


def test_fits_never_promises_too_much() -> None:
    values = column(2**31, 2**32, INT64_MIN, 0, 3_037_000_499, 3_037_000_500)
    assert fits((values, values)).tolist() == [True, False, False, True, True, False]


CORNERS = st.sampled_from([1, 2**31, 2**32, 2**61, 2**62, INT64_MAX])
EDGE = st.one_of(st.integers(INT64_MIN, INT64_MAX), st.integers(-(10**6), 10**6), CORNERS)
POSITIVE = st.one_of(st.integers(1, INT64_MAX), st.integers(1, 10**6), CORNERS)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(1, 4), st.integers(0, 3), st.integers(1, 12))
def test_any_product_over_any_product_equals_fractions(data: st.DataObject, above: int, below: int, rows: int) -> None:
    numerators = [data.draw(st.lists(EDGE, min_size=rows, max_size=rows)) for _ in range(above)]
    denominators = [data.draw(st.lists(POSITIVE, min_size=rows, max_size=rows)) for _ in range(below)]
    exact = []
    for row in range(rows):
        value = Fraction(1)
        for values in numerators:
            value *= values[row]
        for values in denominators:
            value /= values[row]
        exact.append(value)
    args = [np.array(v, np.int64) for v in numerators], [np.array(v, np.int64) for v in denominators]
    for function, expected in (
        (muldiv_round, [half_up(v) for v in exact]),
        (muldiv_floor, [v.numerator // v.denominator for v in exact]),
    ):
        if all(INT64_MIN <= v <= INT64_MAX for v in expected):
            assert function(*args).tolist() == expected
        else:
            with pytest.raises(OverflowError):
                function(*args)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**13), st.integers(0, 400_000), st.integers(1, 400_000)), min_size=1, max_size=30))
def test_money_sized_rows_equal_decimal(rows: list[tuple[int, int, int]]) -> None:
    interest, spread, rate = (np.array(c, np.int64) for c in zip(*rows, strict=True))
    expected = [int((Decimal(i) * s / Decimal(r)).quantize(Decimal(1), ROUND_HALF_UP)) for i, s, r in rows]
    assert muldiv_round((interest, spread), (rate,)).tolist() == expected
