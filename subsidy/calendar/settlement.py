"""Settlement day, cut-off, period and night (handbook section 2).

The settlement day S is the nominal day of the month rolled onto a working day. Its batch is built in the night with business date S - 1.
The cut-off is S - 1, or the last day of the month before S. The period is the month of the cut-off; a quarterly centre settles in the
last month of a quarter, and its period is the last month of the quarter of its cut-off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, Protocol

from subsidy.calendar.working import WorkingDays

_ONE_DAY = timedelta(days=1)
#: No run of holidays is longer; in the years of the calendar the longest has 10 days.
_LONGEST_HOLIDAY = timedelta(days=14)


class Terms(Protocol):
    """What of the settlement terms decides dates."""

    @property
    def frequency(self) -> Literal["monthly", "quarterly"]: ...
    @property
    def day(self) -> int: ...
    @property
    def roll(self) -> Literal["next", "previous"]: ...
    @property
    def cutoff(self) -> Literal["day_before", "previous_month_end"]: ...


class DatedTerms(Terms, Protocol):
    """Terms that hold for nominal days in [`effective_from`, `effective_to`)."""

    @property
    def effective_from(self) -> date: ...
    @property
    def effective_to(self) -> date | None: ...


class TermsByDay(Protocol):
    """A centre's policy as far as settlement dates need it."""

    @property
    def settlement(self) -> Sequence[DatedTerms]: ...
    @property
    def go_live(self) -> date: ...


@dataclass(frozen=True, slots=True)
class SettlementDates:
    """One settlement: `period` as 2026-10, the settlement day, the last booking day it takes, and the night that builds its batch."""

    period: str
    settlement_on: date
    cutoff_on: date
    night: date


def nominal_day(terms: Terms, year: int, month: int) -> date | None:
    """The settlement day of `year`-`month` before rolling; None in a month without settlement or without that day."""
    if terms.frequency == "quarterly" and month % 3:
        return None
    try:
        return date(year, month, terms.day)
    except ValueError:
        return None


def settlement_of(terms: Terms, year: int, month: int, working_days: WorkingDays) -> SettlementDates | None:
    """The settlement whose nominal day lies in `year`-`month`, None when there is none.

    TerminalError ``CAL-YEAR`` when the calendar does not reach the day.
    """
    nominal = nominal_day(terms, year, month)
    if nominal is None:
        return None
    settlement_on = working_days.roll(nominal, terms.roll)
    night = settlement_on - _ONE_DAY
    cutoff_on = night if terms.cutoff == "day_before" else settlement_on.replace(day=1) - _ONE_DAY
    month = cutoff_on.month + (-cutoff_on.month % 3 if terms.frequency == "quarterly" else 0)
    return SettlementDates(f"{cutoff_on.year:04d}-{month:02d}", settlement_on, cutoff_on, night)


def settlements_due(policy: TermsByDay, working_days: WorkingDays, first_day: date, business_date: date) -> list[SettlementDates]:
    """All settlements whose night lies in [`first_day`, `business_date`], in order of their nights.

    A settlement whose cut-off lies before `policy.go_live` belongs to the old system and is left out.
    The terms of a settlement are those in force on its nominal day. The calendar is asked only for days that can decide, so the end of the
    published calendar refuses the first night that needs more, and no earlier one (TerminalError ``CAL-YEAR``).
    """
    due: list[SettlementDates] = []
    year, month = _next_month(first_day.year, first_day.month, -1)
    while date(year, month, 1) <= business_date + timedelta(days=31):
        for terms in policy.settlement:
            dates = _if_due(terms, working_days, year, month, business_date)
            if dates is not None and first_day <= dates.night <= business_date and dates.cutoff_on >= policy.go_live:
                due.append(dates)
        year, month = _next_month(year, month, 1)
    return sorted(due, key=lambda d: d.night)


def _if_due(terms: DatedTerms, working_days: WorkingDays, year: int, month: int, business_date: date) -> SettlementDates | None:
    nominal = nominal_day(terms, year, month)
    if nominal is None or nominal < terms.effective_from or (terms.effective_to is not None and nominal >= terms.effective_to):
        return None
    tomorrow = business_date + _ONE_DAY
    if nominal > tomorrow:
        if terms.roll == "next" or nominal - tomorrow > _LONGEST_HOLIDAY:
            return None
        # The settlement day is the last working day up to the nominal day: any working day after tomorrow says "later".
        day = tomorrow + _ONE_DAY
        while day <= nominal:
            if working_days.is_working(day):
                return None
            day += _ONE_DAY
    return settlement_of(terms, year, month, working_days)


def _next_month(year: int, month: int, step: int) -> tuple[int, int]:
    index = year * 12 + month - 1 + step
    return index // 12, index % 12 + 1
