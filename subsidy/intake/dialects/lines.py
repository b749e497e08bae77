"""Text files in blocks of whole lines: bounded memory, header and trailer taken off, nothing decoded or split yet.

A line feed byte is never part of another character in GB18030 or UTF-8, so blocks may be cut there before decoding; fields may not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from subsidy.intake.faults import refuse
from subsidy.intake.profile import CODECS, Limits, Profile

BLOCK_BYTES = 1 << 23
BOM = b"\xef\xbb\xbf"
#: Bytes that stay in the processor's cache while several passes are made over them.
PART_BYTES = 1 << 18


class Lines:
    """Reads `stream` line by line at the ends and block by block between them. `line_no` is the 1-based number of the next line."""

    def __init__(self, stream: BinaryIO, limits: Limits, quoted: bool = False, block_bytes: int = BLOCK_BYTES) -> None:
        self._stream = stream
        self._limits = limits
        self._quoted = quoted
        self._block_bytes = block_bytes
        self._begin = b""
        self._last = b""
        self.line_no = 1

    def skip_bom(self, expected: bool) -> None:
        """Take a UTF-8 byte order mark off. FileRefused ``FILE-BOM`` when it is there or missing against the declaration."""
        self._begin = self._stream.read(3)
        present = self._begin == BOM
        if present != expected:
            raise refuse("FILE-BOM", line_no=1, expect="有 BOM" if expected else "无 BOM")
        if present:
            self._begin = b""

    def first(self) -> bytes | None:
        """The next line without its end, consumed; None at the end of the file."""
        begin, self._begin = self._begin, b""
        head, feed, rest = begin.partition(b"\n")
        if feed:
            self._begin = rest
            line = head
        else:
            line = begin + self._line()
            if not line:
                return None
        self.line_no += 1
        return line.removesuffix(b"\n").removesuffix(b"\r")

    def _line(self) -> bytes:
        """The rest of the line at which the stream stands, with its end."""
        limit = self._limits.line_bytes
        line = self._stream.readline(limit + 1)
        if len(line) > limit:
            raise refuse("FILE-LINE-LONG", line_no=self.line_no, limit=limit)
        return line

    def _block(self) -> bytes:
        """Whole lines, about a block of them; empty at the end of the file."""
        block = self._whole_lines()
        if self._begin:
            block, self._begin = self._begin + block, b""
        if not self._quoted or b'"' not in block:
            return block
        # A quoted field may hold line feeds: go on to a line at which all quotes are closed.
        odd = block.count(b'"') % 2
        more = []
        taken = 0
        while odd and (line := self._line()):
            more.append(line)
            taken += len(line)
            odd ^= line.count(b'"') % 2
            if taken > self._block_bytes:
                raise refuse("FILE-QUOTE", line_no=self.line_no)
        return block + b"".join(more)

    def _whole_lines(self) -> bytes:
        if not self._stream.seekable():
            block = self._stream.read(self._block_bytes)
            return block if not block or block.endswith(b"\n") else block + self._line()
        # Look for the end of the line first: then nothing read has to be put together again.
        at = self._stream.tell()
        self._stream.seek(at + self._block_bytes - 1)
        length = self._block_bytes - 1 + len(self._line())
        self._stream.seek(at)
        return self._stream.read(length)

    def blocks(self, trailer: bool) -> Iterator[tuple[int, bytes]]:
        """(number of the first line, whole lines with their ends); with `trailer` the last line stays behind for `last`."""
        block = self._block()
        while block:
            following = self._block()
            if not following and trailer:
                cut = block.rfind(b"\n", 0, len(block) - 1) + 1
                block, self._last = block[:cut], block[cut:]
            if block:
                first, self.line_no = self.line_no, self.line_no + count_lines(block)
                yield first, block
            block = following

    def last(self) -> bytes:
        """What `blocks` left behind: the last line without its end."""
        return self._last.removesuffix(b"\n").removesuffix(b"\r")


def decode(data: bytes, profile: Profile, first_line: int = 1) -> bytes:
    """`data` as UTF-8 bytes, decoded strictly by the declared encoding. FileRefused ``FILE-ENCODING`` names the line.

    The 24 code points that GB18030-2000 placed in the private use area become what later editions made of them.
    """
    if data.isascii():
        return data
    codec = CODECS[profile.encoding]
    if codec == "utf-8" and is_utf8(data):
        return data
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        line = first_line + data.count(b"\n", 0, error.start)
        raise refuse(
            "FILE-ENCODING", line_no=line, encoding=profile.encoding, where=f"第 {line} 行有无法解码的字节"
        ) from None
    if codec == "utf-8":
        return data
    if _is_utf8(data):
        raise refuse("FILE-ENCODING", line_no=first_line, encoding=profile.encoding, where="全部文字都是 UTF-8")
    utf8 = text.encode("utf-8")
    # All of U+E000 to U+EFFF begins with this byte, which begins nothing else.
    return standard(text).encode("utf-8") if b"\xee" in utf8 else utf8


def is_utf8(data: bytes) -> bool:
    """Whether `data` is UTF-8. Arrow looks beside other threads, and faster than Python."""
    places = pa.py_buffer(np.array([0, len(data)], np.int32))
    try:
        pa.Array.from_buffers(pa.string(), 1, [None, places, pa.py_buffer(data)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _is_utf8(data: bytes) -> bool:
    """Whether text that decodes as GB18030 is UTF-8 all the same: UTF-8 throughout, and Chinese when read so."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return sum("\u4e00" <= c <= "\u9fff" for c in text) >= 3


