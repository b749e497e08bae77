"""Amounts as text and as integer fen (handbook section 3; standards section 1: money is N(18,2) yuan)."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from subsidy.money.digits import POWERS, read_digits
from subsidy.money.spans import Spans

_YUAN = re.compile(r"(-?)(0|[1-9][0-9]{0,15})(?:\.([0-9]{1,2}))?")

#: The largest amount that the dictionary's N(18,2) holds.
MAX_FEN = 10**18 - 1


class Parsed(NamedTuple):
    """A parsed column: `values` int64 (0 where not valid) and `valid`, False for rows that break the grammar and for nulls."""

    values: npt.NDArray[np.int64]
    valid: npt.NDArray[np.bool_]


def parse_yuan(text: str) -> int:
    """Fen of an amount in yuan: ``1234.50``, ``-0.05``, ``3``, at most two decimals and 16 digits before the point.

    ValueError for anything else (blanks, separators of thousands, exponents, ``-0.00``, three decimals, full-width digits).
    """
    match = _YUAN.fullmatch(text)
    if match is None:
        raise ValueError("not an amount in yuan")
    sign, whole, part = match.groups()
    fen = int(whole) * 100 + int((part or "").ljust(2, "0"))
    if sign and not fen:
        raise ValueError("negative zero")
    return -fen if sign else fen


def format_yuan(fen: int) -> str:
    """The amount in yuan with two decimals: ``-5`` fen is ``-0.05``."""
    whole, part = divmod(abs(int(fen)), 100)
    return f"{'-' if fen < 0 else ''}{whole}.{part:02d}"


def parse_yuan_column(column: pa.Array | pa.ChunkedArray | Spans) -> Parsed:
    """`parse_yuan` of a whole text column."""
    read = read_digits(column)
    if len(read.valid) and read.valid.all() and int(read.decimals.min()) == 2 == int(read.decimals.max()):
        return Parsed(read.unscaled, read.valid)
    valid = read.valid & (read.decimals <= 2)
    scale = POWERS[np.where(valid, 2 - read.decimals, 0)]
    # 18 digits without decimals would be more than N(18,2) holds, and could leave 64 bits.
    valid &= (scale == 1) | (np.abs(read.unscaled) <= MAX_FEN // scale)
    return Parsed(np.where(valid, read.unscaled, 0) * scale, valid)


def parse_fen_column(column: pa.Array | pa.ChunkedArray | Spans, *, padded: bool = False) -> Parsed:
    """A text column of whole fen. `padded`: leading zeros are allowed, as in fixed-width files."""
    read = read_digits(column, padded=padded, point=False)
    return Parsed(read.unscaled, read.valid)


def format_yuan_column(fen: npt.NDArray[np.int64] | pa.Array | pa.ChunkedArray) -> pa.Array:
    """`format_yuan` of a whole int64 column, as a text column; nulls stay null."""
    if isinstance(fen, pa.ChunkedArray):
        fen = fen.combine_chunks()
    source = fen if isinstance(fen, pa.Array) else pa.array(np.ascontiguousarray(fen, np.int64))
    values = source.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    wide = np.empty((len(values), 2), np.int64)
    wide[:, 0] = values
    wide[:, 1] = values >> 63
    decimal = pa.Array.from_buffers(pa.decimal128(20, 2), len(values), [None, pa.py_buffer(wide)])
    text = decimal.cast(pa.string())
    if source.null_count:
        text = pc.if_else(source.is_valid(), text, pa.scalar(None, pa.string()))
    return text
