"""Explanations: every number is the engine's own, and the explained fraction rounds to the line."""

from __future__ import annotations

import argparse
import json
import re
from datetime import date, timedelta
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from entitlement_facts import (
    DEFAULT_GATES,
    INSTALMENTS,
    cap,
    change,
    day,
    facts,
    fen,
    gates,
    opening,
    other,
    policy,
    row,
    rule,
    status,
    suspension,
)
from entitlement_random import facts_of as random_facts
from entitlement_random import portfolio, random_policy
from hypothesis import given, settings
from hypothesis import strategies as st

from subsidy.cli import explain as command
from subsidy.cli import posted
from subsidy.entitlement.engine import assess
from subsidy.entitlement.explain import Explanation, changed_since, explain, explain_agreement, explain_agreements
from subsidy.entitlement.periods import booked_between
from subsidy.errors import TerminalError
from subsidy.facts.schema import Facts
from subsidy.night import lookup
from subsidy.policy.model import CentrePolicy, Source

HALF = Fraction(1, 2)


def rounds_to_the_line(e: Explanation) -> bool:
    if e.exact is None or e.rounded_fen is None:
        return e.line["figure_fen"] == 0
    amount = e.exact if e.limit is None else min(e.exact, e.limit)
    rounded = (amount + HALF).__floor__()
    return rounded == e.rounded_fen and max(rounded - e.earlier_fen, 0) == e.line["figure_fen"]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_fraction_rounds_to_the_line(seed: int) -> None:
    r = Random(seed)
    rules = random_policy(r)
    known = random_facts(portfolio(r, 3, rules))
    lines = assess(known, rules).lines.to_pylist()
    explained = [e for number in sorted({x["agreement_no"] for x in lines}) for e in explain_agreement(known, rules, number)]
    assert [dict(e.line) for e in explained] == lines
    assert [e.data() for e in explain_agreements(known, rules)] == [e.data() for e in explained]
    assert all(rounds_to_the_line(e) for e in explained)
    for e in explained:
        assert json.loads(json.dumps(e.data()))["serial_no"] == e.serial_no
        assert e.text().count("【") == len(e.sections)


def value_of(formula: str) -> Fraction:
    """What the numbers put into a formula come to, worked out by Python's own arithmetic on fractions."""
    plain = formula.removesuffix(" 分").replace("×", "*").replace("÷", "/").replace("−", "-")
    plain = re.sub(r"([0-9.]+)%", r"(F('\1')/100)", plain)
    plain = re.sub(r"(?<![0-9.'])([0-9]+)(?![0-9.'])", r"F(\1)", plain)
    return Fraction(eval(plain, {"__builtins__": {}, "F": Fraction, "max": max}))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_formula_with_its_numbers_gives_the_exact_fraction(seed: int) -> None:
    r = Random(seed)
    rules = random_policy(r)
    known = random_facts(portfolio(r, 3, rules))
    for number in known["agreement"].column("agreement_no").to_pylist():
        for e in explain_agreement(known, rules, number):
            formula = [i.value for s in e.sections for i in s.items if i.label == "代入"]
            assert len(formula) == (e.exact is not None)
            assert not formula or value_of(formula[0]) == e.exact


def text_of(given_facts: Facts, rules: CentrePolicy, serial: str = "001") -> str:
    return explain(given_facts, rules, "XY1", serial).text({3: "GB305_20260210.txt"})


