"""A small centre for the ledger's tests: lines made by hand, payments made as clearing would make them, and balances to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.entitlement.lines import LINES
from subsidy.ledger import postings, tables
from subsidy.ledger.bulk import bulk_insert
from subsidy.ledger.database import Database, next_numbers
from subsidy.ledger.journal import ROLES
from subsidy.ledger.postings import Part, PostingResult, RunRef
from subsidy.policy.model import ChartOfAccounts

CENTRE = "hangzhou"
SCHEME = "公转商贴息"
CHART = ChartOfAccounts()
DAY = date(2026, 9, 1)

DEFAULTS: dict[str, Any] = {
    "agreement_no": "X1", "account_no": "A1", "serial_no": "S1", "bucket": 7, "kind": "02", "instalment": 1,
    "accrual_from": date(2026, 9, 10), "accrual_to": date(2026, 10, 10), "due_on": date(2026, 10, 10), "paid_on": date(2026, 10, 10),
    "booked_on": date(2026, 10, 10), "interest_fen": 145_833, "base_principal_fen": 50_000_000, "rate_ppm": 35_000, "fund_rate_ppm": 26_000,
    "days": 30, "days_inside": 30, "method": "ratio", "figure_fen": 0, "entitled_fen": 0, "payable_fen": 0, "outcome": "pay", "reason": "",
    "rule_version": "hangzhou@1", "shadow_balance_fen": -1, "shadow_interest_fen": -1, "shadow_principal_fen": -1, "file_no": 1,
    "line_no": 2,
}  # fmt: skip

OPENINGS = pa.schema(
    [
        ("agreement_no", pa.string()),
        ("account_no", pa.string()),
        ("receivable_fen", pa.int64()),
        ("bucket", pa.int16()),
        ("known_on", pa.date32()),
        ("file_no", pa.int32()),
        ("line_no", pa.int32()),
    ]
)


def lines(*rows: Mapping[str, Any]) -> pa.Table:
    """Lines of schema `LINES` from what differs from `DEFAULTS`; figure and entitlement follow payable."""
    full = [DEFAULTS | {"figure_fen": r.get("payable_fen", 0), "entitled_fen": r.get("payable_fen", 0)} | dict(r) for r in rows]
    return pa.Table.from_pylist(full, schema=LINES)


def opening(receivable_fen: int, agreement_no: str = "X1") -> pa.Table:
    """A TX04 row as the ledger sees it."""
    row = {"agreement_no": agreement_no, "account_no": "A1", "receivable_fen": receivable_fen, "bucket": 7, "known_on": DAY}
    row |= {"file_no": 1, "line_no": 1}
    return pa.Table.from_pylist([row], schema=OPENINGS)


def run_of(day: int) -> RunRef:
    """Night number `day` of the centre."""
    return RunRef(CENTRE, day, DAY + timedelta(days=day), "policy-1")


def open_run(conn: Connection, day: int) -> RunRef:
    """Open night `day` as the night room does."""
    run = run_of(day)
    conn.execute(
        sa.insert(tables.run).values(
            centre=CENTRE, run_no=run.run_no, business_date=run.business_date, mode="night", policy_version=run.policy_version,
            engine_version="1", knowledge_date=run.business_date, state="closed", started_by="test", started_at="",
        )
    )  # fmt: skip
    state = tables.centre_state
    if day == 1:
        conn.execute(sa.insert(state).values(centre=CENTRE, open_business_date=run.business_date))
        conn.execute(
            sa.insert(tables.file).values(
                centre=CENTRE, file_no=1, sha256="f", name="f", bytes=1, profile="p", identity="i", version=1, state="booked", run_no=1,
                known_on=run.business_date, rows_in=0, rows_booked=0, rows_quarantined=0, rows_duplicate=0,
            )
        )  # fmt: skip
        next_numbers(conn, CENTRE, "file")
    else:
        conn.execute(sa.update(state).where(state.c.centre == CENTRE).values(open_business_date=run.business_date))
    next_numbers(conn, CENTRE, "run")
    return run


def night(
    db: Database,
    day: int,
    table: pa.Table,
    agreements: Sequence[str] = ("X1",),
    openings: pa.Table | None = None,
    causes: pa.Table | None = None,
) -> PostingResult:
    """Post `table` in night number `day`."""
    with db.transaction_system() as conn:
        return postings.post(conn, open_run(conn, day), SCHEME, CHART, Part(table, list(agreements), openings, causes))


def pay(
    conn: Connection, items: Mapping[str, Mapping[tuple[str, str, str], int]], day: int, direction: str = "out", replaces: str | None = None
) -> int:
    """Reserve one batch of payments, given as payment number -> line key -> amount. Returns its number."""
    batch_no = next_numbers(conn, CENTRE, "batch")
    sums = {number: abs(sum(lines_.values())) for number, lines_ in items.items()}
    conn.execute(
        sa.insert(tables.batch).values(
            centre=CENTRE, batch_no=batch_no, period="2026-10", direction=direction, bank_code="105", route="own", profile="p",
            send_no=f"{batch_no:020d}", file_name=f"BDC_BAT_{batch_no}.DAT", payment_count=len(items), amount_fen=sum(sums.values()),
        )
    )  # fmt: skip
    bulk_insert(
        conn,
        tables.payment,
        [
            {
                "centre": CENTRE, "payment_no": number, "batch_no": batch_no, "ordinal": i, "payee_account": "6222", "payee_name": "测试甲",
                "payee_bank_no": "105", "payee_kind": "01", "amount_fen": sums[number], "attempt": 1 + bool(replaces),
                "replaces": replaces,
            }
            for i, number in enumerate(items, 1)
        ],
    )  # fmt: skip
    rows = [
        {
            "centre": CENTRE, "payment_no": number, "agreement_no": key[0], "account_no": key[1], "serial_no": key[2], "amount_fen": fen,
            "kind": "normal", "bucket": 7,
        }
        for number, lines_ in items.items()
        for key, fen in lines_.items()
    ]  # fmt: skip
    bulk_insert(conn, tables.payment_item, rows)
    for number in items:
        event(conn, number, "reserved", day)
    return batch_no


def event(conn: Connection, payment_no: str, state: str, day: int) -> None:
    """Append a state to a payment's history."""
    number = next_numbers(conn, CENTRE, "event")
    conn.execute(
        sa.insert(tables.payment_event).values(
            centre=CENTRE, event_no=number, payment_no=payment_no, state=state, event_on=DAY + timedelta(days=day), run_no=day
        )
    )


def accounts(conn: Connection) -> dict[str, int]:
    """Balance per role, debits positive."""
    j = tables.journal
    balance = dict.fromkeys(("expense", "payable", "receivable", "cash", "write_off", "opening"), 0)
    for reason, amount in conn.execute(sa.select(j.c.reason, sa.func.sum(j.c.amount_fen)).group_by(j.c.reason)):
        debit, credit = ROLES[reason]
        balance[debit] += int(amount)
        balance[credit] -= int(amount)
    assert sum(balance.values()) == 0
    return balance


def journal(conn: Connection) -> list[tuple[str, int]]:
    """(reason, amount) in the order of entry."""
    j = tables.journal
    return [(r, int(a)) for r, a in conn.execute(sa.select(j.c.reason, j.c.amount_fen).order_by(j.c.entry_no))]
