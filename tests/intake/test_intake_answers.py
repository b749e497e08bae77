"""What goes back: acknowledgements in each centre's form, and the two commands of the shell."""

from __future__ import annotations

import csv
import io
import json
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from intake_desk import CENTRES, RULES, Desk
from intake_samples import D, arrival, deliver, rows, stocked, take

from subsidy.cli.main import main
from subsidy.intake import Intake, Profiles, acknowledge, acknowledgement_name, stretches
from subsidy.intake.stretches import Lines

N1 = D(2026, 9, 14)


def records(desk: Desk, intake: Intake) -> list[list[str]]:
    """The acknowledgement as a counterparty would read it."""
    profile = desk.profiles.profiles["main"]
    form = profile.acknowledgement
    text = acknowledge(intake, desk.profiles).decode("gb18030" if form.encoding == "gb18030" else "utf-8-sig")
    if form.form == "xml":
        return [[e.get("kind", e.tag), *e.attrib.values()] for e in ElementTree.fromstring(text)]
    if form.form == "csv":
        return list(csv.reader(io.StringIO(text)))
    lines = text.split("\n")
    assert lines.pop() == "" and all(line.endswith(form.separator) for line in lines)
    return [line.split(form.separator)[:-1] for line in lines]


@pytest.mark.parametrize("centre", CENTRES)
def test_every_row_of_a_file_is_answered(centre: str, tmp_path: Path) -> None:
    desk = stocked(Desk.open(centre, tmp_path / "store"), tmp_path)
    bad = rows("GB305", {}, {}, {"serial_no": "LS2", "account_no": "DK<&>'\""}, {"serial_no": "LS3", "amount_fen": 1})
    [intake] = take(desk, tmp_path / "in", {"GB305": bad})
    found = records(desk, intake)
    assert intake.file_name in found[0] and intake.sha256 in found[0]
    assert intake.identity in [field.replace("｜", "|") for field in found[0]]
    assert ["4", "1", "2", "1"] in [r[1:5] for r in found]  # in, booked, quarantined, duplicates
    codes = [code for r in found for code in r if code in ("PARENT-UNKNOWN", "ROW-SUM", "KEY-DUPLICATE")]
    assert sorted(codes) == ["KEY-DUPLICATE", "PARENT-UNKNOWN", "ROW-SUM"]
    name = acknowledgement_name(intake, desk.profiles)
    assert name.startswith(f"ACK_{desk.profiles.profiles['main'].centre_code}_20260914_00000")
    assert acknowledge(intake, desk.profiles) == acknowledge(intake, desk.profiles)


@pytest.mark.parametrize("centre", CENTRES)
def test_accepted_and_rejected_lines_are_answered_line_by_line(centre: str, tmp_path: Path) -> None:
    desk = stocked(Desk.open(centre, tmp_path / "store"), tmp_path)
    changes: list[dict[str, object]] = [{"serial_no": f"LS{n:03d}", "instalment": n} for n in range(1, 10)]
    changes[3]["amount_fen"] = 1
    changes.append(changes[8])
    [intake] = take(desk, tmp_path / "in", {"GB305": rows("GB305", *changes)})
    bad, twin = (next(f.line_no for f in intake.findings if f.code == code) for code in ("ROW-SUM", "KEY-DUPLICATE"))
    found = records(desk, intake)
    [accepted] = [r for r in found if r[0] in ("接收", "accepted")]
    assert accepted[1:3] == ["GB305", "8"]
    assert accepted[3] == f"{bad - 3}-{bad - 1} {bad + 1}-{twin - 1}"
    assert sorted(next(f for f in r if f.isdigit()) for r in found if r[0] in ("拒收", "说明")) == sorted((str(bad), str(twin)))


@given(st.sets(st.integers(1, 60)), st.lists(st.integers(1, 60), max_size=8), st.integers(1, 7))
def test_stretches_are_the_lines_themselves(numbers: set[int], gone: list[int], size: int) -> None:
    lines = Lines()
    ordered = sorted(numbers)
    for at in range(0, len(ordered), size):
        lines.add(np.array(ordered[at : at + size], np.int64))
    found = lines.without([n for n in gone if n in numbers])
    assert [n for a, b in found for n in range(a, b + 1)] == sorted(numbers - set(gone))
    assert all(b + 1 < c for (_, b), (c, _) in pairwise(found))