def test_a_plain_line() -> None:
    sources = {"method": Source("document", "杭房公〔2015〕1号", "第三条")}
    rules = policy(rule(rate_cap=cap(("2000-01-01", 34_000)), sources=sources, gates=DEFAULT_GATES))
    e = explain(facts(*INSTALMENTS, status=[status("2026-02-01", overdue_run=1)]), rules, "XY1", "001")
    assert e.exact == Fraction(145_833 * 8, 35)
    assert (e.share, e.rounded_fen, e.line["figure_fen"]) == (Fraction(1), 33_333, 33_333)
    assert [(s.start, s.end, s.fund_rate_ppm, s.spread_ppm, s.rate_since) for s in e.segments] == [
        (day("2026-01-10"), day("2026-02-10"), 26_000, 8_000, day("2025-05-08"))
    ]
    text = e.text({3: "GB305_20260210.txt"})
    for words in (
        "文件 GB305_20260210.txt（登记号 3）第 1 行",
        "借款合同 HT1",
        "计息期间：2026-01-10 至 2026-02-10（不含），31 天",
        "利息：1458.33 元",
        "版本：v1",
        "文件 杭房公〔2015〕1号 第三条",
        "利率上限：3.40%",
        "31 天，公积金利率 2.60%，2025-05-08 起的利率，利差 0.80%",
        "1166664/35 ≈ 33333.257142 分",
        "四舍五入到分：333.33 元",
        "第 7 条命中：无条件",
        "累计逾期期数：0",
        "状态日期：2026-02-01",
        "现可支付：333.33 元",
    ):
        assert words in text, words


def test_segments_over_a_change_of_rates() -> None:
    known = facts(
        row("001", "2025-12-20", "2026-01-20", "1,446.67", "480,000", instalment=19),
        agreement={"subsidy_start_on": day("2024-06-20")},
        contract={"due_day": 20},
        account={"disbursed_on": day("2024-06-20")},
    )
    e = explain(known, policy(rule(method="spread")), "XY1", "001")
    assert [(s.start, s.end, s.fund_rate_ppm, s.rate_since) for s in e.segments] == [
        (day("2025-12-20"), day("2026-01-01"), 28_500, day("2024-05-18")),
        (day("2026-01-01"), day("2026-01-20"), 26_000, day("2025-05-08")),
    ]
    assert "全期年数（对年对月对日）：30/360" in e.text()
    old = explain(known, policy(rule(mid_period="old")), "XY1", "001")
    assert [(s.start, s.end, s.fund_rate_ppm) for s in old.segments] == [(day("2025-12-20"), day("2026-01-20"), 28_500)]


def test_a_shadow_line_shows_its_state() -> None:
    text = text_of(facts(*INSTALMENTS), policy(rule(method="shadow_interest")), "002")
    for words in (
        "期前影子余额：499081.63 元",
        "月还额（等额本金为每期本金）：2001.70 元",
        "影子利息／影子本金：1081.34 元／920.36 元",
        "剩余 359 期",
    ):
        assert words in text, words


