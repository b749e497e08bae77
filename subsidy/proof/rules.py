"""The centre's rules as plain data, made ready for lookups: versions, conditions, rate series, caps, the loan's fund rate."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from typing import Any

from subsidy.proof.dates import add_months, monthly_units, units

Facts = Mapping[str, Any]
Test = Callable[[Facts], bool]
Segment = tuple[date, date, int]

_COMPARE: dict[str, Callable[[str, Any], Test]] = {
    "==": lambda name, literal: lambda facts: facts[name] == literal,
    "!=": lambda name, literal: lambda facts: facts[name] != literal,
    "<": lambda name, literal: lambda facts: facts[name] < literal,
    "<=": lambda name, literal: lambda facts: facts[name] <= literal,
    ">": lambda name, literal: lambda facts: facts[name] > literal,
    ">=": lambda name, literal: lambda facts: facts[name] >= literal,
}


class Unknown(Exception):
    """A line cannot be computed: its outcome (`quarantined` or `hold`) and the reason code."""

    def __init__(self, reason: str, outcome: str = "quarantined") -> None:
        super().__init__(reason)
        self.reason, self.outcome = reason, outcome


def condition(tree: Any) -> Test:
    """A condition tree (nested tuples, see the policy's plain data) as a function of the named facts."""
    head, *rest = tree
    if head == "true":
        return lambda facts: True
    if head == "fact":
        return itemgetter(rest[0])
    if head == "not":
        inner = condition(rest[0])
        return lambda facts: not inner(facts)
    if head == "in":
        name, allowed = rest[0], frozenset(rest[1])
        return lambda facts: facts[name] in allowed
    if head == "compare":
        return _COMPARE[rest[0]](rest[1], rest[2])
    parts = [condition(part) for part in rest]
    if head == "and":
        return lambda facts: all(part(facts) for part in parts)
    if head == "or":
        return lambda facts: any(part(facts) for part in parts)
    raise ValueError(f"unknown condition {head!r}")


def mentioned(tree: Any) -> set[str]:
    """Names of the facts that a condition tree asks."""
    head, *rest = tree
    if head in ("and", "or", "not"):
        return {name for part in rest for name in mentioned(part)}
    return {rest[1] if head == "compare" else rest[0]} if rest else set()


def known(ppm: int | None) -> int:
    """A rate that must be there; `Unknown` when it is not."""
    if ppm is None:
        raise Unknown("RATE-UNKNOWN")
    return ppm


class Series:
    """A dated rate series."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.days: list[date] = list(data["effective_on"])
        self.ppm: list[int] = list(data["ppm"])

    def find(self, day: date) -> int | None:
        """ppm on `day`; None before the first value."""
        place = bisect_right(self.days, day)
        return self.ppm[place - 1] if place else None

    def on(self, day: date) -> int:
        """ppm on `day`; `Unknown` before the first value."""
        return known(self.find(day))


class FundRate:
    """The fund rate of a loan under one reset rule (handbook section 3). Loans of one year and rate share it.

    `kept_year`, `kept_ppm`: year and rate of the day whose rate the loan keeps: that of its signing (`frozen`), or that of its
    disbursement, to the end of that year (`next_january`). None: the rate of that day is not known. `first_day`: earlier days have the
    rate of this one (`immediate`)."""

    def __init__(self, series: Series, reset: str, kept_year: int, kept_ppm: int | None, first_day: date) -> None:
        self.series, self.reset, self.kept_year, self.kept_ppm, self.first_day = series, reset, kept_year, kept_ppm, first_day

    def on(self, day: date) -> int:
        """ppm on `day`: the kept rate, of the day itself, or of the last 31 December."""
        if self.reset == "immediate":
            return self.series.on(max(day, self.first_day))
        if self.reset == "frozen" or day.year <= self.kept_year:
            return known(self.kept_ppm)
        return self.series.on(date(day.year - 1, 12, 31))

    def cut(self, start: date, end: date) -> list[Segment]:
        """[start, end) cut where the rate can change, each piece with its rate."""
        if self.reset == "immediate":
            days = self.series.days
            inner = days[bisect_right(days, start) : bisect_right(days, end)]
        elif self.reset == "next_january":
            inner = [date(year, 1, 1) for year in range(start.year + 1, end.year + 1)]
        else:
            inner = []
        edges = [start, *(day for day in inner if start < day < end), end]
        return [(a, b, self.on(a)) for a, b in pairwise(edges)]


class Version:
    """One rule version with its conditions ready to ask. `data` is its plain data."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.effective_from: date = data["effective_from"]
        self.method: str = data["method"]
        self.day_count: str = data["day_count"]
        self.reset: str = data["fund_rate_reset"]
        self.mid_period: str = data["mid_period"]
        self.on_balance: bool = data["principal_cap"] == "on_balance"
        self.shadow: bool = self.method in ("shadow_interest", "payment_difference")
        self.by_due_day: bool = self.shadow or (self.method in ("spread", "points") and self.day_count == "monthly")
        self.months_limit: int | None = data["months_limit"]
        self.monthly_limit_fen: int | None = data["monthly_limit_fen"]
        self.lifetime_limit_fen: int | None = data["lifetime_limit_fen"]
        self._gates = [(condition(g["condition"]), g["outcome"], g["reason"]) for g in data["gates"]]
        self._asked = sorted({name for g in data["gates"] for name in mentioned(g["condition"])})
        self._values = itemgetter(*self._asked) if len(self._asked) > 1 else lambda facts: tuple(facts[name] for name in self._asked)
        self.mean_rate = lru_cache(1 << 14)(self._mean_rate)
        # Most rows stand before the gates with the same few values.
        self._first_open = lru_cache(1 << 12)(self._try)
        suspension = data["suspension"]
        self.suspends: Test | None = condition(suspension["condition"]) if suspension else None
        self.after_cure: str | None = suspension["after_cure"] if suspension else None

    def gate(self, facts: Facts) -> tuple[str, str]:
        """Outcome and reason of the first gate whose condition holds; the last one always does."""
        return self._first_open(self._values(facts))

    def _try(self, values: tuple[Any, ...]) -> tuple[str, str]:
        facts = dict(zip(self._asked, values, strict=True))
        for test, outcome, reason in self._gates:
            if test(facts):
                return outcome, "" if outcome == "pay" else reason
        return "", ""

    def units(self, start: date, end: date, due_day: int, a: date, b: date) -> int:
        """Year fraction of the piece [a, b) of a row's period [start, end) in units of 1/base; times the days of the period for `monthly`,
        where it is a share of the whole."""
        return monthly_units(start, end, due_day) * (b - a).days if self.day_count == "monthly" else units(self.day_count, a, b)

    def segments(self, fund: FundRate, start: date, end: date, inside_from: date, inside_to: date) -> list[Segment]:
        """The days of [inside_from, inside_to) with their fund rates; [start, end) is the whole accrual period (`mid_period`)."""
        if self.mid_period == "split":
            return fund.cut(inside_from, inside_to)
        day = start if self.mid_period == "old" else date.fromordinal(end.toordinal() - 1)
        return [(inside_from, inside_to, fund.on(day))]

    def _mean_rate(self, fund: FundRate, start: date, end: date) -> int:
        """m̄ over the whole period, times its days."""
        return sum(ppm * (b - a).days for a, b, ppm in self.segments(fund, start, end, start, end))


class Policy:
    """A centre's policy from its plain data (`dataclasses.asdict` of the policy model)."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.code: str = data["code"]
        self.go_live: date = data["go_live"]
        self.versions = [Version(rule) for rule in data["rules"]]
        self._ends: list[date | None] = [rule["effective_to"] for rule in data["rules"]]
        self._starts = [version.effective_from for version in self.versions]
        self.series = {name: Series(series) for name, series in data["parameters"]["series"].items()}
        self._terms = sorted(data["settlement"], key=lambda terms: terms["effective_from"])
        self._funds: dict[tuple[str, str, int, int | None, date], FundRate] = {}
        # Asked for every row; rows share their days and rates.
        self.payee = lru_cache(1 << 12)(self._payee)
        self.spread = lru_cache(1 << 15)(self._spread)

    def version_on(self, day: date) -> Version:
        """The rule version in force on `day`; `Unknown` when none is."""
        place = bisect_right(self._starts, day) - 1
        end = self._ends[place] if place >= 0 else None
        if place < 0 or (end is not None and day >= end):
            raise Unknown("RULE-MISSING")
        return self.versions[place]

    def version_for_shadow(self, day: date) -> Version:
        """As `version_on`; the shadow of periods before the first version runs under the first."""
        return self.versions[0] if day < self._starts[0] else self.version_on(day)

    def fund_rate(self, version: Version, second_home: bool, short_term: bool, disbursed_on: date, signed_on: date) -> FundRate:
        """The fund rate of a loan: series by home order and tier, reset by the version."""
        name = f"{'SECOND' if second_home else 'FIRST'}_{'LE5' if short_term else 'GT5'}"
        if name not in self.series:
            raise Unknown("RATE-UNKNOWN")
        kept_on = signed_on if version.reset == "frozen" else disbursed_on
        key = name, version.reset, kept_on.year, self.series[name].find(kept_on), disbursed_on if version.reset == "immediate" else date.min
        if key not in self._funds:
            self._funds[key] = FundRate(self.series[name], *key[1:])
        return self._funds[key]

    def _spread(
        self,
        version: Version,
        method: str,
        fund: FundRate,
        rate_ppm: int,
        due_day: int,
        start: date,
        end: date,
        inside_from: date,
        inside_to: date,
    ) -> int:
        """Σ max(0, min(rc, cap) − rf) · weight over the days of a row of [start, end) that lie inside the window, cut where the fund rate
        changes; the weight of a piece is its days for `ratio`, else its year fraction (`Version.units`)."""
        cap = self.cap(version, start)
        charged = rate_ppm if cap is None else min(rate_ppm, cap)
        total = 0
        for a, b, ppm in version.segments(fund, start, end, inside_from, inside_to):
            weight = (b - a).days if method == "ratio" else version.units(start, end, due_day, a, b)
            total += max(0, charged - ppm) * weight
        return total

    def cap(self, version: Version, day: date) -> int | None:
        """The rate cap on the first day of a row; None when the version has none."""
        pieces = version.data["rate_cap"]
        if not pieces:
            return None
        current = [piece for piece in pieces if piece["effective_from"] <= day]
        if not current:
            raise Unknown("RATE-UNKNOWN")
        piece = max(current, key=lambda piece: piece["effective_from"])
        return piece["fixed_ppm"] if piece["fixed_ppm"] is not None else self.series[piece["series"]].on(day)

    def _payee(self, day: date) -> str:
        """To whom the centre pays under the settlement terms of `day` (before the first: the first)."""
        current = self._terms[0]
        for terms in self._terms:
            if terms["effective_from"] <= day:
                current = terms
        return str(current["payee"])

    def window_end(self, version: Version, start: date, months: int) -> date:
        """start + min(TXQS, months limit) calendar months."""
        limit = version.months_limit
        return add_months(start, months if limit is None else min(months, limit))
