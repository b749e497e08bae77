"""Year fractions of accrual periods as exact integers, and the due dates of a contract (handbook section 3)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from subsidy.calendar.days import Days, IntColumn, first_of_month, month_number, on_day

DayCount = Literal["monthly", "30/360", "actual/360", "actual/365"]
DAY_COUNTS: tuple[DayCount, ...] = ("monthly", "30/360", "actual/360", "actual/365")


def due_date(month: Days, due_day: Days) -> IntColumn:
    """Due date in `month` (months since 1970-01): the contract's due day 1..31, or the last day of a shorter month."""
    return on_day(month, due_day)


def due_dates(first_month: Days, due_day: Days, count: int) -> IntColumn:
    """The next `count` due dates from `first_month` on, one row per contract: shape (rows, count)."""
    months = np.atleast_1d(np.asarray(first_month, np.int64))[:, None] + np.arange(count, dtype=np.int64)
    day = np.broadcast_to(np.asarray(due_day, np.int64), (len(months),))[:, None]
    return on_day(months, day)


def first_due_on_or_after(days: Days, due_day: Days) -> IntColumn:
    """The first due date on or after each day."""
    month = month_number(days)
    return on_day(month + (on_day(month, due_day) < days), due_day)


def last_due_on_or_before(days: Days, due_day: Days) -> IntColumn:
    """The last due date on or before each day."""
    month = month_number(days)
    return on_day(month - (on_day(month, due_day) > days), due_day)


def year_fraction(day_count: DayCount, accrual_from: Days, accrual_to: Days, due_day: Days = 1) -> tuple[IntColumn, int]:
    """Exact year fraction of each period [from, to) as (numerator column, denominator): 360 or 365.

    `due_day` (1..31) matters for ``monthly`` only: full months run from due date to due date, the days before and after them are odd
    and count 1/360 each; without a due date inside all days are odd. ValueError for an unknown day count, or a period that ends before it
    begins.
    """
    start, end = np.asarray(accrual_from, np.int64), np.asarray(accrual_to, np.int64)
    if bool((end < start).any()):
        raise ValueError("a period ends before it begins")
    if day_count == "actual/360":
        return end - start, 360
    if day_count == "actual/365":
        return end - start, 365
    if day_count == "30/360":
        return _thirty(end) - _thirty(start), 360
    if day_count == "monthly":
        return _monthly(start, end, due_day), 360
    raise ValueError(f"unknown day count {day_count!r}")


def _thirty(days: IntColumn) -> IntColumn:
    month = month_number(days)
    return np.asarray(month * 30 + np.minimum(days - first_of_month(month) + 1, 30))


def _monthly(start: IntColumn, end: IntColumn, due_day: Days) -> IntColumn:
    first, last = first_due_on_or_after(start, due_day), last_due_on_or_before(end, due_day)
    months = month_number(last) - month_number(first)
    return np.where(last > first, 30 * months + (first - start) + (end - last), end - start)
