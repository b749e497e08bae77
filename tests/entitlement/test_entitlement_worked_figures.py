"""Every worked figure of handbook section 4, through fact tables."""

from __future__ import annotations

from typing import Any

import pytest
from entitlement_facts import INSTALMENTS, cap, change, day, facts, fen, policy, row, rule

from subsidy.entitlement.engine import assess
from subsidy.facts.schema import Facts
from subsidy.policy.model import RuleVersion

COLUMNS: dict[str, dict[str, Any]] = {
    "ratio": {"method": "ratio"},
    "spread, monthly": {"method": "spread", "day_count": "monthly"},
    "spread, actual/360": {"method": "spread", "day_count": "actual/360"},
    "shadow_interest": {"method": "shadow_interest"},
    "payment_difference": {"method": "payment_difference"},
    "points 1 pp": {"method": "points", "points_ppm": 10_000},
    "share 20 %": {"method": "share", "share_ppm": 200_000},
}
LOAN_A_FIGURES = {
    "ratio": ("375.00", "374.41", "373.82"),
    "spread, monthly": ("375.00", "374.41", "373.82"),
    "spread, actual/360": ("387.50", "349.45", "386.28"),
    "shadow_interest": ("375.00", "374.70", "374.39"),
    "payment_difference": ("243.52", "243.52", "243.52"),
    "points 1 pp": ("416.67", "416.01", "415.35"),
    "share 20 %": ("291.67", "291.21", "290.75"),
}


def figures(given: Facts, *rules: RuleVersion, column: str = "figure_fen") -> dict[str, int]:
    lines = assess(given, policy(*rules)).lines
    assert "quarantined" not in lines["outcome"].to_pylist()
    return dict(zip(lines["serial_no"].to_pylist(), lines[column].to_pylist(), strict=True))


@pytest.mark.parametrize("column", COLUMNS)
def test_loan_a(column: str) -> None:
    found = figures(facts(*INSTALMENTS), rule(**COLUMNS[column]))
    assert list(found.values()) == [fen(v) for v in LOAN_A_FIGURES[column]]


PREPAID = (
    *INSTALMENTS[:2],
    row("003", "2026-03-10", "2026-03-26", "155.56", "100,000.00", kind="03", principal_repaid_fen=fen("100,000")),
    row("004", "2026-03-10", "2026-04-10", "1,162.07", "398,423.93", instalment=3, principal_repaid_fen=fen("632.69")),
)


@pytest.mark.parametrize(("column", "third"), [("ratio", "298.82"), ("shadow_interest", "299.27"), ("payment_difference", "194.67")])
def test_prepayment(column: str, third: str) -> None:
    found = figures(facts(*PREPAID), rule(**COLUMNS[column]))
    assert (found["003"], found["004"]) == (fen("40.00"), fen(third))


@pytest.mark.parametrize(("subsidised", "prepayment", "third"), [("300,000", "0.00", "225.00"), ("450,000", "20.63", "298.82")])
@pytest.mark.parametrize("sent", [None, fen("398,423.93")])
def test_prepayment_on_balance(subsidised: str, prepayment: str, third: str, sent: int | None) -> None:
    rows = [*PREPAID[:2], {**PREPAID[2], "balance_after_fen": sent}, PREPAID[3]]
    found = figures(facts(*rows, agreement={"subsidised_principal_fen": fen(subsidised)}), rule(principal_cap="on_balance"))
    assert (found["003"], found["004"]) == (fen(prepayment), fen(third))


@pytest.mark.parametrize(
    ("column", "parts"),
    [("ratio", ("150.00", "225.00")), ("shadow_interest", ("150.00", "225.00")), ("payment_difference", ("97.40", "146.12"))],
)
def test_instalment_in_two_rows(column: str, parts: tuple[str, str]) -> None:
    given = facts(
        row("001", "2026-01-10", "2026-02-10", "583.33", "200,000", instalment=1, principal_repaid_fen=fen("314.75")),
        row("002", "2026-01-10", "2026-02-10", "875.00", "300,000", instalment=1, principal_repaid_fen=fen("472.14")),
    )
    assert list(figures(given, rule(**COLUMNS[column])).values()) == [fen(v) for v in parts]


@pytest.mark.parametrize("column", COLUMNS)
def test_late_as_if_on_time(column: str) -> None:
    late = {**INSTALMENTS[1], "kind": "04", "paid_on": day("2026-04-01"), "booked_on": day("2026-04-01"), "serial_no": "009"}
    found = figures(facts(INSTALMENTS[0], late, INSTALMENTS[2]), rule(**COLUMNS[column]))
    assert [found[s] for s in ("001", "009", "003")] == [fen(v) for v in LOAN_A_FIGURES[column]]


def test_on_balance_in_two_halves() -> None:
    half = {"instalment": 1, "principal_repaid_fen": fen("944.27")}
    given = facts(
        row("001", "2026-01-10", "2026-02-10", "1,750.00", "600,000", **half),
        row("002", "2026-01-10", "2026-02-10", "1,750.00", "600,000", **half),
        agreement={"subsidised_principal_fen": fen("900,000")},
        contract={"amount_fen": fen("1,200,000")},
        account={"disbursed_fen": fen("1,200,000")},
    )
    assert list(figures(given, rule(principal_cap="on_balance")).values()) == [fen("450.00"), fen("225.00")]


