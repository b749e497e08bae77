"""From the book to its shadow loans and back: which loans need one, where each begins, what each instalment's rows are compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from subsidy.calendar import day_number
from subsidy.entitlement.balance import Balance, first_part_balance
from subsidy.entitlement.book import Book
from subsidy.entitlement.changes import Changes
from subsidy.entitlement.columns import Bool, Index, Int32, Int64, UInt8, integers
from subsidy.entitlement.dates import due_date, month_of
from subsidy.entitlement.domain import live, term_on
from subsidy.entitlement.duedays import nominal_month
from subsidy.entitlement.frame import PREPAYMENT
from subsidy.entitlement.lines import SHADOW
from subsidy.entitlement.parts import Parts
from subsidy.entitlement.rates import FundRates, Whose
from subsidy.entitlement.shadow import (
    KNOWN,
    NO_BALANCE,
    NO_RATE,
    NO_SHADOW,
    Instalments,
    Prepayments,
    Rules,
    ShadowLoans,
    Terms,
    advance,
)


@dataclass(frozen=True, slots=True)
class Shadows:
    """Per instalment of `Parts`: shadow balance before it, its interest and principal, B of its rows, and why they are not known (`KNOWN`:
    they are; `NONE`: the instalment has no shadow). `table` is the state after each instalment, schema `SHADOW`."""

    balance: Int64
    interest: Int64
    principal: Int64
    first_balance: Int64
    unknown: UInt8
    table: pa.Table


NONE = 255


def shadows_of(book: Book, changes: Changes, parts: Parts, balance: Balance, rates: FundRates, needing: Bool) -> Shadows:
    """Run the shadows of the loans that have a row in `needing`, up to their last instalment with rows."""
    loans = book.loans
    count = len(parts)
    zero = np.zeros(count, np.int64)
    result = Shadows(zero, zero.copy(), zero.copy(), zero.copy(), np.full(count, NONE, np.uint8), SHADOW.empty_table())
    wanted = np.zeros(len(loans), bool)
    wanted[book.rows.loan[needing]] = True
    groups = np.flatnonzero(wanted[parts.loan])
    if not len(groups):
        return result
    who = np.unique(parts.loan[groups])
    run, instalments, group_of = _loans(book, changes, parts, groups, who, rates)
    first, first_known = first_part_balance(book, parts, balance)
    result.first_balance[:] = first
    steps = advance(run, instalments, _prepayments(book, balance, who), _terms(book, changes, who), rates, rules_of(book))
    kept = []
    for step in steps:
        has = step.row >= 0
        group = group_of[step.row[has]]
        result.balance[group] = step.balance[has]
        result.interest[group] = step.interest[has]
        result.principal[group] = step.principal[has]
        result.unknown[group] = step.unknown[has]
        kept.append(step)
    result.unknown[(result.unknown == KNOWN) & ~first_known] = NO_BALANCE
    # What the opening has settled has no shadow beside it, whatever instalment it bears.
    settled = book.rows.accrual_to[parts.first[groups]] < day_number(book.policy.go_live)
    result.unknown[groups[settled & (loans.opening[parts.loan[groups]] >= 0)]] = NONE
    return Shadows(result.balance, result.interest, result.principal, first, result.unknown, _table(book, who, kept))


def rules_of(book: Book) -> list[Rules]:
    """How each version takes the fund rate of a shadow's period."""
    return [Rules(day_number(r.effective_from), r.fund_rate_reset, r.mid_period) for r in book.policy.rules]


def whose_of(book: Book, at: Index | Int32) -> Whose:
    """What decides the fund rate of the loans `at`."""
    return book.loans.whose.take(at)


