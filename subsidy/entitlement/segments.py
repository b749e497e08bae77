"""Spread over the days inside the window, cut where the fund rate changes (handbook sections 3 and 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from subsidy.calendar import day_number
from subsidy.entitlement.columns import Index, Int32, Int64
from subsidy.entitlement.dates import thirty
from subsidy.entitlement.rates import UNKNOWN, FundRates, Whose, on_series
from subsidy.policy.model import Parameters, RateCapPiece, RuleVersion


@dataclass(slots=True)
class Pieces:
    """Segments as they were cut, for explanations: parallel lists of columns (row place, first day, end, fund rate, spread)."""

    place: list[Index] = field(default_factory=list)
    start: list[Int32] = field(default_factory=list)
    end: list[Int32] = field(default_factory=list)
    rate: list[Int64] = field(default_factory=list)
    spread: list[Int64] = field(default_factory=list)

    def add(self, place: Index, start: Int32, end: Int32, rate: Int64, spread: Int64) -> None:
        """Record one segment of each of some rows."""
        for column, values in zip(
            (self.place, self.start, self.end, self.rate, self.spread), (place, start, end, rate, spread), strict=True
        ):
            column.append(np.asarray(values).copy())  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Periods:
    """Rows to segment: their periods, the part inside the window (never empty), commercial rate, and whose fund rate they meet."""

    accrual_from: Int32
    accrual_to: Int32
    inside_from: Int32
    inside_to: Int32
    commercial: Int64
    whose: Whose


def weight_of(rule: RuleVersion) -> Callable[[Int32, Int32], Int64]:
    """What the days of a segment count: 30/360 days for `spread` and `points` with that day count, else actual days."""
    if rule.method in ("spread", "points") and rule.day_count == "30/360":
        return lambda start, end: (thirty(end) - thirty(start)).astype(np.int64)
    return lambda start, end: (end - start).astype(np.int64)


def cap_of(pieces: tuple[RateCapPiece, ...], parameters: Parameters, accrual_from: Int32) -> Int64:
    """Rate cap in ppm of each row on its first day; UNKNOWN where the cap of that day is not known."""
    starts = np.array([day_number(p.effective_from) for p in pieces], np.int64)
    place = np.searchsorted(starts, accrual_from, "right") - 1
    cap = np.full(len(accrual_from), UNKNOWN, np.int64)
    for number, piece in enumerate(pieces):
        at = np.flatnonzero(place == number)
        if not len(at):
            continue
        if piece.fixed_ppm is not None:
            cap[at] = piece.fixed_ppm
        elif piece.series is not None:
            series = parameters.series.get(piece.series)
            cap[at] = UNKNOWN if series is None else on_series(series, accrual_from[at])
    return cap


def first_rate(rule: RuleVersion, rates: FundRates, periods: Periods) -> Int64:
    """Fund rate of the first segment of each row (`old`, `new`: the one rate of all), UNKNOWN where it is not known."""
    if rule.mid_period == "old":
        return rates.on(rule.fund_rate_reset, periods.whose, periods.accrual_from)
    if rule.mid_period == "new":
        return rates.on(rule.fund_rate_reset, periods.whose, periods.accrual_to - np.int32(1))
    return rates.on(rule.fund_rate_reset, periods.whose, periods.inside_from)


def spread_days(rule: RuleVersion, rates: FundRates, periods: Periods, capped: Int64, first: Int64, pieces: Pieces | None = None) -> Int64:
    """Σ weight_s · max(0, capped commercial rate − fund rate_s) over the segments inside the window, in ppm-days.

    `first` is `first_rate`. Bounded by 2**20 ppm times 2**16 days.
    """
    weight = weight_of(rule)
    start, end = periods.inside_from, periods.inside_to
    spread = np.maximum(capped - first, 0)
    total: Int64 = weight(start, end) * spread
    changing = np.zeros(0, np.intp)
    if rule.mid_period == "split":
        changing = np.flatnonzero(rates.changes_within(rule.fund_rate_reset, periods.whose, start, end))
    if pieces is not None:
        alone = np.setdiff1d(np.arange(len(start)), changing)
        pieces.add(alone, start[alone], end[alone], first[alone], spread[alone])
    if not len(changing):
        return total
    total[changing] = 0
    day = start[changing]
    while len(changing):
        whose = periods.whose.take(changing)
        turn = np.minimum(rates.next_change(rule.fund_rate_reset, whose, day), end[changing])
        rate = rates.on(rule.fund_rate_reset, whose, day)
        part = np.maximum(capped[changing] - rate, 0)
        total[changing] += weight(day, turn) * part
        if pieces is not None:
            pieces.add(changing, day, turn, rate, part)
        more = turn < end[changing]
        changing, day = changing[more], turn[more]
    return total
