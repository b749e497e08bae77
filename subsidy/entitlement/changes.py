"""TX03 changes of the loans of a book, in the order in which they take effect (handbook section 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from subsidy.entitlement.book import TERM_LIMIT_MONTHS, Loans
from subsidy.entitlement.columns import NO_DAY, Index, Int32, UInt8, array_of, codes, integers, lookup, present, text_rank
from subsidy.facts.schema import CHANGE_KINDS, Facts

KINDS = tuple(CHANGE_KINDS)


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes sorted by (loan, effective_on, change number as text). `kind` is 1 + position in `CHANGE_KINDS`; `new_term` and `new_method`
    are 0 where not given; a missing range date is NO_DAY. `source` is the position in the change table."""

    source: Index
    loan: Int32
    effective_on: Int32
    kind: UInt8
    range_from: Int32
    range_to: Int32
    new_term: Int32
    new_method: UInt8

    def of(self, kind: str) -> Index:
        """Positions of the changes of one kind, in order."""
        return np.flatnonzero(self.kind == KINDS.index(kind) + 1)


def changes_of(facts: Facts, loans: Loans) -> Changes:
    """All changes whose agreement is in the book. One without an effective day has no effect (see `findings`)."""
    table = facts["change"]
    if not table.num_rows:
        none = np.empty(0, np.int32)
        code = np.empty(0, np.uint8)
        return Changes(np.empty(0, np.intp), none, none, code, none, none, none, code)
    loan = lookup(array_of(table, "agreement_no"), loans.agreement_no) - 1
    effective_on = integers(table, "effective_on", np.int32, NO_DAY)
    known = np.flatnonzero((loan >= 0) & (effective_on != NO_DAY))
    rank = text_rank(array_of(table, "change_no"), known) if len(known) else known
    at = known[np.lexsort((rank, effective_on[known], loan[known]))]
    new_term = np.where(present(table, "new_term_months"), integers(table, "new_term_months", np.int32, 0), 0)[at]
    return Changes(
        source=at,
        loan=loan[at],
        effective_on=effective_on[at],
        kind=codes(table, "kind", KINDS)[at],
        range_from=integers(table, "range_from", np.int32, NO_DAY)[at],
        range_to=integers(table, "range_to", np.int32, NO_DAY)[at],
        new_term=np.where((new_term >= 1) & (new_term <= TERM_LIMIT_MONTHS), new_term, 0).astype(np.int32),
        new_method=codes(table, "new_repayment_method", ("01", "02", "03", "04", "99"))[at],
    )
