"""Exactness: every legal combination against fractions, the edges of 64 bits, annuities that come close to a half."""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from entitlement_facts import cap, day, facts, fen, month_later, policy, row, rule
from hypothesis import example, given, settings
from hypothesis import strategies as st

from subsidy.calendar import add_months, year_fraction
from subsidy.entitlement import annuity
from subsidy.entitlement.dates import FIRST_DAY, LAST_DAY, due_date, monthly_360ths, months_later, next_january, place, thirty
from subsidy.entitlement.engine import assess
from subsidy.policy.model import CentrePolicy, RuleVersion

HALF = Fraction(1, 2)


def rounded(value: Fraction) -> int:
    return (value + HALF).__floor__()


def fund_rate(rules: CentrePolicy, now: RuleVersion, on: date, disbursed: date, signed: date) -> int:
    series = rules.parameters.series["SECOND_GT5"]
    if now.fund_rate_reset == "frozen":
        return series.on(signed)
    on = max(on, disbursed)
    if now.fund_rate_reset == "immediate" or on.year == disbursed.year:
        return series.on(on if now.fund_rate_reset == "immediate" else disbursed)
    return series.on(date(on.year - 1, 12, 31))


def thirty_days(start: date, end: date) -> int:
    return (end.year - start.year) * 360 + (end.month - start.month) * 30 + min(end.day, 30) - min(start.day, 30)


def year_part(count: str, start: date, end: date, due_day: int) -> Fraction:
    if count == "30/360":
        return Fraction(thirty_days(start, end), 360)
    if count != "monthly":
        return Fraction((end - start).days, 360 if count == "actual/360" else 365)
    inside = [d for m in range(40) if start <= (d := month_later(start, m, due_day)) <= end]
    if not inside:
        return Fraction((end - start).days, 360)
    return Fraction(len(inside) - 1, 12) + Fraction((inside[0] - start).days + (end - inside[-1]).days, 360)


def by_hand(rules: CentrePolicy, one: dict[str, Any], loan: dict[str, Any], last_day: date) -> int:
    """The figure of one row with fractions, day by day; no shadow."""
    now = rules.rules_on(one["accrual_from"])
    start, end = one["accrual_from"], one["accrual_to"]
    days = [start + timedelta(n) for n in range((end - start).days)]
    inside = [d for d in days if loan["start"] <= d < last_day]
    n = len(days)
    remaining = one["balance_after_fen"] if one["kind"] == "03" else 0
    share = Fraction(min(loan["subsidised"], loan["disbursed"]), loan["disbursed"])
    if now.principal_cap == "on_balance":
        base = one["base_principal_fen"]
        share = Fraction(min(remaining + base, loan["subsidised"]) - min(remaining, loan["subsidised"]), base)
    interest, base, rate = one["interest_fen"], one["base_principal_fen"], one["rate_ppm"]
    limit = share * interest * Fraction(len(inside), n)
    if now.method == "share":
        return rounded(min(limit, limit * Fraction(now.share_ppm or 0, 10**6)))

    def fund(on: date) -> int:
        seen = {"split": on, "old": start, "new": end - timedelta(1)}[now.mid_period]
        return fund_rate(rules, now, seen, loan["disbursed_on"], loan["signed_on"])

    piece = next((p for p in reversed(now.rate_cap) if p.effective_from <= start), None)
    ceiling = rate
    if piece is not None:
        ceiling = min(rate, piece.fixed_ppm if piece.series is None else rules.parameters.series[piece.series].on(start))
    spread = {d: max(0, ceiling - fund(d)) if now.method != "points" else now.points_ppm or 0 for d in inside}
    if now.method == "ratio":
        return rounded(share * interest * Fraction(sum(spread.values()), n * rate))
    if now.day_count == "monthly":
        total = sum(spread.values()) * Fraction(1, n) * year_part("monthly", start, end, loan["due_day"])
    else:
        total = sum((spread[d] * year_part(now.day_count, d, d + timedelta(1), 1) for d in inside), Fraction(0))
    return rounded(min(limit, share * base * total / 10**6))


CAPS = ((), cap(("2000-01-01", 33_000)), cap(("2000-01-01", 45_000), ("2024-01-01", "LPR_5Y")))
LOAN: dict[str, Any] = {
    "subsidised": 93_456_789, "disbursed": 123_456_700, "start": day("2023-11-25"), "disbursed_on": day("2023-11-20"),
    "signed_on": day("2023-10-08"), "due_day": 31,
}  # fmt: skip
ROWS = [
    row("001", "2023-11-20", "2023-11-30", "0", "0", interest_fen=131_071, base_principal_fen=123_456_700, rate_ppm=38_250),
    row("002", "2023-12-31", "2024-01-31", "0", "0", interest_fen=393_217, base_principal_fen=123_000_001, rate_ppm=38_250, instalment=1),
    row("003", "2024-04-30", "2024-05-31", "0", "0", interest_fen=391_011, base_principal_fen=122_000_003, rate_ppm=37_500, instalment=2),
    row("004", "2024-04-30", "2024-05-20", "0", "0", interest_fen=9_973, base_principal_fen=9_000_000, rate_ppm=37_500, kind="03",
        principal_repaid_fen=9_000_000, balance_after_fen=88_000_000),
    row("005", "2024-05-31", "2025-06-30", "0", "0", interest_fen=1_391_011, base_principal_fen=88_000_000, rate_ppm=33_500, instalment=3),
    row("006", "2025-06-30", "2025-07-31", "0", "0", interest_fen=191_011, base_principal_fen=87_999_999, rate_ppm=30_000, instalment=4),
]  # fmt: skip


