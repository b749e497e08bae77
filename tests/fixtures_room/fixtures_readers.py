"""Simple readers of the centres' files, one per form, to hold the writers to docs/文件格式.md. Cells stay text."""

from __future__ import annotations

import csv
import hashlib
import io
import xml.etree.ElementTree as ET
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import openpyxl
from cryptography.hazmat.primitives import hashes

from fixtures.layouts import LAYOUTS, TABLES


@dataclass
class ReadFile:
    """Identity, then per table mode, declared count, declared totals and rows of text."""

    identity: list[str]
    modes: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    totals: dict[str, list[str]] = field(default_factory=dict)
    rows: dict[str, list[list[str]]] = field(default_factory=dict)


def read(centre: str, path: Path) -> ReadFile:
    """Read one data file of `centre` with its flag or digest, which must agree with it."""
    forms = {"pipe": _pipe, "csv": _csv, "xlsx": _xlsx, "fixed": _fixed, "at": _at, "xml": _xml, "zip": _zip}
    return forms[LAYOUTS[centre].form](centre, path)


def _sm3(data: bytes) -> str:
    digest = hashes.Hash(hashes.SM3())
    digest.update(data)
    return digest.finalize().hex()


def _lines(data: bytes, encoding: str) -> list[str]:
    text = data.decode(encoding)
    assert text.endswith("\n") and "\r" not in text
    return text[:-1].split("\n")


def _closed(line: str, separator: str) -> list[str]:
    parts = line.split(separator)
    assert parts[-1] == ""
    return parts[:-1]


def _pipe(centre: str, path: Path) -> ReadFile:
    lines = [_closed(line, "|") for line in _lines(path.read_bytes(), "gb18030")]
    head, tail = lines[0], lines[-1]
    assert head[0] == "HEAD" and tail[0] == "TAIL" and head[6] == tail[1]
    table = head[2]
    return ReadFile([head[1], head[3], head[4]], {table: head[5]}, {table: int(tail[1])}, {table: tail[2:]}, {table: lines[1:-1]})


def _csv(centre: str, path: Path) -> ReadFile:
    data = path.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    flag = dict(line.split("=", 1) for line in _lines(path.with_name(path.name + ".ok").read_bytes(), "utf-8"))
    assert flag.pop("sm3") == _sm3(data)
    names, *rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    table = flag["table"]
    renamed = {v: k for k, v in LAYOUTS[centre].renamed.items()}
    assert [renamed.get(n, n) for n in names] == [c.code for c in LAYOUTS[centre].columns(table)]
    totals = [v for k, v in flag.items() if k.startswith("sum.")]
    return ReadFile([flag["centre"], flag["date"], flag["sequence"]], {table: flag["mode"]}, {table: int(flag["rows"])}, {table: totals},
                    {table: rows})  # fmt: skip


def _xlsx(centre: str, path: Path) -> ReadFile:
    digest = path.with_name(path.name + ".sha256").read_text("ascii")
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest() + "\n"
    book = openpyxl.load_workbook(path)
    sheets = {s.title: [["" if v is None else v for v in row] for row in s.iter_rows(values_only=True)] for s in book.worksheets}
    assert all(cell.data_type in ("s", "n") and (cell.value is None or isinstance(cell.value, str))
               for s in book.worksheets for row in s.iter_rows() for cell in row)  # fmt: skip
    cover = sheets.pop("封面")
    out = ReadFile([row[1] for row in cover[:3]])
    for row in cover[3:]:
        table = row[1]
        out.modes[table], out.counts[table] = row[2], int(row[3])
        out.totals[table] = [cell.split("=", 1)[1] for cell in row[4:] if cell]
        names, *out.rows[table] = sheets.pop(table)
        assert names == [c.label for c in LAYOUTS[centre].columns(table)]
    assert not sheets
    return out


