"""Shadow loans: the fund loans that would have run beside, for a whole portfolio at once (handbook section 4, shadow steps 1 to 5).

The loop runs over instalment numbers, each step is columns over loans. Steps are handed out one by one, so that memory is bounded by the
number of loans, not by loans times instalments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from subsidy.entitlement.annuity import MONTHLY, rebuilt
from subsidy.entitlement.columns import Bool, Index, Int32, Int64, UInt8
from subsidy.entitlement.dates import due_date, monthly_360ths
from subsidy.entitlement.duedays import nominal_month
from subsidy.entitlement.rates import FundRates, Whose
from subsidy.money import muldiv_round
from subsidy.policy.model import MidPeriod, Reset

#: Why a shadow is not known (0: it is): a balance that a prepayment needs, the shadow itself, a fund rate.
KNOWN, NO_BALANCE, NO_SHADOW, NO_RATE = 0, 1, 2, 3

_RATE_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Rules:
    """From day `since` on, periods that begin then take the fund rate this way."""

    since: int
    reset: Reset
    mid_period: MidPeriod


@dataclass(slots=True)
class ShadowLoans:
    """Loans to run, one row each. `balance` S in fen before instalment `first`; `given` the instalment of an opening, -1: build it.
    `previous_rate` is ρ of the period before `first` (-1: none). `anchor` is the month (since 1970-01) of due date 0 while no row of a
    later instalment says otherwise; `period_from` the first day of period `first` when it has no row."""

    balance: Int64
    given: Int64
    previous_rate: Int64
    first: Int32
    last: Int32  # last instalment to run
    term: Int32
    method: UInt8  # 1 equal instalment, 2 equal principal; with any other the shadow is not known
    due_day: Int32
    anchor: Int32
    period_from: Int32
    unknown: UInt8
    subsidised: Bool  # some of the loan is: else its shadow is 0 from the beginning
    whose: Whose


@dataclass(frozen=True, slots=True)
class Instalments:
    """Instalments that have rows, sorted by (instalment, loan): their period and due date."""

    loan: Int32
    instalment: Int32
    period_from: Int32
    period_to: Int32
    due_on: Int32


@dataclass(frozen=True, slots=True)
class Prepayments:
    """Prepayments sorted by (loan, order of application): accrual end, prepaid principal p, balance R after it (`known`: both are)."""

    loan: Int32
    accrual_to: Int32
    prepaid: Int64
    remaining: Int64
    known: Bool


@dataclass(frozen=True, slots=True)
class Terms:
    """Changes of term or method, sorted by (loan, effective day): 0 where not changed."""

    loan: Int32
    effective_on: Int32
    new_term: Int32
    new_method: UInt8


@dataclass(frozen=True, slots=True)
class Step:
    """Instalment `number` of the loans `loan`, all columns in that order. `balance` is S after prepayments, before the instalment;
    `rate_days` the sum of the fund rate over the days of the period. Amounts mean nothing where `unknown` > 0.
    `row` is the position in `Instalments` of the instalment's rows, -1 when it has none."""

    number: int
    loan: Index
    row: Int32
    period_from: Int32
    period_to: Int32
    balance: Int64
    annuity: Int64
    interest: Int64
    principal: Int64
    rate: Int64
    rate_days: Int64
    months_left: Int32
    rebuilt: Bool
    unknown: UInt8


def advance(
    loans: ShadowLoans, instalments: Instalments, prepayments: Prepayments, terms: Terms, rates: FundRates, rules: Sequence[Rules]
) -> Iterator[Step]:
    """Run every loan from its first to its last instalment; one `Step` per instalment number.

    `rules` ascend by `since`; the first one also covers all days before it. A shadow that has ended, by its term or its balance, before an
    instalment of the loan is not known from there on (docs/interpretations.md, point 10).
    """
    count = len(loans.balance)
    if not count:
        return
    balance, annuity, rate = loans.balance.copy(), loans.given.copy(), loans.previous_rate.copy()
    term, method, anchor = loans.term.copy(), loans.method.copy(), loans.anchor.copy()
    period_start, unknown = loans.period_from.copy(), loans.unknown.copy()
    row_of = np.full(count, -1, np.int32)
    pre, change = _Queue(prepayments.loan, count), _Queue(terms.loan, count)
    months = nominal_month(instalments.due_on, loans.due_day[instalments.loan])
    by_number = np.searchsorted(instalments.instalment, np.arange(int(loans.last.max()) + 2), "left")
    for number in range(int(loans.first.min()), int(loans.last.max()) + 1):
        at = np.flatnonzero((loans.first <= number) & (loans.last >= number))
        if not len(at):
            continue
        rows = slice(by_number[number], by_number[number + 1])
        paying = instalments.loan[rows]
        row_of[paying] = np.arange(rows.start, rows.stop, dtype=np.int32)
        anchor[paying] = months[rows] - np.int32(number)
        row = row_of[at]
        row_of[paying] = -1
        due = due_date(anchor[at] + np.int32(number), loans.due_day[at])
        start, end = period_start[at], due
        if (row >= 0).all():
            due, start, end = instalments.due_on[row], instalments.period_from[row], instalments.period_to[row]
        elif len(paying):
            has = row >= 0
            due = np.where(has, instalments.due_on[row], due)
            start = np.where(has, instalments.period_from[row], start)
            end = np.where(has, instalments.period_to[row], due)
        period_start[at] = due
        fresh = loans.first[at] == number
        rebuild = fresh & (loans.given[at] < 0)
        _change_terms(change, terms, at, due, term, method, rebuild)
        left, by_principal = term[at] - np.int32(number - 1), method[at] == 2
        strange = ~by_principal & (method[at] != 1)
        unknown[at[((end <= start) | (left <= 0) | strange) & (unknown[at] == KNOWN)]] = NO_SHADOW
        end = np.maximum(end, start + np.int32(1))
        new_rate, rate_days = _rates(rates, rules, loans.whose if len(at) == count else loans.whose.take(at), start, end)
        unknown[at[((new_rate < 0) | (rate_days < 0)) & (unknown[at] == KNOWN)]] = NO_RATE
        new_rate, rate_days, left = np.maximum(new_rate, 0), np.maximum(rate_days, 0), np.maximum(left, 1)
        rebuild |= new_rate != rate[at]
        rate[at] = new_rate
        _prepay(pre, prepayments, at, due, balance, unknown, rebuild)
        unknown[at[(balance[at] <= 0) & loans.subsidised[at] & (unknown[at] == KNOWN)]] = NO_SHADOW
        build = np.flatnonzero(rebuild)
        if len(build):
            who = at[build]
            annuity[who] = rebuilt(balance[who], new_rate[build], left[build], by_principal[build])
        held, instalment = balance[at], annuity[at]
        days = (end - start).astype(np.int64)
        month_interest = muldiv_round((held, rate_days), (days, MONTHLY))
        principal = np.where(by_principal, instalment, instalment - month_interest)
        principal = np.where(left == 1, held, principal)
        year_part = monthly_360ths(start, end, loans.due_day[at]).astype(np.int64)
        interest = month_interest.copy()
        odd = np.flatnonzero(year_part != 30)
        if len(odd):
            interest[odd] = muldiv_round((held[odd], rate_days[odd], year_part[odd]), (days[odd], 360_000_000))
        balance[at] = held - principal
        yield Step(number, at, row, start, end, held, instalment, interest, principal, new_rate, rate_days, left, rebuild, unknown[at])


