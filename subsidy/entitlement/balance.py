"""Principal that remains before and after each row (docs/interpretations.md, points 1, 17, 20 and 26)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from subsidy.entitlement.book import NO_BALANCE, TERM_LIMIT_MONTHS, Book
from subsidy.entitlement.codes import Problem
from subsidy.entitlement.columns import FAR, NO_DAY, Bool, Index, Int32, Int64
from subsidy.entitlement.dates import due_date, month_of, place
from subsidy.entitlement.domain import UNREADABLE, live
from subsidy.entitlement.duedays import nominal_month
from subsidy.entitlement.frame import PREPAYMENT, SETTLEMENT
from subsidy.entitlement.parts import Parts
from subsidy.entitlement.status import Statuses


@dataclass(frozen=True, slots=True)
class Balance:
    """Per row of the book: the running balance before and after it, and whether it is known. Where it is not, the amounts are what the
    known rows alone would give."""

    before: Int64
    after: Int64
    known: Bool
    #: Per loan: False when the start was taken from a first known instalment of which parts may be missing, and no later one bears it out.
    started: Bool

    def remaining(self, book: Book) -> tuple[Int64, Bool]:
        """Balance that remains after each row, the bank's own figure first; and whether it is known."""
        sent = book.rows.balance_after != NO_BALANCE
        value = np.where(sent, book.rows.balance_after, self.after)
        return value, (sent | self.known) & (value >= 0)


def balances(book: Book, statuses: Statuses) -> Balance:
    """Running balances of all loans."""
    rows, loans = book.rows, book.loans
    alive = live(book)
    unreadable = alive & np.isin(rows.problem, np.array(UNREADABLE, np.uint8))
    order = _order(book)
    loan = rows.loan[order]
    first = np.searchsorted(loan, np.arange(len(loans) + 1), "left")
    at_start = first[:-1][loan]  # place of the loan's first row in `order`, per place
    principal = np.where(alive & ~unreadable, rows.principal, 0)[order]
    numbered = (
        alive & ((rows.kind == 2) | (rows.kind == 4) | (rows.kind == 5)) & (rows.number > 0) & (rows.problem != Problem.ABOVE_TERM)
    )
    numbered &= rows.number <= TERM_LIMIT_MONTHS
    inst = numbered[order]
    number = np.where(inst, rows.number[order], 0)
    start, first_number, start_known, by_base, status_day = _starts(book, statuses, order, alive[order], inst, number, principal, first)
    paid = _running(principal, at_start)
    after = start[loan] - paid
    distinct = _running(_new_numbers(loan, number, inst), at_start)
    highest = np.maximum.accumulate(loan.astype(np.int64) * 2048 + number) - loan.astype(np.int64) * 2048
    gap = (distinct > 0) & (highest - first_number[loan] + 1 != distinct)
    broken = _running(unreadable[order].astype(np.int64), at_start) > 0
    late = _fell_due_between(book, order, inst, loan, status_day)[loan] & (distinct > 0)
    base = np.where(alive & ~unreadable, rows.base, 0)[order]
    short = _paid_in_part(loan, number, inst, base, after + principal, at_start)
    started = start_known & ~(by_base & ~_borne_out(loan, number, inst, base, after + principal, first_number))
    known = started[loan] & ~gap & ~broken & ~late & ~short
    pre = np.flatnonzero(alive[order] & (rows.kind[order] == PREPAYMENT))
    if len(pre):
        known[pre] &= _next_due(book, order, inst, pre, first, status_day) > rows.accrual_to[order[pre]]
    result = Balance(np.empty(len(rows), np.int64), np.empty(len(rows), np.int64), np.empty(len(rows), bool), started)
    result.after[order], result.before[order], result.known[order] = after, after + principal, known
    return result


