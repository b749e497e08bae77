"""Decoded lines to text columns: clean lines are cut all at once where their separators stand; the others line by line."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from subsidy.intake.delivery import Block, Broken
from subsidy.intake.dialects.columns import by_column, joined, texts_and_gaps, whole_lines
from subsidy.intake.dialects.lines import Raw, lines_of
from subsidy.intake.profile import TableSpec
from subsidy.money import Spans

SEP = b"\x1f"
_SURPLUS = "\x1f"  # name of the empty column after a last separator; no dictionary code looks like it


def column_names(spec: TableSpec, after_last: bool) -> list[str]:
    """A name for each field of a line: the dictionary code, or a placeholder for columns that are read over."""
    names = [c.column.code if c.column is not None else f"\x1e{i}" for i, c in enumerate(spec.columns)]
    return [*names, _SURPLUS] if after_last else names


def cut(utf8: bytes, original: bytes, first_line: int, names: list[str], wanted: list[str], separator: str) -> Block:
    """Cut unquoted lines. `utf8` are the decoded lines, `original` the same lines as they came, from line `first_line`."""
    if b"\r" in utf8:
        utf8 = utf8.replace(b"\r\n", b"\n")
    sep = separator.encode()
    columns = _columns(utf8, names, sep)
    if columns is None and len(sep) > 1:
        # A unit separator in the file itself makes the line strange and is refused there.
        utf8, sep = utf8.replace(SEP, b"\x1e").replace(sep, SEP), SEP
        columns = _columns(utf8, names, sep)
    if columns is None:
        return _line_by_line(utf8, original, first_line, names, wanted, sep)
    numbers = np.arange(first_line, first_line + len(columns[names[0]]))
    return _block(columns, wanted, original, first_line, numbers)


def _columns(utf8: bytes, names: list[str], sep: bytes) -> dict[str, Spans] | None:
    """The fields of clean lines, by name; None when a line has another number of fields or a control byte, or when a longer separator
    cannot be told by its first byte alone."""
    if len(sep) > 1 and (min(sep) < 32 or max(sep) > 126 or sep[0] in sep[1:]):
        return None
    parts = []
    for lines in whole_lines(utf8):
        texts = _texts(lines, len(names), sep)
        if texts is None:
            return None
        parts.append(texts)
    columns = dict(zip(names, joined(parts, len(names)), strict=True))
    if names[-1] == _SURPLUS and bool(columns[_SURPLUS].lengths.any()):
        return None
    return columns


def _texts(lines: NDArray[np.uint8], fields: int, sep: bytes) -> pa.Array | None:
    """The fields of a part column by column; None as in `_columns`."""
    marks = lines == 10
    rows = int(np.count_nonzero(marks))
    marks |= lines == sep[0]
    found = np.flatnonzero(marks)
    # As many line feeds as lines, and one behind each last field: so none behind another.
    if len(found) != rows * fields or bool((lines.take(found[fields - 1 :: fields]) != 10).any()):
        return None
    # DEL and the C1 range are left to the text checks; here only what could disturb cutting.
    if int(np.count_nonzero(lines < 32)) != (len(found) if sep[0] < 32 else rows):
        return None
    ends = found.reshape(rows, fields)
    for i, byte in enumerate(sep[1:], 1):
        if bool((lines.take(ends[:, :-1] + i) != byte).any()):
            return None
    places = np.empty((rows, fields, 2), np.int32)
    places[:, :, 1] = ends
    places[:, 1:, 0] = ends[:, :-1] + len(sep)
    places[0, 0, 0], places[1:, 0, 0] = 0, ends[:-1, -1] + 1
    return by_column(texts_and_gaps(lines, places), rows, fields)


def _block(columns: dict[str, Spans], wanted: list[str], original: bytes, first_line: int, numbers: NDArray[np.int64]) -> Block:
    return Block({name: columns[name] for name in wanted}, len(numbers), numbers, Raw(original, first_line, numbers))


def _line_by_line(
    utf8: bytes, original: bytes, first_line: int, names: list[str], wanted: list[str], sep: bytes
) -> Block:
    """Set aside the lines that cannot be cut and cut the others."""
    raw = lines_of(original)
    fields, surplus = len(names), names[-1] == _SURPLUS
    good: list[bytes] = []
    numbers: list[int] = []
    broken: list[Broken] = []
    for i, line in enumerate(lines_of(utf8)):
        if line.count(sep) + 1 != fields or (surplus and not line.endswith(sep)):
            broken.append(Broken(first_line + i, raw[i], "ROW-FIELDS", not line))
        elif any(c < 32 and c != sep[0] for c in line):
            broken.append(Broken(first_line + i, raw[i], "TEXT-CONTROL"))
        else:
            good.append(line)
            numbers.append(first_line + i)
    columns = _columns(b"".join(line + b"\n" for line in good), names, sep)
    assert columns is not None
    block = _block(columns, wanted, original, first_line, np.array(numbers, np.int64))
    block.broken = broken
    return block
