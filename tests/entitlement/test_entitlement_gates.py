"""Gates, suspension and cure over time, openings, claims, clawback, window (handbook sections 5 and 6)."""

from __future__ import annotations

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
    replace,
    row,
    rule,
    status,
    suspension,
)

from subsidy.entitlement.engine import assess
from subsidy.facts.schema import Facts
from subsidy.policy.model import CentrePolicy, RuleVersion

A = ("375.00", "374.41", "373.82")


def outcomes(given: Facts, rules: CentrePolicy) -> list[tuple[str, str, int]]:
    lines = assess(given, rules).lines
    return list(zip(lines["outcome"].to_pylist(), lines["reason"].to_pylist(), lines["payable_fen"].to_pylist(), strict=True))


def one(given: Facts, *gate: tuple[str, str, str], **more: Any) -> tuple[str, str, int]:
    """Outcome of a single row under these gates."""
    found = outcomes(given, policy(rule(gates=gates(*gate), **more)))
    assert len(found) == 1
    return found[0]


FIRST = INSTALMENTS[0]


@pytest.mark.parametrize(
    "condition",
    [
        "verified",
        "not duplicate_claim",
        "not opening_missing",
        "days_late == 3",
        "overdue_run == 2",
        "overdue_total == 4",
        'contribution_status == "02"',
        "contributions_lapsed",
        'loan_status == "overdue"',
        'loan_status in ("overdue", "settled")',
        'loan_status != "normal"',
        "not suspended",
        "not cured",
        "suspension_count == 0",
        "instalment == 1",
        'transaction_kind in ("02", "04")',
        'home_order == "01"',
        'payee_kind == "01"',
        'repayment_method == "01"',
        "term_months == 360",
        "disbursed_amount == 500000.00元",
        "interest == 1458.33元",
        "accrual_from == 2026-01-10",
        "accrual_to == 2026-02-10",
        "due_on == 2026-02-10",
        "paid_on == 2026-02-13",
        "signed_on == 2026-01-05",
        "disbursed_on == 2026-01-10",
        "commercial_rate == 3.50%",
    ],
)
def test_every_fact_can_be_asked(condition: str) -> None:
    given = facts(
        {**FIRST, "paid_on": day("2026-02-13")},
        status=[status("2026-02-01", overdue_run=2, overdue_total=4, contribution_status="02", loan_status="overdue")],
    )
    assert one(given, (condition, "hold", "G"))[:2] == ("hold", "G")
    assert one(given, (f"not ({condition})", "hold", "G"))[:2] == ("pay", "")


def test_first_match_wins() -> None:
    assert one(facts(FIRST), ("instalment == 1", "forfeit", "G1"), ("true", "hold", "G2"))[:2] == ("forfeit", "G1")
    assert one(facts(FIRST), ("instalment == 2", "forfeit", "G1"), ("true", "hold", "G2"))[:2] == ("hold", "G2")


@pytest.mark.parametrize(
    ("outcome", "entitled", "payable"),
    [("pay", "375.00", "375.00"), ("hold", "375.00", "0"), ("forfeit", "0", "0"), ("stop", "375.00", "375.00")],
)
def test_outcomes_and_what_they_pay(outcome: str, entitled: str, payable: str) -> None:
    line = assess(facts(FIRST), policy(rule(gates=gates(("instalment == 1", outcome, "G"))))).lines.to_pylist()[0]
    assert (line["figure_fen"], line["entitled_fen"], line["payable_fen"]) == (fen("375.00"), fen(entitled), fen(payable))


def test_status_is_that_of_the_due_date() -> None:
    """A status after the due date, or of the day after, does not matter; that of the day itself does."""
    asked = ("overdue_run >= 3", "hold", "G")
    for as_of, expected in (("2026-02-10", "hold"), ("2026-02-11", "pay"), ("2025-12-31", "hold")):
        assert one(facts(FIRST, status=[status(as_of, overdue_run=3)]), asked)[0] == expected
    later = [status("2026-02-01", overdue_run=3), status("2026-02-09")]
    assert one(facts(FIRST, status=later), asked)[0] == "pay"


