"""Which rows are quarantined for what they say by themselves (handbook section 4; docs/interpretations.md, points 7, 22, 24)."""

from __future__ import annotations

import numpy as np

from subsidy.entitlement.book import AMOUNT_LIMIT_FEN, NO_BALANCE, RATE_LIMIT_PPM, Book
from subsidy.entitlement.changes import Changes
from subsidy.entitlement.codes import Problem
from subsidy.entitlement.columns import FAR, NO_DAY, Bool, Index, Int32, integers
from subsidy.entitlement.dates import FIRST_DAY, LAST_DAY

SETTLEMENT = 6

#: Rows whose principal is not known either: what follows them has no running balance.
UNREADABLE = (Problem.FACT_MISSING, Problem.DATE_DOMAIN, Problem.AMOUNT_DOMAIN)


def mark(book: Book, changes: Changes) -> None:
    """Set `problem` of every row that is quarantined by itself. Properly reversed rows and proper reversals are left alone."""
    rows = book.rows
    if book.loans.problem.any():
        _set(book, book.loans.problem[rows.loan] > 0, None)
    _set(book, ~((rows.kind >= 2) & (rows.kind <= SETTLEMENT)), Problem.ROW_KIND)
    _set(book, _outside_dates(book), Problem.DATE_DOMAIN)
    _set(book, _outside_amounts(book), Problem.AMOUNT_DOMAIN)
    _set(book, rows.interest < 0, Problem.NEGATIVE_INTEREST)
    bears = rows.interest != 0
    _set(book, bears & (rows.accrual_to <= rows.accrual_from), Problem.NO_DAYS)
    _set(book, bears & (rows.base <= 0), Problem.NO_PRINCIPAL)
    _set(book, bears & ((rows.rate <= 0) | (rows.rate > RATE_LIMIT_PPM)), Problem.RATE_DOMAIN)
    settled = settled_to(book)
    if len(settled) and settled.min() < FAR:
        _set(book, rows.accrual_to > settled[rows.loan], Problem.AFTER_SETTLEMENT)
    numbered = (rows.kind == 2) | (rows.kind == 4) | (rows.kind == 5)
    _set(book, numbered & (rows.number > term_on(book, changes, rows.loan, rows.due_on)), Problem.ABOVE_TERM)


def live(book: Book) -> Bool:
    """Rows that moved principal: kinds 02 to 06, neither reversal nor reversed (quarantined ones included)."""
    rows = book.rows
    return (rows.kind >= 2) & (rows.kind <= SETTLEMENT) & ~rows.reversal & ~rows.reversed


def settled_to(book: Book) -> Int32:
    """Accrual end of each loan's first live settlement; FAR when it has none."""
    rows = book.rows
    first = np.full(len(book.loans), FAR, np.int32)
    at = np.flatnonzero(live(book) & (rows.kind == SETTLEMENT) & (rows.accrual_to >= FIRST_DAY) & (rows.accrual_to <= LAST_DAY + 1))
    np.minimum.at(first, rows.loan[at], rows.accrual_to[at])
    return first


def term_on(book: Book, changes: Changes, loan: Index | Int32, due_on: Int32) -> Int32:
    """Months of the term in force for an instalment due on `due_on`: that of the contract, or of the last change effective before."""
    term = book.loans.term[loan]
    at = changes.of("term")
    at = at[changes.new_term[at] > 0]
    if not len(at):
        return term
    key = (changes.loan[at].astype(np.int64) << 32) + changes.effective_on[at]
    place = np.searchsorted(key, (loan.astype(np.int64) << 32) + due_on, "left") - 1
    last = at[np.maximum(place, 0)]
    return np.where((place >= 0) & (changes.loan[last] == loan), changes.new_term[last], term).astype(np.int32)


def _outside_dates(book: Book) -> Bool:
    rows, table = book.rows, book.facts["transaction"]
    outside = np.zeros(len(rows), bool)
    for column in (rows.accrual_from, rows.accrual_to, rows.due_on, rows.paid_on):
        if len(column) and (column.min() < FIRST_DAY or column.max() > LAST_DAY):
            outside |= (column < FIRST_DAY) | (column > LAST_DAY)
    booked = integers(table, "booked_on", np.int32, NO_DAY)
    if len(booked) and (booked.min() < FIRST_DAY or booked.max() > LAST_DAY):
        outside |= ((booked < FIRST_DAY) | (booked > LAST_DAY))[rows.source]
    return outside


def _outside_amounts(book: Book) -> Bool:
    rows = book.rows
    outside = np.zeros(len(rows), bool)
    for column in (rows.interest, rows.principal, rows.base, rows.balance_after):
        low = -AMOUNT_LIMIT_FEN if column is rows.interest else 0
        if len(column) and (column.min() < low or column.max() > AMOUNT_LIMIT_FEN):
            bad = (column < low) | (column > AMOUNT_LIMIT_FEN)
            outside |= bad & (column != NO_BALANCE) if column is rows.balance_after else bad
    return outside


def _set(book: Book, where: Bool, problem: Problem | None) -> None:
    """Give `problem` (None: that of the loan) to the rows that have none yet and are not reversed."""
    rows = book.rows
    if not where.any():
        return
    at = np.flatnonzero(where & (rows.problem == 0) & ~rows.reversed)
    rows.problem[at] = book.loans.problem[rows.loan[at]] if problem is None else problem
