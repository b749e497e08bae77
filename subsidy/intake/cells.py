"""Text columns to typed columns, by the dictionary's types and the profile's units. Nothing is guessed: a cell that does not obey
its grammar is a fault of that row.

A parser takes a text column without nulls ("" is empty) and returns the typed column, null where empty or faulty, and the faults as
(code, row indices, words). Columns with few distinct values are judged once per distinct value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from subsidy.facts.hashing import string_buffers
from subsidy.facts.schema import ARROW, Column
from subsidy.intake import checkdigits
from subsidy.intake.codelists import CODE_LISTS
from subsidy.intake.days import NONE as _BAD_DAY
from subsidy.intake.days import days_of
from subsidy.intake.profile import Profile, Units
from subsidy.money import Parsed, Spans, parse_fen_column, parse_rate_column, parse_yuan_column
from subsidy.money.digits import eight_digits
from subsidy.money.spans import Words, words_at

Rows = NDArray[np.int64]

_EPOCH = date(1970, 1, 1)


@dataclass(slots=True)
class Cells:
    """A parsed column. `faults`: (code, indices of rows, words for the message)."""

    values: pa.Array
    faults: list[tuple[str, Rows, dict[str, object]]] = field(default_factory=list)
    #: Amount columns: the sum of all readable cells, plausible or not, and how many were not readable.
    total: int = 0
    unread: int = 0

    def fault(self, code: str, rows: Rows, **words: object) -> None:
        """Note `code` for `rows` when there are any."""
        if len(rows):
            self.faults.append((code, rows, words))


#: Plausible bands, fen and ppm and counts; both ends allowed.
AMOUNT_BAND = (-(10**13), 10**13)
RATE_BAND = (1_000, 240_000)
DATE_BAND = (date(1990, 1, 1), date(2099, 12, 31))
INTEGER_BANDS: dict[str, tuple[int, int]] = {
    "YDHKR": (1, 31), "DKQS": (1, 480), "TXQS": (1, 480), "XDKQS": (1, 480), "DQQC": (0, 480), "YQQC": (0, 480), "HKQC": (0, 480),
    "LJYQQS": (0, 600), "LXYQQS": (0, 600), "YTQS": (0, 600),
}
#: Amounts that are never negative. A reversal's own amounts are.
NOT_NEGATIVE = frozenset(
    ("TXBJ", "HTDKJE", "DKFFE", "DKYE", "JXBJ", "SYBJ", "YTJE", "YZYE", "YZYHE", "YSZH", "TXJE", "YQBJ", "YQLX", "YQFX")
)
POSITIVE = frozenset(("TXBJ", "HTDKJE", "DKFFE"))
#: Rates that may be zero: rows without interest carry none.
ZERO_RATE = frozenset(("ZXLL",))


def parse(column: Column, text: Spans | pa.Array, profile: Profile) -> Cells:
    """Parse one column of a table by its dictionary kind, the profile's units and code maps."""
    text = Spans.of(text)
    if _constant(text):
        return _repeated(parse(column, text.slice(0, 1), profile), text)
    lengths = text.lengths
    empty: Rows = np.zeros(0, np.int64) if not len(text) or int(lengths.min()) else np.flatnonzero(lengths == 0)
    cells = _PARSERS[column.kind](column, text, empty, profile)
    if column.required and len(empty):
        cells.fault("FIELD-EMPTY", empty)
    return cells


#: Rows that are compared before all of them are.
_FEW = 64


def _constant(text: Spans) -> bool:
    """Whether all rows of a longer column are the same; many columns of real files are."""
    if len(text) < _FEW or not _same(text.slice(0, _FEW)):
        return False
    return _same(text)


def _same(text: Spans) -> bool:
    length = int(text.end[0] - text.begin[0])
    if bool((text.lengths != length).any()):
        return False
    first, last = int(text.begin[0]), int(text.end[-1])
    if last - first == length * len(text):
        # One behind the other: each byte is that of the row before.
        used = text.data[first:last]
        return bool(np.array_equal(used[length:], used[: len(used) - length]))
    value = text.data[first : first + length]
    if length < 8:
        return all(bool((text.data[text.begin + i] == value[i]).all()) for i in range(length))
    # Word by word, the last one from the end.
    for place in (*range(0, length - 7, 8), length - 8):
        if bool((words_at(text.data, text.begin + place) != value[place : place + 8].view("<u8")).any()):
            return False
    return True


