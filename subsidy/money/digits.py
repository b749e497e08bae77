"""Decimal text columns to integers: passes over the bytes of a block of rows, no loop over rows.

Most files write every amount of a column with the same number of decimals: such a block is recognised from its bytes and read by Arrow's
integer parser. Any other block is read place by place.

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
        part = offsets[start : stop + 1]
        block = _uniform(data, part, sign, padded, point) or _block(data, part, sign, padded, point)
        unscaled[start:stop], decimals[start:stop], valid[start:stop] = block
    if array.null_count:
        present = array.is_valid().to_numpy(zero_copy_only=False)
        valid &= present
    if not valid.all():
        unscaled[~valid] = 0
        decimals[~valid] = 0
    return Digits(unscaled, decimals, valid)


Block = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]


def _uniform(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], sign: bool, padded: bool, point: bool) -> Block | None:
    """The block when all its rows are digits with the point at the same distance from the end (or none), else None."""
    begin, end = offsets[:-1], offsets[1:]
    rows = len(begin)
    length = end - begin
    if int(length.min()) < 1 or int(length.max()) > _MOST_DIGITS:
        return None
    text = data[offsets[0] : offsets[-1]]
    others = np.flatnonzero(text - np.uint8(ord("0")) > 9)
    kinds = text[others]
    minus = others[kinds == ord("-")]
    negative = np.zeros(rows, np.bool_)
    starts, ends = begin - offsets[0], end - offsets[0]
    if len(minus):
        negative = text[starts] == ord("-")
        if not sign or int(negative.sum()) != len(minus):
            return None
    points = others if not len(minus) else others[kinds != ord("-")]
    digits, places, decimals = text, offsets - offsets[0], 0
    if len(points):
        if not point or len(points) != rows or bool((text[points] != ord(".")).any()):
            return None
        decimals = int(ends[0]) - int(points[0]) - 1
        if decimals < 1 or not np.array_equal(points, ends - (decimals + 1)) or bool((points < starts).any()):
            return None
        keep = np.ones(len(text), np.bool_)
        keep[points] = False
        digits = text[keep]
        places = places - np.arange(rows + 1)
    whole = length - negative - (decimals + 1 if len(points) else 0)
    valid = whole > 0
    if not padded:
        valid &= (whole == 1) | (text[np.minimum(starts + negative, len(text) - 1)] != ord("0"))
    if not valid.all():
        return None
    numbers = pa.Array.from_buffers(pa.string(), rows, [None, pa.py_buffer(places.astype(np.int32)), pa.py_buffer(digits)])
    value = numbers.cast(pa.int64()).to_numpy()
    return value, np.full(rows, decimals, np.int64), ~(negative & (value == 0))


def _block(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], sign: bool, padded: bool, point: bool) -> Block:
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