def test_parts_limits_and_other_subsidies() -> None:
    rows = (
        row("001", "2026-01-10", "2026-02-10", "583.33", "200,000", instalment=1, principal_repaid_fen=fen("314.75")),
        row("002", "2026-01-10", "2026-02-10", "875.00", "300,000", instalment=1, principal_repaid_fen=fen("472.14")),
    )
    rules = policy(rule(monthly_limit_fen=fen("200.00"), lifetime_limit_fen=fen("190.00")))
    e = explain(facts(*rows, other_subsidy=[other("002", "700.00")]), rules, "XY1", "002")
    assert (e.rounded_fen, e.earlier_fen, e.line["figure_fen"], e.line["entitled_fen"]) == (37_500, 15_000, 22_500, 4_000)
    text = e.text()
    for words in (
        "流水 001：利息 583.33 元",
        "流水 002（本行）",
        "减去该期前几笔：150.00 元",
        "其他贴息：另一方案 700.00 元　〔TX05 其他贴息，登记号",
        "其他贴息合计：700.00 元，各项贴息合计不超过利息：225.00 元 → 175.00 元",
        "每月限额：200.00 元，2026-02 此前已用 150.00 元：175.00 元 → 50.00 元",
        "累计限额：190.00 元，此前已用 150.00 元：50.00 元 → 40.00 元",
        "LIMIT-LIFE 已达累计限额",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("more", "rules", "words"),
    [
        ({"contract": {"loan_kind": "01"}}, policy(rule(gates=DEFAULT_GATES)), "第 1 条命中：not verified → 暂缓 GATE-UNVERIFIED"),
        ({"change": [change("B1", "convert", "2026-01-01")]}, policy(), "结果：无贴息（WINDOW 该行没有一天在贴息期间内"),
        (
            {"change": [change("B1", "convert", "2026-01-25")]},
            policy(),
            "首个不贴息日的由来：转公积金　〔TX03 贴息变更，文件 GB305_20260210.txt（登记号 3）第 1 行〕",
        ),
        ({"status": [status("2026-01-25", loan_status="converted")]}, policy(), "首个不贴息日的由来：贷款状态为转公积金"),
        ({}, policy(rule(gates=gates(("instalment >= 1", "stop", "G")))), "首个不贴息日的由来：流水 001 应还款日触发终止"),
        ({}, policy(), "首个不贴息日的由来：贴息期数 360 个月"),
        ({}, policy(rule(months_limit=240)), "首个不贴息日的由来：规则最多 240 个月"),
        ({}, policy(rule(rate_cap=cap(("2000-01-01", 34_000)))), "利率上限：3.40%（固定，2000-01-01 起）"),
        ({}, policy(rule(rate_cap=cap(("2000-01-01", "LPR_5Y")))), "利率上限：3.50%（LPR_5Y，2025-05-20 起的值）"),
        ({}, policy(), "代入：1 × 145833 × (31/31 × 0.90%) ÷ 3.50% 分"),
        ({"agreement": {"home_order": "02"}, "opening": [opening(paid_fen=fen("12.34"))]}, policy(), "期初：已贴 12.34 元"),
        ({}, policy(go_live="2027-01-01"), "期初已结清（OPENING"),
        ({}, policy(rule(method="points", points_ppm=8_000)), "固定百分点：0.80%"),
        ({}, policy(rule(method="share")), "固定比例：20.00%"),
        ({}, policy(rule(effective_from=day("2026-02-01"))), "已隔离（RULE-MISSING"),
    ],
)
def test_what_people_read(more: dict[str, Any], rules: CentrePolicy, words: str) -> None:
    assert words in text_of(facts(INSTALMENTS[0], **more), rules)


def test_a_first_period_numbered_1_says_how_it_is_counted() -> None:
    loan: dict[str, Any] = {
        "agreement": {"subsidy_start_on": day("2026-03-11")}, "account": {"disbursed_on": day("2026-03-11")}, "contract": {"due_day": 20},
    }  # fmt: skip
    given_facts = facts(
        row("001", "2026-03-11", "2026-03-20", "437.50", "500,000", instalment=1),
        row("002", "2026-03-20", "2026-04-20", "1,458.33", "500,000", instalment=2, principal_repaid_fen=fen("786.89")),
        **loan,
    )
    rules = policy(rule(method="shadow_interest"))
    assert "银行编为第 1 期，首段不还本、不算一期，按零头天数计算" in explain(given_facts, rules, "XY1", "001").text()
    second = explain(given_facts, rules, "XY1", "002").text()
    assert "银行编为第 2 期，首段不还本、不算一期，按第 1 期计算" in second
    assert "期次与期间：第 1 期，2026-03-20 至 2026-04-20（不含），剩余 360 期" in second


def test_a_released_line_says_so() -> None:
    rows = [row(f"{k:03d}", f"2026-{k:02d}-10", f"2026-{k + 1:02d}-10", "1,458.33", "500,000", instalment=k) for k in range(1, 6)]
    known = facts(*rows, status=[status("2026-02-01", overdue_run=3), status("2026-04-20")])
    text = text_of(known, policy(rule(suspension=suspension("overdue_run >= 3"))), "001")
    assert "暂停已解除：2026-04-20 恢复，暂停期间的贴息按规定补付" in text


def test_no_personal_data() -> None:
    long = "6222020000000012345"
    known = facts({**INSTALMENTS[0], "account_no": long}, account={"account_no": long})
    e = explain(known, policy(), "XY1", "001")
    assert e.account_no == long
    for shown in (e.text(), json.dumps(e.data(), ensure_ascii=False)):
        assert long not in shown
        assert "测试甲" not in shown
    assert e.data()["account_no"] == "622202****2345"