def _repeated(one: Cells, text: Spans) -> Cells:
    """The verdict on one row, for all rows of `text`, which are the same."""
    rows, value = len(text), one.values[0]
    same = pa.types.is_string(value.type) and value.as_py() == text.text(0)
    cells = Cells(text.array() if same else pa.repeat(value, rows), total=one.total * rows, unread=one.unread * rows)
    for code, _, words in one.faults:
        cells.fault(code, np.arange(rows), **words)
    return cells


def _without(text: Spans, empty: Rows) -> tuple[Spans, Rows | None]:
    """The non-empty rows and where they stand; None when all rows are."""
    if not len(empty):
        return text, None
    present = np.flatnonzero(text.lengths)
    return text.take(present), present


def _spread(values: NDArray[np.int64], valid: NDArray[np.bool_], present: Rows | None, rows: int, kind: pa.DataType) -> pa.Array:
    if present is not None:
        whole, ok = np.zeros(rows, np.int64), np.zeros(rows, np.bool_)
        whole[present], ok[present] = values, valid
        values, valid = whole, ok
    if valid.all():
        return pa.array(values).cast(kind) if kind != pa.int64() else pa.array(values)
    return pa.array(values, mask=~valid).cast(kind)


def _numbers(
    column: Column, text: Spans, empty: Rows, read: Callable[[Spans], Parsed], code: str, band: tuple[int, int]
) -> tuple[Cells, NDArray[np.int64], NDArray[np.bool_], Rows | None]:
    filled, present = _without(text, empty)
    parsed = read(filled)
    values, valid = parsed.values, parsed.valid.copy()
    cells = Cells(pa.nulls(0))
    place = (lambda r: r) if present is None else (lambda r: present[r])
    if column.kind == "fen":
        cells.total, cells.unread = _sum(values), int(len(valid) - valid.sum())
    if not valid.all():
        cells.fault(code, place(np.flatnonzero(~valid)))
    if len(values) and (int(values.min()) < band[0] or int(values.max()) > band[1]):
        outside = valid & ((values < band[0]) | (values > band[1]))
        cells.fault("FIELD-BAND", place(np.flatnonzero(outside)), band=_band_text(column, band))
        valid &= ~outside
    cells.values = _spread(values, valid, present, len(text), ARROW[column.kind])
    return cells, values, valid, present


def _sum(values: NDArray[np.int64]) -> int:
    """The exact sum; int64 only where it cannot overflow."""
    if not len(values):
        return 0
    if max(int(values.max()), -int(values.min())) < 2**62 // len(values):
        return int(values.sum())
    return sum(values.tolist())


def _band_text(column: Column, band: tuple[int, int]) -> str:
    if column.kind == "fen":
        return f"{band[0] // 100} 至 {band[1] // 100} 元"
    if column.kind == "ppm":
        return f"年利率 {band[0] / 10_000:g}% 至 {band[1] / 10_000:g}%"
    return f"{band[0]} 至 {band[1]}"


def _amounts(column: Column, text: Spans, empty: Rows, profile: Profile) -> Cells:
    padded = profile.form == "fixed"
    low = 1 if column.code in POSITIVE else 0 if column.code in NOT_NEGATIVE else AMOUNT_BAND[0]
    if profile.units.amount == "fen":
        return _numbers(column, text, empty, lambda t: parse_fen_column(t, padded=padded), "FIELD-AMOUNT", (low, AMOUNT_BAND[1]))[0]
    return _numbers(column, text, empty, parse_yuan_column, "FIELD-AMOUNT", (low, AMOUNT_BAND[1]))[0]


def _rates(column: Column, text: Spans, empty: Rows, profile: Profile) -> Cells:
    band = (0, RATE_BAND[1]) if column.code in ZERO_RATE else RATE_BAND
    return _numbers(column, text, empty, lambda t: parse_rate_column(t, profile.units.rate), "FIELD-RATE", band)[0]


def _integers(column: Column, text: Spans, empty: Rows, profile: Profile) -> Cells:
    # A due day is the dictionary's C(2): 01 to 31.
    padded = profile.form == "fixed" or column.code == "YDHKR"
    band = INTEGER_BANDS.get(column.code, (0, 10_000))
    return _numbers(column, text, empty, lambda t: parse_fen_column(t, padded=padded), "FIELD-INTEGER", band)[0]


