"""Decimal text columns to integers: one pass over the bytes of the whole column, no loop over rows.

Grammar: an optional minus sign, digits without needless leading zeros, optionally a point and digits. Nothing else: no plus sign, blanks,
separators of thousands, exponents, full-width digits. A negative zero is refused, because a sign on nothing says that something is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: Longest text that is looked at; 18 digits with sign and point are the longest that can be valid.
_LONGEST = 24
_MOST_DIGITS = 18
_BLOCK = 1 << 15


@dataclass(frozen=True, slots=True)
class Digits:
    """`unscaled` · 10^-`decimals` is the number of a row; both are 0 where `valid` is False (also for nulls)."""

    unscaled: npt.NDArray[np.int64]
    decimals: npt.NDArray[np.int64]
    valid: npt.NDArray[np.bool_]


def read_digits(column: pa.Array | pa.ChunkedArray, *, sign: bool = True, padded: bool = False, point: bool = True) -> Digits:
    """Read a text column. `sign`: a minus is allowed; `padded`: leading zeros are allowed; `point`: decimals are allowed."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # combine_chunks of a column beyond 2 GB keeps several chunks
        parts = [read_digits(c, sign=sign, padded=padded, point=point) for c in array.chunks]
        return Digits(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("unscaled", "decimals", "valid")))
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        raise TypeError(f"text column expected, got {array.type}")
    rows = len(array)
    unscaled, decimals, valid = np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.zeros(rows, np.bool_)
    if not rows:
        return Digits(unscaled, decimals, valid)
    _, offset_buffer, data_buffer = array.buffers()
    offset_type = np.int64 if pa.types.is_large_string(array.type) else np.int32
    offsets = np.frombuffer(offset_buffer, offset_type, rows + 1, array.offset * np.dtype(offset_type).itemsize).astype(np.int64)
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None and data_buffer.size else np.zeros(1, np.uint8)
    for start in range(0, rows, _BLOCK):
        stop = min(start + _BLOCK, rows)
        unscaled[start:stop], decimals[start:stop], valid[start:stop] = _block(data, offsets[start : stop + 1], sign, padded, point)
    if array.null_count:
        present = array.is_valid().to_numpy(zero_copy_only=False)
        valid &= present
    unscaled[~valid] = 0
    decimals[~valid] = 0
    return Digits(unscaled, decimals, valid)


def _block(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], sign: bool, padded: bool, point: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    begin, end = offsets[:-1], offsets[1:]
    last = len(data) - 1
    length = end - begin
    valid = (length > 0) & (length <= _LONGEST)
    negative = valid & (data[np.minimum(begin, last)] == ord("-"))
    if sign:
        begin = begin + negative
    else:
        valid &= ~negative
    length = np.where(valid, end - begin, 0)
    value = np.zeros(len(begin), np.int64)
    dot = np.full(len(begin), -1, np.int64)  # place of the point
    digits = np.zeros(len(begin), np.int64)
    first = data[np.minimum(begin, last)]
    for place in range(int(length.max(initial=0))):
        char = data[np.minimum(begin + place, last)]
        inside = length > place
        digit = char - np.uint8(ord("0"))
        is_digit = inside & (digit <= 9)
        is_point = inside & (char == ord("."))
        valid &= ~inside | is_digit | is_point
        # Beyond 18 digits the value wraps, and the row is refused below.
        value = np.where(is_digit, value * 10 + digit, value)
        digits += is_digit
        valid &= ~(is_point & (dot >= 0))
        dot = np.where(is_point, place, dot)
    whole = np.where(dot >= 0, dot, length)
    decimals = np.where(dot >= 0, length - dot - 1, 0)
    valid &= (whole > 0) & (digits <= _MOST_DIGITS) & ((dot < 0) | (decimals > 0))
    if not padded:
        valid &= (whole == 1) | (first != ord("0"))
    if not point:
        valid &= dot < 0
    valid &= ~(negative & (value == 0))
    return np.where(negative, -value, value), decimals, valid
