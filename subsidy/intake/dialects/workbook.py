""".xlsx: judged as a zip of XML first, then read by calamine. One sheet a table, a cover sheet with identity, rows and totals."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import defusedxml.ElementTree
import numpy as np
import pyarrow as pa
import python_calamine

from subsidy.intake.delivery import Block, Control, Delivery, Sheet
from subsidy.intake.dialects.archive import Archive
from subsidy.intake.dialects.csvfile import match_columns
from subsidy.intake.faults import refuse
from subsidy.intake.identity import read_count, read_identity, read_mode
from subsidy.intake.profile import Profile, TableSpec
from subsidy.money import Spans

_COVER_KEYS = {"中心编号": "centre", "业务日期": "date", "批次号": "sequence"}
_PIECE = 1 << 20
#: Parts that a plain workbook may have; anything else (macros, links, objects, connections) is refused.
_PARTS = re.compile(
    r"\[Content_Types\]\.xml|_rels/\.rels|docProps/(app|core|custom)\.xml|xl/workbook\.xml|xl/_rels/workbook\.xml\.rels|xl/styles\.xml"
    r"|xl/sharedStrings\.xml|xl/metadata\.xml|xl/theme/theme[0-9]+\.xml|xl/worksheets/sheet[0-9]+\.xml"
    r"|xl/worksheets/_rels/sheet[0-9]+\.xml\.rels|xl/printerSettings/printerSettings[0-9]+\.bin|xl/calcChain\.xml"
)
_FORMULA = re.compile(rb"<(?:[A-Za-z0-9]+:)?f[\s>/]")
_DECLARED = re.compile(rb"<!DOCTYPE|<!ENTITY|encoding\s*=\s*[\"'](?!utf-8[\"'])", re.IGNORECASE)
_EXTERNAL = re.compile(rb"TargetMode\s*=\s*[\"']External", re.IGNORECASE)


def open_workbook(path: Path, profile: Profile) -> Delivery:
    """Judge and open a workbook. FileRefused when it holds anything but plain cells, or its cover does not fit."""
    _judge(path, profile)
    try:
        book = python_calamine.CalamineWorkbook.from_path(str(path))
        names = book.sheet_names
        cover = book.get_sheet_by_name(profile.cover).to_python(skip_empty_area=False) if profile.cover in names else None
    except (python_calamine.CalamineError, python_calamine.ZipError, python_calamine.XmlError, OSError, ValueError):
        raise refuse("XLSX-BROKEN") from None
    if cover is None:
        raise refuse("XLSX-COVER", where=f"没有工作表 {profile.cover}")
    said, listed = _cover(cover)
    identity = read_identity(profile, said, many=True)
    if sorted(names) != sorted([profile.cover, *listed]):
        odd = sorted(set(names) ^ {profile.cover, *listed})
        raise refuse("XLSX-SHEET", where="、".join(n[:30] for n in odd))
    sheets = []
    for code, (word, rows, sums) in listed.items():
        if code not in profile.tables:
            raise refuse("FILE-TABLE", value=code[:30])
        spec = profile.tables[code]
        mode = read_mode(profile, spec, word)
        control = Control(read_count(rows, "XLSX-COVER", f"{code} 行数"), _sums(sums, spec))
        sheets.append(Sheet(spec, mode, _rows(book, spec, profile), control))
    return Delivery(profile, identity, sheets, book.close, said)


def _judge(path: Path, profile: Profile) -> None:
    """No macros, links, objects, document types, formulas or hidden sheets; sizes within limits."""
    limits = profile.limits
    archive = _archive(path, profile)
    try:
        total = 0
        for name in archive.names:
            if not _PARTS.fullmatch(name):
                raise refuse("XLSX-UNSAFE")
            sheet = name.startswith("xl/worksheets/sheet")
            tail = b""
            with archive.entry(name) as part:
                while piece := part.read(_PIECE):
                    total += len(piece)
                    if total > limits.workbook_bytes:
                        raise refuse("ARCHIVE-BOMB", limit=f"{limits.workbook_bytes} 字节")
                    # Keep an overlap, so that nothing hides across two pieces.
                    window = tail + piece
                    if name.endswith(".bin"):
                        continue
                    if (not tail and _DECLARED.search(window[:4096])) or b"<!" in window or window[:2] in (b"\xfe\xff", b"\xff\xfe"):
                        raise refuse("XLSX-UNSAFE")
                    if name.endswith(".rels") and _EXTERNAL.search(window):
                        raise refuse("XLSX-UNSAFE")
                    if sheet and b"<f" in window and _FORMULA.search(window):
                        raise refuse("XLSX-FORMULA", table=name)
                    tail = window[-64:]
        with archive.entry("xl/workbook.xml") as part:
            _visible(part.read())
    finally:
        archive.close()


def _archive(path: Path, profile: Profile) -> Archive:
    try:
        return Archive(path, profile.limits, folders=True)
    except OSError:
        raise refuse("XLSX-BROKEN") from None


def _visible(workbook: bytes) -> None:
    try:
        root = defusedxml.ElementTree.fromstring(workbook)
    except (defusedxml.DefusedXmlException, defusedxml.ElementTree.ParseError, ValueError):
        raise refuse("XLSX-BROKEN") from None
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        if tag == "sheet" and element.get("state", "visible") != "visible":
            raise refuse("XLSX-HIDDEN")
        # Excel names filters and print areas by itself; any other name is a formula that a person wrote.
        plain = str(element.get("name", "")).startswith("_xlnm.") and "[" not in (element.text or "")
        if tag == "externalReference" or (tag == "definedName" and not plain):
            raise refuse("XLSX-UNSAFE")


def _cover(cells: list[list[Any]]) -> tuple[dict[str, str], dict[str, tuple[str, str, list[str]]]]:
    said: dict[str, str] = {}
    tables: dict[str, tuple[str, str, list[str]]] = {}
    for row in cells:
        texts = [c if isinstance(c, str) else None for c in row]
        if any(t is None for t in texts):
            raise refuse("XLSX-COVER", where="单元格不是文本")
        texts = [str(t).strip() for t in texts]
        while texts and not texts[-1]:
            texts.pop()
        if not texts:
            continue
        key = str(texts[0])
        if key in _COVER_KEYS and len(texts) == 2 and _COVER_KEYS[key] not in said:
            said[_COVER_KEYS[key]] = str(texts[1])
        elif key == "表" and len(texts) >= 4:
            code = str(texts[1])
            if code in tables:
                raise refuse("FILE-TABLE-TWICE", table=code[:30])
            tables[code] = (str(texts[2]), str(texts[3]), [str(t) for t in texts[4:]])
        else:
            raise refuse("XLSX-COVER", where=f"不认识“{key[:20]}”一行")
    return said, tables


def _sums(texts: list[str], spec: TableSpec) -> dict[str, str]:
    by_name = {c.name: c.column.code for c in spec.amounts if c.column is not None}
    sums: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in by_name or by_name[name] in sums:
            raise refuse("XLSX-COVER", table=spec.table.code, where=f"{spec.table.code} 的合计“{name[:20]}”")
        sums[by_name[name]] = value
    if len(sums) != len(by_name):
        raise refuse("XLSX-COVER", table=spec.table.code, where=f"{spec.table.code} 缺少合计")
    return sums


@dataclass(frozen=True, slots=True)
class SheetChunk:
    """A whole sheet; Excel's own row limit bounds it."""

    block: Block

    def parse(self) -> Block:
        """The rows."""
        return self.block


