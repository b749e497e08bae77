"""The cases that each centre ships: enough of them, all as expected, and together they use every feature of the centre's policy."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from subsidy.cases import Result, read_cases, run_case
from subsidy.policy import centre_names, load_centre, working_days_of
from subsidy.policy.problems import Problems

RULES = Path(__file__).resolve().parents[2] / "rules"
CENTRES = centre_names(RULES)


@cache
def results(centre: str) -> tuple[Result, ...]:
    policy, problems = load_centre(RULES, centre), Problems()
    cases = read_cases(RULES / centre / "cases.yaml", policy, problems)
    assert problems.findings() == ()
    return tuple(run_case(case, policy, working_days_of(policy)) for case in cases)


def features_of(centre: str) -> set[str]:
    """What the centre's policy can do to a line."""
    policy = load_centre(RULES, centre)
    found = {"late fact", "clawback", "reversed", "opening", "LIMIT-OTHER", "prepayment", "two parts", "window", "conversion", "cure"}
    for rule in policy.rules:
        found |= {f"gate {gate.reason}" for gate in rule.gates if gate.outcome != "pay"}
        found |= {"LIMIT-MONTH"} if rule.monthly_limit_fen is not None else set()
        found |= {"LIMIT-LIFE"} if rule.lifetime_limit_fen is not None else set()
        found |= {"rate cap"} if rule.rate_cap else set()
        found |= {"subsidised in part", "TX03 term"} if rule.method in ("shadow_interest", "payment_difference") else {"subsidised in part"}
        if rule.method not in ("points", "share"):
            found |= {"second home", "year-end rate change"}
        found |= {f"cured {rule.suspension.after_cure}"} if rule.suspension else set()
    return found


def features_used(centre: str) -> set[str]:
    """What the centre's cases show."""
    found: set[str] = set()
    for result in results(centre):
        rows = [fact for fact in result.case.facts if fact.table == "transaction"]
        changes = {fact.row["kind"] for fact in result.case.facts if fact.table == "change"}
        agreement = next(fact.row for fact in result.case.facts if fact.table == "agreement")
        account = next(fact.row for fact in result.case.facts if fact.table == "account")
        found |= {"late fact"} if any(fact.known_on > fact.row["booked_on"] for fact in rows) else set()
        found |= {"prepayment"} if any(fact.row["kind"] == "03" for fact in rows) else set()
        numbers = {(fact.row["instalment"], fact.row["serial_no"]) for fact in rows if fact.row["instalment"] and not fact.row["reverses"]}
        found |= {"two parts"} if len(numbers) > len({number for number, _ in numbers}) else set()
        found |= {"conversion"} if "convert" in changes else set()
        found |= {"TX03 term"} if "term" in changes else set()
        found |= {"subsidised in part"} if agreement["subsidised_principal_fen"] < account["disbursed_fen"] else set()
        found |= {"second home"} if agreement["home_order"] == "02" else set()
        held: set[str] = set()
        for outcome in result.outcomes:
            for row in outcome.rows:
                if row.line is None:
                    continue
                line = row.line
                found.add(line["outcome"] if line["outcome"] in ("clawback", "reversed", "opening") else line["reason"])
                found.add(f"gate {line['reason']}")
                found |= {"window"} if line["reason"] == "WINDOW" else set()
                found |= {"cure", "cured pay"} if row.serial_no in held and row.amount_fen > 0 else set()
                found |= {"cure", "cured forfeit"} if line["reason"] == "SUSPENSION-FORFEIT" else set()
                found |= {"rate cap"} if line["rate_ppm"] > 35000 and line["figure_fen"] else set()
                if line["reason"] == "GATE-SUSPENDED":
                    held.add(row.serial_no)
                if line["accrual_from"].year < line["accrual_to"].year and line["figure_fen"]:
                    found.add("year-end rate change")
    return found


@pytest.mark.parametrize("centre", CENTRES)
def test_every_case_is_as_expected(centre: str) -> None:
    wrong = [result.case.name for result in results(centre) if not result.ok]
    assert wrong == []
    assert len(results(centre)) >= 12


@pytest.mark.parametrize("centre", CENTRES)
def test_the_cases_use_every_feature_of_the_policy(centre: str) -> None:
    assert features_of(centre) - features_used(centre) == set()


@pytest.mark.parametrize("centre", CENTRES)
def test_every_case_says_how_its_figures_come_about(centre: str) -> None:
    assert [result.case.name for result in results(centre) if len(result.case.note) < 15] == []
