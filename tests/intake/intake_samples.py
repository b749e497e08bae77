"""Small true rows of every table, and deliveries of them in any centre's form."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
from intake_desk import Desk

from subsidy.facts.schema import ARROW, BY_CODE
from subsidy.intake import Arrival, Intake, Profile, Profiles, arrived
from subsidy.intake.write import write

D = date
DAY = D(2026, 9, 14)
NIGHT = D(2026, 9, 14)

#: A sound row of each table; `rows` changes what a test is about.
SOUND: dict[str, dict[str, Any]] = {
    "TX01": {
        "agreement_no": "XY001", "contract_no": "JK001", "centre_code": "330100000000000", "subsidised_principal_fen": 50_000_000,
        "home_order": "01", "signed_on": D(2026, 1, 5), "subsidy_start_on": D(2026, 1, 10), "subsidy_months": 240,
        "payee_account": "6222020000000000000", "payee_name": "李䶮", "payee_bank_no": "105331000018", "payee_kind": "01",
    },
    "GB301": {
        "contract_no": "JK001", "house_contract_no": "GF001", "bank_name": "中国建设银行", "bank_code": "105", "due_day": 10,
        "repayment_method": "01", "amount_fen": 50_000_000, "loan_kind": "03", "term_months": 360, "rate_ppm": 35_000,
        "agreed_disbursement_on": D(2026, 1, 10), "maturity_on": D(2056, 1, 10), "borrower_name": "李䶮", "borrower_id_kind": "01",
        "borrower_id_no": "330106198001010013", "signed_on": D(2026, 1, 5),
    },
    "GB304": {
        "account_no": "DK001", "contract_no": "JK001", "disbursed_fen": 50_000_000, "disbursed_on": D(2026, 1, 10),
        "balance_fen": 49_921_311, "rate_ppm": 35_000, "term_months": 360, "settled_on": None, "overdue_total": 0,
    },
    "TX04": {
        "agreement_no": "XY001", "account_no": "DK001", "paid_fen": 0, "months_used": 0, "shadow_balance_fen": None,
        "shadow_instalment_fen": None, "overdue_run": 0, "overdue_total": 0, "receivable_fen": 0,
    },
    "GB305": {
        "account_no": "DK001", "serial_no": "LS001", "kind": "02", "paid_on": D(2026, 2, 10), "bank_code": "105", "amount_fen": 224_522,
        "principal_repaid_fen": 78_689, "interest_fen": 145_833, "penalty_fen": 0, "instalment": 1, "booked_on": D(2026, 2, 10),
        "accrual_from": D(2026, 1, 10), "accrual_to": D(2026, 2, 10), "base_principal_fen": 50_000_000, "rate_ppm": 35_000,
        "due_on": D(2026, 2, 10), "reverses": None, "balance_after_fen": 49_921_311,
    },
    "GB306": {
        "account_no": "DK001", "overdue_instalment": 2, "overdue_principal_fen": 78_918, "overdue_interest_fen": 145_604,
        "overdue_penalty_fen": 0, "received_on": None, "repaid_instalment": None, "received_principal_fen": 0, "received_interest_fen": 0,
        "received_penalty_fen": 0,
    },
    "TX02": {
        "account_no": "DK001", "as_of": D(2026, 9, 10), "balance_fen": 49_921_311, "overdue_run": 0, "overdue_total": 0,
        "contribution_status": "01", "loan_status": "normal",
    },
    "TX03": {
        "change_no": "BG001", "agreement_no": "XY001", "effective_on": D(2026, 9, 1), "kind": "suspend", "range_from": None,
        "range_to": None, "new_payee_account": None, "new_payee_name": None, "new_payee_bank_no": None, "new_term_months": None,
        "new_repayment_method": None, "reason": "停缴",
    },
    "TX05": {"account_no": "DK001", "serial_no": "LS001", "scheme_name": "消费补贴", "amount_fen": 10_000},
}
PARENTS = ("TX01", "GB301", "GB304")


def rows(code: str, *changes: Mapping[str, Any]) -> pa.Table:
    """One row per mapping: the sound row of table `code` with these changes."""
    table = BY_CODE[code]
    data = [{**SOUND[code], **change} for change in (changes or ({},))]
    return pa.table({c.name: pa.array([d[c.name] for d in data], ARROW[c.kind]) for c in table.columns})


def none(code: str) -> pa.Table:
    """No rows of table `code`."""
    return rows(code).slice(0, 0)


def deliver(
    profile: Profile, folder: Path, tables: Mapping[str, pa.Table], day: date = DAY, sequence: str = "001", note: str = ""
) -> list[Path]:
    """Write a delivery; agreements get the profile's own centre."""
    own = {}
    for code, table in tables.items():
        if code == "TX01":
            at = table.column_names.index("centre_code")
            table = table.set_column(at, "centre_code", pa.array([profile.centre_code] * table.num_rows, pa.string()))
        own[code] = table
    return write(profile, own, day, sequence, folder, note)


def arrival(path: Path, profiles: Profiles) -> Arrival:
    """The arrival of one file, its companions beside it."""
    [found] = [a for a in arrived(path.parent, profiles, 0, time.time() + 10_000) if a.name == path.name]
    return found


def take(desk: Desk, folder: Path, tables: Mapping[str, pa.Table], known_on: date = NIGHT, **options: Any) -> list[Intake]:
    """Deliver and take; the intakes in the order of the tables."""
    accept = options.pop("accept", frozenset())
    profile = desk.profiles.profiles["main"]
    paths = deliver(profile, folder, tables, **options)
    return [desk.take(arrival(path, desk.profiles), known_on, accept=accept) for path in paths]


def stocked(desk: Desk, folder: Path) -> Desk:
    """`desk` with one agreement, contract and account known."""
    for intake in take(desk, folder / "stock", {code: rows(code) for code in PARENTS}, sequence="900"):
        assert intake.state == "booked" and intake.counts.quarantined == 0, (intake.message, intake.findings)
    return desk
