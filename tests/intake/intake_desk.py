"""A register in memory: books what `subsidy.intake` reads as the night does in the database, for tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pyarrow as pa

from subsidy.facts import Segment, Store, view
from subsidy.facts.schema import TABLES
from subsidy.facts.view import sort_key
from subsidy.intake import Arrival, Intake, KnownFile, OpenRow, Profiles, StoreContext, load_profiles, read

RULES = Path(__file__).resolve().parents[2] / "rules"
CENTRES = ("hangzhou", "zhejiang-provincial", "zhoushan", "wenzhou", "shaoxing", "huzhou", "quzhou")


@dataclass
class Desk:
    """One centre's register."""

    centre: str
    store: Store
    profiles: Profiles
    segments: list[Segment] = field(default_factory=list)
    files: list[KnownFile] = field(default_factory=list)
    open_rows: list[OpenRow] = field(default_factory=list)
    full_dates: list[tuple[str, date]] = field(default_factory=list)
    file_no: int = 0
    quarantine_no: int = 0
    intakes: list[Intake] = field(default_factory=list)

    @classmethod
    def open(cls, centre: str, folder: Path) -> Desk:
        return cls(centre, Store(str(folder)), load_profiles(RULES, centre))

    def context(self, known_on: date) -> StoreContext:
        return StoreContext(self.store, self.segments, known_on, self.files, self.open_rows, self.full_dates)

    def take(self, arrival: Arrival, known_on: date, **options: object) -> Intake:
        self.file_no += 1
        intake = read(arrival, self.profiles, self.context(known_on), file_no=self.file_no, known_on=known_on, **options)  # type: ignore[arg-type]
        self.book(intake)
        self.intakes.append(intake)
        return intake

    def book(self, intake: Intake) -> None:
        if intake.state == "booked":
            for name, result in intake.tables.items():
                if not result.facts.rows:
                    continue
                table = TABLES[name]
                written = self.store.write_segment(f"facts/{self.centre}/{name}", table.arrow, result.batches(), sort_key(table))
                self.segments.append(Segment(name, intake.known_on, intake.file_no, written.path, written.rows, written.sha256))
                if self.profiles.profiles[intake.profile].spec(name).replaces == "table" and name in intake.tables:
                    self.full_dates.append((name, intake.business_date))  # type: ignore[arg-type]
            released = {r.quarantine_no for r in intake.releases}
            self.open_rows = [r for r in self.open_rows if r.quarantine_no not in released]
            for row in intake.quarantined:
                self.quarantine_no += 1
                self.open_rows.append(
                    OpenRow(
                        self.quarantine_no, intake.file_no, intake.profile, intake.identity, row.table_name, row.line_no, row.raw, row.code,
                        intake.business_date,  # type: ignore[arg-type]
                    )
                )
        if intake.identity:
            self.files.append(KnownFile(intake.file_no, intake.sha256, intake.identity, intake.version, intake.state, intake.business_date))  # type: ignore[arg-type]

    def facts(self, table: str, known_on: date, **options: object) -> pa.Table:
        return view(self.store, self.segments, table, known_on, **options)  # type: ignore[arg-type]
