"""Every declared limit is enforced, and says so in a sentence that names it."""

from __future__ import annotations

import dataclasses
import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from intake_desk import RULES, Desk
from intake_samples import NIGHT, arrival, deliver, rows, stocked

from subsidy.intake import Intake, Profiles, load_profiles
from subsidy.intake.describe import describe
from subsidy.intake.profile import Limits
from subsidy.intake.write import file_digest


def taken(
    centre: str, tmp: Path, limits: dict[str, int], change: Callable[[Path], None] = lambda _: None, table: object = None,
    code: str = "TX05", **profile: object,
) -> Intake:
    """One delivery with changed limits, its file changed on the way."""
    desk = stocked(Desk.open(centre, tmp / "store"), tmp)
    base = desk.profiles.profiles["main"]
    tight = dataclasses.replace(base, limits=dataclasses.replace(Limits(), **limits), **profile)  # type: ignore[arg-type]
    [path] = deliver(tight, tmp / "in", {code: table if table is not None else rows(code)})
    change(path)
    desk.profiles = Profiles(centre, {"main": tight})
    return desk.take(arrival(path, desk.profiles), NIGHT)


def entry(name: str, data: bytes) -> Callable[[Path], None]:
    def add(path: Path) -> None:
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, data)

    return add


def grown(path: Path) -> None:
    """A flag file of more than a hundred bytes."""
    flag = path.with_name(path.name + ".ok")
    flag.write_bytes(flag.read_bytes() + b"\n" * 200)


def swollen(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"\n" * (2 << 20)))


def wide(path: Path) -> None:
    """Three hundred columns more than anybody agreed on."""
    head, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(head + b",X" * 300 + b"\n" + rest)
    flag = path.with_name(path.name + ".ok")
    lines = [x for x in flag.read_text().splitlines() if not x.startswith("sm3=")]
    flag.write_text("\n".join([*lines, "sm3=" + file_digest(path, "sm3")]) + "\n")


MANY = rows("GB305", *({"serial_no": f"LS{n}", "amount_fen": 1} for n in range(9)))
PATTERN = {"container": "gz", "pattern": "GZ_{table}_{date}_{sequence}{*}.gz"}
CASES: list[tuple[str, str, str, Callable[[Path], Intake]]] = [
    ("file_bytes", "FILE-SIZE", "超过上限 50", lambda t: taken("hangzhou", t, {"file_bytes": 50})),
    ("line_bytes", "FILE-LINE-LONG", "超过 20 字节", lambda t: taken("hangzhou", t, {"line_bytes": 20})),
    ("field_chars", "TEXT-LONG", "超过 2 个字符", lambda t: taken("hangzhou", t, {"field_chars": 2})),
    ("rows", "FILE-ROWS-LIMIT", "超过上限 8", lambda t: taken("hangzhou", t, {"rows": 8}, table=MANY, code="GB305")),
    ("columns", "FILE-COLUMNS", "超过上限 200", lambda t: taken("zhejiang-provincial", t, {}, wide)),
    ("quarantined_rows", "FILE-BAD-ROWS", "超过上限 8", lambda t: taken("hangzhou", t, {"quarantined_rows": 8}, table=MANY, code="GB305")),
    ("companion_bytes", "FILE-FLAG", "过大", lambda t: taken("zhejiang-provincial", t, {"companion_bytes": 200}, grown)),
    ("archive_ratio", "ARCHIVE-BOMB", "过大", lambda t: taken("hangzhou", t, {"archive_ratio": 2}, swollen, **PATTERN)),
    ("archive_bytes", "ARCHIVE-BOMB", "上限 100 字节", lambda t: taken("quzhou", t, {"archive_bytes": 100})),
    ("archive_entries", "ARCHIVE-COUNT", "超过上限 1", lambda t: taken("quzhou", t, {"archive_entries": 1})),
    ("archive_depth", "ARCHIVE-ENTRY", "超过 1 层", lambda t: taken("quzhou", t, {}, entry("inner.zip", b"PK\x05\x06" + b"\0" * 18))),
    ("workbook_bytes", "ARCHIVE-BOMB", "上限 1000 字节", lambda t: taken("zhoushan", t, {"workbook_bytes": 1000})),
    ("workbook_cells", "FILE-ROWS-LIMIT", "超过上限 3", lambda t: taken("zhoushan", t, {"workbook_cells": 3})),
]


@pytest.mark.parametrize(("limit", "code", "words", "case"), CASES, ids=[c[0] for c in CASES])
def test_beyond_the_limit(limit: str, code: str, words: str, case: Callable[[Path], Intake], tmp_path: Path) -> None:
    intake = case(tmp_path)
    found = next(f for f in intake.findings if f.code == code)
    assert words in found.what, found.what
    assert intake.state == ("booked" if code == "TEXT-LONG" else "refused")
    assert limit in found.rule or limit not in ("file_bytes", "line_bytes", "rows", "quarantined_rows", "archive_depth", "archive_entries")


def test_findings_beyond_the_list_are_counted(tmp_path: Path) -> None:
    intake = taken("hangzhou", tmp_path, {"findings_listed": 4}, table=MANY, code="GB305")
    assert (len(intake.findings), intake.findings_unlisted, intake.counts.quarantined) == (4, 5, 9)


def test_there_is_a_case_for_every_limit() -> None:
    assert {c[0] for c in CASES} | {"findings_listed"} == {f.name for f in dataclasses.fields(Limits)}


def test_within_the_limits_nothing_is_said(tmp_path: Path) -> None:
    assert taken("hangzhou", tmp_path, {"rows": 9, "quarantined_rows": 9}, table=MANY, code="GB305").state == "booked"


def test_the_counterparty_is_told_the_limits() -> None:
    for centre in ("hangzhou", "quzhou", "zhoushan"):
        text = describe(load_profiles(RULES, centre).profiles["main"])
        names = ["file_bytes", "line_bytes", "field_chars", "columns", "rows", "companion_bytes", "quarantined_rows", "findings_listed"]
        names += ["archive_ratio", "archive_bytes", "archive_entries"] if centre != "hangzhou" else []
        names += ["workbook_bytes", "workbook_cells"] if centre == "zhoushan" else []
        assert all(str(getattr(Limits(), name)) in text for name in names)
