"""Schedules add up to the loan, to the fen; the fast way equals the slow one; numbers carry valid check digits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import luhn
from stdnum.iso7064 import mod_11_2, mod_11_10

from fixtures import identity, loan, papers, rates
from fixtures.answers import opening_of
from fixtures.centres import CENTRES, GO_LIVE
from fixtures.dates import first_due_on_or_after, in_month, monthly_days
from fixtures.loan import History, Loan, Part, Plan, reversal, simulate
from fixtures.shadow import Terms


@st.composite
def loans(draw: st.DrawFn, oldest: date = date(2015, 1, 1), longest: int = 360) -> Loan:
    disbursed = draw(st.dates(oldest, date(2026, 7, 31)))
    due_day = draw(st.one_of(st.just(disbursed.day), st.integers(1, 31)))
    first = "aligned" if due_day == disbursed.day else "odd" if disbursed.day < due_day <= 28 and draw(st.booleans()) else "irregular"
    needed = (GO_LIVE.year - disbursed.year) * 12 + GO_LIVE.month - disbursed.month + 6
    term = draw(st.integers(max(12, needed), max(longest, needed)))
    amount = draw(st.integers(5_000_000, 200_000_000))
    method, home = draw(st.sampled_from(("01", "02"))), draw(st.sampled_from(("01", "02")))
    return Loan(
        CENTRES["wenzhou"], draw(st.integers(1, 99_999_999)), "105", method, home, amount, amount,
        draw(st.integers(amount // 2, amount)), term, due_day, disbursed, disbursed, term, first,
        draw(st.sampled_from((85, 100, 110))), draw(st.sampled_from((-3_000, 0, 6_000))),
    )


def whole_life(subject: Loan, plan: Plan) -> History:
    return simulate(subject, plan, subject.due(subject.term_months), subject.disbursed_on)


@given(loans(oldest=date(2021, 1, 1), longest=120))
@settings(max_examples=60, deadline=None)
def test_principal_adds_up_to_the_loan(subject: Loan) -> None:
    rows = whole_life(subject, Plan()).rows
    assert sum(r["BJJE"] for r in rows) == subject.disbursed_fen
    assert rows[-1]["SYBJ"] == 0 and all(r["FSE"] == r["BJJE"] + r["LXJE"] + r["FXJE"] for r in rows)
    balance = subject.disbursed_fen
    for row in rows:
        assert row["JXBJ"] == balance and row["SYBJ"] == balance - row["BJJE"]
        balance = row["SYBJ"]
    assert all(a["JXZZRQ"] == b["JXQSRQ"] for a, b in pairwise(rows))
    assert [r["DQQC"] for r in rows if r["DQQC"]] == list(range(1, subject.term_months + 1))


@given(loans(oldest=date(2024, 1, 1), longest=60), st.integers(1, 9_999), st.integers(0, 40), st.integers(1, 70), st.integers(9, 12))
@settings(max_examples=60, deadline=None)
def test_parts_and_prepayments_add_up_too(subject: Loan, share: int, late: int, percent: int, month: int) -> None:
    due = in_month(2026, month, subject.due_day)
    parts = (Part(share, due), Part(10_000 - share, due + timedelta(days=late)))
    plan = Plan(payments={(2026, month): parts}, prepayments=((due - timedelta(days=9), subject.disbursed_fen * percent // 100),))
    history = whole_life(subject, plan)
    assert sum(r["BJJE"] for r in history.rows) == subject.disbursed_fen
    whole = next(r for r in whole_life(subject, Plan(prepayments=plan.prepayments)).rows if r["YHKRQ"] == due and r["DQQC"])
    two = [r for r in history.rows if r["YHKRQ"] == due and r["DQQC"]]
    assert len(two) == 2 and two[0]["YWLSH"] < two[1]["YWLSH"]
    for code in ("JXBJ", "BJJE", "LXJE"):
        assert two[0][code] + two[1][code] == whole[code]
    penalty = Fraction(two[1]["BJJE"] * two[1]["ZXLL"] * 3 * late, 2 * 360 * 1_000_000)
    assert two[1]["DKYWMXLX"] == ("04" if late else "02")
    assert two[1]["FXJE"] == int(penalty + Fraction(1, 2))
    assert two[0]["FXJE"] == 0


@given(loans())
@settings(max_examples=80, deadline=None)
def test_fast_history_is_the_slow_one(subject: Loan) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fast = simulate(subject, Plan(), date(2026, 12, 31), GO_LIVE)
        patch.setattr(loan, "_quiet_before_go_live", lambda plan, rows_from: False)
        slow = simulate(subject, Plan(), date(2026, 12, 31), GO_LIVE)
    assert fast.rows == slow.rows
    assert (fast.interest_before_fen, fast.next_instalment) == (slow.interest_before_fen, slow.next_instalment)
    assert all(fast.balance(d) == slow.balance(d) for d in (date(2026, 8, 31), date(2026, 10, 15), date(2026, 12, 31)))
    terms = Terms(subject.subsidised_fen, subject.term_months, subject.method, subject.due_day, subject.home_order, subject.disbursed_on)
    begins = in_month(subject.disbursed_on.year, subject.disbursed_on.month, subject.due_day) if subject.first_period == "odd" else None
    opening = papers.opening(fast)
    expected = opening_of(terms, subject.first_due(), begins or subject.disbursed_on, [], fast.next_instalment)
    assert (opening["YZYE"], opening["YZYHE"]) == expected


def test_from_benchmark_to_lpr() -> None:
    """The nationwide conversion: the points keep December 2019's rate; the batch adjustment of October 2024 caps them at -30."""
    def on(day: date) -> int:
        return rates.commercial_rate(date(2016, 5, 10), True, 90, 0, day)

    assert [on(d) for d in (date(2016, 6, 1), date(2020, 12, 31))] == [44_100, 44_100]
    assert on(date(2021, 6, 1)) == 46_500 + (44_100 - 48_000) == 42_600
    assert on(date(2025, 3, 1)) == 36_000 - 3_900 and on(date(2026, 3, 1)) == 35_000 - 3_900
    assert rates.commercial_rate(date(2016, 5, 10), True, 110, 0, date(2025, 3, 1)) == 36_000 - 3_000


