"""A table of dialect files: line ends, byte order marks, quotes and separators where nobody expects them. Parsed, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from intake_samples import D, arrival, deliver, rows, stocked
from test_intake_roundtrip import opened

from subsidy.intake import Intake
from subsidy.intake.write import file_digest

Change = Callable[[bytes], bytes]
TEXT = ("hangzhou", "zhejiang-provincial", "wenzhou", "shaoxing", "huzhou", "JSON lines")
WORD = "消费补贴"


def taken(name: str, tmp: Path, change: Change, **row: object) -> Intake:
    """One TX05 delivery in a form, its bytes changed, its digest following the change."""
    desk = stocked(opened(name, tmp / "store"), tmp)
    profile = desk.profiles.profiles["main"]
    [path] = deliver(profile, tmp / "in", {"TX05": rows("TX05", row, {"serial_no": "LS002"})})
    path.write_bytes(change(path.read_bytes()))
    if profile.digest is not None:
        path.with_name(path.name + profile.digest.suffix).write_text(file_digest(path, profile.digest.algorithm) + "\n")
    if profile.flag is not None and profile.flag.digest_key:
        flag = path.with_name(path.name + profile.flag.suffix)
        kept = [x for x in flag.read_text().splitlines() if not x.startswith(profile.flag.digest_key + "=")]
        flag.write_text("\n".join([*kept, f"{profile.flag.digest_key}={file_digest(path, profile.flag.algorithm)}"]) + "\n")
    return desk.take(arrival(path, desk.profiles), D(2026, 9, 14))


def put(new: str, encoding: str = "gb18030") -> Change:
    """`new` instead of the first scheme's name."""
    return lambda data: data.replace(WORD.encode(encoding), new.encode(encoding), 1)


def crlf(data: bytes) -> bytes:
    return data.replace(b"\n", b"\r\n")


def cr(data: bytes) -> bytes:
    return data.replace(b"\n", b"\r")


def unfinished(data: bytes) -> bytes:
    return data.removesuffix(b"\n")


def blank_line(data: bytes) -> bytes:
    at = data.rindex(b"\n", 0, len(data) // 2) + 1
    return data[:at] + b"\n" + data[at:]


def bom(data: bytes) -> bytes:
    return b"\xef\xbb\xbf" + data


def utf16(data: bytes) -> bytes:
    return data.decode("gb18030").encode("utf-16")


#: (form, what, change, what becomes of it: names as booked, or a code)
TABLE: list[tuple[str, str, Change, list[str] | str]] = [
    *((name, "CRLF", crlf, [WORD, WORD]) for name in TEXT),
    ("hangzhou", "CR alone", cr, "FILE-HEADER"),
    ("zhejiang-provincial", "CR alone", cr, "FILE-QUOTE"),
    ("wenzhou", "CR alone", cr, "FILE-HEADER"),
    ("shaoxing", "CR alone", cr, "FILE-ROWS"),
    ("JSON lines", "CR alone", cr, "FILE-ROWS"),
    ("huzhou", "CR alone is white space in XML", cr, [WORD, WORD]),
    *((name, "no line end at the end", unfinished, [WORD, WORD]) for name in TEXT),
    ("hangzhou", "a blank line", blank_line, "FILE-ROWS"),
    ("zhejiang-provincial", "a blank line", blank_line, "FILE-ROWS"),
    ("wenzhou", "a blank line", blank_line, "FILE-ROWS"),
    ("shaoxing", "a blank line", blank_line, "FILE-ROWS"),
    ("JSON lines", "a blank line", blank_line, "FILE-ROWS"),
    ("huzhou", "a blank line is white space in XML", blank_line, [WORD, WORD]),
    ("hangzhou", "a byte order mark", bom, "FILE-HEADER"),
    ("wenzhou", "a byte order mark", bom, "FILE-HEADER"),
    ("zhejiang-provincial", "a second byte order mark", bom, "FILE-COLUMNS"),
    ("huzhou", "a byte order mark", bom, "FILE-BOM"),
    ("JSON lines", "a byte order mark", bom, "FILE-BOM"),
    ("hangzhou", "UTF-16", utf16, "FILE-ENCODING"),
    ("shaoxing", "UTF-16", utf16, "FILE-ENCODING"),
    ("hangzhou", "the separator in a name", put("消费|补贴"), "FILE-UNVERIFIED"),
    ("shaoxing", "the separator in a name", put("消费@|$补贴"), "FILE-UNVERIFIED"),
    ("shaoxing", "part of the separator in a name", put("消费@|补贴"), ["消费@|补贴", WORD]),
    ("hangzhou", "a character whose second byte is the separator", put("倈攟補贴"), ["倈攟補贴", WORD]),
    ("hangzhou", "quotes mean nothing", put('"消费"补贴'), ['"消费"补贴', WORD]),
    ("zhejiang-provincial", "a quoted separator", put('"消费,补贴"', "utf-8"), ["消费,补贴", WORD]),
    ("zhejiang-provincial", "a quoted quote", put('"消费""补贴"', "utf-8"), ['消费"补贴', WORD]),
    ("zhejiang-provincial", "quotes around an ordinary field", put(f'"{WORD}"', "utf-8"), [WORD, WORD]),
    ("zhejiang-provincial", "an unquoted separator", put("消费,补贴", "utf-8"), "ROW-FIELDS"),
    ("zhejiang-provincial", "a quoted line end", put('"消费\n补贴"', "utf-8"), "TEXT-CONTROL"),
    ("zhejiang-provincial", "a quote too many", put(f'"{WORD}', "utf-8"), "FILE-QUOTE"),
    ("huzhou", "character references", put("消费&#34917;贴", "utf-8"), [WORD, WORD]),
    ("huzhou", "escaped brackets", put("消费&lt;补&gt;&amp;贴", "utf-8"), ["消费<补>&贴", WORD]),
    ("huzhou", "a CDATA section", put(f"<![CDATA[{WORD}]]>", "utf-8"), "XML-UNSAFE"),
    ("huzhou", "a naked ampersand", put("消费&补贴", "utf-8"), "XML-BROKEN"),
    ("JSON lines", "escapes", put("\\u6d88\\u8d39补贴", "utf-8"), [WORD, WORD]),
    ("JSON lines", "a naked quote", put('消费"补贴', "utf-8"), "ROW-FIELDS"),
    ("wenzhou", "a name one byte longer", put(WORD + "x"), "FILE-UNVERIFIED"),
    ("text in gz", "not compressed", lambda _: b"HEAD|", "ARCHIVE-BROKEN"),
]


def test_there_are_forty() -> None:
    assert len(TABLE) >= 40


@pytest.mark.parametrize(("name", "what", "change", "outcome"), TABLE, ids=[f"{n}-{w}" for n, w, _, _ in TABLE])
def test_dialect_file(name: str, what: str, change: Change, outcome: list[str] | str, tmp_path: Path) -> None:
    intake = taken(name, tmp_path, change)
    if isinstance(outcome, str):
        assert outcome in [f.code for f in intake.findings], ([f.code for f in intake.findings], intake.message)
        assert intake.state == "refused" or intake.quarantined
        return
    assert intake.state == "booked" and not intake.quarantined, (intake.message, intake.findings)
    names = [r["scheme_name"] for part in intake.tables["other_subsidy"].batches() for r in part.sort_by("line_no").to_pylist()]
    assert names == outcome


def test_the_awkward_character_is_awkward() -> None:
    assert b"|" in "倈攟補贴".encode("gb18030")