def _rows(book: Any, spec: TableSpec, profile: Profile) -> Iterator[SheetChunk]:
    try:
        cells = book.get_sheet_by_name(spec.table.code).to_python(skip_empty_area=False)
    except (python_calamine.CalamineError, python_calamine.XmlError, ValueError):
        raise refuse("XLSX-BROKEN", table=spec.table.code) from None
    if not cells:
        raise refuse("FILE-COLUMNS", table=spec.table.code, line_no=1, where="没有列名")
    head = [str(c).strip() for c in cells[0]]
    while head and not head[-1]:
        head.pop()
    if len(head) > profile.limits.columns:
        raise refuse("FILE-COLUMNS", table=spec.table.code, line_no=1, where=f"{len(head)} 列，超过上限 {profile.limits.columns}")
    if len(head) * len(cells) > profile.limits.workbook_cells:
        raise refuse("FILE-ROWS-LIMIT", table=spec.table.code, limit=profile.limits.workbook_cells)
    codes = match_columns(head, spec)
    if any(any(c != "" for c in row[len(head) :]) for row in cells[1:]) if len(cells[0]) > len(head) else False:
        raise refuse("FILE-COLUMNS", table=spec.table.code, where="列名以外的列有内容")
    body = cells[1:]
    del cells
    columns: dict[str, Spans] = {}
    faulty: list[tuple[str, int, str]] = []
    for at, code in enumerate(codes):
        if code.startswith("\x1e"):
            continue
        values = [row[at] for row in body]
        try:
            columns[code] = Spans.of(pa.array(values, pa.string()))
        except (pa.ArrowTypeError, pa.ArrowInvalid):
            texts = [_cell(v, profile, code, spec) for v in values]
            faulty += [("ROW-CELL", i, code) for i, text in enumerate(texts) if text is None]
            columns[code] = Spans.of(pa.array([text or "" for text in texts], pa.string()))

    def raw(row: int) -> bytes:
        cells = {name: body[row][i] for i, name in enumerate(head)}
        return json.dumps({n: c if isinstance(c, str) else str(c) for n, c in cells.items()}, ensure_ascii=False).encode()

    line_nos = np.arange(2, 2 + len(body))
    yield SheetChunk(Block(columns, len(body), line_nos, raw, [], faulty))


def _cell(value: object, profile: Profile, code: str, spec: TableSpec) -> str | None:
    """The text of a cell. Numbers and dates only where the profile declares ``cells: values``, and only when they are exact."""
    if isinstance(value, str):
        return value
    if profile.cells == "text" or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        # repr is the shortest text that gives the same number back; beyond 15 digits Excel itself is not exact.
        text = repr(value).removesuffix(".0")
        return text if "e" not in text and len(text.replace("-", "").replace(".", "").lstrip("0")) <= 15 else None
    if isinstance(value, datetime):
        return None if value.time().isoformat() != "00:00:00" else _day(value.date(), profile)
    if isinstance(value, date):
        return _day(value, profile)
    return None


def _day(day: date, profile: Profile) -> str:
    return day.strftime("%Y%m%d") if profile.units.date == "YYYYMMDD" else day.isoformat()
