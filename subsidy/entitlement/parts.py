"""Instalments paid in parts: rows of one instalment number, assessed on the sum so far in serial order (handbook section 4)."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from subsidy.entitlement.book import Book
from subsidy.entitlement.codes import Problem
from subsidy.entitlement.columns import Index, Int32, Int64, array_of, in_text_order, text_rank


class Parts:
    """`rows`: the rows that belong to an instalment, by (loan, instalment, serial number); instalment g is `rows[start[g]:start[g + 1]]`.

    The sums so far (`interest`, `principal`, `base`) are per row of the book; a row outside has its own amounts as sums. What only shadow
    loans ask for is made when they do.
    """

    def __init__(self, book: Book, rows: Index, start: Index) -> None:
        self.rows, self.start = rows, start
        self._book = book
        self._sums = _Sums(rows, start[:-1], np.diff(start))
        own = book.rows
        self.interest, self.principal, self.base = (self.so_far(column) for column in (own.interest, own.principal, own.base))

    def __len__(self) -> int:
        return len(self.start) - 1

    def so_far(self, values: Int64) -> Int64:
        """Per row of the book the sum of `values` over the row and the earlier rows of its instalment."""
        return self._sums.so_far(values)

    @cached_property
    def group_of(self) -> Int32:
        """Per row of the book the number of its instalment here, -1 for none."""
        group = np.full(len(self._book.rows), -1, np.int32)
        group[self.rows] = np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.start))
        return group

    @property
    def first(self) -> Index:
        """First row of each instalment in serial order."""
        return self.rows[self.start[:-1]]

    @cached_property
    def loan(self) -> Index:
        """Loan of each instalment."""
        return np.asarray(self._book.rows.loan[self.first])

    @cached_property
    def instalment(self) -> Int32:
        """Number of each instalment."""
        return np.asarray(self._book.rows.number[self.first])

    def total_base(self) -> Int64:
        """Interest-bearing principal of all rows of each instalment."""
        return np.asarray(self.base[self.rows[self.start[1:] - 1]])


def group(book: Book) -> Parts:
    """Group the rows that are not set aside; a row that differs from the first of its instalment in from, to or rate is quarantined."""
    rows = book.rows
    numbered = ((rows.kind == 2) | (rows.kind == 4) | (rows.kind == 5)) & (rows.number > 0) & (rows.problem == 0) & ~rows.reversed
    at = np.flatnonzero(numbered)
    # Instalment numbers are at most 1200 here: larger ones are quarantined as above the term.
    key = (rows.loan[at].astype(np.int64) << 11) | rows.number[at]
    if (key[1:] < key[:-1]).any():
        order = np.argsort(key, kind="stable")
        at, key = at[order], key[order]
    at = _by_serial(book, at, key)
    starts = _starts(key)
    if len(starts) < len(at):
        several = _Sums(at, starts, np.diff(np.append(starts, len(at))))
        own, first = several.at, np.repeat(several.at[several.first], several.sizes)
        differs = (
            (rows.accrual_from[own] != rows.accrual_from[first])
            | (rows.accrual_to[own] != rows.accrual_to[first])
            | (rows.rate[own] != rows.rate[first])
        )
        if differs.any():
            rows.problem[own[differs]] = Problem.PART_DIFFERS
            keep = rows.problem[at] == 0
            at, key = at[keep], key[keep]
            starts = _starts(key)
    return Parts(book, at, np.append(starts, len(at)))


def differences(parts: Parts, figures: Int64) -> Int64:
    """Figure of each row (a new column) from the figures of the sums so far: less the figures of the earlier parts, never below 0.

    The earlier parts together have the largest earlier figure of a sum, so no part is taken back by a smaller later sum.
    """
    sizes = np.diff(parts.start)
    result = figures.copy()
    if not len(sizes) or sizes.max() == 1:
        return result
    several = np.flatnonzero(sizes > 1)
    highest = figures[parts.rows[parts.start[several]]]
    for place in range(1, int(sizes.max())):
        keep = sizes[several] > place
        several, highest = several[keep], highest[keep]
        row = parts.rows[parts.start[several] + place]
        result[row] = np.maximum(figures[row] - highest, 0)
        highest = np.maximum(highest, figures[row])
    return result


def _starts(key: Int64) -> Index:
    new = np.ones(len(key), bool)
    new[1:] = key[1:] != key[:-1]
    return np.flatnonzero(new)


def _by_serial(book: Book, at: Index, key: Int64) -> Index:
    same = key[1:] == key[:-1]
    serials = array_of(book.facts["transaction"], "serial_no")
    if not same.any() or in_text_order(serials, book.rows.source[at], same):
        return at
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    rank = text_rank(serials, book.rows.source[at[tied]])
    at[tied] = at[tied][np.lexsort((rank, key[tied]))]
    return at


class _Sums:
    """Sums within instalments that have several rows."""

    def __init__(self, at: Index, starts: Index, sizes: Index) -> None:
        several = np.flatnonzero(sizes > 1)
        self.sizes = sizes[several]
        self.first = np.cumsum(self.sizes) - self.sizes
        within = np.arange(int(self.sizes.sum())) - np.repeat(self.first, self.sizes)
        self.at = at[np.repeat(starts[several], self.sizes) + within]

    def so_far(self, values: Int64) -> Int64:
        """Sum of each row and the earlier rows of its instalment."""
        if not len(self.at):
            return values
        own = values[self.at]
        total = np.cumsum(own)
        result = values.copy()
        result[self.at] = total - np.repeat((total - own)[self.first], self.sizes)
        return result
