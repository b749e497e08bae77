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


def _parse(data: bytes, delimiter: str, width: int, wanted: list[int]) -> pa.Table:
    names = [str(i) for i in range(width)]
    return pa_csv.read_csv(
        pa.BufferReader(data),
        read_options=pa_csv.ReadOptions(column_names=names, block_size=max(len(data), 1 << 16)),
        parse_options=pa_csv.ParseOptions(delimiter=delimiter, quote_char=False, escape_char=False, ignore_empty_lines=False),
        convert_options=pa_csv.ConvertOptions(
            column_types={name: pa.binary() for name in names}, strings_can_be_null=False, include_columns=[str(i) for i in wanted]
        ),
    )


def _split(block: bytes, layout: Layout, route: Route) -> dict[str, pa.Array]:
    """The fields of a block of detail lines as columns of UTF-8 text. ValueError when a line has another number of fields."""
    wanted = [i for i, field in enumerate(route.fields) if field != "empty" and route.fields.index(field) == i]
    ending = layout.newline.encode()
    if not block.endswith(ending):
        raise ValueError("最后一行没有行尾")
    width = len(route.fields) + int(layout.terminated)
    last = ord(layout.separator[-1])
    tail = layout.separator[:-1]
    if layout.encoding != "utf-8" and _ambiguous(block, last):
        text = block.decode(layout.encoding).replace(layout.separator, _UNIT_SEPARATOR)
        table, tail, encoding = _parse(text.encode(), _UNIT_SEPARATOR, width, wanted), "", "utf-8"
    else:
        table, encoding = _parse(block, layout.separator[-1], width, wanted), layout.encoding
    columns: dict[str, pa.Array] = {}
    for i in wanted:
        column = table.column(str(i)).combine_chunks()
        if tail and not (i == len(route.fields) - 1 and not layout.terminated):
            if not pc.all(pc.ends_with(column, pattern=tail)).as_py():
                raise ValueError("分隔符不完整")
            column = pc.binary_replace_slice(column, -len(tail), 2**31 - 1, b"")
        columns[route.fields[i]] = _decoded(column, encoding) if route.fields[i] in ("name", "summary") else column.cast(pa.string())
    return columns


def _decoded(column: pa.Array, encoding: str) -> pa.Array:
    """A binary column decoded strictly; columns of few different values are decoded once per value."""
    if encoding == "utf-8":
        return column.cast(pa.string())
    folded = column.dictionary_encode() if len(column) and column[0] == column[-1] else None
    if folded is not None and len(folded.dictionary) < 16:
        words = pa.array([value.decode(encoding) for value in folded.dictionary.to_pylist()], pa.string())
        return pa.DictionaryArray.from_arrays(folded.indices, words).dictionary_decode()
    values = b"\n".join(column.to_pylist()).decode(encoding).split("\n")
    return pa.array(values, pa.string())


def _fen(column: pa.Array, unit: str) -> pa.Array:
    if unit == "fen":
        return column.cast(pa.int64())
    if not pc.all(pc.match_substring_regex(column, r"^\d+\.\d\d$")).as_py():
        raise ValueError("金额不是两位小数")
    return pc.replace_substring(column, ".", "", max_replacements=1).cast(pa.int64())


def compare(path: Path, payments: pa.Table, layout: Layout, route_name: str, *, header: str, trailer: str, summary: str) -> ReadBack:
    """Read the file back from disk and compare it with `payments` (ordinal, amount_fen, account, name, bank_no, payment_no): count,
    sum and every payee. `header`, `trailer` and `summary` are the texts the ledger expects. Amounts in fen."""
    route = layout.route(route_name)
    wrong: list[str] = []
    count = total = 0
    first = True
    pending_trailer = layout.trailer != ""
    for block in _blocks(path):
        if first and layout.header:
            line, _, block = block.partition(layout.newline.encode())
            if line.decode(layout.encoding, "replace") != header:
                wrong.append("首行合计与账簿不一致")
        first = False
        if pending_trailer:
            end = (trailer + layout.newline).encode(layout.encoding)
            if block.endswith(end):
                block = block[: -len(end)]
                pending_trailer = False
        if not block:
            continue
        try:
            columns = _split(block, layout, route)
            amounts = _fen(columns["amount"], layout.unit)
        except (ValueError, pa.ArrowInvalid) as error:
            wrong.append(f"第 {count + 1} 笔之后的行不合格式（{error if type(error) is ValueError else type(error).__name__}）")
            return ReadBack(count, total, tuple(wrong))
        expected = payments.slice(count, len(amounts))
        if expected.num_rows != len(amounts):
            wrong.append("文件中的行多于账簿")
            return ReadBack(count + len(amounts), total, tuple(wrong))
        columns["amount"] = amounts
        columns["ordinal"] = columns["ordinal"].cast(pa.int32())
        for field, source in (
            ("ordinal", "ordinal"), ("amount", "amount_fen"), ("account", "account"), ("name", "name"), ("bank_no", "bank_no"),
            ("payment_no", "payment_no"),
        ):  # fmt: skip
            if field in columns:
                unequal = pc.not_equal(columns[field], expected[source].combine_chunks())
                for row in np.flatnonzero(unequal.to_numpy(zero_copy_only=False))[: LISTED - len(wrong)]:
                    wrong.append(f"第 {count + int(row) + 1} 笔的 {field} 与账簿不一致")
        if "summary" in columns and not pc.all(pc.equal(columns["summary"], summary)).as_py():
            wrong.append("摘要与账簿不一致")
        count += len(amounts)
        total += pc.sum(amounts).as_py() or 0
    if pending_trailer:
        wrong.append("缺少末行")
    if count != payments.num_rows:
        wrong.append(f"文件 {count} 笔，账簿 {payments.num_rows} 笔")
    if total != (pc.sum(payments["amount_fen"]).as_py() or 0):
        wrong.append("文件金额合计与账簿不一致")
    return ReadBack(count, total, tuple(wrong[:LISTED]))
