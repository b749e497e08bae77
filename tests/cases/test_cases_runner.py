"""Running cases: what was known, what each settlement adds, and how differences are shown."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path

import pyarrow.compute as pc
import pytest

from subsidy.cases import Result, read_cases, run_case
from subsidy.cases.report import lines_of, summary
from subsidy.cli.main import main
from subsidy.entitlement.engine import assess
from subsidy.entitlement.lines import Assessment
from subsidy.facts.schema import Facts
from subsidy.policy import load_centre, working_days_of
from subsidy.policy.model import CentrePolicy
from subsidy.policy.problems import Problems

RULES = Path(__file__).resolve().parents[2] / "rules"
TEXT = """
默认:
  上线日: 2026-01-01
  贷款: {金额: 500000.00, 期数: 360, 还款日: 10, 放款日: 2026-01-10, 利率: 3.50%}
样例:
  - 名称: 甲
    说明: 说明文字
    还款:
"""
ON_TIME = TEXT + "      - {期次: 1, 利息: 1458.33, 本金: 786.89}\n"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cases.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def run(tmp_path: Path, text: str, centre: str = "hangzhou") -> Result:
    policy, problems = load_centre(RULES, centre), Problems()
    (case,) = read_cases(write(tmp_path, text), policy, problems, "cases.yaml")
    assert problems.findings() == ()
    return run_case(case, policy, working_days_of(policy))


def test_a_settlement_takes_what_was_booked_by_the_cutoff(tmp_path: Path) -> None:
    in_time, late = (ON_TIME.replace("786.89}", f"786.89, 记账日期: {day}}}") for day in ("2026-02-23", "2026-02-24"))
    assert run(tmp_path, in_time + "    预期:\n      2026-02-24: {'1': 375.00}\n").ok
    assert run(tmp_path, late + "    预期:\n      2026-02-24: {}\n      2026-03-20: {'1': 375.00}\n").ok


def test_a_fact_is_seen_from_the_night_in_which_it_became_known(tmp_path: Path) -> None:
    for known_on, amount in (("2026-02-24", "375.00"), ("2026-02-23", "266.13")):  # converted after 22 of 31 days
        change = f"    贴息变更: [{{类型: 转公积金, 生效日期: 2026-02-01, 知悉日: {known_on}}}]\n"
        assert run(tmp_path, f"{ON_TIME}{change}    预期:\n      2026-02-24: {{'1': {amount}}}\n").ok


def test_a_row_that_is_not_expected_must_add_nothing(tmp_path: Path) -> None:
    result = run(tmp_path, ON_TIME + "    预期:\n      2026-02-24: {}\n")
    (row,) = result.outcomes[0].rows
    assert (result.ok, row.serial_no, row.amount_fen, row.wrong) == (False, "1", 375_00, ("amount_fen",))


def test_expected_and_computed_stand_side_by_side_with_the_derivation(tmp_path: Path) -> None:
    result = run(tmp_path, ON_TIME + "    预期:\n      2026-02-24: {'1': {本次: 374.00, 结果: 暂缓}}\n")
    text = "\n".join(lines_of(result, lambda facts, policy, agreement_no, serial_no: f"推导 {agreement_no} {serial_no}"))
    assert "不符  cases.yaml:6  甲" in text
    assert "说明文字" in text
    cells = [line.split() for line in text.splitlines() if "←" in line]
    assert ["1", "本次", "374.00", "375.00", "←"] in cells
    assert ["1", "结果", "暂缓", "支付", "←"] in cells
    assert "推导 XY1 1" in text
    assert summary([result]) == "共 1 个样例，0 个相符，1 个不符。"


def test_a_day_that_is_no_settlement_day_is_told(tmp_path: Path) -> None:
    result = run(tmp_path, ON_TIME + "    预期:\n      2026-02-20: {'1': 375.00}\n")
    assert not result.ok
    assert "2026-02-20 不是结算日（前后各一月的结算日：2026-01-20、2026-02-24、2026-03-20）" in result.outcomes[0].problem


def test_a_difference_between_the_two_computations_fails_the_case(tmp_path: Path) -> None:
    policy = load_centre(RULES, "hangzhou")
    (case,) = read_cases(write(tmp_path, ON_TIME + "    预期:\n      2026-02-24: {'1': 375.00}\n"), policy, Problems())

    def one_fen_more(facts: Facts, policy: CentrePolicy) -> Assessment:
        assessed = assess(facts, policy)
        place = assessed.lines.schema.get_field_index("figure_fen")
        return Assessment(assessed.lines.set_column(place, "figure_fen", pc.add(assessed.lines["figure_fen"], 1)), (), assessed.shadow)

    outcome = run_case(case, policy, working_days_of(policy), one_fen_more).outcomes[0]
    assert [(d.column, d.line, d.recomputed) for d in outcome.differences] == [("figure_fen", 375_01, 375_00)]
    assert not outcome.ok


def test_the_quarterly_centre_names_its_settlement_days(tmp_path: Path) -> None:
    result = run(tmp_path, ON_TIME + "    预期:\n      2026-02-24: {}\n", "quzhou")
    assert "2026-03-20" in result.outcomes[0].problem


@pytest.mark.parametrize(("amount", "code"), [("375.00", 0), ("375.01", 1)])
def test_the_command_exits_by_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str], amount: str, code: int) -> None:
    path = write(tmp_path, ON_TIME + f"    预期:\n      2026-02-24: {{'1': {amount}}}\n")
    assert main(["cases", str(path), "--centre", "hangzhou"]) == code
    shown = capsys.readouterr().out
    assert ("1 个相符。" in shown) == (code == 0)
    assert ("四舍五入" in shown) == (code == 1)  # the derivation


def test_the_command_speaks_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, ON_TIME + "    预期:\n      2026-02-24: {'1': 375.00}\n")
    assert main(["cases", str(path), "--centre", "hangzhou", "--json"]) == 0
    (case,) = json.loads(capsys.readouterr().out)
    assert (case["name"], case["ok"]) == ("甲", True)
    assert case["settlements"][0]["rows"][0]["amount_fen"] == {"expected": "375.00", "computed": "375.00"}


def test_faults_of_the_file_stop_the_command_and_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, ON_TIME)
    assert main(["cases", str(path), "--centre", "hangzhou"]) == 3
    shown = capsys.readouterr().err
    assert "CASES-INVALID" in shown
    assert "缺少“预期" in shown


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cases", str(tmp_path / "none.yaml"), "--centre", "hangzhou"]) == 3
    assert "CASES-NONE" in capsys.readouterr().err


def test_all_centres_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cases", "--rules", str(RULES), "--centre", "wenzhou"]) == 0
    assert "wenzhou/cases.yaml" in capsys.readouterr().out


def test_a_broken_centre_does_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("hangzhou", "huzhou", "parameters"):
        shutil.copytree(RULES / name, tmp_path / name)
    policy = tmp_path / "huzhou" / "policy.yaml"
    policy.write_text(policy.read_text(encoding="utf-8").replace("method: spread", "method: sprad"), encoding="utf-8")
    assert main(["cases", "--rules", str(tmp_path)]) == 3
    shown = capsys.readouterr()
    assert "sprad" in shown.err
    assert "hangzhou/cases.yaml" in shown.out


def test_the_example_of_the_description_is_true(tmp_path: Path) -> None:
    text = (RULES.parent / "docs" / "样例.md").read_text(encoding="utf-8")
    assert run(tmp_path, text.split("```yaml")[1].split("```")[0]).ok


def test_the_known_day_of_a_duplicate_claim_has_an_end(tmp_path: Path) -> None:
    claim = "    重复享受: {知悉日: 2026-02-01, 解除日: 2026-03-01}\n"
    result = run(tmp_path, ON_TIME + claim + "    预期:\n      2026-02-24: {'1': {结果: 暂缓}}\n      2026-03-20: {'1': 375.00}\n")
    assert result.ok
    assert result.case.cleared_on == date(2026, 3, 1)
