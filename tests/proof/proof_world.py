"""A small world for tests of the second computation: one policy and one loan as plain data, every value with a default."""

from __future__ import annotations

from datetime import date
from typing import Any

RATES = {
    "FIRST_GT5": (("2010-12-26", 43000), ("2015-08-26", 32500), ("2022-10-01", 31000), ("2024-05-18", 28500), ("2025-05-08", 26000)),
    "FIRST_LE5": (("2010-12-26", 37500), ("2015-08-26", 27500), ("2022-10-01", 26000), ("2024-05-18", 23500), ("2025-05-08", 21000)),
    "SECOND_GT5": (("2010-12-26", 47300), ("2015-08-26", 35750), ("2024-05-18", 33250), ("2025-05-08", 30750)),
    "SECOND_LE5": (("2010-12-26", 41250), ("2015-08-26", 30250), ("2024-05-18", 27750), ("2025-05-08", 25250)),
    "LPR_5Y": (("2019-08-20", 48500), ("2023-06-20", 42000), ("2024-10-21", 36000), ("2025-05-20", 35000)),
}


def day(text: str | date) -> date:
    return text if isinstance(text, date) else date.fromisoformat(text)


def series(name: str, values: Any) -> dict[str, Any]:
    return {
        "name": name,
        "effective_on": tuple(day(d) for d, _ in values),
        "ppm": tuple(ppm for _, ppm in values),
        "basis": ("published",) * len(values),
        "announced_on": tuple(day(d) for d, _ in values),
    }


def gate(condition: Any, outcome: str, reason: str = "") -> dict[str, Any]:
    return {"condition": condition, "text": "", "outcome": outcome, "reason": reason, "reason_text": "", "source": None}


PAY = gate(("true",), "pay")


def version(**changed: Any) -> dict[str, Any]:
    return {
        "version_id": "1",
        "effective_from": date(2010, 1, 1),
        "effective_to": None,
        "method": "ratio",
        "day_count": "monthly",
        "fund_rate_reset": "next_january",
        "mid_period": "split",
        "principal_cap": "pro_rata",
        "rate_cap": (),
        "points_ppm": None,
        "share_ppm": None,
        "monthly_limit_fen": None,
        "lifetime_limit_fen": None,
        "months_limit": None,
        "back_pay_months": None,
        "suspension": None,
        "gates": (PAY,),
        "verification": {
            "loan_kinds": ("03",),
            "repayment_methods": ("01", "02"),
            "rate_tolerance_ppm": 0,
            "maximum_amount_fen": None,
            "source": None,
        },
        "sources": {},
        **changed,
    }


def policy(*versions: dict[str, Any], go_live: str = "2026-01-01", **changed: Any) -> dict[str, Any]:
    return {
        "centre": "test",
        "code": "330100000000000",
        "go_live": day(go_live),
        "rules": versions or (version(),),
        "settlement": ({"effective_from": date(2010, 1, 1), "effective_to": None, "payee": "borrower"},),
        "parameters": {"series": {n: series(n, v) for n, v in RATES.items()}, "confirmed_through": date(2026, 10, 9), "version": "1"},
        **changed,
    }


class World:
    """One loan and its rows; `loan A` of the rules unless told otherwise."""

    def __init__(
        self,
        amount: int = 500_000_00,
        subsidised: int | None = None,
        disbursed: str = "2026-01-10",
        term: int = 360,
        due_day: int = 10,
        method: str = "01",
        rate: int = 35000,
        home: str = "01",
        **agreement: Any,
    ) -> None:
        self.rate = rate
        self.rows: dict[str, list[Any]] = {
            "agreement": [
                {
                    "agreement_no": "A1", "contract_no": "C1", "centre_code": "330100000000000",
                    "subsidised_principal_fen": amount if subsidised is None else subsidised, "home_order": home,
                    "signed_on": day(disbursed), "subsidy_start_on": day(disbursed), "subsidy_months": term,
                    "payee_account": "6", "payee_name": "测试", "payee_bank_no": "105100000017", "payee_kind": "01",
                    **{k: day(v) if k.endswith("_on") else v for k, v in agreement.items()},
                }
            ],
            "contract": [
                {
                    "contract_no": "C1", "house_contract_no": "H1", "due_day": due_day, "repayment_method": method,
                    "amount_fen": amount, "loan_kind": "03", "term_months": term, "rate_ppm": rate, "signed_on": day(disbursed),
                }
            ],
            "account": [
                {
                    "account_no": "L1", "contract_no": "C1", "disbursed_fen": amount, "disbursed_on": day(disbursed),
                    "rate_ppm": rate, "term_months": term,
                }
            ],
            "opening": [], "transaction": [], "overdue": [], "status": [], "change": [], "other_subsidy": [], "claims": [],
        }

    def row(
        self, serial: str, start: str, end: str, base: int, interest: int, repaid: int = 0, k: int = 0, kind: str = "02", **changed: Any
    ) -> World:
        last = day(end)
        self.rows["transaction"].append(
            {
                "account_no": "L1", "serial_no": serial, "kind": kind, "paid_on": last, "bank_code": "105", "amount_fen": interest + repaid,
                "principal_repaid_fen": repaid, "interest_fen": interest, "penalty_fen": 0, "instalment": k, "booked_on": last,
                "accrual_from": day(start), "accrual_to": last, "base_principal_fen": base, "rate_ppm": self.rate, "due_on": last,
                "reverses": None, "balance_after_fen": None,
                **{key: day(v) if key.endswith("_on") else v for key, v in changed.items()},
            }
        )
        return self

    def loan_a(self, *instalments: int) -> World:
        """The first instalments of loan A."""
        for k, start, end, base, interest in (
            (1, "2026-01-10", "2026-02-10", 500_000_00, 1458_33),
            (2, "2026-02-10", "2026-03-10", 499_213_11, 1456_04),
            (3, "2026-03-10", "2026-04-10", 498_423_93, 1453_74),
        ):
            if k in instalments:
                self.row(f"{k}", start, end, base, interest, 2245_22 - interest, k)
        return self

    def status(self, as_of: str, run: int = 0, total: int = 0, contribution: str = "01", loan: str = "normal", balance: int = 0) -> World:
        self.rows["status"].append(
            {
                "account_no": "L1", "as_of": day(as_of), "balance_fen": balance, "overdue_run": run, "overdue_total": total,
                "contribution_status": contribution, "loan_status": loan,
            }
        )
        return self

    def change(self, kind: str, effective: str, **changed: Any) -> World:
        number = f"{len(self.rows['change']) + 1:04d}"
        self.rows["change"].append(
            {
                "change_no": number, "agreement_no": "A1", "effective_on": day(effective), "kind": kind,
                "range_from": None, "range_to": None, "new_term_months": None, "new_repayment_method": None, "reason": "",
                **{k: day(v) if k.startswith("range_") else v for k, v in changed.items()},
            }
        )
        return self

    def opening(self, **changed: Any) -> World:
        self.rows["opening"].append(
            {
                "agreement_no": "A1", "account_no": "L1", "paid_fen": 0, "months_used": 0, "shadow_balance_fen": None,
                "shadow_instalment_fen": None, "overdue_run": 0, "overdue_total": 0, "receivable_fen": 0, **changed,
            }
        )
        return self

    def other(self, serial: str, amount: int) -> World:
        self.rows["other_subsidy"].append({"account_no": "L1", "serial_no": serial, "scheme_name": "一", "amount_fen": amount})
        return self
