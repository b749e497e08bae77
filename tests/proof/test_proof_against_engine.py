"""Engine and second computation agree on every line: random loans, policies, histories and corrections.

A difference is named with its seed; `proof_random.random_policy(Random(seed))` and `portfolio` draw the same world again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proof_random import METHODS, facts_of, plain_policy, portfolio, random_policy

from subsidy.entitlement.engine import assess
from subsidy.policy import centre_names, load_centre, policy_as_data
from subsidy.policy.model import CentrePolicy, RateCapPiece
from subsidy.proof import READS, check, recompute

RULES = Path(__file__).resolve().parents[2] / "rules"

LIMITS = ("LIMIT-MONTH", "LIMIT-LIFE")


def differences(rows: dict[str, Any], policy: CentrePolicy) -> list[str]:
    """All differences of outcome, amounts, shadow and reason; and between the shadow whole and continued from the stored states."""
    assessed = assess(facts_of(rows), policy)
    lines = assessed.lines.to_pylist()
    plain = plain_policy(policy)
    rows = {"claims": rows["claims"], **{name: [{c: row[c] for c in read} for row in rows[name]] for name, read in READS.items()}}
    again = recompute(rows, plain)
    found = [d.text for d in check(lines, again)]
    reasons = {(line["agreement_no"], line["account_no"], line["serial_no"]): line["reason"] for line in again}
    for line in lines:
        mine = reasons.get((line["agreement_no"], line["account_no"], line["serial_no"]), line["reason"])
        if mine != line["reason"] and not {mine, line["reason"]} <= set(LIMITS):  # where both are used up, either may be named
            found.append(f"{line['agreement_no']} {line['serial_no']} reason {line['reason']} {mine}")
    continued = recompute(rows, plain, shadow_state=assessed.shadow.to_pylist())
    return found + [f"continued: {d.text}" for d in check(again, continued)]


@pytest.mark.parametrize("method", METHODS)
def test_random_portfolios(method: str) -> None:
    for seed in range(60):
        rng = Random(f"{method} {seed}")
        policy = random_policy(rng, method)
        assert not differences(portfolio(rng, policy, 5), policy), f"Random({f'{method} {seed}'!r})"


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_many_random_portfolios(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        rng = Random(seed)
        policy = random_policy(rng)
        assert not differences(portfolio(rng, policy, 6), policy), f"Random({seed})"


@pytest.mark.parametrize("centre", centre_names(RULES))
def test_the_policies_of_the_centres(centre: str) -> None:
    shipped = load_centre(RULES, centre)
    for seed in range(15):
        rng = Random(f"{centre} {seed}")
        policy = replace(shipped, go_live=rng.choice((date(2020, 1, 1), date(2025, 10, 1), date(2026, 3, 1))))
        assert not differences(portfolio(rng, policy, 6), policy), f"{centre} {seed}"


def combinations() -> Iterator[dict[str, Any]]:
    """Every combination that a policy may have, where each part matters."""
    caps = ((), (RateCapPiece(date(2010, 1, 1), fixed_ppm=34000),), (RateCapPiece(date(2010, 1, 1), series="LPR_5Y"),))
    rates = [{"fund_rate_reset": r, "mid_period": m} for r in ("next_january", "immediate", "frozen") for m in ("split", "old", "new")]
    days = [{"day_count": d} for d in ("monthly", "30/360", "actual/360", "actual/365")]
    parts = [{"principal_cap": p} for p in ("pro_rata", "on_balance")]
    none: list[dict[str, Any]] = [{}]
    for method, matters in (
        ("ratio", (rates, parts, [{"rate_cap": cap} for cap in caps])),
        ("spread", (rates, parts, days, [{"rate_cap": cap} for cap in caps])),
        ("points", (parts, days, [{"points_ppm": 8000}])),
        ("share", (parts, [{"share_ppm": 250000}])),
        ("shadow_interest", (rates, none)),
        ("payment_difference", (rates, none)),
    ):
        for choice in product(*matters):
            yield {"method": method, "rate_cap": (), **{k: v for part in choice for k, v in part.items()}}


def test_every_legal_combination() -> None:
    found = list(combinations())
    assert len(found) == 54 + 216 + 8 + 2 + 9 + 9
    for number, combination in enumerate(found):
        rng = Random(f"combination {number}")
        policy = random_policy(rng, combination["method"])
        policy = replace(policy, rules=tuple(replace(rule, **combination) for rule in policy.rules))
        assert not differences(portfolio(rng, policy, 2), policy), combination


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.randoms(use_true_random=False))
def test_one_loan(rng: Random) -> None:
    policy = random_policy(rng)
    assert not differences(portfolio(rng, policy, 1), policy)


@pytest.mark.parametrize("seed", range(25))
def test_corrections_and_late_facts(seed: int) -> None:
    """Facts arrive by and by, and some are corrected: both computations agree on what is known at every step."""
    rng = Random(f"late {seed}")
    policy = random_policy(rng)
    known = portfolio(rng, policy, 4)
    late = {name: [row for row in known[name] if rng.random() < 0.3] for name in ("transaction", "status", "change", "other_subsidy")}
    for name, rows in late.items():
        known[name] = [row for row in known[name] if row not in rows]
    assert not differences(known, policy)
    for name, rows in late.items():
        known[name] = known[name] + rows
        assert not differences(known, policy)
    for row in rng.sample(known["transaction"], min(4, len(known["transaction"]))):
        row["interest_fen"] = row["interest_fen"] * 9 // 10
        row["principal_repaid_fen"] += rng.choice((0, 100))
    known["claims"] = [row["agreement_no"] for row in known["agreement"] if rng.random() < 0.3]
    assert not differences(known, policy)


def test_each_agreement_alone_gives_the_same_lines() -> None:
    rng = Random("alone")
    policy = random_policy(rng)
    rows = portfolio(rng, policy, 8)
    plain = policy_as_data(policy)
    together = recompute(rows, plain)
    alone = [line for row in rows["agreement"] for line in recompute(rows, plain, only={row["agreement_no"]})]
    assert together == alone


def test_the_random_world_reaches_every_outcome() -> None:
    """The comparison means something only where lines are paid, held, limited and set aside for every reason."""
    outcomes: set[str] = set()
    reasons: set[str] = set()
    for seed in range(200):
        rng = Random(seed)
        policy = random_policy(rng)
        for line in recompute(portfolio(rng, policy, 5), plain_policy(policy)):
            outcomes.add(line["outcome"])
            reasons.add(line["reason"])
    assert outcomes == {"pay", "hold", "forfeit", "stop", "reversed", "quarantined", "opening", "clawback"}
    assert reasons >= {
        "NO-INTEREST", "WINDOW", "NO-SPREAD", "LIMIT-OTHER", "LIMIT-MONTH", "LIMIT-LIFE", "SUSPENSION-FORFEIT", "BACK-PAY",
        "BALANCE-UNKNOWN", "SHADOW-UNKNOWN", "RATE-UNKNOWN", "BAD-REVERSAL", "REVERSED", "ROW-KIND", "DATE-DOMAIN", "AMOUNT-DOMAIN",
        "NEGATIVE-INTEREST", "NO-DAYS", "NO-PRINCIPAL", "RATE-DOMAIN", "PART-DIFFERS", "AFTER-SETTLEMENT", "ABOVE-TERM",
        "METHOD-UNKNOWN", "ACCOUNT-AMBIGUOUS",
    }  # fmt: skip
