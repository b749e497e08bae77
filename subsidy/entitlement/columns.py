"""Arrow columns as integer numpy columns; a missing value is a fill value and a mask, never a float."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]

#: Fill value of a missing date: a day long before any domain.
NO_DAY = -(2**31) + 1
#: Last day number that a 32-bit date can hold; an end that never comes.
FAR = 2**31 - 1


def array_of(table: pa.Table, name: str) -> pa.Array:
    """Column `name` of a table as one Arrow array."""
    column = table.column(name)
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.combine_chunks() if column.num_chunks else pa.array([], column.type)


def integers(table: pa.Table, name: str, dtype: type, fill: int = 0) -> npt.NDArray[Any]:
    """An integer or date column in `dtype`; nulls become `fill`."""
    values = array_of(table, name)
    if pa.types.is_date32(values.type):
        values = values.view(pa.int32())
    if values.null_count:
        values = pc.fill_null(values, fill)
    return np.asarray(values.to_numpy(zero_copy_only=False)).astype(dtype, copy=False)


def present(table: pa.Table, name: str) -> Bool:
    """True where the column has a value."""
    values = array_of(table, name)
    if not values.null_count:
        return np.ones(len(values), bool)
    return np.asarray(pc.is_valid(values).to_numpy(zero_copy_only=False), bool)


def codes(table: pa.Table, name: str, allowed: tuple[str, ...]) -> UInt8:
    """A code column as 1-based positions in `allowed`; 0 for any other value and for nulls."""
    values = array_of(table, name)
    if all(len(code) == 2 and code.isascii() for code in allowed):
        pairs = _pairs(values)
        if pairs is not None:
            positions = np.zeros(1 << 16, np.uint8)
            positions[[int.from_bytes(code.encode(), "little") for code in allowed]] = np.arange(1, len(allowed) + 1)
            return np.asarray(positions[pairs])
    return lookup(values, pa.array(allowed, pa.string()), np.uint8)


def lookup(values: pa.Array, keys: pa.Array, dtype: type = np.int32, in_runs: bool = False) -> npt.NDArray[Any]:
    """Position + 1 of each value in `keys`, 0 where it is not there or null. Unsigned types allowed because 0 means absent.

    `in_runs`: equal values mostly stand together, so one look per run is enough.
    """
    if in_runs and values.null_count == 0 and len(values) > 1024:
        starts = _runs(values)
        if len(starts) * 2 < len(values):
            per_run = lookup(values.take(pa.array(starts)), keys, dtype)
            return np.repeat(per_run, np.diff(np.append(starts, len(values))))
    found = pc.fill_null(pc.index_in(values, value_set=keys, skip_nulls=True), -1)
    return (np.asarray(found.to_numpy(zero_copy_only=False)) + 1).astype(dtype)


def _pairs(values: pa.Array) -> npt.NDArray[np.uint16] | None:
    """A text column of two bytes a value as one integer a value; None when it has another form."""
    if values.null_count or values.type != pa.string() or not len(values):
        return None
    _, places, data = values.buffers()
    offsets = np.frombuffer(places, np.int32)[values.offset : values.offset + len(values) + 1]
    if data is None or not (np.diff(offsets) == 2).all():
        return None
    return np.frombuffer(data, "<u2", len(values), int(offsets[0]))


def _runs(values: pa.Array) -> Index:
    changes = pc.not_equal(values.slice(1), values.slice(0, len(values) - 1)).to_numpy(zero_copy_only=False)
    return np.concatenate([np.zeros(1, np.intp), np.flatnonzero(changes) + 1])


def text_rank(values: pa.Array, at: npt.NDArray[np.integer[Any]]) -> Index:
    """Rank by code points of the texts at the positions `at`; equal texts have equal ranks."""
    taken = values.take(pa.array(at))
    return np.asarray(pc.rank(taken, tiebreaker="dense").to_numpy()).astype(np.intp)


def in_text_order(values: pa.Array, at: Index, before: Bool) -> bool:
    """Whether the texts at the positions `at` ascend wherever `before` (one shorter than `at`) says that two neighbours belong together."""
    pairs = np.flatnonzero(before)
    left, right = values.take(pa.array(at[pairs])), values.take(pa.array(at[pairs + 1]))
    return bool(pc.all(pc.less(left, right)).as_py())