def test_status_before_any_tx02_is_that_of_the_opening() -> None:
    given = facts(FIRST, opening=[opening(overdue_run=3)])
    assert one(given, ("overdue_run >= 3", "hold", "G"))[0] == "hold"
    assert one(facts(FIRST, opening=[opening(overdue_run=3)], status=[status("2026-02-01")]), ("overdue_run >= 3", "hold", "G"))[0] == "pay"


def test_claims_and_missing_openings_hold() -> None:
    assert outcomes(facts(FIRST, claims=("XY1",)), policy(rule(gates=DEFAULT_GATES)))[0][:2] == ("hold", "GATE-DUPLICATE")
    old = policy(rule(gates=DEFAULT_GATES), go_live="2026-02-01")
    assert outcomes(facts(FIRST), old)[0][:2] == ("hold", "GATE-OPENING")
    assert outcomes(facts(FIRST, opening=[opening()]), old)[0] == ("pay", "", fen("375.00"))


def test_lines_that_end_before_go_live_are_settled() -> None:
    found = outcomes(facts(*INSTALMENTS, opening=[opening()]), policy(rule(gates=DEFAULT_GATES), go_live="2026-03-10"))
    assert found == [("opening", "OPENING", 0), ("pay", "", fen(A[1])), ("pay", "", fen(A[2]))]
    lines = assess(facts(*INSTALMENTS), policy(go_live="2026-03-11")).lines
    assert lines["figure_fen"].to_pylist() == [fen(v) for v in A]
    assert lines["entitled_fen"].to_pylist() == [0, 0, fen(A[2])]


def test_stop_pays_its_row_and_ends_the_window_for_all() -> None:
    stop = policy(rule(gates=gates(("instalment == 2", "stop", "G-STOP"))))
    assert outcomes(facts(*INSTALMENTS), stop) == [("pay", "", fen(A[0])), ("stop", "G-STOP", fen(A[1])), ("pay", "WINDOW", 0)]


def test_the_earliest_stop_counts() -> None:
    stop = policy(rule(gates=gates(("instalment >= 1", "stop", "G-STOP"))))
    assert [o[2] for o in outcomes(facts(*INSTALMENTS), stop)] == [fen(A[0]), 0, 0]


SUSPENDED = (("suspended", "hold", "G-SUSPENDED"),)
PERIODS = [row(f"{k:03d}", f"2026-{k:02d}-10", f"2026-{k + 1:02d}-10", "1,458.33", "500,000", instalment=k) for k in range(1, 8)]


def suspended(statuses: list[dict[str, Any]], after_cure: str = "pay", **more: Any) -> list[str]:
    rules = policy(rule(gates=gates(*SUSPENDED), suspension=suspension("overdue_run >= 3", after_cure), **more))
    return [o[0] for o in outcomes(facts(*PERIODS, status=statuses), rules)]


def test_suspension_holds_from_its_beginning_on() -> None:
    assert suspended([status("2026-03-31", overdue_run=3)]) == ["pay", "pay", *["hold"] * 5]


def test_cure_resumes_with_the_next_period_and_releases() -> None:
    """Begins with the row due 2026-04-10; cured 2026-06-15: the periods from 05-10 and 06-10 began before, the one from 07-10 did not."""
    statuses = [status("2026-03-31", overdue_run=3), status("2026-06-15")]
    assert suspended(statuses) == ["pay"] * 7
    assert suspended(statuses, "forfeit") == ["pay", "pay", "forfeit", "forfeit", "forfeit", "forfeit", "pay"]


def test_a_status_that_does_not_cure_changes_nothing() -> None:
    assert suspended([status("2026-03-31", overdue_run=3), status("2026-05-31", overdue_run=4)]) == ["pay", "pay", *["hold"] * 5]


