"""What is due up to a cut-off, with the payments that should have paid it and did not."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing.events import DEAD
from subsidy.clearing.gather import DUE
from subsidy.entitlement.lines import LINE_KEY
from subsidy.ledger import tables
from subsidy.ledger.database import read_arrow
from subsidy.ledger.postings import due_lines

_DEAD_ITEMS = pa.schema(
    [*((name, pa.string()) for name in LINE_KEY), ("payment_no", pa.string()), ("attempt", pa.int32()), ("state", pa.string())]
)


def due(conn: Connection, centre: str, cutoff_on: date) -> pa.Table:
    """Every line with something to pay or to get back by `cutoff_on` as `gather.DUE`. A payment that was withdrawn before it was sent
    does not count as an attempt."""
    base = due_lines(conn, centre, cutoff_on)
    lines = pa.table(
        {
            **{name: base[name] for name in LINE_KEY},
            "bucket": base["bucket"].cast(pa.int32()),
            "accrual_to": base["accrual_to"],
            "due_fen": base["due_fen"],
            "settled": pc.equal(base["kind"], "top_up"),
        }
    )
    before = _dead(conn, centre)
    if not before.num_rows:
        nothing = {"replaces": pa.repeat("", base.num_rows), "attempt": pa.repeat(pa.scalar(0, pa.int32()), base.num_rows)}
        return pa.table({**{name: lines[name] for name in lines.column_names}, **nothing}, schema=DUE)
    joined = lines.join(before, list(LINE_KEY), join_type="left outer")
    joined = joined.set_column(joined.column_names.index("replaces"), "replaces", pc.fill_null(joined["replaces"], ""))
    joined = joined.set_column(joined.column_names.index("attempt"), "attempt", pc.fill_null(joined["attempt"], 0))
    return joined.select(DUE.names).cast(DUE)


def _dead(conn: Connection, centre: str) -> pa.Table:
    """Per line the newest payment that failed, came back or was withdrawn, and how many attempts that makes."""
    e, p, i = tables.payment_event, tables.payment, tables.payment_item
    query = (
        sa.select(i.c.agreement_no, i.c.account_no, i.c.serial_no, p.c.payment_no, p.c.attempt, e.c.state)
        .join(p, sa.and_(p.c.centre == e.c.centre, p.c.payment_no == e.c.payment_no))
        .join(i, sa.and_(i.c.centre == e.c.centre, i.c.payment_no == e.c.payment_no))
        .where(e.c.centre == centre, e.c.state.in_(DEAD), p.c.batch_no > 0)  # batch 0: write-offs
    )
    items = read_arrow(conn, query, _DEAD_ITEMS)
    if not items.num_rows:
        return items
    made = pc.subtract(items["attempt"], pc.cast(pc.equal(items["state"], "released"), pa.int32()))
    items = items.set_column(items.column_names.index("attempt"), "attempt", made)
    newest = items.group_by(list(LINE_KEY)).aggregate([("payment_no", "max"), ("attempt", "max")])
    return newest.rename_columns([*LINE_KEY, "replaces", "attempt"])
