"""Calendar months, due dates and the four day counts (handbook section 3), each year fraction as whole units of its base."""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from functools import lru_cache

#: The loans of a portfolio share their days: few answers are computed twice.
_SHARED = 1 << 14


def due_in(year: int, month: int, due_day: int) -> date:
    """The due date in a month: the contract's due day, or the last day of a shorter month."""
    return date(year, month, due_day if due_day <= 28 else min(due_day, monthrange(year, month)[1]))


def month_number(day: date) -> int:
    """Months counted from year 0, so that months can be added and subtracted."""
    return day.year * 12 + day.month - 1


@lru_cache(_SHARED)
def due_date(number: int, due_day: int) -> date:
    """The due date in month `number` (see `month_number`)."""
    return due_in(number // 12, number % 12 + 1, due_day)


def next_due(day: date, due_day: int) -> date:
    """The first due date on or after `day`."""
    first = due_in(day.year, day.month, due_day)
    return first if first >= day else due_date(month_number(day) + 1, due_day)


@lru_cache(_SHARED)
def nominal_month(due_on: date, due_day: int) -> int:
    """Number of the month whose due day is nearest to `due_on`: 31 January moved to 2 February is January's."""
    number = month_number(due_on)
    return min((number, number - 1, number + 1), key=lambda month: abs((due_date(month, due_day) - due_on).days))


@lru_cache(_SHARED)
def add_months(day: date, months: int) -> date:
    """`day` moved by calendar months, clipped to the last day of the month it falls into. Beyond year 9999: `date.max`."""
    number = month_number(day) + months
    return due_date(number, day.day) if number < 9999 * 12 + 12 else date.max


@lru_cache(_SHARED)
def monthly_units(start: date, end: date, due_day: int) -> int:
    """The `monthly` year fraction of [start, end) in 1/360: 30 for each full month from due date to due date, 1 for each odd day."""
    first = next_due(start, due_day)
    last = due_in(end.year, end.month, due_day)
    if last > end:
        last = due_date(month_number(end) - 1, due_day)
    if first > last:
        return (end - start).days
    return 30 * (month_number(last) - month_number(first)) + (first - start).days + (end - last).days


def units(day_count: str, start: date, end: date) -> int:
    """The year fraction of [start, end) under any day count but `monthly`, in units of 1/`BASE[day_count]`."""
    if day_count == "30/360":
        return (end.year - start.year) * 360 + (end.month - start.month) * 30 + min(end.day, 30) - min(start.day, 30)
    return (end - start).days


BASE = {"monthly": 360, "30/360": 360, "actual/360": 360, "actual/365": 365}