def test_back_pay_has_a_limit() -> None:
    """Cured on 2026-06-15 with two months of back pay: the row that ended 2026-04-10 is too old, that of 05-10 is not."""
    statuses = [status("2026-03-31", overdue_run=3), status("2026-06-15")]
    assert suspended(statuses, back_pay_months=2) == ["pay", "pay", "forfeit", "pay", "pay", "pay", "pay"]
    lines = assess(
        facts(*PERIODS, status=statuses), policy(rule(suspension=suspension("overdue_run >= 3"), back_pay_months=2))
    ).lines.to_pylist()
    assert lines[2]["reason"] == "BACK-PAY"


def test_a_second_suspension_is_counted() -> None:
    statuses = [
        status("2026-02-28", overdue_run=3),
        status("2026-04-15"),
        status("2026-06-30", overdue_run=3),
    ]
    rules = policy(rule(gates=gates(("suspension_count >= 2", "stop", "G-SECOND"), *SUSPENDED), suspension=suspension("overdue_run >= 3")))
    found = outcomes(facts(*PERIODS, status=statuses), rules)
    assert [o[0] for o in found] == ["pay", "pay", "pay", "pay", "pay", "stop", "stop"]
    assert [o[2] for o in found[5:]] == [fen("375.00"), 0]


def test_overlapping_suspensions_are_one() -> None:
    """The centre suspends by TX03 what the overdue instalments have suspended already: one suspension, until both have ended."""
    statuses = [status("2026-03-31", overdue_run=3), status("2026-06-15")]
    changes = [change("B1", "suspend", "2026-04-20"), change("B2", "resume", "2026-07-01")]
    rules = policy(rule(gates=gates(("suspension_count >= 2", "stop", "G-SECOND"), *SUSPENDED), suspension=suspension("overdue_run >= 3")))
    assert [o[0] for o in outcomes(facts(*PERIODS, status=statuses, change=changes), rules)] == ["pay"] * 7
    assert [o[0] for o in outcomes(facts(*PERIODS, status=statuses, change=changes[:1]), rules)] == ["pay", "pay", *["hold"] * 5]
    apart = [change("B1", "suspend", "2026-06-15"), change("B2", "resume", "2026-07-01")]
    assert [o[0] for o in outcomes(facts(*PERIODS, status=statuses, change=apart), rules)][5:] == ["stop", "stop"]


def test_suspend_and_resume_by_change() -> None:
    """A TX03 suspension ends with a TX03 resume only; without `suspension` in the rule the gates decide, and see the cure."""
    by_change = [change("B1", "suspend", "2026-04-10"), change("B2", "resume", "2026-06-10")]
    held = policy(rule(gates=gates(("suspended and not cured", "hold", "G"), ("suspended", "forfeit", "G2"))))
    assert [o[0] for o in outcomes(facts(*PERIODS, change=by_change), held)] == [
        "pay",
        "pay",
        "forfeit",
        "forfeit",
        "forfeit",
        "pay",
        "pay",
    ]
    assert [o[0] for o in outcomes(facts(*PERIODS, change=by_change[:1], status=[status("2026-05-01")]), held)] == [
        "pay",
        "pay",
        *["hold"] * 5,
    ]


def test_a_cured_row_of_an_unverified_contract_is_not_paid() -> None:
    statuses = [status("2026-03-31", overdue_run=3), status("2026-06-15")]
    rules = policy(rule(gates=DEFAULT_GATES, suspension=suspension("overdue_run >= 3")))
    found = outcomes(facts(*PERIODS, status=statuses, contract={"loan_kind": "01"}), rules)
    assert {o[:2] for o in found} == {("hold", "GATE-UNVERIFIED")}


CURED = [status("2026-03-31", overdue_run=3), status("2026-06-15")]


LATE = ("days_late > 15", "forfeit", "LATE")


