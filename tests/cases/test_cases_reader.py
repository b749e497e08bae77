"""Reading cases files: names in Chinese and English, defaults, and every fault with its file, line and key."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from subsidy.cases import Case, read_cases
from subsidy.errors import Finding
from subsidy.policy import load_centre
from subsidy.policy.problems import Problems

RULES = Path(__file__).resolve().parents[2] / "rules"
LOAN = "{金额: 500000.00, 期数: 360, 还款日: 10, 放款日: 2026-01-10, 利率: 3.50%}"

ROW = "{期次: 1, 利息: 1458.33, 本金: 786.89}"


def read(tmp_path: Path, text: str) -> tuple[list[Case], tuple[Finding, ...]]:
    path = tmp_path / "cases.yaml"
    path.write_text(text, encoding="utf-8")
    problems = Problems()
    return read_cases(path, load_centre(RULES, "hangzhou"), problems, "cases.yaml"), problems.findings()


def one(tmp_path: Path, body: str) -> Case:
    cases, findings = read(tmp_path, f"样例:\n  - 名称: 甲\n    贷款: {LOAN}\n{body}")
    assert findings == ()
    return cases[0]


def rows(case: Case, table: str) -> list[dict[str, Any]]:
    return [fact.row for fact in case.facts if fact.table == table]


def test_a_loan_fills_agreement_contract_and_account(tmp_path: Path) -> None:
    case = one(tmp_path, "    还款: [{期次: 1, 利息: 1458.33, 本金: 786.89}]\n    预期:\n      2026-02-24: {}\n")
    (agreement,), (contract,), (account,) = (rows(case, name) for name in ("agreement", "contract", "account"))
    assert agreement["subsidised_principal_fen"] == contract["amount_fen"] == account["disbursed_fen"] == 500_000_00
    assert (agreement["subsidy_months"], contract["term_months"], account["term_months"]) == (360, 360, 360)
    assert agreement["centre_code"] == "330100000000000"
    assert contract["rate_ppm"] == account["rate_ppm"] == 35000
    assert agreement["subsidy_start_on"] == account["disbursed_on"] == date(2026, 1, 10)
    assert contract["maturity_on"] == date(2056, 1, 10)


def test_instalments_get_periods_balances_and_booking_days(tmp_path: Path) -> None:
    case = one(tmp_path, "    还款: [{期次: 1..2, 利息: [1458.33, 1456.04], 月还: 2245.22}]\n    预期:\n      2026-02-24: {}\n")
    first, second = rows(case, "transaction")
    assert (first["accrual_from"], first["accrual_to"], first["due_on"]) == (date(2026, 1, 10), date(2026, 2, 10), date(2026, 2, 10))
    assert (second["accrual_from"], second["booked_on"]) == (date(2026, 2, 10), date(2026, 3, 10))
    assert (first["principal_repaid_fen"], second["base_principal_fen"]) == (786_89, 499_213_11)
    assert [fact.known_on for fact in case.facts if fact.table == "transaction"] == [date(2026, 2, 10), date(2026, 3, 10)]


def test_english_names_dictionary_codes_and_chinese_labels_say_the_same(tmp_path: Path) -> None:
    row = "{期次: 1, 利息金额: 1458.33, 本金: 786.89}"
    chinese = f"样例: [{{名称: 甲, 贷款: {LOAN}, 还款: [{row}], 预期: {{2026-02-24: {{'1': 375.00}}}}}}]"
    english = (
        "cases: [{name: 甲, loan: {amount: 500000.00, term: 360, due_day: 10, disbursed_on: 2026-01-10, rate: 0.0350}, "
        "repayments: [{instalment: 1, LXJE: 1458.33, principal_repaid_fen: 786.89}], expected: {2026-02-24: {'1': {amount: 375.00}}}}]"
    )
    (one_case,), _ = read(tmp_path, chinese)
    (other_case,), findings = read(tmp_path, english)
    assert findings == ()
    assert [fact.row for fact in one_case.facts] == [fact.row for fact in other_case.facts]
    assert one_case.settlements[0].rows[0].amount_fen == other_case.settlements[0].rows[0].amount_fen == 375_00


def test_a_reversal_repeats_its_row_with_opposite_amounts(tmp_path: Path) -> None:
    body = f"    还款: [{ROW}, {{流水号: 1C, 冲正: '1', 知悉日: 2026-03-05}}]\n    预期:\n      2026-02-24: {{}}\n"
    row, cancel = rows(one(tmp_path, body), "transaction")
    assert (cancel["interest_fen"], cancel["principal_repaid_fen"], cancel["reverses"]) == (-1458_33, -786_89, "1")
    assert cancel["accrual_to"] == row["accrual_to"]


def test_a_correction_says_only_what_changes(tmp_path: Path) -> None:
    body = f"    还款: [{ROW}, {{流水号: '1', 利息: 1400.00, 知悉日: 2026-03-05}}]\n    预期:\n      2026-02-24: {{}}\n"
    first, second = rows(one(tmp_path, body), "transaction")
    assert {name for name in first if first[name] != second[name]} == {"interest_fen", "amount_fen"}


@pytest.mark.parametrize(
    ("body", "line", "words"),
    [
        ("    还歀: []\n    预期: {2026-02-24: {}}\n", 4, ["没有这个键", "是否想写“还款”"]),
        ("    还款: [{期次: 1, 利息: 14.583, 本金: 1.00}]\n    预期: {2026-02-24: {}}\n", 4, ["还款[1].利息", "元为单位", "14.583"]),
        ("    还款: [{期次: 1, 利息: 1.00, 本金: 1.00, 类型: 还钱}]\n    预期: {2026-02-24: {}}\n", 4, ["类型", "正常还款", "还钱"]),
        ("    还款: [{期次: 1..2, 利息: [1.00], 月还: 2.00}]\n    预期: {2026-02-24: {}}\n", 4, ["应有 2 个值，现有 1 个"]),
        ("    还款: [{期次: 1, 本金: 1.00}]\n    预期: {2026-02-24: {}}\n", 4, ["缺少“利息金额”"]),
        ("    还款: [{期次: 1, 利息: 1.00, LXJE: 1.00}]\n    预期: {2026-02-24: {}}\n", 4, ["是同一项，写了两次"]),
        ("    还款: [{利息: 1.00, 起: 2026-01-10, 止: 2026-02-10}]\n    预期: {2026-02-24: {}}\n", 4, ["缺少“流水号”"]),
        ("    还款: [{期次: 1, 利息: 1.00}]\n    预期:\n      2026-02-24: {'9': 1.00}\n", 6, ["没有这个流水号", "预期.2026-02-24.9"]),
        ("    还款: [{期次: 1, 利息: 1.00}]\n    预期:\n      2026-02-30: {}\n", 6, ["应为日期", "2026-02-30"]),
        ("    还款: [{期次: 1, 利息: 1.00}]\n    预期:\n      2026-03-24: {}\n      2026-02-24: {}\n", 6, ["从早到晚"]),
        ("    还款: [{期次: 1, 利息: 1.00}]\n    预期:\n      2026-02-24: {'1': {结果: 已付}}\n", 6, ["支付、暂缓", "已付"]),
        ("    还款: [{期次: 1, 利息: 1.00}]\n", 2, ["缺少“预期"]),
        ("    还款: [{期次: 1, 利息: 1.00}, {期次: 1, 利息: 2.00}]\n    预期: {2026-02-24: {}}\n", 4, ["知悉日"]),
        ("    贷款状态: [{日期: 2026-13-01}]\n    预期: {2026-02-24: {}}\n", 4, ["贷款状态[1].日期", "应为日期"]),
        ("    期初: {已贴金额: 一万}\n    预期: {2026-02-24: {}}\n", 4, ["期初.已贴金额", "一万"]),
        ("    还款: 三期\n    预期: {2026-02-24: {}}\n", 4, ["应为“键: 值”"]),
    ],
)
def test_a_fault_names_line_key_and_what_is_allowed(tmp_path: Path, body: str, line: int, words: list[str]) -> None:
    cases, findings = read(tmp_path, f"样例:\n  - 名称: 甲\n    贷款: {LOAN}\n{body}")
    assert cases == []
    found = [finding for finding in findings if all(word in finding.what for word in words)]
    assert [(finding.file_name, finding.line_no) for finding in found] == [("cases.yaml", line)], [f.what for f in findings]


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    _, findings = read(tmp_path, "样例:\n  - 名称: 甲\n    贷款: {金额: 5}\n  - 名称: 乙\n    贷款: {金额: 五}\n")
    whats = [finding.what for finding in findings]
    assert any("缺少“贷款的期数、还款日、放款日、利率”" in what for what in whats)
    assert any("样例[2].贷款.金额" in what for what in whats)


def test_two_cases_of_one_name(tmp_path: Path) -> None:
    case = f"  - 名称: 甲\n    贷款: {LOAN}\n    还款: [{{期次: 1, 利息: 1.00}}]\n    预期: {{2026-02-24: {{}}}}\n"
    _, findings = read(tmp_path, "样例:\n" + case + case)
    assert ["重名" in finding.what for finding in findings] == [True]


def test_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    cases, findings = read(tmp_path, "样例: [\n")
    assert cases == []
    assert findings[0].code == "POL-YAML"