def _loans(
    book: Book, changes: Changes, parts: Parts, groups: Index, who: Index, rates: FundRates
) -> tuple[ShadowLoans, Instalments, Index]:
    rows, loans = book.rows, book.loans
    due_day = np.clip(loans.due_day[who], 1, 31).astype(np.int32)
    local = np.searchsorted(who, parts.loan[groups]).astype(np.int32)
    first_row = parts.first[groups]
    number, due_on = parts.instalment[groups], rows.due_on[first_row]
    # Groups are sorted by (loan, instalment): a loan's first and last known instalments are at its ends.
    low, high = np.searchsorted(local, np.arange(len(who)), "left"), np.searchsorted(local, np.arange(len(who)), "right") - 1
    anchor = (nominal_month(due_on[low], due_day) - number[low]).astype(np.int32)
    first = np.ones(len(who), np.int32)
    start = loans.disbursed_on[who].copy()
    balance = np.minimum(loans.subsidised_fen[who], loans.disbursed_fen[who])
    given, previous = np.full(len(who), -1, np.int64), np.full(len(who), -1, np.int64)
    unknown = np.zeros(len(who), np.uint8)
    _odd_first_rows(book, who, anchor, due_day, start)
    opened = np.flatnonzero(loans.opening[who] >= 0)
    whose = whose_of(book, who)
    if len(opened):
        table, at = book.facts["opening"], loans.opening[who[opened]]
        go_live = day_number(book.policy.go_live)
        named = _Named(local, number, nominal_month(due_on, due_day[local]) - number, low, due_day)
        month = int(month_of(np.array([go_live], np.int32))[0])
        in_month = due_date(np.full(len(opened), month, np.int32), due_day[opened])
        k = np.maximum(month + (in_month < go_live) - anchor[opened] - 1, 1).astype(np.int32)
        # A row says better than the calendar when its period ends: the opening has settled exactly what ends before go_live.
        while (settled := named.day(opened, k, rows.accrual_to[first_row]) < go_live).any():
            k += settled
        first[opened], anchor[opened] = k, named.zero(opened, k)
        since = np.maximum(named.day(opened, k - 1, due_on), loans.disbursed_on[who[opened]])
        start[opened] = np.where(k > 1, since, start[opened])
        before = np.maximum(due_date(named.zero(opened, k - 2) + k - 2, due_day[opened]), loans.disbursed_on[who[opened]])
        previous[opened] = _rate_on(rates, rules_of(book), whose.take(opened), before.astype(np.int32))
        balance[opened] = integers(table, "shadow_balance_fen", np.int64, -1)[at]
        given[opened] = integers(table, "shadow_instalment_fen", np.int64, -1)[at]
        unknown[opened[previous[opened] < 0]] = NO_RATE
        unknown[opened[(balance[opened] < 0) | (given[opened] < 0)]] = NO_SHADOW
    keep = number >= first[local]
    order = np.lexsort((local[keep], number[keep]))
    chosen = groups[keep][order]
    instalments = Instalments(
        loan=local[keep][order],
        instalment=number[keep][order],
        period_from=rows.accrual_from[first_row[keep][order]],
        period_to=rows.accrual_to[first_row[keep][order]],
        due_on=due_on[keep][order],
    )
    term = loans.term[who]
    method = loans.repayment_method[who]
    if len(opened):
        earlier = np.full(len(opened), day_number(book.policy.go_live), np.int32)
        term[opened] = term_on(book, changes, who[opened], earlier)
        method[opened] = _method_on(changes, who[opened], earlier, method[opened])
    run = ShadowLoans(
        balance=np.maximum(balance, 0),
        given=given,
        previous_rate=previous,
        first=first,
        last=number[high],
        term=term,
        method=method,
        due_day=due_day,
        anchor=anchor,
        period_from=start.astype(np.int32),
        unknown=unknown,
        subsidised=np.minimum(loans.subsidised_fen[who], loans.disbursed_fen[who]) > 0,
        whose=whose,
    )
    return run, instalments, chosen


@dataclass(frozen=True, slots=True)
class _Named:
    """The numbered instalments, sorted by (loan, number), and the due dates that they tell: those of an instalment by the nearest numbered
    one before it, else by the loan's first (docs/interpretations.md, point 11). `month_0`: month of due date 0 by each; `low`: the first of
    each loan."""

    loan: Int32
    number: Int32
    month_0: Int32
    low: Index
    due_day: Int32

    def zero(self, loan: Index, k: Int32) -> Int32:
        """Month of due date 0 for instalment `k` of each loan."""
        return self.month_0[self._nearest(loan, k)]

    def day(self, loan: Index, k: Int32, of_rows: Int32) -> Int32:
        """`of_rows` (a day per numbered instalment) of instalment `k` of each loan; its due date by the calendar when it has no rows."""
        at = self._nearest(loan, k)
        return np.where(self.number[at] == k, of_rows[at], due_date(self.month_0[at] + k, self.due_day[loan]))

    def _nearest(self, loan: Index, k: Int32) -> Index:
        key = (self.loan.astype(np.int64) << 11) | self.number
        return np.maximum(np.searchsorted(key, (loan.astype(np.int64) << 11) + k, "right") - 1, self.low[loan])


