"""A visible mark of who took a copy and when. Cells that the fingerprint covers stay as they are."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from subsidy.errors import TerminalError
from subsidy.reports.cells import escaped, printable
from subsidy.reports.workbook import MARK_ROW

_BLOCK = 1 << 20
_FOOTER_END = b"</oddFooter>"
_COVER = "xl/worksheets/sheet1.xml"


def watermark(path_in: Path, path_out: Path, person: str, at: str) -> None:
    """Copy the workbook `path_in` to `path_out` with a mark on the cover and in the footer of every page.

    `person` who takes it, `at` when, as text. The same arguments give the same bytes; memory does not grow with the file. TerminalError
    ``REPORT-NONE`` when there is no such file, ``REPORT-UNREADABLE`` when it is no workbook of ours."""
    if not path_in.is_file():
        raise TerminalError("REPORT-NONE", f"找不到工作簿 {path_in}。", "没有写出任何文件。", "核对路径后重试。")
    mark = printable(f"下载人 {person}　时间 {at}").replace("\n", " ").replace("\t", " ")
    footer = escaped("&R&8" + ("水印：" + mark).replace("&", "&&")).encode()
    try:
        with zipfile.ZipFile(path_in) as source, zipfile.ZipFile(path_out, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as target:
            for name in source.namelist():
                with source.open(name) as read, target.open(_same(source, name), "w", force_zip64=True) as write:
                    if name == _COVER:
                        write.write(_marked(read.read(), mark).replace(_FOOTER_END, footer + _FOOTER_END))
                    elif name.startswith("xl/worksheets/sheet"):
                        for block in _before_end(read, footer):
                            write.write(block)
                    else:
                        write.write(read.read())
    except (zipfile.BadZipFile, ValueError, KeyError):
        path_out.unlink(missing_ok=True)
        raise TerminalError(
            "REPORT-UNREADABLE", f"{path_in.name} 不是本系统出具的工作簿。", "没有写出任何文件。", "重新出具该报表。"
        ) from None


def _same(source: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, source.getinfo(name).date_time)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = source.getinfo(name).external_attr
    return entry


def _marked(cover: bytes, mark: str) -> bytes:
    pattern = rf'(<row r="{MARK_ROW}"[^>]*>)<c r="A{MARK_ROW}"( s="\d+")?[^>]*>.*?</c>'.encode()
    cell = (
        f'<c r="A{MARK_ROW}"'.encode() + rb"\2" + f' t="inlineStr"><is><t>水印：{escaped(mark)}</t></is></c>'.replace("\\", "\\\\").encode()
    )
    marked, count = re.subn(pattern, rb"\1" + cell, cover, count=1)
    if count != 1:
        raise ValueError("no place for the mark")
    return marked


def _before_end(read: IO[bytes], footer: bytes) -> Iterator[bytes]:
    """The stream with `footer` inside the page footer, which stands behind the rows."""
    kept = b""
    while block := read.read(_BLOCK):
        kept += block
        if _FOOTER_END in kept:
            kept = kept.replace(_FOOTER_END, footer + _FOOTER_END)
            yield kept
            kept = b""
            continue
        edge = max(0, len(kept) - len(_FOOTER_END))
        yield kept[:edge]
        kept = kept[edge:]
    yield kept
