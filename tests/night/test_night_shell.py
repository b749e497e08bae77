"""What the shell says of a night: sentences for people, JSON only when asked for."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest
from playing import by_hand, play, state

from fixtures import story
from subsidy.cli import main as shell
from subsidy.errors import TerminalError
from subsidy.ledger.database import open_database
from subsidy.night import api, context, settling
from subsidy.settings import Settings


@pytest.fixture
def at_shell(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("home", "rules", "database_url", "store_url", "key"):
        monkeypatch.setenv(f"SUBSIDY_{name.upper()}", str(getattr(settings, name)))
    return settings


def test_a_night_is_told_in_sentences_and_as_json_only_when_asked(at_shell: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    story.deliver(at_shell.home, "huzhou", 1)
    where = ["--centre", "huzhou", "--date", "2026-09-01"]
    assert shell.main(["night", *where]) == 0
    told = capsys.readouterr().out
    assert "业务日 2026-09-01 已打开，运行编号 1。" in told
    for label in ("接收文件：收到行", "独立复算：", "记账：", "关闭当日：完成"):
        assert label in told
    assert shell.main(["preview", *where]) == 0
    preview = capsys.readouterr().out
    assert "没有任何金额会改变" in preview
    assert shell.main(["results-night", *where]) == 0
    read = capsys.readouterr().out
    assert "银行文件：没有新文件。" in read and "报表" in read
    assert not [sign for sign in ("{", "'", "rows_in") if sign in told.partition("文件 1 ")[0] + preview + read]
    far = ["night", "--centre", "huzhou", "--date", "2026-11-20"]
    assert shell.main(far) == 3
    assert "NIGHT-FAR" in capsys.readouterr().err
    assert shell.main([*far, "--reason", "停机之后只补这一夜"]) == 0
    assert "业务日 2026-11-20 已打开" in capsys.readouterr().out
    for argv in (["night", *where], ["preview", *where], ["results-night", *where]):
        shell.main([*argv, "--json"])
        assert isinstance(json.loads(capsys.readouterr().out), dict)


#: Commands that look at what is there, or go on from it, with what they need besides the centre.
ON_A_LEDGER = [
    "ledger verify", "ledger pending", "ledger write-offs", "quarantine list", "quarantine show 1",
    "receivables list --date 2026-09-01", "query list", "settlement show", "preview --date 2026-09-01",
    "results-night --date 2026-09-01", "report write --period 2026-09", "explain --contract C1 --period 2026-09",
]  # fmt: skip


@pytest.mark.parametrize("words", [*(f"{words} --centre huzhou" for words in ON_A_LEDGER), "ledger verify", "backup copy"])
def test_only_what_begins_work_makes_a_ledger(
    words: str, at_shell: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUBSIDY_DATABASE_URL", f"sqlite:///{tmp_path / 'typo' / 'ledger.db'}")
    monkeypatch.chdir(tmp_path)
    assert shell.main(words.split()) == 3
    said = capsys.readouterr().err
    assert "[LEDGER-NONE] 账簿不存在：" in said and str(tmp_path / "typo" / "ledger.db") in said
    assert not (tmp_path / "typo").exists() and not (tmp_path / "copy").exists()


def test_a_name_that_is_not_there_is_told_and_not_answered(at_shell: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.main(["night", "--centre", "huzou", "--date", "2026-09-01"]) == 3
    assert "[CENTRE-UNKNOWN] 没有这个中心：huzou。是否想写“huzhou”？" in capsys.readouterr().err
    assert not (at_shell.home / "ledger.db").exists()
    open_database(at_shell)
    for words in ON_A_LEDGER:
        assert shell.main([*words.split(), "--centre", "nosuch"]) == 3, words
        assert "没有这个中心：nosuch。" in capsys.readouterr().err
    api.open_night(at_shell, "huzhou", date(2026, 9, 1), "夜间")
    assert shell.main(["ledger", "verify", "--run", "1"]) == 0
    for centre in ([], ["--centre", "huzhou"], ["--centre", "wenzhou"]):
        assert shell.main(["ledger", "verify", "--run", "1" if "wenzhou" in centre else "999", *centre]) == 3
        assert "RUN-UNKNOWN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "value", "words", "told"),
    [
        ("SETTINGS", "/nonexist", "policy check", "[SET-FILE]"),
        ("SETTINGS", "/nonexist", "ledger verify", "[SET-FILE]"),
        ("DATABASE_URL", "nonsense", "ledger verify", "[DB-URL]"),
        ("DATABASE_URL", "postgresql://h:port/x", "ledger verify", "[DB-URL]"),
        ("", "", "backup /proc/no/backup", "[BACKUP-FOLDER]"),
        ("", "", "report watermark nofile copy.xlsx --person 甲 --at 今日", "[REPORT-NONE]"),
    ],
)
def test_a_wrong_setting_or_path_is_said_in_words(
    setting: str, value: str, words: str, told: str, at_shell: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    open_database(at_shell)
    if setting:
        monkeypatch.setenv(f"SUBSIDY_{setting}", value)
    assert shell.main(words.split()) == 3
    assert told in capsys.readouterr().err


def test_what_the_machine_refuses_is_said_and_a_defect_is_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("subsidy.reports.watermark.watermark", lambda *_: (tmp_path / "no" / "copy.xlsx").write_bytes(b""))
    words = ["report", "watermark", "book.xlsx", "copy.xlsx", "--person", "甲", "--at", "今日"]
    assert shell.main(words) == 3
    assert "[MACHINE-REFUSED] 读写文件失败：文件或目录不存在（copy.xlsx）。" in capsys.readouterr().err
    monkeypatch.setattr("subsidy.reports.watermark.watermark", lambda *_: {}["defect"])
    with pytest.raises(KeyError):
        shell.main(words)


def test_one_step_is_run_only_of_a_night_that_was_opened_and_after_those_before_it(
    at_shell: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    story.deliver(at_shell.home, "huzhou", 1)
    where = ["--centre", "huzhou", "--date", "2026-09-01"]
    for name, _, _ in api.STEPS:
        assert shell.main(["night", *where, "--step", name]) != 0
        assert "NIGHT-NOT-OPEN" in capsys.readouterr().err
    ledger = state(at_shell)
    assert not ledger["run"] and not ledger["centre_state"]
    api.open_night(at_shell, "huzhou", date(2026, 9, 1), "夜间")
    for at, (name, label, _) in enumerate(api.STEPS):
        before = state(at_shell)["step"]
        for later, _, _ in api.STEPS[at + 1 :]:
            assert shell.main(["night", *where, "--step", later]) != 0
            assert f"还有步骤没有完成：{label}" in capsys.readouterr().err
        assert state(at_shell)["step"] == before
        assert shell.main(["night", *where, "--step", name]) == 0
        assert label in capsys.readouterr().out
    for name, _, _ in api.STEPS:
        assert shell.main(["night", *where, "--step", name]) == 0


@pytest.mark.parametrize("missing", ["take_in", "compute", "check", "post", "verify"])
def test_a_settlement_is_not_built_while_a_step_before_it_has_no_result(settings: Settings, missing: str) -> None:
    """A result that is not there is no proof."""
    play(settings, "wenzhou", (1,))
    story.deliver(settings.home, "wenzhou", 2)
    run_no = api.open_night(settings, "wenzhou", date(2026, 9, 14), "夜间")["run_no"]
    for name, _, _ in api.STEPS[:5]:
        api.step(settings, "wenzhou", run_no, name)
    by_hand(open_database(settings), f"DELETE FROM step WHERE run_no = {run_no} AND name = '{missing}'")
    ctx = context.load(settings, "wenzhou", run_no)
    with context.working(ctx.db, "wenzhou", "夜间") as token, pytest.raises(TerminalError, match="NIGHT-INCOMPLETE"):
        settling.settle(ctx, token)
    assert api.pending_settlement(settings, "wenzhou") is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "缺少 命令。"),
        ("night", "缺少 --centre, --date。"),
        ("nigt", "命令 不能是 'nigt'，可用："),
        ("night --centre huzhou --date 2026-9-1", "--date：不是日期：'2026-9-1'，应如 2026-10-20。"),
        ("query write --centre huzhou --date soon", "--date：不是日期：'soon'，"),
        ("ledger unlock --centre huzhou --reason r --through soon", "--through：不是日期：'soon'，"),
        ("night --centre", "--centre 后面要写值。"),
        ("ledger verify --run one", "--run：不是编号：'one'，"),
        ("ledger verify --nosuch", "不认识 --nosuch。"),
        ("ledger verify --json=1", "--json 不带值，却写了 '1'。"),
        ("ledger match --centre huzhou --batch 1 --how guess --evidence x", "--how 不能是 'guess'，可用："),
    ],
)
def test_a_wrong_command_line_is_told_in_chinese(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        shell.main(words.split())
    said = capsys.readouterr().err
    assert left.value.code == 2 and told in said and said.startswith("用法："), said
    assert not re.search(r"\b(usage|error|argument|required|invalid)", said)


@pytest.mark.parametrize("words", [[], ["night"], ["ledger"], ["ledger", "verify"], ["policy", "check"]])
def test_help_is_chinese(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        shell.main([*words, "--help"])
    said = capsys.readouterr().out
    assert said.startswith("用法：") and "选项:" in said and "显示本说明后退出" in said
    assert not re.search(r"usage|options|arguments|show ", said)


def test_a_backup_says_what_it_does_not_hold(at_shell: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_database(at_shell)
    assert shell.main(["backup", str(tmp_path / "backup")]) == 0
    assert "不含" in (told := capsys.readouterr().out) and "SUBSIDY_STORE_URL" in told
