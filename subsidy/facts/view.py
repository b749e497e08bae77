"""Facts as known on a day: the last version of each row, nothing withdrawn.

Order of knowledge is (known_on, file_no, line_no), never a clock. A row replaces an earlier one with the same key; in a table
without a key the whole row and its occurrence number are the key. A withdrawn row hides its key until a later row brings it back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from subsidy.facts.hashing import U64, Places, hash64, hash_int
from subsidy.facts.schema import TABLES, Facts, FactTable
from subsidy.facts.store import Segment, Store


def row_key(table: FactTable) -> tuple[str, ...]:
    """Columns that identify a row of `table`: its key, or every column and the occurrence where there is none."""
    return table.key or (*(c.name for c in table.columns), "occurrence")


def sort_key(table: FactTable) -> tuple[str, ...]:
    """Columns by which a segment of `table` is sorted."""
    return ("bucket", *(table.key or (table.columns[0].name,)), "file_no", "line_no")


def key_hash(rows: pa.Table, columns: Iterable[str]) -> U64:
    """64-bit hash of the `columns` of each row; nulls equal only nulls."""
    state: U64 = np.zeros(rows.num_rows, np.uint64)
    for name in columns:
        column = rows[name]
        if pa.types.is_string(column.type):
            state = hash64(column, state)
        else:
            numbers = column.cast(pa.int32()) if pa.types.is_date32(column.type) else column
            values = numbers.cast(pa.int64()).fill_null(-(2**63)).to_numpy()
            state = hash_int(np.ascontiguousarray(values), state)
    return state


def same_rows(left: pa.Table, right: pa.Table, columns: Iterable[str]) -> NDArray[np.bool_]:
    """Row by row: whether `left` and `right` (same length) agree in `columns`; null equals null."""
    same: NDArray[np.bool_] = np.ones(left.num_rows, np.bool_)
    for name in columns:
        a, b = left[name], right[name]
        equal = pc.equal(a, b).fill_null(False)
        if a.null_count or b.null_count:
            equal = pc.or_(equal, pc.and_(a.is_null(), b.is_null()))
        same &= equal.to_numpy(zero_copy_only=False)
    return same


def view(
    store: Store,
    segments: Sequence[Segment],
    table: str,
    known_on: date,
    buckets: Collection[int] | None = None,
    upto_file_no: int | None = None,
    keys: pa.Table | None = None,
) -> pa.Table:
    """Rows of fact table `table` as known on the business date `known_on`.

    `segments` are rows of the manifest, of any tables. `buckets` limits the rows to those shards, `upto_file_no` to segments of files
    up to that register number, `keys` to rows that agree in all columns of `keys` with one of its rows. A key that has changed in such a
    column is not found under its former value. Result: `FactTable.arrow`, sorted by bucket and key.

    Reads row group by row group; memory is bounded by the rows that remain.
    """
    fact_table = TABLES[table]
    wanted = [s for s in segments if s.table_name == table and s.known_on <= known_on]
    if upto_file_no is not None:
        wanted = [s for s in wanted if s.file_no <= upto_file_no]
    wanted.sort(key=lambda s: (s.known_on, s.file_no, s.path))
    asked = None if keys is None else Asked(keys)
    parts = [part for s in wanted for part in _read(store, s, fact_table, buckets, asked)]
    if not parts:
        return fact_table.arrow.empty_table()
    rows = pa.concat_tables(parts)
    # One segment holds a key once: its writer saw to that.
    kept = rows if len(wanted) == 1 else latest(rows, fact_table)
    kept = kept.filter(pc.invert(kept["withdrawn"]))
    return kept.take(pc.sort_indices(kept, sort_keys=[(c, "ascending") for c in sort_key(fact_table)])).combine_chunks()


def latest(rows: pa.Table, table: FactTable) -> pa.Table:
    """The last row of each key by (known_on, file_no, line_no), withdrawn ones included."""
    if rows.num_rows < 2:
        return rows
    order = np.lexsort([_ints(rows["line_no"]), _ints(rows["file_no"]), _ints(rows["known_on"].cast(pa.int32()))])
    if not np.array_equal(order, np.arange(len(order))):
        rows = rows.take(pa.array(order))
    columns = row_key(table)
    keys = key_hash(rows, columns)
    by_key = np.argsort(keys, kind="stable")
    run_ends = np.append(keys[by_key][1:] != keys[by_key][:-1], True)
    inner = np.flatnonzero(~run_ends)
    if len(inner):
        pairs = same_rows(rows.take(pa.array(by_key[inner])), rows.take(pa.array(by_key[inner + 1])), columns)
        if not pairs.all():
            return _latest_exactly(rows, columns)
    return rows.take(pa.array(np.sort(by_key[run_ends])))


def _latest_exactly(rows: pa.Table, columns: tuple[str, ...]) -> pa.Table:
    """`latest` without hashes, for the day when two keys share one."""
    last = {key: i for i, key in enumerate(zip(*(rows[c].to_pylist() for c in columns), strict=True))}
    return rows.take(pa.array(sorted(last.values())))


def _ints(column: pa.ChunkedArray) -> NDArray[np.int64]:
    values: NDArray[np.int64] = column.cast(pa.int64()).to_numpy()
    return values


class Asked:
    """Rows that are asked for, by the values of some columns."""

    def __init__(self, keys: pa.Table) -> None:
        self.columns: list[str] = keys.column_names
        hashes = key_hash(keys, self.columns)
        hashes[hashes == 0] = 1
        distinct, first = np.unique(hashes, return_index=True)
        self._keys = keys.take(pa.array(first))
        self._places = Places(distinct)
        # Two different keys with one hash would hide each other.
        if not same_rows(self._keys.take(pa.array(self._places.find(hashes))), keys, self.columns).all():
            raise OverflowError("two keys share a 64-bit hash")

    def among(self, rows: pa.Table) -> NDArray[np.bool_]:
        """Which of `rows` (the asked columns, in their order) are asked for."""
        found: NDArray[np.bool_] = np.zeros(rows.num_rows, np.bool_)
        if not self._keys.num_rows:
            return found
        hashes = key_hash(rows, self.columns)
        hashes[hashes == 0] = 1
        index = self._places.find(hashes)
        at = np.flatnonzero(index >= 0)
        if len(at):
            found[at] = same_rows(rows.take(pa.array(at)), self._keys.take(pa.array(index[at])), self.columns)
        return found


def _read(
    store: Store, segment: Segment, table: FactTable, buckets: Collection[int] | None, asked: Asked | None
) -> Iterator[pa.Table]:
    wanted = None if buckets is None else np.unique(np.fromiter(buckets, np.int16))
    if wanted is not None and not len(wanted):
        return
    file = store.read_segment(segment.path)
    try:
        bucket_at = file.schema_arrow.get_field_index("bucket")
        for group in range(file.num_row_groups):
            statistics = file.metadata.row_group(group).column(bucket_at).statistics
            if wanted is not None and statistics is not None and not np.any((wanted >= statistics.min) & (wanted <= statistics.max)):
                continue
            mask = None
            if asked is not None:
                mask = asked.among(file.read_row_group(group, columns=list(asked.columns)).select(asked.columns))
                if not mask.any():
                    continue
            rows = file.read_row_group(group).cast(table.arrow)
            if mask is not None:
                rows = rows.filter(pa.array(mask))
            if wanted is not None:
                rows = rows.filter(pc.is_in(rows["bucket"], value_set=pa.array(wanted, pa.int16())))
            if rows.num_rows:
                yield rows
    finally:
        file.close()


def load(
    store: Store,
    segments: Sequence[Segment],
    known_on: date,
    buckets: Collection[int] | None = None,
    upto_file_no: int | None = None,
    claims: frozenset[str] = frozenset(),
    names: Sequence[str] = tuple(TABLES),
) -> Facts:
    """The tables `names` (all nine) as known on `known_on`, limited to `buckets`; memory is bounded by those buckets."""
    return Facts({name: view(store, segments, name, known_on, buckets, upto_file_no) for name in names}, claims)
