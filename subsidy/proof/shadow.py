"""The shadow loan: the fund loan that would have run beside the commercial one (handbook section 4)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from subsidy.proof.balance import Balances, Fact, Numbering
from subsidy.proof.dates import monthly_units
from subsidy.proof.rules import FundRate, Unknown, Version

MILLION = 1_000_000
EQUAL_PRINCIPAL = "02"


def half_up(numerator: int, denominator: int) -> int:
    """numerator / denominator to the nearest integer, half away from zero; the denominator is positive."""
    return (2 * numerator + denominator) // (2 * denominator) if numerator >= 0 else -((denominator - 2 * numerator) // (2 * denominator))


@lru_cache(maxsize=4096)
def annuity_factor(rate_ppm: int, months: int) -> tuple[int, int]:
    """m·(1+m)^r / ((1+m)^r − 1) with m = rate / 12, as a fraction; 1/r at rate 0."""
    if rate_ppm == 0:
        return 1, months
    grown, base = (12 * MILLION + rate_ppm) ** months, (12 * MILLION) ** months
    return rate_ppm * grown, 12 * MILLION * (grown - base)


class State(NamedTuple):
    """One shadow instalment: balance before it (after scaling), annuity or principal part, what it pays, ρ and the months left."""

    balance_fen: int
    annuity_fen: int
    interest_fen: int
    principal_fen: int
    rate_ppm: int
    months_left: int


def terms_on(day: date, contract: Fact, changes: Sequence[Fact]) -> tuple[int, str]:
    """Term in months and method that hold for an instalment due on `day`. `changes`: TX03 term changes by day (interpretation 10)."""
    term, method = contract["term_months"], contract["repayment_method"]
    for change in changes:
        if change["effective_on"] < day:
            term = change["new_term_months"] or term
            method = change["new_repayment_method"] or method
    return term, method


class Shadow:
    """The shadow loan of one agreement, advanced instalment by instalment as far as it is asked.

    `groups`: first row of each numbered instalment. `prepayments`: rows of kind 03 in order. `stored`: states of earlier instalments
    (``shadow`` table) to continue from instead of starting at the disbursement.
    """

    def __init__(
        self,
        *,
        start_fen: int,
        contract: Fact,
        disbursed_on: date,
        groups: Mapping[int, Fact],
        odd_rows: Sequence[Fact],
        prepayments: Sequence[Fact],
        changes: Sequence[Fact],
        opening: Fact | None,
        go_live: date,
        numbering: Numbering,
        balances: Callable[[], Balances],
        version_on: Callable[[date], Version],
        fund_rate: Callable[[Version], FundRate],
        stored: Mapping[int, State],
    ) -> None:
        self.contract, self.disbursed_on, self.groups = contract, disbursed_on, groups
        self.changes, self.go_live = changes, go_live
        self.prepayments = prepayments
        self.numbering, self.balances, self.version_on, self.fund_rate = numbering, balances, version_on, fund_rate
        self.opening, self.stored, self.start_fen = opening, stored, start_fen
        before_first = numbering.due(0)
        self.first_day = before_first if any(r["accrual_to"] == before_first for r in odd_rows) else disbursed_on
        self.first = 1
        if opening is not None:
            self.first = max(1, numbering.first_from(go_live) - 1)
            while self.period(self.first)[1] < go_live:  # settled by the opening, like its line
                self.first += 1
        self.known: dict[int, State] = {}
        self._numbers = sorted(k for k in groups if k >= self.first)
        self._latest = list(accumulate((groups[k]["due_on"] for k in self._numbers), max))

    def due(self, k: int) -> date:
        """Due date of instalment k: that of its rows, else by the calendar."""
        row = self.groups.get(k)
        return row["due_on"] if row is not None else self.numbering.due(k)

    def period(self, k: int) -> tuple[date, date]:
        """Accrual period of instalment k: that of its rows, else from the previous due date (or disbursement) to its own."""
        row = self.groups.get(k)
        if row is not None:
            return row["accrual_from"], row["accrual_to"]
        return (self.first_day if k == 1 else self.due(k - 1)), self.due(k)

    def instalment(self, k: int) -> State:
        """State of instalment k. `Unknown` when something it needs is not known, or it fell due before the opening."""
        if k < self.first:
            raise Unknown("SHADOW-UNKNOWN", "hold")
        if k - 1 in self.stored:
            return self._next(k, self.stored[k - 1])
        for j in range(self.first + len(self.known), k + 1):
            self.known[j] = self._next(j, self.known.get(j - 1))
        return self.known[k]

    def _next(self, k: int, before: State | None) -> State:
        due, reach = self.due(k), self._reach(k)
        since = self._since(k)
        term, method = terms_on(reach, self.contract, self.changes)
        months = term - k + 1
        start, end = self.period(k)
        opening = self.opening
        unknown = opening and None in (opening["shadow_balance_fen"], opening["shadow_instalment_fen"])
        if start >= end or months <= 0 or method not in ("01", EQUAL_PRINCIPAL) or unknown:
            raise Unknown("SHADOW-UNKNOWN", "hold")
        version = self.version_on(start)
        fund = self.fund_rate(version)
        rate = fund.on(start)
        rebuild = k == self.first
        if before is not None:
            balance, annuity = before.balance_fen - before.principal_fen, before.annuity_fen
            rebuild = before.rate_ppm != rate
        elif opening is not None:
            balance, annuity = opening["shadow_balance_fen"], opening["shadow_instalment_fen"]
            earlier = max(self.numbering.due(k - 2), self.disbursed_on)
            rebuild = self.fund_rate(self.version_on(earlier)).on(earlier) != rate
        else:
            balance, annuity = self.start_fen, 0
        for row in self.prepayments:
            if since <= row["accrual_to"] < due:
                paid, remains = row["principal_repaid_fen"], self.balances().after(row)
                if paid < 0 or remains < 0:
                    raise Unknown("BALANCE-UNKNOWN", "hold")
                balance, rebuild = half_up(balance * remains, remains + paid), True
        if balance <= 0 < self.start_fen:  # the shadow has ended, the loan goes on
            raise Unknown("SHADOW-UNKNOWN", "hold")
        rebuild = rebuild or (bool(self.changes) and any(since <= change["effective_on"] < reach for change in self.changes))
        if rebuild:
            factor = (1, months) if method == EQUAL_PRINCIPAL else annuity_factor(rate, months)
            annuity = half_up(balance * factor[0], factor[1])
        weighted, days = version.mean_rate(fund, start, end), (end - start).days
        interest = half_up(balance * weighted * monthly_units(start, end, self.numbering.due_day), days * MILLION * 360)
        if months == 1:
            principal = balance
        elif method == EQUAL_PRINCIPAL:
            principal = annuity
        else:
            principal = annuity - half_up(balance * weighted, days * MILLION * 12)
        return State(balance, annuity, interest, principal, rate, months)

    def _since(self, k: int) -> date:
        """First day whose prepayments and changes belong to instalment k: the due date before it."""
        if k > self.first:
            return self._reach(k - 1)
        return date.min if self.opening is None else self.go_live

    def _reach(self, k: int) -> date:
        """The latest due date up to instalment k; due dates that contradict each other must not count an event twice."""
        place = bisect_right(self._numbers, k)
        return max(self.due(k), self._latest[place - 1]) if place else self.due(k)


def state_of(row: Mapping[str, Any]) -> State:
    """A stored row of the ``shadow`` table as a `State`."""
    return State(
        row["balance_before_fen"], row["annuity_fen"], row["interest_fen"], row["principal_fen"], row["rate_ppm"], row["months_left"]
    )
