"""Write a `Book` as an .xlsx workbook whose bytes depend on its content only, and read the fingerprint back.

Identifiers are string cells, amounts are decimal text in number cells (no binary fraction is ever computed), only 勾稽表 holds formulas.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.formatting.rule import CellIsRule
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from subsidy.reports.sheet import Book, Column, Cover, Sheet, Tie, Value

EXCEL_ROWS = 1_048_576
FONT = "Noto Sans CJK SC"
FORMATS = {"money": "#,##0.00;[Red]-#,##0.00", "int": "0", "date": "yyyy-mm-dd", "rate": "0.0000%", "text": "@"}
THIN = Border(*(Side(style="thin", color="BFBFBF"),) * 4)
HEAD_FILL = PatternFill("solid", fgColor="1F4E78")
TOTAL_FILL = PatternFill("solid", fgColor="DDEBF7")
BAD_FILL = PatternFill("solid", fgColor="FF9999")
#: The first row of a sheet below its title and notes that holds labels.
LABEL_ROW = 3


def fingerprint(sheets: Iterable[Sheet]) -> str:
    """SHA-256 over title, labels and values of the sheets, in order. Amounts in fen, rates in ppm, dates in ISO form."""
    digest = hashlib.sha256()
    for sheet in sheets:
        digest.update(f"#{sheet.title}\x1e".encode())
        digest.update("\x1f".join(c.label for c in sheet.columns).encode() + b"\x1e")
        for row in sheet.rows:
            digest.update("\x1f".join("" if v is None else str(v) for v in row).encode() + b"\x1e")
    return digest.hexdigest()


def write(book: Book, path: Path) -> str:
    """Write `book` to `path` (which must not be visible yet to anybody). Returns the SHA-256 of the file."""
    workbook = openpyxl.Workbook()
    first = workbook.active
    assert first is not None
    parts = [part for sheet in book.sheets for part in _parts(sheet)]
    places = {
        sheet.title: _places([p for p in parts if p.title.rstrip("0123456789") == sheet.title or p.title == sheet.title])
        for sheet in book.sheets
    }
    _cover(first, book.cover, fingerprint(book.sheets))
    for part in parts:
        _sheet(workbook.create_sheet(part.title), part)
    if book.ties:
        _ties(workbook.create_sheet("勾稽表"), book.ties, places)
    buffer = io.BytesIO()
    workbook.save(buffer)
    data = stable(buffer.getvalue())
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def stable(data: bytes) -> bytes:
    """The same package with fixed times, so that equal content has equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as target:
        for name in sorted(source.namelist(), key=lambda n: (n != "[Content_Types].xml", n)):
            content = source.read(name)
            if name == "docProps/core.xml":
                content = re.sub(rb"(<dcterms:(created|modified)[^>]*>)[^<]*", rb"\g<1>2000-01-01T00:00:00Z", content)
            entry = zipfile.ZipInfo(name, date_time=(2000, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o600 << 16
            target.writestr(entry, content)
    return out.getvalue()


def _parts(sheet: Sheet) -> list[Sheet]:
    size = EXCEL_ROWS - LABEL_ROW - 1
    if len(sheet.rows) <= size:
        return [sheet]
    return [
        Sheet(sheet.title + ("" if i == 0 else str(i + 1)), sheet.columns, sheet.rows[start : start + size], sheet.notes)
        for i, start in enumerate(range(0, len(sheet.rows), size))
    ]


def _places(parts: Sequence[Sheet]) -> dict[str, list[str]]:
    """Per column label the ranges that hold its values."""
    found: dict[str, list[str]] = {}
    for part in parts:
        last = LABEL_ROW + max(1, len(part.rows))
        for i, column in enumerate(part.columns, start=1):
            letter = get_column_letter(i)
            found.setdefault(column.label, []).append(f"'{part.title}'!${letter}${LABEL_ROW + 1}:${letter}${last}")
    return found


def shown(value: Value, column: Column) -> Any:
    """The cell value of a plain value: fen as a decimal number of yuan, ppm as a decimal fraction."""
    if value is None:
        return None
    if column.kind == "money":
        return Decimal(int(str(value))).scaleb(-2)
    if column.kind == "rate":
        return Decimal(int(str(value))).scaleb(-6)
    return value


def _set(cell: Any, value: Any, kind: str, *, bold: bool = False) -> None:
    if kind == "text" and value is not None:
        cell.value = str(value)
        cell.data_type = "s"
    else:
        cell.value = value
    cell.number_format = FORMATS[kind]
    cell.border = THIN
    cell.font = Font(name=FONT, size=9, bold=bold)


def _sheet(ws: Worksheet, sheet: Sheet) -> None:
    ws["A1"].value = sheet.title
    ws["A1"].font = Font(name=FONT, size=14, bold=True)
    ws["A2"].value = "；".join(sheet.notes)
    ws["A2"].font = Font(name=FONT, size=9, color="7F7F7F")
    for i, column in enumerate(sheet.columns, start=1):
        cell = ws.cell(LABEL_ROW, i)
        cell.value = column.label
        cell.font = Font(name=FONT, size=9, bold=True, color="FFFFFF")
        cell.fill = HEAD_FILL
        cell.border = THIN
        cell.alignment = Alignment(horizontal="center", vertical="center", wrap_text=True)
        ws.column_dimensions[get_column_letter(i)].width = column.width
    for r, row in enumerate(sheet.rows, start=LABEL_ROW + 1):
        for c, (value, column) in enumerate(zip(row, sheet.columns, strict=True), start=1):
            _set(ws.cell(r, c), shown(value, column), column.kind)
    last = LABEL_ROW + max(1, len(sheet.rows))
    if any(c.total for c in sheet.columns):
        for c, column in enumerate(sheet.columns, start=1):
            cell = ws.cell(last + 1, c)
            _set(
                cell,
                shown(sheet.total(column.label), column) if column.total else ("合计" if c == 1 else None),
                column.kind if column.total else "text",
                bold=True,
            )
            cell.fill = TOTAL_FILL
    ws.freeze_panes = ws.cell(LABEL_ROW + 1, 1)
    ws.auto_filter.ref = f"A{LABEL_ROW}:{get_column_letter(len(sheet.columns))}{last}"
    _print_layout(ws)


def _print_layout(ws: Worksheet) -> None:
    ws.page_setup.orientation = "landscape"
    ws.page_setup.paperSize = 9
    ws.page_setup.fitToWidth = 1
    ws.page_setup.fitToHeight = 0
    ws.sheet_properties.pageSetUpPr.fitToPage = True
    ws.print_title_rows = f"1:{LABEL_ROW}"
    ws.oddFooter.center.text = "第 &P 页 共 &N 页"
    ws.oddFooter.left.text = "&A"


def _cover(ws: Worksheet, cover: Cover, print_: str) -> None:
    ws.title = "封面"
    ws.column_dimensions["A"].width = 24
    ws.column_dimensions["B"].width = 72
    ws["A1"].value = cover.heading
    ws["A1"].font = Font(name=FONT, size=18, bold=True)
    row = 3
    for label, value in (*cover.facts, ("本表指纹", print_)):
        _set(ws.cell(row, 1), label, "text", bold=True)
        _set(ws.cell(row, 2), value, "text")
        ws.cell(row, 2).alignment = Alignment(wrap_text=True)
        row += 1
    row += 1
    for label, amount in cover.totals:
        _set(ws.cell(row, 1), label, "text", bold=True)
        _set(ws.cell(row, 2), shown(amount, Column(label, "money")), "money")
        ws.cell(row, 2).alignment = Alignment(horizontal="left")
        row += 1
    row += 1
    for warning in cover.warnings:
        cell = ws.cell(row, 1)
        cell.value = "提示：" + warning
        cell.font = Font(name=FONT, size=10, bold=True, color="C00000")
        row += 1
    row += 1
    for label in cover.signatures:
        _set(ws.cell(row, 1), label, "text", bold=True)
        _set(ws.cell(row, 2), "", "text")
        ws.row_dimensions[row].height = 30
        row += 1
    ws.page_setup.paperSize = 9
    ws.page_setup.fitToWidth = 1
    ws.page_setup.fitToHeight = 1
    ws.sheet_properties.pageSetUpPr.fitToPage = True


def _ties(ws: Worksheet, ties: Sequence[Tie], places: dict[str, dict[str, list[str]]]) -> None:
    columns = (
        Column("勾稽项目", width=48),
        Column("账簿金额", "money", 18),
        Column("报表金额（公式）", "money", 18),
        Column("差额", "money", 14),
        Column("结果", width=10),
    )
    ws["A1"].value = "勾稽表"
    ws["A1"].font = Font(name=FONT, size=14, bold=True)
    ws["A2"].value = "账簿金额取自账簿；报表金额由本工作簿各表按公式相加；差额不为零即变红，不得付款。"
    ws["A2"].font = Font(name=FONT, size=9, color="7F7F7F")
    for i, column in enumerate(columns, start=1):
        _set(ws.cell(LABEL_ROW, i), column.label, "text", bold=True)
        ws.cell(LABEL_ROW, i).fill = TOTAL_FILL
        ws.column_dimensions[get_column_letter(i)].width = column.width
    for r, tie in enumerate(ties, start=LABEL_ROW + 1):
        _set(ws.cell(r, 1), tie.label, "text")
        _set(ws.cell(r, 2), shown(tie.ledger_fen, columns[1]), "money")
        formula = "".join(f"{'+' if sign > 0 else '-'}SUM({','.join(places[title][label])})" for sign, title, label in tie.terms)
        for c, text in ((3, f"=ROUND({formula.removeprefix('+')},2)"), (4, f"=ROUND(B{r}-C{r},2)"), (5, f'=IF(D{r}=0,"相符","不符")')):
            _set(ws.cell(r, c), text, "money" if c < 5 else "text")
            ws.cell(r, c).value = text
            ws.cell(r, c).data_type = "f"
    last = LABEL_ROW + len(ties)
    ws.conditional_formatting.add(f"D{LABEL_ROW + 1}:D{last}", CellIsRule(operator="notEqual", formula=["0"], fill=BAD_FILL))
    ws.freeze_panes = ws.cell(LABEL_ROW + 1, 1)
    _print_layout(ws)


def read_back(path: Path) -> tuple[str, str]:
    """(fingerprint printed on the cover, fingerprint recomputed from the sheets) of a workbook, watermarked or not."""
    workbook = openpyxl.load_workbook(path, data_only=False)
    printed = ""
    for row in workbook["封面"].iter_rows(min_col=1, max_col=2, values_only=True):
        if row[0] == "本表指纹":
            printed = str(row[1])
    digest = hashlib.sha256()
    previous = ""
    for ws in workbook.worksheets:
        if ws.title in ("封面", "勾稽表"):
            continue
        labels = [c.value for c in ws[LABEL_ROW]]
        formats = [c.number_format for c in ws[LABEL_ROW + 1]] if ws.max_row > LABEL_ROW else []
        base = ws.title.rstrip("0123456789")
        if base != previous:
            digest.update(f"#{base}\x1e".encode())
            digest.update("\x1f".join(str(v) for v in labels).encode() + b"\x1e")
            previous = base
        for row in ws.iter_rows(min_row=LABEL_ROW + 1, values_only=True):
            if row[0] == "合计" or all(v is None for v in row):
                continue
            digest.update("\x1f".join(_plain(v, f) for v, f in zip(row, formats, strict=True)).encode() + b"\x1e")
    return printed, digest.hexdigest()


def _plain(value: Any, number_format: str) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if number_format == FORMATS["money"]:
        return str(int(Decimal(str(value)).scaleb(2).to_integral_exact()))
    if number_format == FORMATS["rate"]:
        return str(int(Decimal(str(value)).scaleb(6).to_integral_exact()))
    return str(value)
