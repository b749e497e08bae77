"""CSV with column names: the first record names the columns, in any order; fields may be quoted and hold line feeds."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from subsidy.intake.delivery import Block, Broken
from subsidy.intake.dialects.cut import cut
from subsidy.intake.dialects.lines import decode
from subsidy.intake.faults import refuse
from subsidy.intake.profile import Profile, TableSpec
from subsidy.money import Spans


def match_columns(names: list[str], spec: TableSpec) -> list[str]:
    """The dictionary code of each named column (or a placeholder for one that is read over), in file order.

    FileRefused ``FILE-COLUMNS`` naming what is missing, unknown or there twice.
    """
    by_name = {c.name.upper(): c for c in spec.columns}
    upper = [n.upper() for n in names]
    faults = [f"多出 {n[:30]}" for n in names if n.upper() not in by_name]
    faults += [f"缺少 {c.name}" for c in spec.columns if c.name.upper() not in upper]
    faults += [f"{n[:30]} 出现两次" for n in sorted({n for n in names if upper.count(n.upper()) > 1})]
    if faults:
        raise refuse("FILE-COLUMNS", table=spec.table.code, line_no=1, where="；".join(faults[:20]))
    found = []
    for i, name in enumerate(upper):
        column = by_name[name].column
        found.append(column.code if column is not None else f"\x1e{i}")
    return found


def read_names(line: str, separator: str) -> list[str]:
    """Column names of the first record. FileRefused ``FILE-QUOTE`` when it is not a record."""
    try:
        return next(csv.reader([line], delimiter=separator, strict=True), [])
    except csv.Error:
        raise refuse("FILE-QUOTE", line_no=1) from None


@dataclass(frozen=True, slots=True)
class CsvChunk:
    """Whole records of a CSV file, from line `first_line`; `names` as `match_columns` gave them. `head` is the file's header line where
    its order is not the declared one: a row by itself needs it to be understood again."""

    profile: Profile
    spec: TableSpec
    names: list[str]
    first_line: int
    data: bytes
    head: bytes = b""

    def parse(self) -> Block:
        """Decode and cut; quotes only slow down the blocks that have some."""
        block = self._parse()
        if self.head:
            raw = block.raw
            block.raw = lambda row: self.head + b"\n" + raw(row)
            block.broken = [Broken(b.line_no, self.head + b"\n" + b.raw, b.code, b.empty) for b in block.broken]
        return block

    def _parse(self) -> Block:
        wanted = [c.column.code for c in self.spec.columns if c.column is not None]
        utf8 = decode(self.data, self.profile, self.first_line)
        if b'"' not in utf8:
            return cut(utf8, self.data, self.first_line, self.names, wanted, self.profile.separator)
        return self._quoted(utf8, wanted)

    def _quoted(self, utf8: bytes, wanted: list[str]) -> Block:
        if b"\r" in utf8:
            utf8 = utf8.replace(b"\r\n", b"\n")
        separator = self.profile.separator
        ends = record_ends(utf8, separator, self.first_line)
        starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else np.zeros(0, np.int64)
        feeds = np.flatnonzero(np.frombuffer(utf8, np.uint8) == 10)
        numbers = self.first_line + np.searchsorted(feeds, starts)
        lines = self.data.split(b"\n")
        spans = np.append(numbers, self.first_line + len(feeds))

        def raw(number: int, until: int) -> bytes:
            return b"\n".join(lines[number - self.first_line : until - self.first_line]).removesuffix(b"\r")

        try:
            if bool((starts == ends).any()):
                raise pa.ArrowInvalid("an empty line")  # of which pyarrow makes empty fields
            table = _read_csv(utf8, self.names, wanted, separator)
            if table.num_rows != len(numbers):
                raise pa.ArrowInvalid("records and lines disagree")
        except pa.ArrowInvalid:
            raws = [raw(int(a), int(b)) for a, b in pairwise(spans)]
            return self._record_by_record(utf8, starts, ends, numbers, raws, wanted)
        columns = {n: Spans.of(table[n]) for n in wanted}
        return Block(columns, table.num_rows, numbers, lambda row: raw(int(spans[row]), int(spans[row + 1])))

    def _record_by_record(
        self, utf8: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], numbers: NDArray[np.int64], raws: list[bytes],
        wanted: list[str],
    ) -> Block:
        rows: list[list[str]] = []
        kept: list[int] = []
        broken: list[Broken] = []
        for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
            text = utf8[start:end].decode("utf-8")
            record = next(csv.reader(io.StringIO(text, newline=""), delimiter=self.profile.separator, strict=True), [])
            if len(record) == len(self.names):
                rows.append(record)
                kept.append(i)
            else:
                broken.append(Broken(int(numbers[i]), raws[i], "ROW-FIELDS", not record))
        columns = {
            name: Spans.of(pa.array([row[at] for row in rows], pa.string())) for at, name in enumerate(self.names) if name in wanted
        }
        return Block(columns, len(rows), numbers[kept], lambda row: raws[kept[row]], broken)


def _read_csv(data: bytes, names: list[str], wanted: list[str], separator: str) -> pa.Table:
    """Parse quoted records: every column text, empty stays empty. ArrowInvalid when a record has another number of fields."""
    return pacsv.read_csv(
        pa.BufferReader(data),
        # In one piece: the columns of several would have to be put together again.
        read_options=pacsv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1),
        parse_options=pacsv.ParseOptions(
            delimiter=separator, quote_char='"', double_quote=True, escape_char=False, newlines_in_values=True, ignore_empty_lines=False,
        ),
        convert_options=pacsv.ConvertOptions(
            check_utf8=False, column_types=dict.fromkeys(names, pa.string()), include_columns=wanted, strings_can_be_null=False,
            null_values=[], quoted_strings_can_be_null=False,
        ),
    )


def record_ends(utf8: bytes, separator: str, first_line: int) -> NDArray[np.int64]:
    """Where each record ends (its line feed, or the end of the data). FileRefused ``FILE-QUOTE`` for a quote out of place."""
    data = np.frombuffer(utf8, np.uint8)
    quotes = np.flatnonzero(data == ord('"'))
    feeds = np.flatnonzero(data == 10)
    if len(quotes) % 2:
        raise refuse("FILE-QUOTE", line_no=first_line + int(np.searchsorted(feeds, quotes[-1])))
    opening, closing = quotes[::2], quotes[1::2]
    outside = (ord(separator), 10, ord('"'))
    before = data[np.maximum(opening - 1, 0)]
    after = data[np.minimum(closing + 1, len(data) - 1)]
    bad_open = (opening > 0) & ~np.isin(before, outside)
    bad_close = (closing + 1 < len(data)) & ~np.isin(after, outside)
    bad = np.concatenate((opening[bad_open], closing[bad_close]))
    if len(bad):
        raise refuse("FILE-QUOTE", line_no=first_line + int(np.searchsorted(feeds, bad.min())))
    inside = np.searchsorted(quotes, feeds) % 2 == 1
    ends = feeds[~inside]
    return ends if utf8.endswith(b"\n") else np.append(ends, len(data))
