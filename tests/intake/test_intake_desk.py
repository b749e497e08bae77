"""The quarantine desk on a real home: what lies there, who must act, what a person may release and what only a correction settles."""

from __future__ import annotations

import importlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from intake_desk import RULES
from intake_samples import PARENTS, D, deliver, rows

from subsidy.cli.main import main
from subsidy.facts import Store, view
from subsidy.facts.schema import TABLES
from subsidy.intake import load_profiles
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import api, manifest
from subsidy.settings import Settings, load_settings

CENTRE = "zhejiang-provincial"  # a TX02 file is full there, GB305 an increment
N1, N2, N3, N4 = (D(2026, 9, n) for n in (14, 15, 16, 17))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home whose ledger knows one agreement, contract and account, and 28 statuses."""
    monkeypatch.setenv("SUBSIDY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SUBSIDY_KEY", "k" * 32)
    monkeypatch.delenv("SUBSIDY_SETTINGS", raising=False)
    monkeypatch.delenv("SUBSIDY_DATABASE_URL", raising=False)
    (tmp_path / "home").mkdir()
    settings = load_settings()
    open_database(settings).migrate()
    send(settings, {code: rows(code) for code in PARENTS})
    send(settings, {"TX02": statuses(range(1, 29))})
    assert night(settings, N1)["rows_booked"] == 31
    return settings


def statuses(days: Any, **change: object) -> Any:
    return rows("TX02", *({"as_of": D(2026, 8, n), **change} for n in days))


def send(settings: Settings, what: dict[str, Any], sequence: str = "001", note: str = "", day: date = N1) -> None:
    deliver(load_profiles(RULES, CENTRE).profiles["main"], settings.inbox(CENTRE), what, day, sequence, note)


def night(settings: Settings, day: date) -> dict[str, Any]:
    result: dict[str, Any] = api.run_night(settings, CENTRE, day, "夜间")["take_in"]
    return result


def desk(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["quarantine", words[0], "--centre", CENTRE, *words[1:]])
    said = capsys.readouterr()
    return code, said.out + said.err


def known(settings: Settings, table: str, on: date) -> list[dict[str, Any]]:
    with open_database(settings).read() as conn:
        segments = manifest.segments(conn, CENTRE, on, through_run=10**9)
    found: list[dict[str, Any]] = view(Store(settings.store_url), segments, table, on).to_pylist()
    return found


def test_a_held_file_waits_for_a_person_and_is_booked_by_their_word(home: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    send(home, {"TX02": statuses(range(1, 20))}, note="_更正")
    assert night(home, N2)["states"] == {"held": 1}
    assert len(known(home, "status", N2)) == 28
    code, text = desk(capsys, "list")
    assert code == 0 and "F5" in text and "FILE-WITHDRAWALS" in text and "中心经办" in text and "0 行，1 份搁置的文件" in text
    code, text = desk(capsys, "show", "F5")
    assert "整份文件" in text and "撤销 9 行" in text and "可以写明原因放行" in text
    assert desk(capsys, "release", "F5", "--reason", " ")[0] == 3
    assert "ACT-TEXT" in desk(capsys, "release", "F5", "--reason", "无误\x00")[1]
    assert desk(capsys, "release", "F4", "--reason", "不是搁置的文件")[0] == 3
    assert desk(capsys, "release", "F5", "--reason", "中心书面确认九行作废")[0] == 0
    assert "DESK-DONE" in desk(capsys, "release", "F5", "--reason", "再来一次")[1]
    assert "已申请放行" in desk(capsys, "list")[1]
    taken = night(home, N3)
    assert taken["states"] == {"booked": 1} and taken["rows_in"] == 19
    assert (len(known(home, "status", N2)), len(known(home, "status", N3))) == (28, 19)
    assert "0 行，0 份搁置的文件" in desk(capsys, "list")[1]
    code, text = desk(capsys, "show", "F5")
    assert "由人放行" in text and "中心书面确认九行作废" in text
    with open_database(home).read() as conn:
        f, a = tables.file, tables.audit
        versions = conn.execute(sa.select(f.c.state, f.c.version).where(f.c.centre == CENTRE, f.c.file_no >= 5)).all()
        acts = conn.execute(sa.select(a.c.act, a.c.subject, a.c.reason).where(a.c.act == "release")).all()
    assert [tuple(v) for v in versions] == [("held", 2), ("booked", 2)]
    assert [tuple(v) for v in acts] == [("release", "quarantine:-5", "中心书面确认九行作废")]
    answers = sorted(p.name for p in (home.outbox(CENTRE) / "acknowledgement").iterdir())
    assert [n for n in answers if "_000006" in n] == ["ACK_330101000000000_20260916_000006-V001.csv"]


def test_a_later_version_settles_a_held_one(home: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    send(home, {"TX02": statuses(range(1, 20))}, note="_更正")
    night(home, N2)
    send(home, {"TX02": statuses(range(1, 30))}, note="_再更正")
    assert night(home, N3)["states"] == {"booked": 1}
    assert "0 份搁置的文件" in desk(capsys, "list")[1]
    assert "更正或所缺数据到达，自动解除" in desk(capsys, "list", "--all")[1]
    assert "DESK-DONE" in desk(capsys, "release", "F5", "--reason", "太晚了")[1]
    assert len(known(home, "status", N3)) == 29


def test_rows_are_released_by_a_person_or_by_a_correction(home: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    odd = rows(
        "GB305", {"amount_fen": 1}, {"serial_no": "LS2", "kind": "77"}, {"serial_no": "LS3", "account_no": "DK404"},
        {"serial_no": "LS4", "instalment": 2},
    )
    send(home, {"GB305": odd})
    taken = night(home, N2)
    assert (taken["rows_in"], taken["rows_booked"], taken["rows_quarantined"]) == (4, 1, 3)
    code, text = desk(capsys, "list")
    for number, name, owner in ((1, "ROW-SUM", "中心经办"), (2, "FIELD-CODE", "送文件方"), (3, "PARENT-UNKNOWN", "送文件方")):
        line = next(x for x in text.splitlines() if x.startswith(f"{number:>6} "))
        assert name in line and owner in line and "0 天" in line and f" {TABLES['transaction'].label}:" in line, line
    listed = json.loads(desk(capsys, "list", "--json")[1])
    assert [r["soft"] for r in listed] == [True, False, False]
    code, text = desk(capsys, "show", "2")
    assert "LS2" in text and "责任人：送文件方" in text and "原始内容：" in text and "可以写明原因放行" not in text
    said = json.loads(desk(capsys, "show", "2", "--json")[1])
    assert b"LS2" in bytes.fromhex(said["raw_hex"])
    code, text = desk(capsys, "release", "2", "--reason", "想放行")
    assert code == 3 and "DESK-HARD" in text
    assert "DESK-UNKNOWN" in desk(capsys, "release", "99", "--reason", "没有")[1]
    assert desk(capsys, "release", "1", "--reason", "银行已书面确认")[0] == 0
    send(home, {"GB305": rows("GB305", {"serial_no": "LS2", "instalment": 3})}, "002")
    taken = night(home, N3)
    assert (taken["rows_booked"], taken["released"]) == (1, 1)
    assert sorted(r["serial_no"] for r in known(home, "transaction", N3)) == ["LS001", "LS2", "LS4"]
    _, text = desk(capsys, "list", "--all")
    assert "由人放行" in text and "自动解除" in text and "共 3 行" in text
    assert "共 1 行" in desk(capsys, "list")[1]
    assert "银行已书面确认" in desk(capsys, "show", "1")[1]
    # What lies there grows older with the business date.
    night(home, N4)
    assert "  2 天 " in desk(capsys, "list")[1]


def test_a_row_that_is_wrong_beyond_a_persons_word_is_named(home: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """The first fault may be released, another may not: the row stays, and the night says so."""
    both = rows("GB305", {"amount_fen": 1, "kind": "02", "account_no": "DK404"})
    send(home, {"GB305": both})
    night(home, N2)
    with open_database(home).transaction_system() as conn:
        asked = {"centre": CENTRE, "quarantine_no": 1, "person": "甲", "reason": "误放", "at": "2026-09-15T09:00:00+08:00"}
        conn.execute(sa.insert(tables.release_request).values(**asked))
    assert night(home, N3)["released"] == 0
    with open_database(home).read() as conn:
        f = tables.finding
        found = conn.execute(sa.select(f.c.what).where(f.c.centre == CENTRE, f.c.code == "DESK-STILL")).scalars().all()
    assert found == ["甲 申请放行的隔离行 1 还有别的错误，没有入账。"]
    assert len(known(home, "transaction", N3)) == 0


def test_every_file_of_a_night_is_printed_with_its_sum(home: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    send(home, {"GB305": rows("GB305", {}, {}, {"serial_no": "LS2", "amount_fen": 1})})
    (home.inbox(CENTRE) / "SZ_TX05_20260914_001.csv").write_bytes(b"x")
    (home.inbox(CENTRE) / "SZ_TX05_20260914_001.csv.ok").write_bytes(b"x")
    capsys.readouterr()
    assert main(["night", "--centre", CENTRE, "--date", N2.isoformat()]) in (0, 5)
    text = capsys.readouterr().out
    assert "收到 3 行 = 登记 1 + 隔离 1 + 重复 1" in text
    assert "收到 0 行 = 登记 0 + 隔离 0 + 重复 0　整份拒收" in text


def test_a_file_that_changes_while_it_is_copied_stays_in_the_inbox(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    room = importlib.import_module("subsidy.intake.snapshot")
    send(home, {"TX05": rows("TX05")})
    copy = room._copy

    def growing(source: Path, folder: Path) -> Path:
        target = copy(source, folder)
        if source.suffix == ".csv":
            with source.open("ab") as handle:
                handle.write(b"more")
        return target

    monkeypatch.setattr(room, "_copy", growing)
    assert night(home, N2)["files"] == 0
    assert (home.inbox(CENTRE) / "SZ_TX05_20260914_001.csv").exists()
    with open_database(home).read() as conn:
        f = tables.finding
        assert conn.execute(sa.select(f.c.code).where(f.c.centre == CENTRE, f.c.code == "FILE-CHANGED")).scalars().all() == ["FILE-CHANGED"]
    monkeypatch.setattr(room, "_copy", copy)
    assert night(home, N3)["states"] == {"refused": 1}  # now it is read, and its digest does not fit any more


def test_another_file_under_the_same_name_is_not_swept_away(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A correction uploaded while its forerunner is being read is read next."""
    from subsidy.night import take_in as step

    send(home, {"TX02": statuses(range(1, 29), balance_fen=5)})
    acknowledge = step._acknowledge

    def meanwhile(*args: Any) -> None:
        acknowledge(*args)
        send(home, {"TX02": statuses(range(1, 29), balance_fen=6)})

    monkeypatch.setattr(step, "_acknowledge", meanwhile)
    night(home, N2)
    monkeypatch.setattr(step, "_acknowledge", acknowledge)
    assert {r["balance_fen"] for r in known(home, "status", N2)} == {5}
    assert night(home, N3)["rows_booked"] == 28
    assert {r["balance_fen"] for r in known(home, "status", N3)} == {6}


def test_companions_lie_in_the_store_too(home: Settings) -> None:
    store = Store(home.store_url)
    with open_database(home).read() as conn:
        details = conn.execute(sa.select(tables.file.c.detail, tables.file.c.sha256).where(tables.file.c.centre == CENTRE)).all()
    for detail, sha256 in details:
        kept = [sha256, *(digest for _, digest in json.loads(detail)["companions"])]
        assert len(kept) == 2 and all(store.exists(store.raw_path(digest)) for digest in kept)