def test_an_old_loan_follows_a_fund_rate_change_on_the_next_first_of_january() -> None:
    assert [rates.fund_rate("01", 360, date(2024, 6, 20), d) for d in (date(2024, 12, 31), date(2025, 12, 31), date(2026, 1, 1))] == [
        28_500, 28_500, 26_000,
    ]
    assert rates.fund_rate("02", 60, date(2026, 3, 1), date(2026, 9, 1)) == 25_250
    with pytest.raises(KeyError):
        rates.fund_rate("01", 360, date(2009, 1, 1), date(2009, 6, 1))


@given(st.dates(date(2020, 1, 1), date(2027, 1, 1)), st.integers(0, 40), st.integers(1, 31))
def test_months_from_due_date_to_due_date(start: date, months: int, due_day: int) -> None:
    due = first_due_on_or_after(start, due_day)
    end = in_month(due.year, due.month + months, due_day)
    assert monthly_days(start, end, due_day) == 30 * months + (due - start).days
    assert monthly_days(start, end + timedelta(days=1), due_day) == 30 * months + (due - start).days + 1


def test_reversal_is_the_opposite() -> None:
    subject = Loan(CENTRES["hangzhou"], 1, "105", "01", "01", 10**8, 10**8, 10**8, 120, 5, date(2026, 8, 5), date(2026, 8, 5), 120)
    row = simulate(subject, Plan(), date(2026, 9, 30), GO_LIVE).rows[0]
    back = reversal(row, date(2026, 9, 8))
    assert (back["FSE"], back["BJJE"], back["LXJE"]) == (-row["FSE"], -row["BJJE"], -row["LXJE"])
    assert back["YYWLSH"] == row["YWLSH"] and back["YWLSH"] > row["YWLSH"] and back["SYBJ"] == row["JXBJ"]


def _keys() -> Iterator[int]:
    return (identity.mix(9, i) for i in range(500))


def test_numbers_are_valid() -> None:
    for key in _keys():
        number = identity.id_number(key, "330106")
        assert len(number) == 18 and mod_11_2.is_valid(number)
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
        bank_no = identity.bank_number("105", "3310", key)
        assert len(bank_no) == 12 and mod_11_10.is_valid(bank_no)
        assert luhn.is_valid(identity.card_number("62170", key))


def test_people_differ_but_are_the_same_again() -> None:
    people = [papers.borrower(CENTRES["hangzhou"], n, 1, "105") for n in range(1, 400)]
    assert people == [papers.borrower(CENTRES["hangzhou"], n, 1, "105") for n in range(1, 400)]
    assert len({p.id_no for p in people}) == len({p.card_no for p in people}) == 399


@pytest.mark.parametrize("name", identity.RARE_NAMES)
def test_rare_names_fit_gb18030(name: str) -> None:
    assert name.encode("gb18030").decode("gb18030") == name


def test_some_rare_names_do_not_fit_gbk() -> None:
    def fits(name: str) -> bool:
        try:
            name.encode("gbk")
        except UnicodeEncodeError:
            return False
        return True

    assert sum(not fits(n) for n in identity.RARE_NAMES) >= 5
