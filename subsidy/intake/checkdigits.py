"""Check digits of identifiers (standards section 4). Whole columns where a file has many distinct values, by rule, never by region lists.

Algorithms of ISO 7064 and Luhn are python-stdnum's; its Chinese modules are not used because they reject some valid numbers.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from stdnum import luhn
from stdnum.iso7064 import mod_11_2, mod_11_10

from subsidy.facts.hashing import string_buffers
from subsidy.intake.days import NONE, days_of

#: GB/T 2260 provinces in use, and Hong Kong, Macau, Taiwan.
_PROVINCES = frozenset(
    f"{n}" for n in (*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71)
)
_USCC = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)

IdVerdict = Literal["ok", "bad", "old", "region"]


def bank_number_ok(number: str) -> bool:
    """联行号: 12 digits, ISO 7064 MOD 11,10."""
    return len(number) == 12 and number.isascii() and number.isdigit() and bool(mod_11_10.is_valid(number))


def identity_number(number: str) -> IdVerdict:
    """居民身份证 (GB 11643). ``old``: 15 digits; ``region``: valid but of a region this list does not know."""
    if len(number) == 15 and number.isascii() and number.isdigit():
        return "old" if _day("19" + number[6:12]) else "bad"
    if len(number) != 18 or not number.isascii() or not number[:17].isdigit() or number[17] not in "0123456789X":
        return "bad"
    if not _day(number[6:14]) or not mod_11_2.is_valid(number):
        return "bad"
    return "ok" if number[:2] in _PROVINCES else "region"


def credit_code_ok(code: str) -> bool:
    """统一社会信用代码 (GB 32100)."""
    if len(code) != 18 or any(c not in _USCC for c in code):
        return False
    total = sum(_USCC.index(c) * w for c, w in zip(code[:17], _USCC_WEIGHTS, strict=True))
    return _USCC[(31 - total % 31) % 31] == code[17]


def card_ok(number: str) -> bool:
    """银行卡: Luhn. Only ever a warning: passbooks and company accounts do not obey it."""
    return number.isascii() and number.isdigit() and bool(luhn.is_valid(number))


_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECK = np.frombuffer(b"10X98765432", np.uint8)
_PROVINCE: NDArray[np.bool_] = np.zeros(100, np.bool_)
_PROVINCE[[int(p) for p in _PROVINCES]] = True


def identity_numbers_ok(numbers: pa.Array) -> NDArray[np.bool_]:
    """Per row: certainly ``ok`` by `identity_number`. Rows that are not sure are False and want the exact look."""
    ok = np.zeros(len(numbers), np.bool_)
    matrix, at = _of_length(numbers, 18)
    if matrix is None:
        return ok
    # Place by place: a place of all rows lies together then.
    digits = np.ascontiguousarray(matrix[:, :17].T) - np.uint8(ord("0"))
    sure: NDArray[np.bool_] = np.ones(len(at), np.bool_)
    if int(digits.max()) > 9:
        sure = digits.max(axis=0) <= 9
        digits[:, ~sure] = 1
    total = np.zeros(len(at), np.uint16)  # at most nine times the sum of the weights
    for place, weight in zip(digits, _ID_WEIGHTS, strict=True):
        total += place * np.uint16(weight)
    sure &= _ID_CHECK.take(total % np.uint16(11)) == matrix[:, 17]
    sure &= _PROVINCE.take(digits[0] * np.uint8(10) + digits[1])
    born = np.zeros(len(at), np.int32)
    for place in digits[6:14]:
        born = born * 10 + place
    ok[at] = sure & (days_of(born) != NONE)
    return ok


def cards_ok(numbers: pa.Array) -> NDArray[np.bool_]:
    """Per row: `card_ok` for numbers of 16 and 19 characters; other lengths are no bank cards and pass."""
    ok = np.ones(len(numbers), np.bool_)
    for length in (16, 19):
        matrix, at = _of_length(numbers, length)
        if matrix is None:
            continue
        digits = matrix.astype(np.int32) - ord("0")
        valid = ((digits >= 0) & (digits <= 9)).all(axis=1)
        doubled = digits[:, length - 2 :: -2] * 2
        total = digits[:, length - 1 :: -2].sum(axis=1) + (doubled - 9 * (doubled > 9)).sum(axis=1)
        ok[at] = valid & (total % 10 == 0)
    return ok


def _of_length(numbers: pa.Array, length: int) -> tuple[NDArray[np.uint8] | None, NDArray[np.int64]]:
    """The bytes of the rows that have exactly `length` of them, and where those rows stand."""
    offsets, data = string_buffers(numbers)
    at = np.flatnonzero(np.diff(offsets) == length)
    if not len(at):
        return None, at
    if len(at) == len(numbers):
        return data[offsets[0] : offsets[-1]].reshape(len(at), length), at
    return data[offsets[at][:, None] + np.arange(length)], at


def _day(text: str) -> bool:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])).year >= 1850
    except ValueError:
        return False
