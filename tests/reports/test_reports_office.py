"""LibreOffice opens the workbook, recalculates the tie-out, and prints it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import openpyxl
import pytest
from reports_samples import CENTRE, PERIODS, book

from subsidy.night import reporting
from subsidy.reports import workbook
from subsidy.settings import Settings


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LibreOffice profile of these tests' own."""
    return tmp_path_factory.mktemp("office")


def convert(profile: Path, path: Path, to: str) -> Path:
    """Open, recalculate, save as `to`."""
    out = path.parent / f"{path.stem}-{to}"
    subprocess.run(
        ["soffice", f"-env:UserInstallation={profile.as_uri()}", "--headless", "--convert-to", to, "--outdir", str(out), str(path)],
        check=True,
        capture_output=True,
        timeout=180,
    )
    return out / f"{path.stem}.{to}"


def differences(path: Path) -> list[tuple[float, str]]:
    ties = openpyxl.load_workbook(path, data_only=True)["勾稽表"].iter_rows(min_row=4, values_only=True)
    return [(row[3], row[4]) for row in ties]  # type: ignore[misc]


def test_the_story_recalculates_to_zero_and_a_changed_cell_does_not(told: Settings, profile: Path, tmp_path: Path) -> None:
    path = tmp_path / "story.xlsx"
    workbook.write(reporting.current(reporting.of_period(told, CENTRE, PERIODS[1]), PERIODS[1]), path)
    recalculated = differences(convert(profile, path, "xlsx"))
    assert len(recalculated) == 20 and set(recalculated) == {(0, "相符")}
    opened = openpyxl.load_workbook(path)
    opened["贴息明细"]["K4"].value = 0.01
    opened.save(tmp_path / "changed.xlsx")
    wrong = differences(convert(profile, tmp_path / "changed.xlsx", "xlsx"))
    assert wrong[0][0] != 0 and wrong[0][1] == "不符"
    assert wrong[1] == (0, "相符")


def test_continued_sheets_recalculate(profile: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.xlsx"
    workbook.write(book(25), path, sheet_rows=10)
    assert set(differences(convert(profile, path, "xlsx"))) == {(0, "相符")}


def test_it_prints(told: Settings, profile: Path, tmp_path: Path) -> None:
    path = tmp_path / "print.xlsx"
    workbook.write(reporting.current(reporting.of_period(told, CENTRE, PERIODS[0]), PERIODS[0]), path)
    data = convert(profile, path, "pdf").read_bytes()
    assert data.startswith(b"%PDF-") and len(data) > 50_000
