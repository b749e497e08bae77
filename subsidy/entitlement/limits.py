"""Limits over time: other subsidies, month, lifetime, in that order (handbook section 4; docs/interpretations.md, points 2 and 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from subsidy.entitlement.book import Book
from subsidy.entitlement.columns import Bool, Index, Int32, Int64, array_of, integers, lookup
from subsidy.entitlement.dates import month_of
from subsidy.entitlement.parts import Parts
from subsidy.entitlement.versions import Version

#: No limit: above every sum over a loan (2**15 rows of 2**44 fen).
NO_LIMIT = 2**60


@dataclass(frozen=True, slots=True)
class Limited:
    """Per row, in fen: what other subsidies pay, and the amount after each limit in turn."""

    other: Int64
    after_other: Int64
    after_month: Int64
    after_life: Int64


def limit(book: Book, parts: Parts, version: Version, figure: Int64, uses: Bool) -> Limited:
    """Limit the figures of the rows that use limits; the others get 0.

    Rows are in order of (loan, accrual end, serial number), which is the order in which limits are used up.
    """
    rows = book.rows
    other = other_subsidies(book)
    if len(other):
        after_other = _beside_others(book, parts, figure * uses, other)
    else:
        # No figure exceeds what its interest so far leaves.
        other, after_other = np.zeros(len(rows), np.int64), figure * uses
    monthly = _per_row([r.monthly_limit_fen for r in book.policy.rules], version, len(rows))
    lifetime = _per_row([r.lifetime_limit_fen for r in book.policy.rules], version, len(rows))
    if monthly is None and lifetime is None:
        return Limited(other, after_other, after_other, after_other)
    used = _opening_paid(book)
    after_month, after_life = after_other, after_other
    if monthly is not None:
        after_month = _closed(after_other, _begins(rows.loan, month_of(rows.accrual_to)), monthly, None)
        after_life = after_month
    if lifetime is not None:
        after_life = _closed(after_month, _begins(rows.loan, None), lifetime, used[rows.loan])
    varied = _varied(book, uses, monthly, lifetime) if len(book.policy.rules) > 1 else np.empty(0, np.intp)
    if len(varied):
        many = np.full(len(rows), NO_LIMIT, np.int64)
        month, life = _in_turn(
            book, varied, after_other, many if monthly is None else monthly, many if lifetime is None else lifetime, used
        )
        at = np.flatnonzero(np.isin(rows.loan, varied))
        after_month, after_life = after_month.copy(), after_life.copy()
        after_month[at], after_life[at] = month[at], life[at]
    return Limited(other, after_other, after_month, after_life)


def other_subsidies(book: Book) -> Int64:
    """Per row: the sum of what other subsidies (TX05) pay for it; an empty column when there are none at all."""
    table, transactions = book.facts["other_subsidy"], book.facts["transaction"]
    if not table.num_rows:
        return np.empty(0, np.int64)
    accounts = array_of(book.facts["account"], "account_no")
    serials = array_of(table, "serial_no").unique()
    own = (lookup(array_of(table, "account_no"), accounts).astype(np.int64) << 32) + lookup(array_of(table, "serial_no"), serials)
    keys, which = np.unique(own, return_inverse=True)
    total = np.zeros(len(keys), np.int64)
    np.add.at(total, which, integers(table, "amount_fen", np.int64))
    account = lookup(array_of(transactions, "account_no"), accounts).astype(np.int64)
    serial = lookup(array_of(transactions, "serial_no"), serials)
    wanted = ((account << 32) + serial)[book.rows.source]
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((keys[place] == wanted) & (serial[book.rows.source] > 0), total[place], 0)


def _beside_others(book: Book, parts: Parts, figure: Int64, other: Int64) -> Int64:
    """Per row: its figure, within what its own interest leaves where another subsidy pays for it, and within what the interest of the rows
    of its instalment so far leaves of others and of what the earlier rows got."""
    after = np.maximum(np.where(other > 0, np.minimum(figure, book.rows.interest - other), figure), 0)
    sizes = np.diff(parts.start)
    several = np.unique(parts.group_of[(other > 0) & (parts.group_of >= 0)])
    several = several[sizes[several] > 1]
    left = parts.interest - parts.so_far(other)
    got = np.zeros(len(several), np.int64)
    for place in range(int(sizes[several].max(initial=0))):
        more = sizes[several] > place
        several, got = several[more], got[more]
        row = parts.rows[parts.start[several] + place]
        after[row] = np.maximum(np.minimum(after[row], left[row] - got), 0)
        got += after[row]
    return after


def _per_row(limits: list[int | None], version: Version, rows: int) -> Int64 | None:
    """Limit of each row's version; None when no version has one."""
    if all(value is None for value in limits):
        return None
    values = np.array([NO_LIMIT if value is None else value for value in limits], np.int64)
    if (values == values[0]).all():
        return np.full(rows, values[0])
    return np.asarray(values[np.maximum(version, 0)])


