"""Every worked figure of the handbook's section 4, by the second computation alone."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from proof_world import World, policy, version

from subsidy.proof import recompute

METHODS: dict[str, dict[str, Any]] = {
    "ratio": {"method": "ratio"},
    "spread, monthly": {"method": "spread", "day_count": "monthly"},
    "spread, actual/360": {"method": "spread", "day_count": "actual/360"},
    "shadow_interest": {"method": "shadow_interest"},
    "payment_difference": {"method": "payment_difference"},
    "points 1 pp": {"method": "points", "points_ppm": 10000, "day_count": "monthly"},
    "share 20 %": {"method": "share", "share_ppm": 200000},
}


def figures(world: World, **rule: Any) -> dict[str, int]:
    return {line["serial_no"]: line["payable_fen"] for line in recompute(world.rows, policy(version(**rule)))}


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("ratio", [37500, 37441, 37382]),
        ("spread, monthly", [37500, 37441, 37382]),
        ("spread, actual/360", [38750, 34945, 38628]),
        ("shadow_interest", [37500, 37470, 37439]),
        ("payment_difference", [24352, 24352, 24352]),
        ("points 1 pp", [41667, 41601, 41535]),
        ("share 20 %", [29167, 29121, 29075]),
    ],
)
def test_loan_a(method: str, expected: list[int]) -> None:
    assert list(figures(World().loan_a(1, 2, 3), **METHODS[method]).values()) == expected


def prepaid(subsidised: int = 500_000_00) -> World:
    world = World(subsidised=subsidised).loan_a(1, 2)
    world.row("25", "2026-03-10", "2026-03-26", 100_000_00, 155_56, 100_000_00, kind="03")
    return world.row("3", "2026-03-10", "2026-04-10", 398_423_93, 1162_07, 632_69, 3)


@pytest.mark.parametrize(("method", "expected"), [("ratio", 29882), ("shadow_interest", 29927), ("payment_difference", 19467)])
def test_prepayment(method: str, expected: int) -> None:
    lines = figures(prepaid(), **METHODS[method])
    assert (lines["25"], lines["3"]) == (4000, expected)


@pytest.mark.parametrize(("subsidised", "expected"), [(300_000_00, (0, 22500)), (450_000_00, (2063, 29882))])
def test_prepayment_on_balance(subsidised: int, expected: tuple[int, int]) -> None:
    lines = figures(prepaid(subsidised), method="ratio", principal_cap="on_balance")
    assert (lines["25"], lines["3"]) == expected


@pytest.mark.parametrize(
    ("method", "expected"), [("ratio", (15000, 22500)), ("shadow_interest", (15000, 22500)), ("payment_difference", (9740, 14612))]
)
def test_instalment_paid_in_two_rows(method: str, expected: tuple[int, int]) -> None:
    world = World().row("1a", "2026-01-10", "2026-02-10", 200_000_00, 583_33, 314_75, 1)
    world.row("1b", "2026-01-10", "2026-02-10", 300_000_00, 875_00, 472_14, 1)
    assert tuple(figures(world, **METHODS[method]).values()) == expected


@pytest.mark.parametrize("method", list(METHODS))
def test_late_instalment_is_as_if_on_time(method: str) -> None:
    late = World().loan_a(1, 3)
    late.row("2", "2026-02-10", "2026-03-10", 499_213_11, 1456_04, 789_18, 2, kind="04", paid_on="2026-05-02", booked_on="2026-05-02")
    assert figures(late, **METHODS[method]) == figures(World().loan_a(1, 2, 3), **METHODS[method])


def test_subsidised_in_part_in_two_halves() -> None:
    world = World(amount=1_200_000_00, subsidised=900_000_00)
    for serial, repaid in (("1a", 944_27), ("1b", 944_27)):
        world.row(serial, "2026-01-10", "2026-02-10", 600_000_00, 1750_00, repaid, 1)
    assert list(figures(world, method="ratio", principal_cap="on_balance").values()) == [45000, 22500]


def test_due_on_the_last_day_of_the_month() -> None:
    world = World(disbursed="2026-01-31", due_day=31)
    ends = ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]
    for k, (base, interest) in enumerate(((500_000_00, 1458_33), (499_213_11, 1456_04), (498_423_93, 1453_74)), 1):
        world.row(str(k), ends[k - 1], ends[k], base, interest, 2245_22 - interest, k)
    assert list(figures(world, **METHODS["spread, monthly"]).values()) == [37500, 37441, 37382]


@pytest.mark.parametrize(("treatment", "expected"), [("split", 33200), ("old", 26867), ("new", 37200)])
def test_year_end(treatment: str, expected: int) -> None:
    world = World(amount=480_000_00, disbursed="2024-06-20", due_day=20)
    world.row("1", "2025-12-20", "2026-01-20", 480_000_00, 1446_67, 0, 18)
    assert figures(world, method="ratio", mid_period=treatment) == {"1": expected}


@pytest.mark.parametrize(("cap", "expected"), [(35000, 37500), (None, 62500)])
def test_rate_cap(cap: int | None, expected: int) -> None:
    pieces = () if cap is None else ({"effective_from": date(2020, 1, 1), "fixed_ppm": cap, "series": None},)
    world = World(rate=41000).row("1", "2026-01-10", "2026-02-10", 500_000_00, 1708_33, 700_00, 1)
    assert figures(world, method="ratio", rate_cap=pieces) == {"1": expected}


def annuity_balances(amount: int, rate: int, months: int) -> list[tuple[int, int]]:
    """(balance before, interest) of each instalment of an equal instalment loan, interest by whole months."""
    m = rate / 12e6
    payment = round(amount * m / (1 - (1 + m) ** -months))
    rows, balance = [], amount
    for _ in range(months):
        interest = (2 * balance * rate + 12_000_000) // 24_000_000
        rows.append((balance, interest))
        balance -= payment - interest
    return rows


@pytest.mark.parametrize(("cap", "expected"), [("pro_rata", (67500, 52413, 38899)), ("on_balance", (67500, 67500, 51865))])
def test_subsidised_in_part(cap: str, expected: tuple[int, ...]) -> None:
    world = World(amount=1_200_000_00, subsidised=900_000_00)
    rows = annuity_balances(1_200_000_00, 35000, 360)
    for k in (1, 120, 200):
        base, interest = rows[k - 1]
        start, end = 2026 * 12 + k - 1, 2026 * 12 + k
        world.row(f"{k:03d}", f"{start // 12}-{start % 12 + 1:02d}-10", f"{end // 12}-{end % 12 + 1:02d}-10", base, interest, 0, k)
    assert tuple(figures(world, method="ratio", principal_cap=cap).values()) == expected


@pytest.mark.parametrize("method", ["ratio", "spread, monthly", "spread, actual/360", "shadow_interest", "payment_difference"])
def test_odd_first_days(method: str) -> None:
    world = World(disbursed="2026-03-11", due_day=20).row("0", "2026-03-11", "2026-03-20", 500_000_00, 437_50)
    assert figures(world, **METHODS[method]) == {"0": 11250}


def test_reversal_frees_the_monthly_limit() -> None:
    world = World().loan_a(1)
    assert figures(world, monthly_limit_fen=30000) == {"1": 30000}
    world.row("2", "2026-01-10", "2026-02-10", 500_000_00, -1458_33, -786_89, 1, reverses="1")
    lines = recompute(world.rows, policy(version(monthly_limit_fen=30000)))
    assert [(line["outcome"], line["figure_fen"], line["payable_fen"]) for line in lines] == [("reversed", 0, 0)] * 2


def test_floor_at_zero() -> None:
    world = World(rate=30500, home="02").row("1", "2026-01-10", "2026-02-10", 500_000_00, 1270_83, 0, 1)
    (line,) = recompute(world.rows, policy())
    assert (line["payable_fen"], line["reason"]) == (0, "NO-SPREAD")


def test_conversion() -> None:
    world = World(amount=490_000_00).row("1", "2026-09-10", "2026-10-10", 490_000_00, 1429_17, 0, 8)
    assert figures(world) == {"1": 36750}
    assert figures(world.change("convert", "2026-09-30")) == {"1": 24500}
