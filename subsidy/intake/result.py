"""What reading a file gives: everything to be persisted, and nothing persisted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

import pyarrow as pa

from subsidy.errors import Finding
from subsidy.intake.spool import Spool

State = Literal["booked", "refused", "duplicate", "held"]


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """A row set aside. `key` are its key values as text, None where they could not be read; `value` is masked; `soft`: a person
    may release it with a reason. `parent` names the table whose arrival releases it by itself, "" otherwise."""

    table_name: str
    line_no: int
    raw: bytes
    code: str
    field: str
    value: str
    what: str
    todo: str
    key: tuple[str, ...] | None
    soft: bool = False
    parent: str = ""


@dataclass(frozen=True, slots=True)
class OpenRow:
    """A row that lies in quarantine from an earlier file, as the register knows it."""

    quarantine_no: int
    file_no: int
    profile: str
    identity: str
    table_name: str
    line_no: int
    raw: bytes
    code: str
    business_date: date


@dataclass(frozen=True, slots=True)
class Release:
    """An open quarantine row that this file releases. `booked`: its content became a fact; otherwise it was superseded."""

    quarantine_no: int
    how: Literal["correction", "person"]
    reason: str
    booked: bool


@dataclass(slots=True)
class Counts:
    """Rows of one table of one file, and what the booked ones changed."""

    rows_in: int = 0
    booked: int = 0
    quarantined: int = 0
    duplicates: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    withdrawn: int = 0
    released: int = 0

    def tie(self) -> None:
        """rows in = booked + quarantined + duplicates (handbook section 8, invariant 1); booked = added + changed + unchanged."""
        assert self.rows_in == self.booked + self.quarantined + self.duplicates, self
        assert self.booked == self.added + self.changed + self.unchanged, self

    def plus(self, other: Counts) -> Counts:
        """The sum of two tables' counts."""
        return Counts(*(getattr(self, f) + getattr(other, f) for f in self.__dataclass_fields__))


#: Stretches of lines, first and last of each, both included.
Stretches = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class TableResult:
    """One table of a file: counts, facts to write, amounts without protection, the lines whose rows were booked."""

    table: str
    code: str
    counts: Counts
    facts: Spool
    unprotected: tuple[str, ...] = ()
    sums_fen: dict[str, int] = field(default_factory=dict)
    accepted: Stretches = ()

    def batches(self) -> Iterator[pa.Table]:
        """Facts in `FactTable.arrow`, in ascending ranges of buckets: what `Store.write_segment` takes."""
        return self.facts.parts()


@dataclass(slots=True)
class Intake:
    """The result of reading one file. Nothing has been written but scratch files, which `close` removes."""

    file_name: str
    profile: str
    state: State
    identity: str
    version: int
    business_date: date | None
    file_no: int
    known_on: date
    sha256: str
    bytes: int
    companions: tuple[tuple[str, str], ...]  # (name, SHA-256)
    tables: dict[str, TableResult]
    quarantined: list[QuarantineRow]
    findings: list[Finding]
    findings_unlisted: int
    releases: list[Release]
    message: str = ""

    @property
    def counts(self) -> Counts:
        """Counts over all tables; zero for a file that is not booked."""
        total = Counts()
        for table in self.tables.values():
            total = total.plus(table.counts)
        return total

    def close(self) -> None:
        """Remove scratch files. The result keeps its counts and quarantine, its facts are gone."""
        for table in self.tables.values():
            table.facts.close()

    def __enter__(self) -> Intake:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