@pytest.mark.parametrize("table", [(LATE, *SUSPENDED), (*SUSPENDED, LATE)])
def test_a_cure_clears_the_suspension_and_no_other_gate(table: tuple[tuple[str, str, str], ...]) -> None:
    """The row due 2026-04-10 was paid 20 days late: never paid, wherever its gate stands; the other rows of the period are released."""
    rules = policy(rule(gates=gates(*table), suspension=suspension("overdue_run >= 3")))
    late = [{**r, "paid_on": day("2026-04-30")} if r["serial_no"] == "003" else r for r in PERIODS]
    found = outcomes(facts(*late, status=CURED), rules)
    assert [o[:2] for o in found] == [("pay", ""), ("pay", ""), ("forfeit", "LATE"), *[("pay", "")] * 4]
    before = outcomes(facts(*late, status=CURED[:1]), rules)
    assert [o[0] for o in before] == ["pay", "pay", "forfeit" if table[0][1] == "forfeit" else "hold", *["hold"] * 4]


@pytest.mark.parametrize(("after_cure", "expected"), [("pay", ["hold", "stop"]), ("forfeit", ["forfeit", "forfeit"])])
def test_a_cure_undoes_no_stop(after_cure: str, expected: list[str]) -> None:
    """The stop of a suspended row ends the agreement on its due date even where the row itself is forfeited."""
    stopping = gates(("verified and due_on == 2026-04-10", "hold", "G"), ("overdue_total >= 6", "stop", "SIX"), *SUSPENDED)
    rules = policy(rule(gates=stopping, suspension=suspension("overdue_run >= 3", after_cure)))
    six = status("2026-05-05", overdue_run=4, overdue_total=6)
    statuses = [status("2026-03-31", overdue_run=3), six, status("2026-06-15", overdue_total=6)]
    found = outcomes(facts(*PERIODS, status=statuses), rules)
    assert [o[0] for o in found[2:4]] == expected
    assert [o[2] for o in found] == [fen("375.00"), fen("375.00"), 0, fen("375.00") * (after_cure == "pay"), 0, 0, 0]


def test_cured_rows_can_be_told_apart_by_the_table() -> None:
    rules = policy(rule(gates=gates(("cured and instalment == 4", "forfeit", "C"), *SUSPENDED), suspension=suspension("overdue_run >= 3")))
    assert [o[0] for o in outcomes(facts(*PERIODS, status=CURED), rules)] == ["pay", "pay", "pay", "forfeit", "pay", "pay", "pay"]


def test_clawback_zeroes_a_range_with_both_ends() -> None:
    claw = change("B1", "clawback", "2026-05-01", range_from=day("2026-02-10"), range_to=day("2026-03-10"))
    found = assess(facts(*INSTALMENTS, change=[claw]), policy()).lines.to_pylist()
    assert [(x["outcome"], x["figure_fen"], x["entitled_fen"], x["payable_fen"]) for x in found] == [
        ("clawback", fen(A[0]), 0, 0),
        ("clawback", fen(A[1]), 0, 0),
        ("pay", fen(A[2]), fen(A[2]), fen(A[2])),
    ]


def test_clawback_of_settled_lines_is_a_finding() -> None:
    claw = change("B1", "clawback", "2026-05-01", range_from=day("2026-02-10"), range_to=day("2026-03-10"))
    found = assess(facts(*INSTALMENTS, change=[claw], opening=[opening()]), policy(go_live="2026-03-01"))
    assert [x["outcome"] for x in found.lines.to_pylist()] == ["opening", "clawback", "pay"]
    assert [(f.code, f.serial_no) for f in found.findings] == [("OPENING-CLAWBACK", "001")]


