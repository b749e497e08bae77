"""Which rule version applies to which row: the one in force on its accrual_from (handbook section 4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np

from subsidy.calendar import day_number
from subsidy.entitlement.book import Book
from subsidy.entitlement.codes import Problem
from subsidy.entitlement.columns import FAR, Bool, Index, Int32
from subsidy.policy.model import RuleVersion

Version = np.ndarray[tuple[int], np.dtype[np.int16]]


def version_of(book: Book) -> Version:
    """Position in `policy.rules` of each row's version; -1 where none covers its accrual_from (the row is quarantined)."""
    rules = book.policy.rules
    version = in_force([r.effective_from for r in rules], [r.effective_to for r in rules], book.rows.accrual_from)
    rows = book.rows
    outside = version < 0
    if outside.any():
        rows.problem[outside & (rows.problem == 0) & ~rows.reversed] = Problem.RULE_MISSING
    return version


def in_force(starts: Sequence[date], ends: Sequence[date | None], days: Int32) -> Version:
    """Position of the piece [start, end) that covers each day, -1 where none does. Pieces ascend."""
    first = np.array([day_number(d) for d in starts], np.int64)
    last = np.array([FAR if d is None else day_number(d) for d in ends], np.int64)
    if len(first) == 1:
        return np.where((days >= first[0]) & (days < last[0]), np.int16(0), np.int16(-1))
    place = np.searchsorted(first, days, "right") - 1
    covered = place >= 0
    covered &= days < np.where(covered, last[place], 0) if len(last) else False
    return np.where(covered, place, -1).astype(np.int16)


def each(book: Book, version: Version, among: Bool) -> Iterator[tuple[RuleVersion, Index]]:
    """The versions that occur among the rows `among`, each with the positions of its rows."""
    for number, rule in enumerate(book.policy.rules):
        at = np.flatnonzero(among & (version == number)) if len(book.policy.rules) > 1 else np.flatnonzero(among)
        if len(at):
            yield rule, at
