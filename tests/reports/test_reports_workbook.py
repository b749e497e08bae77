"""What stands in the file: exact cells, no formula but in 勾稽表, equal bytes, continued sheets, a fingerprint that any change breaks."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest
import python_calamine
from reports_samples import COLUMNS, book, parts, rows

from subsidy.errors import TerminalError
from subsidy.reports import fingerprint, workbook
from subsidy.reports.cells import printable
from subsidy.reports.sheet import Book, Column, Term, of_rows
from subsidy.reports.watermark import watermark


def expected(row: tuple[object, ...]) -> list[object]:
    found: list[object] = []
    for value, column in zip(row, COLUMNS, strict=True):
        if column.kind == "money":
            found.append(float(Decimal(str(value)).scaleb(-2)))
        elif column.kind == "rate" and value is not None:
            found.append(float(Decimal(str(value)).scaleb(-6)))
        else:
            found.append(printable(value) if isinstance(value, str) else value)
    return found


def test_cells_read_back_in_both_readers(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    workbook.write(book(), path)
    ws = openpyxl.load_workbook(path)["贴息明细"]
    opened = [[c.value for c in row] for row in ws.iter_rows(min_row=4, max_row=3 + len(rows()))]
    for got, row in zip(opened, rows(), strict=True):
        got[3] = None if got[3] is None else got[3].date()  # type: ignore[attr-defined]
        assert [v or None for v in got] == [v or None for v in expected(row)]
    calamine = python_calamine.CalamineWorkbook.from_path(path).get_sheet_by_name("贴息明细").to_python(skip_empty_area=False)
    for got, row in zip(calamine[3:-1], rows(), strict=True):
        assert [v or "" for v in got] == [v or "" for v in expected(row)]
    assert calamine[-1][0] == "合计"
    assert round(calamine[-1][5] * 100) == sum(row[5] for row in rows())  # type: ignore[misc]


def test_amounts_are_decimal_text_with_two_places(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    workbook.write(book(), path)
    sheet = parts(path)["xl/worksheets/sheet2.xml"]
    amounts = re.findall(r'<c r="F\d+" s="\d+"><v>([^<]*)</v>', sheet)
    assert amounts[:-1] == [f"{Decimal(r[5]).scaleb(-2):.2f}" for r in rows()]  # type: ignore[arg-type]


def test_no_text_is_a_formula_and_identifiers_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    workbook.write(book(), path)
    for name, content in parts(path).items():
        if name.startswith("xl/worksheets/"):
            assert ("<f>" in content) == (name == "xl/worksheets/sheet3.xml"), name
        assert "externalLink" not in name
    ws = openpyxl.load_workbook(path)["贴息明细"]
    assert {c.data_type for row in ws.iter_rows(min_row=4, max_col=2) for c in row if c.value is not None} <= {"s", "inlineStr"}
    assert ws["A4"].value == "3301000000000000000000"


def test_equal_content_has_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        workbook.write(book(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_layout_for_print_and_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    workbook.write(book(), path)
    for ws in openpyxl.load_workbook(path).worksheets:
        assert (ws.page_setup.orientation, int(ws.page_setup.paperSize)) == ("landscape", 9)
        assert "&P" in ws.oddFooter.center.text and "&N" in ws.oddFooter.center.text
        if ws.title not in ("封面", "勾稽表"):
            assert ws.freeze_panes == "A4"
            assert ws.auto_filter.ref == f"A3:G{3 + len(rows())}"
        if ws.title != "封面":
            assert ws.print_title_rows == "$1:$3"


def test_no_text_is_cut(tmp_path: Path) -> None:
    """A column is as wide as its longest text, a row as high as its wrapped one and the cover's."""
    name, field = "浙江省省直单位住房公积金管理中心", "贷款业务明细类型（DKYWMXLX）"
    columns = (Column("中心", width=12), Column("代码", width=12), Column("字段", width=14, wrap=True), Column("说明", width=12))
    sheet = of_rows("表", columns, [(name, "A" * 12, field, "长" * 100), ("", "", "字段", "")])
    coded = replace(sheet, data=sheet.data.set_column(0, "中心", sheet.data["中心"].dictionary_encode()))
    cover = replace(book().cover, facts=(("已完成", "、".join([name] * 6)),))
    workbook.write(Book(cover, (coded,), ()), tmp_path / "book.xlsx")
    opened = openpyxl.load_workbook(tmp_path / "book.xlsx")
    widths = [opened["表"].column_dimensions[letter].width for letter in "ABCD"]
    assert widths == [34, 12, 14, 64]
    assert opened["表"].row_dimensions[4].height >= 3 * 13 and opened["表"].row_dimensions[5].height is None
    assert opened["封面"].row_dimensions[3].height >= 3 * 13


