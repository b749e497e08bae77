"""What is to be recovered: per agreement, with its age, until it is zero.

A receivable is raised by a correction of what was paid, or left by the old system (TX04). It is netted, collected, restored by another
correction, or written off by two people. What comes in pays the oldest first.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.errors import TerminalError
from subsidy.ledger import audit, tables
from subsidy.ledger.balances import due_lines, live_items
from subsidy.ledger.bulk import read_arrow
from subsidy.ledger.chain import bytewise
from subsidy.ledger.database import next_numbers
from subsidy.ledger.journal import ROLES, Block, RunRef
from subsidy.ledger.write_offs import write_off_lines
from subsidy.money.amounts import format_yuan
from subsidy.policy.model import ChartOfAccounts

#: Upper bounds, in days, of the ages that are told apart; the last class is open.
AGES = (30, 90, 180, 365)

#: Result of `receivables`, ordered by agreement. receivable = raised − restored − recovered − written off = the sum of the five ages.
#: `in_process_fen` of it lies in payments or collections under way as of now; `since_on` is the day of its oldest open part.
RECEIVABLES = pa.schema(
    [
        ("agreement_no", pa.string()),
        ("receivable_fen", pa.int64()),
        ("in_process_fen", pa.int64()),
        ("since_on", pa.date32()),
        ("age_days", pa.int64()),
        ("raised_fen", pa.int64()),
        ("restored_fen", pa.int64()),
        ("recovered_fen", pa.int64()),
        ("written_off_fen", pa.int64()),
        *((f"age_{name}_fen", pa.int64()) for name in ("to_30", "to_90", "to_180", "to_365", "over_365")),
    ]
)

_ENTRIES = pa.schema([("agreement_no", pa.string()), ("entry_on", pa.date32()), ("reason", pa.string()), ("amount_fen", pa.int64())])

#: reason -> (column it counts into, sign there, sign in the receivable).
_EFFECT = {
    "overpaid": ("raised", 1, 1),
    "opening": ("raised", 1, 1),
    "restore": ("restored", 1, -1),
    "opening_less": ("restored", 1, -1),
    "reclass": ("restored", 1, -1),
    "net": ("recovered", 1, -1),
    "collect": ("recovered", 1, -1),
    "return_net": ("recovered", -1, 1),
    "return_collect": ("recovered", -1, 1),
    "write_off": ("written_off", 1, -1),
    "unwrite": ("written_off", -1, 1),
}
assert set(_EFFECT) == set(tables.RECEIVABLE_REASONS) == {reason for reason, roles in ROLES.items() if "receivable" in roles}


def receivables(conn: Connection, centre: str, as_of: date, include_settled: bool = False) -> pa.Table:
    """Schema `RECEIVABLES` as booked on or before `as_of`; with `include_settled` also agreements whose receivable is 0 by then."""
    j = tables.journal
    named: list[sa.ColumnElement[Any]] = [sa.literal_column(f"'{reason}'") for reason in tables.RECEIVABLE_REASONS]
    query = sa.select(j.c.agreement_no, j.c.entry_on, j.c.reason, sa.cast(sa.func.sum(j.c.amount_fen), sa.BigInteger)).where(
        j.c.centre == centre, j.c.entry_on <= as_of, j.c.reason.in_(named)
    )
    query = query.group_by(j.c.agreement_no, j.c.entry_on, j.c.reason).order_by(bytewise(conn, j.c.agreement_no), j.c.entry_on)
    entries = read_arrow(conn, query, _ENTRIES)
    if entries.num_rows == 0:
        return RECEIVABLES.empty_table()
    aged = _aged(entries, as_of)
    if not include_settled:
        aged = aged.filter(pc.not_equal(aged["receivable_fen"], 0))
    items = live_items(conn, centre, aged["agreement_no"])
    under_way = items.group_by("agreement_no").aggregate([("netting_fen", "sum")])
    at = pc.index_in(aged["agreement_no"], value_set=under_way["agreement_no"].combine_chunks())
    in_process = pc.fill_null(under_way["netting_fen_sum"].take(at), 0)
    return aged.append_column("in_process_fen", in_process).select(RECEIVABLES.names).cast(RECEIVABLES)


def _aged(entries: pa.Table, as_of: date) -> pa.Table:
    """Per agreement: sums, and what is left of each rise when everything that came in pays the oldest first."""
    encoded = entries["agreement_no"].combine_chunks().dictionary_encode()
    group = encoded.indices.to_numpy()
    count = len(encoded.dictionary)
    reasons = entries["reason"].to_pylist()
    amount = entries["amount_fen"].to_numpy()
    columns: dict[str, Any] = {"agreement_no": encoded.dictionary}
    for name in ("raised", "restored", "recovered", "written_off"):
        sign = np.array([_EFFECT[reason][1] if _EFFECT[reason][0] == name else 0 for reason in reasons])
        columns[f"{name}_fen"] = _sums(group, sign * amount, count)
    gone = columns["restored_fen"] + columns["recovered_fen"] + columns["written_off_fen"]
    columns["receivable_fen"] = columns["raised_fen"] - gone
    rise = np.array([_EFFECT[reason][0] == "raised" for reason in reasons]) * amount
    # Running total of rises within the agreement: entries are ordered by agreement and day.
    total = np.cumsum(rise)
    before_group = total - _sums(group, rise, count).cumsum()[group] + _sums(group, rise, count)[group]
    left = np.clip(before_group - gone[group], 0, rise)
    day = entries["entry_on"].cast(pa.int32()).to_numpy()
    age = (as_of - date(1970, 1, 1)).days - day
    oldest = np.zeros(count, np.int64)
    np.maximum.at(oldest, group, np.where(left > 0, age, 0))
    columns["age_days"] = oldest
    columns["since_on"] = pa.array(((as_of - date(1970, 1, 1)).days - oldest).astype(np.int32)).cast(pa.date32())
    classes = np.searchsorted(AGES, age)
    for i, name in enumerate(field.name for field in RECEIVABLES if field.name.startswith("age_") and field.name.endswith("_fen")):
        columns[name] = _sums(group, np.where(classes == i, left, 0), count)
    return pa.table(columns)


def _sums(group: np.ndarray[Any, Any], amount: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    sums = np.zeros(count, np.int64)
    np.add.at(sums, group, amount)
    return sums


def refuse_amount(conn: Connection, centre: str, agreement_no: str, amount_fen: int) -> None:
    """TerminalError ``WRITE-OFF-MUCH`` unless the amount is above 0 and not more than what is open and lies in no payment."""
    due = due_lines(conn, centre, agreements=[agreement_no])
    available = -int(pc.sum(due.filter(pc.less(due["due_fen"], 0))["due_fen"]).as_py() or 0)
    if not 0 < amount_fen <= available:
        raise TerminalError(
            "WRITE-OFF-MUCH",
            f"核销金额 {format_yuan(amount_fen)} 元应大于 0，且不超过可核销余额 {format_yuan(available)} 元。",
            "没有核销。",
            "正在抵扣或收回中的部分要等银行结果；按可核销余额重新提交。",
        )


def write_off(
    conn: Connection,
    run: RunRef,
    chart: ChartOfAccounts,
    agreement_no: str,
    amount_fen: int,
    *,
    requested_by: str,
    approved_by: str,
    reason: str,
    at: str,
) -> int:
    """Write off `amount_fen` of an agreement's receivable, oldest line first, and return the number of the write-off.

    TerminalError ``WRITE-OFF-ONE`` when one person does both, ``WRITE-OFF-MUCH`` when the amount is not above 0 or more than what is open
    and lies in no payment, ``WRITE-OFF-REASON`` without a reason. `at`: wall clock time in ISO 8601, for the audit."""
    if not requested_by or not approved_by or requested_by == approved_by:
        raise TerminalError("WRITE-OFF-ONE", "核销需要两个不同的人：一人申请，一人批准。", "没有核销。", "由另一名有权限的人批准。")
    if not reason.strip():
        raise TerminalError("WRITE-OFF-REASON", "核销没有写明原因。", "没有核销。", "填写原因后重新提交。")
    due = due_lines(conn, run.centre, agreements=[agreement_no])
    order = [("posted_on", "ascending"), ("account_no", "ascending"), ("serial_no", "ascending")]
    open_lines = due.filter(pc.less(due["due_fen"], 0)).sort_by(order)
    refuse_amount(conn, run.centre, agreement_no, amount_fen)
    number = next_numbers(conn, run.centre, "write_off")
    conn.execute(
        sa.insert(tables.write_off).values(
            centre=run.centre, write_off_no=number, agreement_no=agreement_no, amount_fen=amount_fen, requested_by=requested_by,
            approved_by=approved_by, reason=reason, business_date=run.business_date,
        )
    )  # fmt: skip
    rows = open_lines.select(["agreement_no", "account_no", "serial_no", "bucket", "due_fen"]).to_pylist()
    left = amount_fen
    taken = []
    for row in rows:
        part = min(left, -row.pop("due_fen"))
        if part:
            taken.append(row | {"amount_fen": -part})
        left -= part
    block = Block(conn, run, chart)
    write_off_lines(conn, run, block, f"WO{number:010d}", taken, attempt=1, replaces=None)
    block.close()
    audit.record(conn, run.centre, requested_by, "write_off", f"write_off:{number}", reason, at)
    audit.record(conn, run.centre, approved_by, "approve", f"write_off:{number}", reason, at)
    return number
