"""The state machine of payments: what a bank says about them, checked against what is known, then recorded and booked.

========== ========== ========== ==========
known      confirmed  failed     pending
========== ========== ========== ==========
sent, open confirmed  failed     open
confirmed  –          refused    refused
failed     refused    –          refused
returned   –          –          –
otherwise  refused    refused    refused
========== ========== ========== ==========

``–`` changes nothing; ``refused`` blocks the whole file: a person must find out which is true.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import events
from subsidy.clearing.bank_text import Refused
from subsidy.ledger import postings, tables
from subsidy.ledger.bulk import among
from subsidy.ledger.database import read_arrow
from subsidy.ledger.journal import RunRef
from subsidy.policy.model import ChartOfAccounts

#: What a bank says of a payment. `verdict`: confirmed, failed or pending. `day` is the host date (required for confirmed).
VERDICTS = pa.schema(
    [
        ("payment_no", pa.string()),
        ("verdict", pa.string()),
        ("day", pa.date32()),
        ("host_serial", pa.string()),
        ("code", pa.string()),
        ("text", pa.string()),
    ]
)

_KNOWN = pa.schema(
    [("payment_no", pa.string()), ("state", pa.string()), ("direction", pa.string()), ("ordinal", pa.int32()), ("batch_no", pa.int64())]
)


@dataclass(frozen=True, slots=True)
class Applied:
    """How many payments changed their state."""

    confirmed: int = 0
    failed: int = 0
    opened: int = 0
    returned: int = 0

    def __add__(self, other: Applied) -> Applied:
        return Applied(
            self.confirmed + other.confirmed, self.failed + other.failed, self.opened + other.opened, self.returned + other.returned
        )

    @property
    def total(self) -> int:
        """All changes together."""
        return self.confirmed + self.failed + self.opened + self.returned


def known(conn: Connection, centre: str, payment_nos: pa.Array, batch_no: int | None = None) -> pa.Table:
    """State, direction, batch and ordinal of payments (all of a batch when `batch_no` is given)."""
    e, p, b = tables.payment_event, tables.payment, tables.batch
    where = p.c.batch_no == batch_no if batch_no is not None else among(conn, p.c.payment_no, payment_nos)
    last = events.last_event(centre, where)
    query = (
        sa.select(p.c.payment_no, e.c.state, b.c.direction, p.c.ordinal, p.c.batch_no)
        .join(last, last.c.payment_no == p.c.payment_no)
        .join(e, sa.and_(e.c.centre == p.c.centre, e.c.event_no == last.c.event_no))
        .join(b, sa.and_(b.c.centre == p.c.centre, b.c.batch_no == p.c.batch_no))
        .where(p.c.centre == centre, where)
    )
    return read_arrow(conn, query, _KNOWN)


def apply(
    conn: Connection, run: RunRef, chart: ChartOfAccounts, verdicts: pa.Table, *, bank_file_no: int, batch_no: int | None = None
) -> Applied:
    """Record and book what a bank says, whole or not at all.

    `verdicts` has schema `VERDICTS`, each payment at most once. Confirmed payments are booked with their host date, failed ones become due
    again. Refused ``RESULT-CONTRADICTS`` / ``RESULT-NOT-SENT`` names the rows that contradict what is known; nothing is recorded then.
    """
    numbers = verdicts["payment_no"].combine_chunks()
    now = known(conn, run.centre, numbers, batch_no)
    at = pc.index_in(numbers, now["payment_no"].combine_chunks())
    state = pc.fill_null(now["state"].combine_chunks().take(at), "unknown")
    verdict = verdicts["verdict"].combine_chunks()
    waiting = pc.is_in(state, pa.array(list(events.UNANSWERED)))
    settled = pc.is_in(state, pa.array(["confirmed", "failed"]))
    _refuse(
        pc.and_(settled, pc.not_equal(state, verdict)),
        now["ordinal"].combine_chunks().take(at),
        "RESULT-CONTRADICTS",
        "与此前的结果相反",
    )
    _refuse(
        pc.invert(pc.or_(pc.or_(waiting, settled), pc.equal(state, "returned"))),
        now["ordinal"].combine_chunks().take(at),
        "RESULT-NOT-SENT",
        "的付款没有发出，或已作废",
    )
    order = pc.sort_indices(numbers)
    kept = verdicts.take(order)
    before, after = state.take(order), verdict.take(order)
    direction = now["direction"].combine_chunks().take(at).take(order)
    confirmed = pc.and_(waiting.take(order), pc.equal(after, "confirmed"))
    failed = pc.and_(waiting.take(order), pc.equal(after, "failed"))
    opened = pc.and_(pc.equal(before, "sent"), pc.equal(after, "pending"))
    counts = []
    for name, mask in (("confirmed", confirmed), ("failed", failed), ("open", opened)):
        chosen = kept.filter(mask)
        counts.append(chosen.num_rows)
        days = pc.fill_null(chosen["day"], pa.scalar(run.business_date, pa.date32()))
        rows = pa.table(
            {
                "payment_no": chosen["payment_no"],
                "state": pa.repeat(name, chosen.num_rows),
                "event_on": days,
                "host_serial": chosen["host_serial"],
                "code": chosen["code"],
                "text": chosen["text"],
            },
            schema=events.EVENTS,
        )
        events.append_table(conn, run.centre, rows, run_no=run.run_no, bank_file_no=bank_file_no)
    for way, book in (("out", postings.book_confirmed), ("in", postings.book_collected)):
        chosen = kept.filter(pc.and_(confirmed, pc.equal(direction, way)))
        if chosen.num_rows:
            days = dict(zip(chosen["payment_no"].to_pylist(), chosen["day"].to_pylist(), strict=True))
            book(conn, run, chart, list(days), days)
    fallen = kept.filter(failed)["payment_no"].to_pylist()
    if fallen:
        postings.book_failed(conn, run, chart, fallen)
    return Applied(*counts)


def _refuse(mask: pa.Array, ordinals: pa.Array, code: str, what: str) -> None:
    if pc.any(mask).as_py():
        rows = sorted(o for o in ordinals.filter(mask).to_pylist() if o is not None)
        shown = "、".join(map(str, rows[:10])) or "未知"
        raise Refused(code, f"批内序号 {shown}{' 等' if len(rows) > 10 else ''} {what}")
