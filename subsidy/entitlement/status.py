"""TX02 status of loans: the latest on or before a day (handbook section 5; docs/interpretations.md, point 6)."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from subsidy.entitlement.book import Loans
from subsidy.entitlement.columns import FAR, NO_DAY, Index, Int32, Int64, UInt8, array_of, codes, integers, lookup
from subsidy.facts.schema import LOAN_STATUSES, Facts

CONTRIBUTION_CODES = ("01", "02", "03", "04", "05", "06", "99")
STATUSES = tuple(LOAN_STATUSES)


class Statuses:
    """TX02 rows sorted by (account position, as_of). Codes are 1-based positions in `CONTRIBUTION_CODES` and `STATUSES`, 0 when unknown.

    Columns that only a condition reads are made when it does.
    """

    def __init__(self, table: pa.Table, account: Int32, as_of: Int32, key: Int64, source: Index | slice) -> None:
        self._table = table
        self.account, self.as_of, self.key = account, as_of, key
        self._at = source  # all of them, in order: nothing to gather

    @cached_property
    def overdue_run(self) -> Int32:
        """LXYQQS."""
        return integers(self._table, "overdue_run", np.int32)[self._at]

    @cached_property
    def overdue_total(self) -> Int32:
        """LJYQQS."""
        return integers(self._table, "overdue_total", np.int32)[self._at]

    @cached_property
    def balance(self) -> Int64:
        """DKYE in fen, -1 when missing."""
        return integers(self._table, "balance_fen", np.int64, -1)[self._at]

    @cached_property
    def contribution(self) -> UInt8:
        """GJJZHZT."""
        return codes(self._table, "contribution_status", CONTRIBUTION_CODES)[self._at]

    @cached_property
    def status(self) -> UInt8:
        """DKZT."""
        return codes(self._table, "loan_status", STATUSES)[self._at]

    @cached_property
    def source(self) -> Index:
        """Positions in the table of statuses."""
        return np.arange(self._table.num_rows)[self._at]

    def converted(self) -> Index:
        """Positions of the rows on which the loan is converted to a fund loan."""
        says = pc.fill_null(pc.equal(array_of(self._table, "loan_status"), "converted"), False)
        return np.flatnonzero(np.asarray(says.to_numpy(zero_copy_only=False), bool)[self._at])

    def __len__(self) -> int:
        return len(self.key)

    def at(self, account: Int32, day: Int32) -> Index:
        """Position of the latest status of each account on or before each day; -1 when there is none."""
        place = np.searchsorted(self.key, _key(account, day), "right") - 1
        if not len(self.key):
            return place
        found = (place >= 0) & (self.account[np.maximum(place, 0)] == account)
        return np.where(found, place, -1)

    def of_account(self, account: Int32) -> tuple[Index, Index]:
        """First position of each account and one past its last."""
        low = np.full(len(account), NO_DAY, np.int32)
        return np.searchsorted(self.key, _key(account, low), "left"), np.searchsorted(self.key, _key(account + 1, low), "left")


def statuses_of(facts: Facts) -> Statuses:
    """All TX02 rows of known accounts that carry a day."""
    table = facts["status"]
    account = lookup(array_of(table, "account_no"), array_of(facts["account"], "account_no"), in_runs=True) - 1
    as_of = integers(table, "as_of", np.int32, NO_DAY)
    key = _key(account, as_of)
    source: Index | slice = slice(None)
    if len(key) and (account.min() < 0 or as_of.min() == NO_DAY):
        source = np.flatnonzero((account >= 0) & (as_of != NO_DAY))
    sorted_key = key[source]
    if (sorted_key[1:] < sorted_key[:-1]).any():
        source = np.arange(len(key))[source][np.argsort(sorted_key, kind="stable")]
    return Statuses(table, account[source], as_of[source], key[source], source)


def first_converted(statuses: Statuses, loans: Loans) -> Int32:
    """First as_of day on which each loan's account is converted to a fund loan; FAR when none says so."""
    accounts = int(max(loans.account.max(initial=-1), statuses.account.max(initial=-1))) + 1
    first = np.full(accounts + 1, FAR, np.int32)
    at = statuses.converted()
    np.minimum.at(first, statuses.account[at], statuses.as_of[at])
    return np.where(loans.account >= 0, first[np.maximum(loans.account, 0)], np.int32(FAR))


def _key(account: Int32, day: Int32) -> Int64:
    return (account.astype(np.int64) << 32) + day