def test_a_changed_payee_touches_no_line() -> None:
    moved = change("B1", "payee", "2026-02-01", new_payee_account="6222", new_payee_name="测试乙", new_payee_bank_no="105331000001")
    assert assess(facts(*INSTALMENTS, change=[moved]), policy()).lines.equals(assess(facts(*INSTALMENTS), policy()).lines)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"agreement": {"subsidy_start_on": day("2026-01-20")}}, "254.03"),  # 21 of 31 days
        ({"agreement": {"subsidy_months": 0}}, "0"),
        ({"change": [change("B1", "stop", "2026-01-25")]}, "181.45"),  # 15 days
        ({"change": [change("B1", "convert", "2026-01-25"), change("B2", "stop", "2026-01-20")]}, "120.97"),
        ({"status": [status("2026-01-25", loan_status="converted")]}, "181.45"),
        ({"status": [status("2026-01-25", loan_status="converted")], "change": [change("B1", "convert", "2026-02-01")]}, "266.13"),
        ({"status": [status("2026-01-25", loan_status="settled")]}, "375.00"),
    ],
)
def test_days_outside_the_window_do_not_count(more: dict[str, Any], expected: str) -> None:
    assert outcomes(facts(FIRST, **more), policy())[0][2] == fen(expected)


@pytest.mark.parametrize(("months", "expected"), [(1, [A[0], "0", "0"]), (2, [A[0], A[1], "0"]), (None, list(A))])
def test_months_limit(months: int | None, expected: list[str]) -> None:
    assert [o[2] for o in outcomes(facts(*INSTALMENTS), policy(rule(months_limit=months)))] == [fen(v) for v in expected]


def test_months_run_to_the_last_day_of_a_short_month() -> None:
    """From 2026-01-31, one month ends on 2026-02-28."""
    given = facts(
        row("001", "2026-01-31", "2026-03-01", "1,458.33", "500,000"),
        agreement={"subsidy_start_on": day("2026-01-31"), "subsidy_months": 1},
        account={"disbursed_on": day("2026-01-31")},
    )
    assert assess(given, policy()).lines["days_inside"].to_pylist() == [28]


def test_each_row_has_the_version_of_its_first_day() -> None:
    two: list[RuleVersion] = [
        rule(version_id="v1", effective_to=day("2026-02-10")),
        rule(version_id="v2", effective_from=day("2026-02-10"), method="share", share_ppm=100_000),
    ]
    lines = assess(facts(*INSTALMENTS), policy(*two)).lines
    assert lines["rule_version"].to_pylist() == ["v1", "v2", "v2"]
    assert lines["method"].to_pylist() == ["ratio", "share", "share"]
    assert lines["figure_fen"].to_pylist() == [fen("375.00"), fen("145.60"), fen("145.37")]


def test_other_subsidies_never_exceed_the_interest_together() -> None:
    given = facts(*INSTALMENTS, other_subsidy=[other("001", "1,200.00"), other("002", "600.00"), other("002", "600.00", "第三方案")])
    lines = assess(given, policy()).lines
    assert lines["entitled_fen"].to_pylist() == [fen("258.33"), fen("256.04"), fen(A[2])]
    assert lines["reason"].to_pylist() == ["LIMIT-OTHER", "LIMIT-OTHER", ""]
    assert lines["figure_fen"].to_pylist() == [fen(v) for v in A]


def test_caps_change_with_the_policy_date() -> None:
    later = cap(("2000-01-01", 33_000), ("2026-02-10", 30_000))
    assert [o[2] for o in outcomes(facts(*INSTALMENTS), policy(rule(rate_cap=later)))] == [fen("291.67"), fen("166.40"), fen("166.14")]


def test_versions_can_differ_in_everything() -> None:
    base = rule(version_id="v1", effective_to=day("2026-03-10"), suspension=suspension("overdue_run >= 3"), gates=gates(*SUSPENDED))
    then = replace(rule(gates=gates()), version_id="v2", effective_from=day("2026-03-10"))
    found = outcomes(facts(*INSTALMENTS, status=[status("2026-01-31", overdue_run=3)]), policy(base, then))
    assert [o[0] for o in found] == ["hold", "hold", "pay"]