def _odd_first_rows(book: Book, who: Index, anchor: Int32, due_day: Int32, start: Int32) -> None:
    """A first row of odd days that ends on the due day before due date 1 moves the start of period 1."""
    rows = book.rows
    at = np.flatnonzero(
        live(book) & (rows.problem == 0) & (rows.number <= 0) & ((rows.kind == 2) | (rows.kind == 4) | (rows.kind == 5))
    )
    local = np.searchsorted(who, rows.loan[at])
    mine = local < len(who)
    mine[mine] = who[local[mine]] == rows.loan[at[mine]]
    at, local = at[mine], local[mine]
    day = due_date(anchor, due_day)
    hit = rows.accrual_to[at] == day[local]
    start[local[hit]] = rows.accrual_to[at[hit]]


def _rate_on(rates: FundRates, rules: list[Rules], whose: Whose, day: Int32) -> Int64:
    result = np.empty(len(day), np.int64)
    place = np.maximum(np.searchsorted(np.array([r.since for r in rules]), day, "right") - 1, 0)
    for number, rule in enumerate(rules):
        at = np.flatnonzero(place == number)
        result[at] = rates.on(rule.reset, whose.take(at), day[at])
    return result


def _method_on(changes: Changes, loan: Index, day: Int32, method: UInt8) -> UInt8:
    at = changes.of("term")
    at = at[changes.new_method[at] > 0]
    if not len(at):
        return method
    key = (changes.loan[at].astype(np.int64) << 32) + changes.effective_on[at]
    place = np.searchsorted(key, (loan.astype(np.int64) << 32) + day, "left") - 1
    last = at[np.maximum(place, 0)]
    return np.where((place >= 0) & (changes.loan[last] == loan), changes.new_method[last], method).astype(np.uint8)


def _prepayments(book: Book, balance: Balance, who: Index) -> Prepayments:
    rows, loans = book.rows, book.loans
    at = np.flatnonzero(live(book) & (rows.kind == PREPAYMENT) & (rows.principal != 0))
    local = np.searchsorted(who, rows.loan[at])
    mine = local < len(who)
    mine[mine] = who[local[mine]] == rows.loan[at[mine]]
    # What happened before go_live is in the opening already.
    mine &= (loans.opening[rows.loan[at]] < 0) | (rows.accrual_to[at] >= day_number(book.policy.go_live))
    at, local = at[mine], local[mine]
    remaining, known = balance.remaining(book)
    return Prepayments(
        loan=local.astype(np.int32),
        accrual_to=rows.accrual_to[at],
        prepaid=rows.principal[at],
        remaining=remaining[at],
        known=known[at] & (rows.principal[at] >= 0),
    )


def _terms(book: Book, changes: Changes, who: Index) -> Terms:
    at = changes.of("term")
    local = np.searchsorted(who, changes.loan[at])
    mine = local < len(who)
    mine[mine] = who[local[mine]] == changes.loan[at[mine]]
    mine &= (book.loans.opening[changes.loan[at]] < 0) | (changes.effective_on[at] >= day_number(book.policy.go_live))
    mine &= (changes.new_term[at] > 0) | (changes.new_method[at] > 0)
    at, local = at[mine], local[mine]
    return Terms(local.astype(np.int32), changes.effective_on[at], changes.new_term[at], changes.new_method[at])


def _table(book: Book, who: Index, steps: list) -> pa.Table:  # type: ignore[type-arg]
    if not steps:
        return SHADOW.empty_table()
    good = [np.flatnonzero(s.unknown == KNOWN) for s in steps]
    loan = np.concatenate([who[s.loan[g]] for s, g in zip(steps, good, strict=True)])
    number = np.concatenate([np.full(len(g), s.number, np.int32) for s, g in zip(steps, good, strict=True)])
    order = np.lexsort((number, loan))

    def column(name: str) -> Int64:
        return np.concatenate([getattr(s, name)[g] for s, g in zip(steps, good, strict=True)])[order]

    return pa.Table.from_arrays(
        [
            book.loans.agreement_no.take(pa.array(loan[order])),
            pa.array(number[order]),
            pa.array(column("period_from").astype(np.int32)).cast(pa.date32()),
            pa.array(column("period_to").astype(np.int32)).cast(pa.date32()),
            pa.array(column("balance")),
            pa.array(column("annuity")),
            pa.array(column("interest")),
            pa.array(column("principal")),
            pa.array(column("rate")),
            pa.array(column("months_left").astype(np.int32)),
        ],
        schema=SHADOW,
    )
