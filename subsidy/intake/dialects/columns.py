"""Lines of bytes by columns: parts that stay in the processor's cache, texts picked out of them column by column, and put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from subsidy.facts.hashing import string_buffers
from subsidy.intake.dialects.lines import PART_BYTES
from subsidy.money import Spans

#: Begin and end of each text, shape (rows, fields, 2), row by row without overlap.
Places = NDArray[np.int32]


def whole_lines(utf8: bytes) -> Iterator[NDArray[np.uint8]]:
    """`utf8` in parts of whole lines with their ends; the last line gets one when it lacks it."""
    data, at = np.frombuffer(utf8, np.uint8), 0
    while at < len(data):
        stop = utf8.rfind(b"\n", at, at + PART_BYTES) + 1 or utf8.find(b"\n", at) + 1
        if not stop:
            yield np.append(data[at:], np.uint8(10))
            return
        yield data[at:stop]
        at = stop


def texts_and_gaps(lines: NDArray[np.uint8], places: Places) -> pa.Array:
    """The texts at `places` and what stands between them, in turn. 32-bit places: `lines` are a part, not a file."""
    return pa.Array.from_buffers(pa.string(), max(0, places.size - 1), [None, pa.py_buffer(places), pa.py_buffer(lines)])


def by_column(pieces: pa.Array, rows: int, fields: int) -> pa.Array:
    """The texts of `texts_and_gaps`: the first field of every row, then the second of every row, and so on."""
    return pc.take(pieces, _texts(rows, fields), boundscheck=False)


@lru_cache(maxsize=64)
def _texts(rows: int, fields: int) -> pa.Array:
    return pa.array(np.arange(0, 2 * rows * fields, 2, dtype=np.int32).reshape(rows, fields).T.reshape(-1))


def of_one_shape(lines: NDArray[np.uint8], places: Places, usual: bytes) -> pa.Array | None:
    """The texts column by column, if all that stands outside them is the line `usual` (its end included) over and over; else None."""
    if bool((places[:, :, 0] > places[:, :, 1]).any()):
        return None
    rows, fields = places.shape[:2]
    pieces, head, tail = texts_and_gaps(lines, places), lines[: places[0, 0, 0]], lines[places[-1, -1, 1] :]
    offsets, gaps = string_buffers(pc.take(pieces, pa.array(np.arange(1, len(pieces), 2, dtype=np.int32)), boundscheck=False))
    outside = b"".join((head.tobytes(), gaps[: offsets[-1]].tobytes(), tail.tobytes()))
    return by_column(pieces, rows, fields) if outside == usual * rows else None


def joined(parts: Sequence[pa.Array], fields: int) -> list[Spans]:
    """The columns of parts as `by_column` made them."""
    none = pa.array([], pa.string())
    columns = ([part.slice(i * (len(part) // fields), len(part) // fields) for part in parts] for i in range(fields))
    return [Spans.of(pa.concat_arrays([none, *column])) for column in columns]