class _Queue:
    """Per loan, the next of its events; events are sorted by loan."""

    def __init__(self, loan: Int32, loans: int) -> None:
        self.next = np.searchsorted(loan, np.arange(loans), "left")
        self.end = np.searchsorted(loan, np.arange(loans), "right")
        self.waiting = np.flatnonzero(self.end > self.next)

    def due(self, at: Index, places: Int32) -> tuple[Index, Index]:
        """Of the running loans `at`, those that have a next event: (places in `at`, loans)."""
        if not len(self.waiting):
            return self.waiting, self.waiting
        places[at] = np.arange(len(at), dtype=np.int32)
        who = self.waiting[places[self.waiting] >= 0]
        found = places[who].astype(np.intp)
        places[at] = -1
        return found, who


def _prepay(queue: _Queue, events: Prepayments, at: Index, due: Int32, balance: Int64, unknown: UInt8, rebuild: Bool) -> None:
    """Scale by the prepayments whose accrual ends before the due date, one after another."""
    place, who = queue.due(at, np.full(len(balance), -1, np.int32))
    while len(who):
        event = queue.next[who]
        now = events.accrual_to[event] < due[place]
        place, who, event = place[now], who[now], event[now]
        if not len(who):
            break
        prepaid, remaining = events.prepaid[event], events.remaining[event]
        known = events.known[event]
        unknown[who[~known & (unknown[who] == KNOWN)]] = NO_BALANCE
        scale = np.flatnonzero(known & (remaining + prepaid > 0))
        balance[who[scale]] = muldiv_round((balance[who[scale]], remaining[scale]), (remaining[scale] + prepaid[scale],))
        rebuild[place] = True
        queue.next[who] += 1
        more = queue.next[who] < queue.end[who]
        place, who = place[more], who[more]
    queue.waiting = queue.waiting[queue.next[queue.waiting] < queue.end[queue.waiting]]


def _change_terms(queue: _Queue, events: Terms, at: Index, due: Int32, term: Int32, method: UInt8, rebuild: Bool) -> None:
    """Take over the changes that took effect before the due date."""
    place, who = queue.due(at, np.full(len(term), -1, np.int32))
    while len(who):
        event = queue.next[who]
        now = events.effective_on[event] < due[place]
        place, who, event = place[now], who[now], event[now]
        if not len(who):
            break
        new_term, new_method = events.new_term[event], events.new_method[event]
        term[who] = np.where(new_term > 0, new_term, term[who])
        method[who] = np.where(new_method > 0, new_method, method[who])
        rebuild[place] = True
        queue.next[who] += 1
        more = queue.next[who] < queue.end[who]
        place, who = place[more], who[more]
    queue.waiting = queue.waiting[queue.next[queue.waiting] < queue.end[queue.waiting]]


def _rates(rates: FundRates, rules: Sequence[Rules], whose: Whose, start: Int32, end: Int32) -> tuple[Int64, Int64]:
    """ρ (rate on the first day) and the sum of the rate over the days of each period."""
    pieces = np.maximum(np.searchsorted(np.array([r.since for r in rules]), start, "right") - 1, 0)
    if len(rules) == 1 or (pieces == pieces[0]).all():
        rule = rules[int(pieces[0])]
        return rates.on(rule.reset, whose, start), rates.over(rule.reset, rule.mid_period, whose, start, end)
    rate, total = np.zeros(len(start), np.int64), np.zeros(len(start), np.int64)
    for number in np.unique(pieces).tolist():
        at, rule = np.flatnonzero(pieces == number), rules[number]
        some = whose.take(at)
        rate[at] = rates.on(rule.reset, some, start[at])
        total[at] = rates.over(rule.reset, rule.mid_period, some, start[at], end[at])
    return np.asarray(rate), np.asarray(total)
