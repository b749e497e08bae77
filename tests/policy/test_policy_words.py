"""What people read: show, diff, horizon warnings, the shell commands, and a new centre made by following docs/新增中心.md."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from policy_house import FILES, files, load

from subsidy.calendar import YearCalendar
from subsidy.cli import centre as centre_cli
from subsidy.cli import policy as policy_cli
from subsidy.errors import TerminalError
from subsidy.policy import PolicyError, load_centre, load_files, pack
from subsidy.policy.describe import Statement, describe, differences
from subsidy.policy.horizon import horizon_warnings
from subsidy.policy.template import FILES as TEMPLATE_FILES

RULES = Path(__file__).parents[2] / "rules"
GUIDE = Path(__file__).parents[2] / "docs" / "新增中心.md"

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*argv: str) -> tuple[int, str]:
        top = argparse.ArgumentParser()
        commands = top.add_subparsers()
        policy_cli.register(commands)
        centre_cli.register(commands)
        args = top.parse_args(argv)
        code = args.run(args)
        return code, capsys.readouterr().out

    return call


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name in ("files.yaml", "outbound.yaml"):
        shutil.copy(RULES / "hangzhou" / name, tmp_path / "test" / name)
    return tmp_path


def edit(path: Path, *edits: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in edits:
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def said(statements: tuple[Statement, ...], label: str) -> Statement:
    return next(s for s in statements if s.label == label)


# --- show ---------------------------------------------------------------------------------------------------------------------------


def test_show_says_what_applies_on_a_day_and_why() -> None:
    policy = load()
    before, after = describe(policy, date(2025, 12, 31)), describe(policy, date(2026, 10, 20))
    assert "ratio 实还利息" in said(before, "方法").value
    assert said(before, "利率上限").value == "LPR_5Y（2020-01-01 起用此序列），当日 4.85%（2019-08-20 起，2019-08-20 公布）"
    assert "假定（test/policy.yaml 第 " in said(before, "方法").why
    assert said(after, "百分点").value == "0.80%"
    assert said(after, "百分点").why.startswith("文件 测公积金〔2026〕1号 第三条 https://example.org/1（test/policy.yaml 第 ")
    assert said(after, "利率上限").value == "不设上限"
    assert said(after, "每月限额").value == "500.00元"
    assert said(after, "首套，60 个月以上").value == "2.60%（2025-05-08 起，2025-05-07 公布）"
    assert "清算日 2026-11-20" in said(after, "下一次").value
    assert said(after, "RATE-HORIZON").value.startswith("利率只核对到 2026-10-09")
    assert not [s for s in before if s.group == "提示"]


def test_show_of_a_day_that_nothing_covers() -> None:
    statements = describe(load(), date(2012, 1, 1))
    assert said(statements, "版本").value == "无"
    assert said(statements, "约定").value == "无"


@pytest.mark.parametrize("centre", sorted(p.name for p in RULES.iterdir() if (p / "policy.yaml").is_file()))
@pytest.mark.parametrize("day", [date(2015, 1, 1), date(2026, 9, 1), date(2026, 12, 31), date(2030, 6, 30)])
def test_show_works_for_every_centre_on_every_kind_of_day(centre: str, day: date) -> None:
    statements = describe(load_centre(RULES, centre), day)
    assert {"中心", "规则", "关口", "核定", "公积金利率", "清算"} <= {s.group for s in statements}
    assert all(s.value for s in statements)


# --- horizon ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "codes"),
    [
        (date(2026, 10, 9), []),
        (date(2026, 10, 10), ["RATE-HORIZON"]),
        (date(2027, 11, 1), ["RATE-HORIZON", "CAL-HORIZON"]),
    ],
)
def test_dates_beyond_what_is_confirmed_are_warned_about(day: date, codes: list[str]) -> None:
    found = horizon_warnings(load(), day)
    assert [f.code for f in found] == codes
    assert all(f.severity == "warning" for f in found)


def test_a_calendar_file_moves_the_horizon() -> None:
    policy = load()
    day = date(2027, 12, 1)
    calendars = {**policy.parameters.calendars, 2028: YearCalendar(2028, frozenset({date(2028, 1, 1)}), frozenset())}
    longer = replace(policy, parameters=replace(policy.parameters, calendars=calendars))
    assert [f.code for f in horizon_warnings(policy, day)] == ["RATE-HORIZON", "CAL-HORIZON"]
    assert [f.code for f in horizon_warnings(longer, day)] == ["RATE-HORIZON"]


# --- diff ---------------------------------------------------------------------------------------------------------------------------


def test_equal_policies_do_not_differ() -> None:
    assert differences(load(), load()) == ()


def test_diff_names_each_key_that_changed() -> None:
    written_off = '      - {when: loan_status == "written_off", outcome: hold, reason: X, text: 核销}\n'
    changed = files(
        ("monthly_limit: 500.00元", "monthly_limit: 600.00元"),
        ("series: LPR_5Y", "fixed: 4.90%"),
        ("      - not_verified\n", f"      - not_verified\n{written_off}"),
        ("day: 20", "day: 21"),
    )
    changed["parameters/rates.csv"] += b"FIRST_GT5,2026-10-01,2.5,published,2026-09-30\n"
    found = {d.key: (d.left, d.right) for d in differences(load(), load_files(changed, "test"))}
    assert found == {
        "rules[1].rate_cap": ("2020-01-01 起 LPR_5Y", "2020-01-01 起 4.90%"),
        "rules[1].gates": (None, 'loan_status == "written_off" → 暂缓 X 核销'),
        "rules[2].monthly_limit_fen": ("500.00元", "600.00元"),
        "settlement[1].day": ("20", "21"),
        "rates.FIRST_GT5.2026-10-01": (None, "2.50%"),
    }


# --- shell --------------------------------------------------------------------------------------------------------------------------


def test_check_lists_all_faults_and_fails(run: Run, rules: Path) -> None:
    assert run("policy", "check", "--rules", str(rules))[0] == 0
    for name in ("files.yaml", "outbound.yaml"):
        good = (rules / "test" / name).read_text(encoding="utf-8")
        edit(rules / "test" / name, ("encoding:", "encodnig:"))
        code, out = run("policy", "check", "--rules", str(rules), "test")
        assert code == 1 and f"test/{name}" in out and "encoding" in out
        (rules / "test" / name).write_text(good, encoding="utf-8")
    edit(rules / "test" / "policy.yaml", ("method: ratio", "method: ratios"), ("day: 20", "day: 99"))
    code, out = run("policy", "check", "--rules", str(rules), "test")
    assert code == 1
    assert "2 处错误" in out
    assert re.search(r"test/policy\.yaml:\d+ \[POL-CHOICE\] rules\[1\]\.method", out)
    code, out = run("policy", "check", "--rules", str(rules), "--json")
    assert code == 1
    result = json.loads(out)["test"]
    assert [f["code"] for f in result["findings"]] == ["POL-CHOICE", "POL-TYPE"]
    assert result["findings"][0]["value"] == "ratios"


def test_check_says_when_two_centres_have_one_code(run: Run, rules: Path) -> None:
    shutil.copytree(rules / "test", rules / "twin")
    code, out = run("policy", "check", "--rules", str(rules))
    assert code == 1
    assert "330100000000000" in out
    assert "POL-CENTRE" in out


def test_show_and_diff_in_the_shell(run: Run, rules: Path, tmp_path: Path) -> None:
    code, out = run("policy", "show", "test", "--on", "2026-10-20", "--rules", str(rules))
    assert code == 0
    assert "测试住房公积金管理中心 2026-10-20 适用的规则" in out
    code, out = run("policy", "show", "test", "--on", "2026-10-20", "--rules", str(rules), "--json")
    assert json.loads(out)["statements"][0]["group"] == "中心"
    archive = tmp_path / "pinned.zip"
    archive.write_bytes(pack(rules, "test"))
    assert run("policy", "diff", "test", str(archive), "--rules", str(rules)) == (0, "两份规则相同。\n")
    edit(rules / "test" / "policy.yaml", ("day: 20", "day: 21"))
    assert run("policy", "diff", str(archive), str(rules / "test"), "--rules", str(RULES)) == (1, "settlement[1].day\n  - 20\n  + 21\n")
    assert json.loads(run("policy", "diff", str(archive), "test", "--rules", str(rules), "--json")[1])["differences"] == [
        {"key": "settlement[1].day", "left": "20", "right": "21"}
    ]


# --- a new centre -------------------------------------------------------------------------------------------------------------------


def test_a_new_centre_says_what_is_still_blank(run: Run, rules: Path) -> None:
    shutil.copytree(RULES / "parameters", rules / "parameters", dirs_exist_ok=True)
    code, out = run("centre", "new", "jiaxing", "--rules", str(rules))
    assert code == 0
    assert "待填 12 处" in out
    with pytest.raises(PolicyError) as caught:
        load_centre(rules, "jiaxing")
    assert {f.code for f in caught.value.findings} == {"POL-BLANK"}
    assert len(caught.value.findings) == 12


@pytest.mark.parametrize(
    ("name", "code"), [("jiaxing", "CENTRE-EXISTS"), ("Jia", "CENTRE-NAME"), ("../x", "CENTRE-NAME"), ("parameters", "CENTRE-NAME")]
)
def test_a_new_centre_never_touches_what_exists(run: Run, rules: Path, name: str, code: str) -> None:
    shutil.copytree(RULES / "parameters", rules / "parameters", dirs_exist_ok=True)
    (rules / "jiaxing").mkdir()
    with pytest.raises(TerminalError) as caught:
        run("centre", "new", name, "--rules", str(rules))
    assert caught.value.message.code == code
    assert not list((rules / "jiaxing").iterdir())


def test_a_new_centre_needs_its_templates(run: Run, rules: Path) -> None:
    with pytest.raises(TerminalError, match="CENTRE-TEMPLATE"):
        run("centre", "new", "jiaxing", "--rules", str(rules))
    assert not (rules / "jiaxing").exists()


def filled_in(text: str, blocks: str) -> str:
    """`text` with every ``key: 待填`` replaced by the line of the same key that the guide prints."""
    values = dict(re.findall(r"^ *([a-z_]+): +(\S.*?)(?: +#.*)?$", blocks, re.MULTILINE))
    return re.sub(r"^( *)([a-z_]+): \"?待填\"?.*$", lambda m: f"{m[1]}{m[2]}: {values[m[2]]}", text, flags=re.MULTILINE)


def test_the_guide_was_followed_and_the_new_centre_loads(run: Run, rules: Path) -> None:
    from subsidy.clearing import profiles
    from subsidy.intake.profile_load import load_profiles

    shutil.copytree(RULES / "parameters", rules / "parameters", dirs_exist_ok=True)
    guide = GUIDE.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL))
    assert "subsidy centre new jiaxing" in guide
    run("centre", "new", "jiaxing", "--rules", str(rules))
    for name in TEMPLATE_FILES:
        path = rules / "jiaxing" / name
        path.write_text(filled_in(path.read_text(encoding="utf-8"), blocks), encoding="utf-8")
    policy = load_centre(rules, "jiaxing")
    assert policy.short_name == "嘉兴"
    assert list(load_profiles(rules, "jiaxing").profiles) == ["main"]
    assert profiles.load(rules, "jiaxing")
    code, out = run("policy", "check", "jiaxing", "--rules", str(rules))
    assert (code, "无错误" in out) == (0, True)
