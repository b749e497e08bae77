"""The independent reader of a payment file (handbook section 8, invariant 6): bytes on disk back into count, sum and payees.

It shares no code with the writer. It works on blocks of whole lines. Decode first, split after: a block is split as bytes only when
no byte of a multi-byte character equals the byte it is split at; otherwise it is decoded as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

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
    rest = b""
    with open(path, "rb") as handle:
        if hasattr(os, "posix_fadvise"):  # what the disk holds, not what memory still remembers
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while block := handle.read(BLOCK_BYTES):
            cut = block.rfind(b"\n")
            if cut < 0:
                rest += block
                continue
            yield rest + block[: cut + 1]
            rest = block[cut + 1 :]
    if rest:
        yield rest


def _ambiguous(block: bytes, cut: int) -> bool:
    """True when some byte `cut` in a GBK or GB18030 block is the second half of a character.

    Bytes from 0x80 on begin a character or are halves of one; after a run of an odd number of them the next byte belongs to the run.
    """
    if cut < 0x30:
        return False
    data = np.frombuffer(block, np.uint8)
    hits = np.flatnonzero(data[1:] == cut) + 1
    hits = hits[data[hits - 1] >= 0x80]
    if not len(hits):
        return False
    low = np.flatnonzero(data < 0x80)
    before = np.searchsorted(low, hits) - 1
    starts = np.where(before >= 0, low[np.maximum(before, 0)] + 1, 0)
    return bool(((hits - starts) % 2 == 1).any())


def _parse(data: bytes, delimiter: str, width: int) -> list[pa.Array]:
    names = [str(i) for i in range(width)]
    table = pa_csv.read_csv(
        pa.BufferReader(data),
        read_options=pa_csv.ReadOptions(column_names=names, block_size=max(len(data), 1 << 16)),
        parse_options=pa_csv.ParseOptions(delimiter=delimiter, quote_char=False, escape_char=False, ignore_empty_lines=False),
        convert_options=pa_csv.ConvertOptions(column_types={name: pa.binary() for name in names}, strings_can_be_null=False),
    )
    return [column.combine_chunks() for column in table.columns]


def _split(block: bytes, layout: Layout, route: Route) -> tuple[list[pa.Array], str]:
    """The fields of a block of detail lines as binary columns, and the encoding they are in. ValueError for a line of another shape."""
    ending = layout.newline.encode()
    if not block.endswith(ending):
        raise ValueError("最后一行没有行尾")
    if block.count(b"\n") != block.count(ending) or block.count(b"\r") != ending.count(b"\r") * block.count(ending):
        raise ValueError("行尾不一致")
    width = len(route.fields) + int(layout.terminated)
    last, tail, encoding = layout.separator[-1], layout.separator[:-1].encode(), layout.encoding
    if encoding != "utf-8" and _ambiguous(block, ord(last)):
        block = block.decode(encoding).replace(layout.separator, _UNIT_SEPARATOR).encode()
        last, tail, encoding = _UNIT_SEPARATOR, b"", "utf-8"
    columns = _parse(block, last, width)
    if layout.terminated and not _all(pc.equal(columns.pop(), b"")):
        raise ValueError("最后一栏之后还有内容")
    if tail:
        for i in range(len(columns) - int(not layout.terminated)):
            if not _all(pc.ends_with(columns[i], pattern=tail)):
                raise ValueError("分隔符不完整")
            columns[i] = pc.binary_replace_slice(columns[i], -len(tail), 2**31 - 1, b"")
    return columns, encoding


def _all(mask: pa.Array) -> bool:
    return bool(pc.all(mask).as_py())


def _decoded(column: pa.Array, encoding: str) -> pa.Array:
    """A binary column decoded strictly, all rows as one text: no half of a character is a line feed."""
    if encoding == "utf-8":
        return column.cast(pa.string())
    return pa.array(b"\n".join(column.to_pylist()).decode(encoding).split("\n"), pa.string())


def _fen(column: pa.Array, unit: str) -> pa.Array:
    text = column.cast(pa.string())
    shape, what = (r"^(0|[1-9][0-9]*)$", "金额不是整数") if unit == "fen" else (r"^(0|[1-9][0-9]*)\.[0-9][0-9]$", "金额不是两位小数")
    if not _all(pc.match_substring_regex(text, shape)):
        raise ValueError(what)
    return (text if unit == "fen" else pc.replace_substring(text, ".", "", max_replacements=1)).cast(pa.int64())


def _unequal(field: str, column: pa.Array, encoding: str, expected: pa.Table, layout: Layout, summary: str) -> pa.Array:
    """Which rows of one field are not what the ledger expects."""
    if field == "amount":
        return pc.not_equal(_fen(column, layout.unit), expected["amount_fen"].combine_chunks())
    if field == "name":
        return pc.not_equal(_decoded(column, encoding), expected["name"].combine_chunks())
    constant = {"empty": "", "zero": "0" if layout.unit == "fen" else "0.00", "summary": summary}
    if field in constant:
        return pc.not_equal(column, constant[field].encode(encoding))
    own = expected[field].combine_chunks()
    return pc.not_equal(column, own.cast(pa.string()).cast(pa.binary()))


def compare(path: Path, payments: pa.Table, layout: Layout, route_name: str, *, header: str, trailer: str, summary: str) -> ReadBack:
    """Read the file back from disk and compare it with `payments` (ordinal, amount_fen, account, name, bank_no, payment_no): count,
    sum, every payee and every other field. `header`, `trailer` and `summary` are the texts the ledger expects. Amounts in fen."""
    route = layout.route(route_name)
    amount_at = route.fields.index("amount")
    wrong: list[str] = []
    count = total = 0
    ending = layout.newline.encode()
    wanted_trailer = (trailer + layout.newline).encode(layout.encoding) if layout.trailer else b""
    first, ended = True, not wanted_trailer
    for block in _blocks(path):
        if ended and wanted_trailer:
            wrong.append("末行之后还有内容")
            break
        if first and layout.header:
            line, _, block = block.partition(ending)
            if line != header.encode(layout.encoding):
                wrong.append("首行合计与账簿不一致")
        first = False
        if wanted_trailer and block.endswith(wanted_trailer):
            block, ended = block[: -len(wanted_trailer)], True
        if not block:
            continue
        try:
            columns, encoding = _split(block, layout, route)
            amounts = _fen(columns[amount_at], layout.unit)
            rows = len(amounts)
            expected = payments.slice(count, rows)
            if expected.num_rows != rows:
                raise ValueError("文件中的行多于账簿")
            for field, column in zip(route.fields, columns, strict=True):
                unequal = _unequal(field, column, encoding, expected, layout, summary).to_numpy(zero_copy_only=False)
                wrong += [f"第 {count + int(row) + 1} 笔的 {field} 与账簿不一致" for row in np.flatnonzero(unequal)[:LISTED]]
        except UnicodeDecodeError:
            wrong.append(f"第 {count + 1} 笔之后的行不是 {layout.encoding.upper()} 编码")
            break
        except (ValueError, pa.ArrowInvalid) as error:
            wrong.append(f"第 {count + 1} 笔之后的行不合格式（{error if type(error) is ValueError else '栏位数不符'}）")
            break
        count += rows
        total += pc.sum(amounts).as_py() or 0
    if not ended:
        wrong.append("缺少末行")
    if count != payments.num_rows:
        wrong.append(f"文件 {count} 笔，账簿 {payments.num_rows} 笔")
    if total != (pc.sum(payments["amount_fen"]).as_py() or 0):
        wrong.append("文件金额合计与账簿不一致")
    return ReadBack(count, total, tuple(wrong[:LISTED]))
