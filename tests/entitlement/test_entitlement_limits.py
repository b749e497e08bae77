"""Limits over time: closed form and row after row must agree with one plain loop (handbook section 4)."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from entitlement_facts import INSTALMENTS, change, day, facts, fen, gates, opening, other, policy, row, rule
from hypothesis import given, settings
from hypothesis import strategies as st

from subsidy.entitlement.engine import assess
from subsidy.facts.schema import Facts
from subsidy.policy.model import CentrePolicy

FIRST = INSTALMENTS[0]


def entitled(given_facts: Facts, rules: CentrePolicy) -> list[int]:
    return list(assess(given_facts, rules).lines["entitled_fen"].to_pylist())


def test_monthly_limit_is_of_the_month_of_the_accrual_end() -> None:
    rows = [
        row("001", "2026-01-10", "2026-02-01", "1,000.00", "500,000", kind="03", principal_repaid_fen=1),
        row("002", "2026-02-01", "2026-02-10", "400.00", "500,000", instalment=1),
        row("003", "2026-02-10", "2026-03-10", "1,456.04", "499,213.11", instalment=2),
    ]
    lines = assess(facts(*rows), policy(rule(monthly_limit_fen=fen("300.00")))).lines
    assert lines["figure_fen"].to_pylist() == [fen("257.14"), fen("102.86"), fen("374.41")]
    assert lines["entitled_fen"].to_pylist() == [fen("257.14"), fen("42.86"), fen("300.00")]
    assert lines["reason"].to_pylist() == ["", "LIMIT-MONTH", "LIMIT-MONTH"]


def test_serial_numbers_are_ordered_as_text() -> None:
    both = {"accrual_from": day("2026-01-10"), "kind": "03", "principal_repaid_fen": 1}
    rows = [row("9", "2026-01-10", "2026-02-10", "700.00", "1", **both), row("10", "2026-01-10", "2026-02-10", "1,000.00", "1", **both)]
    lines = assess(facts(*rows), policy(rule(monthly_limit_fen=fen("300.00")))).lines
    assert lines["serial_no"].to_pylist() == ["10", "9"]
    assert lines["entitled_fen"].to_pylist() == [fen("257.14"), fen("42.86")]


def test_lifetime_limit_starts_from_what_the_old_system_paid() -> None:
    rules = policy(rule(lifetime_limit_fen=fen("1,000.00")), go_live="2026-03-01")
    assert entitled(facts(*INSTALMENTS, opening=[opening(paid_fen=fen("500.00"))]), rules) == [0, fen("374.41"), fen("125.59")]
    assert entitled(facts(*INSTALMENTS, opening=[opening(paid_fen=fen("2,000.00"))]), rules) == [0, 0, 0]


def test_each_loan_has_its_own_limits() -> None:
    two = {"agreement_no": "XY2", "contract_no": "HT2"}
    more = [{**r, "account_no": "ZH2"} for r in INSTALMENTS]
    given_facts = facts(
        *INSTALMENTS,
        *more,
        agreement=[{}, two],
        contract=[{}, {"contract_no": "HT2"}],
        account=[{}, {"account_no": "ZH2", "contract_no": "HT2"}],
        opening=[opening(agreement_no="XY2", account_no="ZH2", paid_fen=fen("600.00"))],
    )
    assert entitled(given_facts, policy(rule(lifetime_limit_fen=fen("700.00")))) == [
        *(fen(v) for v in ("375.00", "325.00", "0")),
        *(fen(v) for v in ("100.00", "0", "0")),
    ]


def test_held_lines_use_limits_and_forfeited_ones_do_not() -> None:
    limited = {"lifetime_limit_fen": fen("700.00")}
    held = policy(rule(gates=gates(("instalment == 1", "hold", "G")), **limited))
    assert entitled(facts(*INSTALMENTS), held) == [fen("375.00"), fen("325.00"), 0]
    forfeited = policy(rule(gates=gates(("instalment == 1", "forfeit", "G")), **limited))
    assert entitled(facts(*INSTALMENTS), forfeited) == [0, fen("374.41"), fen("325.59")]
    claw = change("B1", "clawback", "2026-05-01", range_from=day("2026-02-10"), range_to=day("2026-02-10"))
    assert entitled(facts(*INSTALMENTS, change=[claw]), policy(rule(**limited))) == [0, fen("374.41"), fen("325.59")]


def plain(rows: list[dict[str, Any]], figures: list[int], rules: CentrePolicy, paid: int) -> list[int]:
    """One loop over the rows of one loan in order."""
    months: dict[tuple[int, int], int] = {}
    life, out = paid, []
    for one, figure in zip(rows, figures, strict=True):
        now = rules.rules_on(one["accrual_from"])
        amount = min(figure, one["interest_fen"])
        month = (one["accrual_to"].year, one["accrual_to"].month)
        if now.monthly_limit_fen is not None:
            amount = min(amount, max(now.monthly_limit_fen - months.get(month, 0), 0))
        if now.lifetime_limit_fen is not None:
            amount = min(amount, max(now.lifetime_limit_fen - life, 0))
        months[month] = months.get(month, 0) + amount
        life += amount
        out.append(amount)
    return out


LIMITS = st.one_of(st.none(), st.integers(0, 120_000))


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 200_000)), min_size=1, max_size=14),
    limits=st.lists(st.tuples(LIMITS, LIMITS), min_size=1, max_size=3),
    paid=st.integers(0, 150_000),
)
def test_limits_are_used_up_in_order(steps: list[tuple[int, int]], limits: list[tuple[int | None, int | None]], paid: int) -> None:
    rows, on = [], date(2026, 1, 10)
    for number, (days, interest) in enumerate(steps):
        to = on + timedelta(days)
        rows.append(row(f"{number:03d}", str(on), str(to), "0", "500,000", interest_fen=interest))
        on = to
    starts = [date(2000, 1, 1), date(2026, 2, 5), date(2026, 4, 1)][: len(limits)]
    rules = policy(
        *(
            rule(version_id=f"v{n}", effective_from=start, effective_to=end, monthly_limit_fen=month, lifetime_limit_fen=life)
            for n, (start, end, (month, life)) in enumerate(zip(starts, [*starts[1:], None], limits, strict=True))
        )
    )
    lines = assess(facts(*rows, opening=[opening(paid_fen=paid)]), rules).lines
    assert lines["entitled_fen"].to_pylist() == plain(rows, lines["figure_fen"].to_pylist(), rules, paid)


@pytest.mark.parametrize(("method", "bears"), [("spread", ("200,000", "300,000")), ("payment_difference", ("499,999", "1"))])
def test_a_part_without_interest_of_its_own_is_paid_on_the_sum(method: str, bears: tuple[str, str]) -> None:
    """A bank takes the interest first: the row that repays the principal carries no interest, and the instalment loses nothing by it."""
    part = {"instalment": 1, "principal_repaid_fen": 0}
    rows = [
        {**FIRST, **part, "serial_no": "1", "base_principal_fen": fen(bears[0]), "interest_fen": fen("1,458.33")},
        {**FIRST, "serial_no": "2", "base_principal_fen": fen(bears[1]), "interest_fen": 0},
    ]
    rules = policy(rule(method=method))
    whole = assess(facts(FIRST), rules).lines["payable_fen"].to_pylist()
    lines = assess(facts(*rows), rules).lines
    assert lines["payable_fen"].to_pylist() == lines["figure_fen"].to_pylist()
    assert [sum(lines["payable_fen"].to_pylist())] == whole
    assert lines["payable_fen"][1].as_py() > 0
    assert lines["reason"][1].as_py() == ""


@pytest.mark.parametrize(
    ("others", "payable", "reasons"),
    [
        # What the rows so far bear less what others pay of it, less what the earlier part got.
        ([other("1", "1,458.33")], ["0", "0"], ["LIMIT-OTHER", "NO-INTEREST"]),
        ([other("1", "1,258.33")], ["150.00", "50.00"], ["", "LIMIT-OTHER"]),
        # A row for which another subsidy pays gets no more than its own interest leaves.
        ([other("2", "0.01")], ["150.00", "0"], ["", "NO-INTEREST"]),
        ([], ["150.00", "225.00"], ["", ""]),
    ],
)
def test_other_subsidies_of_parts(others: list[dict[str, Any]], payable: list[str], reasons: list[str]) -> None:
    part = {"instalment": 1, "principal_repaid_fen": 0}
    rows = [
        {**FIRST, **part, "serial_no": "1", "base_principal_fen": fen("200,000"), "interest_fen": fen("1,458.33")},
        {**FIRST, "serial_no": "2", "base_principal_fen": fen("300,000"), "interest_fen": 0},
    ]
    lines = assess(facts(*rows, other_subsidy=others), policy(rule(method="spread"))).lines
    assert lines["figure_fen"].to_pylist() == [fen("150.00"), fen("225.00")]
    assert lines["payable_fen"].to_pylist() == [fen(v) for v in payable]
    assert lines["reason"].to_pylist() == reasons


def test_what_another_subsidy_takes_from_one_part_is_not_taken_from_the_next() -> None:
    part = {"instalment": 1, "principal_repaid_fen": 0}
    rows = [
        {**FIRST, **part, "serial_no": "1", "base_principal_fen": fen("480,000"), "interest_fen": fen("1,400.00")},
        {**FIRST, **part, "serial_no": "2", "base_principal_fen": fen("15,000"), "interest_fen": fen("43.75")},
        {**FIRST, "serial_no": "3", "base_principal_fen": fen("5,000"), "interest_fen": fen("14.58")},
    ]
    lines = assess(facts(*rows, other_subsidy=[other("1", "1,250.00"), other("2", "40.00")]), policy()).lines
    assert lines["figure_fen"].to_pylist() == [fen("360.00"), fen("11.25"), fen("3.75")]
    assert lines["payable_fen"].to_pylist() == [fen("150.00"), fen("3.75"), fen("3.75")]
    assert lines["reason"].to_pylist() == ["LIMIT-OTHER", "LIMIT-OTHER", ""]


def test_a_forfeited_part_takes_nothing_of_what_others_leave() -> None:
    part = {"instalment": 1, "principal_repaid_fen": 0}
    rows = [
        {**FIRST, **part, "serial_no": "1", "base_principal_fen": fen("400,000"), "interest_fen": fen("1,458.33")},
        {**FIRST, "serial_no": "2", "base_principal_fen": fen("100,000"), "interest_fen": 0},
    ]
    rows[0]["paid_on"] = day("2026-04-01")
    late = rule(method="spread", gates=gates(("days_late > 15", "forfeit", "LATE")))
    lines = assess(facts(*rows, other_subsidy=[other("1", "1,308.33")]), policy(late)).lines
    assert lines["figure_fen"].to_pylist() == [fen("300.00"), fen("75.00")]
    assert lines["payable_fen"].to_pylist() == [0, fen("75.00")]
