"""Text files from banks, decoded strictly and split into columns a block at a time. Decode first, split after."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from subsidy.clearing.profiles import Unit
from subsidy.money.amounts import parse_fen_column, parse_yuan_column

BLOCK_BYTES = 16 << 20
MAX_BYTES = 1 << 30
_SEPARATOR = "\x1f"
#: No byte of a character in any of the encodings is one of these.
_CONTROLS = bytes(set(range(32)) - {0x0A})


class Incomplete(Exception):
    """The end line is missing: the file is still being written, or was cut."""


class Refused(Exception):
    """The file cannot be what it claims to be. `code` is stable; the text is a Chinese sentence without personal data."""

    def __init__(self, code: str, *why: str) -> None:
        self.code = code
        self.why = why
        super().__init__(f"{code}：{'；'.join(why)}")


def lines_of(data: bytes, end: str, encoding: str) -> bytes:
    """The bytes before the end line, line feeds only. Incomplete without one; Refused when something follows it or it comes twice."""
    if len(data) > MAX_BYTES:
        raise Refused("BANK-TOO-LARGE", f"文件超过 {MAX_BYTES} 字节")
    body = data.replace(b"\r\n", b"\n")
    mark = end.encode(encoding)
    if not body.endswith(b"\n"):
        body += b"\n"
    stripped = body.rstrip(b"\n")
    if not (stripped.endswith(b"\n" + mark) or stripped == mark):
        if (b"\n" + mark + b"\n") in body or body.startswith(mark + b"\n"):
            raise Refused("BANK-AFTER-END", "末行之后还有内容")
        raise Incomplete
    body = stripped[: -len(mark)]
    if (b"\n" + mark + b"\n") in body or body.startswith(mark + b"\n"):
        raise Refused("BANK-AFTER-END", "末行出现两次")
    return body


def decode(data: bytes, encoding: str, separator: str = "", first_line: int = 1) -> str:
    """The text of `data`. Refused when a byte is not `encoding`, or is a control character that is neither a line feed nor in `separator`.
    No database takes them all."""
    controls = bytes(set(_CONTROLS) - set(separator.encode()))
    if len(data.translate(None, controls)) < len(data):
        at = next(i for i, byte in enumerate(data) if byte in controls)
        line = first_line + data.count(b"\n", 0, at)
        raise Refused("BANK-CONTROL", f"第 {line} 行有控制字符")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Refused("BANK-ENCODING", f"第 {line} 行不是 {encoding.upper()} 编码") from None


def columns_of(data: bytes, encoding: str, separator: str, terminated: bool, fields: tuple[str, ...], first_line: int) -> pa.Table:
    """Detail lines as text columns named as in `fields` (``skip`` is left out; of a repeated name the first).

    Refused on the first line with another number of fields; `first_line` is the file's line number of the first byte."""
    wanted = [i for i, name in enumerate(fields) if name != "skip" and fields.index(name) == i]
    names = [str(i) for i in range(len(fields) + int(terminated))]
    schema = pa.schema([(fields[i], pa.string()) for i in wanted])
    parts = [schema.empty_table()]
    for block, line in _blocks(data, first_line):
        text = decode(block, encoding, separator, line)
        try:
            table = pa_csv.read_csv(
                pa.BufferReader(text.replace(separator, _SEPARATOR).encode()),
                read_options=pa_csv.ReadOptions(column_names=names, block_size=max(4 * len(block), 1 << 16)),
                parse_options=pa_csv.ParseOptions(delimiter=_SEPARATOR, quote_char=False, escape_char=False, ignore_empty_lines=False),
                convert_options=pa_csv.ConvertOptions(
                    column_types={name: pa.string() for name in names}, strings_can_be_null=False, include_columns=[str(i) for i in wanted]
                ),
            )
        except pa.ArrowInvalid:
            raise Refused("BANK-FIELDS", f"第 {_bad_line(text, separator, len(names), line)} 行的栏位数不是 {len(fields)}") from None
        parts.append(table.rename_columns(schema.names).cast(schema))
    return pa.concat_tables(parts).combine_chunks()


def _blocks(data: bytes, first_line: int) -> Iterator[tuple[bytes, int]]:
    at, line = 0, first_line
    while at < len(data):
        cut = len(data) if len(data) - at <= BLOCK_BYTES else data.rfind(b"\n", at, at + BLOCK_BYTES) + 1
        if cut <= at:
            raise Refused("BANK-LINE-LONG", f"第 {line} 行过长")
        block = data[at:cut]
        yield block, line
        at, line = cut, line + block.count(b"\n")


def _bad_line(text: str, separator: str, width: int, line: int) -> int:
    for i, row in enumerate(text.split("\n")):
        if len(row.split(separator)) != width:
            return line + i
    return line


def amounts(column: pa.ChunkedArray | pa.Array, unit: Unit, what: str) -> pa.Array:
    """A text column of amounts as int64 fen; a leading ``+`` is not allowed. Refused when one is no amount."""
    parsed = parse_fen_column(column) if unit == "fen" else parse_yuan_column(column)
    if not parsed.valid.all():
        row = int((~parsed.valid).argmax())
        raise Refused("BANK-AMOUNT", f"第 {row + 1} 笔的{what}不是金额")
    return pa.array(parsed.values)


def amount(text: str, unit: Unit, what: str) -> int:
    """One amount in fen. Refused when `text` is none."""
    return int(amounts(pa.array([text]), unit, what)[0].as_py())


def whole(text: str, what: str) -> int:
    """A count. Refused when `text` is none."""
    if not (text.isascii() and text.isdigit()):
        raise Refused("BANK-NUMBER", f"{what}不是数字")
    return int(text)


def days(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A text column of dates yyyyMMdd as date32; null where it is none."""
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    shaped = pc.match_substring_regex(flat, r"^(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$")
    stamps = pc.strptime(pc.if_else(shaped, flat, pa.scalar(None, pa.string())), format="%Y%m%d", unit="s", error_is_null=True)
    dates = stamps.cast(pa.date32())
    same = pc.equal(pc.strftime(dates, format="%Y%m%d"), flat)
    return pc.if_else(pc.fill_null(same, False), dates, pa.scalar(None, pa.date32()))
