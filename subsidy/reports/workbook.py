"""Write a `Book` as one .xlsx workbook whose bytes depend on its content only.

openpyxl makes the package: cover, tie-out, and every sheet's layout. The rows are written by `stream` straight into the package, where
the sheet's own few rows end; so a sheet of a million rows costs no Python object per cell. Identifiers are inline text cells, amounts are
decimal text in number cells, only 勾稽表 holds formulas.
"""

from __future__ import annotations

import io
import itertools
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import IO, Any
from weakref import WeakKeyDictionary

import openpyxl
from openpyxl.formatting import rule as rules
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.pagebreak import Break
from openpyxl.worksheet.worksheet import Worksheet

from subsidy.reports import fingerprint, stream
from subsidy.reports.cells import printable
from subsidy.reports.sheet import Book, Column, Cover, Kind, Sheet, Term, Tie, value_of

EXCEL_ROWS = 1_048_576
FONT = "Noto Sans CJK SC"
FORMATS: dict[Kind, str] = {"money": "#,##0.00;[Red]-#,##0.00", "int": "0", "date": "yyyy-mm-dd", "rate": "0.0000%", "text": "@"}
THIN = Border(*(Side(style="thin", color="BFBFBF"),) * 4)
HEAD_FILL = PatternFill("solid", fgColor="1F4E78")
TOTAL_FILL = PatternFill("solid", fgColor="DDEBF7")
BAD_FILL = PatternFill("solid", bgColor="FF5050", fgColor="FF5050")
#: The row of a sheet that holds labels; title and notes stand above it.
LABEL_ROW = 3
COVER, TIES = "封面", "勾稽表"
#: Characters of default width that a landscape A4 page holds at full size.
PAGE_CHARACTERS = 112
#: The cover's row that a watermark is written into.
MARK_ROW = 2
_UNPRINTED = "0" * 64
_EPOCH = (2000, 1, 1, 0, 0, 0)
_COMPRESSION = 4


@dataclass(frozen=True, slots=True)
class _Part:
    """One sheet of the file: its rows, its cell formats, its formats for the total."""

    sheet: Sheet
    styles: tuple[int, ...]
    total_styles: tuple[int, ...]
    base: str  # title of the sheet that it is a part of


def write(book: Book, path: Path, sheet_rows: int = EXCEL_ROWS - LABEL_ROW - 1) -> str:
    """Write `book` to `path` (which must not be visible yet to anybody) and return its fingerprint, which stands on the cover.

    A sheet of more than `sheet_rows` rows continues on the next (贴息明细, 贴息明细2, …), each with its own total."""
    workbook = openpyxl.Workbook()
    first = workbook.active
    assert first is not None
    _cover(first, book.cover)
    parts, places = list[_Part](), dict[str, list[Sheet]]()
    for sheet in book.sheets:
        for number, start in enumerate(range(0, max(1, sheet.data.num_rows), sheet_rows), start=1):
            piece = sheet.part(start, sheet_rows, sheet.title + (str(number) if number > 1 else ""))
            parts.append(_shell(workbook.create_sheet(piece.title), piece, sheet.title))
            places.setdefault(sheet.title, []).append(piece)
    if book.ties:
        _ties(workbook.create_sheet(TIES), book.ties, places)
        workbook.calculation.fullCalcOnLoad = True
    buffer = io.BytesIO()
    workbook.save(buffer)
    with zipfile.ZipFile(buffer) as shell, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=_COMPRESSION) as target:
        return _assemble(book, shell, target, parts)


