"""The first period that repays no principal, when the bank numbers it 1 (docs/interpretations.md, point 11)."""

from __future__ import annotations

import numpy as np

from subsidy.entitlement.book import Book
from subsidy.entitlement.columns import Index
from subsidy.entitlement.dates import FIRST_DAY, LAST_DAY
from subsidy.entitlement.domain import live
from subsidy.entitlement.duedays import nominal_month


def number(book: Book) -> None:
    """Set `number` of every row: that of the bank, 0 for an odd first row; where the bank goes on counting from it, one less."""
    rows, loans = book.rows, book.loans
    alive = live(book)
    part = alive & ((rows.kind == 2) | (rows.kind == 4) | (rows.kind == 5)) & (rows.instalment > 0)
    first = _first(rows.loan, np.flatnonzero(alive), len(loans))
    odd = first[first >= 0]
    odd = odd[part[odd] & (rows.instalment[odd] == 1) & (rows.principal[odd] == 0)]
    odd = odd[rows.base[odd] >= loans.disbursed_fen[rows.loan[odd]]]
    if not len(odd):
        return
    others = part.copy()
    others[odd] = False
    again = np.flatnonzero(others & (rows.instalment == 1))
    of_loan = np.full(len(loans), -1, np.intp)
    of_loan[rows.loan[odd]] = odd
    beside = of_loan[rows.loan[again]]
    same = (beside >= 0) & (rows.accrual_from[again] == rows.accrual_from[beside]) & (rows.accrual_to[again] == rows.accrual_to[beside])
    of_loan[rows.loan[again[same]]] = -1  # a part of an instalment
    odd = odd[of_loan[rows.loan[odd]] >= 0]
    rows.number = rows.instalment.copy()
    rows.number[odd] = 0
    following = _first(rows.loan, np.flatnonzero(others), len(loans))[rows.loan[odd]]
    twice = np.zeros(len(loans), bool)
    twice[rows.loan[again]] = True
    counted = (following >= 0) & ~twice[rows.loan[odd]]
    odd, following = odd[counted], following[counted]
    due_day = np.clip(loans.due_day[rows.loan[odd]], 1, 31)
    months = nominal_month(rows.due_on[following], due_day) - nominal_month(rows.due_on[odd], due_day)
    dated = np.minimum(rows.due_on[odd], rows.due_on[following]) >= FIRST_DAY
    dated &= np.maximum(rows.due_on[odd], rows.due_on[following]) <= LAST_DAY
    shifted = np.zeros(len(loans), bool)
    shifted[rows.loan[odd[dated & (months == rows.instalment[following] - 1)]]] = True
    rows.number[others & shifted[rows.loan]] -= 1


def _first(loan: Index, at: Index, loans: int) -> Index:
    """The first of the positions `at` of each loan, -1 for none."""
    result = np.full(loans, -1, np.intp)
    result[loan[at[::-1]]] = at[::-1]
    return result
