"""Columns of strings as numbers: CRC-32 for buckets, 64-bit hashes for joining. No loop over rows.

A hash only ever narrows a search; whoever uses one compares the strings afterwards.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from subsidy.facts.schema import BUCKETS

U64 = NDArray[np.uint64]

_CRC = np.array([zlib.crc32(bytes([i])) ^ zlib.crc32(b"\0") for i in range(256)], dtype=np.uint32)
# zlib.crc32 of one byte mixes the conditioning in; the plain table entry of byte i is T[i] with T[0] = 0.


def _step(crc: NDArray[np.uint32]) -> NDArray[np.uint32]:
    after: NDArray[np.uint32] = _CRC.take(crc & 0xFF) ^ (crc >> np.uint32(8))
    return after


#: Longest texts of one length for which tables are kept.
_CRC_LONGEST = 32
#: Two bytes at a time.
_CRC_PAIR = _step(_step(np.arange(1 << 16, dtype=np.uint32)))


@lru_cache(maxsize=_CRC_LONGEST)
def _pair(following: int) -> NDArray[np.uint32]:
    """What two bytes, `following` bytes before the end, add to a CRC: the contributions of all bytes add up by exclusive or."""
    return _CRC_PAIR if not following else _step(_pair(following - 1))


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
    if shortest == longest and 2 <= longest <= _CRC_LONGEST:
        return _crc32_even(data[starts[0] : starts[0] + longest * len(starts)].reshape(-1, longest))
    pairs = shortest - shortest % 2
    for position in range(0, pairs, 2):
        pair = np.ndarray((len(data) - 1,), np.dtype("<u2"), data, 0, (1,))[starts + position]
        crc = _CRC_PAIR.take((crc ^ pair) & 0xFFFF) ^ (crc >> np.uint32(16))
    rows = slice(None)
    for position in range(pairs, longest):
        if position < shortest:
            crc = _step(crc ^ data[starts + position])
        else:
            rows = np.flatnonzero(lengths > position)  # type: ignore[assignment]
            part = crc[rows]
            crc[rows] = _CRC[(part ^ data[starts[rows] + position]) & 0xFF] ^ (part >> np.uint32(8))
    return crc ^ np.uint32(0xFFFFFFFF)


def _crc32_even(texts: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """`crc32` of texts of one length, a row each."""
    length = texts.shape[1]
    start = np.array([0xFFFFFFFF], np.uint32)
    for _ in range(length):
        start = _step(start)
    crc = np.full(len(texts), start[0] ^ np.uint32(0xFFFFFFFF), np.uint32)
    for position in range(0, length - 1, 2):
        pair = np.ndarray((len(texts),), np.dtype("<u2"), texts, position, (length,))
        crc ^= _pair(length - position - 2).take(pair)
    if length % 2:
        crc ^= _CRC.take(texts[:, -1])
    return crc


def bucket_of(contract_nos: pa.Array | pa.ChunkedArray) -> NDArray[np.int16]:
    """Shard bucket 0..255 of each contract number: CRC-32 of its UTF-8 bytes mod 256."""
    return (crc32(contract_nos) % np.uint32(BUCKETS)).astype(np.int16)


_M1 = np.uint64(0x9E3779B97F4A7C15)
_M2 = np.uint64(0xD6E8FEB86659FD93)


def hash64(column: pa.Array | pa.ChunkedArray, seed: U64 | None = None) -> U64:
    """A 64-bit hash of each string; `seed` chains the columns of a key, so that ("ab", "c") and ("a", "bc") differ.

    A string is taken as 64-bit words from its begin, the last word from its end (overlapping); below 8 bytes as one padded word.
    Null counts as empty.
    """
    array = _flat(column)
    if array.null_count:
        array = array.fill_null("")
    n = len(array)
    state = np.zeros(n, np.uint64) if seed is None else seed
    if n == 0:
        return state.copy()
    offsets, data = string_buffers(array)
    starts, lengths = offsets[:-1], np.diff(offsets)
    shortest, longest = int(lengths.min()), int(lengths.max())
    with np.errstate(over="ignore"):
        state = state ^ (lengths.astype(np.uint64) * _M1)
        if shortest >= 8:
            for k in range(0, longest - longest % 8, 8):
                mixed = _mix(state, _words(data, starts, k, shortest == longest))
                state = mixed if shortest >= k + 8 else np.where(lengths >= k + 8, mixed, state)
            if shortest != longest or longest % 8:
                mixed = _mix(state, _words(data, offsets[1:], -8, shortest == longest))
                state = mixed if shortest == longest else np.where(lengths % 8 != 0, mixed, state)
            return state
        short = np.flatnonzero(lengths < 8)
        padded = np.frombuffer(pc.ascii_rpad(array.take(pa.array(short)), 8, "\0").buffers()[2], np.uint64, count=len(short))
        hashed = _mix(state[short], padded)
        rest = np.flatnonzero(lengths >= 8)
        if len(rest):
            # The length is mixed in already: undo it for the long ones, which mix it in themselves.
            own = state[rest] ^ (lengths[rest].astype(np.uint64) * _M1)
            state[rest] = hash64(array.take(pa.array(rest)), own)
        state[short] = hashed
    return state


def _mix(state: U64, words: U64) -> U64:
    mixed = (state ^ words) * _M1
    mixed ^= mixed >> np.uint64(29)
    mixed *= _M2
    mixed ^= mixed >> np.uint64(32)
    return mixed


def _words(data: NDArray[np.uint8], places: NDArray[np.int32], shift: int, even: bool) -> U64:
    """The eight bytes at each place + `shift`, as one number; places beyond the data give anything. `even`: places are equally spaced."""
    if even and len(places) > 1:
        at, step = int(places[0]) + shift, int(places[1]) - int(places[0])
        return np.ndarray((len(places),), np.dtype("<u8"), data, at, (step,)).astype(np.uint64)
    if len(data) < 8:
        return np.zeros(len(places), np.uint64)
    anywhere = np.ndarray((len(data) - 7,), np.dtype("<u8"), data, 0, (1,))
    return anywhere[np.clip(places.astype(np.int64) + shift, 0, len(data) - 8)].astype(np.uint64)


def hash_int(values: NDArray[np.int64], seed: U64) -> U64:
    """Chain an integer column (dates as days) into `seed`."""
    with np.errstate(over="ignore"):
        state = (seed ^ values.astype(np.uint64)) * _M1
        state ^= state >> np.uint64(29)
        state *= _M2
        result: U64 = state ^ (state >> np.uint64(32))
    return result


class Places:
    """Where each of many distinct hashes stands: a table with open addressing, filled and asked by whole columns."""

    def __init__(self, hashes: U64) -> None:
        """`hashes` must be distinct and not zero."""
        size = 16
        while size < 2 * len(hashes):
            size *= 2
        self._mask = np.uint64(size - 1)
        self._hashes = np.zeros(size, np.uint64)
        self._at = np.full(size, -1, np.int32)
        left = np.arange(len(hashes), dtype=np.int32)
        slots = hashes & self._mask
        while len(left):
            free = self._hashes[slots] == 0
            # Several may want one slot: the last one written has it, the others try the next.
            self._hashes[slots[free]] = hashes[left[free]]
            self._at[slots[free]] = left[free]
            lost = self._at[slots] != left
            left, slots = left[lost], (slots[lost] + np.uint64(1)) & self._mask

    def find(self, hashes: U64) -> NDArray[np.int64]:
        """Index of each hash, -1 where it is not there."""
        slots = hashes & self._mask
        held = self._hashes[slots]
        hit = held == hashes
        found = np.where(hit, self._at[slots], np.int32(-1)).astype(np.int64)
        left = np.flatnonzero(~hit & (held != 0))
        slots = slots[left]
        while len(left):
            slots = (slots + np.uint64(1)) & self._mask
            held = self._hashes[slots]
            hit = held == hashes[left]
            found[left[hit]] = self._at[slots[hit]]
            on = ~hit & (held != 0)
            left, slots = left[on], slots[on]
        return found
