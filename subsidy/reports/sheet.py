"""What a sheet is before it is a spreadsheet: labelled, typed columns and columnar values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

#: text: exact text, never a formula. money: integer fen, shown as yuan with two decimals. rate: integer ppm, shown as percent.
Kind = Literal["text", "money", "int", "date", "rate"]
Value = str | int | date | None
#: Label of the sum of all rows; the label of every sum ends with it, and no first cell of a row does.
TOTAL = "合计"

ARROW: dict[Kind, pa.DataType] = {"text": pa.string(), "money": pa.int64(), "int": pa.int64(), "date": pa.date32(), "rate": pa.int64()}


#: Greatest width that a text gives its column.
WIDEST = 64


def text_width(values: pa.Array) -> pa.Array:
    """Width of texts in characters: a Chinese character is three bytes and two wide, a Latin one one and one, so the mean of bytes and
    characters."""
    return pc.shift_right(pc.add(pc.binary_length(values).cast(pa.int64()), pc.utf8_length(values).cast(pa.int64())), 1)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: Chinese label, kind, least width in characters (a Chinese character is two wide); `total` puts its sum under the rows,
    `wrap` breaks long text into lines; other text makes the column as wide as it needs, up to `WIDEST`."""

    label: str
    kind: Kind = "text"
    width: int = 12
    total: bool = False
    wrap: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """One sheet: title, columns, data (one Arrow column per `columns`, in their order and of their kind), notes under the title.

    Labels are unique within a sheet. Text columns may be dictionary-encoded. `breaks`: columns after which a printed page ends, where a
    sheet is too wide for one page; the first column is repeated on the next. `groups`: (label, `where` of `total`) of rows that are added
    up by themselves, and `rest` the label of the sum of all others; without groups it is the sum of all."""

    title: str
    columns: tuple[Column, ...]
    data: pa.Table
    notes: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()
    groups: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    rest: str = TOTAL

    def place(self, label: str) -> int:
        """Position of a column from 0. ValueError when there is none."""
        return [c.label for c in self.columns].index(label)

    def total(self, label: str, where: Sequence[tuple[str, str]] = ()) -> int:
        """Sum of a numeric column over the rows whose text columns have the values of `where`."""
        values = self.data.column(self.place(label))
        for name, wanted in where:
            column = self.data.column(self.place(name))
            if pa.types.is_dictionary(column.type):
                column = column.cast(pa.string())
            values = pc.if_else(pc.fill_null(pc.equal(column, wanted), False), values, pa.scalar(0, pa.int64()))
        return int(pc.sum(values).as_py() or 0)

    def totals(self) -> list[tuple[str, dict[str, int]]]:
        """The rows below the rows: label and sum per column that has one; empty when none has."""
        names = [c.label for c in self.columns if c.total]
        if not names:
            return []
        found = [(label, {name: self.total(name, where) for name in names}) for label, where in self.groups]
        return [*found, (self.rest, {name: self.total(name) - sum(sums[name] for _, sums in found) for name in names})]

    def widths(self) -> list[int]:
        """Width of each column: its own, or what its longest text needs."""
        return [max(c.width, self._needed(at)) if c.kind == "text" and not c.wrap else c.width for at, c in enumerate(self.columns)]

    def _needed(self, at: int) -> int:
        column = self.data.column(at)
        longest = 0
        for chunk in column.chunks:
            texts = chunk.dictionary if isinstance(chunk, pa.DictionaryArray) else chunk
            longest = max(longest, pc.max(text_width(texts)).as_py() or 0)
        return 0 if longest <= self.columns[at].width else min(longest + 2, WIDEST)

    def part(self, start: int, rows: int, title: str) -> Sheet:
        """The same sheet with `rows` of its rows from `start`, under another title."""
        return replace(self, title=title, data=self.data.slice(start, rows))


def of_rows(title: str, columns: tuple[Column, ...], rows: Sequence[Sequence[Value]], notes: tuple[str, ...] = ()) -> Sheet:
    """A sheet of plain rows; for sheets whose size does not grow with the loans."""
    data = pa.table([pa.array([row[i] for row in rows], ARROW[c.kind]) for i, c in enumerate(columns)], names=[c.label for c in columns])
    return Sheet(title, columns, data, notes)


@dataclass(frozen=True, slots=True)
class Term:
    """The sum of a money column in the tie-out formula: `sign` 1 or -1, and only the rows whose text columns have the values of `where`."""

    sign: int
    title: str
    label: str
    where: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Tie:
    """One row of the tie-out: what the ledger says, and the cells that must add up to it."""

    label: str
    ledger_fen: int
    terms: tuple[Term, ...]
    source: str = ""


def value_of(tie: Tie, sheets: Sequence[Sheet]) -> int:
    """What the formula of a tie comes to, in fen. KeyError when a sheet is not there."""
    by = {sheet.title: sheet for sheet in sheets}
    return sum(t.sign * by[t.title].total(t.label, t.where) for t in tie.terms)


@dataclass(frozen=True, slots=True)
class Cover:
    """The first page. `facts` are label/value pairs; `totals` label/fen pairs; `warnings` stand in red."""

    heading: str
    facts: tuple[tuple[str, str], ...]
    totals: tuple[tuple[str, int], ...]
    warnings: tuple[str, ...]
    signatures: tuple[str, ...] = ("制表", "复核", "审批")


@dataclass(frozen=True, slots=True)
class Book:
    """A whole workbook before it is written."""

    cover: Cover
    sheets: tuple[Sheet, ...]
    ties: tuple[Tie, ...]

    def sheet(self, title: str) -> Sheet:
        """The sheet with that title; KeyError when there is none."""
        for sheet in self.sheets:
            if sheet.title == title:
                return sheet
        raise KeyError(title)