def _dates(column: Column, text: Spans, empty: Rows, profile: Profile) -> Cells:
    filled, present = _without(text, empty)
    days = _days(filled, profile.units)
    cells = Cells(pa.nulls(0))
    valid = days != _BAD_DAY
    place = (lambda r: r) if present is None else (lambda r: present[r])
    if not valid.all():
        cells.fault("FIELD-DATE", place(np.flatnonzero(~valid)))
    low, high = ((d - _EPOCH).days for d in DATE_BAND)
    outside = valid & ((days < low) | (days > high))
    if outside.any():
        cells.fault("FIELD-BAND", place(np.flatnonzero(outside)), band=f"{DATE_BAND[0]} 至 {DATE_BAND[1]}")
        valid &= ~outside
    rows = len(text)
    if present is not None:
        whole, ok = np.zeros(rows, np.int32), np.zeros(rows, np.bool_)
        whole[present], ok[present] = days, valid
        days, valid = whole, ok
    cells.values = pa.array(days, mask=None if valid.all() else ~valid).cast(pa.date32())
    return cells


def _days(text: Spans, units: Units) -> NDArray[np.int32]:
    """Days since 1970 of each date, `_BAD_DAY` where it is none."""
    width = 8 if units.date == "YYYYMMDD" else 10
    if width == 10:
        with suppress(pa.ArrowInvalid):
            # Arrow reads exactly YYYY-MM-DD, and only days that exist.
            return text.array().cast(pa.date32()).cast(pa.int32()).to_numpy()  # type: ignore[no-any-return]
    lengths = text.lengths
    if bool((lengths != width).any()):
        result = np.full(len(text), _BAD_DAY, np.int32)
        at = np.flatnonzero(lengths == width)
        if len(at):
            result[at] = _days(text.take(at), units)
        return result
    if not len(text):
        return np.zeros(0, np.int32)
    if width == 8:
        number, good = eight_digits(words_at(text.data, text.begin))
    else:
        number, good = _dashed(words_at(text.data, text.begin), words_at(text.data, text.begin + 2))
    days = np.where(good, days_of(number.view(np.int64)), _BAD_DAY)
    if width == 10:
        # Days of other centuries exist; they are not plausible, which is another fault.
        for row in np.flatnonzero(good & (days == _BAD_DAY)).tolist():
            with suppress(ValueError):
                days[row] = (date.fromisoformat(text.text(row)) - _EPOCH).days
    return days


def _dashed(first: Words, last: Words) -> tuple[Words, NDArray[np.bool_]]:
    """Number of YYYY-MM-DD from its first and its last eight bytes, and whether it is written so."""
    u = np.uint64
    digits = (first & u(0x00000000FFFFFFFF)) | ((last >> u(24) & u(0xFFFF)) << u(32)) | ((last >> u(48)) << u(48))
    number, good = eight_digits(digits)
    return number, good & ((last & u(0x0000FF0000FF0000)) == u(0x00002D00002D0000))


def _by_value(text: Spans, parse_values: Callable[[pa.Array], Cells]) -> Cells:
    """Parse each distinct value once and spread the result over the rows, when there are few of them."""
    array = text.array()
    if len(text) < _FEW:
        return parse_values(array)
    encoded = array.dictionary_encode()
    if len(encoded.dictionary) * 4 > len(text):
        return parse_values(array)
    values, indices = encoded.dictionary, encoded.indices.to_numpy()
    inner = parse_values(values)
    cells = Cells(inner.values.take(encoded.indices))
    for code, at, words in inner.faults:
        flags = np.zeros(len(values), np.bool_)
        flags[at] = True
        cells.fault(code, np.flatnonzero(flags[indices]), **words)
    return cells


def _codes(column: Column, text: Spans, empty: Rows, profile: Profile) -> Cells:
    mapped = profile.codes.get(column.code)
    listed = CODE_LISTS.get(column.code, {})

    def parse_values(values: pa.Array) -> Cells:
        words = values.to_pylist()
        table = mapped if mapped is not None else {c: c for c in listed}
        found = [table.get(w) for w in words]
        cells = Cells(pa.array(found, pa.string()))
        cells.fault("FIELD-CODE", np.array([i for i, (w, f) in enumerate(zip(words, found, strict=True)) if w and f is None], np.int64))
        return cells

    return _by_value(text, parse_values)


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\uffff]")
_PRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]")
_RADICAL = re.compile("[\u2e80-\u2fdf]")
#: What a name may be made of: ideographs, kana-free; letters, digits, middle dots, brackets and the like.
_NAME = re.compile(
    "[A-Za-z0-9 .,'()&/\\-·•．‧・（）－—、，“”〇々"
    "\u2160-\u217f\u2e80-\u2fdf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe10-\ufe19\uff10-\uff19"
    "\uff21-\uff3a\uff41-\uff5a\U00020000-\U000323af\ue000-\uf8ff]+"
)
_CJK = re.compile("[\u4e00-\u9fff]")


