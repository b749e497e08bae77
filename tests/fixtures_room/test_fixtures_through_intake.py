"""The files as the system reads them: set aside is what was spoiled, and the lines from the booked facts are the answers."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pytest

from fixtures import inbox, story
from fixtures.answers import Answer
from fixtures.centres import CENTRES
from subsidy.entitlement.engine import assess
from subsidy.facts import Segment, Store
from subsidy.facts.schema import TABLES, Facts
from subsidy.facts.view import sort_key, view
from subsidy.intake import Intake, KnownFile, OpenRow, StoreContext, arrived, load_profiles, read
from subsidy.policy.load import load_centre

RULES = Path(__file__).resolve().parents[2] / "rules"
ALL = sorted(CENTRES)
Line = tuple[int, int, int, str]


@dataclass
class Register:
    """One centre's register in memory."""

    centre: str
    store: Store
    segments: list[Segment] = field(default_factory=list)
    files: list[KnownFile] = field(default_factory=list)
    open_rows: list[OpenRow] = field(default_factory=list)
    full: list[tuple[str, date]] = field(default_factory=list)

    def take_all(self, folder: Path, known_on: date) -> dict[str, Intake]:
        """Read and book every file of `folder`, by name; the folder is empty afterwards."""
        profiles = load_profiles(RULES, self.centre)
        out = {}
        for arrival in arrived(folder, profiles, 0, 1e12):
            context = StoreContext(self.store, self.segments, known_on, self.files, self.open_rows, self.full)
            with read(arrival, profiles, context, file_no=len(self.files) + 1, known_on=known_on) as intake:
                self._book(intake)
            out[arrival.name] = intake
        for path in folder.iterdir():
            path.unlink()
        return out

    def _book(self, intake: Intake) -> None:
        assert intake.business_date is not None, intake.message
        for name, result in intake.tables.items():
            result.counts.tie()
            if result.facts.rows:
                written = self.store.write_segment(f"facts/{name}", TABLES[name].arrow, result.batches(), sort_key(TABLES[name]))
                self.segments.append(Segment(name, intake.known_on, intake.file_no, written.path, written.rows, written.sha256))
            if (self.centre, name) == ("zhoushan", "other_subsidy"):
                self.full.append((name, intake.business_date))
        released = {r.quarantine_no for r in intake.releases}
        self.open_rows = [r for r in self.open_rows if r.quarantine_no not in released]
        for row in intake.quarantined:
            number = len(self.files) * 1_000 + row.line_no
            self.open_rows.append(OpenRow(number, intake.file_no, intake.profile, intake.identity, row.table_name, row.line_no, row.raw,
                                          row.code, intake.business_date))  # fmt: skip
        self.files.append(KnownFile(intake.file_no, intake.sha256, intake.identity, intake.version, intake.state, intake.business_date))

    def lines(self, known_on: date, claims: frozenset[str] = frozenset()) -> dict[tuple[str, str], Line]:
        """The engine's lines from what is known."""
        facts = Facts({t: view(self.store, self.segments, t, known_on) for t in TABLES}, claims)
        return {
            (r["agreement_no"], r["serial_no"]): (r["figure_fen"], r["entitled_fen"], r["payable_fen"], r["outcome"])
            for r in assess(facts, load_centre(RULES, self.centre)).lines.to_pylist()
        }


def expected(answers: list[Answer]) -> dict[tuple[str, str], Line]:
    return {(a.agreement_no, a.serial_no): (a.figure_fen, a.entitled_fen, a.payable_fen, a.outcome) for a in answers}


@pytest.mark.parametrize("centre", ALL)
def test_story(centre: str, tmp_path: Path) -> None:
    register = Register(centre, Store(str(tmp_path / "store")))
    claims = frozenset(loan.agreement["TXXYBH"] for loan in story.facts(centre, 4) if loan.claimed)
    for number, day in enumerate(CENTRES[centre].nights, 1):
        story.deliver(tmp_path, centre, number)
        taken = register.take_all(tmp_path / "inbox" / centre, day)
        planned = story.files(centre, number)
        rows = {"booked": 0, "duplicate": 0} | {intake.state: 0 for intake in taken.values()}
        for intake in taken.values():
            rows[intake.state] += 1
        assert rows == {"booked": len(taken) - sum(f.repeats for f in planned), "duplicate": sum(f.repeats for f in planned)}
        fresh = [f for f in planned if not f.repeats]
        assert sum(i.counts.rows_in for i in taken.values()) == sum(len(f.rows) for f in fresh)
        assert sum(i.counts.quarantined for i in taken.values()) == sum(f.quarantined for f in fresh)
        assert sum(i.counts.duplicates for i in taken.values()) == sum(f.duplicates for f in fresh)
        assert register.lines(day, claims) == expected(story.lines(centre, number))


@pytest.mark.parametrize("centre", ALL)
def test_portfolio_with_mishaps(centre: str, tmp_path: Path) -> None:
    counts = inbox.write(tmp_path / "in", centre, 250, 1, 8, 8_000, "rare", together=True, answers=tmp_path / "answers")
    register = Register(centre, Store(str(tmp_path / "store")))
    taken = register.take_all(tmp_path / "in", date(2026, 9, 30))
    assert {i.state for i in taken.values()} == {"booked"}
    assert 0 < sum(i.counts.quarantined for i in taken.values()) == counts["mishaps"]
    with open(tmp_path / "answers" / f"{centre}-lines.csv", encoding="utf-8", newline="") as handle:
        answers = {
            (r["agreement_no"], r["serial_no"]): (int(r["figure_fen"]), int(r["entitled_fen"]), int(r["payable_fen"]), r["outcome"])
            for r in csv.DictReader(handle)
        }
    assert register.lines(date(2026, 9, 30)) == answers and len(answers) == counts["lines"]
