"""The centre's rules as plain data, made ready for lookups: versions, conditions, rate series, caps, the loan's fund rate."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from datetime import date
from itertools import pairwise
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from subsidy.proof.dates import add_months

Facts = Mapping[str, Any]
Test = Callable[[Facts], bool]
Segment = tuple[date, date, int]

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {"==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}


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
        name = rest[0]
        return lambda facts: bool(facts[name])
    if head == "not":
        inner = condition(rest[0])
        return lambda facts: not inner(facts)
    if head == "in":
        name, allowed = rest[0], frozenset(rest[1])
        return lambda facts: facts[name] in allowed
    if head == "compare":
        operator, name, literal = _OPERATORS[rest[0]], rest[1], rest[2]
        return lambda facts: operator(facts[name], literal)
    parts = [condition(part) for part in rest]
    if head == "and":
        return lambda facts: all(part(facts) for part in parts)
    if head == "or":
        return lambda facts: any(part(facts) for part in parts)
    raise ValueError(f"unknown condition {head!r}")


class Series:
    """A dated rate series."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.days: list[date] = list(data["effective_on"])
        self.ppm: list[int] = list(data["ppm"])

    def on(self, day: date) -> int:
        """ppm on `day`; `Unknown` before the first value."""
        place = bisect_right(self.days, day)
        if place == 0:
            raise Unknown("RATE-UNKNOWN")
        return self.ppm[place - 1]


class FundRate:
    """The fund rate of one loan under one reset rule (handbook section 3)."""

    def __init__(self, series: Series, reset: str, disbursed_on: date, signed_on: date) -> None:
        self.series, self.reset, self.disbursed_on, self.signed_on = series, reset, disbursed_on, signed_on

    def on(self, day: date) -> int:
        """ppm on `day`: of the signing day, of the day itself, or of the last 31 December (up to the year of disbursement: of that day)."""
        if self.reset == "frozen":
            return self.series.on(self.signed_on)
        if self.reset == "immediate":
            return self.series.on(day)
        if day.year <= self.disbursed_on.year:
            return self.series.on(self.disbursed_on)
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
        self.gates = [(condition(g["condition"]), g["outcome"], g["reason"]) for g in data["gates"]]
        suspension = data["suspension"]
        self.suspends: Test | None = condition(suspension["condition"]) if suspension else None
        self.after_cure: str | None = suspension["after_cure"] if suspension else None

    def segments(self, fund: FundRate, start: date, end: date, inside_from: date, inside_to: date) -> list[Segment]:
        """The days of [inside_from, inside_to) with their fund rates; [start, end) is the whole accrual period (`mid_period`)."""
        if self.mid_period == "split":
            return fund.cut(inside_from, inside_to)
        day = start if self.mid_period == "old" else date.fromordinal(end.toordinal() - 1)
        return [(inside_from, inside_to, fund.on(day))]


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
        return FundRate(self.series[name], version.reset, disbursed_on, signed_on)

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

    def payee(self, day: date) -> str:
        """To whom the centre pays under the settlement terms of `day` (before the first: the first)."""
        current = self._terms[0]
        for terms in self._terms:
            if terms["effective_from"] <= day:
                current = terms
        return str(current["payee"])

    def window_end(self, version: Version, start: date, months: int) -> date:
        """start + min(TXQS, months limit) calendar months."""
        limit = version.data["months_limit"]
        return add_months(start, months if limit is None else min(months, limit))
