"""Decimal text columns to integers: passes over the bytes of a block of rows, no loop over rows.

Most amounts have at most sixteen digits and a column writes all of them with the same number of decimals: such rows are read as two
numbers of eight bytes, all rows at once. Every row of which that is not certain is read place by place.

Grammar: an optional minus sign, digits without needless leading zeros, optionally a point and digits. Nothing else: no plus sign, blanks,
separators of thousands, exponents, full-width digits. A negative zero is refused, because a sign on nothing says that something is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsidy.money.spans import Places, Spans, Words, words_at

#: Longest text that is looked at; 18 digits with sign and point are the longest that can be valid.
_LONGEST = 24
_MOST_DIGITS = 18
#: Rows at a time: their columns stay in the processor's cache.
_BLOCK = 1 << 14
#: 10^0 to 10^18.
POWERS: npt.NDArray[np.int64] = np.array([10**i for i in range(_MOST_DIGITS + 1)], np.int64)


@dataclass(frozen=True, slots=True)
class Digits:
    """`unscaled` · 10^-`decimals` is the number of a row; both are 0 where `valid` is False (also for nulls)."""

    unscaled: npt.NDArray[np.int64]
    decimals: npt.NDArray[np.int64]
    valid: npt.NDArray[np.bool_]


def read_digits(column: pa.Array | pa.ChunkedArray | Spans, *, sign: bool = True, padded: bool = False, point: bool = True) -> Digits:
    """Read a text column. `sign`: a minus is allowed; `padded`: leading zeros are allowed; `point`: decimals are allowed."""
    texts = Spans.of(column)
    rows = len(texts)
    unscaled, decimals, valid = np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.zeros(rows, np.bool_)
    for start in range(0, rows, _BLOCK):
        here = slice(start, min(start + _BLOCK, rows))
        unscaled[here], decimals[here], valid[here] = _rows(texts.data, texts.begin[here], texts.end[here], sign, padded, point)
    if not valid.all():
        unscaled[~valid] = 0
        decimals[~valid] = 0
    return Digits(unscaled, decimals, valid)


Block = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]


def _rows(data: npt.NDArray[np.uint8], begin: Places, end: Places, sign: bool, padded: bool, point: bool) -> Block:
    if len(data) < 16:
        return _place_by_place(data, begin, end, sign, padded, point)
    (value, decimals, valid), sure = _word_by_word(data, begin, end, sign, padded, point)
    if not sure.all():
        at = np.flatnonzero(~sure)
        value[at], decimals[at], valid[at] = _place_by_place(data, begin[at], end[at], sign, padded, point)
    return value, decimals, valid


_U = np.uint64
_ZEROS = _U(0x3030303030303030)
#: The last 0 to 8 bytes of a word.
_LAST: Words = np.array([(2**64 - 1) ^ (2 ** (64 - 8 * n) - 1) if n else 0 for n in range(9)], np.uint64)


def _word_by_word(
    data: npt.NDArray[np.uint8], begin: Places, end: Places, sign: bool, padded: bool, point: bool
) -> tuple[Block, npt.NDArray[np.bool_]]:
    """The rows as their last sixteen bytes, with as many decimals as the first row has; and of which rows that is certain."""
    decimals = _decimals(data[begin[0] : end[0]].tobytes()) if point else 0
    first = data.take(begin, mode="clip")
    negative = first == ord("-")
    minus = sign and bool(negative.any())
    if minus:
        begin = begin + negative
        first = data.take(begin, mode="clip")
    length = end - begin
    wide = int(length.max()) > 8
    sure = (length >= (decimals + 2 if decimals else 1)) & (length <= 16)
    low = _words_before(data, end)
    high = _words_before(data, end, 8) if wide else None
    count = length
    if decimals:
        # Take the point out: what stands before it moves up by one byte.
        place = _U(8 * (7 - decimals))
        sure &= ((low >> place) & _U(0xFF)) == _U(ord("."))
        behind = _LAST[decimals]
        moved = low << _U(8)
        moved &= ~behind
        if high is not None:
            moved |= high >> _U(56)
            high <<= _U(8)
        low &= behind
        low |= moved
        count = length - 1
    value = _number(low, np.clip(count, 0, 8) if wide else count, sure)
    if high is not None:
        upper = _number(high, np.clip(count - 8, 0, 8), sure)
        upper *= _U(100_000_000)
        value += upper
    unscaled = value.view(np.int64)
    valid = np.ones(len(begin), np.bool_)
    if not padded:
        valid = (count == decimals + 1) | (first != ord("0"))
    if minus:
        valid &= ~(negative & (unscaled == 0))
        unscaled = np.where(negative, -unscaled, unscaled)
    return (unscaled, np.full(len(begin), decimals, np.int64), valid), sure


def _words_before(data: npt.NDArray[np.uint8], end: Places, gap: int = 0) -> Words:
    """The eight bytes before each place less `gap`; zeros stand before the data."""
    early = int(np.searchsorted(end, 8 + gap))
    words = words_at(data, np.maximum(end - (8 + gap), 0) if early else end - (8 + gap))
    if early:
        before = np.append(np.zeros(8 + gap, np.uint8), data[: 8 + gap])
        words[:early] = words_at(before, end[:early])
    return words


def _decimals(text: bytes) -> int:
    """Decimals of one row, at most as many as leave the point within its last eight bytes."""
    _, point, behind = text.rpartition(b".")
    return min(len(behind), 7) if point else 0


def _number(words: Words, count: Places, sure: npt.NDArray[np.bool_]) -> Words:
    """The last `count` bytes of each word as a number; not `sure` where one of them is no digit. Overwrites `words`."""
    words ^= _ZEROS
    words &= _LAST.take(count)
    if (wrong := _not_digits(words)) is not None:
        sure &= ~wrong
    return _joined(words)


def eight_digits(words: Words) -> tuple[Words, npt.NDArray[np.bool_]]:
    """Eight ASCII digits per word, the first in its lowest byte, as a number; and whether all eight bytes are digits."""
    digits = words ^ _ZEROS
    wrong = _not_digits(digits)
    return _joined(digits), np.ones(len(words), np.bool_) if wrong is None else ~wrong


def _not_digits(digits: Words) -> npt.NDArray[np.bool_] | None:
    """Which words hold a byte that is not 0 to 9; None when none does."""
    high = digits + _U(0x7676767676767676)
    high |= digits
    if not int(np.bitwise_or.reduce(high)) & 0x8080808080808080:
        return None
    wrong: npt.NDArray[np.bool_] = (high & _U(0x8080808080808080)) != 0
    return wrong


def _joined(digits: Words) -> Words:
    """Eight digits, one a byte, as a number; anything where a byte is no digit. Overwrites `digits`."""
    digits *= _U(2561)
    digits >>= _U(8)
    digits &= _U(0x00FF00FF00FF00FF)
    digits *= _U(6553601)
    digits >>= _U(16)
    digits &= _U(0x0000FFFF0000FFFF)
    digits *= _U(42949672960001)
    digits >>= _U(32)
    return digits


def _place_by_place(data: npt.NDArray[np.uint8], begin: Places, end: Places, sign: bool, padded: bool, point: bool) -> Block:
    if not len(data):
        data = np.zeros(1, np.uint8)
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