def test_stretches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of several lines each give as many stretches as rows: beyond the limit they are not kept, and the answer says so."""
    monkeypatch.setattr(stretches, "MOST", 3)
    lines = Lines()
    lines.add(np.array([1, 3, 5, 7], np.int64))
    assert lines.without(()) == ()


def test_a_refused_file_is_answered_with_its_reasons(tmp_path: Path) -> None:
    desk = stocked(Desk.open("hangzhou", tmp_path / "store"), tmp_path)
    [path] = deliver(desk.profiles.profiles["main"], tmp_path / "in", {"TX05": rows("TX05")})
    path.write_bytes(path.read_bytes().replace(b"|TX05|", b"|TX99|"))
    intake = desk.take(arrival(path, desk.profiles), N1)
    found = records(desk, intake)
    assert "整份拒收" in found[0] and ["行数", "0", "0", "0", "0"] in found
    assert any("FILE-TABLE" in r for r in found)


def test_a_file_of_no_profile_is_answered_in_plain_lines(tmp_path: Path) -> None:
    desk = Desk.open("hangzhou", tmp_path / "store")
    path = tmp_path / "in" / "readme.txt"
    path.parent.mkdir()
    path.write_bytes(b"x")
    intake = desk.take(arrival(path, desk.profiles), N1)
    assert "FILE-UNKNOWN" in acknowledge(intake, desk.profiles).decode()
    assert acknowledgement_name(intake, desk.profiles) == "ACK_330100000000000_20260914_000001.txt"


def test_unprotected_columns_are_on_every_acknowledgement(tmp_path: Path) -> None:
    import dataclasses

    desk = stocked(Desk.open("hangzhou", tmp_path / "store"), tmp_path)
    profile = desk.profiles.profiles["main"]
    spec = profile.tables["TX05"]
    columns = tuple(dataclasses.replace(c, protection=("none",) if c.protection else ()) for c in spec.columns)
    bare = dataclasses.replace(spec, columns=columns)
    desk.profiles = Profiles("hangzhou", {"main": dataclasses.replace(profile, tables={**profile.tables, "TX05": bare})})
    [intake] = take(desk, tmp_path / "in", {"TX05": rows("TX05")})
    assert intake.tables["other_subsidy"].unprotected == ("TXJE",)
    assert any(r[:3] == ["未保护", "TX05", "TXJE"] for r in records(desk, intake))
    [duplicate] = take(desk, tmp_path / "again", {"TX05": rows("TX05")})
    assert duplicate.state == "duplicate"
    assert any(r[:3] == ["未保护", "TX05", "TXJE"] for r in records(desk, duplicate))


def test_nothing_personal_goes_back_in_full(tmp_path: Path) -> None:
    desk = stocked(Desk.open("hangzhou", tmp_path / "store"), tmp_path)
    odd = {"contract_no": "JK2", "borrower_id_no": "330106198001010023", "borrower_name": "李\ue000四"}
    [intake] = take(desk, tmp_path / "in", {"GB301": rows("GB301", odd)})
    text = acknowledge(intake, desk.profiles).decode("gb18030")
    assert "330106198001010023" not in text and "330***********0023" in text
    assert "李**" in text and "四" not in text


def test_a_formula_is_text_in_a_csv_acknowledgement(tmp_path: Path) -> None:
    desk = stocked(Desk.open("zhejiang-provincial", tmp_path / "store"), tmp_path)
    [intake] = take(desk, tmp_path / "in", {"TX05": rows("TX05", {"account_no": "=1+1", "serial_no": "@SUM(A1)"})})
    for record in records(desk, intake):
        assert not any(cell[:1] in ("=", "+", "@") for cell in record)


# --- the shell ------------------------------------------------------------------------------------------


def test_files_describe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["files", "describe", "wenzhou"]) == 0
    whole = capsys.readouterr().out
    assert "定长文本（按字节）" in whole and "########" in whole
    assert main(["files", "describe", "wenzhou/main"]) == 0
    assert capsys.readouterr().out == whole
    assert main(["files", "describe", "wenzhou/nothing"]) == 3
    assert "FILES-PROFILE" in capsys.readouterr().err
    for words in (["files", "describe", "wenzou/main"], ["files", "check", __file__, "--centre", "wenzou"]):
        assert main(words) == 3
        assert "[CENTRE-UNKNOWN] 没有这个中心：wenzou。是否想写“wenzhou”？" in capsys.readouterr().err


@pytest.mark.parametrize("centre", CENTRES)
def test_files_check(centre: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from subsidy.intake import load_profiles

    profile = load_profiles(RULES, centre).profiles["main"]
    [path] = deliver(profile, tmp_path, {"GB305": rows("GB305", {}, {"serial_no": "LS2"})})
    assert main(["files", "check", str(path), "--centre", centre]) == 0
    assert "收到 2 行 = 可登记 2 + 需隔离 0 + 重复 0" in capsys.readouterr().out
    [path] = deliver(profile, tmp_path / "bad", {"GB305": rows("GB305", {"amount_fen": 1}, {"serial_no": "LS2"})})
    assert main(["files", "check", str(path), "--centre", centre, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["state"], said["rows_in"], said["good"], said["quarantined"]) == ("booked", 2, 1, 1)
    assert said["findings"][0]["code"] == "ROW-SUM"
    before = sorted(p.name for p in tmp_path.rglob("*"))
    main(["files", "check", str(path), "--centre", centre])
    assert sorted(p.name for p in tmp_path.rglob("*")) == before  # nothing is left behind


def test_files_check_names_what_is_wrong_with_the_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "HZ_TX05_20260914_001.txt"
    path.write_bytes(b"HEAD|")
    assert main(["files", "check", str(path), "--centre", "hangzhou"]) == 1
    assert "FILE-HEADER" in capsys.readouterr().err
    assert main(["files", "check", str(tmp_path / "none"), "--centre", "hangzhou"]) == 3


def test_files_check_names_a_companion_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from subsidy.intake import load_profiles

    missed = []
    for centre in CENTRES:
        profile = load_profiles(RULES, centre).profiles["main"]
        for suffix in profile.suffixes:
            [path] = deliver(profile, tmp_path / centre / suffix[1:], {"GB305": rows("GB305", {})})
            path.with_name(path.name + suffix).unlink()
            assert main(["files", "check", str(path), "--centre", centre]) == 1
            said = capsys.readouterr().err
            assert "FILE-FLAG" in said and suffix in said
            missed.append(centre)
    assert len(set(missed)) >= 2  # a flag file here, a digest file there
