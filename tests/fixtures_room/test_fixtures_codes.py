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


def _row(code: str) -> list[str]:
    (line,) = (line for line in codes.page().splitlines() if line.startswith(f"| `{code}` |"))
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_each_part_stands_in_its_own_column() -> None:
    """What happened is no field name, and a remedy is neither what is safe nor the list of what is allowed."""
    for code in ("PAYEE-ACCOUNT", "PAYEE-BANK", "PAYEE-UNKNOWN", "PAYEE-NAME"):
        _, area, what, safe, todo = _row(code)
        assert area == "收款人" and len(what) > 8 and "转入下期" in safe and ("TX03" in todo or "TX01" in todo), code
    profile = [code for code in codes.gathered() if code.startswith("PROFILE-") and code != "PROFILE-INVALID"]
    assert len(profile) > 15
    for code in profile:
        _, _, what, safe, todo = _row(code)
        assert what.endswith(("。", "…")) and safe == "" and todo, code
    assert _row("PROFILE-CENTRE")[4] == "改成 15 位数字。"


def test_what_may_be_paid_twice_stops_payments() -> None:
    for code in ("MOVE-PAID-TWICE", "MOVE-NOT-SENT"):
        assert "停止本批后续付款" in _row(code)[4] and "请银行更正后重送" not in _row(code)[4]


def test_reasons_for_an_approval_and_rows_are_filed_where_they_arise() -> None:
    for code in ("FIRST-BATCH", "ALWAYS-WAITS", "TWO-PERSONS", "NEW-PAYEES", "POLICY-CHANGED", "FAILED-DEBITED"):
        assert _row(code)[1] == "审批" and _row(code)[4], code
    assert {_row(code)[1] for code in ("KEY-DIFFERS", "KEY-DUPLICATE", "PARENT-CHANGED", "PARENT-UNKNOWN")} == {"行"}


def test_a_message_has_all_four_parts() -> None:
    """Exceptions and messages that people meet say what is safe and what to do, each in its own sentence."""
    parts = re.compile(r'(?:TerminalError|TransientError|BusyError|Message)\(\s*"([A-Z][A-Z0-9-]+)"')
    gathered = codes.gathered()
    thrown = {code for path in (codes.ROOT / "subsidy").rglob("*.py") for code in parts.findall(path.read_text(encoding="utf-8"))}
    assert [code for code in sorted(thrown) if not (gathered[code][1] and gathered[code][2])] == []
