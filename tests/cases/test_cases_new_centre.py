"""docs/新增中心.md followed to the letter: every command it prints, in its order, in a copy of the rules folder."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from subsidy.cli.main import main

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "新增中心.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^subsidy (.*?)(?: {4,}.*| {3,}\S.*)?$", GUIDE, re.MULTILINE)
VALUES = dict(re.findall(r"^ *([a-z_]+): +(\S.*?)(?: +#.*)?$", "\n".join(re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)), re.MULTILINE))

CASE = """
默认:
  贷款: {金额: 500000.00, 期数: 360, 还款方式: 等额本息, 还款日: 10, 放款日: 2027-01-10, 利率: 3.50%, 套数: 首套}
样例:
  - 名称: 按时还款一期
    还款:
      - {期次: 1, 利息: 1458.33, 月还: 2245.22}
    预期:
      2027-02-18: {"1": 375.00}
"""


def fill_in(folder: Path) -> None:
    """Every line that waits gets the value that the guide prints for its key."""
    for path in folder.glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        path.write_text(
            re.sub(r"^( *)([a-z_]+): \"?待填\"?.*$", lambda m: f"{m[1]}{m[2]}: {VALUES[m[2]]}", text, flags=re.MULTILINE), encoding="utf-8"
        )


def sample_file(folder: Path) -> Path:
    """A status file as the profile of the template describes it, with its flag file."""
    lines = ["DKZH,RIQI,DKYE,LXYQQS,LJYQQS,GJJZHZT,DKZT", "6222020000000000015,2027-01-31,500000.00,0,0,01,正常"]
    data = folder / "JIAXING_TX02_20270131_001.csv"
    raw = ("\ufeff" + "\r\n".join(lines) + "\r\n").encode("utf-8")
    data.write_bytes(raw)
    digest = hashlib.new("sm3", raw).hexdigest()
    said = f"centre=330400000000000\ntable=TX02\ndate=20270131\nsequence=001\nmode=full\nrows=1\nsum.DKYE=500000.00\nsm3={digest}\n"
    data.with_name(data.name + ".ok").write_text(said, encoding="utf-8")
    return data


def test_every_command_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(ROOT / "rules", tmp_path / "rules")
    monkeypatch.chdir(tmp_path)
    for name, value in {"RULES": tmp_path / "rules", "HOME": tmp_path / "trial", "KEY": "k" * 32}.items():
        monkeypatch.setenv(f"SUBSIDY_{name}", str(value))
    told: list[tuple[str, int, str]] = []
    for command in COMMANDS:
        words: list[Any] = command.split()
        if words[:2] == ["files", "check"]:
            words[-1] = str(sample_file(tmp_path))
        if words[0] == "files":
            words += ["--rules", str(tmp_path / "rules")]
        if words[0] == "cases":
            (tmp_path / "rules" / "jiaxing" / "cases.yaml").write_text(CASE, encoding="utf-8")
            calendar = "source: {document: 测试}\nyear: 2027\n"
            calendar += "holidays: [2027-01-01..2027-01-03, 2027-02-05..2027-02-11]\nworkdays: [2027-02-14]\n"
            (tmp_path / "rules" / "parameters" / "calendar-2027.yaml").write_text(calendar, encoding="utf-8")
        code = main(words)
        captured = capsys.readouterr()
        told.append((command, code, captured.out + captured.err))
        if len(told) == 2:
            fill_in(tmp_path / "rules" / "jiaxing")  # after the first check has said what waits
    assert [command.split()[:2] for command, _, _ in told] == [
        ["centre", "new"],
        ["policy", "check"],
        ["policy", "check"],
        ["policy", "show"],
        ["policy", "diff"],
        ["files", "describe"],
        ["files", "check"],
        ["cases", "rules/jiaxing"],
        ["night", "--centre"],
        ["quarantine", "list"],
        ["explain", "--centre"],
        ["settlement", "show"],
        ["preview", "--centre"],
        ["ledger", "verify"],
        ["settlement", "publish"],
        ["results-night", "--centre"],
    ]
    # The first check finds what waits, two different centres differ; the trial night got no file, so that nobody has to be paid.
    assert [code for _, code, _ in told] == [0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 3, 0], told
    words = ("待填 12 处", "POL-BLANK", "无错误", "嘉兴市住房公积金管理中心", "+ 杭州", "JIAXING_", "可以接收", "1 个样例，1 个相符")
    words += ("关闭当日", "共 0 行", "LOOKUP-UNKNOWN", "2027-01", "没有任何金额会改变", "jiaxing：通过", "2027-01", "没有新文件")
    for (_, _, text), said in zip(told, words, strict=True):
        assert said in text, text