#: Private code points of GB18030-2000 and the characters that the 2005 and 2022 editions assign to the same bytes.
_ASSIGNED = {
    0xE78D: 0xFE10, 0xE78E: 0xFE12, 0xE78F: 0xFE11, 0xE790: 0xFE13, 0xE791: 0xFE14, 0xE792: 0xFE15, 0xE793: 0xFE16, 0xE794: 0xFE17,
    0xE795: 0xFE18, 0xE796: 0xFE19, 0xE816: 0x20087, 0xE817: 0x20089, 0xE818: 0x200CC, 0xE81E: 0x9FB4, 0xE826: 0x9FB5, 0xE82B: 0x9FB6,
    0xE82C: 0x9FB7, 0xE831: 0x215D7, 0xE832: 0x9FB8, 0xE83B: 0x2298F, 0xE843: 0x9FB9, 0xE854: 0x9FBA, 0xE855: 0x241FE, 0xE864: 0x9FBB,
}


def standard(text: str) -> str:
    """`text` with GB18030's formerly private code points replaced by their assigned characters."""
    if any("\ue78d" <= c <= "\ue864" for c in text) if len(text) < 1_000 else _has_private(text):
        return text.translate(_ASSIGNED)
    return text


def _has_private(text: str) -> bool:
    # U+E78D..U+E864 in UTF-16: the high byte is 0xE7 or 0xE8.
    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), np.uint16)
    return bool(((units >= 0xE78D) & (units <= 0xE864)).any())


def in_parts(data: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """`data` in parts that stay in the processor's cache while several passes are made over them."""
    for start in range(0, len(data), PART_BYTES):
        yield data[start : start + PART_BYTES]


def count_feeds(data: bytes) -> int:
    """Line feeds in `data`, counted beside other threads."""
    return sum(int(np.count_nonzero(part == 10)) for part in in_parts(np.frombuffer(data, np.uint8)))


def count_lines(data: bytes) -> int:
    """Lines in `data`, the last of which may lack its end."""
    return count_feeds(data) + (bool(data) and not data.endswith(b"\n"))


def occurs(data: bytes, part: bytes) -> bool:
    """``part in data``. Its first bytes nearly always decide, and are looked for beside other threads."""
    buffer = np.frombuffer(data, np.uint8)
    whole = max(0, len(data) - len(part) + 1)
    found = buffer[:whole] == part[0]
    for i, byte in enumerate(part[1:4], 1):
        found &= buffer[i : whole + i] == byte
    return bool(found.any()) and part in data


def lines_of(data: bytes) -> list[bytes]:
    """The lines of a block without their ends."""
    lines = data.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]


class Raw:
    """The raw bytes of a row, found when somebody asks."""

    def __init__(self, original: bytes, first_line: int, line_nos: NDArray[np.int64]) -> None:
        self._original = original
        self._first_line = first_line
        self._line_nos = line_nos
        self._lines: list[bytes] | None = None

    def __call__(self, row: int) -> bytes:
        if self._lines is None:
            self._lines = self._original.split(b"\n")
        return self._lines[int(self._line_nos[row]) - self._first_line].removesuffix(b"\r")
