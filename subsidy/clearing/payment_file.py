"""Writing a payment or recovery file: columns in, bytes out, a chunk of rows at a time.

Only names can hold more than ASCII, so only they go through the encoder; everything else is joined as columns of bytes.
The result is checked by `subsidy.clearing.read_back`, which shares no code with this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from subsidy.clearing.pipeline import ahead
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
    """A text column as a binary column in `encoding`. UnicodeEncodeError when a character cannot be written.

    The column is encoded as one text. Characters beyond ASCII take two bytes in GBK, and in GB18030 nearly always; where one takes four,
    the rows are encoded one by one.
    """
    if encoding == "utf-8" or len(column) == 0:
        return column.cast(pa.binary())
    text = _data(column)
    raw = str(text, "utf-8").encode(encoding)
    starts = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    plain = np.zeros(len(text) + 1, np.int32)
    np.cumsum(np.frombuffer(text, np.uint8) < 0x80, out=plain[1:])
    ascii_count = np.diff(plain[starts - starts[0]])
    offsets = np.zeros(len(column) + 1, np.int32)
    np.cumsum(2 * pc.utf8_length(column).to_numpy() - ascii_count, out=offsets[1:])
    if offsets[-1] != len(raw):
        return pa.array([value.encode(encoding) for value in column.to_pylist()], pa.binary())
    return pa.Array.from_buffers(pa.binary(), len(column), [None, pa.py_buffer(offsets), pa.py_buffer(raw)])


def _data(strings: pa.Array) -> memoryview:
    """The characters of a string or binary array without nulls, one after another, not copied."""
    offsets = np.frombuffer(strings.buffers()[1], np.int32)[strings.offset : strings.offset + len(strings) + 1]
    data = strings.buffers()[2]
    return memoryview(b"") if data is None else memoryview(data)[int(offsets[0]) : int(offsets[-1])]


def _rows(chunk: pa.Table, layout: Layout, route: Route, summary: str) -> memoryview:
    """The detail lines of one chunk."""
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
    if len(layout.separator) == 1:
        lines = _as_csv([columns.get(f, constant.get(f, "")) for f in route.fields], chunk.num_rows, layout)
        if lines is not None:
            return lines
    return _joined(columns, constant, layout, route)


def _as_csv(fields: list[pa.Array | str], rows: int, layout: Layout) -> memoryview | None:
    """The lines by way of Arrow's CSV writer, which is faster than joining columns; None when a character has a byte that it would have to
    quote. It copies bytes, whatever their encoding."""
    if layout.terminated:
        fields = [*fields, ""]
    arrays = [pa.repeat(pa.scalar(f.encode(layout.encoding), pa.binary()), rows) if isinstance(f, str) else f for f in fields]
    table = pa.table([array.view(pa.string()) for array in arrays], names=[str(i) for i in range(len(arrays))])
    sink = pa.BufferOutputStream()
    try:
        pa_csv.write_csv(
            table, sink, pa_csv.WriteOptions(include_header=False, delimiter=layout.separator, quoting_style="none", eol=layout.newline)
        )
    except pa.ArrowInvalid:
        return None
    return memoryview(sink.getvalue())


def _joined(columns: dict[str, pa.Array], constant: dict[str, str], layout: Layout, route: Route) -> memoryview:
    """The lines as one join of columns; constant fields melt into the separators between them."""
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
        *(pa.scalar(p.encode(layout.encoding), pa.binary()) if isinstance(p, str) else p for p in pieces), pa.scalar(b"", pa.binary())
    )
    return _data(joined)


def render(payments: pa.Table, layout: Layout, route_name: str, values: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a file, at most `CHUNK_ROWS` rows at a time.

    `payments` has schema `PAYMENTS`, sorted by ordinal. `values` fill the templates of header, trailer and summary.
    UnicodeEncodeError when a name cannot be encoded: callers carry such payments forward before they get here.
    """
    route = layout.route(route_name)
    summary = fill(layout.summary, values)
    if layout.header:
        yield (fill(layout.header, {**values, "summary": summary}) + layout.newline).encode(layout.encoding)
    chunks = [payments.slice(start, CHUNK_ROWS) for start in range(0, payments.num_rows, CHUNK_ROWS)]
    yield from ahead(lambda chunk: _rows(chunk, layout, route, summary), chunks)
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
