"""What the rows tell of the principal that remains, and when they do not tell it (docs/interpretations.md, points 1, 11 and 26)."""

from __future__ import annotations

from typing import Any

import pytest
from entitlement_facts import INSTALMENTS, change, day, facts, fen, opening, policy, row, rule, status

from subsidy.entitlement.engine import assess
from subsidy.facts.schema import Facts
from subsidy.policy.model import CentrePolicy

FIRST, SECOND, THIRD = INSTALMENTS
SHADOW = policy(rule(method="shadow_interest"))
DIFFERENCE = policy(rule(method="payment_difference"))

#: Instalment 1 in two rows: the bank's own figures of the worked example.
PART_A = {
    **FIRST, "serial_no": "001a", "base_principal_fen": fen("200,000"), "interest_fen": fen("583.33"),
    "principal_repaid_fen": fen("314.75"),
}  # fmt: skip
PART_B = {
    **FIRST, "serial_no": "001b", "kind": "04", "base_principal_fen": fen("300,000"), "interest_fen": fen("875.00"),
    "principal_repaid_fen": fen("472.14"), "paid_on": day("2026-03-20"), "booked_on": day("2026-03-20"),
}  # fmt: skip
PREPAID = row("002p", "2026-02-10", "2026-02-26", "155.56", "100,000", kind="03", principal_repaid_fen=fen("100,000"))


def lines(given: Facts, rules: CentrePolicy) -> list[tuple[str, str, int]]:
    found = assess(given, rules).lines.to_pylist()
    return [(x["serial_no"], x["reason"] or x["outcome"], x["payable_fen"]) for x in found]


@pytest.mark.parametrize(("rules", "amounts"), [(SHADOW, (15000, 22500, 37470)), (DIFFERENCE, (9740, 14612, 24352))])
def test_a_part_still_unpaid_leaves_the_balance_unknown_until_it_comes(rules: CentrePolicy, amounts: tuple[int, int, int]) -> None:
    """Of instalment 1, 300,000.00 of the principal is unpaid when instalment 2 is paid: B of 2 is not known, and is exact later."""
    assert lines(facts(PART_A, SECOND), rules) == [("001a", "pay", amounts[0]), ("002", "BALANCE-UNKNOWN", 0)]
    found = lines(facts(PART_A, PART_B, SECOND), rules)
    assert found == [("001a", "pay", amounts[0]), ("001b", "pay", amounts[1]), ("002", "pay", amounts[2])]


def test_the_banks_balance_decides_beside_an_unpaid_part() -> None:
    second = {**SECOND, "balance_after_fen": fen("498,423.93")}
    assert lines(facts(PART_A, second), SHADOW) == [("001a", "pay", 15000), ("002", "pay", 37470)]


def test_a_prepayment_beside_an_unpaid_part() -> None:
    """R is not known: the on_balance share is not, nor is the shadow after it."""
    capped = policy(rule(principal_cap="on_balance"))
    some = {"agreement": {"subsidised_principal_fen": fen("450,000")}}
    assert lines(facts(PART_A, PREPAID, **some), capped)[1] == ("002p", "BALANCE-UNKNOWN", 0)
    assert lines(facts(PART_A, PART_B, PREPAID, **some), capped)[2] == ("002p", "pay", 2032)
    second = {**SECOND, "base_principal_fen": fen("399,213.11"), "interest_fen": fen("1,164.37"), "balance_after_fen": fen("398,582.11")}
    assert lines(facts(PART_A, PREPAID, second), SHADOW)[1:] == [("002p", "pay", 4000), ("002", "BALANCE-UNKNOWN", 0)]


def test_a_row_without_principal_is_no_part_paid() -> None:
    """Its amounts are refused, so what it pays of the instalment is not known."""
    wrong = {**FIRST, "base_principal_fen": 0}
    assert lines(facts(wrong, SECOND), SHADOW) == [("001", "NO-PRINCIPAL", 0), ("002", "pay", 37470)]
    wrong = {**FIRST, "base_principal_fen": 0, "principal_repaid_fen": fen("500.00")}
    assert lines(facts(wrong, SECOND), SHADOW) == [("001", "NO-PRINCIPAL", 0), ("002", "BALANCE-UNKNOWN", 0)]


