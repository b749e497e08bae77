"""Balances, first periods and suspensions: what is not known is held, by the second computation too."""

from __future__ import annotations

from typing import Any

import pytest
from proof_world import PAY, World, gate, policy, version

from subsidy.proof import recompute

SHADOW = version(method="shadow_interest")


def lines(world: World, rule: dict[str, Any] = SHADOW, go_live: str = "2026-01-01") -> list[tuple[str, str, int]]:
    found = recompute(world.rows, policy(rule, go_live=go_live))
    return [(line["serial_no"], line["reason"] or line["outcome"], line["payable_fen"]) for line in found]


def part_a() -> World:
    return World().row("1a", "2026-01-10", "2026-02-10", 200_000_00, 583_33, 314_75, 1)


def part_b(world: World) -> World:
    return world.row("1b", "2026-01-10", "2026-02-10", 300_000_00, 875_00, 472_14, 1, "04", paid_on="2026-03-20")


def test_a_part_still_unpaid_leaves_the_balance_unknown_until_it_comes() -> None:
    assert lines(part_a().loan_a(2)) == [("1a", "pay", 150_00), ("2", "BALANCE-UNKNOWN", 0)]
    assert lines(part_b(part_a()).loan_a(2)) == [("1a", "pay", 150_00), ("1b", "pay", 225_00), ("2", "pay", 374_70)]


def test_a_prepayment_beside_an_unpaid_part() -> None:
    on_balance = version(principal_cap="on_balance")
    for world, expected in ((part_a(), ("1p", "BALANCE-UNKNOWN", 0)), (part_b(part_a()), ("1p", "pay", 20_32))):
        world.rows["agreement"][0]["subsidised_principal_fen"] = 450_000_00
        world.row("1p", "2026-02-10", "2026-02-26", 100_000_00, 155_56, 100_000_00, 0, "03")
        assert lines(world, on_balance)[-1] == expected


def test_a_prepayment_row_without_principal_needs_no_balance() -> None:
    world = World().loan_a(2).row("2p", "2026-02-10", "2026-02-19", 1_000_00, 1_00, 0, 0, "03")
    assert lines(world, version(principal_cap="on_balance"))[0] == ("2p", "pay", 26)


def opened(*statuses: tuple[str, int, int]) -> int:
    """Payable amount of instalment 3 after a prepayment, of a loan known from 2026-03-01 on."""
    world = World().opening(shadow_balance_fen=499_000_00, shadow_instalment_fen=2_000_00).loan_a(2)
    world.row("2p", "2026-03-10", "2026-03-26", 100_000_00, 155_56, 100_000_00, 0, "03")
    world.row("3", "2026-03-10", "2026-04-10", 398_423_93, 1162_07, 632_69, 3)
    for as_of, run, balance in statuses:
        world.status(as_of, run=run, balance=balance)
    return lines(world, go_live="2026-03-01")[-1][2]


def test_a_status_that_may_contain_the_first_row_or_overdue_principal_is_no_start() -> None:
    exact = opened(("2026-03-09", 0, 499_213_11))
    assert exact > 0
    assert opened() == opened(("2026-03-10", 0, 499_213_11)) == opened(("2026-03-10", 0, 400_000_00)) == exact
    assert opened(("2026-02-28", 1, 900_000_00)) == exact


@pytest.mark.parametrize("numbers", [(0, 1, 2), (1, 1, 2), (1, 2, 3)])
@pytest.mark.parametrize(
    ("method", "amounts"), [("shadow_interest", [112_50, 375_00, 374_70]), ("payment_difference", [112_50, 243_52, 243_52])]
)
def test_a_first_period_without_principal_is_no_instalment(numbers: tuple[int, int, int], method: str, amounts: list[int]) -> None:
    world = World(disbursed="2026-03-11", due_day=20)
    world.row("0", "2026-03-11", "2026-03-20", 500_000_00, 437_50, 0, numbers[0])
    world.row("1", "2026-03-20", "2026-04-20", 500_000_00, 1458_33, 786_89, numbers[1])
    world.row("2", "2026-04-20", "2026-05-20", 499_213_11, 1456_04, 789_18, numbers[2])
    assert [line[2] for line in lines(world, version(method=method))] == amounts


def test_a_missing_first_instalment_is_told_by_the_due_dates() -> None:
    world = World(disbursed="2026-03-11", due_day=20)
    world.row("0", "2026-03-11", "2026-03-20", 500_000_00, 437_50, 0, 1)
    world.row("2", "2026-04-20", "2026-05-20", 499_213_11, 1456_04, 789_18, 2)
    assert lines(world) == [("0", "pay", 112_50), ("2", "BALANCE-UNKNOWN", 0)]


@pytest.mark.parametrize(("term", "second"), [(1, "ABOVE-TERM"), (2, "pay")])
def test_a_term_cut_below_the_current_instalment_leaves_no_shadow(term: int, second: str) -> None:
    world = World().loan_a(1, 2, 3).change("term", "2026-02-20", new_term_months=term).change("term", "2026-03-15", new_term_months=360)
    found = lines(world)
    assert [line[1] for line in found] == ["pay", second, "SHADOW-UNKNOWN"]
    assert found[2][2] == 0


def test_an_opening_instalment_that_ends_the_shadow_early() -> None:
    world = World().opening(shadow_balance_fen=1_000_00, shadow_instalment_fen=2_000_00).loan_a(2, 3)
    assert [line[1] for line in lines(world, go_live="2026-03-01")] == ["pay", "SHADOW-UNKNOWN"]


def test_a_change_to_another_method_leaves_no_shadow() -> None:
    world = World().loan_a(1, 2, 3).change("term", "2026-02-20", new_repayment_method="03")
    assert [line[1] for line in lines(world)] == ["pay", "SHADOW-UNKNOWN", "SHADOW-UNKNOWN"]


def test_overlapping_suspensions_are_one() -> None:
    three = ("compare", ">=", "overdue_run", 3)
    rule = version(
        gates=(gate(("compare", ">=", "suspension_count", 2), "stop", "SECOND"), gate(("fact", "suspended"), "hold", "S"), PAY),
        suspension={"condition": three, "text": "", "after_cure": "pay", "source": None},
    )
    world = World().loan_a(1, 2, 3).status("2026-02-01", run=3).status("2026-03-20").change("suspend", "2026-02-20")
    assert [line[1] for line in lines(world, rule)] == ["S", "S", "S"]
    world.change("resume", "2026-04-01")
    assert [line[1] for line in lines(world, rule)] == ["pay", "pay", "pay"]


def test_days_before_the_disbursement_have_the_rate_of_its_day() -> None:
    """The fund rate falls from 3.00 % to 2.60 % two days before the disbursement, within the first row: the loan never had 3.00 %."""
    plain = policy(version(fund_rate_reset="immediate", mid_period="old"))
    rates = plain["parameters"]["series"]["FIRST_GT5"]
    rates["effective_on"], rates["ppm"] = (rates["effective_on"][0], rates["effective_on"][-1].replace(2026, 1, 8)), (30_000, 26_000)
    world = World().row("1", "2026-01-05", "2026-02-10", 500_000_00, 1_700_00, 786_89, 1)
    # 1,700.00 x 0.90/3.50 x 31/36
    assert [line["payable_fen"] for line in recompute(world.rows, plain)] == [376_43]
