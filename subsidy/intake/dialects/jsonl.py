"""JSON lines: one object a line, keys are column names. Numbers keep their written digits and never become floats."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from subsidy.intake.delivery import Block, Broken
from subsidy.intake.dialects.columns import joined, of_one_shape, whole_lines
from subsidy.intake.dialects.lines import Raw, decode, lines_of
from subsidy.intake.profile import Profile, TableSpec
from subsidy.money import Spans


@dataclass(frozen=True, slots=True)
class JsonChunk:
    """Whole lines of a JSON lines file, from line `first_line`."""

    profile: Profile
    spec: TableSpec
    first_line: int
    data: bytes

    def parse(self) -> Block:
        """A line that is not one flat object with exactly the declared keys is broken."""
        utf8 = decode(self.data, self.profile, self.first_line)
        block = self._usual(utf8)
        return block if block is not None else self._line_by_line(utf8)

    def _usual(self, utf8: bytes) -> Block | None:
        """The chunk by columns when all of its lines are written like the first, all values in quotes; None when any is not."""
        line = utf8.partition(b"\n")[0]
        values = _object(line)
        if values is None or set(values) != {c.name for c in self.spec.columns} or line.count(b'"') != 4 * len(values):
            return None
        if b"\\" in utf8:
            return None
        parts, usual = [], b""
        for lines in whole_lines(utf8):
            quotes, rows = np.flatnonzero(lines == ord('"')), int(np.count_nonzero(lines == 10))
            # Four quotes a field, and no control character: so no line feed but between lines.
            if len(quotes) != 4 * len(values) * rows or int(np.count_nonzero(lines < 32)) != rows:
                return None
            places = quotes.reshape(rows, len(values), 4)[:, :, 2:].astype(np.int32)
            places[:, :, 0] += 1
            if not usual:
                ends = [0, *places[0].reshape(-1).tolist(), len(line) + 1]
                usual = b"".join(lines[a:b].tobytes() for a, b in zip(ends[::2], ends[1::2], strict=True))
            found = of_one_shape(lines, places, usual)
            if found is None:
                return None
            parts.append(found)
        texts = dict(zip(values, joined(parts, len(values)), strict=True))
        numbers = np.arange(self.first_line, self.first_line + len(texts[next(iter(texts))]))
        columns = {c.column.code: texts[c.name] for c in self.spec.columns if c.column is not None}
        return Block(columns, len(numbers), numbers, Raw(self.data, self.first_line, numbers))

    def _line_by_line(self, utf8: bytes) -> Block:
        raw = lines_of(self.data)
        names = {c.name for c in self.spec.columns}
        wanted = [(c.name, c.column.code) for c in self.spec.columns if c.column is not None]
        columns: dict[str, list[str]] = {code: [] for _, code in wanted}
        numbers: list[int] = []
        broken: list[Broken] = []
        for i, line in enumerate(lines_of(utf8)):
            values = _object(line)
            if values is None or set(values) != names:
                broken.append(Broken(self.first_line + i, raw[i], "ROW-FIELDS", not line))
                continue
            numbers.append(self.first_line + i)
            for name, code in wanted:
                columns[code].append(values[name])
        line_nos = np.array(numbers, np.int64)
        arrays = {code: Spans.of(pa.array(values, pa.string())) for code, values in columns.items()}
        return Block(arrays, len(numbers), line_nos, lambda row: raw[int(line_nos[row]) - self.first_line], broken)


def _object(line: bytes) -> dict[str, str] | None:
    def pairs(items: list[tuple[str, object]]) -> dict[str, str]:
        values: dict[str, str] = {}
        for key, value in items:
            if key in values or not (isinstance(value, str) or value is None):
                raise ValueError(key)
            (value or "").encode()  # a lone surrogate is a ValueError
            values[key] = value or ""
        return values

    try:
        parsed = json.loads(line, parse_float=str, parse_int=str, parse_constant=_refuse, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _refuse(text: str) -> str:
    raise ValueError(text)