def _assemble(book: Book, shell: zipfile.ZipFile, target: zipfile.ZipFile, parts: Sequence[_Part]) -> str:
    """Copy the package, rows spliced into their sheets; what shows the fingerprint comes last."""
    spliced = {f"xl/worksheets/sheet{number}.xml": part for number, part in enumerate(parts, start=2)}
    ties = f"xl/worksheets/sheet{len(parts) + 2}.xml"
    cover, seal = "xl/worksheets/sheet1.xml", ""
    digests = dict[str, Any]()
    for name in sorted(shell.namelist(), key=lambda n: (n == cover, n != "[Content_Types].xml", n not in spliced, len(n), n)):
        content = shell.read(name)
        if name in spliced:
            _splice(target, name, content, spliced[name], digests)
            continue
        if name == "docProps/core.xml":
            content = re.sub(rb"(<dcterms:(created|modified)[^>]*>)[^<]*", rb"\g<1>2000-01-01T00:00:00Z", content)
        elif name == ties and book.ties:
            content = _with_values(content, book)
        elif name == cover:
            seal = fingerprint.combined({title: digest.hexdigest() for title, digest in digests.items()} | fingerprint.front(book))
            content = content.replace(_UNPRINTED.encode(), seal.encode())
        with target.open(_entry(name), "w") as handle:
            handle.write(content)
    return seal


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=_EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry._compresslevel = _COMPRESSION  # type: ignore[attr-defined]
    entry.external_attr = 0o600 << 16
    return entry


def _splice(target: zipfile.ZipFile, name: str, shell: bytes, part: _Part, digests: dict[str, Any]) -> None:
    """Write one sheet: openpyxl's part up to the sample row, our rows, the total, openpyxl's rest."""
    sheet = part.sheet
    at, end = shell.index(f'<row r="{LABEL_ROW + 1}"'.encode()), shell.index(b"</sheetData>")
    last = f"{get_column_letter(len(sheet.columns))}{LABEL_ROW + max(1, sheet.data.num_rows) + max(1, len(sheet.totals()))}"
    head = re.sub(rb'<dimension ref="[^"]*"', f'<dimension ref="A1:{last}"'.encode(), shell[:at])
    if part.base not in digests:
        digests[part.base] = stream.start_digest(part.base, [c.label for c in sheet.columns])
    with target.open(_entry(name), "w", force_zip64=True) as handle:
        handle.write(head)
        _compressed(handle, _rows(part, digests[part.base].update))
        handle.write(stream.totals_xml(sheet, LABEL_ROW + max(1, sheet.data.num_rows) + 1, part.total_styles).encode())
        handle.write(shell[end:])


def _rows(part: _Part, digest: Callable[[memoryview], None]) -> Iterator[memoryview]:
    row = LABEL_ROW + 1
    for block in stream.blocks(part.sheet):
        digest(stream.seal_bytes(part.sheet.columns, block))
        yield stream.rows_xml(part.sheet.columns, block, row, part.styles)
        row += len(block[0])


def _compressed(handle: IO[bytes], pieces: Iterator[memoryview]) -> None:
    """Write pieces while the next one is being made: compression and Arrow both leave the interpreter free."""
    with ThreadPoolExecutor(1) as pool:
        before: Future[int] | None = None
        for piece in pieces:
            if before is not None:
                before.result()
            before = pool.submit(handle.write, piece)
        if before is not None:
            before.result()


def _style(cell: Any, kind: Kind, *, bold: bool = False, wrap: bool = False, fill: PatternFill | None = None) -> int:
    def make() -> None:
        cell.number_format = FORMATS[kind]
        cell.border = THIN
        cell.font = Font(name=FONT, size=9, bold=bold)
        cell.alignment = Alignment(
            vertical="center", wrap_text=wrap or None, horizontal={"date": "center", "text": "left"}.get(kind), indent=int(kind == "text")
        )
        if fill is not None:
            cell.fill = fill

    _once(cell, (kind, bold, wrap, fill is not None), make)
    return int(cell.style_id)


#: Styles that a workbook has already: openpyxl looks every part of a style up anew each time one is made.
_MADE: WeakKeyDictionary[Any, dict[object, Any]] = WeakKeyDictionary()


