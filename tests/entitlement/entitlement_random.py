"""Random, messy portfolios: partial and late payments, prepayments, reversals, gaps, wrong facts, changes, openings."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random
from typing import Any

from entitlement_facts import cap, change, facts, gates, month_later, opening, policy, row, rule, status, suspension

from subsidy.facts.schema import Facts
from subsidy.policy.model import CentrePolicy, RuleVersion

METHODS = ("ratio", "spread", "points", "share", "shadow_interest", "payment_difference")
DAY_COUNTS = ("monthly", "30/360", "actual/360", "actual/365")
RESETS = ("next_january", "immediate", "frozen")
MID_PERIODS = ("split", "old", "new")
GATE_ROWS = (
    ("not verified", "hold", "G-UNVERIFIED"),
    ("duplicate_claim", "hold", "G-DUPLICATE"),
    ("opening_missing", "hold", "G-OPENING"),
    ("overdue_total >= 6", "stop", "G-OVERDUE-6"),
    ("suspended and not cured", "hold", "G-SUSPENDED"),
    ("overdue_run >= 3", "hold", "G-OVERDUE-3"),
    ("days_late > 15", "forfeit", "G-LATE"),
    ("contributions_lapsed", "hold", "G-CONTRIBUTIONS"),
    ('loan_status == "written_off"', "stop", "G-WRITTEN-OFF"),
    ("suspension_count >= 2", "stop", "G-SECOND"),
)
SUSPENSIONS = ("overdue_run >= 3", "contributions_lapsed", 'loan_status == "overdue" or overdue_run >= 2')


@dataclass
class Loan:
    """Fact rows of one loan."""

    agreement: dict[str, Any]
    contract: dict[str, Any]
    account: dict[str, Any]
    transactions: list[dict[str, Any]] = field(default_factory=list)
    statuses: dict[date, dict[str, Any]] = field(default_factory=dict)
    changes: list[dict[str, Any]] = field(default_factory=list)
    others: dict[str, dict[str, Any]] = field(default_factory=dict)
    openings: list[dict[str, Any]] = field(default_factory=list)


def random_policy(r: Random) -> CentrePolicy:
    """One or two versions of any legal combination."""
    change_on = date(2025, r.randrange(1, 13), r.randrange(1, 28))
    rules = (random_rule(r, "v1", date(2000, 1, 1), change_on), random_rule(r, "v2", change_on, None))
    if r.random() < 0.5:
        rules = (random_rule(r, "v1", date(2000, 1, 1), None),)
    return policy(*rules, go_live=r.choice(("2000-01-01", "2024-06-01", "2025-03-01")))


def random_rule(r: Random, name: str, start: date, end: date | None) -> RuleVersion:
    method = r.choice(METHODS)
    shadow = method in METHODS[4:]
    capped = method in ("ratio", "spread") and r.random() < 0.5
    return rule(
        version_id=name,
        effective_from=start,
        effective_to=end,
        method=method,
        day_count=r.choice(DAY_COUNTS),
        fund_rate_reset=r.choice(RESETS),
        mid_period=r.choice(MID_PERIODS),
        principal_cap="pro_rata" if shadow else r.choice(("pro_rata", "on_balance")),
        rate_cap=r.choice((cap(("2000-01-01", 36_000)), cap(("2000-01-01", 45_000), ("2020-01-01", "LPR_5Y")))) if capped else (),
        points_ppm=r.randrange(1_000, 15_000),
        share_ppm=r.randrange(10_000, 400_000),
        monthly_limit_fen=r.choice((None, r.randrange(5_000, 60_000))),
        lifetime_limit_fen=r.choice((None, None, r.randrange(50_000, 600_000))),
        months_limit=r.choice((None, None, r.randrange(3, 30))),
        back_pay_months=r.choice((None, r.randrange(0, 6))),
        suspension=r.choice((None, suspension(r.choice(SUSPENSIONS), r.choice(("pay", "forfeit"))))),
        gates=gates(*(g for g in GATE_ROWS if r.random() < 0.4)),
    )


def random_loan(r: Random, number: int, go_live: date) -> Loan:
    disbursed = date(r.choice((2023, 2024, 2025)), r.randrange(1, 13), r.randrange(1, 29))
    amount = r.choice((50_000_000, 120_000_000, r.randrange(1_000_000, 300_000_000)))
    subsidised = r.choice((amount, amount, amount * 3 // 4, r.randrange(100_000, amount + 1)))
    rate, term, due_day = (
        r.choice((35_000, 30_500, r.randrange(20_000, 60_000))),
        r.choice((360, 120, 60, 24, 12)),
        r.choice((10, 20, 31, 1)),
    )
    account_no = f"ZH{number:03d}"
    loan = Loan(
        agreement={
            "agreement_no": f"XY{number * 37 % 1000:03d}",
            "contract_no": f"HT{number:03d}",
            "subsidised_principal_fen": subsidised,
            "home_order": r.choice(("01", "02")),
            "signed_on": disbursed - timedelta(r.randrange(40)),
            "subsidy_start_on": disbursed + timedelta(r.choice((0, 0, -5, 20))),
            "subsidy_months": r.choice((360, 12, 18)),
        },
        contract={
            "contract_no": f"HT{number:03d}",
            "due_day": due_day,
            "repayment_method": r.choice(("01", "02")),
            "amount_fen": amount - r.choice((0, 0, 0, 100)),
            "term_months": term,
            "rate_ppm": rate,
        },
        account={
            "account_no": account_no,
            "contract_no": f"HT{number:03d}",
            "disbursed_fen": amount,
            "disbursed_on": disbursed,
            "rate_ppm": rate,
            "term_months": term,
        },
    )
    _repay(r, loan, disbursed, amount, rate, term, due_day)
    _reverse(r, loan)
    _spoil(r, loan)
    if disbursed < go_live and r.random() < 0.8:
        loan.openings.append(
            opening(
                agreement_no=loan.agreement["agreement_no"],
                account_no=account_no,
                paid_fen=r.randrange(100_000),
                shadow_balance_fen=r.choice((None, r.randrange(1, subsidised + 1))),
                shadow_instalment_fen=r.randrange(1_000, subsidised // 12 + 2_000),
                overdue_total=r.choice((0, 5)),
            )
        )
    return loan


def _repay(r: Random, loan: Loan, disbursed: date, balance: int, rate: int, term: int, due_day: int) -> None:
    account_no = loan.account["account_no"]
    sends_balance = r.random() < 0.5
    principal = balance // term
    first = month_later(disbursed, 1, due_day)
    first = first if first > disbursed else month_later(disbursed, 2, due_day)
    previous = disbursed
    for k in range(1, r.randrange(1, min(term, 20) + 1) + 1):
        due = month_later(first, k - 1, due_day)
        if r.random() < 0.1 and balance > 400_000:
            on = previous + timedelta(r.randrange(1, max(2, (due - previous).days)))
            base = r.randrange(100_000, balance // 2)
            prepaid = r.choice((base, base, 0))
            balance -= prepaid
            interest = base * rate * (on - previous).days // 360_000_000
            _pay(loan, r, previous, on, interest, base, prepaid, rate, kind="03", balance_after_fen=balance if sends_balance else None)
        paid_on, kind = due, r.choice(("02", "02", "05"))
        if r.random() < 0.1:
            paid_on, kind = due + timedelta(r.randrange(1, 80)), "04"
        if r.random() >= 0.04:
            rest = [balance * rate // 12_000_000, balance, min(principal, balance)]
            for part in range(r.choice((1, 1, 1, 2, 3)), 0, -1):
                share = r.random() if part > 1 else 1.0
                interest, base, paid = rest if part == 1 else [int(x * share) for x in rest]
                if r.random() < 0.2:
                    interest = rest[0]  # the bank takes the interest first
                rest = [rest[0] - interest, rest[1] - base, rest[2] - paid]
                balance -= paid
                _pay(
                    loan,
                    r,
                    previous,
                    due,
                    interest,
                    base,
                    paid,
                    rate,
                    kind=kind,
                    instalment=k,
                    paid_on=paid_on,
                    booked_on=paid_on,
                    balance_after_fen=balance if sends_balance else None,
                )
        _happen(r, loan, due, account_no)
        previous = due
    if r.random() < 0.1:
        on = previous + timedelta(9)
        _pay(loan, r, previous, on, balance * rate * 9 // 360_000_000, max(balance, 1), balance, rate, kind="06")


def _pay(loan: Loan, r: Random, start: date, end: date, interest: int, base: int, principal: int, rate: int, **given: Any) -> None:
    serial = f"{len(loan.transactions) + 1:03d}" if r.random() < 0.95 else f"{len(loan.transactions) + 1}x"
    values = {"interest_fen": interest, "base_principal_fen": base, "principal_repaid_fen": principal, "rate_ppm": rate, **given}
    loan.transactions.append(row(serial, str(start), str(end), "0", "0", account_no=loan.account["account_no"], **values))


def _happen(r: Random, loan: Loan, due: date, account_no: str) -> None:
    if r.random() < 0.6:
        on = due + timedelta(r.randrange(-20, 10))
        state = r.choice(("normal", "normal", "normal", "overdue")) if r.random() < 0.98 else r.choice(("converted", "written_off"))
        run = r.choice((0, 0, 0, 2, 3))
        loan.statuses[on] = status(
            str(on),
            account_no=account_no,
            overdue_run=run,
            overdue_total=run * 2,
            contribution_status=r.choice(("01", "01", "02")),
            loan_status=state,
            balance_fen=r.randrange(10**8),
        )
    if r.random() < 0.05:
        kind = r.choice(("suspend", "resume", "stop", "convert", "clawback", "payee", "term"))
        more: dict[str, Any] = {}
        if kind == "clawback":
            more = {"range_from": due - timedelta(r.randrange(90)), "range_to": due + timedelta(r.randrange(40))}
        if kind == "term":
            more = {
                "new_term_months": r.choice((None, loan.contract["term_months"] + 24, 6)),
                "new_repayment_method": r.choice((None, "01", "02", "03")),
            }
        name = f"B{loan.agreement['agreement_no']}{len(loan.changes)}"
        loan.changes.append(change(name, kind, str(due), agreement_no=loan.agreement["agreement_no"], **more))
    if r.random() < 0.03 and loan.transactions:
        serial = loan.transactions[-1]["serial_no"]
        loan.others[serial] = {"account_no": account_no, "serial_no": serial, "scheme_name": "另一方案", "amount_fen": r.randrange(200_000)}


def _reverse(r: Random, loan: Loan) -> None:
    if r.random() < 0.3 and loan.transactions:
        one = r.choice(loan.transactions)
        back = {**one, "serial_no": "900", "reverses": one["serial_no"], "balance_after_fen": None}
        back |= {"interest_fen": -one["interest_fen"] + r.choice((0, 0, 0, 1)), "principal_repaid_fen": -one["principal_repaid_fen"]}
        loan.transactions += [back, {**one, "serial_no": "901"}]


def _spoil(r: Random, loan: Loan) -> None:
    """Facts outside their domain, now and then."""
    for one in loan.transactions:
        wrong = r.random()
        if wrong < 0.004:
            one["rate_ppm"] = 0
        elif wrong < 0.008:
            one["base_principal_fen"] = -1
        elif wrong < 0.012:
            one["accrual_to"] = one["accrual_from"]
        elif wrong < 0.016:
            one["interest_fen"] = 0
        elif wrong < 0.020:
            one["kind"] = r.choice(("01", "09", "77"))
        elif wrong < 0.024:
            one["accrual_to"] = date(r.choice((1899, 9999)), 1, 1)
        elif wrong < 0.028:
            one["instalment"] += 500
        elif wrong < 0.032:
            one["interest_fen"] = -5
        elif wrong < 0.036:
            one["paid_on"] = None
        elif wrong < 0.040:
            one["principal_repaid_fen"] = 2**62


def portfolio(r: Random, loans: int, rules: CentrePolicy) -> list[Loan]:
    """Loans whose rows keep their line numbers wherever they go."""
    made = [random_loan(r, number, rules.go_live) for number in range(loans)]
    for number, loan in enumerate(made):
        for line, one in enumerate([*loan.transactions, *loan.changes]):
            one["line_no"] = 1000 * number + line + 1
    return made


def facts_of(loans: list[Loan]) -> Facts:
    """The loans as facts; every ninth agreement is claimed twice."""
    return facts(
        *[t for loan in loans for t in loan.transactions],
        agreement=[loan.agreement for loan in loans],
        contract=[loan.contract for loan in loans],
        account=[loan.account for loan in loans],
        status=[s for loan in loans for s in loan.statuses.values()],
        change=[c for loan in loans for c in loan.changes],
        other_subsidy=[o for loan in loans for o in loan.others.values()],
        opening=[o for loan in loans for o in loan.openings],
        claims=tuple(loan.agreement["agreement_no"] for loan in loans if int(loan.agreement["agreement_no"][2:]) % 9 == 0),
    )
