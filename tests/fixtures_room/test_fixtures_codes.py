"""The page of codes holds every code of the source, says something about each, and is the one that is committed."""

from __future__ import annotations

import re

from fixtures import codes


def test_the_page_of_codes_is_current() -> None:
    assert codes.PAGE.read_text(encoding="utf-8") == codes.page(), "python -m fixtures codes"


def test_no_code_of_the_source_is_missing_and_every_one_is_explained() -> None:
    gathered = codes.gathered()
    said = re.compile(r'(?:Error|Message|Finding|refuse|finding|Refused|_unclear|_unsafe|broken)\(\s*"([A-Z][A-Z0-9]*(?:-[A-Z0-9]+)+)"')
    in_source = {code for path in (codes.ROOT / "subsidy").rglob("*.py") for code in said.findall(path.read_text(encoding="utf-8"))}
    assert len(in_source) > 150 and not in_source - gathered.keys()
    assert [code for code, (what, _, _) in gathered.items() if not any("\u4e00" <= sign <= "\u9fff" for sign in what)] == []


def test_a_message_has_all_four_parts() -> None:
    """Exceptions and messages that people meet say what is safe and what to do, each in its own sentence."""
    parts = re.compile(r'(?:TerminalError|TransientError|BusyError|Message)\(\s*"([A-Z][A-Z0-9-]+)"')
    gathered = codes.gathered()
    thrown = {code for path in (codes.ROOT / "subsidy").rglob("*.py") for code in parts.findall(path.read_text(encoding="utf-8"))}
    assert [code for code in sorted(thrown) if not (gathered[code][1] and gathered[code][2])] == []
