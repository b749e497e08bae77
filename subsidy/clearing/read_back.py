"""The independent reader of a payment file (handbook section 8, invariant 6): bytes on disk back into count, sum and payees.

It shares no code with the writer and works on blocks of whole lines. What tells something is read and compared field by field; what a line
repeats or leaves empty is held by its length here, and by the digest over all bytes that publication compares (`outbox.release`).

Decode first, split after: a block is split as bytes, and that counts only when every field then decodes strictly by itself, for then no
character reaches over a split; otherwise the block is decoded as a whole before it is split.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from subsidy.clearing.pipeline import ahead
from subsidy.clearing.profiles import Layout, Route

BLOCK_BYTES = 16 << 20
_UNIT_SEPARATOR = "\x1f"


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What a file holds. `differences` are Chinese sentences, at most `LISTED`; empty when file and payments agree."""

    count: int
    total_fen: int
    differences: tuple[str, ...]


LISTED = 20


def _blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, at most `BLOCK_BYTES` at a time where lines are shorter; the last block may lack its line end."""
    with open(path, "rb") as handle:
        size = BLOCK_BYTES
        while block := handle.read(size):
            cut = block.rfind(b"\n") + 1
            if len(block) < size:
                yield block
            elif not cut:
                handle.seek(-len(block), os.SEEK_CUR)
                size *= 2
            else:
                handle.seek(cut - len(block), os.SEEK_CUR)
                yield block[:cut]


@dataclass(frozen=True, slots=True)
class _Block:
    """Some fields of some lines as binary columns; `tail` is what the first bytes of a separator leave at the end of a field."""

    columns: dict[str, pa.Array]
    tail: bytes
    encoding: str
    size: int


def _split_bytes(block: bytes, layout: Layout, route: Route) -> _Block:
    """Split at the last byte of the separator, as bytes. ArrowInvalid when the lines do not have that shape."""
    separator = layout.separator
    return _Block(_parse(block, separator[-1], layout, route), separator[:-1].encode(), layout.encoding, len(block))


def _split_text(block: bytes, layout: Layout, route: Route) -> _Block:
    """Decode the block, then split it."""
    text, separator = block.decode(layout.encoding), layout.separator
    if len(separator) > 1:
        text, separator = text.replace(separator, _UNIT_SEPARATOR), _UNIT_SEPARATOR
    data = text.encode()
    return _Block(_parse(data, separator, layout, route), b"", "utf-8", len(data) + (len(layout.separator) - 1) * text.count(separator))


def _parse(data: bytes, delimiter: str, layout: Layout, route: Route) -> dict[str, pa.Array]:
    wanted = {str(i): field for i, field in enumerate(route.fields) if field not in ("empty", "zero") and route.fields.index(field) == i}
    names = [str(i) for i in range(len(route.fields) + int(layout.terminated))]
    table = pa_csv.read_csv(
        pa.BufferReader(data),
        read_options=pa_csv.ReadOptions(column_names=names, block_size=1 << 20, use_threads=False),
        parse_options=pa_csv.ParseOptions(delimiter=delimiter, quote_char=False, escape_char=False, ignore_empty_lines=False),
        convert_options=pa_csv.ConvertOptions(
            column_types={name: pa.binary() for name in names}, strings_can_be_null=False, include_columns=list(wanted)
        ),
    )
    return {field: table.column(name).combine_chunks() for name, field in wanted.items()}


def _any(mask: pa.Array) -> bool:
    return bool(pc.any(mask).as_py())


def _bytes(column: pa.Array) -> bytes:
    """The values of a binary column, each followed by a line feed."""
    data: bytes = pc.binary_join_element_wise(column, b"\n", b"").buffers()[2].to_pybytes() if len(column) else b""
    return data


def _edges(column: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The bytes of a binary column, and where each value starts and ends in them."""
    at = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    data = column.buffers()[2]
    return np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8), at[:-1], at[1:]


def _ends_with(column: pa.Array, tail: bytes) -> bool:
    data, start, end = _edges(column)
    return bool((end - start >= len(tail)).all()) and all(bool((data[end - len(tail) + i] == byte).all()) for i, byte in enumerate(tail))


def _fen(column: pa.Array, unit: str) -> pa.Array:
    """Amounts in fen; ValueError when one is not written as the ledger would write it."""
    data, start, end = _edges(column)
    shortest = 1 if unit == "fen" else 4
    if not (end - start >= shortest).all():
        raise ValueError("金额不合格式")
    if ((data[start] == ord("0")) & (end - start > shortest)).any():
        raise ValueError("金额有前导零")
    if unit == "yuan":
        if not (data[end - 3] == ord(".")).all():
            raise ValueError("金额不是两位小数")
        column = pc.binary_replace_slice(column, -3, -2, b"")
    return column.cast(pa.string()).cast(pa.int64())