def test_due_day_31() -> None:
    days = ("2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30")
    rows = [
        {**r, "accrual_from": day(a), "accrual_to": day(b), "due_on": day(b), "paid_on": day(b)}
        for r, a, b in zip(INSTALMENTS, days, days[1:], strict=False)
    ]
    given = facts(
        *rows, contract={"due_day": 31}, account={"disbursed_on": day("2026-01-31")}, agreement={"subsidy_start_on": day("2026-01-31")}
    )
    assert list(figures(given, rule(method="spread")).values()) == [fen(v) for v in LOAN_A_FIGURES["spread, monthly"]]


@pytest.mark.parametrize(("mid_period", "expected"), [("split", "332.00"), ("old", "268.67"), ("new", "372.00")])
def test_year_end(mid_period: str, expected: str) -> None:
    given = facts(
        row("001", "2025-12-20", "2026-01-20", "1,446.67", "480,000", instalment=19),
        agreement={"subsidy_start_on": day("2024-06-20"), "signed_on": day("2024-06-10")},
        contract={"due_day": 20},
        account={"disbursed_on": day("2024-06-20")},
    )
    assert list(figures(given, rule(mid_period=mid_period)).values()) == [fen(expected)]


@pytest.mark.parametrize(
    ("rate_cap", "expected"), [(cap(("2000-01-01", 35_000)), "375.00"), ((), "625.00"), (cap(("2020-01-01", "LPR_5Y")), "375.00")]
)
def test_rate_cap(rate_cap: Any, expected: str) -> None:
    given = facts(row("001", "2026-01-10", "2026-02-10", "1,708.33", "500,000", instalment=1, rate_ppm=41_000))
    assert list(figures(given, rule(rate_cap=rate_cap)).values()) == [fen(expected)]


@pytest.mark.parametrize(
    ("principal_cap", "expected"),
    [("pro_rata", {1: "675.00", 120: "524.13", 200: "388.99"}), ("on_balance", {1: "675.00", 120: "675.00", 200: "518.65"})],
)
def test_subsidised_share(principal_cap: str, expected: dict[int, str]) -> None:
    """The principal before instalments 120 and 200 is that of the loan's own schedule."""
    balance, schedule = fen("1,200,000"), {}
    instalment = fen("5,388.54")
    for k in range(1, 201):
        interest = (balance * 35 * 2 + 12_000) // (2 * 12_000)
        schedule[k] = (balance, interest)
        balance -= instalment - interest
    for k, amount in expected.items():
        base, interest = schedule[k]
        one = row("001", "2026-01-10", "2026-02-10", "0", "0", instalment=k)
        given = facts(
            {**one, "base_principal_fen": base, "interest_fen": interest},
            agreement={"subsidised_principal_fen": fen("900,000")},
            contract={"amount_fen": fen("1,200,000")},
            account={"disbursed_fen": fen("1,200,000")},
        )
        assert list(figures(given, rule(principal_cap=principal_cap)).values()) == [fen(amount)], k


@pytest.mark.parametrize("column", ["ratio", "spread, monthly", "shadow_interest", "payment_difference"])
def test_odd_first_days(column: str) -> None:
    given = facts(
        row("001", "2026-03-11", "2026-03-20", "437.50", "500,000", due_on=day("2026-03-20")),
        agreement={"subsidy_start_on": day("2026-03-11")},
        contract={"due_day": 20},
        account={"disbursed_on": day("2026-03-11")},
    )
    assert list(figures(given, rule(**COLUMNS[column])).values()) == [fen("112.50")]


def test_reversal_frees_the_limit() -> None:
    back = {
        **INSTALMENTS[0],
        "serial_no": "002",
        "reverses": "001",
        "interest_fen": -fen("1,458.33"),
        "principal_repaid_fen": -fen("786.89"),
    }
    again = {**INSTALMENTS[0], "serial_no": "003"}
    limited = rule(monthly_limit_fen=fen("300.00"))
    assert list(figures(facts(INSTALMENTS[0]), limited, column="payable_fen").values()) == [fen("300.00")]
    assert list(figures(facts(INSTALMENTS[0], back), limited, column="payable_fen").values()) == [0, 0]
    assert list(figures(facts(INSTALMENTS[0], back, again), limited, column="payable_fen").values()) == [0, 0, fen("300.00")]


def test_second_home_without_spread() -> None:
    given = facts({**INSTALMENTS[0], "rate_ppm": 30_500, "interest_fen": fen("1,270.83")}, agreement={"home_order": "02"})
    lines = assess(given, policy()).lines
    assert lines["fund_rate_ppm"].to_pylist() == [30_750]
    assert (lines["payable_fen"].to_pylist(), lines["reason"].to_pylist()) == ([0], ["NO-SPREAD"])


def test_conversion() -> None:
    given = facts(
        row("009", "2026-09-10", "2026-10-10", "1,429.17", "490,000", instalment=9), change=[change("B1", "convert", "2026-09-30")],
    )  # fmt: skip
    assert list(figures(given).values()) == [fen("245.00")]
    assert list(figures(facts(row("009", "2026-09-10", "2026-10-10", "1,429.17", "490,000", instalment=9))).values()) == [fen("367.50")]


def test_rounded_once() -> None:
    """Rounding the ratio 0.9 / 3.5 to four places first would give 374.94."""
    assert figures(facts(INSTALMENTS[0]))["001"] == fen("375.00")
