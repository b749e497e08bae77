"""Every worked figure of the handbook, section 4, from the plain answer code."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from fixtures.answers import Answer, LoanFacts, assess
from fixtures.centres import CENTRES, Centre
from fixtures.loan import Loan, Part, Plan, Row, reversal, simulate

BASE = replace(CENTRES["hangzhou"], rate_cap=())
RATIO = BASE
MONTHLY = replace(BASE, method="spread", day_count="monthly")
ACTUAL = replace(BASE, method="spread", day_count="actual/360")
INTEREST = replace(BASE, method="shadow_interest")
PAYMENT = replace(BASE, method="payment_difference")
POINTS = replace(BASE, method="points", points_ppm=10_000, day_count="monthly")
SHARE = replace(BASE, method="share", share_ppm=200_000)


def loan_a(disbursed: date = date(2026, 1, 10), yuan: int = 500_000, subsidised: int = 0, rate: int = 35_000, due_day: int = 10,
           first_period: str = "aligned", home: str = "01") -> Loan:  # fmt: skip
    return Loan(
        BASE, 1, "105", "01", home, yuan * 100, yuan * 100, (subsidised or yuan) * 100, 360, due_day, disbursed, disbursed, 360,
        first_period, fixed_rate_ppm=rate,
    )


def facts_of(loan: Loan, plan: Plan, until: date, rows: list[Row] | None = None) -> LoanFacts:
    """Facts of a loan whose whole history is in the files."""
    rows = simulate(loan, plan, until, loan.disbursed_on).rows if rows is None else rows
    agreement = {"TXXYBH": "A", "JKHTBH": "C", "ZXBH": BASE.code, "TXBJ": loan.subsidised_fen, "FWTS": loan.home_order,
                 "QYRQ": loan.disbursed_on, "TXQSRQ": loan.subsidy_start_on, "TXQS": loan.subsidy_months, "SKRLX": "01"}  # fmt: skip
    contract = {"JKHTBH": "C", "YDHKR": loan.due_day, "DKHKFS": loan.method, "DKQS": loan.term_months, "HTDKJE": loan.contract_fen,
                "DKLX": "03", "JKHTQDRQ": loan.disbursed_on, "JKHTLL": loan.rate(loan.disbursed_on)}  # fmt: skip
    account = {"DKZH": loan.account_no, "DKFFE": loan.disbursed_fen, "DKFFRQ": loan.disbursed_on, "DKQS": loan.term_months,
               "DKLL": loan.rate(loan.disbursed_on)}  # fmt: skip
    return LoanFacts(agreement, contract, account, None, rows)


def figures(centre: Centre, loan: Loan, plan: Plan | None = None, until: date = date(2026, 4, 10)) -> list[int]:
    return [a.figure_fen for a in assess(centre, facts_of(loan, plan or Plan(), until))]


@pytest.mark.parametrize(
    ("centre", "expected"),
    [
        (RATIO, [375_00, 374_41, 373_82]),
        (MONTHLY, [375_00, 374_41, 373_82]),
        (ACTUAL, [387_50, 349_45, 386_28]),
        (INTEREST, [375_00, 374_70, 374_39]),
        (PAYMENT, [243_52, 243_52, 243_52]),
        (POINTS, [416_67, 416_01, 415_35]),
        (SHARE, [291_67, 291_21, 290_75]),
    ],
)
def test_loan_a(centre: Centre, expected: list[int]) -> None:
    assert figures(centre, loan_a()) == expected


@pytest.mark.parametrize(
    ("centre", "prepaid", "third"), [(RATIO, 40_00, 298_82), (INTEREST, 40_00, 299_27), (PAYMENT, 40_00, 194_67)]
)
def test_prepayment_row_and_the_instalment_after_it(centre: Centre, prepaid: int, third: int) -> None:
    plan = Plan(prepayments=((date(2026, 3, 26), 100_000_00),))
    assert figures(centre, loan_a(), plan)[2:] == [prepaid, third]


@pytest.mark.parametrize(("subsidised", "expected"), [(300_000, [0, 225_00]), (450_000, [20_63, 298_82])])
def test_prepayment_under_on_balance(subsidised: int, expected: list[int]) -> None:
    plan = Plan(prepayments=((date(2026, 3, 26), 100_000_00),))
    centre = replace(RATIO, principal_cap="on_balance")
    assert figures(centre, loan_a(subsidised=subsidised), plan)[2:] == expected


@pytest.mark.parametrize(("centre", "expected"), [(RATIO, [150_00, 225_00]), (INTEREST, [150_00, 225_00]), (PAYMENT, [97_40, 146_12])])
def test_instalment_paid_in_two_rows(centre: Centre, expected: list[int]) -> None:
    plan = Plan(payments={(2026, 2): (Part(4_000, date(2026, 2, 10)), Part(6_000, date(2026, 2, 10)))})
    rows = simulate(loan_a(), plan, date(2026, 2, 10), date(2026, 1, 1)).rows
    assert [(r["JXBJ"], r["LXJE"], r["BJJE"]) for r in rows] == [(200_000_00, 583_33, 314_75), (300_000_00, 875_00, 472_14)]
    assert figures(centre, loan_a(), plan, date(2026, 2, 10)) == expected


def test_an_instalment_paid_in_part_leaves_the_next_one_open() -> None:
    plan = Plan(payments={(2026, 2): (Part(4_000, date(2026, 2, 10)), Part(6_000, date(2026, 3, 20)))})
    silent = replace(INTEREST, sends_balance=False)
    open_part = assess(silent, facts_of(loan_a(), plan, date(2026, 3, 10)))
    assert [(a.figure_fen, a.note == "balance unknown") for a in open_part] == [(150_00, False), (0, True)]
    assert figures(silent, loan_a(), plan, date(2026, 3, 20)) == [150_00, 225_00, 374_70]


def test_overlapping_suspensions_are_one() -> None:
    centre = replace(RATIO, stop_on_second_suspension=True)
    facts = facts_of(loan_a(disbursed=date(2026, 9, 10)), Plan(), date(2027, 1, 10))
    well = {"GJJZHZT": "01", "DKZT": "normal", "LJYQQS": 0}
    facts.statuses += [{"RIQI": date(2026, 11, 1), "LXYQQS": 3, **well}, {"RIQI": date(2027, 1, 5), "LXYQQS": 0, **well}]
    facts.changes += [{"BGLX": "suspend", "SXRQ": date(2026, 11, 20)}, {"BGLX": "resume", "SXRQ": date(2027, 1, 8)}]
    assert [a.outcome for a in assess(centre, facts)] == ["pay"] * 4


def test_two_halves_under_on_balance() -> None:
    plan = Plan(payments={(2026, 2): (Part(5_000, date(2026, 2, 10)), Part(5_000, date(2026, 2, 10)))})
    centre = replace(RATIO, principal_cap="on_balance")
    assert figures(centre, loan_a(yuan=1_200_000, subsidised=900_000), plan, date(2026, 2, 10)) == [450_00, 225_00]


@pytest.mark.parametrize("centre", [RATIO, MONTHLY, ACTUAL, INTEREST, PAYMENT, POINTS, SHARE])
def test_late_instalment_as_if_paid_on_time(centre: Centre) -> None:
    plan = Plan(payments={(2026, 3): (Part(10_000, date(2026, 4, 2)),)})
    assert figures(centre, loan_a(), plan) == figures(centre, loan_a())


def test_due_day_31() -> None:
    loan = loan_a(disbursed=date(2026, 1, 31), due_day=31)
    rows = simulate(loan, Plan(), date(2026, 4, 30), date(2026, 1, 1)).rows
    assert [r["JXZZRQ"] for r in rows] == [date(2026, 2, 28), date(2026, 3, 31), date(2026, 4, 30)]
    assert figures(MONTHLY, loan, until=date(2026, 4, 30)) == [375_00, 374_41, 373_82]


@pytest.mark.parametrize(("mid", "expected"), [("split", 332_00), ("old", 268_67), ("new", 372_00)])
def test_year_end(mid: str, expected: int) -> None:
    loan = loan_a(disbursed=date(2024, 6, 20), yuan=480_000, due_day=20)
    row = simulate(loan, Plan(), date(2024, 7, 20), date(2024, 1, 1)).rows[0] | {
        "JXQSRQ": date(2025, 12, 20), "JXZZRQ": date(2026, 1, 20), "YHKRQ": date(2026, 1, 20), "DQQC": 19, "JXBJ": 480_000_00,
        "LXJE": 1_446_67,
    }  # fmt: skip
    assert [a.figure_fen for a in assess(replace(RATIO, mid_period=mid), facts_of(loan, Plan(), date(2026, 1, 20), [row]))] == [expected]


@pytest.mark.parametrize(("cap", "expected"), [((), 625_00), (((date(1, 1, 1), 35_000),), 375_00)])
def test_rate_cap_limits_the_numerator_only(cap: tuple[tuple[date, str | int], ...], expected: int) -> None:
    loan = loan_a(rate=41_000)
    assert figures(replace(RATIO, rate_cap=cap), loan, until=date(2026, 2, 10)) == [expected]


@pytest.mark.parametrize(("cap", "expected"), [("pro_rata", [675_00, 524_13, 388_99]), ("on_balance", [675_00, 675_00, 518_65])])
def test_part_of_a_loan_over_its_life(cap: str, expected: list[int]) -> None:
    loan = loan_a(yuan=1_200_000, subsidised=900_000)
    rows = simulate(loan, Plan(), date(2043, 1, 10), date(2026, 1, 1)).rows
    found = assess(replace(RATIO, principal_cap=cap), facts_of(loan, Plan(), date(2043, 1, 10), rows))
    assert [found[k - 1].figure_fen for k in (1, 120, 200)] == expected


@pytest.mark.parametrize("centre", [RATIO, replace(ACTUAL), MONTHLY, INTEREST, PAYMENT])
def test_odd_first_days(centre: Centre) -> None:
    loan = loan_a(disbursed=date(2026, 3, 11), due_day=20, first_period="odd")
    rows = simulate(loan, Plan(), date(2026, 3, 20), date(2026, 1, 1)).rows
    assert [(r["DQQC"], r["LXJE"]) for r in rows] == [(0, 437_50)]
    assert figures(centre, loan, until=date(2026, 3, 20)) == [112_50]


def test_reversed_repayment_frees_the_monthly_limit() -> None:
    loan = loan_a()
    row = simulate(loan, Plan(), date(2026, 2, 10), date(2026, 1, 1)).rows[0]
    limited = replace(RATIO, monthly_limit_fen=300_00)
    assert assess(limited, facts_of(loan, Plan(), row["JXZZRQ"], [row]))[0].entitled_fen == 300_00
    both = assess(limited, facts_of(loan, Plan(), row["JXZZRQ"], [row, reversal(row, date(2026, 2, 12))]))
    assert [(a.figure_fen, a.outcome) for a in both] == [(0, "reversed"), (0, "reversed")]


def test_reversal_of_another_amount_is_quarantined() -> None:
    loan = loan_a()
    row = simulate(loan, Plan(), date(2026, 2, 10), date(2026, 1, 1)).rows[0]
    wrong = reversal(row, date(2026, 2, 12)) | {"LXJE": -1}
    outcomes = [a.outcome for a in assess(RATIO, facts_of(loan, Plan(), row["JXZZRQ"], [row, wrong]))]
    assert outcomes == ["hold", "quarantined"]


def test_never_negative() -> None:
    assert figures(RATIO, loan_a(rate=30_500, home="02"), until=date(2026, 2, 10)) == [0]


def test_conversion_inside_a_period() -> None:
    loan = loan_a(yuan=490_000)
    row = simulate(loan, Plan(), date(2026, 2, 10), date(2026, 1, 1)).rows[0] | {
        "JXQSRQ": date(2026, 9, 10), "JXZZRQ": date(2026, 10, 10), "YHKRQ": date(2026, 10, 10), "DQQC": 9, "LXJE": 1_429_17,
    }  # fmt: skip
    facts = facts_of(loan, Plan(), date(2026, 10, 10), [row])
    full = assess(RATIO, facts)[0].figure_fen
    facts.changes.append({"BGLX": "convert", "SXRQ": date(2026, 9, 30), "XDKQS": None, "XDKHKFS": None})
    found: Answer = assess(RATIO, facts)[0]
    assert (full, found.figure_fen) == (367_50, 245_00)
