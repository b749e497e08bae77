"""JSON lines: one object a line, keys are column names. Numbers keep their written digits and never become floats."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from subsidy.intake.delivery import Block, Broken
from subsidy.intake.dialects.lines import decode, lines_of
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
        raw = lines_of(self.data)
        names = {c.name for c in self.spec.columns}
        wanted = [(c.name, c.column.code) for c in self.spec.columns if c.column is not None]
        columns: dict[str, list[str]] = {code: [] for _, code in wanted}
        numbers: list[int] = []
        broken: list[Broken] = []
        for i, line in enumerate(lines_of(decode(self.data, self.profile, self.first_line))):
            values = _object(line)
            if values is None or set(values) != names:
                broken.append(Broken(self.first_line + i, raw[i], "ROW-FIELDS"))
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
