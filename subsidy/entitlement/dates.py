"""The domain of dates, and tables over it: one gather per date instead of calendar arithmetic."""

from __future__ import annotations

from datetime import date

import numpy as np

from subsidy.calendar import day_number, month_number
from subsidy.calendar.days import first_of_month
from subsidy.entitlement.columns import Int32, Int64

#: Dates outside belong to another century (docs/interpretations.md, point 24).
FIRST_DAY = day_number(date(1990, 1, 1))
LAST_DAY = day_number(date(2099, 12, 31))
#: Number of days of the domain, and one more for an exclusive end.
DAYS = LAST_DAY - FIRST_DAY + 2

_ALL = np.arange(FIRST_DAY, FIRST_DAY + DAYS, dtype=np.int64)
_MONTH = month_number(_ALL)
_MONTH_TABLE = _MONTH.astype(np.int32)
_YEARS = _MONTH // 12
_NEXT_JANUARY = first_of_month((_YEARS + 1) * 12).astype(np.int32)
#: 30/360 day number: differences of it are the 30/360 days of a period.
_THIRTY = (_MONTH * 30 + np.minimum(_ALL - first_of_month(_MONTH) + 1, 30)).astype(np.int32)
_FIRST_MONTH = int(_MONTH[0])
#: Far beyond the domain: the end of a window, or a due date that no row has yet.
_MONTH_NUMBERS = np.arange(_FIRST_MONTH, int(_MONTH[-1]) + 12 * 200 + 2, dtype=np.int64)
_MONTH_START = first_of_month(_MONTH_NUMBERS).astype(np.int32)
_MONTH_LENGTH = (first_of_month(_MONTH_NUMBERS + 1) - first_of_month(_MONTH_NUMBERS)).astype(np.int32)


def place(days: Int32 | Int64) -> Int32:
    """Position of each day in tables over the domain; days outside take the nearest end (their rows are quarantined)."""
    at = np.asarray(days, np.int32) - np.int32(FIRST_DAY)
    if at.size and (at.min() < 0 or at.max() >= DAYS):
        at = np.clip(at, 0, DAYS - 1)
    return np.asarray(at)


def month_of(days: Int32) -> Int32:
    """Months since 1970-01."""
    return np.asarray(_MONTH_TABLE.take(place(days)))


def next_january(days: Int32) -> Int32:
    """The first 1 January after each day."""
    return np.asarray(_NEXT_JANUARY.take(place(days)))


def thirty(days: Int32) -> Int32:
    """30/360 day number of each day."""
    return np.asarray(_THIRTY.take(place(days)))


def due_date(month: Int32, due_day: Int32) -> Int32:
    """The due day of each month, or the last day of a shorter month."""
    at = np.clip(month - np.int32(_FIRST_MONTH), 0, len(_MONTH_START) - 1)
    return np.asarray(_MONTH_START[at] + np.minimum(due_day, _MONTH_LENGTH[at]) - np.int32(1))


def months_later(days: Int32, months: Int32) -> Int32:
    """The same day some calendar months later, or the last day of a shorter month. As `subsidy.calendar.add_months`, by tables."""
    month = month_of(days)
    return due_date(month + months, days - _MONTH_START[month - _FIRST_MONTH] + np.int32(1))


def monthly_360ths(start: Int32, end: Int32, due_day: Int32) -> Int32:
    """`monthly` year fraction of [start, end) in 360ths of a year (handbook section 3): full months count 30, odd days one each.

    The same figure as `subsidy.calendar.year_fraction`, by tables. `due_day` 1..31.
    """
    first_month, last_month = month_of(start), month_of(end)
    first = due_date(first_month, due_day)
    late = first < start
    last = due_date(last_month, due_day)
    early = last > end
    if late.any():
        first_month = first_month + late
        first = np.where(late, due_date(first_month, due_day), first)
    if early.any():
        last_month = last_month - early
        last = np.where(early, due_date(last_month, due_day), last)
    odd = (first - start) + (end - last)
    return np.where(last > first, 30 * (last_month - first_month) + odd, end - start).astype(np.int32)