def first_part_balance(book: Book, parts: Parts, balance: Balance) -> tuple[Int64, Bool]:
    """B of each instalment (handbook section 4, shadow step 5): what remains after its first row plus that row's principal; and whether
    it is known. Without the bank's figure it is the running balance, which is also certain when the parts together bear exactly that."""
    first = parts.first
    rows = book.rows
    sent = rows.balance_after[first] != NO_BALANCE
    value = np.where(sent, rows.balance_after[first] + rows.principal[first], balance.before[first])
    bears = (parts.total_base() == balance.before[first]) & balance.started[rows.loan[first]]
    known = sent | balance.known[first] | bears
    return value, known & (value > 0)


def _order(book: Book) -> Index:
    """Rows by (loan, accrual_to, instalments before prepayments before settlements, serial number)."""
    rows = book.rows
    late = np.where(rows.kind == PREPAYMENT, 1, np.where(rows.kind == SETTLEMENT, 2, 0))
    key = (rows.loan.astype(np.int64) << 20) + (place(rows.accrual_to).astype(np.int64) << 2) + late
    if (key[1:] >= key[:-1]).all():
        return np.arange(len(rows))
    return np.argsort(key, kind="stable")


def _running(values: Int64, at_start: Index) -> Int64:
    total = np.cumsum(values)
    return total - (total[at_start] - values[at_start])


def _new_numbers(loan: Index, number: Int32, inst: Bool) -> Int64:
    """1 at the first row of each instalment number of a loan, else 0."""
    at = np.flatnonzero(inst)
    key = (loan[at].astype(np.int64) << 11) | number[at]
    order = np.argsort(key, kind="stable")
    new = np.ones(len(at), bool)
    new[1:] = key[order][1:] != key[order][:-1]
    result = np.zeros(len(loan), np.int64)
    result[at[order[new]]] = 1
    return result


def _paid_in_part(loan: Index, number: Int32, inst: Bool, base: Int64, before: Int64, at_start: Index) -> Bool:
    """Whether an instalment other than the row's own has begun and its parts so far bear less principal than was due with its first one."""
    at, new = _by_instalment(loan, number, inst)
    first = np.maximum.accumulate(np.where(new, np.arange(len(at)), 0))
    open_now = _running(base[at], first) < before[at[first]]
    open_before = ~new & np.append(False, open_now[:-1])
    own, change = np.zeros(len(loan), np.int64), np.zeros(len(loan), np.int64)
    own[at] = open_now
    change[at] = open_now.astype(np.int64) - open_before
    return np.asarray(_running(change, at_start) > own)


def _borne_out(loan: Index, number: Int32, inst: Bool, base: Int64, before: Int64, first_number: Int32) -> Bool:
    """Per loan: the rows of an instalment after its first known one bear together just the running balance before them, so that nothing
    of the first one is missing."""
    at, new = _by_instalment(loan, number, inst)
    found = np.zeros(len(first_number), bool)
    if len(at):
        starts = np.flatnonzero(new)
        one = at[starts]
        bears = np.add.reduceat(base[at], starts) == before[one]
        found[loan[one[bears & (number[one] > first_number[loan[one]])]]] = True
    return found


def _by_instalment(loan: Index, number: Int32, inst: Bool) -> tuple[Index, Bool]:
    """The numbered rows by loan and instalment, and which of them is the first of its instalment."""
    at = np.flatnonzero(inst)
    key = (loan[at].astype(np.int64) << 11) | number[at]
    if (key[1:] < key[:-1]).any():
        order = np.argsort(key, kind="stable")
        at, key = at[order], key[order]
    new = np.ones(len(at), bool)
    new[1:] = key[1:] != key[:-1]
    return at, new


