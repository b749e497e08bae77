"""Writing a payment or recovery file: columns in, bytes out, a chunk of rows at a time.

Only names can hold more than ASCII, so only they go through the encoder; everything else is joined as columns of bytes.
The result is checked by `subsidy.clearing.read_back`, which shares no code with this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from subsidy.clearing.profiles import Layout, Route, fill
from subsidy.money.amounts import format_yuan, format_yuan_column

#: What a payment file needs of each payment, in the order of `ordinal`.
PAYMENTS = pa.schema(
    [
        ("ordinal", pa.int32()),
        ("amount_fen", pa.int64()),
        ("account", pa.string()),
        ("name", pa.string()),
        ("bank_no", pa.string()),
        ("payment_no", pa.string()),
    ]
)

CHUNK_ROWS = 131_072


def amount_text(fen: int, unit: str) -> str:
    """An amount as the file writes it: yuan with two decimals, or whole fen."""
    return str(fen) if unit == "fen" else format_yuan(fen)


def _amounts(fen: pa.Array, unit: str) -> pa.Array:
    return fen.cast(pa.string()) if unit == "fen" else format_yuan_column(fen)


def encode_column(column: pa.Array, encoding: str) -> pa.Array:
    """A text column as a binary column in `encoding`. UnicodeEncodeError when a character cannot be written; ValueError for line feeds.

    The column is encoded as one text and cut at line feeds: no byte of a multi-byte character of the three encodings is a line feed.
    """
    if encoding == "utf-8" or len(column) == 0:
        return column.cast(pa.binary())
    joined = pc.binary_join_element_wise(column, "\n", "")
    raw = _data(joined).decode("utf-8").encode(encoding)
    ends = np.flatnonzero(np.frombuffer(raw, np.uint8) == 0x0A)
    if len(ends) != len(column):
        raise ValueError("a name holds a line feed")
    kept = np.frombuffer(raw, np.uint8)
    kept = kept[kept != 0x0A]
    offsets = np.empty(len(column) + 1, np.int32)
    offsets[0] = 0
    offsets[1:] = ends - np.arange(len(column))
    return pa.Array.from_buffers(pa.binary(), len(column), [None, pa.py_buffer(offsets), pa.py_buffer(kept)])


def _data(strings: pa.Array) -> bytes:
    """The characters of a string or binary array without nulls, one after another."""
    if len(strings) == 0:
        return b""
    wide = pa.types.is_large_string(strings.type) or pa.types.is_large_binary(strings.type)
    offsets = np.frombuffer(strings.buffers()[1], np.int64 if wide else np.int32)[strings.offset : strings.offset + len(strings) + 1]
    data: bytes = strings.buffers()[2].slice(int(offsets[0]), int(offsets[-1] - offsets[0])).to_pybytes()
    return data


def _rows(chunk: pa.Table, layout: Layout, route: Route, summary: str) -> bytes:
    """The detail lines of one chunk. Constant fields melt into the separators between the columns."""
    encoding = layout.encoding
    columns: dict[str, pa.Array] = {
        "ordinal": chunk["ordinal"].combine_chunks().cast(pa.string()).cast(pa.binary()),
        "amount": _amounts(chunk["amount_fen"].combine_chunks(), layout.unit).cast(pa.binary()),
        "account": chunk["account"].combine_chunks().cast(pa.binary()),
        "name": encode_column(chunk["name"].combine_chunks(), encoding),
        "bank_no": chunk["bank_no"].combine_chunks().cast(pa.binary()),
        "payment_no": chunk["payment_no"].combine_chunks().cast(pa.binary()),
    }
    constant = {"summary": summary, "empty": "", "zero": amount_text(0, layout.unit)}
    pieces: list[pa.Array | str] = []

    def literal(text: str) -> None:
        if pieces and isinstance(pieces[-1], str):
            pieces[-1] += text
        else:
            pieces.append(text)

    for at, field in enumerate(route.fields):
        if at:
            literal(layout.separator)
        if field in columns:
            pieces.append(columns[field])
        else:
            literal(constant[field])
    literal((layout.separator if layout.terminated else "") + layout.newline)
    joined = pc.binary_join_element_wise(
        *(pa.scalar(p.encode(encoding), pa.binary()) if isinstance(p, str) else p for p in pieces), pa.scalar(b"", pa.binary())
    )
    return _data(joined)


def render(payments: pa.Table, layout: Layout, route_name: str, values: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the bytes of a file, at most `CHUNK_ROWS` rows at a time.

    `payments` has schema `PAYMENTS`, sorted by ordinal. `values` fill the templates of header, trailer and summary.
    UnicodeEncodeError when a name cannot be encoded: callers carry such payments forward before they get here.
    """
    route = layout.route(route_name)
    summary = fill(layout.summary, values)
    if layout.header:
        yield (fill(layout.header, {**values, "summary": summary}) + layout.newline).encode(layout.encoding)
    for start in range(0, payments.num_rows, CHUNK_ROWS):
        yield _rows(payments.slice(start, CHUNK_ROWS), layout, route, summary)
    if layout.trailer:
        yield (fill(layout.trailer, values) + layout.newline).encode(layout.encoding)


def template_values(
    *, unit_no: str, send_no: str, settlement_on: str, period: str, count: int, total_fen: int, layout: Layout, day_no: str = ""
) -> dict[str, str]:
    """Values of the templates of a batch. `settlement_on` is yyyyMMdd, `period` is 2026-10."""
    month = period.replace("-", "")
    values = {
        "unit_no": unit_no,
        "send_no": send_no,
        "date": settlement_on,
        "month": month,
        "day_no": day_no,
        "count": str(count),
        "total": amount_text(total_fen, layout.unit),
        "zero": amount_text(0, layout.unit),
    }
    return values | {"summary": fill(layout.summary, values)}
