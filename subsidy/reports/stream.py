"""Rows of a sheet as XML and as fingerprint input, made column by column with Arrow's string functions, a block of rows at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from openpyxl.utils import get_column_letter

from subsidy.reports import cells
from subsidy.reports.sheet import Column, Sheet, text_width

#: Rows that are text in memory at once.
BLOCK_ROWS = 8_192
#: Height of a line of text, and the greatest height of a row.
LINE_POINTS, MAX_POINTS = 13, 409


def blocks(sheet: Sheet) -> Iterator[list[pa.Array]]:
    """The sheet's columns, cleaned and plain, some rows at a time."""
    for start in range(0, sheet.data.num_rows, BLOCK_ROWS):
        part = sheet.data.slice(start, BLOCK_ROWS)
        yield [_plain(part.column(i), c) for i, c in enumerate(sheet.columns)]


def _plain(column: pa.ChunkedArray, about: Column) -> pa.Array:
    if about.kind != "text":
        return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    flat = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return cells.clean(flat)


def rows_xml(columns: Sequence[Column], block: Sequence[pa.Array], first_row: int, styles: Sequence[int]) -> memoryview:
    """The ``<row>`` elements of one block, the first being row `first_row`; `styles` are cell formats by column."""
    count = len(block[0])
    numbers = pa.array(np.arange(first_row, first_row + count)).cast(pa.string())
    parts: list[str | pa.Array] = ['<row r="', numbers, '"', *_height(columns, block), ">"]
    for at, (column, values, style) in enumerate(zip(columns, block, styles, strict=True), start=1):
        start = f'<c r="{get_column_letter(at)}'
        if column.kind == "text":
            piece: list[str | pa.Array] = [
                start, numbers, f'" s="{style}" t="inlineStr"><is><t{_space(values)}>', cells.escape(values), "</t></is></c>",
            ]  # fmt: skip
            empty = pc.fill_null(pc.equal(values, ""), True)
        else:
            piece = [start, numbers, f'" s="{style}"><v>', cells.number_text(values, column.kind), "</v></c>"]
            empty = pc.is_null(values)
        if pc.any(empty).as_py():
            blank = _join([start, numbers, f'" s="{style}"/>'])
            parts.append(pc.if_else(empty, blank, _join(piece)))
        else:
            parts += piece
    parts.append("</row>")
    return _bytes(_join(parts))


def _height(columns: Sequence[Column], block: Sequence[pa.Array]) -> list[pa.Array]:
    """The height of rows whose wrapped text needs more than one line, as an attribute; readers do not all find it out themselves."""
    lines: pa.Array | None = None
    for column, values in zip(columns, block, strict=True):
        if column.wrap:
            need = _lines(values, column.width)
            lines = need if lines is None else pc.max_element_wise(lines, need)
    if lines is None or pc.max(lines).as_py() < 2:
        return []
    custom = _join([' ht="', _points(lines).cast(pa.string()), '" customHeight="1"'])
    return [pc.if_else(pc.greater(lines, 1), custom, "")]


def _lines(values: pa.Array, width: int) -> pa.Array:
    """Lines that wrapped texts need. Column widths count characters of 11 points and the text has 9; what that leaves goes into Latin
    letters, which are wider than half a Chinese character, and into ends of lines where a word or a bracket does not fit."""
    room = width - 3
    need = pc.add(pc.divide(pc.add(text_width(values), room - 1), room), pc.count_substring(values, "\n"))
    return pc.fill_null(need, 0).cast(pa.int64())


def _points(lines: pa.Array) -> pa.Array:
    return pc.min_element_wise(pc.add(pc.multiply(lines, LINE_POINTS), 3), pa.scalar(MAX_POINTS, pa.int64()))


def points_of(text: str, width: int) -> int:
    """Height of a row that shows `text` wrapped in a column of `width`."""
    return int(_points(_lines(pa.array([text]), width))[0].as_py())


def _space(values: pa.Array) -> str:
    return ' xml:space="preserve"' if pc.any(pc.match_substring_regex(values, r"^\s|\s$|\n|\s\s")).as_py() else ""


def _join(parts: Sequence[str | pa.Array]) -> pa.Array:
    merged: list[str | pa.Array] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] = merged[-1] + part
        else:
            merged.append(part)
    return pc.binary_join_element_wise(*(pa.scalar(p) if isinstance(p, str) else p for p in merged), "")


def _bytes(text: pa.Array) -> memoryview:
    """The bytes of all values of a text array, one after another."""
    if len(text) == 0:
        return memoryview(b"")
    offsets = np.frombuffer(text.buffers()[1], np.int32)[text.offset : text.offset + len(text) + 1]
    return memoryview(text.buffers()[2])[int(offsets[0]) : int(offsets[-1])]


def totals_xml(sheet: Sheet, first_row: int, styles: Sequence[int]) -> str:
    """The rows of totals below the rows."""
    found = []
    for row, (label, sums) in enumerate(sheet.totals(), start=first_row):
        found.append(f'<row r="{row}">')
        for at, (column, style) in enumerate(zip(sheet.columns, styles, strict=True), start=1):
            ref = f"{get_column_letter(at)}{row}"
            if at == 1:
                found.append(f'<c r="{ref}" s="{style}" t="inlineStr"><is><t>{label}</t></is></c>')
            elif column.total:
                text = cells.number_text(pa.array([sums[column.label]]), column.kind)[0].as_py()
                found.append(f'<c r="{ref}" s="{style}"><v>{text}</v></c>')
            else:
                found.append(f'<c r="{ref}" s="{style}"/>')
        found.append("</row>")
    return "".join(found)


def seal_bytes(columns: Sequence[Column], block: Sequence[pa.Array]) -> memoryview:
    """What the fingerprint takes of one block."""
    texts = [cells.sealed(values, column.kind) for column, values in zip(columns, block, strict=True)]
    ended = pc.binary_join_element_wise(texts[-1], cells.ROW_END, "")
    if len(texts) == 1:
        return _bytes(ended)
    return _bytes(pc.binary_join_element_wise(*texts[:-1], ended, cells.CELL_END))


def digest_of(sheet: Sheet) -> str:
    """SHA-256 of a sheet's title, labels and values, in order; the same however the rows are split over continued sheets."""
    digest = start_digest(sheet.title, [c.label for c in sheet.columns])
    for block in blocks(sheet):
        digest.update(seal_bytes(sheet.columns, block))
    return digest.hexdigest()


def start_digest(title: str, labels: Sequence[str]) -> hashlib._Hash:
    """A digest that has taken title and labels."""
    return hashlib.sha256(f"{title}{cells.ROW_END}{cells.CELL_END.join(labels)}{cells.ROW_END}".encode())
