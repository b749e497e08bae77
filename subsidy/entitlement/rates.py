"""Fund rates of loans on days and over periods (handbook section 3), from tables over the domain of dates.

A table per series and day makes the rate of a loan on a day one gather, and its sum over the days of a period two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from subsidy.calendar import day_number
from subsidy.calendar.days import first_of_month
from subsidy.entitlement.columns import FAR, Bool, Int32, Int64, UInt8
from subsidy.entitlement.dates import DAYS, FIRST_DAY, month_of, next_january, place
from subsidy.policy.model import MidPeriod, Parameters, Reset, Series

#: Order of the series in the tables: home order (first, second) x tier (term <= 60 months, longer).
SERIES = ("FIRST_LE5", "FIRST_GT5", "SECOND_LE5", "SECOND_GT5")
SHORT_TERM_MONTHS = 60

#: No rate: the series begins later. No sum of rates is taken over such a day.
UNKNOWN = -1

_DAY = np.arange(FIRST_DAY, FIRST_DAY + DAYS, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Whose:
    """What of a loan decides its fund rate: series, disbursement and signing day, the 1 January after the disbursement; one column each."""

    series: UInt8
    disbursed_on: Int32
    signed_on: Int32
    turn: Int32

    def take(self, at: npt.NDArray[np.integer] | slice) -> Whose:
        """The loans at the positions `at`."""
        return Whose(self.series[at], self.disbursed_on[at], self.signed_on[at], self.turn[at])


def series_of(home_order: UInt8, term_months: Int32) -> UInt8:
    """Series number of each loan: home order 1 or 2, tier by the original term."""
    return np.asarray(2 * (home_order == 2) + (term_months > SHORT_TERM_MONTHS)).astype(np.uint8)


class FundRates:
    """The four fund-rate series over the domain of dates."""

    def __init__(self, parameters: Parameters) -> None:
        self._now = np.stack([_daily(parameters.series.get(name)) for name in SERIES])
        # In calendar year y an old loan has the rate of 31 December y-1.
        year_start = first_of_month((month_of(_DAY).astype(np.int64) // 12) * 12).astype(np.int32)
        before = year_start - 1
        self._january = np.where(before >= FIRST_DAY, self._now[:, place(before)], UNKNOWN).astype(np.int32)
        self._sum_now, self._sum_january = _sums(self._now), _sums(self._january)
        self._next_change = np.stack([_next_change(row) for row in self._now]).ravel()
        # One row of days after the other: a gather by one position is cheaper than by two.
        self._now, self._january = self._now.ravel(), self._january.ravel()
        self._sum_now, self._sum_january = self._sum_now.ravel(), self._sum_january.ravel()

    def on(self, reset: Reset, whose: Whose, day: Int32) -> Int64:
        """Rate in ppm of each loan on each day, UNKNOWN (-1) before its series begins."""
        if reset == "frozen":
            return self._now.take(_at(whose, whose.signed_on)).astype(np.int64)
        if reset == "immediate":
            return self._now.take(_at(whose, np.maximum(day, whose.disbursed_on))).astype(np.int64)
        rate = self._january.take(_at(whose, day))
        first = np.flatnonzero(day < whose.turn)
        if len(first):
            rate[first] = self._now.take(_at(whose.take(first), whose.disbursed_on[first]))
        return rate.astype(np.int64)

    def next_change(self, reset: Reset, whose: Whose, day: Int32) -> Int32:
        """The first day after `day` on which the rate of the loan may differ; FAR when none follows."""
        if reset == "frozen":
            return np.full(len(day), FAR, np.int32)
        if reset == "immediate":
            return np.asarray(self._next_change.take(_at(whose, np.maximum(day, whose.disbursed_on))))
        # Within the first calendar year and within each later one the rate stands still.
        return next_january(np.maximum(day, whose.disbursed_on))

    def changes_within(self, reset: Reset, whose: Whose, start: Int32, end: Int32) -> Bool:
        """True where the rate is not the same on every day of [start, end); no `start` lies before the disbursement."""
        if reset == "frozen":
            return np.zeros(len(start), bool)
        if reset == "immediate":
            return np.asarray(self.next_change(reset, whose, start) < end)
        crosses = np.asarray(next_january(start) < end)
        at = np.flatnonzero(crosses)
        if len(at):
            some = whose.take(at)
            # A rate that differs within the period but not between its ends would need two changes a year apart.
            long = end[at] - start[at] > 366
            crosses[at] = long | (self.on(reset, some, start[at]) != self.on(reset, some, end[at] - 1))
        return crosses

    def over(self, reset: Reset, mid_period: MidPeriod, whose: Whose, start: Int32, end: Int32) -> Int64:
        """Sum over the days of [start, end) of the fund rate, in ppm-days: mean rate times days. `old` and `new` take one rate for all.

        UNKNOWN where a rate is not known. `end` > `start`.
        """
        days = (end - start).astype(np.int64)
        if mid_period != "split" or reset == "frozen":
            rate = self.on(reset, whose, start if mid_period != "new" else end - np.int32(1))
            return np.where(rate < 0, UNKNOWN, rate * days)
        turn, sums = (whose.disbursed_on, self._sum_now) if reset == "immediate" else (whose.turn, self._sum_january)
        total = sums.take(_at(whose, end)) - sums.take(_at(whose, start))
        early = np.flatnonzero(start < turn)
        if len(early):
            some, a, b, t = whose.take(early), start[early], end[early], turn[early]
            rate = self._now.take(_at(some, some.disbursed_on)).astype(np.int64)
            before = (np.minimum(b, t) - a).astype(np.int64)
            total[early] = before * rate + sums.take(_at(some, np.maximum(b, t))) - sums.take(_at(some, t))
        unknown = self.on(reset, whose, start) < 0
        if unknown.any():
            total[unknown] = UNKNOWN
        return total


def fund_rates(parameters: Parameters) -> FundRates:
    """The tables of `parameters`; those of the parameters asked for last are kept, because a night asks again and again for the same."""
    global _kept
    kept = _kept
    if kept is None or kept[0] is not parameters:
        _kept = kept = (parameters, FundRates(parameters))
    return kept[1]


_kept: tuple[Parameters, FundRates] | None = None


def _at(whose: Whose, day: Int32) -> Int32:
    """Positions in the tables."""
    return np.asarray(whose.series.astype(np.int32) * np.int32(DAYS) + place(day))


def on_series(series: Series, day: Int32) -> Int64:
    """Rate of `series` in ppm on each day, UNKNOWN before it begins."""
    starts = np.array([day_number(d) for d in series.effective_on], np.int64)
    values = np.array([UNKNOWN, *series.ppm], np.int64)
    return np.asarray(values[np.searchsorted(starts, day, "right")])


def _daily(series: Series | None) -> Int32:
    return np.full(DAYS, UNKNOWN, np.int32) if series is None else on_series(series, _DAY).astype(np.int32)


def _sums(daily: Int32) -> Int64:
    """Sums of the rates of all days before each day."""
    sums = np.zeros(daily.shape, np.int64)
    np.cumsum(np.maximum(daily, 0)[:, :-1], axis=1, out=sums[:, 1:], dtype=np.int64)
    return sums


def _next_change(daily: Int32) -> Int32:
    changes = np.flatnonzero(daily[1:] != daily[:-1]) + 1
    following = np.searchsorted(changes, np.arange(DAYS), "right")
    return np.append(_DAY[changes], FAR).astype(np.int32)[following]
