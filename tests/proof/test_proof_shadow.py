"""The shadow loan: prepayments, terms, openings, gaps; whole, and continued from stored states."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from proof_world import World, policy, version

from subsidy.proof import check, recompute

SHADOW = version(method="shadow_interest")


def lines(world: World, go_live: str = "2026-01-01", rule: dict[str, Any] = SHADOW, **more: Any) -> dict[str, dict[str, Any]]:
    return {line["serial_no"]: line for line in recompute(world.rows, policy(rule, go_live=go_live), **more)}


def shadow_of(line: dict[str, Any]) -> tuple[int, int, int]:
    return line["shadow_balance_fen"], line["shadow_interest_fen"], line["shadow_principal_fen"]


def test_loan_a_beside_its_shadow() -> None:
    # annuity of 500,000.00 at 2.60 % over 360 months: 2,001.70
    found = lines(World().loan_a(1, 2))
    assert shadow_of(found["1"]) == (500_000_00, 1083_33, 918_37)
    assert shadow_of(found["2"]) == (499_081_63, 1081_34, 920_36)


def test_an_unpaid_instalment_advances_the_shadow_too() -> None:
    found = lines(World().loan_a(1).row("3", "2026-03-10", "2026-04-10", 498_423_93, 1453_74, 791_48, 3, balance_after_fen=497_632_45))
    assert shadow_of(found["3"])[0] == 498_161_27
    assert found["3"]["payable_fen"] == 374_39


def test_without_a_sent_balance_a_gap_is_held_until_the_missing_instalment_comes() -> None:
    world = World().loan_a(1, 3)
    assert (lines(world)["3"]["outcome"], lines(world)["3"]["reason"]) == ("hold", "BALANCE-UNKNOWN")
    assert lines(world.loan_a(2))["3"]["payable_fen"] == 374_39


def test_equal_principal_at_rate_zero_and_the_last_instalment() -> None:
    world = World(amount=300_000, term=7, method="02")
    for k in range(1, 8):
        world.row(str(k), f"2026-{k:02d}-10", f"2026-{k + 1:02d}-10", 300_000 - (k - 1) * 42_857, 100, 42_857, k)
    found = lines(world)
    assert [shadow_of(found[str(k)])[2] for k in range(1, 8)] == [42_857] * 6 + [42_858]


def test_a_change_of_term_and_method_rebuilds_from_the_next_instalment() -> None:
    world = World().loan_a(1, 2, 3).change("term", "2026-02-20", new_term_months=180, new_repayment_method="02")
    found = lines(world)
    assert shadow_of(found["1"]) == (500_000_00, 1083_33, 918_37)
    # 499,081.63 over the 179 months left
    assert shadow_of(found["2"]) == (499_081_63, 1081_34, 2788_17)
    assert shadow_of(found["3"])[2] == 2788_17


def test_a_change_on_the_due_date_begins_with_the_instalment_after_it() -> None:
    world = World().loan_a(1, 2, 3).change("term", "2026-03-10", new_repayment_method="02")
    assert shadow_of(lines(world)["2"]) == (499_081_63, 1081_34, 920_36)
    assert shadow_of(lines(world)["3"])[2] == 1391_51  # 498,161.27 / 358


def test_above_the_term_and_after_the_settlement() -> None:
    world = World(term=2).loan_a(1, 2, 3)
    assert [lines(world)[k]["reason"] for k in "123"] == ["", "", "ABOVE-TERM"]
    world = World().loan_a(1, 2, 3).row("9", "2026-02-10", "2026-03-20", 498_423_93, 1000_00, 498_423_93, kind="06")
    assert [lines(world)[k]["outcome"] for k in "1293"] == ["pay", "pay", "pay", "quarantined"]


def test_the_opening_gives_balance_and_instalment() -> None:
    world = World(disbursed="2024-01-10").opening(shadow_balance_fen=480_000_00, shadow_instalment_fen=2000_00)
    world.row("32", "2026-08-10", "2026-09-10", 490_000_00, 1429_17, 900_00, 32, balance_after_fen=489_100_00)
    found = lines(world, go_live="2026-09-01")["32"]
    assert shadow_of(found) == (480_000_00, 1040_00, 960_00)
    assert found["payable_fen"] == 389_17


def test_an_opening_without_a_shadow_is_held() -> None:
    world = World(disbursed="2024-01-10").opening()
    world.row("32", "2026-08-10", "2026-09-10", 490_000_00, 1429_17, 900_00, 32, balance_after_fen=489_100_00)
    found = lines(world, go_live="2026-09-01")["32"]
    assert (found["outcome"], found["reason"], found["figure_fen"]) == ("hold", "SHADOW-UNKNOWN", 0)


def test_the_year_end_rebuilds_the_annuity() -> None:
    world = World(disbursed="2025-01-10")
    world.row("12", "2025-12-10", "2026-01-10", 491_000_00, 1432_08, 813_00, 12, balance_after_fen=490_187_00)
    world.row("13", "2026-01-10", "2026-02-10", 490_187_00, 1429_71, 815_00, 13, balance_after_fen=489_372_00)
    found = lines(world)
    # December at 2.85 % for 22 days, then 9 days at 2.60 %; the annuity stays until January
    balance, interest, _ = shadow_of(found["12"])
    mean = 28500 * 22 + 26000 * 9
    assert interest == (2 * balance * mean * 30 + 31 * 360_000_000) // (2 * 31 * 360_000_000)
    assert sum(shadow_of(found["12"])[1:]) != sum(shadow_of(found["13"])[1:])


def states(world: World) -> list[dict[str, Any]]:
    """Stored states as the engine keeps them: here taken from the whole computation, with a fixed rate of 2.60 %."""
    annuity = 2001_70
    return [
        {
            "agreement_no": "A1", "instalment": k, "period_from": date(2026, k, 10), "period_to": date(2026, k + 1, 10),
            "balance_before_fen": found["shadow_balance_fen"], "annuity_fen": annuity, "interest_fen": found["shadow_interest_fen"],
            "principal_fen": found["shadow_principal_fen"], "rate_ppm": 26000, "months_left": 361 - k,
        }
        for k, found in ((k, lines(world)[str(k)]) for k in (1, 2, 3))
    ]


def test_continues_from_the_stored_state_of_the_previous_instalment() -> None:
    world = World().loan_a(1, 2, 3)
    whole = lines(world)
    assert lines(world, shadow_state=states(world)) == whole


def test_a_wrong_stored_state_shows_in_the_next_instalment() -> None:
    world = World().loan_a(1, 2, 3)
    stored = states(world)
    stored[0]["principal_fen"] += 100_00
    found = check(lines(world).values(), lines(world, shadow_state=stored).values())
    assert {d.serial_no for d in found} == {"2"}
    assert {"figure_fen", "shadow_balance_fen"} <= {d.column for d in found}


@pytest.mark.parametrize(("reported", "outcome"), [(None, "hold"), (398_423_93, "pay")])
def test_a_prepayment_after_a_missing_instalment(reported: int | None, outcome: str) -> None:
    world = World().loan_a(1)
    world.row("25", "2026-03-10", "2026-03-26", 100_000_00, 155_56, 100_000_00, kind="03", balance_after_fen=reported)
    world.row("3", "2026-03-10", "2026-04-10", 398_423_93, 1162_07, 632_69, 3, balance_after_fen=397_791_24)
    assert lines(world)["3"]["outcome"] == outcome
