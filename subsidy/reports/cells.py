"""Columns of plain values as the text that stands in a workbook's XML, and as the text that its fingerprint is made of.

Amounts go from integer fen to decimal text by integer arithmetic; no binary fraction is ever computed.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from subsidy.reports.sheet import Kind

#: Between the cells of a row and after each row in the fingerprint; neither can stand in a cell.
CELL_END, ROW_END = "\x1f", "\x1e"
#: What XML cannot hold, or would change on reading.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufffe\uffff]")
_EPOCH = date(1899, 12, 30)
EXCEL_TEXT = 32_767


def printable(text: str) -> str:
    """`text` with characters that a workbook cannot hold made visible (``\\u000d``), cut where a cell ends; tab and line feed stay."""
    shown = _UNPRINTABLE.sub(lambda m: f"\\u{ord(m.group()):04x}", text)
    return shown if len(shown) <= EXCEL_TEXT else shown[: EXCEL_TEXT - 1] + "…"


def clean(column: pa.Array) -> pa.Array:
    """`printable` of a text column; untouched where nothing must be done."""
    odd = pc.or_kleene(
        pc.match_substring_regex(column, "[\\x00-\\x08\\x0b-\\x1f\\x7f\\x{fffe}\\x{ffff}]"), pc.greater(pc.utf8_length(column), EXCEL_TEXT)
    )
    if not pc.any(odd).as_py():
        return column
    return pa.array([None if v is None else printable(v) for v in column.to_pylist()], pa.string())


def money_text(fen: pa.Array) -> pa.Array:
    """Integer fen as yuan with two decimals: 123450 → ``1234.50``."""
    return _decimal(fen, 100, 2)


def rate_text(ppm: pa.Array) -> pa.Array:
    """Integer millionths as a decimal fraction with six decimals: 35000 → ``0.035000``."""
    return _decimal(ppm, 1_000_000, 6)


def _decimal(values: pa.Array, unit: int, places: int) -> pa.Array:
    size = pc.abs(values)
    whole = pc.divide(size, unit)
    rest = pc.subtract(size, pc.multiply(whole, unit))
    digits = pc.utf8_lpad(rest.cast(pa.string()), places, "0")
    text = pc.binary_join_element_wise(whole.cast(pa.string()), digits, ".")
    if pc.min(values).as_py() is not None and pc.min(values).as_py() < 0:
        text = pc.binary_join_element_wise(pc.if_else(pc.less(values, 0), "-", ""), text, "")
    return text


def number_text(column: pa.Array, kind: Kind) -> pa.Array:
    """The text of a number cell; a date is its day number in Excel's calendar."""
    if kind == "money":
        return money_text(column)
    if kind == "rate":
        return rate_text(column)
    if kind == "date":
        days = column.cast(pa.int32()).cast(pa.int64())
        return pc.add(days, (date(1970, 1, 1) - _EPOCH).days).cast(pa.string())
    return column.cast(pa.string())


def sealed(column: pa.Array, kind: Kind) -> pa.Array:
    """What the fingerprint takes of a column: a letter for what it is, then its value; empty for an empty cell."""
    if kind == "text":
        return pc.fill_null(pc.if_else(pc.equal(column, ""), "", pc.binary_join_element_wise("t", column, "")), "")
    if kind == "date":
        return pc.fill_null(pc.binary_join_element_wise("d", column.cast(pa.string()), ""), "")
    text = number_text(column, kind)
    if kind in ("money", "rate"):
        text = pc.utf8_rtrim(pc.utf8_rtrim(text, "0"), ".")
    return pc.fill_null(pc.binary_join_element_wise("n", text, ""), "")


def sealed_value(value: Any) -> str:
    """As `sealed`, of a value that a workbook reader returned."""
    if value is None or value == "":
        return ""
    if isinstance(value, str):
        return "t" + value
    if isinstance(value, datetime):
        return "d" + value.date().isoformat()
    if isinstance(value, date):
        return "d" + value.isoformat()
    text = format(Decimal(str(value)), "f")
    return "n" + (text.rstrip("0").rstrip(".") if "." in text else text)


def escape(column: pa.Array) -> pa.Array:
    """A text column as XML text."""
    if not pc.any(pc.match_substring_regex(column, "[&<>]")).as_py():
        return column
    for plain, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        column = pc.replace_substring(column, plain, safe)
    return column


def escaped(text: str) -> str:
    """One text as XML text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