def _once(cell: Any, what: object, make: Callable[[], None]) -> None:
    """Give `cell` the style that `make` gives it, copied from the first cell of its workbook that was given `what`."""
    made = _MADE.setdefault(cell.parent.parent, {})
    if what in made:
        cell._style = copy(made[what])
        return
    make()
    made[what] = copy(cell._style)


def _shell(ws: Worksheet, sheet: Sheet, base: str) -> _Part:
    """A sheet without rows: title, notes, labels, widths, print layout. Row `LABEL_ROW` + 1 and + 2 only carry formats and are cut out."""
    _heading(ws, sheet.title, "；".join(sheet.notes))
    styles, totals, widths = [], [], sheet.widths()
    for i, (column, width) in enumerate(zip(sheet.columns, widths, strict=True), start=1):
        _label(ws.cell(LABEL_ROW, i), column.label)
        ws.column_dimensions[get_column_letter(i)].width = width
        styles.append(_style(ws.cell(LABEL_ROW + 1, i), column.kind, wrap=column.wrap))
        totals.append(_style(ws.cell(LABEL_ROW + 2, i), column.kind if column.total else "text", bold=True, fill=TOTAL_FILL))
    ws.row_dimensions[LABEL_ROW].height = 28
    ws.freeze_panes = f"A{LABEL_ROW + 1}"
    ws.auto_filter.ref = f"A{LABEL_ROW}:{get_column_letter(len(sheet.columns))}{LABEL_ROW + max(1, sheet.data.num_rows)}"
    _print_layout(ws)
    if sheet.breaks:
        _break_pages(ws, sheet, widths)
    return _Part(sheet, tuple(styles), tuple(totals), base)


def _heading(ws: Worksheet, title: str, notes: str) -> None:
    for row, text, font in ((1, title, Font(name=FONT, size=14, bold=True)), (2, notes, Font(name=FONT, size=9, color="7F7F7F"))):
        _text(ws.cell(row, 1), text)
        ws.cell(row, 1).font = font


def _label(cell: Any, text: str) -> None:
    cell.value = text

    def make() -> None:
        cell.font = Font(name=FONT, size=9, bold=True, color="FFFFFF")
        cell.fill = HEAD_FILL
        cell.border = THIN
        cell.alignment = Alignment(horizontal="center", vertical="center", wrap_text=True)

    _once(cell, "label", make)


def _print_layout(ws: Any, repeat: bool = True) -> None:
    ws.page_setup.orientation = "landscape"
    ws.page_setup.paperSize = 9
    ws.page_setup.fitToWidth = 1
    ws.page_setup.fitToHeight = 0
    ws.sheet_properties.pageSetUpPr.fitToPage = True
    if repeat:
        ws.print_title_rows = f"1:{LABEL_ROW}"
    ws.print_options.horizontalCentered = True
    ws.page_margins.left = ws.page_margins.right = 0.4
    ws.page_margins.top, ws.page_margins.bottom = 0.5, 0.75
    ws.page_margins.header = ws.page_margins.footer = 0.3
    ws.oddFooter.center.text = "第 &P 页 共 &N 页"
    ws.oddFooter.left.text = "&A"


def _break_pages(ws: Any, sheet: Sheet, widths: Sequence[int]) -> None:
    """Print a wide sheet on several pages side by side, each readable, the first column repeated."""
    edges = [0, *(sheet.place(label) + 1 for label in sheet.breaks), len(sheet.columns)]
    pages = [sum(widths[low:high]) + (widths[0] if low else 0) for low, high in itertools.pairwise(edges)]
    ws.sheet_properties.pageSetUpPr.fitToPage = False
    ws.page_setup.scale = min(100, int(100 * PAGE_CHARACTERS / max(pages)))
    ws.page_setup.pageOrder = "overThenDown"
    ws.print_title_cols = "A:A"
    for edge in edges[1:-1]:
        ws.col_breaks.append(Break(id=edge))


