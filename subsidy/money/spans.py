"""A column of text as places in the bytes it stands in: nothing is copied until somebody wants the texts themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: Places in bytes, 32 or 64 bits wide, as whoever made the column wrote them.
Places = npt.NDArray[np.signedinteger[Any]]
Words = npt.NDArray[np.uint64]


@dataclass(slots=True)
class Spans:
    """Text `i` is ``data[begin[i]:end[i]]``, UTF-8. The texts stand in `data` in their order and do not overlap."""

    data: npt.NDArray[np.uint8]
    begin: Places
    end: Places
    _array: pa.Array | None = field(default=None, repr=False)

    @classmethod
    def of(cls, column: Spans | pa.Array | pa.ChunkedArray) -> Spans:
        """The texts of an Arrow column; null is empty. TypeError when it is no text column."""
        if isinstance(column, Spans):
            return column
        array = column
        if isinstance(column, pa.ChunkedArray):
            # Beyond 2 GB of text one column needs wider places.
            whole = column.cast(pa.large_string()) if pa.types.is_string(column.type) and column.nbytes >= 2**31 else column
            array = whole.chunk(0) if whole.num_chunks == 1 else pa.concat_arrays([pa.array([], whole.type), *whole.chunks])
        if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            raise TypeError(f"text column expected, got {array.type}")
        if array.null_count:
            array = array.fill_null("")
        kind = np.dtype(np.int64 if pa.types.is_large_string(array.type) else np.int32)
        _, places, texts = array.buffers()
        if not len(array) or places is None:
            return cls(np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64), _array=array)
        offsets = np.frombuffer(places, kind, len(array) + 1, array.offset * kind.itemsize)
        data = np.frombuffer(texts, np.uint8) if texts is not None and texts.size else np.zeros(0, np.uint8)
        return cls(data, offsets[:-1], offsets[1:], _array=array)

    def __len__(self) -> int:
        return len(self.begin)

    @property
    def lengths(self) -> Places:
        """Bytes of each text."""
        return self.end - self.begin

    def array(self) -> pa.Array:
        """The texts as an Arrow column."""
        if self._array is None:
            rows = len(self)
            # Texts and what stands between them in turn: Arrow itself then picks the texts.
            offsets = np.empty(2 * rows, np.int32)
            offsets[0::2], offsets[1::2] = self.begin, self.end
            both = pa.Array.from_buffers(pa.string(), max(0, 2 * rows - 1), [None, pa.py_buffer(offsets), pa.py_buffer(self.data)])
            self._array = both.take(pa.array(np.arange(0, 2 * rows, 2, dtype=np.int32)))
        return self._array

    def take(self, at: Places) -> Spans:
        """The texts at ascending indices."""
        return Spans(self.data, self.begin[at], self.end[at])

    def slice(self, start: int, length: int) -> Spans:
        """`length` texts from `start` on."""
        return Spans(self.data, self.begin[start : start + length], self.end[start : start + length])

    def text(self, row: int) -> str:
        """One text."""
        return self.data[self.begin[row] : self.end[row]].tobytes().decode("utf-8")


def words_at(data: npt.NDArray[np.uint8], places: Places) -> Words:
    """The eight bytes from each ascending place on as one number, the first byte lowest. All eight must lie in `data`."""
    if places.ndim == 1 and len(places) > 1:
        step = int(places[1]) - int(places[0])
        if int(places[-1]) - int(places[0]) == step * (len(places) - 1) and bool((places[1:] - places[:-1] == step).all()):
            # Equally spaced: no need to go from place to place.
            return np.ndarray((len(places),), np.dtype("<u8"), data, int(places[0]), (step,)).astype(np.uint64)
    anywhere = np.ndarray((len(data) - 7,), np.dtype("<u8"), data, 0, (1,))
    found: Words = anywhere[places]
    return found
