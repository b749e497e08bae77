"""Text files in blocks of whole lines: bounded memory, header and trailer taken off, nothing decoded or split yet.

A line feed byte is never part of another character in GB18030 or UTF-8, so blocks may be cut there before decoding; fields may not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from subsidy.intake.faults import refuse
from subsidy.intake.profile import CODECS, Limits, Profile

BLOCK_BYTES = 4 << 20
BOM = b"\xef\xbb\xbf"


class Lines:
    """Reads `stream` line by line at the ends and block by block between them. `line_no` is the 1-based number of the next line."""

    def __init__(self, stream: BinaryIO, limits: Limits, quoted: bool = False, block_bytes: int = BLOCK_BYTES) -> None:
        self._stream = stream
        self._limits = limits
        self._quoted = quoted
        self._block_bytes = block_bytes
        self._rest = b""
        self._ended = False
        self.line_no = 1

    def _more(self) -> bool:
        if self._ended:
            return False
        data = self._stream.read(self._block_bytes)
        if not data:
            self._ended = True
            return False
        self._rest += data
        return True

    def skip_bom(self, expected: bool) -> None:
        """Take a UTF-8 byte order mark off. FileRefused ``FILE-BOM`` when it is there or missing against the declaration."""
        while len(self._rest) < 3 and self._more():
            pass
        present = self._rest.startswith(BOM)
        if present != expected:
            raise refuse("FILE-BOM", line_no=1, expect="有 BOM" if expected else "无 BOM")
        if present:
            self._rest = self._rest[3:]

    def first(self) -> bytes | None:
        """The next line without its end, consumed; None at the end of the file."""
        searched = 0
        while (at := self._rest.find(b"\n", searched)) < 0:
            searched = len(self._rest)
            if searched > self._limits.line_bytes:
                raise refuse("FILE-LINE-LONG", line_no=self.line_no, limit=self._limits.line_bytes)
            if not self._more():
                if not self._rest:
                    return None
                at = len(self._rest)
                break
        line, self._rest = self._rest[:at], self._rest[at + 1 :]
        self.line_no += 1
        return line.removesuffix(b"\r")

    def blocks(self, trailer: bool) -> Iterator[tuple[int, bytes]]:
        """(number of the first line, whole lines with their ends); with `trailer` the last line stays behind for `last`."""
        while True:
            ended = not self._more() and self._ended
            cut = len(self._rest) if ended and not trailer else self._cut(ended)
            if cut:
                block, self._rest = self._rest[:cut], self._rest[cut:]
                first = self.line_no
                self.line_no += block.count(b"\n") + (not block.endswith(b"\n"))
                yield first, block
            if ended:
                return
            if not cut and len(self._rest) > self._limits.line_bytes + self._block_bytes:
                if self._quoted:
                    raise refuse("FILE-QUOTE", line_no=self.line_no)
                raise refuse("FILE-LINE-LONG", line_no=self.line_no, limit=self._limits.line_bytes)

    def _cut(self, ended: bool) -> int:
        """Where the last whole line ends that is certainly not the file's last one."""
        last = len(self._rest)
        while True:
            last = self._rest.rfind(b"\n", 0, last)
            if last < 0:
                return 0
            # The final line may be the trailer: keep one line back.
            before = self._rest.rfind(b"\n", 0, last) if last + 1 == len(self._rest) else last
            if not self._quoted:
                return before + 1
            if self._rest.count(b'"', 0, before + 1) % 2 == 0:
                return before + 1
            last = before

    def last(self) -> bytes:
        """What `blocks` left behind: the last line without its end."""
        line, self._rest = self._rest, b""
        return line.removesuffix(b"\n").removesuffix(b"\r")


def decode(data: bytes, profile: Profile, first_line: int = 1) -> bytes:
    """`data` as UTF-8 bytes, decoded strictly by the declared encoding. FileRefused ``FILE-ENCODING`` names the line.

    The 24 code points that GB18030-2000 placed in the private use area become what later editions made of them.
    """
    if data.isascii():
        return data
    codec = CODECS[profile.encoding]
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        line = first_line + data.count(b"\n", 0, error.start)
        raise refuse(
            "FILE-ENCODING", line_no=line, encoding=profile.encoding, where=f"第 {line} 行有无法解码的字节"
        ) from None
    if codec == "utf-8":
        return data
    return standard(text).encode("utf-8")


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


def lines_of(data: bytes) -> list[bytes]:
    """The lines of a block without their ends."""
    lines = data.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]