def _fixed(centre: str, path: Path) -> ReadFile:
    data = path.read_bytes()
    assert data.endswith(b"\n")
    lines = data[:-1].split(b"\n")
    head, tail = lines[0].decode("gb18030"), lines[-1].decode("gb18030")
    assert head[0] == "H" and tail.startswith("########")
    table = head[16:21].strip()
    widths = [c.width for c in LAYOUTS[centre].columns(table)]
    rows = []
    for line in lines[1:-1]:
        assert len(line) == sum(widths)
        cells, at = [], 0
        for width in widths:
            cells.append(line[at : at + width].decode("gb18030").rstrip(" "))
            at += width
        rows.append(cells)
    totals = [str(int(tail[i : i + 20])) for i in range(18, len(tail), 20)]
    return ReadFile([head[1:16], head[21:29], head[29:32]], {table: head[32]}, {table: int(tail[8:18])}, {table: totals}, {table: rows})


def _at(centre: str, path: Path) -> ReadFile:
    flag = [_closed(line, "@|$") for line in _lines(path.with_name(path.name + ".OK").read_bytes(), "gb18030")]
    code, table, day, sequence, mode, count = flag[0]
    rows = [_closed(line, "@|$") for line in _lines(path.read_bytes(), "gb18030")]
    assert [f[0] for f in flag[1:]] == [c.code for c in LAYOUTS[centre].columns(table) if c.kind == "fen"]
    return ReadFile([code, day, sequence], {table: mode}, {table: int(count)}, {table: [f[1] for f in flag[1:]]}, {table: rows})


def _xml(centre: str, path: Path) -> ReadFile:
    assert path.with_name(path.name + ".sm3").read_text("ascii") == _sm3(path.read_bytes()) + "\n"
    root = ET.fromstring(path.read_bytes())
    table = root.attrib["table"]
    codes = [c.code for c in LAYOUTS[centre].columns(table)]
    rows = []
    for row in root.findall("row"):
        assert [e.tag for e in row] == codes
        rows.append([e.text or "" for e in row])
    totals = dict(root.find("totals").attrib)  # type: ignore[union-attr]
    count = int(totals.pop("rows"))
    return ReadFile([root.attrib["centre"], root.attrib["date"], root.attrib["sequence"]], {table: root.attrib["mode"]}, {table: count},
                    {table: list(totals.values())}, {table: rows})  # fmt: skip


def _zip(centre: str, path: Path) -> ReadFile:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        entries = {name: archive.read(name) for name in archive.namelist()}
    manifest = dict(line.split("=", 1) for line in _lines(entries.pop("MANIFEST.txt"), "utf-8"))
    out = ReadFile([manifest.pop("centre"), manifest.pop("date"), manifest.pop("sequence")])
    for name, data in entries.items():
        table = name.removesuffix(".csv")
        names, *rows = csv.reader(io.StringIO(data.decode("utf-8"), newline=""))
        assert names == [c.code for c in LAYOUTS[centre].columns(table)]
        out.modes[table], out.counts[table], out.rows[table] = manifest.pop(f"{table}.mode"), int(manifest.pop(f"{table}.rows")), rows
        out.totals[table] = _sums(centre, table, rows)
    assert not manifest
    return out


def _sums(centre: str, table: str, rows: list[list[str]]) -> list[str]:
    columns = [i for i, c in enumerate(LAYOUTS[centre].columns(table)) if c.kind == "fen"]
    sums = [sum(fen(row[i]) for row in rows) for i in columns]
    return [str(s) if LAYOUTS[centre].fen else f"{'-' if s < 0 else ''}{abs(s) // 100}.{abs(s) % 100:02d}" for s in sums]


def sums(centre: str, file: ReadFile) -> dict[str, list[str]]:
    """The totals as the rows give them."""
    return {table: _sums(centre, table, rows) for table, rows in file.rows.items()}


def fen(text: str) -> int:
    """An amount cell, in yuan or in fen, as fen; empty is 0."""
    text = text.strip()
    return int(text.replace(".", "")) if text else 0


def column(centre: str, table: str, code: str) -> int:
    """Place of a column in this centre's rows."""
    return [c.code for c in LAYOUTS[centre].columns(table)].index(code)


assert set(TABLES) == {"TX01", "TX02", "TX03", "TX04", "TX05", "GB301", "GB304", "GB305", "GB306"}