def test_a_line_that_is_not_there() -> None:
    with pytest.raises(KeyError):
        explain(facts(*INSTALMENTS), policy(), "XY1", "777")
    with pytest.raises(KeyError):
        explain(facts(*INSTALMENTS), policy(), "XY9", "001")
    with pytest.raises(KeyError):
        explain(facts(*INSTALMENTS), policy(), "XY1", "001", account_no="ZH9")


def test_what_changed_since_the_line_before() -> None:
    known = facts(*INSTALMENTS, change=[change("B1", "stop", "2026-03-20")])
    first, second, third = explain_agreement(known, policy(rule(gates=DEFAULT_GATES)), "XY1")
    said = {d.label: (d.before, d.after) for d in changed_since(first, second)}
    assert said == {
        "计息本金": ("500000.00 元", "499213.11 元"),
        "利息": ("1458.33 元", "1456.04 元"),
        "计息天数": ("31", "28"),
        "贴息期间内天数": ("31", "28"),
        "测算": ("375.00 元", "374.41 元"),
        "应贴": ("375.00 元", "374.41 元"),
    }
    assert {d.label for d in changed_since(second, third)} >= {"贴息期间内天数", "测算"}
    assert changed_since(first, first) == ()


def test_periods_are_those_of_the_cut_off() -> None:
    """Settlement on the 20th: the cut-off is the 19th, or the day before the rolled day."""
    rules = policy()
    assert booked_between(rules, "2026-04") == (day("2026-03-20"), day("2026-04-19"))
    quarterly = policy()
    object.__setattr__(quarterly.settlement[0], "frequency", "quarterly")
    assert booked_between(quarterly, "2026-04") is None
    assert booked_between(quarterly, "2026-06") == (day("2026-03-20"), day("2026-06-21"))
    assert booked_between(rules, "2031-05") == (day("2031-05-01"), day("2031-05-31"))


def asked(settings: object, rules: CentrePolicy, period: str, agreements: list[str]) -> lookup.Asked:
    """The lines of a period by the calendar, where nothing was posted."""
    first, last = booked_between(rules, period) or (date.max, date.min)
    return lookup.Asked(first - timedelta(days=1), last, {})


def run(monkeypatch: pytest.MonkeyPatch, known: Facts, *arguments: str) -> int:
    monkeypatch.setattr(lookup, "load_for_contract", lambda settings, centre, contract: (known, policy(), {3: "还款.txt"}))
    monkeypatch.setattr(lookup, "asked", asked)
    monkeypatch.setattr(posted, "posted_lines", lambda settings, centre, agreements: {})
    monkeypatch.setattr(command, "settings_of", lambda _: None)
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    parsed = parser.parse_args(["explain", "--centre", "hangzhou", "--contract", "HT1", *arguments])
    return int(parsed.run(parsed))


def test_the_command_prints_the_period(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, facts(*INSTALMENTS), "--period", "2026-03") == 0
    printed = capsys.readouterr().out
    assert "业务流水 002" in printed
    assert "业务流水 001" not in printed
    assert "文件 还款.txt（登记号 3）第 2 行" in printed
    assert "【与上月相比】\n　计息本金：500000.00 元 → 499213.11 元" in printed


def test_the_command_as_data(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, facts(*INSTALMENTS), "--period", "2026-02", "--json") == 0
    one = json.loads(capsys.readouterr().out)[0]
    assert (one["serial_no"], one["exact"], one["changed"], one["file_name"]) == ("001", "1312497/35", None, "还款.txt")


def test_the_command_without_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TerminalError) as stopped:
        run(monkeypatch, facts(*INSTALMENTS), "--period", "2027-01")
    assert stopped.value.message.code == "EXPLAIN-NONE"


@pytest.mark.parametrize("period", ["2026-13", "2026", "10-2026", "0001-01"])
def test_the_command_refuses_nonsense(monkeypatch: pytest.MonkeyPatch, period: str) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, facts(*INSTALMENTS), "--period", period)