@pytest.mark.parametrize("count", [0, 9, 10, 11, 25])
def test_a_long_sheet_continues_on_the_next(tmp_path: Path, count: int) -> None:
    """The formulas add up all sheets, the fingerprint does not depend on where they are cut."""
    whole, cut = tmp_path / "whole.xlsx", tmp_path / "cut.xlsx"
    source = book(count)
    assert workbook.write(source, whole) == workbook.write(source, cut, sheet_rows=10)
    opened = openpyxl.load_workbook(cut)
    titles = [t for t in opened.sheetnames if t.startswith("贴息明细")]
    assert titles == ["贴息明细", "贴息明细2", "贴息明细3"][: max(1, -(-count // 10))]
    for title in titles:
        assert title in opened["勾稽表"]["C4"].value
        assert opened[title].cell(opened[title].max_row, 1).value == "合计"
    assert fingerprint.read(cut).matches
    values = openpyxl.load_workbook(cut, data_only=True)["勾稽表"]
    assert [values["D4"].value, values["E4"].value, values["D5"].value] == [0, "相符", 0]
    assert round(sum(opened[t].cell(opened[t].max_row, 6).value for t in titles) * 100) == source.sheets[0].total("应付金额")


def test_part_files_have_their_own_totals(tmp_path: Path) -> None:
    source = book(25)
    split = workbook.in_parts(source, "贴息明细", 10)
    assert [p.sheets[0].data.num_rows for p in split] == [10, 10, 5]
    assert sum(p.sheets[0].total("应付金额") for p in split) == source.sheets[0].total("应付金额")
    for number, part in enumerate(split, start=1):
        path = tmp_path / f"{number}.xlsx"
        workbook.write(part, path)
        assert fingerprint.read(path).facts["分册"] == f"第 {number} 册，共 3 册"
        assert fingerprint.read(path).matches


def test_the_tie_out_shows_a_difference_without_recalculation(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    source = book(ledger_fen=1)
    workbook.write(source, path)
    row = [c.value for c in openpyxl.load_workbook(path, data_only=True)["勾稽表"][4]]
    total = source.sheets[0].total("应付金额")
    assert [round(v * 100) for v in row[1:4]] == [1, total, 1 - total]
    assert row[4] == "不符"
    formats = openpyxl.load_workbook(path)["勾稽表"].conditional_formatting
    assert {str(f.sqref) for f in formats} == {"D4:D5", "E4:E5"}


def test_a_tie_over_chosen_rows() -> None:
    sheet = of_rows("贴息明细", COLUMNS, rows(), ())  # type: ignore[arg-type]
    formula = workbook.formula_of(Term(1, "贴息明细", "应付金额", (("状态", "已付"),)), [sheet])
    assert formula == "SUMIFS('贴息明细'!$F$4:$F$15,'贴息明细'!$G$4:$G$15,\"已付\")"


CHANGES = {
    "an amount": ("贴息明细", "F5", 0.02),
    "a text": ("贴息明细", "A4", "3301000000000000000009"),
    "a text made a number": ("贴息明细", "B9", 123),
    "a date": ("贴息明细", "D4", None),
    "a rate": ("贴息明细", "E4", 0.03),
    "the cover": ("封面", "E3", 1.0),
    "the policy on the cover": ("封面", "B4", "v2"),
    "the ledger's side": ("勾稽表", "B4", 5.0),
}


@pytest.mark.parametrize("what", CHANGES)
def test_any_change_breaks_the_fingerprint(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.xlsx"
    workbook.write(book(), path)
    opened = openpyxl.load_workbook(path)
    title, place, value = CHANGES[what]
    opened[title][place].value = value
    opened.save(path)
    assert not fingerprint.read(path).matches


def test_saving_again_and_signing_keep_the_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    source = book()
    workbook.write(source, path)
    opened = openpyxl.load_workbook(path)
    signature = next(row for row in opened["封面"].iter_rows() if row[0].value == "制表")
    signature[1].value, signature[4].value = "签名：李某", "2026-10-21"
    opened.save(path)
    shown = fingerprint.read(path)
    assert shown.matches
    assert shown.sheets == fingerprint.of_book(source)


@pytest.mark.parametrize("person", ["李某", "<&>\"'&P\\1 乙", "a&b&N\n换行"])
def test_a_watermark_is_seen_and_changes_nothing_else(tmp_path: Path, person: str) -> None:
    path, marked, again = (tmp_path / f"{n}.xlsx" for n in ("a", "b", "c"))
    workbook.write(book(25), path, sheet_rows=10)
    for out in (marked, again):
        watermark(path, out, person, "2026-10-21 09:30")
    assert marked.read_bytes() == again.read_bytes()
    assert fingerprint.read(marked) == fingerprint.read(path)
    opened = openpyxl.load_workbook(marked)
    assert opened["封面"]["A2"].value == f"水印：下载人 {person.replace(chr(10), ' ')}　时间 2026-10-21 09:30"
    for content in (c for n, c in parts(marked).items() if n.startswith("xl/worksheets/sheet")):
        assert content.count("2026-10-21 09:30</oddFooter>") == 1


def test_a_stranger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.xlsx"
    path.write_bytes(b"nothing")
    with pytest.raises(TerminalError, match="REPORT-UNREADABLE"):
        fingerprint.read(path)
    openpyxl.Workbook().save(path)
    with pytest.raises(TerminalError, match="REPORT-UNREADABLE"):
        fingerprint.read(path)
    with pytest.raises(TerminalError, match="REPORT-UNREADABLE"):
        watermark(path, tmp_path / "y.xlsx", "甲", "今日")
    assert not (tmp_path / "y.xlsx").exists()


def test_a_book_without_rows_is_written(tmp_path: Path) -> None:
    empty: Book = book(0)
    workbook.write(empty, tmp_path / "a.xlsx")
    assert fingerprint.read(tmp_path / "a.xlsx").matches