def test_a_prepayment_row_without_principal_changes_nothing() -> None:
    """Neither the shadow (no rebuild: 60 instalments of an odd amount would show it) nor what a missing instalment leaves unknown."""
    nothing = row("002p", "2026-02-10", "2026-02-19", "1.00", "1,000", kind="03")
    loan: dict[str, Any] = {
        "agreement": {"subsidised_principal_fen": 33_333_333},
        "contract": {"term_months": 60},
        "account": {"term_months": 60, "disbursed_fen": 33_333_333},
    }
    rows = [
        row(f"{k + 3:03d}", f"2026-{k:02d}-10", f"2026-{k + 1:02d}-10", "900.00", "300,000", instalment=k, balance_after_fen=fen("300,000"))
        for k in range(1, 11)
    ]
    state = assess(facts(*rows, **loan), SHADOW).shadow.to_pylist()
    late = {**nothing, "accrual_from": day("2026-08-10"), "accrual_to": day("2026-08-19")}
    for one in (nothing, late):
        assert assess(facts(*rows, one, **loan), SHADOW).shadow.to_pylist() == state
    gap = [r for r in rows if r["instalment"] != 2]
    assert [x[1] for x in lines(facts(*gap, late, **loan), SHADOW) if x[0] != "002p"] == ["pay"] * 9
    capped = policy(rule(principal_cap="on_balance"))
    assert lines(facts(SECOND, nothing), capped)[0] == ("002p", "pay", 26)


OPENED: dict[str, Any] = {"opening": [opening(shadow_balance_fen=fen("499,000.00"), shadow_instalment_fen=fen("2,000.00"))]}
FROM_MARCH = policy(rule(method="shadow_interest", principal_cap="pro_rata"), go_live="2026-03-01")
PREPAID_LATER = row("002p", "2026-03-10", "2026-03-26", "155.56", "100,000", kind="03", principal_repaid_fen=fen("100,000"))
AFTER = {**THIRD, "base_principal_fen": fen("398,423.93"), "interest_fen": fen("1,162.07"), "principal_repaid_fen": fen("632.69")}


def balance_before_third(*statuses: dict[str, Any]) -> int:
    found = assess(facts(SECOND, PREPAID_LATER, AFTER, status=list(statuses), **OPENED), FROM_MARCH).shadow.to_pylist()
    return int(found[-1]["balance_before_fen"])


def test_a_status_of_the_day_of_the_first_row_is_no_start() -> None:
    """It may be the balance before the row or after it: the first instalment tells, 499,213.11."""
    exact = balance_before_third(status("2026-03-09", balance_fen=fen("499,213.11")))
    assert balance_before_third() == exact
    assert balance_before_third(status("2026-03-10", balance_fen=fen("499,213.11"))) == exact
    assert balance_before_third(status("2026-03-10", balance_fen=fen("498,423.93"))) == exact


def test_a_balance_with_overdue_principal_is_no_start() -> None:
    exact = balance_before_third()
    assert balance_before_third(status("2026-02-28", balance_fen=fen("500,000.00"), overdue_run=1)) == exact


# --- the first period ------------------------------------------------------------------------------------------------------

LOAN: dict[str, Any] = {
    "agreement": {"subsidy_start_on": day("2026-03-11")}, "account": {"disbursed_on": day("2026-03-11")}, "contract": {"due_day": 20},
}  # fmt: skip
ODD = row("000", "2026-03-11", "2026-03-20", "437.50", "500,000")
ONE = row("001", "2026-03-20", "2026-04-20", "1,458.33", "500,000", principal_repaid_fen=fen("786.89"))
TWO = row("002", "2026-04-20", "2026-05-20", "1,456.04", "499,213.11", principal_repaid_fen=fen("789.18"))


def numbered(*numbers: int) -> list[dict[str, Any]]:
    return [{**r, "instalment": k} for r, k in zip((ODD, ONE, TWO), numbers, strict=True)]


@pytest.mark.parametrize(("rules", "amounts"), [(SHADOW, [11250, 37500, 37470]), (DIFFERENCE, [11250, 24352, 24352])])
@pytest.mark.parametrize("numbers", [(0, 1, 2), (1, 1, 2), (1, 2, 3)])
def test_a_first_period_without_principal_is_no_instalment(numbers: tuple[int, ...], rules: CentrePolicy, amounts: list[int]) -> None:
    rows = numbered(*numbers)
    found = assess(facts(*rows, **LOAN), rules)
    assert found.lines["payable_fen"].to_pylist() == amounts
    assert found.lines["instalment"].to_pylist() == list(numbers)
    assert found.shadow["instalment"].to_pylist() == [1, 2]
    assert found.shadow["period_from"].to_pylist() == [day("2026-03-20"), day("2026-04-20")]