class _Check:
    """Compares the fields of a block with rows of the ledger; `wrong` are masks of rows by field."""

    def __init__(self, found: _Block, route: Route, layout: Layout, expected: pa.Table, summary: str) -> None:
        self._found, self._layout, self._expected, self._summary = found, layout, expected, summary
        self.amounts: pa.Array = None
        self.wrong: list[tuple[str, pa.Array]] = []
        for field, column in found.columns.items():
            last = field == route.fields[-1] and not layout.terminated
            mask = self._field(field, column, b"" if last else found.tail)
            if mask is not None and _any(mask):
                self.wrong.append((field, mask))

    def _field(self, field: str, column: pa.Array, tail: bytes) -> pa.Array | None:
        if field == "summary":
            return pc.not_equal(column, self._summary.encode(self._found.encoding) + tail)
        if tail:
            if not _ends_with(column, tail):
                raise ValueError("分隔符不完整")
            column = pc.binary_replace_slice(column, -len(tail), 2**31 - 1, b"")
        if field == "amount":
            self.amounts = _fen(column, self._layout.unit)
            return pc.not_equal(self.amounts, self._expected["amount_fen"].combine_chunks())
        own = self._expected[field].combine_chunks().cast(pa.string())
        if field != "name":
            return pc.not_equal(column, own.cast(pa.binary()))
        return self._names(column, own)

    def _names(self, column: pa.Array, own: pa.Array) -> pa.Array | None:
        """Names are decoded strictly, all at once: no half of a character is a line feed, so a cut character cannot hide."""
        found = _bytes(column).decode(self._found.encoding)
        if found == _bytes(own.cast(pa.binary())).decode():
            return None
        return pc.not_equal(pa.array(found.split("\n")[:-1], pa.string()), own)


def _checked(block: bytes, split: _Block | None, layout: Layout, route: Route, payments: pa.Table, first: int, summary: str) -> _Check:
    """Compare a block with the payments from row `first` on. ValueError when it does not have the shape of the layout.

    `split`: the block split as bytes, None when that did not work.
    """
    if layout.newline == "\n" and b"\r" in block:
        raise ValueError("行尾不一致")

    def check(found: _Block) -> _Check:
        rows = len(found.columns["ordinal"])
        expected = payments.slice(first, rows)
        if expected.num_rows != rows:
            raise ValueError("文件中的行多于账簿")
        if found.size != _size(found, route, layout, summary):
            raise ValueError("行尾或栏位长度不一致")
        return _Check(found, route, layout, expected, summary)

    if split is not None:
        try:
            return check(split)
        except (ValueError, pa.ArrowInvalid):
            return check(_split_text(block, layout, route))
    return check(_split_text(block, layout, route))


def _size(found: _Block, route: Route, layout: Layout, summary: str) -> int:
    """How long the lines must be, from the fields that were read: what is repeated, empty or constant follows from them, and so do
    separators and line ends. The parser takes any line end; the wrong one shows here."""
    rows = len(found.columns["ordinal"])
    lengths = {field: sum(int(end[-1]) - int(start[0]) for _, start, end in [_edges(column)]) for field, column in found.columns.items()}
    constant = {"empty": 0, "zero": 1 if layout.unit == "fen" else 4}
    fields = sum(rows * constant[field] if field in constant else lengths[field] for field in route.fields)
    separators = len(route.fields) - 1 + int(layout.terminated)
    # A field that was read still holds the first bytes of its separator; a constant one does not.
    cut = separators * len(layout.separator) - len(found.tail) * sum(
        field not in constant and (layout.terminated or at < len(route.fields) - 1) for at, field in enumerate(route.fields)
    )
    return fields + rows * (cut + len(layout.newline))


def _early(block: bytes, layout: Layout, route: Route) -> tuple[bytes, _Block | None]:
    try:
        return block, _split_bytes(block, layout, route)
    except pa.ArrowInvalid:
        return block, None


def compare(path: Path, payments: pa.Table, layout: Layout, route_name: str, *, header: str, trailer: str, summary: str) -> ReadBack:
    """Read the file back from disk and compare it with `payments` (ordinal, amount_fen, account, name, bank_no, payment_no): count, sum,
    every payee. `header`, `trailer` and `summary` are the texts the ledger expects. Amounts in fen."""
    route = layout.route(route_name)
    wrong: list[str] = []
    count = total = 0
    ending = layout.newline.encode()
    wanted_trailer = (trailer + layout.newline).encode(layout.encoding) if layout.trailer else b""
    ended = not wanted_trailer

    def bodies() -> Iterator[bytes]:
        """Blocks of detail lines: without header and trailer."""
        nonlocal ended
        for at, block in enumerate(_blocks(path)):
            if ended and wanted_trailer:
                wrong.append("末行之后还有内容")
                return
            if at == 0 and layout.header:
                line, _, block = block.partition(ending)
                if line != header.encode(layout.encoding):
                    wrong.append("首行合计与账簿不一致")
            if wanted_trailer and block.endswith(wanted_trailer):
                block, ended = block[: -len(wanted_trailer)], True
            if block:
                yield block

    with closing(ahead(lambda block: _early(block, layout, route), bodies())) as early:
        for block, split in early:
            try:
                check = _checked(block, split, layout, route, payments, count, summary)
            except UnicodeDecodeError:
                wrong.append(f"第 {count + 1} 笔之后的行不是 {layout.encoding.upper()} 编码")
                break
            except (ValueError, pa.ArrowInvalid) as error:
                wrong.append(f"第 {count + 1} 笔之后的行不合格式（{error if type(error) is ValueError else '栏位数不符'}）")
                break
            for field, mask in check.wrong:
                rows = np.flatnonzero(mask.to_numpy(zero_copy_only=False))[:LISTED]
                wrong += [f"第 {count + int(row) + 1} 笔的 {field} 与账簿不一致" for row in rows]
            count += len(check.amounts)
            total += pc.sum(check.amounts).as_py() or 0
    if not ended:
        wrong.append("缺少末行")
    if count != payments.num_rows:
        wrong.append(f"文件 {count} 笔，账簿 {payments.num_rows} 笔")
    if total != (pc.sum(payments["amount_fen"]).as_py() or 0):
        wrong.append("文件金额合计与账簿不一致")
    return ReadBack(count, total, tuple(wrong[:LISTED]))
