"""Suspension, cure and resumption over time (handbook section 5; docs/interpretations.md, points 5 and 19)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from subsidy.entitlement.book import Book
from subsidy.entitlement.changes import KINDS, Changes
from subsidy.entitlement.columns import FAR, NO_DAY, Bool, Index, Int32
from subsidy.entitlement.gates import GateFacts, Sight, holds
from subsidy.entitlement.versions import Version, each


@dataclass(frozen=True, slots=True)
class Episodes:
    """Suspensions, sorted by (loan, begin), none of which overlap: `cure` is FAR while not cured."""

    loan: Int32
    begin: Int32
    cure: Int32


def suspend(book: Book, sight: Sight, changes: Changes, version: Version, asked: Bool) -> tuple[Episodes, Int32]:
    """Find all suspensions and set `suspended`, `cured` and `suspension_count` of `sight`.

    `asked` are the rows that gates are asked of. Returns the suspensions and, per row, the day on which all suspensions that cover it are
    cured (NO_DAY where none covers it, FAR while one is not).
    """
    found = [_by_change(changes), *_by_condition(book, sight, version, asked)]
    loan, begin, cure = (np.concatenate([getattr(e, n) for e in found]) for n in ("loan", "begin", "cure"))
    order = np.lexsort((begin, loan))
    episodes = _joined(Episodes(loan[order], begin[order], cure[order]))
    cured_on = np.full(len(book.rows), NO_DAY, np.int32)
    if not len(order):
        return episodes, cured_on
    first = np.searchsorted(episodes.loan, np.arange(len(book.loans)), "left")
    count = np.bincount(episodes.loan, minlength=len(book.loans))
    at = np.flatnonzero(count[book.rows.loan] > 0)
    for place in range(int(count.max())):
        at = at[count[book.rows.loan[at]] > place]
        episode = first[book.rows.loan[at]] + place
        begun = book.rows.due_on[at] >= episodes.begin[episode]
        sight.suspension_count[at] += begun
        covered = begun & (book.rows.accrual_from[at] < episodes.cure[episode])
        rows = at[covered]
        cured_on[rows] = np.maximum(cured_on[rows], episodes.cure[episode[covered]])
    sight.suspended[:] = cured_on != NO_DAY
    sight.cured[:] = sight.suspended & (cured_on != FAR)
    return episodes, cured_on


def _joined(found: Episodes) -> Episodes:
    """Suspensions that overlap, whatever brought them about, are one: from the first beginning to the last cure."""
    if not len(found.loan):
        return found
    last = np.maximum.accumulate((found.loan.astype(np.int64) << 32) + found.cure)
    starts = np.append(True, (found.loan[1:].astype(np.int64) << 32) + found.begin[1:] >= last[:-1])
    at = np.flatnonzero(starts)
    return Episodes(found.loan[at], found.begin[at], (last[np.append(at[1:], len(last)) - 1] & 0xFFFFFFFF).astype(np.int32))


def _by_change(changes: Changes) -> Episodes:
    """From a suspend that finds the loan not suspended to the next resume."""
    suspend, resume = KINDS.index("suspend") + 1, KINDS.index("resume") + 1
    at = np.flatnonzero((changes.kind == suspend) | (changes.kind == resume))
    loan, kind, day = changes.loan[at], changes.kind[at], changes.effective_on[at]
    again = np.zeros(len(at), bool)
    again[1:] = (loan[1:] == loan[:-1]) & (kind[:-1] == suspend)
    begins = np.flatnonzero((kind == suspend) & ~again)
    resumes = np.flatnonzero(kind == resume)
    following = np.searchsorted(resumes, begins)
    cure = np.full(len(begins), FAR, np.int32)
    has = following < len(resumes)
    ends = resumes[following[has]]
    cure[has] = np.where(loan[ends] == loan[begins[has]], day[ends], FAR)
    return Episodes(loan[begins], day[begins], cure)


def _by_condition(book: Book, sight: Sight, version: Version, asked: Bool) -> list[Episodes]:
    rows = book.rows
    bad_rows = np.zeros(len(rows), bool)
    for rule, at in each(book, version, asked):
        if rule.suspension is not None:
            bad_rows[at] = holds(rule.suspension.condition, GateFacts(sight, at, suspensions=False))
    bad = np.flatnonzero(bad_rows)
    if not len(bad):
        return []
    touched = np.zeros(len(book.loans), bool)
    touched[rows.loan[bad]] = True
    cures_loan, cures_day = _possible_cures(book, sight, version, np.flatnonzero(asked & touched[rows.loan]), touched)
    cure = np.full(len(book.loans), NO_DAY, np.int32)
    found = []
    while len(bad):
        begin = np.full(len(book.loans), FAR, np.int32)
        np.minimum.at(begin, rows.loan[bad], rows.due_on[bad])
        after = cures_day > begin[cures_loan]
        cure = np.full(len(book.loans), FAR, np.int32)
        np.minimum.at(cure, cures_loan[after], cures_day[after])
        loans = np.flatnonzero(begin != FAR).astype(np.int32)
        found.append(Episodes(loans, begin[loans], cure[loans]))
        bad = bad[rows.due_on[bad] >= cure[rows.loan[bad]]]
    return found


def _possible_cures(book: Book, sight: Sight, version: Version, at: Index, touched: Bool) -> tuple[Int32, Int32]:
    """(loan, as_of) of every TX02 of the touched loans on which the condition no longer holds, with the last row due by then."""
    rows, loans, statuses = book.rows, book.loans, sight.statuses
    who = np.flatnonzero(touched & (loans.account >= 0)).astype(np.int32)
    low, high = statuses.of_account(loans.account[who])
    count = high - low
    loan = np.repeat(who, count)
    status = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
    as_of = statuses.as_of[status]
    due_key = (rows.loan[at].astype(np.int64) << 32) + rows.due_on[at]
    order = np.argsort(due_key, kind="stable")
    last = np.searchsorted(due_key[order], (loan.astype(np.int64) << 32) + as_of, "right") - 1
    row = at[order][np.maximum(last, 0)]
    usable = (last >= 0) & (rows.loan[row] == loan)
    loan, status, as_of, row = loan[usable], status[usable], as_of[usable], row[usable]
    over = np.zeros(len(loan), bool)
    for number, rule in enumerate(book.policy.rules):
        mine = np.flatnonzero(version[row] == number)
        if not len(mine):
            continue
        if rule.suspension is None:
            over[mine] = True
            continue
        facts = GateFacts(sight, row[mine], status[mine], suspensions=False)
        over[mine] = ~holds(rule.suspension.condition, facts)
    return loan[over], as_of[over]
