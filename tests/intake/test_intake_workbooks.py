"""Workbooks as people make them: text cells by rule, values only where a profile says so, exact or refused."""

from __future__ import annotations

import dataclasses
import zipfile
from datetime import date, datetime, timedelta
from pathlib import Path

import openpyxl
import pytest
from intake_desk import RULES
from intake_samples import NIGHT, arrival
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from subsidy.intake import Intake, Profiles, load_profiles, read
from subsidy.intake.check import NothingKnown
from subsidy.intake.write import file_digest

DAY = datetime.fromisoformat("2026-09-10")  # a day in a cell has no time zone
HEAD = ["贷款账号", "状态日期", "贷款余额", "连续逾期期数", "累计逾期期数", "缴存状态", "贷款状态"]
COVER = [["中心编号", "330900000000000"], ["业务日期", "20260914"], ["批次号", "001"]]


def take(tmp_path: Path, body: list[list[object]], total: str, cells: str = "values", **book: object) -> Intake:
    """A TX02 workbook with `body`, taken by a profile that allows text or values."""
    base = load_profiles(RULES, "zhoushan").profiles["main"]
    profiles = Profiles("zhoushan", {"main": dataclasses.replace(base, cells=cells)})  # type: ignore[arg-type]
    made = openpyxl.Workbook()
    made.remove(made.active)
    if book.get("epoch"):
        made.epoch = book["epoch"]
    cover = made.create_sheet("封面")
    for row in [*COVER, ["表", "TX02", "增量", str(len(body)), f"贷款余额={total}"]]:
        cover.append(row)
    sheet = made.create_sheet("TX02")
    for cells_of_row in [HEAD, *body]:
        sheet.append(cells_of_row)
    if book.get("filter"):
        sheet.auto_filter.ref = "A1:G2"
    path = tmp_path / "ZS_20260914_001.xlsx"
    made.save(path)
    path.with_name(path.name + ".sha256").write_text(file_digest(path, "sha256") + "\n")
    return read(arrival(path, profiles), profiles, NothingKnown(), file_no=1, known_on=NIGHT, checking=True)


def row(**change: object) -> list[object]:
    values: dict[str, object] = dict(zip(HEAD, ["DK001", "2026-09-10", "499213.11", "0", "0", "01", "正常"], strict=True))
    return list({**values, **change}.values())


def booked(intake: Intake) -> list[dict[str, object]]:
    assert intake.state == "booked", intake.message
    return [r for part in intake.tables["status"].batches() for r in part.to_pylist()]


def test_text_cells_are_text_everywhere(tmp_path: Path) -> None:
    [one] = booked(take(tmp_path, [row()], "499213.11", "text"))
    assert (one["balance_fen"], one["as_of"], one["account_no"]) == (49_921_311, date(2026, 9, 10), "DK001")


def test_numbers_and_dates_where_values_are_allowed(tmp_path: Path) -> None:
    numbers = row(贷款余额=499213.11, 连续逾期期数=0, 累计逾期期数=2, 状态日期=DAY)
    [one] = booked(take(tmp_path, [numbers], "499213.11"))
    assert (one["balance_fen"], one["overdue_total"], one["as_of"]) == (49_921_311, 2, date(2026, 9, 10))


def test_dates_of_the_1904_calendar(tmp_path: Path) -> None:
    [one] = booked(take(tmp_path, [row(状态日期=DAY)], "499213.11", epoch=CALENDAR_MAC_1904))
    assert one["as_of"] == date(2026, 9, 10)


@pytest.mark.parametrize(
    "change",
    [{"贷款余额": 1e20}, {"贷款余额": True}, {"状态日期": DAY + timedelta(hours=12)}, {"贷款余额": 1.005}, {"贷款账号": 1.5e300}],
    ids=["too many digits", "a truth value", "a time of day", "three decimals", "a huge number"],
)
def test_what_a_cell_cannot_hold_exactly_waits(change: dict[str, object], tmp_path: Path) -> None:
    intake = take(tmp_path, [row(**change), row(贷款账号="DK002")], "499213.11")
    assert intake.counts.quarantined == 1 or intake.state == "refused"
    assert {f.code for f in intake.findings} & {"ROW-CELL", "FIELD-AMOUNT"}


def test_where_text_is_agreed_a_number_waits(tmp_path: Path) -> None:
    intake = take(tmp_path, [row(贷款余额=499213.11)], "499213.11", "text")
    assert [q.code for q in intake.quarantined] == ["ROW-CELL"]
    assert b"499213.11" in intake.quarantined[0].raw


def test_filters_that_excel_names_itself_are_fine(tmp_path: Path) -> None:
    assert len(booked(take(tmp_path, [row()], "499213.11", "text", filter=True))) == 1


def test_a_formula_like_text_is_text(tmp_path: Path) -> None:
    base = load_profiles(RULES, "zhoushan").profiles["main"]
    assert base.cells == "text"
    path = tmp_path / "x"
    path.mkdir()
    intake = take(path, [row()], "499213.11", "text")
    assert intake.state == "booked"
    with zipfile.ZipFile(path / "ZS_20260914_001.xlsx") as archive:
        assert b"<f>" not in b"".join(archive.read(n) for n in archive.namelist())