def _opening_paid(book: Book) -> Int64:
    at, table = book.loans.opening, book.facts["opening"]
    if not table.num_rows:
        return np.zeros(len(book.loans), np.int64)
    return np.where(at >= 0, integers(table, "paid_fen", np.int64)[np.maximum(at, 0)], 0)


def _begins(loan: Index, month: Int32 | None) -> Bool:
    """True for the first row of each loan (and month)."""
    new = np.ones(len(loan), bool)
    new[1:] = loan[1:] != loan[:-1]
    if month is not None:
        new[1:] |= month[1:] != month[:-1]
    return new


def _closed(amount: Int64, begins: Bool, limits: Int64, used: Int64 | None) -> Int64:
    """One limit L used up in order: after rows with sums C the usage is min(C, L), so a row gets min(C, L) − min(C before, L).

    `begins` marks the first row of each run over which sums are taken. `used` (per row, only with runs of loans) is used up before the
    first row of the run. Holds where L is the same for all rows of a run. Sums wrap only between loans; a difference within one is exact.
    """
    room = np.maximum(limits, 0)
    if used is None:
        # Most loans have one row a month: it gets what the limit leaves of it, and only the others need sums.
        result = np.minimum(amount, room)
        more = np.flatnonzero(~(begins & np.append(begins[1:], True)))
        result[more] = _in_runs(amount[more], begins[more], room[more], 0)
        return result
    return _in_runs(amount, begins, room, used)


def _in_runs(amount: Int64, begins: Bool, room: Int64, used: Int64 | int) -> Int64:
    start = np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))
    total = np.cumsum(amount)
    upto = total - (total - amount)[start] + used
    return np.asarray(np.maximum(np.minimum(upto, room) - np.minimum(upto - amount, room), 0))


def _varied(book: Book, uses: Bool, monthly: Int64 | None, lifetime: Int64 | None) -> Index:
    """Loans whose rows do not all have the same limits."""
    at = np.flatnonzero(uses)
    loan = book.rows.loan[at]
    same = loan[1:] == loan[:-1]
    varies = np.zeros(max(len(at) - 1, 0), bool)
    for limits in (monthly, lifetime):
        if limits is not None:
            varies |= same & (limits[at][1:] != limits[at][:-1])
    return np.asarray(np.unique(loan[1:][varies]), np.intp)


def _in_turn(book: Book, loans: Index, amount: Int64, monthly: Int64, lifetime: Int64, used: Int64) -> tuple[Int64, Int64]:
    """The same by turns, row after row of each loan, columns over loans: for limits that change over time."""
    rows = book.rows
    after_month, after_life = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    first, end = np.searchsorted(rows.loan, loans, "left"), np.searchsorted(rows.loan, loans, "right")
    life, spent, current = used[loans].copy(), np.zeros(len(loans), np.int64), np.full(len(loans), -(2**31), np.int64)
    for turn in range(int((end - first).max(initial=0))):
        who = np.flatnonzero(first + turn < end)
        row = first[who] + turn
        month = month_of(rows.accrual_to[row])
        spent[who] = np.where(current[who] == month, spent[who], 0)
        current[who] = month
        after_month[row] = np.minimum(amount[row], np.maximum(monthly[row] - spent[who], 0))
        after_life[row] = np.minimum(after_month[row], np.maximum(lifetime[row] - life[who], 0))
        spent[who] += after_life[row]
        life[who] += after_life[row]
    return after_month, after_life
