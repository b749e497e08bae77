"""Fixed width counted in bytes. Lines are cut by bytes before decoding, as declared; a character that a cut splits is a fault."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from subsidy.intake.delivery import Block, Broken
from subsidy.intake.dialects.lines import lines_of, standard
from subsidy.intake.faults import refuse
from subsidy.intake.profile import CODECS, Part, Profile, TableSpec
from subsidy.money import Spans


@dataclass(frozen=True, slots=True)
class FixedChunk:
    """Whole lines of a fixed-width file, from line `first_line`."""

    profile: Profile
    spec: TableSpec
    first_line: int
    data: bytes

    def parse(self) -> Block:
        """Cut and decode column by column. FileRefused ``FILE-ENCODING`` when a line does not decode whole."""
        width = sum(c.width for c in self.spec.columns)
        data = self.data.replace(b"\r\n", b"\n") if b"\r" in self.data else self.data
        if not data.endswith(b"\n"):
            data += b"\n"
        numbers: NDArray[np.int64] | None = None
        broken: list[Broken] = []
        if data.count(b"\n") * (width + 1) != len(data) or bool((np.frombuffer(data, np.uint8)[width :: width + 1] != 10).any()):
            data, numbers, broken = self._sort_out(width)
        rows = len(data) // (width + 1)
        matrix = np.frombuffer(data, np.uint8).reshape(rows, width + 1)
        line_nos = np.arange(self.first_line, self.first_line + rows) if numbers is None else numbers
        columns: dict[str, Spans] = {}
        cells: list[tuple[str, int, str]] = []
        at = 0
        for c in self.spec.columns:
            if c.column is not None:
                columns[c.column.code], split = _column(matrix[:, at : at + c.width], CODECS[self.profile.encoding])
                cells += [("ROW-FIELDS", int(row), c.column.code) for row in split]
            at += c.width
        for _, row, _ in cells:
            # A split character is the row's fault only when the line as a whole decodes.
            _decode_line(matrix[row, :-1].tobytes(), self.profile, int(line_nos[row]))
        return Block(columns, rows, line_nos, lambda row: matrix[row, :-1].tobytes(), broken, cells)

    def _sort_out(self, width: int) -> tuple[bytes, NDArray[np.int64], list[Broken]]:
        good, numbers, broken = [], [], []
        for i, line in enumerate(lines_of(self.data)):
            if len(line) == width:
                good.append(line + b"\n")
                numbers.append(self.first_line + i)
            else:
                _decode_line(line, self.profile, self.first_line + i)
                broken.append(Broken(self.first_line + i, line, "ROW-FIELDS", not line))
        return b"".join(good), np.array(numbers, np.int64), broken


def _decode_line(line: bytes, profile: Profile, line_no: int) -> str:
    try:
        return line.decode(CODECS[profile.encoding])
    except UnicodeDecodeError:
        raise refuse(
            "FILE-ENCODING", line_no=line_no, encoding=profile.encoding, where=f"第 {line_no} 行有无法解码的字节"
        ) from None


def _column(cells: NDArray[np.uint8], codec: str) -> tuple[Spans, list[int]]:
    """The column without its padding, and the rows whose cell is not whole characters (their value is empty)."""
    rows, width = cells.shape
    cells = np.ascontiguousarray(cells)
    if not rows or int(cells.max()) < 128:
        return _ascii_column(cells), []
    used = np.flatnonzero(np.bitwise_or.reduce(cells ^ np.uint8(ord(" ")), axis=0))
    width = int(used[-1]) + 1 if len(used) else 1
    # A line feed after each cell: a character that the cut splits cannot swallow it, so it fails to decode.
    flat = np.full((rows, width + 1), 10, np.uint8)
    flat[:, :width] = cells[:, :width]
    try:
        data = standard(flat.tobytes().decode(codec)).encode("utf-8")
    except UnicodeDecodeError:
        return _cell_by_cell(cells, codec)
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
    if len(ends) != rows:
        return _cell_by_cell(cells, codec)
    offsets = np.zeros(rows + 1, np.int32)
    offsets[1:] = ends + 1
    return Spans.of(pc.ascii_trim(pa.Array.from_buffers(pa.string(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(data)]), " \n")), []


def _ascii_column(cells: NDArray[np.uint8]) -> Spans:
    rows, width = cells.shape
    data, places = cells.reshape(-1), np.arange(0, rows * width + 1, width)
    if bool((cells[:, 0] != ord(" ")).all() and (cells[:, -1] != ord(" ")).all()):
        return Spans(data, places[:-1], places[1:])
    padded = pa.Array.from_buffers(pa.string(), rows, [None, pa.py_buffer(places.astype(np.int32)), pa.py_buffer(data)])
    return Spans.of(pc.ascii_trim(padded, " "))


def _cell_by_cell(cells: NDArray[np.uint8], codec: str) -> tuple[Spans, list[int]]:
    split: list[int] = []
    values: list[str] = []
    for i, cell in enumerate(cells):
        try:
            values.append(standard(cell.tobytes().decode(codec)).strip(" "))
        except UnicodeDecodeError:
            values.append("")
            split.append(i)
    return Spans.of(pa.array(values, pa.string())), split


def split_parts(line: bytes, parts: tuple[Part, ...], repeat: int = 1) -> list[bytes]:
    """Cut a header or trailer by its declared widths; ``{sums}`` stands for `repeat` fields. Empty when the length differs."""
    widths = [w for part in parts for w in ([part.width] * repeat if part.text == "{sums}" else [part.width])]
    if len(line) != sum(widths):
        return []
    fields, at = [], 0
    for width in widths:
        fields.append(line[at : at + width])
        at += width
    return fields
