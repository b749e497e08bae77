"""The story: nights, cast, what each night must show; breaking and mending a centre's folder; the command line."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from fixtures import inbox, story
from fixtures.__main__ import main
from fixtures.centres import CENTRES
from subsidy.errors import SubsidyError
from subsidy.policy.load import load_centre

RULES = Path(__file__).resolve().parents[2] / "rules"
ALL = sorted(CENTRES)


def test_nights() -> None:
    nights = [(n.centre, n.number, n.business_date) for n in story.nights()]
    assert len(nights) == 28
    assert [d for c, i, d in nights if i == 1] == [date(2026, 9, 1)] * 7
    second = {c: f"{d:%m-%d}" for c, i, d in nights if i == 2}
    assert second == {"wenzhou": "09-14", "hangzhou": "09-19", "zhejiang-provincial": "09-19", "quzhou": "09-19", "zhoushan": "09-20",
                      "shaoxing": "09-23", "huzhou": "10-09"}  # fmt: skip
    fourth = {c: f"{d:%m-%d}" for c, i, d in nights if i == 4}
    assert fourth == {"wenzhou": "10-14", "hangzhou": "10-19", "zhejiang-provincial": "10-19", "quzhou": "12-20", "zhoushan": "12-20",
                      "shaoxing": "10-22", "huzhou": "11-09"}  # fmt: skip
    for centre in CENTRES:
        days = [d for c, _, d in nights if c == centre]
        assert days == sorted(set(days))


@pytest.mark.parametrize("centre", ALL)
def test_cast(centre: str) -> None:
    cast = story.story_cases(centre)
    assert 40 <= len(cast) <= 60
    titles = Counter(title for _, title in cast)
    for title in (
        "提前还款晚到", "本金和利息后来更正，多付", "本金和利息后来更正，少付", "转公积金贷款", "追回",
        "合同核定不符：贷款类型不是贴息贷款", "期初晚到",
    ):  # fmt: skip
        assert titles[title] == 1


@pytest.mark.parametrize("centre", ALL)
def test_each_night_sets_rows_aside_as_planned(centre: str) -> None:
    sent = {night: story.files(centre, night) for night in (1, 2, 3, 4)}
    assert sum(f.quarantined for f in sent[2]) == 6 and sum(f.duplicates for f in sent[2]) == 1
    assert [f.repeats for f in sent[3]] == [False, True] and [f.corrects for f in sent[4]] == [False, True]
    corrected, first = sent[4][1], sent[2][1]
    assert first.quarantined == 1 and corrected.quarantined == 0
    assert (corrected.sequence, corrected.business_date, len(corrected.rows)) == (first.sequence, first.business_date, len(first.rows))


def outcome(centre: str, title: str, night: int) -> list[tuple[int, str]]:
    chosen = [a for a, t in story.story_cases(centre) if t == title]
    return [(line.payable_fen, line.outcome) for line in story.expected(centre).lines[night] if line.agreement_no in chosen]


@pytest.mark.parametrize("centre", ALL)
def test_what_the_second_settlement_changes(centre: str) -> None:
    known = story.expected(centre)
    before = {(a.agreement_no, a.serial_no): a for a in known.lines[2]}
    after = {(a.agreement_no, a.serial_no): a for a in known.lines[4]}
    assert before.keys() <= after.keys()
    titles = dict(story.story_cases(centre))
    changed = {titles[k[0]] for k in before if before[k].payable_fen != after[k].payable_fen}
    assert changed >= {"本金和利息后来更正，多付", "本金和利息后来更正，少付"}
    assert changed >= {"转公积金贷款", "追回", "已结算的还款被冲正，后来补还", "事后得知另有财政贴息", "期初晚到"}
    assert "平常还款" not in changed
    late = [a for k, a in after.items() if titles[k[0]] == "提前还款晚到" and k not in before]
    assert any(a.accrual_to <= CENTRES[centre].cutoffs[0] and a.payable_fen > 0 for a in late)
    assert outcome(centre, "追回", 4)[0] == (0, "clawback")
    assert {o for _, o in outcome(centre, "合同核定不符：贷款类型不是贴息贷款", 4)} == {"hold"}
    assert {o for _, o in outcome(centre, "同一购房合同两份协议（一）", 4)} == {"hold"}
    assert {o for _, o in outcome(centre, "期初晚到", 2)} == {"hold"} and {o for _, o in outcome(centre, "期初晚到", 4)} == {"pay"}


@pytest.mark.parametrize("centre", ALL)
def test_settlements(centre: str) -> None:
    one, two = story.expected(centre).settlements
    quarter = CENTRES[centre].quarterly
    assert (one.period, two.period) == ("2026-09", "2026-12" if quarter else "2026-10")
    assert 0 < one.payable_fen < two.payable_fen
    assert all(line.booked_on <= one.cutoff_on for line in one.lines)
    if centre == "huzhou":  # rows booked after the cut-off are known that night and wait
        assert len(one.lines) < len(story.expected(centre).lines[2])


def test_only_what_a_centre_alone_shows() -> None:
    assert [o for _, o in outcome("huzhou", "第二次暂停", 4)] == ["pay", "stop"]
    assert outcome("wenzhou", "逾期很久才还", 4)[0][1] == "forfeit"
    assert [o for _, o in outcome("zhoushan", "暂停后恢复", 4)][:2] == ["forfeit", "forfeit"]
    assert sum(p for p, _ in outcome("quzhou", "累计贴息到限额", 4)) == 100_00
    assert outcome("zhejiang-provincial", "缴存断缴后补缴", 2) == [(0, "hold")]
    assert outcome("hangzhou", "缴存断缴后补缴", 2)[0][1] == "pay"


def test_break_and_mend(tmp_path: Path) -> None:
    shutil.copytree(RULES, tmp_path / "rules")
    path = tmp_path / "rules" / "quzhou" / "policy.yaml"
    sound = path.read_bytes()
    for _ in range(2):
        story.break_folder(tmp_path / "rules", "quzhou")
        with pytest.raises(SubsidyError):
            load_centre(tmp_path / "rules", "quzhou")
        load_centre(tmp_path / "rules", "hangzhou")
    for _ in range(2):
        story.mend_folder(tmp_path / "rules", "quzhou")
        assert path.read_bytes() == sound
    assert sorted(p.name for p in path.parent.iterdir()) == sorted(p.name for p in (RULES / "quzhou").iterdir())


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["story", "--home", str(tmp_path), "--centre", "quzhou", "--night", "2", "--answers", str(tmp_path / "answers")]) == 0
    assert capsys.readouterr().out == "quzhou\t2\t2026-09-19\t3 files\n"
    assert len(list((tmp_path / "inbox" / "quzhou").iterdir())) == 3
    with open(tmp_path / "answers" / "quzhou-settlements.csv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [int(r["payable_fen"]) for r in rows] == [s.payable_fen for s in story.expected("quzhou").settlements]
    assert main(["story", "--home", str(tmp_path), "--centre", "quzhou", "--cast"]) == 0
    assert "累计贴息到限额" in capsys.readouterr().out


def test_unknown_command_and_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing"]) == 2
    assert main([]) == 0
    usage = capsys.readouterr().out
    assert all(name in usage for name in ("inbox", "story", "bank", "demo", "ui"))


def test_inbox_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--out", str(tmp_path / "in"), "--answers", str(tmp_path / "a")]
    assert main(["inbox", *folders, "--centre", "wenzhou", "--loans", "30", "--mishaps", "0.1"]) == 0
    assert capsys.readouterr().out.startswith("wenzhou\tGB301=30 GB304=30 ")
    with open(tmp_path / "a" / "wenzhou-mishaps.csv", encoding="utf-8", newline="") as handle:
        assert {row["what"] for row in csv.DictReader(handle)} <= {"account", "kind", "interest", "date"}


def test_together_is_one_delivery(tmp_path: Path) -> None:
    assert inbox.delivery_dates(2, together=True) == (date(2026, 10, 31),)
    counts = inbox.write(tmp_path, "quzhou", 10, months=2, together=True)
    assert counts["files"] == 1 and [p.name for p in tmp_path.iterdir()] == ["QZ_20261031_001.zip"]