def _starts(
    book: Book, statuses: Statuses, order: Index, alive: Bool, inst: Bool, number: Int32, principal: Int64, first: Index
) -> tuple[Int64, Int32, Bool, Bool, Int32]:
    """Per loan: balance before its first row, its first instalment number, whether that start is known, whether it is what the first known
    instalment bears, the day of the TX02 it rests on."""
    rows, loans = book.rows, book.loans
    start, number_one = loans.disbursed_fen.copy(), np.ones(len(loans), np.int32)
    known, assumed, status_day = np.ones(len(loans), bool), np.zeros(len(loans), bool), np.full(len(loans), NO_DAY, np.int32)
    opened = np.flatnonzero((loans.opening >= 0) & (first[1:] > first[:-1]))
    if not len(opened):
        return start, number_one, known, assumed, status_day
    loan = rows.loan[order]
    first_live = _first_where(alive, loan, len(loans))[opened]
    first_inst = _first_where(inst, loan, len(loans))[opened]
    has_inst, has_live = first_inst >= 0, first_live >= 0
    number_one[opened] = np.where(has_inst, number[np.maximum(first_inst, 0)], 1)
    # On the day itself nothing tells whether the balance is that before or after the row; with instalments overdue it contains them.
    begin = rows.accrual_to[order[np.maximum(first_live, 0)]] - np.int32(1)
    status = np.where(has_live, statuses.at(loans.account[opened], begin), -1)
    by_status = (status >= 0) & (statuses.overdue_run[np.maximum(status, 0)] == 0) if len(statuses) else np.zeros(len(opened), bool)
    if by_status.any():
        start[opened[by_status]] = statuses.balance[status[by_status]]
        status_day[opened[by_status]] = statuses.as_of[status[by_status]]
    at = np.flatnonzero(inst & (number == number_one[loan]))
    borne = np.zeros(len(loans), np.int64)
    np.add.at(borne, loan[at], rows.base[order[at]])
    total = np.cumsum(principal)
    earlier = total[np.maximum(first_inst, 0)] - principal[np.maximum(first_inst, 0)] - (total - principal)[first[:-1][opened]]
    by_base = ~by_status & has_inst
    start[opened[by_base]] = (borne[opened] + earlier)[by_base]
    known[opened], assumed[opened] = by_status | has_inst, by_base
    return start, number_one, known, assumed, status_day


def _fell_due_between(book: Book, order: Index, inst: Bool, loan: Index, status_day: Int32) -> Bool:
    """Per loan: an instalment fell due after the TX02 that gives the start and before the loan's first numbered row, so one is missing
    (docs/interpretations.md, point 26)."""
    rows, loans = book.rows, book.loans
    if not len(order):
        return np.zeros(len(loans), bool)
    first = _first_where(inst, loan, len(loans))
    due_day = np.clip(loans.due_day, 1, 31)
    before = due_date(nominal_month(rows.due_on[order[np.maximum(first, 0)]], due_day) - np.int32(1), due_day)
    return np.asarray((first >= 0) & (status_day != NO_DAY) & (before > status_day))


def _first_where(where: Bool, loan: Index, loans: int) -> Index:
    at = np.flatnonzero(where)
    result = np.full(loans, -1, np.intp)
    result[loan[at[::-1]]] = at[::-1]
    return result


def _next_due(book: Book, order: Index, inst: Bool, pre: Index, first: Index, status_day: Int32) -> Int32:
    """Due date of the first instalment that has no row before each prepayment."""
    rows, loans = book.rows, book.loans
    loan = rows.loan[order]
    who = loan[pre]
    due_day = np.clip(loans.due_day[who], 1, 31)
    last = np.maximum.accumulate(np.where(inst, np.arange(len(order)), -1))[pre]
    has = last >= first[:-1][who]
    known = order[_first_where(inst, loan, len(loans))[who]]
    numbered = _first_where(inst, loan, len(loans))[who] >= 0
    by_row = nominal_month(rows.due_on[known], due_day) - (rows.number[known] - 1)
    one = np.where(numbered, by_row, month_of(loans.disbursed_on[who]) + 1)
    month = np.where(has, nominal_month(rows.due_on[order[np.maximum(last, 0)]], due_day) + 1, one)
    # With an opening and no instalment before: what fell due after the TX02 that gives the balance; nothing is missing when the balance was
    # counted back from the first instalment.
    since = status_day[who] + np.int32(1)
    here = due_date(month_of(since), due_day)
    after_status = np.where(here >= since, here, due_date(month_of(since) + 1, due_day))
    after_opening = np.where(status_day[who] == NO_DAY, np.int32(FAR), after_status)
    return np.where((loans.opening[who] >= 0) & ~has, after_opening, due_date(month.astype(np.int32), due_day)).astype(np.int32)
