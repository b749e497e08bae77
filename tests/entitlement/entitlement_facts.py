"""Facts and policies for the tests of this room: loan A of the handbook unless a test says otherwise."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from subsidy.facts.schema import TABLES, Facts
from subsidy.policy.conditions import parse
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

ASSUMED = Source("assumed")
CENTRE_CODE = "330100000000000"


def day(text: str) -> date:
    return date.fromisoformat(text)


def fen(yuan: str | int) -> int:
    """Yuan as written in the handbook, with thousands commas, in fen."""
    whole, _, rest = str(yuan).replace(",", "").partition(".")
    sign = -1 if whole.startswith("-") else 1
    return int(whole) * 100 + sign * int((rest + "00")[:2])


def series(name: str, *values: tuple[str, int]) -> Series:
    days = tuple(day(d) for d, _ in values)
    return Series(name, days, tuple(p for _, p in values), ("published",) * len(days), days)


FUND = {
    "FIRST_LE5": series(
        "FIRST_LE5", ("2010-12-26", 37500), ("2015-08-26", 27500), ("2022-10-01", 26000), ("2024-05-18", 23500), ("2025-05-08", 21000)
    ),
    "FIRST_GT5": series(
        "FIRST_GT5", ("2010-12-26", 43000), ("2015-08-26", 32500), ("2022-10-01", 31000), ("2024-05-18", 28500), ("2025-05-08", 26000)
    ),
    "SECOND_LE5": series("SECOND_LE5", ("2010-12-26", 41250), ("2022-10-01", 30250), ("2024-05-18", 27750), ("2025-05-08", 25250)),
    "SECOND_GT5": series("SECOND_GT5", ("2010-12-26", 47300), ("2022-10-01", 35750), ("2024-05-18", 33250), ("2025-05-08", 30750)),
    "LPR_5Y": series("LPR_5Y", ("2019-08-20", 48500), ("2024-02-20", 39500), ("2024-10-21", 36000), ("2025-05-20", 35000)),
}


def parameters(**more: Series) -> Parameters:
    return Parameters({**FUND, **more}, day("2026-10-09"), "test")


def gates(*rows: tuple[str, str, str]) -> tuple[Gate, ...]:
    table = [*rows, ("true", "pay", "PAY")]
    return tuple(Gate(parse(text), text, outcome, reason, reason, ASSUMED) for text, outcome, reason in table)  # type: ignore[arg-type]


def suspension(text: str, after_cure: str = "pay") -> Suspension:
    return Suspension(parse(text), text, after_cure, ASSUMED)  # type: ignore[arg-type]


DEFAULT_GATES = gates(
    ("not verified", "hold", "GATE-UNVERIFIED"),
    ("duplicate_claim", "hold", "GATE-DUPLICATE"),
    ("opening_missing", "hold", "GATE-OPENING"),
    ("overdue_total >= 6", "stop", "GATE-OVERDUE-6"),
    ("suspended", "hold", "GATE-SUSPENDED"),
    ('loan_status == "written_off"', "stop", "GATE-WRITTEN-OFF"),
)


def rule(**given: Any) -> RuleVersion:
    """ratio, split, pro_rata, next_january, no limits, every row paid; `given` overrides."""
    values: dict[str, Any] = {
        "version_id": "v1",
        "effective_from": day("2000-01-01"),
        "effective_to": None,
        "method": "ratio",
        "day_count": "monthly",
        "fund_rate_reset": "next_january",
        "mid_period": "split",
        "principal_cap": "pro_rata",
        "rate_cap": (),
        "points_ppm": 10_000,
        "share_ppm": 200_000,
        "monthly_limit_fen": None,
        "lifetime_limit_fen": None,
        "months_limit": None,
        "back_pay_months": None,
        "suspension": None,
        "gates": gates(),
        "verification": Verification(("03",), ("01", "02"), 0, None, ASSUMED),
        "sources": {},
    }
    return RuleVersion(**{**values, **given})


def cap(*pieces: tuple[str, int | str]) -> tuple[RateCapPiece, ...]:
    return tuple(RateCapPiece(day(d), fixed_ppm=v) if isinstance(v, int) else RateCapPiece(day(d), series=v) for d, v in pieces)


def policy(*rules: RuleVersion, go_live: str = "2000-01-01", payee: str = "borrower", **more: Any) -> CentrePolicy:
    terms = SettlementTerms(
        day("2000-01-01"),
        None,
        "monthly",
        20,
        "next",
        "day_before",
        payee,
        0,
        "net",
        Account("1", "中心", "105331000001", "105"),
        "bdc103",  # type: ignore[arg-type]
        ApprovalTerms(None, 10**12, 1000, 100),
        ChartOfAccounts(),
        {},
    )
    given = more.pop("parameters", parameters())
    return CentrePolicy(
        "test",
        CENTRE_CODE,
        "测试住房公积金管理中心",
        "测试",
        "subsidy",
        day(go_live),
        rules or (rule(),),
        (terms,),
        given,
        20,
        8,
        "v-test",
    )


#: Columns every test row gets unless it says otherwise.
LOAN_A: dict[str, dict[str, Any]] = {
    "agreement": {
        "agreement_no": "XY1",
        "contract_no": "HT1",
        "centre_code": CENTRE_CODE,
        "subsidised_principal_fen": fen("500,000"),
        "home_order": "01",
        "signed_on": day("2026-01-05"),
        "subsidy_start_on": day("2026-01-10"),
        "subsidy_months": 360,
        "payee_account": "6222020000000000001",
        "payee_name": "测试甲",
        "payee_bank_no": "105331000001",
        "payee_kind": "01",
    },
    "contract": {
        "contract_no": "HT1",
        "house_contract_no": "GF1",
        "bank_name": "建设银行",
        "bank_code": "105",
        "due_day": 10,
        "repayment_method": "01",
        "amount_fen": fen("500,000"),
        "loan_kind": "03",
        "term_months": 360,
        "rate_ppm": 35_000,
        "agreed_disbursement_on": day("2026-01-10"),
        "maturity_on": day("2056-01-10"),
        "borrower_name": "测试甲",
        "borrower_id_kind": "01",
        "borrower_id_no": "330100199001010000",
        "signed_on": day("2026-01-05"),
    },
    "account": {
        "account_no": "ZH1",
        "contract_no": "HT1",
        "disbursed_fen": fen("500,000"),
        "disbursed_on": day("2026-01-10"),
        "balance_fen": fen("500,000"),
        "rate_ppm": 35_000,
        "term_months": 360,
        "settled_on": None,
        "overdue_total": 0,
    },
}


def row(serial: str, start: str, end: str, interest: str, base: str, **given: Any) -> dict[str, Any]:
    """A repayment on time, kind 02, instalment 0, at 3.50 %, bank code 105; `given` overrides."""
    values: dict[str, Any] = {
        "account_no": "ZH1",
        "serial_no": serial,
        "kind": "02",
        "paid_on": day(end),
        "bank_code": "105",
        "amount_fen": 0,
        "principal_repaid_fen": 0,
        "interest_fen": fen(interest),
        "penalty_fen": 0,
        "instalment": 0,
        "booked_on": day(end),
        "accrual_from": day(start),
        "accrual_to": day(end),
        "base_principal_fen": fen(base),
        "rate_ppm": 35_000,
        "due_on": day(end),
        "reverses": None,
        "balance_after_fen": None,
    }
    return {**values, **given}


#: Instalments 1 to 3 of loan A: principal before, interest, principal repaid.
INSTALMENTS = (
    row("001", "2026-01-10", "2026-02-10", "1,458.33", "500,000.00", instalment=1, principal_repaid_fen=fen("786.89")),
    row("002", "2026-02-10", "2026-03-10", "1,456.04", "499,213.11", instalment=2, principal_repaid_fen=fen("789.18")),
    row("003", "2026-03-10", "2026-04-10", "1,453.74", "498,423.93", instalment=3, principal_repaid_fen=fen("791.48")),
)


def status(as_of: str, **given: Any) -> dict[str, Any]:
    values = {
        "account_no": "ZH1",
        "as_of": day(as_of),
        "balance_fen": 0,
        "overdue_run": 0,
        "overdue_total": 0,
        "contribution_status": "01",
        "loan_status": "normal",
    }
    return {**values, **given}


def change(number: str, kind: str, effective_on: str, **given: Any) -> dict[str, Any]:
    values: dict[str, Any] = {c.name: None for c in TABLES["change"].columns}
    values |= {"change_no": number, "agreement_no": "XY1", "kind": kind, "effective_on": day(effective_on), "reason": "测试"}
    return {**values, **given}


def opening(**given: Any) -> dict[str, Any]:
    values = {
        "agreement_no": "XY1",
        "account_no": "ZH1",
        "paid_fen": 0,
        "months_used": 0,
        "shadow_balance_fen": None,
        "shadow_instalment_fen": None,
        "overdue_run": 0,
        "overdue_total": 0,
        "receivable_fen": 0,
    }
    return {**values, **given}


def other(serial: str, amount: str, scheme: str = "另一方案") -> dict[str, Any]:
    return {"account_no": "ZH1", "serial_no": serial, "scheme_name": scheme, "amount_fen": fen(amount)}


def facts(
    *transactions: dict[str, Any],
    agreement: dict[str, Any] | list[dict[str, Any]] | None = None,
    contract: dict[str, Any] | list[dict[str, Any]] | None = None,
    account: dict[str, Any] | list[dict[str, Any]] | None = None,
    claims: tuple[str, ...] = (),
    **more: list[dict[str, Any]],
) -> Facts:
    """Facts of loan A with these transactions; a dict overrides columns of its row, a list replaces the rows."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    for name, given in (("agreement", agreement), ("contract", contract), ("account", account)):
        rows[name] = [{**LOAN_A[name], **r} for r in given] if isinstance(given, list) else [{**LOAN_A[name], **(given or {})}]
    rows["transaction"] = list(transactions)
    rows.update(more)
    return Facts({name: table(name, r) for name, r in rows.items()}, frozenset(claims))


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a fact table, sorted by key as the store does, with META."""
    fact = TABLES[name]
    ordered = sorted(enumerate(rows), key=lambda r: [str(r[1][k]) for k in fact.key])
    full = [
        {"bucket": 7, "known_on": date(2026, 1, 1), "file_no": 3, "line_no": i + 1, "occurrence": 0, "withdrawn": False, **r}
        for i, r in ordered
    ]
    return pa.Table.from_pylist(full, schema=fact.arrow)


def month_later(d: date, months: int, due_day: int) -> date:
    index = d.year * 12 + d.month - 1 + months
    first = date(index // 12, index % 12 + 1, 1)
    length = (date(first.year + first.month // 12, first.month % 12 + 1, 1) - first).days
    return first + timedelta(min(due_day, length) - 1)


__all__ = [name for name in dir() if not name.startswith("_")] + ["replace"]
