"""The fingerprint of a workbook: what it shows, whatever is added beside it (a watermark, signatures).

It covers every row of every sheet, the facts and totals of the cover, and the ledger's values in the tie-out. `read` computes it again
from a
file, also after the file was saved by Excel or LibreOffice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import python_calamine

from subsidy.errors import TerminalError
from subsidy.reports import cells, stream
from subsidy.reports.sheet import TOTAL, Book

PRINTED = "本表指纹"
COVER, TIES, LABEL_ROW = "封面", "勾稽表", 3
_MARK_ROW = 2


@dataclass(frozen=True, slots=True)
class Print:
    """What a file shows: `printed` on the cover, `computed` from the cells, `sheets` title → digest, `facts` of the cover by label."""

    printed: str
    computed: str
    sheets: Mapping[str, str]
    facts: Mapping[str, str]

    @property
    def matches(self) -> bool:
        """Whether nothing was changed since the file was written."""
        return self.printed == self.computed


def combined(digests: Mapping[str, str]) -> str:
    """One fingerprint of the digests of all sheets."""
    return hashlib.sha256("".join(f"{title}:{digests[title]}\n" for title in sorted(digests)).encode()).hexdigest()


def front(book: Book) -> dict[str, str]:
    """Digests of cover and tie-out."""
    c = book.cover
    rows = [["t" + cells.printable(label), "t" + cells.printable(value) if value else ""] for label, value in c.facts]
    rows += [["t" + cells.printable(label), _fen(amount)] for label, amount in c.totals]
    found = {COVER: _digest(COVER, rows)}
    if book.ties:
        found[TIES] = _digest(TIES, [["t" + tie.label, _fen(tie.ledger_fen)] for tie in book.ties])
    return found


def of_book(book: Book) -> dict[str, str]:
    """Digests of all sheets of a book, without writing it."""
    return {sheet.title: stream.digest_of(sheet) for sheet in book.sheets} | front(book)


def read(path: Path) -> Print:
    """The fingerprint of a file. TerminalError ``REPORT-UNREADABLE`` when it is no workbook of ours."""
    try:
        workbook = python_calamine.CalamineWorkbook.from_path(path)
        cover = workbook.get_sheet_by_name(COVER).to_python(skip_empty_area=False)
    except (python_calamine.CalamineError, OSError) as error:
        raise TerminalError(
            "REPORT-UNREADABLE",
            f"{path.name} 不是本系统出具的工作簿，或已损坏（{type(error).__name__}）。",
            "没有改动任何文件。",
            "重新下载该报表。",
        ) from None
    printed, facts, rows = _cover_rows(cover)
    digests = {COVER: _digest(COVER, rows)}
    running: dict[str, Any] = {}
    for title in workbook.sheet_names:
        if title == COVER:
            continue
        sheet = workbook.get_sheet_by_name(title)
        if title == TIES:
            values = sheet.to_python(skip_empty_area=False)[LABEL_ROW:]
            digests[TIES] = _digest(TIES, [[cells.sealed_value(row[0]), cells.sealed_value(row[1])] for row in values if row[0] != ""])
            continue
        base = title.rstrip("0123456789")
        for number, row in enumerate(sheet.iter_rows()):
            if number == LABEL_ROW - 1 and base not in running:
                running[base] = stream.start_digest(base, [str(label) for label in row])
            if number < LABEL_ROW or str(row[0]).endswith(TOTAL) or all(value == "" for value in row):
                continue
            running[base].update((cells.CELL_END.join(map(cells.sealed_value, row)) + cells.ROW_END).encode())
    digests |= {title: digest.hexdigest() for title, digest in running.items()}
    return Print(printed, combined(digests), digests, facts)


def _cover_rows(rows: list[list[Any]]) -> tuple[str, dict[str, str], list[list[str]]]:
    printed, facts, left, right = "", dict[str, str](), list[list[str]](), list[list[str]]()
    for row in rows[_MARK_ROW:]:
        label, value, _, total, amount = [*row, "", "", "", "", ""][:5]
        if label == "" and total == "":
            break  # below stand warnings and signatures
        if label == PRINTED:
            printed = str(value)
        elif label != "":
            left.append([cells.sealed_value(label), cells.sealed_value(value)])
            facts[str(label)] = str(value)
        if total != "":
            right.append([cells.sealed_value(total), cells.sealed_value(amount)])
    return printed, facts, left + right


def _fen(fen: int) -> str:
    sign, size = ("-" if fen < 0 else ""), abs(fen)
    text = f"{size // 100}.{size % 100:02d}".rstrip("0").rstrip(".")
    return f"n{sign}{text}"


def _digest(title: str, rows: list[list[str]]) -> str:
    return hashlib.sha256((title + cells.ROW_END + "".join(cells.CELL_END.join(row) + cells.ROW_END for row in rows)).encode()).hexdigest()
