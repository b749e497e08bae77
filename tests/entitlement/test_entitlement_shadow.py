"""Shadow loans (handbook section 4): against a plain loop of one loan by fractions, and the events that bend them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from entitlement_facts import FUND, INSTALMENTS, change, day, facts, fen, month_later, opening, policy, row, rule
from hypothesis import given, settings
from hypothesis import strategies as st

from subsidy.calendar import day_number
from subsidy.entitlement.dates import month_of, next_january
from subsidy.entitlement.engine import assess
from subsidy.entitlement.rates import FundRates, Whose
from subsidy.entitlement.shadow import Instalments, Prepayments, Rules, ShadowLoans, Terms, advance
from subsidy.facts.schema import Facts

HALF = Fraction(1, 2)
SHADOW = rule(method="shadow_interest")


def rounded(value: Fraction) -> int:
    return (value + HALF).__floor__()


@dataclass
class Plain:
    """One shadow loan, one instalment after the other; first home, more than five years, next_january, split, due day at most 28."""

    balance: int
    term: int
    disbursed: date
    due_day: int
    by_principal: bool = False
    prepayments: list[tuple[date, int, int]] = field(default_factory=list)  # accrual end, prepaid, remaining
    terms: list[tuple[date, int, str]] = field(default_factory=list)  # effective, new term, new method

    def rate(self, on: date) -> int:
        seen = self.disbursed if on.year == self.disbursed.year else date(on.year - 1, 12, 31)
        return FUND["FIRST_GT5"].on(seen)

    def run(self, count: int) -> list[tuple[int, int, int]]:
        """(balance before, interest, principal) of the first `count` instalments."""
        out, balance, before, part = [], self.balance, -1, 0
        start, term, by_principal = self.disbursed, self.term, self.by_principal
        waiting, changes = sorted(self.prepayments), sorted(self.terms)
        for k in range(1, count + 1):
            due = month_later(self.disbursed, k, self.due_day)
            rebuild = k == 1
            while waiting and waiting[0][0] < due:
                _, prepaid, remaining = waiting.pop(0)
                balance, rebuild = rounded(Fraction(balance * remaining, remaining + prepaid)), True
            while changes and changes[0][0] < due:
                _, new_term, method = changes.pop(0)
                term, rebuild = new_term or term, True
                by_principal = method == "02" if method else by_principal
            days = [start + timedelta(n) for n in range((due - start).days)]
            mean = Fraction(sum(self.rate(d) for d in days), len(days) * 10**6)
            rho = self.rate(start)
            left = term - k + 1
            if rebuild or rho != before:
                m = Fraction(rho, 12 * 10**6)
                annuity = balance * m * (1 + m) ** left / ((1 + m) ** left - 1) if rho else Fraction(balance, left)
                part = rounded(Fraction(balance, left) if by_principal else annuity)
            before = rho
            first = month_later(start, 0, self.due_day)
            first = first if first >= start else month_later(start, 1, self.due_day)
            months = (due.year - first.year) * 12 + due.month - first.month
            part_of_year = Fraction(months, 12) + Fraction((first - start).days, 360) if first < due else Fraction((due - start).days, 360)
            principal = part if by_principal else part - rounded(balance * mean / 12)
            principal = balance if left == 1 else principal
            out.append((balance, rounded(balance * mean * part_of_year), principal))
            balance -= principal
            start = due
        return out


def columns(loans: list[Plain], count: int) -> list[list[tuple[int, int, int]]]:
    """The same loans through `advance`, together."""
    disbursed = np.array([day_number(x.disbursed) for x in loans], np.int32)
    number = len(loans)
    none32, flat = np.empty(0, np.int32), np.zeros(number, np.uint8)
    pre = sorted((n, day_number(on), p, r) for n, x in enumerate(loans) for on, p, r in x.prepayments)
    terms = sorted((n, day_number(on), t, int(m or 0)) for n, x in enumerate(loans) for on, t, m in x.terms)
    start = ShadowLoans(
        balance=np.array([x.balance for x in loans]),
        given=np.full(number, -1),
        previous_rate=np.full(number, -1),
        first=np.ones(number, np.int32),
        last=np.full(number, count, np.int32),
        term=np.array([x.term for x in loans], np.int32),
        method=np.array([1 + x.by_principal for x in loans], np.uint8),
        due_day=np.array([x.due_day for x in loans], np.int32),
        anchor=month_of(disbursed),
        period_from=disbursed,
        unknown=flat,
        subsidised=np.ones(number, bool),
        whose=Whose(flat + 1, disbursed, disbursed, next_january(disbursed)),
    )
    events = Prepayments(
        *(np.array([e[i] for e in pre], kind) for i, kind in ((0, np.int32), (1, np.int32), (2, np.int64), (3, np.int64))),
        np.ones(len(pre), bool),
    )
    changed = Terms(*(np.array([e[i] for e in terms], kind) for i, kind in ((0, np.int32), (1, np.int32), (2, np.int32), (3, np.uint8))))
    out: list[list[tuple[int, int, int]]] = [[] for _ in loans]
    for step in advance(
        start,
        Instalments(none32, none32, none32, none32, none32),
        events,
        changed,
        FundRates(policy().parameters),
        [Rules(0, "next_january", "split")],
    ):
        for place, loan in enumerate(step.loan.tolist()):
            out[loan].append((int(step.balance[place]), int(step.interest[place]), int(step.principal[place])))
    return out


def loans() -> st.SearchStrategy[Plain]:
    on = st.integers(0, 4000).map(lambda n: date(2015, 1, 1) + timedelta(n))
    return st.builds(
        Plain,
        balance=st.integers(1, 10**10) | st.integers(2**38 - 5, 2**38 + 5) | st.integers(10**13 - 5, 10**13),
        term=st.integers(61, 480),
        disbursed=on,
        due_day=st.integers(1, 28),
        by_principal=st.booleans(),
        prepayments=st.lists(st.tuples(on, st.integers(1, 10**9), st.integers(0, 10**10)), max_size=3, unique_by=lambda e: e[0]),
        terms=st.lists(
            st.tuples(on, st.sampled_from([0, 90, 400]), st.sampled_from(["", "01", "02"])), max_size=2, unique_by=lambda e: e[0]
        ),
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(loans(), min_size=1, max_size=4))
def test_loans_together_are_each_loan_alone(some: list[Plain]) -> None:
    assert columns(some, 60) == [loan.run(60) for loan in some]


def test_a_whole_life_ends_at_zero() -> None:
    loan = Plain(fen("500,000"), 360, day("2023-05-10"), 10)
    found = columns([loan], 360)[0]
    assert found == loan.run(360)
    assert sum(principal for _, _, principal in found) == loan.balance


def shadow_of(given_facts: Facts, *rules: Any) -> dict[int, dict[str, Any]]:
    return {s["instalment"]: s for s in assess(given_facts, policy(*(rules or (SHADOW,)))).shadow.to_pylist()}


def figures(given_facts: Facts, rules: Any = None) -> list[int]:
    return list(assess(given_facts, rules or policy(SHADOW)).lines["figure_fen"].to_pylist())


def test_state_of_loan_a() -> None:
    state = shadow_of(facts(*INSTALMENTS))
    assert [(s["balance_before_fen"], s["interest_fen"], s["annuity_fen"], s["months_left"]) for s in state.values()] == [
        (fen("500,000.00"), fen("1,083.33"), fen("2,001.70"), 360),
        (fen("499,081.63"), fen("1,081.34"), fen("2,001.70"), 359),
        (fen("498,161.27"), fen("1,079.35"), fen("2,001.70"), 358),
    ]
    assert {s["rate_ppm"] for s in state.values()} == {26_000}


def test_it_starts_at_the_smaller_of_subsidised_and_disbursed() -> None:
    half = facts(*INSTALMENTS, agreement={"subsidised_principal_fen": fen("250,000")})
    assert shadow_of(half)[1]["balance_before_fen"] == fen("250,000")
    assert figures(half)[0] == fen("187.50")
    more = facts(*INSTALMENTS, agreement={"subsidised_principal_fen": fen("600,000")})
    assert shadow_of(more)[1]["balance_before_fen"] == fen("500,000")


def test_an_unpaid_instalment_advances_all_the_same() -> None:
    """Instalment 2 is not paid; the bank tells the balance after instalment 3."""
    third = {**INSTALMENTS[2], "balance_after_fen": fen("497,632.45")}
    with_gap = facts(INSTALMENTS[0], third)
    assert shadow_of(with_gap) == shadow_of(facts(*INSTALMENTS))
    assert figures(with_gap) == [fen("375.00"), fen("374.39")]


def test_without_the_banks_balance_a_gap_holds() -> None:
    lines = assess(facts(INSTALMENTS[0], INSTALMENTS[2]), policy(SHADOW)).lines
    assert [(x["outcome"], x["reason"]) for x in lines.to_pylist()] == [("pay", ""), ("hold", "BALANCE-UNKNOWN")]
    ratio = assess(facts(INSTALMENTS[0], INSTALMENTS[2]), policy()).lines
    assert ratio["figure_fen"].to_pylist() == [fen("375.00"), fen("373.82")]


def test_equal_principal() -> None:
    state = shadow_of(facts(*INSTALMENTS, contract={"repayment_method": "02"}))
    assert [s["principal_fen"] for s in state.values()] == [fen("1,388.89")] * 3
    assert state[2]["interest_fen"] == rounded(Fraction(fen("498,611.11") * 26, 12_000))


def test_the_last_instalment_takes_all_that_is_left() -> None:
    rows = [
        row(f"{k:03d}", f"2026-{k:02d}-10", f"2026-{k + 1:02d}-10", "100.00", "1,000", instalment=k, balance_after_fen=0) for k in (1, 2, 3)
    ]
    loan = {
        "contract": {"term_months": 3},
        "account": {"term_months": 3, "disbursed_fen": 1_000_01},
        "agreement": {"subsidised_principal_fen": 1_000_01},
    }
    state = shadow_of(facts(*rows, **loan))
    assert sum(s["principal_fen"] for s in state.values()) == 1_000_01
    assert state[3]["principal_fen"] == state[3]["balance_before_fen"]
    assert state[1]["rate_ppm"] == 21_000  # five years or less


def test_a_january_rebuilds_at_the_new_rate() -> None:
    """A loan of 2024 pays 2.85 % until the end of 2025 and 2.60 % from 2026-01-01: the period across is split, the next one rebuilds."""
    rows = [
        row("001", "2025-11-10", "2025-12-10", "1,400.00", "480,000", instalment=18),
        row("002", "2025-12-10", "2026-01-10", "1,400.00", "480,000", instalment=19),
        row("003", "2026-01-10", "2026-02-10", "1,400.00", "480,000", instalment=20),
    ]
    rows = [{**r, "balance_after_fen": fen("480,000")} for r in rows]
    loan = {
        "agreement": {"subsidy_start_on": day("2024-05-20"), "signed_on": day("2024-05-01")},
        "account": {"disbursed_on": day("2024-05-20")},
    }
    state = shadow_of(facts(*rows, **loan))
    assert (state[19]["rate_ppm"], state[20]["rate_ppm"]) == (28_500, 26_000)
    assert state[19]["annuity_fen"] == state[18]["annuity_fen"] != state[20]["annuity_fen"]
    mean = Fraction(22 * 28_500 + 9 * 26_000, 31 * 10**6)
    assert state[19]["interest_fen"] == rounded(state[19]["balance_before_fen"] * mean / 12)


@pytest.mark.parametrize(("mid_period", "rate"), [("old", 28_500), ("new", 26_000)])
def test_one_rate_for_the_whole_period(mid_period: str, rate: int) -> None:
    rows = [{**row("002", "2025-12-10", "2026-01-10", "1,400.00", "480,000", instalment=1), "balance_after_fen": fen("480,000")}]
    loan = {"agreement": {"subsidy_start_on": day("2024-05-20")}, "account": {"disbursed_on": day("2024-05-20")}}
    state = shadow_of(facts(*rows, **loan), rule(method="shadow_interest", mid_period=mid_period))
    assert state[1]["interest_fen"] == rounded(Fraction(fen("500,000") * rate, 12 * 10**6))
    assert state[1]["rate_ppm"] == 28_500


def test_prepayments_scale_one_after_another_and_after_the_instalment_of_their_day() -> None:
    rows = [
        *INSTALMENTS[:2],
        row("003", "2026-03-10", "2026-03-15", "50.00", "100,000", kind="03", principal_repaid_fen=fen("100,000")),
        row("004", "2026-03-15", "2026-04-10", "50.00", "50,000", kind="03", principal_repaid_fen=fen("50,000")),
        row("005", "2026-03-10", "2026-04-10", "1,162.07", "398,423.93", instalment=3, principal_repaid_fen=fen("632.69")),
        row("006", "2026-04-10", "2026-05-10", "1,014.39", "347,791.24", instalment=4, principal_repaid_fen=fen("553.94")),
    ]
    state = shadow_of(facts(*rows))
    third = rounded(Fraction(fen("498,161.27") * fen("398,423.93"), fen("498,423.93")))
    assert state[3]["balance_before_fen"] == third
    fourth = rounded(Fraction((third - state[3]["principal_fen"]) * fen("347,791.24"), fen("397,791.24")))
    assert state[4]["balance_before_fen"] == fourth


def test_a_change_of_term_rebuilds_the_next_instalment() -> None:
    longer = facts(*INSTALMENTS, change=[change("B1", "term", "2026-03-09", new_term_months=480)])
    state = shadow_of(longer)
    assert [s["months_left"] for s in state.values()] == [360, 479, 478]
    assert state[2]["rate_ppm"] == 26_000
    on_due_day = shadow_of(facts(*INSTALMENTS, change=[change("B1", "term", "2026-03-10", new_term_months=480)]))
    assert [s["months_left"] for s in on_due_day.values()] == [360, 359, 478]
    method = shadow_of(facts(*INSTALMENTS, change=[change("B1", "term", "2026-03-09", new_repayment_method="02")]))
    assert method[2]["principal_fen"] == rounded(Fraction(fen("499,081.63"), 359))


def test_the_tier_stays_that_of_the_original_term() -> None:
    loan = {"contract": {"term_months": 60}, "account": {"term_months": 60}}
    longer = facts(*INSTALMENTS, change=[change("B1", "term", "2026-01-20", new_term_months=120)], **loan)
    assert {s["rate_ppm"] for s in shadow_of(longer).values()} == {21_000}
    assert assess(longer, policy()).lines["fund_rate_ppm"].to_pylist() == [21_000] * 3


def test_odd_first_days_move_the_first_period() -> None:
    """Disbursed on 2026-03-11, due day 20; period 1 is not paid yet when instalment 2 is: it runs from the end of the odd days."""
    odd = row("001", "2026-03-11", "2026-03-20", "437.50", "500,000", due_on=day("2026-03-20"))
    second = {**row("002", "2026-04-20", "2026-05-20", "1,456.04", "499,213.11", instalment=2), "balance_after_fen": fen("498,423.93")}
    loan = {
        "agreement": {"subsidy_start_on": day("2026-03-11")},
        "contract": {"due_day": 20},
        "account": {"disbursed_on": day("2026-03-11")},
    }
    assert shadow_of(facts(odd, second, **loan))[1]["period_from"] == day("2026-03-20")
    assert shadow_of(facts(second, **loan))[1]["period_from"] == day("2026-03-11")
    assert shadow_of(facts(second, **loan))[1]["period_to"] == day("2026-04-20")


def test_opening_gives_balance_and_instalment() -> None:
    given_facts = facts(*INSTALMENTS, opening=[opening(shadow_balance_fen=fen("499,000.00"), shadow_instalment_fen=fen("2,000.00"))])
    rules = policy(SHADOW, go_live="2026-03-01")
    found = assess(given_facts, rules)
    state = {s["instalment"]: s for s in found.shadow.to_pylist()}
    assert list(state) == [2, 3]
    assert state[2]["balance_before_fen"] == fen("499,000.00")
    assert state[2]["principal_fen"] == fen("2,000.00") - rounded(Fraction(fen("499,000") * 26, 12_000))
    lines = found.lines.to_pylist()
    assert [(x["outcome"], x["figure_fen"]) for x in lines[:1]] == [("opening", 0)]
    assert lines[1]["figure_fen"] == fen("1,456.04") - state[2]["interest_fen"]


@pytest.mark.parametrize("known", [{"shadow_balance_fen": fen("499,000")}, {"shadow_instalment_fen": fen("2,000")}, {}])
def test_an_opening_without_its_shadow_holds(known: dict[str, int]) -> None:
    lines = assess(facts(*INSTALMENTS, opening=[opening(**known)]), policy(SHADOW, go_live="2026-03-01")).lines
    assert lines["reason"].to_pylist() == ["OPENING", "SHADOW-UNKNOWN", "SHADOW-UNKNOWN"]
    assert lines["payable_fen"].to_pylist() == [0, 0, 0]


def test_a_settlement_row_is_assessed_with_ratio() -> None:
    rows = [
        *INSTALMENTS[:1],
        row("002", "2026-02-10", "2026-02-20", "485.35", "499,213.11", kind="06", principal_repaid_fen=fen("499,213.11")),
    ]
    lines = assess(facts(*rows), policy(SHADOW)).lines
    assert lines["method"].to_pylist() == ["shadow_interest", "ratio"]
    assert lines["figure_fen"].to_pylist() == [fen("375.00"), fen("124.80")]
    assert lines["shadow_balance_fen"].to_pylist() == [fen("500,000"), -1]


def test_a_reversed_prepayment_leaves_the_shadow() -> None:
    pre = row(
        "008",
        "2026-03-10",
        "2026-03-26",
        "155.56",
        "100,000",
        kind="03",
        principal_repaid_fen=fen("100,000"),
        balance_after_fen=fen("398,423.93"),
    )
    back = {
        **pre,
        "serial_no": "009",
        "reverses": "008",
        "interest_fen": -fen("155.56"),
        "principal_repaid_fen": -fen("100,000"),
        "balance_after_fen": None,
    }
    assert shadow_of(facts(*INSTALMENTS, pre, back)) == shadow_of(facts(*INSTALMENTS))
    assert shadow_of(facts(*INSTALMENTS, pre))[3] != shadow_of(facts(*INSTALMENTS))[3]


def test_a_prepayment_with_an_unknown_balance_holds_what_follows() -> None:
    pre = row("004", "2026-04-10", "2026-04-26", "155.56", "100,000", kind="03", principal_repaid_fen=fen("100,000"))
    later = {**row("005", "2026-04-10", "2026-05-10", "1,100.00", "398,000", instalment=4), "balance_after_fen": fen("397,000")}
    lines = assess(facts(INSTALMENTS[0], INSTALMENTS[2], pre, later), policy(SHADOW)).lines.to_pylist()
    assert [x["reason"] for x in lines] == ["", "BALANCE-UNKNOWN", "", "BALANCE-UNKNOWN"]


def test_parts_beyond_the_balance_pay_no_more_than_the_shadow() -> None:
    """q never exceeds one."""
    double = [{**INSTALMENTS[0], "serial_no": s, "balance_after_fen": fen("499,213.11")} for s in ("001", "002")]
    figures_found = figures(facts(*double))
    assert figures_found == [fen("375.00"), 2 * fen("1,458.33") - fen("1,083.33") - fen("375.00")]


def test_a_shadow_above_the_interest_pays_nothing() -> None:
    line = assess(facts({**INSTALMENTS[0], "interest_fen": fen("1,083.33")}), policy(SHADOW)).lines.to_pylist()[0]
    assert (line["payable_fen"], line["reason"]) == (0, "NO-SPREAD")
