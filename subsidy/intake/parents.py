"""To which bucket a row belongs: that of its contract, found through the agreement or account it names. Unknown is -1."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from subsidy.facts.hashing import U64, Places, bucket_of, hash64
from subsidy.facts.view import same_rows


def _hashes(keys: pa.Array) -> U64:
    """Hashes that are never zero: zero marks a free place."""
    hashes = hash64(keys)
    hashes[hashes == 0] = 1
    return hashes


class Parents:
    """Known keys of one table with their contract numbers, ready to be looked up by column. Later rows win over earlier ones."""

    def __init__(self, known: pa.Table) -> None:
        """`known` has columns ``key`` and ``contract_no``. Holds about 80 bytes a row."""
        keys = known["key"].combine_chunks()
        hashes = _hashes(keys)
        # The last row of each key, in order.
        rows = np.sort(len(hashes) - 1 - np.unique(hashes[::-1], return_index=True)[1])
        self._keys = keys.take(pa.array(rows)) if len(rows) else pa.array([], pa.string())
        contracts = known["contract_no"].combine_chunks()
        self._contracts = contracts.take(pa.array(rows)) if len(rows) else pa.array([], pa.string())
        self._buckets = bucket_of(self._contracts)
        self._places = Places(hashes[rows])
        # Two keys with one hash: such keys, which practically never exist, are kept aside.
        same = pc.equal(self._keys.take(pa.array(self._places.find(hashes))), keys) if len(rows) else pa.array([], pa.bool_())
        self._crowded = {keys[int(i)].as_py() for i in np.flatnonzero(~same.to_numpy(zero_copy_only=False))}
        if self._crowded:
            raise OverflowError("two keys share a 64-bit hash")

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, column: pa.Array) -> NDArray[np.int64]:
        """Index of each value of `column` among the known keys, -1 where it is not known (or null)."""
        rows = len(column)
        if not rows or not len(self._keys):
            return np.full(rows, -1, np.int64)
        filled = column.fill_null("") if column.null_count else column
        index = self._places.find(_hashes(filled))
        same = pc.equal(self._keys.take(pa.array(np.maximum(index, 0))), filled).to_numpy(zero_copy_only=False)
        return np.where(same, index, -1)

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
