"""The window of a loan: [start, first unsubsidised day) (handbook section 4; docs/interpretations.md, points 4 and 8)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from subsidy.entitlement.book import Book
from subsidy.entitlement.changes import Changes
from subsidy.entitlement.columns import FAR, Bool, Int32
from subsidy.entitlement.dates import FIRST_DAY, LAST_DAY, months_later
from subsidy.entitlement.status import Statuses, first_converted
from subsidy.entitlement.versions import Version

#: No window is longer; keeps month arithmetic inside 32 bits whatever an agreement says.
_MONTHS_LIMIT = 12 * 200


@dataclass(frozen=True, slots=True)
class Window:
    """Per row: the window, and the part [inside_from, inside_to) of its period that lies in it (empty: equal)."""

    start: Int32
    end: Int32
    inside_from: Int32
    inside_to: Int32

    @property
    def days(self) -> Int32:
        """Days inside, never negative."""
        return self.inside_to - self.inside_from


def window_of(book: Book, changes: Changes, statuses: Statuses, version: Version, stops: Bool) -> Window:
    """The window of each row; `stops` are the rows that met a stop gate."""
    rows, loans = book.rows, book.loans
    start = np.maximum(loans.start_on, loans.disbursed_on)
    last = _ended(book, changes, statuses)
    at = np.flatnonzero(stops)
    np.minimum.at(last, rows.loan[at], rows.due_on[at])
    row_start = start[rows.loan]
    row_end = last[rows.loan]
    limits = [r.months_limit for r in book.policy.rules]
    for limit in dict.fromkeys(limits):
        months = (
            np.clip(loans.subsidy_months, -1, _MONTHS_LIMIT)
            if limit is None
            else np.clip(loans.subsidy_months, -1, min(limit, _MONTHS_LIMIT))
        )
        ends = months_later(np.clip(start, FIRST_DAY, LAST_DAY), np.maximum(months, 0))
        if len(set(limits)) == 1:
            row_end = np.minimum(row_end, ends[rows.loan])
            break
        mine = np.isin(version, [n for n, value in enumerate(limits) if value == limit])
        row_end = np.where(mine, np.minimum(row_end, ends[rows.loan]), row_end)
    inside_from = np.maximum(rows.accrual_from, row_start)
    inside_to = np.maximum(np.minimum(rows.accrual_to, row_end), inside_from)
    return Window(row_start, row_end, inside_from, inside_to)


def _ended(book: Book, changes: Changes, statuses: Statuses) -> Int32:
    """Per loan: the earliest conversion or stop that a fact tells; FAR when none. A TX02 `converted` counts where no TX03 converts."""
    converted = np.full(len(book.loans), FAR, np.int32)
    at = changes.of("convert")
    np.minimum.at(converted, changes.loan[at], changes.effective_on[at])
    converted = np.where(converted == FAR, first_converted(statuses, book.loans), converted)
    at = changes.of("stop")
    np.minimum.at(converted, changes.loan[at], changes.effective_on[at])
    return converted