@pytest.mark.parametrize("method", ["ratio", "spread", "points", "share"])
@pytest.mark.parametrize("principal_cap", ["pro_rata", "on_balance"])
def test_every_legal_combination(method: str, principal_cap: str) -> None:
    """Day counts x resets x mid-period x rate caps x months limit, on rows with cut windows, changes of rates and due day 31."""
    given_facts = facts(
        *ROWS,
        agreement={
            "subsidised_principal_fen": LOAN["subsidised"],
            "subsidy_start_on": LOAN["start"],
            "signed_on": LOAN["signed_on"],
            "home_order": "02",
        },
        contract={"due_day": LOAN["due_day"], "amount_fen": LOAN["disbursed"]},
        account={"disbursed_fen": LOAN["disbursed"], "disbursed_on": LOAN["disbursed_on"]},
    )
    caps = CAPS if method in ("ratio", "spread") else ((),)
    counts = ("monthly", "30/360", "actual/360", "actual/365") if method in ("spread", "points") else ("monthly",)
    checked = 0
    for count, reset, mid, rate_cap, months in product(
        counts, ("next_january", "immediate", "frozen"), ("split", "old", "new"), caps, (None, 18)
    ):
        rules = policy(
            rule(
                method=method,
                principal_cap=principal_cap,
                day_count=count,
                fund_rate_reset=reset,
                mid_period=mid,
                rate_cap=rate_cap,
                months_limit=months,
                points_ppm=4_321,
                share_ppm=987_654,
            )
        )
        last_day = month_later(LOAN["start"], 18 if months else 360, LOAN["start"].day)
        found = assess(given_facts, rules).lines
        assert set(found["outcome"].to_pylist()) == {"pay"}
        got = dict(zip(found["serial_no"].to_pylist(), found["figure_fen"].to_pylist(), strict=True))
        expected = {one["serial_no"]: by_hand(rules, one, LOAN, last_day) for one in ROWS}
        assert got == expected, (count, reset, mid, rate_cap, months)
        checked += 1
    assert checked == len(counts) * 3 * 3 * len(caps) * 2


AMOUNTS = st.integers(1, 10**13) | st.integers(10**13 - 1000, 10**13)


@settings(max_examples=100, deadline=None)
@given(
    method=st.sampled_from(["ratio", "spread", "points", "share"]),
    principal_cap=st.sampled_from(["pro_rata", "on_balance"]),
    interest=AMOUNTS,
    base=AMOUNTS,
    subsidised=AMOUNTS,
    disbursed=AMOUNTS,
    rate=st.integers(1, 10**6),
    days=st.integers(1, 12_000),
)
@example("spread", "pro_rata", 10**13, 10**13, 10**13 - 1, 10**13, 10**6, 12_000)
@example("ratio", "on_balance", 10**13, 10**13, 10**13 - 1, 10**13, 10**6, 12_000)
@example("ratio", "pro_rata", 10**13 - 1, 1, 10**13 - 1, 10**13, 999_983, 11_999)
def test_no_product_overflows(
    method: str, principal_cap: str, interest: int, base: int, subsidised: int, disbursed: int, rate: int, days: int
) -> None:
    """The largest facts of the domain: where 64 bits do not hold a product, big integers do."""
    start = day("2020-01-10")
    one = row(
        "001",
        str(start),
        str(start + timedelta(days)),
        "0",
        "0",
        interest_fen=interest,
        base_principal_fen=base,
        rate_ppm=rate,
        instalment=1,
    )
    loan = {
        **LOAN,
        "subsidised": subsidised,
        "disbursed": disbursed,
        "start": start,
        "disbursed_on": start,
        "signed_on": start,
        "due_day": 10,
    }
    given_facts = facts(
        one,
        agreement={"subsidised_principal_fen": subsidised, "subsidy_start_on": start, "signed_on": start, "home_order": "02"},
        account={"disbursed_fen": disbursed, "disbursed_on": start},
    )
    rules = policy(
        rule(
            method=method,
            principal_cap=principal_cap,
            fund_rate_reset="frozen",
            day_count="actual/365",
            points_ppm=10**6,
            share_ppm=10**6 - 1,
        )
    )
    expected = by_hand(rules, one, loan, month_later(start, 360, 10))
    assert assess(given_facts, rules).lines["figure_fen"].to_pylist() == [expected]


