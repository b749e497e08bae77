"""合同核定: what must hold for a verified contract (`Verification`), as a table and as a gate."""

from __future__ import annotations

from typing import Any

import pytest
from entitlement_facts import DEFAULT_GATES, INSTALMENTS, change, day, facts, fen, policy, replace, rule

from subsidy.entitlement.engine import assess
from subsidy.entitlement.verification import REASONS, verify_contracts
from subsidy.facts.schema import Facts
from subsidy.policy.model import CentrePolicy


def verdict(given: Facts, rules: CentrePolicy | None = None) -> tuple[bool, list[str]]:
    table = verify_contracts(given, rules or policy())
    assert table["agreement_no"].to_pylist() == ["XY1"]
    return table["verified"].to_pylist()[0], table["reasons"].to_pylist()[0]


def limited(**given: Any) -> CentrePolicy:
    return policy(rule(verification=replace(rule().verification, **given)))


CASES: list[tuple[str, dict[str, Any], CentrePolicy | None]] = [
    ("LOAN-KIND", {"contract": {"loan_kind": "01"}}, None),
    ("LOAN-KIND", {"contract": {"loan_kind": None}}, None),
    ("REPAYMENT-METHOD", {"contract": {"repayment_method": "03"}}, None),
    ("PRINCIPAL-ABOVE-CONTRACT", {"agreement": {"subsidised_principal_fen": fen("500,000.01")}}, None),
    ("DISBURSED-ABOVE-CONTRACT", {"account": {"disbursed_fen": fen("500,000.01")}}, None),
    ("TERM-DIFFERS", {"account": {"term_months": 359}}, None),
    ("CENTRE-DIFFERS", {"agreement": {"centre_code": "330300000000000"}}, None),
    ("PAYEE-KIND", {"agreement": {"payee_kind": "02"}}, None),
    ("PAYEE-KIND", {}, policy(payee="bank")),
    ("RATE-DIFFERS", {"contract": {"rate_ppm": 35_001}}, None),
    ("AMOUNT-ABOVE-MAXIMUM", {}, limited(maximum_amount_fen=fen("499,999.99"))),
]


def test_loan_a_is_verified() -> None:
    assert verdict(facts(*INSTALMENTS)) == (True, [])
    assert verdict(facts(), limited(maximum_amount_fen=fen("500,000"))) == (True, [])


@pytest.mark.parametrize(("reason", "wrong", "rules"), CASES)
def test_each_reason(reason: str, wrong: dict[str, Any], rules: CentrePolicy | None) -> None:
    assert verdict(facts(*INSTALMENTS, **wrong), rules) == (False, [reason])
    assert reason in REASONS


def test_reasons_are_listed_in_order() -> None:
    wrong = facts(contract={"loan_kind": "01"}, account={"term_months": 12}, agreement={"payee_kind": "02"})
    assert verdict(wrong) == (False, ["LOAN-KIND", "TERM-DIFFERS", "PAYEE-KIND"])


def test_missing_and_several() -> None:
    whole = facts()
    for missing, reason in (("contract", "CONTRACT-MISSING"), ("account", "ACCOUNT-MISSING")):
        part = Facts({**whole.tables, missing: whole[missing].slice(0, 0)})
        assert verdict(part) == (False, [reason])
    assert "ACCOUNT-AMBIGUOUS" in verdict(facts(account=[{}, {"account_no": "ZH2"}]))[1]


def test_rates_may_move_within_the_tolerance_and_before_go_live() -> None:
    moved = {"account": {"rate_ppm": 34_000}}
    assert verdict(facts(**moved), limited(rate_tolerance_ppm=1_000)) == (True, [])
    assert verdict(facts(**moved), limited(rate_tolerance_ppm=999)) == (False, ["RATE-DIFFERS"])
    assert verdict(facts(**moved), policy(go_live="2026-01-05")) == (False, ["RATE-DIFFERS"])
    assert verdict(facts(**moved), policy(go_live="2026-01-06")) == (True, [])


def test_a_later_repricing_is_no_difference() -> None:
    """What counts is the rate first charged; while nothing was charged, the account's."""
    later = {**INSTALMENTS[1], "rate_ppm": 30_000}
    assert verdict(facts(INSTALMENTS[0], later, account={"rate_ppm": 30_000})) == (True, [])
    assert verdict(facts(account={"rate_ppm": 30_000})) == (False, ["RATE-DIFFERS"])


def test_a_reported_change_of_term_explains_another_term() -> None:
    longer = {"account": {"term_months": 372}}
    assert verdict(facts(**longer, change=[change("B1", "term", "2026-03-01", new_term_months=372)])) == (True, [])
    assert verdict(facts(**longer, change=[change("B1", "term", "2026-03-01", new_term_months=384)])) == (False, ["TERM-DIFFERS"])


def test_the_gate_asks_by_the_rules_of_the_rows_day() -> None:
    strict = replace(rule().verification, loan_kinds=("02",))
    rules = policy(
        rule(version_id="v1", effective_to=day("2026-02-10"), gates=DEFAULT_GATES, verification=strict),
        rule(version_id="v2", effective_from=day("2026-02-10"), gates=DEFAULT_GATES),
    )
    lines = assess(facts(*INSTALMENTS), rules).lines
    assert list(zip(lines["outcome"].to_pylist(), lines["reason"].to_pylist(), strict=True)) == [
        ("hold", "GATE-UNVERIFIED"),
        ("pay", ""),
        ("pay", ""),
    ]
    assert verdict(facts(*INSTALMENTS), rules) == (True, [])
    assert verdict(facts(INSTALMENTS[0]), rules) == (False, ["LOAN-KIND"])


def test_every_agreement_has_a_verdict() -> None:
    many = facts(agreement=[{}, {"agreement_no": "XY0"}, {"agreement_no": "XY2", "contract_no": "HT9"}])
    table = verify_contracts(many, policy())
    assert table["agreement_no"].to_pylist() == ["XY0", "XY1", "XY2"]
    assert table["verified"].to_pylist() == [True, True, False]
    assert table["reasons"].to_pylist()[2] == ["CONTRACT-MISSING", "ACCOUNT-MISSING"]
