"""Random policies, loans, histories and corrections, as policy objects and plain fact rows. Everything is drawn from one `Random`.

The loans look like loans, so that most rows are assessed; every kind of fault and event of the rules is mixed in.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import asdict
from datetime import date, timedelta
from random import Random
from typing import Any

import pyarrow as pa
from proof_world import RATES, day

from subsidy.facts.schema import TABLES, Facts
from subsidy.policy.model import (
    Account,
    ApprovalTerms,
    CentrePolicy,
    ChartOfAccounts,
    Gate,
    Parameters,
    RateCapPiece,
    RuleVersion,
    Series,
    SettlementTerms,
    Source,
    Suspension,
    Verification,
)

CODE = "330100000000000"
ASSUMED = Source("assumed")
ACCOUNT = Account("33001", "中心", "105331000012", "105")
METHODS = ("ratio", "spread", "points", "share", "shadow_interest", "payment_difference")

CONDITIONS: tuple[tuple[Any, ...], ...] = (
    ("not", ("fact", "verified")),
    ("fact", "duplicate_claim"),
    ("fact", "opening_missing"),
    ("compare", ">", "days_late", 15),
    ("compare", ">=", "overdue_total", 6),
    ("compare", ">=", "overdue_run", 2),
    ("fact", "contributions_lapsed"),
    ("in", "loan_status", ("written_off", "settled")),
    ("compare", "==", "loan_status", "overdue"),
    ("fact", "suspended"),
    ("and", ("fact", "suspended"), ("not", ("fact", "cured"))),
    ("compare", ">=", "suspension_count", 2),
    ("or", ("compare", "==", "transaction_kind", "03"), ("compare", ">", "instalment", 9)),
    ("compare", ">", "interest", 300_000),
    ("compare", "<", "accrual_from", date(2025, 9, 1)),
    ("and", ("compare", "==", "home_order", "02"), ("compare", ">=", "commercial_rate", 36000)),
    ("in", "contribution_status", ("02", "06")),
)  # fmt: skip
SUSPENSIONS = (
    ("compare", ">=", "overdue_run", 3),
    ("or", ("compare", ">=", "overdue_run", 2), ("fact", "contributions_lapsed")),
    ("and", ("compare", ">", "days_late", 5), ("compare", ">=", "overdue_total", 1)),
    ("fact", "contributions_lapsed"),
)


def series(rng: Random) -> dict[str, Series]:
    """The real history, or a made-up one: many changes, on awkward days, down to zero, sometimes beginning too late."""
    if rng.random() < 0.5:
        values = {name: [(day(d), ppm) for d, ppm in rates] for name, rates in RATES.items()}
    else:
        values = {}
        for name in RATES:
            days = {rng.choice((date(2010, 1, 1), date(2010, 1, 1), date(2010, 1, 1), date(2024, 12, 31), date(2025, 3, 1)))}
            days |= {some_day(rng, date(2024, 1, 1), date(2026, 12, 31)) for _ in range(rng.randrange(6))}
            days |= {rng.choice((date(2025, 1, 1), date(2025, 12, 31), date(2026, 1, 1), date(2025, 6, 10), date(2026, 2, 28)))}
            values[name] = [(d, rng.choice((0, 21000, 26000, 28500, rng.randrange(45000)))) for d in sorted(days)]
    return {
        name: Series(name, tuple(d for d, _ in v), tuple(p for _, p in v), ("published",) * len(v), tuple(d for d, _ in v))
        for name, v in values.items()
    }


def some_day(rng: Random, first: date, last: date) -> date:
    return first + timedelta(days=rng.randrange((last - first).days + 1))


def maybe(rng: Random, chance: float, value: Any) -> Any:
    return value() if rng.random() < chance else None


def random_rule(rng: Random, number: int, effective_from: date, effective_to: date | None, method: str | None = None) -> RuleVersion:
    method = method or rng.choice(METHODS)
    capped = method in ("ratio", "spread")
    cap: tuple[RateCapPiece, ...] = ()
    if capped and rng.random() < 0.4:
        later = RateCapPiece(date(2025, 6, 1), fixed_ppm=rng.choice((30000, 35000)))
        first = RateCapPiece(effective_from, series="LPR_5Y") if rng.random() < 0.5 else RateCapPiece(effective_from, fixed_ppm=36000)
        cap = (first, later) if later.effective_from > effective_from and rng.random() < 0.5 else (first,)
    gates = [
        Gate(condition, "", rng.choice(("pay", "hold", "hold", "forfeit", "stop")), f"GATE-{place}", "", ASSUMED)  # type: ignore[arg-type]
        for place, condition in enumerate(rng.sample(CONDITIONS, rng.randrange(6)))
    ]
    gates.append(Gate(("true",), "", rng.choice(("pay", "pay", "pay", "hold")), "", "", ASSUMED))  # type: ignore[arg-type]
    return RuleVersion(
        version_id=str(number),
        effective_from=effective_from,
        effective_to=effective_to,
        method=method,  # type: ignore[arg-type]
        day_count=rng.choice(("monthly", "30/360", "actual/360", "actual/365")),  # type: ignore[arg-type]
        fund_rate_reset=rng.choice(("next_january", "immediate", "frozen")),  # type: ignore[arg-type]
        mid_period=rng.choice(("split", "old", "new")),  # type: ignore[arg-type]
        principal_cap="pro_rata" if method.startswith(("shadow", "payment")) else rng.choice(("pro_rata", "on_balance")),  # type: ignore[arg-type]
        rate_cap=cap,
        points_ppm=rng.choice((8000, 10000)) if method == "points" else None,
        share_ppm=rng.choice((250000, 333333)) if method == "share" else None,
        monthly_limit_fen=maybe(rng, 0.2, lambda: rng.randrange(1, 60000)),
        lifetime_limit_fen=maybe(rng, 0.2, lambda: rng.randrange(1, 300000)),
        months_limit=maybe(rng, 0.2, lambda: rng.randrange(1, 30)),
        back_pay_months=maybe(rng, 0.5, lambda: rng.randrange(1, 4)),
        suspension=maybe(rng, 0.5, lambda: Suspension(rng.choice(SUSPENSIONS), "", rng.choice(("pay", "forfeit")), ASSUMED)),  # type: ignore[arg-type]
        gates=tuple(gates),
        verification=Verification(("03",), ("01", "02"), 0, maybe(rng, 0.1, lambda: 1_500_000_00), ASSUMED),
        sources={},
    )


def random_policy(rng: Random, method: str | None = None) -> CentrePolicy:
    start = date(2010, 1, 1)
    border = some_day(rng, date(2025, 1, 1), date(2026, 6, 1))
    if rng.random() < 0.4:
        rules = (random_rule(rng, 1, start, border, method), random_rule(rng, 2, border, None))
    else:
        rules = (random_rule(rng, 1, start, None, method),)
    terms = SettlementTerms(
        start, None, "monthly", 20, "next", "day_before", "borrower", 0, "net", ACCOUNT, "main",
        ApprovalTerms(None, 1, 200, 50), ChartOfAccounts(), {},
    )  # fmt: skip
    return CentrePolicy(
        "test", CODE, "测试中心", "测试", "贴息", rng.choice((date(2020, 1, 1), date(2025, 10, 1), date(2026, 3, 1))), rules, (terms,),
        Parameters(series(rng), date(2026, 10, 9), "1"), 10, 8, "1",
    )  # fmt: skip


def plain_policy(policy: CentrePolicy) -> dict[str, Any]:
    return asdict(policy)


class RandomLoan:
    """One loan drawn at random: its facts in `rows`."""

    def __init__(self, rng: Random, number: int, policy: CentrePolicy) -> None:
        self.rng, self.policy = rng, policy
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
        self.agreement_no, self.contract_no, self.account_no = f"XY{number:04d}", f"HT{number:04d}", f"ZH{number:04d}"
        self.claimed = rng.random() < 0.05
        self.disbursed_on = some_day(rng, date(2024, 6, 1), date(2026, 4, 1))
        self.due_day = rng.choice((1, 10, 20, 28, 29, 30, 31, self.disbursed_on.day))
        self.amount = rng.choice((50_000_00, 500_000_00, rng.randrange(1_00, 2_000_000_00)))
        self.term = rng.choice((3, 12, 60, 61, 180, 240, 360, 360))
        self.method = rng.choice(("01", "01", "02", "01", "01", "02", "01", "01", "02", "99"))
        self.rate = rng.choice((35000, 35000, 30500, 39500, 41000, 25000))
        self.opened = self.disbursed_on < policy.go_live and rng.random() < 0.7
        self.payee = "01" if policy.settlement[-1].payee == "borrower" else "02"
        self.send_balance = rng.random() < 0.5
        self._parents()
        self._transactions()
        self._history()
        if self.chance(0.02):
            self.rows["account"].append({**self.rows["account"][0], "account_no": self.account_no + "B"})

    def chance(self, chance: float) -> bool:
        return self.rng.random() < chance

    def _parents(self) -> None:
        rng = self.rng
        amount = self.amount
        subsidised = rng.choice((amount, amount, amount // 2, amount - 1, amount * 3 // 4 + 7, amount + 100_00, 0))
        start = self.disbursed_on if self.chance(0.8) else self.disbursed_on + timedelta(days=rng.randrange(-40, 60))
        self.rows["agreement"].append(
            {
                "agreement_no": self.agreement_no, "contract_no": self.contract_no,
                "centre_code": self.policy.code if self.chance(0.97) else "339999999999999", "subsidised_principal_fen": subsidised,
                "home_order": rng.choice(("01", "01", "02")), "signed_on": self.disbursed_on - timedelta(days=rng.randrange(30)),
                "subsidy_start_on": start, "subsidy_months": rng.choice((self.term, self.term, 5, 12)),
                "payee_account": "6", "payee_name": "测试", "payee_bank_no": "105331000012",
                "payee_kind": self.payee if self.chance(0.97) else "03",
            }
        )  # fmt: skip
        self.rows["contract"].append(
            {
                "contract_no": self.contract_no, "house_contract_no": "FW" + self.contract_no, "bank_name": "测试银行", "bank_code": "105",
                "due_day": self.due_day, "repayment_method": self.method, "amount_fen": max(self.amount, subsidised), "loan_kind": "03",
                "term_months": self.term, "rate_ppm": self.rate, "agreed_disbursement_on": self.disbursed_on,
                "maturity_on": self.disbursed_on + timedelta(days=30 * self.term), "borrower_name": "测试", "borrower_id_kind": "99",
                "borrower_id_no": "1", "signed_on": self.disbursed_on,
            }
        )  # fmt: skip
        self.rows["account"].append(
            {
                "account_no": self.account_no, "contract_no": self.contract_no, "disbursed_fen": self.amount,
                "disbursed_on": self.disbursed_on, "balance_fen": self.amount, "rate_ppm": self.rate,
                "term_months": self.term, "settled_on": None, "overdue_total": 0,
            }
        )  # fmt: skip

    def due(self, k: int) -> date:
        number = self.zero + k
        return date(number // 12, number % 12 + 1, min(self.due_day, monthrange(number // 12, number % 12 + 1)[1]))

    def _transactions(self) -> None:
        rng = self.rng
        self.zero = self.disbursed_on.year * 12 + self.disbursed_on.month - 1
        self.counted = 0  # how many odd rows bear a number
        self.balances = {self.disbursed_on: self.amount}
        balance = self.amount
        start = self.disbursed_on
        odd_end = self.due(0) if self.due(0) > start else self.due(1)
        if self.chance(0.3) and odd_end > start and self.due_day != start.day:
            named = rng.choice((0, 0, 1, 1))  # some banks number it 1, and count from there or begin again
            self.row(f"{rng.randrange(10)}odd", start, odd_end, balance, self.interest(balance, start, odd_end), 0, named)
            self.counted = named * rng.randrange(2)
            if odd_end == self.due(1):
                self.zero += 1
            start = odd_end
        first = rng.randrange(1, 8) if self.opened else 1
        settled = False
        for k in range(1, min(self.term, rng.randrange(1, 16)) + 1):
            end = self.due(k)
            if settled and not self.chance(0.2):
                break
            if end <= start:
                continue
            part = self.amount // self.term if self.method == "02" else max(1, self.amount // self.term * 2 // 3 + k)
            part = balance if k == self.term else min(balance, part)
            interest = self.interest(balance, start, end)
            after = balance - part
            if k >= first and not self.chance(0.07):
                self.instalment(k + self.counted, start, end, balance, interest, part, after)
            balance = after
            self.balances[end] = balance
            if self.chance(0.12) and balance > 100:
                balance = self.prepay(k, end, balance)
            if self.chance(0.03):
                last = end + timedelta(days=9)
                self.row(f"{k:03d}z", end, last, balance, self.interest(balance, end, last), balance, 0, "06")
                settled = True
            start = end
        self._faults()

    def interest(self, balance: int, start: date, end: date) -> int:
        return balance * self.rate * (end - start).days // 360_000_000

    def row(
        self, serial: str, start: date, end: date, base: int, interest: int, repaid: int, k: int, kind: str = "02",
        after: int | None = None, **changed: Any,
    ) -> dict[str, Any]:  # fmt: skip
        paid_on = end + timedelta(days=self.rng.choice((0, 0, 0, 3, 20)))
        row = {
            "account_no": self.account_no, "serial_no": serial, "kind": kind, "paid_on": paid_on, "bank_code": "105",
            "amount_fen": interest + repaid, "principal_repaid_fen": repaid, "interest_fen": interest, "penalty_fen": 0, "instalment": k,
            "booked_on": paid_on, "accrual_from": start, "accrual_to": end, "base_principal_fen": base, "rate_ppm": self.rate,
            "due_on": end, "reverses": None, "balance_after_fen": after if self.send_balance else None, **changed,
        }  # fmt: skip
        self.rows["transaction"].append(row)
        return row

    def instalment(self, k: int, start: date, end: date, balance: int, interest: int, part: int, after: int) -> None:
        rng = self.rng
        if not self.chance(0.25):
            kind = "04" if self.chance(0.15) else "02"
            self.row(f"{k:03d}", start, end, balance, interest, part, k, kind, after)
            return
        rows = rng.choice((2, 2, 3))
        cuts = [sorted(rng.randrange(total + 1) for _ in range(rows - 1)) for total in (balance, interest, part)]
        paid = 0
        for place in range(rows):
            base, money, repaid = (
                ([*cut, total][place] - [0, *cut][place]) for cut, total in zip(cuts, (balance, interest, part), strict=True)
            )
            if place == rows - 1 and self.chance(0.15):
                continue  # the last part is still unpaid
            paid += repaid
            odd = {"rate_ppm": self.rate + 10} if self.chance(0.05) else {}
            self.row(f"{k:03d}{'abc'[place]}", start, end, base, money, repaid, k, rng.choice(("02", "04", "05")), balance - paid, **odd)

    def prepay(self, k: int, due: date, balance: int) -> int:
        rng = self.rng
        on = due + timedelta(days=rng.choice((0, 1, 13, 27)))
        paid = rng.choice((balance // 3, balance // 100 + 1, balance, 0))
        base = paid or balance // 5 + 1  # some prepayments pay interest and no principal
        self.row(f"{k:03d}p", due, on, base, self.interest(base, due, on), paid, 0, "03", balance - paid)
        return balance - paid

    def _faults(self) -> None:
        rng, rows = self.rng, self.rows["transaction"]
        if self.chance(0.1):  # due dates that fall on weekends are moved
            for row in rows:
                row["due_on"] += timedelta(days=(0, 0, 0, 0, 0, 2, 1)[row["due_on"].weekday()])
        if not rows:
            return
        if self.chance(0.15):
            target = rng.choice(rows)
            wrong = rng.choice((0, 0, 0, 1))
            cancel = {
                **target, "serial_no": target["serial_no"] + "r", "interest_fen": -target["interest_fen"] + wrong,
                "principal_repaid_fen": -target["principal_repaid_fen"], "reverses": target["serial_no"], "balance_after_fen": None,
            }  # fmt: skip
            rows.append(cancel)
            if self.chance(0.3):
                named = rng.choice((cancel["serial_no"], target["serial_no"], "no"))
                rows.append({**cancel, "serial_no": cancel["serial_no"] + "r", "reverses": named})
            if self.chance(0.4):
                rows.append({**target, "serial_no": target["serial_no"] + "s"})
        if self.chance(0.08):
            rng.choice(rows).update(rng.choice((
                {"rate_ppm": 0}, {"base_principal_fen": 0}, {"interest_fen": -500}, {"kind": "08"}, {"interest_fen": 0},
                {"accrual_from": date(2026, 1, 1), "accrual_to": date(2026, 1, 1)}, {"instalment": self.term + 1}, {"rate_ppm": 2_000_000},
                {"accrual_from": date(1980, 1, 1)}, {"balance_after_fen": 12345}, {"due_on": date(2026, 2, 17)}, {"balance_after_fen": 0},
                {"accrual_to": date(2150, 1, 1)}, {"booked_on": date(1980, 1, 1)}, {"principal_repaid_fen": -5}, {"interest_fen": 10**14},
            )))  # fmt: skip
        for row in rows:
            if self.chance(0.06):
                amount = rng.choice((0, 100_00, row["interest_fen"], 10**7))
                self.rows["other_subsidy"].append(
                    {"account_no": self.account_no, "serial_no": row["serial_no"], "scheme_name": rng.choice("一二"), "amount_fen": amount}
                )

    def _history(self) -> None:
        rng = self.rng
        on, run, total, contribution, loan = self.disbursed_on, 0, 0, "01", "normal"
        if self.chance(0.6):
            while on < date(2026, 9, 1) and len(self.rows["status"]) < 20:
                on += timedelta(days=rng.choice((5, 20, 30, 31)))
                if self.chance(0.3):
                    on = min((day for day in self.balances if day >= on), default=on)
                run = run + 1 if self.chance(0.35) else rng.choice((0, run))
                total += run > 0
                contribution = rng.choice(("01", "01", "01", contribution, "02", "06"))
                loan = rng.choice(("normal", loan, "overdue", "written_off" if self.chance(0.1) else "normal"))
                loan = "converted" if self.chance(0.01) else loan
                self.rows["status"].append(
                    {
                        "account_no": self.account_no, "as_of": on, "overdue_run": run,
                        "balance_fen": self.balances[max(day for day in self.balances if day <= on)],
                        "overdue_total": total, "contribution_status": contribution, "loan_status": loan,
                    }
                )  # fmt: skip
        for number in range(rng.choice((0, 0, 0, 1, 1, 2, 4))):
            kind = rng.choice(("suspend", "resume", "suspend", "resume", "stop", "convert", "clawback", "payee", "term"))
            first = some_day(rng, self.disbursed_on, date(2026, 8, 1))
            self.rows["change"].append(
                {
                    "change_no": f"BG{self.agreement_no}{number}", "agreement_no": self.agreement_no, "effective_on": first, "kind": kind,
                    "range_from": first if kind == "clawback" else None,
                    "range_to": first + timedelta(days=rng.randrange(90)) if kind == "clawback" else None,
                    "new_payee_account": None, "new_payee_name": None, "new_payee_bank_no": None,
                    "new_term_months": rng.choice((None, 120, 300, 2, 5)) if kind == "term" else None,
                    "new_repayment_method": rng.choice((None, "01", "02", "01", "99")) if kind == "term" else None, "reason": "测试",
                }
            )  # fmt: skip
        if self.opened:
            known = self.chance(0.85)
            self.rows["opening"].append(
                {
                    "agreement_no": self.agreement_no, "account_no": self.account_no, "paid_fen": rng.choice((0, 50_000)), "months_used": 3,
                    "shadow_balance_fen": self.amount * 8 // 10 if known else None,
                    "shadow_instalment_fen": max(1, self.amount // self.term) if known else None,
                    "overdue_run": rng.choice((0, 0, 1)), "overdue_total": rng.choice((0, 0, 3)), "receivable_fen": 0,
                }
            )  # fmt: skip


def portfolio(rng: Random, policy: CentrePolicy, loans: int) -> dict[str, Any]:
    """Fact rows of some loans, and `claims`."""
    drawn = [RandomLoan(rng, number, policy) for number in range(loans)]
    rows: dict[str, Any] = {name: [row for loan in drawn for row in loan.rows[name]] for name in TABLES}
    rows["claims"] = [loan.agreement_no for loan in drawn if loan.claimed]
    return rows


def facts_of(rows: dict[str, Any]) -> Facts:
    """The same facts as the engine takes them."""
    known = {"bucket": 0, "known_on": date(2026, 9, 1), "file_no": 1, "occurrence": 0, "withdrawn": False}
    return Facts(
        {
            name: pa.Table.from_pylist([{**row, **known, "line_no": place} for place, row in enumerate(rows[name], 1)], schema=table.arrow)
            for name, table in TABLES.items()
        },
        frozenset(rows["claims"]),
    )