def _text(cell: Any, text: str) -> None:
    cell.value = printable(text)
    cell.data_type = "s"


def _yuan(fen: int) -> Decimal:
    return Decimal(fen).scaleb(-2)


def _cover(ws: Worksheet, cover: Cover) -> None:
    """Heading, room for a watermark, facts on the left and totals on the right, warnings, signatures."""
    ws.title = COVER
    widths = dict(zip("ABCDE", (18, 70, 3, 26, 20), strict=True))
    for letter, width in widths.items():
        ws.column_dimensions[letter].width = width
    ws.merge_cells("A1:E1")
    ws["A1"].font = Font(name=FONT, size=20, bold=True)
    ws["A1"].alignment = Alignment(horizontal="center", vertical="center")
    _text(ws["A1"], cover.heading)
    ws.row_dimensions[1].height = 44
    ws.cell(MARK_ROW, 1).font = Font(name=FONT, size=9, color="C00000", italic=True)
    ws.cell(MARK_ROW, 1).value = " "
    row = MARK_ROW + 1
    for at, (label, value) in enumerate((*cover.facts, (fingerprint.PRINTED, _UNPRINTED))):
        _style(ws.cell(row + at, 1), "text", bold=True, fill=TOTAL_FILL)
        _style(ws.cell(row + at, 2), "text", wrap=True)
        _text(ws.cell(row + at, 1), label)
        _text(ws.cell(row + at, 2), value)
        ws.row_dimensions[row + at].height = max(20, stream.points_of(value, widths["B"]))
    for at, (label, amount) in enumerate(cover.totals):
        _style(ws.cell(row + at, 4), "text", bold=True, fill=TOTAL_FILL)
        _style(ws.cell(row + at, 5), "money")
        _text(ws.cell(row + at, 4), label)
        ws.cell(row + at, 5).value = _yuan(amount)
        ws.row_dimensions[row + at].height = ws.row_dimensions[row + at].height or 20
    row += max(len(cover.facts) + 1, len(cover.totals)) + 1
    for warning in cover.warnings:
        ws.merge_cells(start_row=row, end_row=row, start_column=1, end_column=5)
        _text(ws.cell(row, 1), "提示：" + warning)
        ws.cell(row, 1).font = Font(name=FONT, size=9, bold=True, color="C00000")
        ws.cell(row, 1).alignment = Alignment(wrap_text=True, vertical="center")
        ws.row_dimensions[row].height = 15 * (1 + len(warning) // 68)
        row += 1
    row += 1
    for label in cover.signatures:
        _style(ws.cell(row, 1), "text", bold=True, fill=TOTAL_FILL)
        _text(ws.cell(row, 1), label)
        for at, text in ((2, "签名："), (4, "日期：")):
            _style(ws.cell(row, at), "text")
            _text(ws.cell(row, at), text)
        _style(ws.cell(row, 5), "text")
        ws.row_dimensions[row].height = 34
        row += 1
    _print_layout(ws, repeat=False)
    ws.page_setup.fitToHeight = 1


TIE_COLUMNS = (
    Column("勾稽项目", width=64),
    Column("账簿金额", "money", 18),
    Column("报表金额（公式）", "money", 18),
    Column("差额", "money", 14),
    Column("结果", width=8),
    Column("账簿金额取自", width=56),
)


def _ties(ws: Worksheet, ties: Sequence[Tie], places: dict[str, list[Sheet]]) -> None:
    _heading(ws, TIES, "账簿金额直接取自账簿，不经过各表；报表金额由本工作簿各表按公式相加；差额不为零即变红，不得付款；金额单位：元。")
    for i, column in enumerate(TIE_COLUMNS, start=1):
        _label(ws.cell(LABEL_ROW, i), column.label)
        ws.column_dimensions[get_column_letter(i)].width = column.width
    for r, tie in enumerate(ties, start=LABEL_ROW + 1):
        terms = "".join(f"{'+' if t.sign > 0 else '-'}{formula_of(t, places[t.title])}" for t in tie.terms).removeprefix("+")
        for c, column in enumerate(TIE_COLUMNS, start=1):
            _style(ws.cell(r, c), column.kind, wrap=c in (1, 6))
        ws.cell(r, 5).alignment = Alignment(horizontal="center", vertical="center")
        _text(ws.cell(r, 1), tie.label)
        ws.cell(r, 2).value = _yuan(tie.ledger_fen)
        for c, text in ((3, f"=ROUND({terms},2)"), (4, f"=ROUND(B{r}-C{r},2)"), (5, f'=IF(D{r}=0,"相符","不符")')):
            ws.cell(r, c).value = text
        _text(ws.cell(r, 6), tie.source)
    first, last = LABEL_ROW + 1, LABEL_ROW + len(ties)
    ws.conditional_formatting.add(f"D{first}:D{last}", _red("notEqual", "0"))
    ws.conditional_formatting.add(f"E{first}:E{last}", _red("equal", '"不符"'))
    ws.freeze_panes = f"A{LABEL_ROW + 1}"
    _print_layout(ws)


def _red(operator: str, compared: str) -> Any:
    make: Any = rules.CellIsRule
    return make(operator=operator, formula=[compared], fill=BAD_FILL)


def formula_of(term: Term, pieces: Sequence[Sheet]) -> str:
    """The Excel formula of a term over the sheets that hold its rows."""

    def cells(piece: Sheet, label: str) -> str:
        letter = get_column_letter(piece.place(label) + 1)
        return f"'{piece.title}'!${letter}${LABEL_ROW + 1}:${letter}${LABEL_ROW + max(1, piece.data.num_rows)}"

    if not term.where:
        return f"SUM({','.join(cells(p, term.label) for p in pieces)})"
    sums = [
        f"SUMIFS({cells(p, term.label)}," + ",".join(f'{cells(p, name)},"{wanted}"' for name, wanted in term.where) + ")" for p in pieces
    ]
    return sums[0] if len(sums) == 1 else f"({'+'.join(sums)})"


def _with_values(content: bytes, book: Book) -> bytes:
    """The tie-out with the value of each formula beside it, so that it reads without recalculation."""
    text = content.decode()
    for r, tie in enumerate(book.ties, start=LABEL_ROW + 1):
        shown = value_of(tie, book.sheets)
        difference = tie.ledger_fen - shown
        for letter, value, kind in (
            ("C", f"{_yuan(shown):.2f}", ""), ("D", f"{_yuan(difference):.2f}", ""), ("E", "不符" if difference else "相符", ' t="str"'),
        ):  # fmt: skip
            at = f"{letter}{r}"
            text, count = re.subn(
                rf'<c r="{at}" s="(\d+)"[^>]*><f>([^<]*)</f><v\s*/?>(?:</v>)?</c>',
                rf'<c r="{at}" s="\g<1>"{kind}><f>\g<2></f><v>{value}</v></c>',
                text,
            )
            assert count == 1, "every formula has its value"
    return text.encode()


def in_parts(book: Book, title: str, rows: int) -> list[Book]:
    """Books of their own, numbered, for a sheet that is too large for the workbook: each has a cover and at most `rows` rows of it."""
    sheet = book.sheet(title)
    count = -(-sheet.data.num_rows // rows)
    found = []
    for number in range(1, count + 1):
        part = sheet.part((number - 1) * rows, rows, title)
        totals = tuple((f"{c.label}合计", part.total(c.label)) for c in sheet.columns if c.total and c.kind == "money")
        facts = (*book.cover.facts, ("分册", f"第 {number} 册，共 {count} 册"), ("本册行数", str(part.data.num_rows)))
        heading = f"{book.cover.heading} {title}第 {number} 册"
        found.append(Book(replace(book.cover, heading=heading, facts=facts, totals=totals), (part,), ()))
    return found
