"""Decoded lines to text columns: the optimistic way is pyarrow's CSV reader; what it refuses is looked at line by line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from subsidy.intake.delivery import Block, Broken
from subsidy.intake.dialects.lines import in_parts, lines_of
from subsidy.intake.profile import TableSpec
from subsidy.money import Spans

SEP = "\x1f"
_SEP = SEP.encode()
_SURPLUS = "\x1f"  # name of the empty column after a last separator; no dictionary code looks like it


def column_names(spec: TableSpec, after_last: bool) -> list[str]:
    """Names for pyarrow: the dictionary code, or a placeholder for columns that are read over."""
    names = [c.column.code if c.column is not None else f"\x1e{i}" for i, c in enumerate(spec.columns)]
    return [*names, _SURPLUS] if after_last else names


def read_csv(
    data: bytes, names: Sequence[str], wanted: Sequence[str], separator: str, quoted: bool = False, verify: bool = False
) -> pa.Table:
    """Parse clean UTF-8 lines: every column text, empty stays empty. ArrowInvalid when a line has another number of fields, or with
    `verify` when a column is not UTF-8."""
    return pacsv.read_csv(
        pa.BufferReader(data),
        # In one piece: the columns of several would have to be put together again.
        read_options=pacsv.ReadOptions(column_names=list(names), use_threads=False, block_size=len(data) + 1),
        parse_options=pacsv.ParseOptions(
            delimiter=separator, quote_char='"' if quoted else False, double_quote=quoted, escape_char=False,
            newlines_in_values=quoted, ignore_empty_lines=False,
        ),
        convert_options=pacsv.ConvertOptions(
            check_utf8=verify, column_types=dict.fromkeys(names, pa.string()), include_columns=list(wanted), strings_can_be_null=False,
            null_values=[], quoted_strings_can_be_null=False,
        ),
    )


def cut(
    utf8: bytes, original: bytes, first_line: int, names: list[str], wanted: list[str], separator: str,
    verify: Callable[[bytes], object] | None = None,
) -> Block:
    """Cut unquoted lines. `utf8` are the decoded lines, `original` the same lines as they came, from line `first_line`.

    `verify` is given when nobody has looked yet whether `utf8` is UTF-8: it refuses bytes that are not. Asked only when pyarrow, which
    looks at every column it makes, does not like the lines.
    """
    if b"\r" in utf8:
        utf8 = utf8.replace(b"\r\n", b"\n")
    surplus = names[-1] == _SURPLUS
    sep = separator.encode()
    if len(sep) > 1:
        if verify is not None:
            verify(original)
        block = _by_first_byte(utf8, original, first_line, names, wanted, sep)
        if block is not None:
            return block
        # pyarrow takes one byte. A unit separator in the file itself makes the line strange and is refused there.
        utf8 = utf8.replace(SEP.encode(), b"\x1e").replace(sep, SEP.encode())
        separator = SEP
    if not _strange(utf8, separator):
        try:
            table = read_csv(utf8, names, [*wanted, _SURPLUS] if surplus else wanted, separator, verify=verify is not None)
            return _block(table, wanted, original, first_line)
        except pa.ArrowInvalid:
            pass
    if verify is not None:
        verify(original)
    return _line_by_line(utf8, original, first_line, names, wanted, separator, surplus)


def _strange(utf8: bytes, separator: str) -> bool:
    """Whether there is any control byte that is neither a line feed nor the separator."""
    # DEL and the C1 range are left to the text checks; here only what could disturb cutting.
    data = np.frombuffer(utf8, np.uint8)
    if separator >= " ":
        # Eleven below, a line feed is the greatest byte, the controls above it the least ones, and those below it stay what they are.
        return any(int(part.min()) < 10 or int((part - np.uint8(11)).min()) < 32 - 11 for part in in_parts(data))
    allowed = int(np.count_nonzero(data == 10))
    if separator < " ":
        allowed += int(np.count_nonzero(data == ord(separator)))
    return int(np.count_nonzero(data < 32)) != allowed


def _by_first_byte(utf8: bytes, original: bytes, first_line: int, names: list[str], wanted: list[str], sep: bytes) -> Block | None:
    """Cut at the first byte of a longer separator where that byte stands for nothing else in the block: then every field but a line's
    first begins with the rest of the separator, and needs no more than to be read from behind it."""
    data = np.frombuffer(utf8, np.uint8)
    if min(sep) < 32 or max(sep) > 126 or sep[0] in sep[1:] or len(data) < len(sep) or _strange(utf8, chr(sep[0])):
        return None
    whole = len(data) - len(sep) + 1
    first = data == sep[0]
    found = first[:whole].copy()
    for i, byte in enumerate(sep[1:], 1):
        found &= data[i : i + whole] == byte
    if np.count_nonzero(found) != np.count_nonzero(first):
        return None
    surplus = names[-1] == _SURPLUS
    try:
        table = read_csv(utf8, names, [*wanted, _SURPLUS] if surplus else wanted, chr(sep[0]))
    except pa.ArrowInvalid:
        return None
    texts = {name: Spans.of(table[name]) for name in table.column_names}
    for name in texts:
        if name != names[0]:
            texts[name] = Spans(texts[name].data, texts[name].begin + (len(sep) - 1), texts[name].end)
    # pyarrow makes a row of empty fields of an empty line: there is no separator to read over.
    if any(int(texts[name].lengths.min(initial=0)) < 0 for name in texts if name != names[0]):
        return None
    if surplus and bool(texts[_SURPLUS].lengths.any()):
        return None
    numbers = np.arange(first_line, first_line + table.num_rows)
    return Block({name: texts[name] for name in wanted}, table.num_rows, numbers, _Raw(original, first_line, numbers))


def _block(table: pa.Table, wanted: list[str], original: bytes, first_line: int, line_nos: np.ndarray | None = None) -> Block:
    if _SURPLUS in table.column_names and _longest(table[_SURPLUS]):
        raise pa.ArrowInvalid("text after the last separator")
    columns = {name: Spans.of(table[name]) for name in wanted}
    numbers = np.arange(first_line, first_line + table.num_rows) if line_nos is None else line_nos
    return Block(columns, table.num_rows, numbers, _Raw(original, first_line, numbers))


def _longest(column: pa.ChunkedArray) -> bool:
    return any(len(v) for chunk in column.chunks for v in chunk.unique().to_pylist())


class _Raw:
    """The raw bytes of a row, found when somebody asks."""

    def __init__(self, original: bytes, first_line: int, line_nos: np.ndarray) -> None:
        self._original = original
        self._first_line = first_line
        self._line_nos = line_nos
        self._lines: list[bytes] | None = None

    def __call__(self, row: int) -> bytes:
        if self._lines is None:
            self._lines = self._original.split(b"\n")
        return self._lines[int(self._line_nos[row]) - self._first_line].removesuffix(b"\r")


def _line_by_line(
    utf8: bytes, original: bytes, first_line: int, names: list[str], wanted: list[str], separator: str, surplus: bool
) -> Block:
    """Set aside the lines that cannot be cut and cut the others."""
    raw = lines_of(original)
    fields = len(names)
    sep = separator.encode()
    good: list[bytes] = []
    numbers: list[int] = []
    broken: list[Broken] = []
    for i, line in enumerate(lines_of(utf8)):
        if line.count(sep) + 1 != fields or (surplus and not line.endswith(sep)):
            broken.append(Broken(first_line + i, raw[i], "ROW-FIELDS"))
        elif any(c < 32 and c != sep[0] for c in line):
            broken.append(Broken(first_line + i, raw[i], "TEXT-CONTROL"))
        else:
            good.append(line)
            numbers.append(first_line + i)
    if good:
        table = read_csv(b"\n".join(good) + b"\n", names, wanted, separator)
    else:
        table = pa.table({name: pa.array([], pa.string()) for name in wanted})
    block = _block(table, wanted, original, first_line, np.array(numbers, np.int64))
    block.broken = broken
    return block
