"""What the shell says of a night: sentences for people, JSON only when asked for."""

from __future__ import annotations

import json

import pytest

from fixtures import story
from subsidy.cli import main as shell
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
