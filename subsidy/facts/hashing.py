"""Columns of strings as numbers: CRC-32 for buckets, 64-bit hashes for joining. No loop over rows.

A hash only ever narrows a search; whoever uses one compares the strings afterwards.
"""

from __future__ import annotations

import zlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from subsidy.facts.schema import BUCKETS

U64 = NDArray[np.uint64]

_CRC = np.array([zlib.crc32(bytes([i])) ^ zlib.crc32(b"\0") for i in range(256)], dtype=np.uint32)
# zlib.crc32 of one byte mixes the conditioning in; the plain table entry of byte i is T[i] with T[0] = 0.


def _flat(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One contiguous string array that starts at offset 0 of its buffers."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # zero chunks
        array = pa.array([], pa.string())
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.type != pa.string():
        array = array.cast(pa.string())
    return array


def string_buffers(column: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Offsets (n + 1) and bytes of a string column; null counts as empty."""
    array = _flat(column)
    if array.null_count:
        array = array.fill_null("")
    _, offsets_buffer, data_buffer = array.buffers()
    if offsets_buffer is None or len(array) == 0:
        return np.zeros(1, np.int32), np.zeros(0, np.uint8)
    offsets = np.frombuffer(offsets_buffer, np.int32)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.zeros(0, np.uint8)
    return offsets, data


def crc32(column: pa.Array | pa.ChunkedArray) -> NDArray[np.uint32]:
    """CRC-32 of the UTF-8 bytes of each string, as `zlib.crc32` gives it."""
    offsets, data = string_buffers(column)
    starts = offsets[:-1].astype(np.int64)
    lengths = np.diff(offsets)
    crc = np.full(len(lengths), 0xFFFFFFFF, np.uint32)
    if not len(lengths):
        return crc
    shortest, longest = int(lengths.min()), int(lengths.max())
    rows = slice(None)
    for position in range(longest):
        if position < shortest:
            byte = data[starts + position]
            crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> np.uint32(8))
        else:
            rows = np.flatnonzero(lengths > position)  # type: ignore[assignment]
            part = crc[rows]
            crc[rows] = _CRC[(part ^ data[starts[rows] + position]) & 0xFF] ^ (part >> np.uint32(8))
    return crc ^ np.uint32(0xFFFFFFFF)


def bucket_of(contract_nos: pa.Array | pa.ChunkedArray) -> NDArray[np.int16]:
    """Shard bucket 0..255 of each contract number: CRC-32 of its UTF-8 bytes mod 256."""
    return (crc32(contract_nos) % np.uint32(BUCKETS)).astype(np.int16)


_M1 = np.uint64(0x9E3779B97F4A7C15)
_M2 = np.uint64(0xD6E8FEB86659FD93)


def hash64(column: pa.Array | pa.ChunkedArray, seed: U64 | None = None) -> U64:
    """A 64-bit hash of each string; `seed` chains the columns of a key, so that ("ab", "c") and ("a", "bc") differ."""
    array = _flat(column)
    n = len(array)
    state = np.zeros(n, np.uint64) if seed is None else seed.copy()
    if n == 0:
        return state
    if array.null_count:
        array = array.fill_null("")
    offsets, _ = string_buffers(array)
    lengths = np.diff(offsets)
    shortest, longest = int(lengths.min()), int(lengths.max())
    width = max(8, -(-longest // 8) * 8)
    padded = pc.ascii_rpad(array, width, "\0")
    count = n * width // 8
    words = np.frombuffer(padded.buffers()[2], np.uint64, count=count, offset=padded.offset * width).reshape(n, width // 8)
    with np.errstate(over="ignore"):
        state ^= lengths.astype(np.uint64) * _M1
        for k in range(words.shape[1]):
            mixed = (state ^ words[:, k]) * _M1
            mixed ^= mixed >> np.uint64(29)
            mixed *= _M2
            mixed ^= mixed >> np.uint64(32)
            # A word beyond a string's end must not change its hash: neighbours decide the width.
            state = mixed if shortest > 8 * k else np.where(lengths > 8 * k, mixed, state)
    return state


def hash_int(values: NDArray[np.int64], seed: U64) -> U64:
    """Chain an integer column (dates as days) into `seed`."""
    with np.errstate(over="ignore"):
        state = (seed ^ values.astype(np.uint64)) * _M1
        state ^= state >> np.uint64(29)
        state *= _M2
        result: U64 = state ^ (state >> np.uint64(32))
    return result
