"""To which bucket a row belongs: that of its contract, found through the agreement or account it names. Unknown is -1."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from subsidy.facts.hashing import bucket_of, hash64
from subsidy.facts.schema import FactTable
from subsidy.facts.view import same_rows


class Parents:
    """Known keys of one table with their contract numbers, ready to be looked up by column. Later rows win over earlier ones."""

    def __init__(self, known: pa.Table) -> None:
        """`known` has columns ``key`` and ``contract_no``. Holds about 50 bytes a row."""
        keys = known["key"].combine_chunks()
        hashes = hash64(keys)
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._keys = keys.take(pa.array(order)) if len(order) else pa.array([], pa.string())
        contracts = known["contract_no"].combine_chunks()
        self._contracts = contracts.take(pa.array(order)) if len(order) else pa.array([], pa.string())
        self._buckets = bucket_of(self._contracts)

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, column: pa.Array) -> NDArray[np.int64]:
        """Index of each value of `column` among the known keys, -1 where it is not known (or null)."""
        rows = len(column)
        if not rows or not len(self._hashes):
            return np.full(rows, -1, np.int64)
        # Rows of one account usually stand together, and a column names far fewer parents than it has rows.
        encoded = column.dictionary_encode()
        values = encoded.dictionary
        hashes = hash64(values)
        at = np.searchsorted(self._hashes, hashes, side="right") - 1
        found = (at >= 0) & (self._hashes[np.maximum(at, 0)] == hashes)
        candidates = self._keys.take(pa.array(np.maximum(at, 0)))
        same = pc.equal(candidates, values).to_numpy(zero_copy_only=False)
        for i in np.flatnonzero(found & ~same):  # two keys with one hash: look at all of them
            hits = np.flatnonzero(self._hashes == hashes[i])
            exact = [int(h) for h in hits if self._keys[int(h)].as_py() == values[int(i)].as_py()]
            at[i], same[i] = (exact[-1], True) if exact else (0, False)
        index = np.where(found & same, at, -1)
        indices = encoded.indices
        if indices.null_count:
            flat = indices.fill_null(0).to_numpy()
            return np.where(indices.is_valid().to_numpy(zero_copy_only=False), index[flat], -1)
        result: NDArray[np.int64] = index[indices.to_numpy()]
        return result

    def buckets(self, column: pa.Array) -> NDArray[np.int16]:
        """Bucket of each value's contract, -1 where the value is not known."""
        index = self.find(column)
        if not len(self._buckets):
            return np.full(len(column), -1, np.int16)
        return np.where(index >= 0, self._buckets[np.maximum(index, 0)], np.int16(-1)).astype(np.int16)

    def moved(self, column: pa.Array, contracts: pa.Array) -> NDArray[np.bool_]:
        """Where a key is known with another contract number than `contracts` says."""
        index = self.find(column)
        flags = np.zeros(len(column), np.bool_)
        at = np.flatnonzero(index >= 0)
        if len(at):
            known = pa.table({"c": self._contracts.take(pa.array(index[at]))})
            now = pa.table({"c": contracts.take(pa.array(at))})
            flags[at] = ~same_rows(known, now, ("c",))
        return flags


def own_bucket(table: FactTable) -> bool:
    """Whether rows of `table` name their contract themselves."""
    return any(c.name == "contract_no" for c in table.columns)
