"""zip and gz, opened without trust: entries by declared name only, sizes counted while reading, checksums verified at the end."""

from __future__ import annotations

import gzip
import io
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from subsidy.intake.faults import refuse
from subsidy.intake.profile import Limits

_BUFFER = 1 << 16


class Counted(io.RawIOBase):
    """A decompressing stream that stops at its limit and turns every way of being broken into one fault."""

    def __init__(self, inner: Any, limit: int, shown_limit: str) -> None:
        self._inner = inner
        self._left = limit
        self._shown = shown_limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` from `read`."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes. FileRefused ``ARCHIVE-BOMB`` beyond the limit, ``ARCHIVE-BROKEN`` when the data is damaged."""
        wanted = self._left + 1 if size < 0 else min(size, self._left + 1)
        try:
            data: bytes = self._inner.read(wanted)
        except (zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile, OSError, NotImplementedError, RuntimeError):
            raise refuse("ARCHIVE-BROKEN") from None
        self._left -= len(data)
        if self._left < 0:
            raise refuse("ARCHIVE-BOMB", limit=self._shown)
        return data


def expanded_limit(packed: int, limits: Limits) -> int:
    """How many bytes `packed` compressed bytes may become. Small files may be highly compressible, so there is a floor."""
    return min(limits.archive_bytes, max(packed * limits.archive_ratio, 1 << 20))


def open_gz(path: Path, limits: Limits) -> BinaryIO:
    """The content of a .gz file; its checksum is verified when its end is read."""
    limit = expanded_limit(path.stat().st_size, limits)
    return io.BufferedReader(Counted(gzip.open(path, "rb"), limit, f"{limit} 字节"), _BUFFER)


class Archive:
    """A zip file whose directory has been judged. Use `entry` to read one of `names`."""

    def __init__(self, path: Path, limits: Limits, folders: bool = False) -> None:
        """`folders`: entries may stand in folders; the caller then judges every name against its own list and extracts nothing."""
        self._limits = limits
        self._folders = folders
        self._packed = path.stat().st_size
        try:
            self._zip = zipfile.ZipFile(path)
            infos = self._zip.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError, OverflowError):
            raise refuse("ARCHIVE-BROKEN") from None
        try:
            self._judge(infos)
        except BaseException:
            self._zip.close()
            raise
        self.names = [info.filename for info in infos]

    def _judge(self, infos: list[zipfile.ZipInfo]) -> None:
        if len(infos) > self._limits.archive_entries:
            raise refuse("ARCHIVE-COUNT", got=len(infos), limit=self._limits.archive_entries)
        total = 0
        for info in infos:
            mode = info.external_attr >> 16
            if info.flag_bits & 0x41:
                raise refuse("ARCHIVE-ENCRYPTED")
            if info.filename.endswith("/") or (mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG)) or not (
                self._folders or plain_name(info.orig_filename)
            ):
                raise refuse("ARCHIVE-ENTRY", limit=self._limits.archive_depth)
            total += info.file_size
        if len({info.filename.casefold() for info in infos}) != len(infos):
            raise refuse("ARCHIVE-ENTRY", limit=self._limits.archive_depth)
        limit = expanded_limit(self._packed, self._limits)
        if total > limit:
            raise refuse("ARCHIVE-BOMB", limit=f"{limit} 字节")

    def entry(self, name: str) -> BinaryIO:
        """The content of entry `name`. FileRefused when it is not there or not readable."""
        if name not in self.names:
            raise refuse("ARCHIVE-EXTRA", where=f"没有条目 {name}")
        info = self._zip.getinfo(name)
        try:
            inner = self._zip.open(info)
        except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, zlib.error):
            raise refuse("ARCHIVE-BROKEN") from None
        # The directory's own size is not trusted: one byte more is a lie.
        return io.BufferedReader(Counted(inner, info.file_size, f"{info.file_size} 字节"), _BUFFER)

    def close(self) -> None:
        """Close the file."""
        self._zip.close()


def plain_name(name: str) -> bool:
    """Whether an entry's name is a plain, printable ASCII file name: no folder, drive, link or control character."""
    return (
        name.isascii() and name.isprintable() and 0 < len(name) <= 100 and not set(name) & set('/\\:*?"<>|') and not name.startswith(".")
        and name.split(".")[0].upper() not in {"CON", "PRN", "AUX", "NUL", *(f"{d}{i}" for d in ("COM", "LPT") for i in range(1, 10))}
        and not name.lower().endswith((".zip", ".gz", ".7z", ".rar", ".tar", ".bz2", ".xz"))
    )