def _texts(column: Column, spans: Spans, empty: Rows, profile: Profile) -> Cells:
    text = spans.array()
    cells = Cells(text if not len(empty) else pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text))
    limit = min(column.length or profile.limits.field_chars, profile.limits.field_chars)
    offsets, data = string_buffers(text)
    lengths = np.diff(offsets)
    used = data[offsets[0] : offsets[-1]]
    if not len(used):
        return cells
    if int(used.max()) < 128:
        if int(lengths.max()) > limit:
            cells.fault("TEXT-LONG", np.flatnonzero(lengths > limit), limit=limit)
        if int(used.min()) < 32 or bool((used == 127).any()):
            cells.fault("TEXT-CONTROL", _where(text, _CONTROL))
    else:
        characters = pc.utf8_length(text).to_numpy()
        if len(characters) and int(characters.max()) > limit:
            cells.fault("TEXT-LONG", np.flatnonzero(characters > limit), limit=limit)
        _odd_characters(column, text, profile, cells)
    if column.code in ("SKHLHH", "XSKHLHH"):
        _each(cells, text, "CHECK-BANKNO", lambda v: not v or checkdigits.bank_number_ok(v))
    return cells


def _odd_characters(column: Column, text: pa.Array, profile: Profile, cells: Cells) -> None:
    """Control, private and look-alike characters and mojibake; only rows that are not plain ASCII are looked at one by one."""
    wide = pc.not_equal(pc.utf8_length(text), pc.binary_length(text)).to_numpy(zero_copy_only=False)
    if not wide.all():
        cells.fault("TEXT-CONTROL", _where(text, _CONTROL, ~wide))
    at = np.flatnonzero(wide)
    encoded = (text if len(at) == len(text) else text.take(pa.array(at))).dictionary_encode()
    values, indices = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    name = column.personal == "name" or column.code == "SWTYHMC"
    control = np.array([_CONTROL.search(v) is not None for v in values], np.bool_)
    private = np.array([_PRIVATE.search(v) is not None for v in values], np.bool_)
    radical = np.array([_RADICAL.search(v) is not None for v in values], np.bool_)
    garbled = np.array([mojibake(v, name) for v in values], np.bool_) & ~control & ~private
    for code, flags in (("TEXT-CONTROL", control), ("TEXT-PRIVATE", private), ("TEXT-MOJIBAKE", garbled), ("TEXT-RADICAL", radical)):
        if flags.any():
            cells.fault(code, at[flags[indices]])


def mojibake(text: str, name: bool) -> bool:
    """Whether `text` looks like Chinese decoded with the wrong encoding.

    UTF-8 bytes read as GB18030, or any bytes read as Latin-1. `name`: also anything a name cannot be made of.
    """
    if name and _NAME.fullmatch(text) is None:
        return True
    if any("\x80" <= c <= "\xff" and c not in "·×°±" for c in text):
        for codec in ("utf-8", "gb18030"):
            try:
                if _CJK.search(text.encode("latin-1").decode(codec)):
                    return True
            except (UnicodeEncodeError, UnicodeDecodeError):
                continue
    try:
        again = text.encode("gb18030").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return False
    return _CJK.search(again) is not None


def _where(text: pa.Array, pattern: re.Pattern[str], mask: NDArray[np.bool_] | None = None) -> Rows:
    flags = pc.match_substring_regex(text, r"[\x00-\x1f\x7f]").to_numpy(zero_copy_only=False)
    if mask is not None:
        flags = flags & mask
    return np.flatnonzero(flags)


def _each(cells: Cells, text: pa.Array, code: str, ok: Callable[[str], bool]) -> None:
    encoded = text.dictionary_encode()
    flags = np.array([not ok(v) for v in encoded.dictionary.to_pylist()], np.bool_)
    if flags.any():
        cells.fault(code, np.flatnonzero(flags[encoded.indices.to_numpy()]))


_PARSERS: dict[str, Callable[[Column, Spans, Rows, Profile], Cells]] = {
    "text": _texts, "code": _codes, "fen": _amounts, "ppm": _rates, "date": _dates, "int": _integers,
}
