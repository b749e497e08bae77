"""What a dialect hands on: who sent what for which day, and the rows of each table as text columns, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from subsidy.intake.profile import Mode, Profile, TableSpec
from subsidy.money import Spans


@dataclass(frozen=True, slots=True)
class Identity:
    """Identity from the content: two deliveries with the same `text` are versions of one another."""

    centre_code: str
    tables: str  # table code, or the profile's name in stars where one file carries many tables
    business_date: date
    sequence: str

    @property
    def text(self) -> str:
        """``330100000000000|GB305|2026-09-14|001``."""
        return f"{self.centre_code}|{self.tables}|{self.business_date.isoformat()}|{self.sequence}"


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that could not be cut into fields. `empty`: nothing stands on its line, so no amount is unread with it."""

    line_no: int
    raw: bytes
    code: str
    empty: bool = False


@dataclass(slots=True)
class Block:
    """Rows of one table: text columns by dictionary code without nulls ("" is empty), the first line of each row, its raw bytes on
    demand, and the rows that could not be cut."""

    columns: dict[str, Spans]
    rows: int
    line_nos: NDArray[np.int64]
    raw: Callable[[int], bytes]
    broken: list[Broken] = field(default_factory=list)
    #: (code, row, dictionary code) of cells the dialect itself refuses.
    cells: list[tuple[str, int, str]] = field(default_factory=list)


@dataclass(slots=True)
class Control:
    """What the sender says a table holds; None where the profile declares none. `sums` by dictionary code, as written."""

    rows: int | None = None
    sums: dict[str, str] | None = None


class Chunk(Protocol):
    """A piece of a table that can be parsed by itself, in any thread."""

    def parse(self) -> Block:
        """Cut the piece into rows and fields. FileRefused when the file as a whole is at fault."""


@dataclass(slots=True)
class Sheet:
    """One table of a delivery. `control` is complete only after `chunks` has been read to its end."""

    spec: TableSpec
    mode: Mode
    chunks: Iterator[Chunk]
    control: Control


@dataclass(slots=True)
class Delivery:
    """A file, opened: its identity, its tables in file order, and what to close."""

    profile: Profile
    identity: Identity
    sheets: list[Sheet]
    close: Callable[[], None] = lambda: None
    #: Identity parts as written: centre, table, date, sequence; compared with the file name.
    written: dict[str, str] = field(default_factory=dict)
