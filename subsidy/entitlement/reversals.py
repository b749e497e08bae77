"""Reversals (handbook section 4): a row that names another cancels it in full, or is quarantined."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from subsidy.entitlement.columns import Bool, Int32, array_of, integers, lookup


def reversals_of(table: pa.Table, account: Int32, naming: Bool) -> tuple[Bool, Bool]:
    """Over the transaction table: (rows that properly reverse another, rows properly reversed).

    `account` is the account position of each row, `naming` is true where the row names another. A proper reversal names an existing row of
    the same account that is itself no reversal, with the opposite interest and principal; of several that name one row, the first in serial
    order (as text) counts.
    """
    proper, undone = np.zeros(len(account), bool), np.zeros(len(account), bool)
    rows = np.flatnonzero(naming & (account >= 0))
    if not len(rows):
        return proper, undone
    serials, named = array_of(table, "serial_no"), array_of(table, "reverses").take(pa.array(rows))
    keys = named.unique()
    candidates = np.flatnonzero(np.asarray(pc.is_in(serials, value_set=keys).to_numpy(zero_copy_only=False), bool))
    candidate_key = (account[candidates].astype(np.int64) << 32) + lookup(serials.take(pa.array(candidates)), keys)
    order = np.argsort(candidate_key, kind="stable")
    candidates, candidate_key = candidates[order], candidate_key[order]
    wanted = (account[rows].astype(np.int64) << 32) + lookup(named, keys)
    place = np.searchsorted(candidate_key, wanted)
    found = place < len(candidate_key)
    found[found] = candidate_key[place[found]] == wanted[found]
    rows, target = rows[found], candidates[place[found]]
    interest, principal = integers(table, "interest_fen", np.int64), integers(table, "principal_repaid_fen", np.int64)
    good = ~naming[target] & (interest[rows] == -interest[target]) & (principal[rows] == -principal[target])
    rows, target = rows[good], target[good]
    rank = np.asarray(pc.rank(serials.take(pa.array(rows)), tiebreaker="dense").to_numpy()) if len(rows) else rows
    order = np.lexsort((rank, target))
    rows, target = rows[order], target[order]
    first = np.ones(len(target), bool)
    first[1:] = target[1:] != target[:-1]
    proper[rows[first]] = True
    undone[target[first]] = True
    return proper, undone