def test_the_term_counts_the_instalments() -> None:
    """A bank that counts the odd days as 1 reaches term + 1 with the last instalment."""
    short = {**LOAN, "contract": {"due_day": 20, "term_months": 2}, "account": {**LOAN["account"], "term_months": 2}}
    assert lines(facts(*numbered(1, 2, 3), **short), policy())[2][1] == "pay"
    assert lines(facts(*numbered(0, 2, 3), **short), policy())[2][1] == "ABOVE-TERM"


def test_a_missing_first_instalment_is_told_by_the_due_dates() -> None:
    """After the odd days comes a row numbered 2: two months later it is instalment 2, and instalment 1 is missing."""
    rows = [{**ODD, "instalment": 1}, {**TWO, "instalment": 2}]
    assert lines(facts(*rows, **LOAN), SHADOW) == [("000", "pay", 11250), ("002", "BALANCE-UNKNOWN", 0)]
    sent = {**TWO, "instalment": 2, "balance_after_fen": fen("498,423.93")}
    assert lines(facts(rows[0], sent, **LOAN), SHADOW)[1] == ("002", "pay", 37470)


@pytest.mark.parametrize(
    "first",
    [
        {"principal_repaid_fen": 1},
        {"base_principal_fen": fen("200,000"), "interest_fen": fen("175.00")},  # a part: whether the rest repays principal is open
    ],
)
def test_what_is_an_instalment_stays_one(first: dict[str, Any]) -> None:
    row_one = {**ODD, "instalment": 1, "balance_after_fen": fen("500,000.00"), **first}
    assert assess(facts(row_one, **LOAN), SHADOW).lines["shadow_balance_fen"].to_pylist()[0] > 0


def test_two_rows_of_the_first_period_are_parts() -> None:
    rest = {**ODD, "serial_no": "000b", "instalment": 1, "interest_fen": 0, "base_principal_fen": 0, "principal_repaid_fen": fen("786.89")}
    found = assess(facts({**ODD, "instalment": 1}, rest, **LOAN), SHADOW).lines
    assert min(found["shadow_balance_fen"].to_pylist()) == fen("500,000.00")


# --- the end of the shadow -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("term", [1, 2])
def test_a_term_cut_below_the_current_instalment_leaves_no_shadow(term: int) -> None:
    """The term is lengthened again a month later: instalment 2 fell due above the term, and no shadow of the loan is left for 3."""
    cut = [change("B1", "term", "2026-02-20", new_term_months=term), change("B2", "term", "2026-03-15", new_term_months=360)]
    third = [("003", "SHADOW-UNKNOWN", 0)]
    if term == 1:
        assert lines(facts(*INSTALMENTS, change=cut), SHADOW) == [("001", "pay", 37500), ("002", "ABOVE-TERM", 0), *third]
    else:  # instalment 2 was the last: it took all of the shadow
        assert lines(facts(*INSTALMENTS, change=cut), SHADOW)[2:] == third


def test_an_opening_instalment_that_ends_the_shadow_early() -> None:
    last = {"opening": [opening(shadow_balance_fen=fen("1,000.00"), shadow_instalment_fen=fen("2,000.00"))]}
    found = lines(facts(SECOND, THIRD, **last), policy(rule(method="shadow_interest"), go_live="2026-03-01"))
    assert [x[1] for x in found] == ["pay", "SHADOW-UNKNOWN"]


def test_a_loan_of_which_nothing_is_subsidised_needs_no_shadow() -> None:
    none = {"agreement": {"subsidised_principal_fen": 0}}
    assert lines(facts(*INSTALMENTS, **none), SHADOW) == [(r["serial_no"], "NO-SPREAD", 0) for r in INSTALMENTS]


def test_a_change_to_another_method_leaves_no_shadow() -> None:
    other = [change("B1", "term", "2026-02-20", new_repayment_method="03")]
    assert [x[1] for x in lines(facts(*INSTALMENTS, change=other), SHADOW)] == ["pay", "SHADOW-UNKNOWN", "SHADOW-UNKNOWN"]