@settings(max_examples=300, deadline=None)
@given(
    balances=st.lists(st.integers(0, 2**39) | st.integers(0, 10**13), min_size=1, max_size=6),
    rate=st.integers(0, 10**6) | st.sampled_from([0, 1, 26_000, 28_500, 10**6]),
    months=st.integers(1, 1200) | st.sampled_from([1, 2, 360]),
)
def test_annuities_are_exact(balances: list[int], rate: int, months: int) -> None:
    count = len(balances)
    got = annuity.annuity(np.array(balances), np.full(count, rate), np.full(count, months, np.int32))
    assert got.tolist() == [rounded(b * annuity.factor(rate, months)) for b in balances]


@pytest.mark.parametrize(("rate", "months"), [(26_000, 360), (28_500, 240), (1, 1200), (10**6, 1200), (31_000, 17), (35_750, 359)])
def test_annuities_next_to_a_half(rate: int, months: int) -> None:
    """Balances whose annuity lies next to a half, nearer than the 66 places that the engine keeps can tell: from convergents p/q of the
    factor, S with S·p = (q ∓ 1)/2 modulo q. The factors of 1 ppm and of 100 % have none in reach."""
    exact = annuity.factor(rate, months)
    balances = set()
    for bits in (20, 28, 34, 36, 37, 38):
        near = exact.limit_denominator(2**bits)
        p, q = near.numerator, near.denominator
        balances |= {pow(p, -1, q) * r % q for r in (q // 2, q // 2 + 1) if q > 1}
    below = [HALF - (b * exact) % 1 for b in balances]
    assert rate in (1, 10**6) or any(0 < gap < Fraction(1, 2**27) for gap in below)
    tried = sorted(b + d for b in balances for d in (-1, 0, 1) if b)
    kinds = np.full(len(tried), rate), np.full(len(tried), months, np.int32)
    assert annuity.annuity(np.array(tried), *kinds).tolist() == [rounded(b * exact) for b in tried]


def test_an_exact_half_of_an_annuity_rounds_up() -> None:
    """12 ppm a year on one month: A = S · (1 + 10**-6); S = 500,000 gives 500,000.5."""
    assert annuity.factor(12, 1) == Fraction(1_000_001, 1_000_000)
    assert annuity.annuity(np.array([500_000, 499_999]), np.array([12, 12]), np.array([1, 1], np.int32)).tolist() == [500_001, 499_999]
    assert annuity.annuity(np.array([32, 31]), np.array([0, 0]), np.array([64, 64], np.int32)).tolist() == [1, 0]


@settings(max_examples=200, deadline=None)
@given(start=st.integers(FIRST_DAY, LAST_DAY - 800), length=st.integers(0, 800), due_day=st.integers(1, 31), months=st.integers(0, 500))
def test_tables_of_dates_are_the_calendar(start: int, length: int, due_day: int, months: int) -> None:
    a, b, due = (np.array([v], np.int32) for v in (start, start + length, due_day))
    part, _ = year_fraction("monthly", a.astype(np.int64), b.astype(np.int64), due.astype(np.int64))
    assert monthly_360ths(a, b, due).tolist() == part.tolist()
    part, _ = year_fraction("30/360", a.astype(np.int64), b.astype(np.int64))
    assert (thirty(b) - thirty(a)).tolist() == part.tolist()
    assert months_later(a, np.array([months], np.int32)).tolist() == add_months(a.astype(np.int64), months).tolist()
    on = date(1970, 1, 1) + timedelta(start)
    assert next_january(a).tolist() == [(date(on.year + 1, 1, 1) - date(1970, 1, 1)).days]
    assert due_date(np.array([on.year * 12 + on.month - 1 - 1970 * 12], np.int32), due).tolist() == [
        (month_later(on, 0, due_day) - date(1970, 1, 1)).days
    ]


def test_days_outside_the_domain_take_its_ends() -> None:
    assert place(np.array([FIRST_DAY - 5, FIRST_DAY, LAST_DAY + 1, LAST_DAY + 5], np.int32)).tolist() == [
        0,
        0,
        LAST_DAY + 1 - FIRST_DAY,
        LAST_DAY + 1 - FIRST_DAY,
    ]


def test_amounts_of_the_handbook_are_not_touched_by_a_float() -> None:
    """A figure that floats get wrong: 0.5 fen exactly rounds up, a hair below does not."""
    one = row("001", "2026-01-10", "2026-02-10", "0", "500,000", interest_fen=35, instalment=1)
    assert assess(facts(one), policy(rule(method="share", share_ppm=100_000))).lines["figure_fen"].to_pylist() == [4]
    assert assess(facts(one), policy(rule(method="share", share_ppm=99_999))).lines["figure_fen"].to_pylist() == [3]
    assert fen("0.35") == 35
