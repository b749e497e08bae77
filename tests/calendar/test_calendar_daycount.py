"""Day counts, due dates and months: examples of the handbook, then columns against one date at a time."""

from __future__ import annotations

import calendar
from datetime import date, timedelta
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subsidy.calendar import (
    add_months,
    date_of,
    day_number,
    day_of_month,
    days_in_month,
    days_of,
    due_date,
    due_dates,
    first_due_on_or_after,
    last_due_on_or_before,
    month_number,
    year_fraction,
)  # fmt: skip

DATES = st.dates(date(1949, 10, 1), date(2120, 12, 31))


def n(*texts: str) -> np.ndarray:
    return np.array([day_number(date.fromisoformat(t)) for t in texts], np.int64)


def fraction(day_count: str, start: str, end: str, due_day: int = 10) -> Fraction:
    numerator, denominator = year_fraction(day_count, n(start), n(end), due_day)  # type: ignore[arg-type]
    return Fraction(int(numerator[0]), denominator)


def clipped(year: int, month: int, day: int) -> date:
    return date(year, month, min(day, calendar.monthrange(year, month)[1]))


@pytest.mark.parametrize(
    ("start", "end", "due_day", "expected"),
    [
        ("2026-01-10", "2026-02-10", 10, Fraction(1, 12)),
        ("2026-01-31", "2026-02-28", 31, Fraction(1, 12)),  # each is one month (handbook section 4)
        ("2026-02-28", "2026-03-31", 31, Fraction(1, 12)),
        ("2026-03-31", "2026-04-30", 31, Fraction(1, 12)),
        ("2026-01-10", "2027-01-10", 10, Fraction(1)),
        ("2026-03-10", "2026-03-26", 10, Fraction(16, 360)),  # a prepayment's own days: no second due date inside
        ("2026-03-11", "2026-03-20", 20, Fraction(9, 360)),
        ("2026-03-05", "2026-05-13", 10, Fraction(2, 12) + Fraction(5 + 3, 360)),
        ("2026-03-11", "2026-04-09", 10, Fraction(29, 360)),
        ("2026-03-10", "2026-03-10", 10, Fraction(0)),
        ("2024-01-31", "2024-02-29", 31, Fraction(1, 12)),
    ],
)
def test_monthly(start: str, end: str, due_day: int, expected: Fraction) -> None:
    assert fraction("monthly", start, end, due_day) == expected


@pytest.mark.parametrize(
    ("day_count", "start", "end", "expected"),
    [
        ("30/360", "2026-01-10", "2026-02-10", Fraction(30, 360)),
        ("30/360", "2026-01-31", "2026-02-28", Fraction(28, 360)),
        ("30/360", "2026-02-28", "2026-03-31", Fraction(32, 360)),
        ("30/360", "2026-01-30", "2026-01-31", Fraction(0)),
        ("actual/360", "2026-01-10", "2026-02-10", Fraction(31, 360)),
        ("actual/365", "2026-01-10", "2026-02-10", Fraction(31, 365)),
        ("actual/360", "2024-02-10", "2024-03-10", Fraction(29, 360)),
    ],
)
def test_other_day_counts(day_count: str, start: str, end: str, expected: Fraction) -> None:
    assert fraction(day_count, start, end) == expected


def test_unknown_day_count_and_reversed_period_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown"):
        year_fraction("actual/366", n("2026-01-01"), n("2026-01-02"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ends before"):
        year_fraction("monthly", n("2026-01-02"), n("2026-01-01"), 10)


def test_months_are_clipped() -> None:
    start = n("2024-01-31", "2024-02-29", "2026-01-31", "2026-03-31", "2026-12-15")
    moved = [date_of(d).isoformat() for d in add_months(start, np.array([1, 12, 1, -1, 240]))]
    assert moved == ["2024-02-29", "2025-02-28", "2026-02-28", "2026-02-28", "2046-12-15"]


def test_due_dates_run_month_by_month() -> None:
    table = due_dates(month_number(n("2026-01-31", "2025-12-05")), np.array([31, 5]), 3)
    assert [[date_of(d).isoformat() for d in row] for row in table] == [
        ["2026-01-31", "2026-02-28", "2026-03-31"],
        ["2025-12-05", "2026-01-05", "2026-02-05"],
    ]


def test_dates_from_arrow_and_numpy() -> None:
    expected = n("2026-09-20", "1969-12-31").tolist()
    values = [date(2026, 9, 20), date(1969, 12, 31)]
    assert days_of(pa.array(values)).tolist() == expected
    assert days_of(pa.chunked_array([values[:1], values[1:]])).tolist() == expected
    assert days_of(np.array(values, "datetime64[D]")).tolist() == expected
    assert days_of(np.array(expected)).tolist() == expected
    assert days_of(pa.array([], pa.date32())).tolist() == []
    with pytest.raises(TypeError):
        days_of(np.array([1.5]))
    for missing in (pa.array([values[0], None]), np.array(["2026-09-20", "NaT"], "datetime64[D]")):
        with pytest.raises(ValueError, match="missing"):
            days_of(missing)


@given(DATES)
def test_parts_of_a_date(day: date) -> None:
    number = np.array([day_number(day)])
    month = month_number(number)
    assert date_of(int(number[0])) == day
    assert (int(month[0]) + 1970 * 12, int(day_of_month(number)[0])) == (day.year * 12 + day.month - 1, day.day)
    assert int(days_in_month(month)[0]) == calendar.monthrange(day.year, day.month)[1]


@given(DATES, st.integers(1, 31))
def test_due_dates_around_a_day(day: date, due_day: int) -> None:
    number = np.array([day_number(day)])
    around = [clipped(*divmod_month(day.year * 12 + day.month - 1 + k), due_day) for k in (-2, -1, 0, 1, 2)]
    assert date_of(int(first_due_on_or_after(number, due_day)[0])) == min(d for d in around if d >= day)
    assert date_of(int(last_due_on_or_before(number, due_day)[0])) == max(d for d in around if d <= day)
    assert date_of(int(due_date(month_number(number), due_day)[0])) == around[2]


def divmod_month(index: int) -> tuple[int, int]:
    return index // 12, index % 12 + 1


@settings(max_examples=300)
@given(DATES, st.integers(0, 500), st.integers(1, 31))
def test_monthly_against_walking_the_due_dates(start: date, length: int, due_day: int) -> None:
    end = start + timedelta(days=length)
    inside = []
    index = start.year * 12 + start.month - 1
    while (due := clipped(*divmod_month(index), due_day)) <= end:
        if due >= start:
            inside.append(due)
        index += 1
    if inside:
        expected = Fraction(len(inside) - 1, 12) + Fraction((inside[0] - start).days + (end - inside[-1]).days, 360)
    else:
        expected = Fraction(length, 360)
    assert fraction("monthly", start.isoformat(), end.isoformat(), due_day) == expected


@given(DATES, st.integers(0, 500), st.integers(0, 500), st.sampled_from(["actual/360", "actual/365", "30/360"]))
def test_adjacent_periods_add_up(start: date, first: int, second: int, day_count: str) -> None:
    a, b, c = start, start + timedelta(days=first), start + timedelta(days=first + second)
    parts = fraction(day_count, a.isoformat(), b.isoformat()) + fraction(day_count, b.isoformat(), c.isoformat())
    assert parts == fraction(day_count, a.isoformat(), c.isoformat())
