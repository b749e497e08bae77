"""What a sheet is before it is a spreadsheet: labelled, typed columns and rows of plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

#: text: exact text, never a formula. money: integer fen, shown as yuan with two decimals. rate: integer ppm, shown as percent.
Kind = Literal["text", "money", "int", "date", "rate"]
Value = str | int | date | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column: Chinese label, kind, width in characters; `total` puts its sum under the rows."""

    label: str
    kind: Kind = "text"
    width: int = 12
    total: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """One sheet: title, columns, rows, notes under the title."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[Value, ...]]
    notes: tuple[str, ...] = ()

    def total(self, label: str) -> int:
        """Sum of a numeric column."""
        at = [c.label for c in self.columns].index(label)
        return sum(int(row[at]) for row in self.rows if isinstance(row[at], int))


@dataclass(frozen=True, slots=True)
class Tie:
    """One row of the tie-out: what the ledger says, and the cells that must add up to it.

    `terms` are (sign, sheet title, column label); the formula is their sum."""

    label: str
    ledger_fen: int
    terms: tuple[tuple[int, str, str], ...]


@dataclass(frozen=True, slots=True)
class Cover:
    """The first page. `facts` are label/value pairs; `totals` label/fen pairs; `warnings` stand in red."""

    heading: str
    facts: tuple[tuple[str, str], ...]
    totals: tuple[tuple[str, int], ...]
    warnings: tuple[str, ...]
    signatures: tuple[str, ...] = ("制表", "复核", "审批", "日期")


@dataclass(frozen=True, slots=True)
class Book:
    """A whole workbook before it is written."""

    cover: Cover
    sheets: tuple[Sheet, ...]
    ties: tuple[Tie, ...]
    properties: dict[str, str] = field(default_factory=dict)
