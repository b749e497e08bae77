"""Which booking days belong to which settlement period of a centre (handbook section 2: period, cut-off)."""

from __future__ import annotations

from datetime import date, timedelta

from subsidy.calendar import settlements_due
from subsidy.errors import TerminalError
from subsidy.policy import CentrePolicy, working_days_of

#: A quarterly centre's settlements lie three months apart; a settlement day lies up to two months after the first of its period's month.
_BEFORE, _AFTER = timedelta(days=130), timedelta(days=75)


def nights_between(policy: CentrePolicy, period: str) -> tuple[date, date] | None:
    """First and last night whose postings the settlement of `period` takes: after the night that built the one before, to its own.

    None when the centre has no settlement of that period, or the calendar does not tell.
    """
    first = date(int(period[:4]), int(period[5:]), 1)
    try:
        settlements = settlements_due(policy, working_days_of(policy), first - _BEFORE, first + _AFTER)
    except TerminalError:
        return None
    nights = [(s.period, s.night) for s in settlements]
    for number, (name, night) in enumerate(nights):
        if name == period:
            return (nights[number - 1][1] + timedelta(days=1) if number else date.min), night
    return None


def booked_between(policy: CentrePolicy, period: str) -> tuple[date, date] | None:
    """First and last booking day whose lines the settlement of `period` (2026-10) takes when they are known in time.

    None when the centre has no settlement of that period: a quarterly centre's other months, or months before its first. A year without a
    calendar falls back to the calendar month.
    """
    first = date(int(period[:4]), int(period[5:]), 1)
    try:
        settlements = settlements_due(policy, working_days_of(policy), first - _BEFORE, first + _AFTER)
    except TerminalError:
        following = (first + timedelta(days=32)).replace(day=1)
        return first, following - timedelta(days=1)
    for number, settlement in enumerate(settlements):
        if settlement.period == period:
            earlier = settlements[number - 1].cutoff_on if number else date.min
            return (earlier + timedelta(days=1) if number else date.min), settlement.cutoff_on
    return None
