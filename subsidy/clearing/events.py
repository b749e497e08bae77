"""What became of a payment: an append-only list of events; the last one is the state.

reserved → sent → confirmed → returned; sent → failed; sent → open → …; reserved → released (batch rejected). A payment that failed, was
returned or was released is dead: its lines are due again. Every other payment is live.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.ledger import tables
from subsidy.ledger.bulk import among, read_arrow
from subsidy.ledger.database import bulk_insert, next_numbers

DEAD = ("failed", "returned", "released")
#: Sent, and the bank has not said what became of it.
UNANSWERED = ("sent", "open")
#: The bank has said what became of it.
ANSWERED = ("confirmed", "failed", "returned")

#: A row of events to append: everything but the number.
EVENTS = pa.schema(
    [
        ("payment_no", pa.string()),
        ("state", pa.string()),
        ("event_on", pa.date32()),
        ("host_serial", pa.string()),
        ("code", pa.string()),
        ("text", pa.string()),
    ]
)


def append(
    conn: Connection,
    centre: str,
    payment_nos: Sequence[str] | pa.Array,
    state: str,
    event_on: date,
    *,
    run_no: int,
    code: str = "",
    text: str = "",
    bank_file_no: int = 0,
) -> None:
    """The same event for many payments."""
    numbers = payment_nos if isinstance(payment_nos, pa.Array) else pa.array(list(payment_nos), pa.string())
    count = len(numbers)
    table = pa.table(
        {
            "payment_no": numbers,
            "state": pa.repeat(state, count),
            "event_on": pa.repeat(pa.scalar(event_on, pa.date32()), count),
            "host_serial": pa.repeat("", count),
            "code": pa.repeat(code, count),
            "text": pa.repeat(text, count),
        },
        schema=EVENTS,
    )
    append_table(conn, centre, table, run_no=run_no, bank_file_no=bank_file_no)


def append_table(conn: Connection, centre: str, rows: pa.Table, *, run_no: int, bank_file_no: int = 0) -> None:
    """Append events of schema `EVENTS` in their order."""
    count = rows.num_rows
    if not count:
        return
    first = next_numbers(conn, centre, "event", count)
    columns = {
        "centre": pa.repeat(centre, count),
        "event_no": pa.array(np.arange(first, first + count)),
        "bank_file_no": pa.repeat(pa.scalar(bank_file_no, pa.int64()), count),
        "run_no": pa.repeat(pa.scalar(run_no, pa.int64()), count),
    }
    bulk_insert(conn, tables.payment_event, pa.table({**columns, **{name: rows[name] for name in EVENTS.names}}))


def last_event(centre: str, *where: sa.ColumnElement[bool]) -> sa.Subquery:
    """(payment_no, event_no) of the newest event of each payment of a centre; `where` limits the rows of table `payment`. Looked up payment
    by payment in the index: grouping all events costs twice as much."""
    e, p = tables.payment_event.alias(), tables.payment
    newest = sa.select(sa.func.max(e.c.event_no)).where(e.c.centre == p.c.centre, e.c.payment_no == p.c.payment_no)
    return sa.select(p.c.payment_no, newest.scalar_subquery().label("event_no")).where(p.c.centre == centre, *where).subquery()


def states(conn: Connection, centre: str, payment_nos: Sequence[str] | pa.Array) -> dict[str, str]:
    """The state of each payment given."""
    e = tables.payment_event
    last = last_event(centre, among(conn, tables.payment.c.payment_no, payment_nos))
    query = sa.select(e.c.payment_no, e.c.state).join(last, sa.and_(e.c.centre == centre, last.c.event_no == e.c.event_no))
    return {row[0]: row[1] for row in conn.execute(query)}


def batch_states(conn: Connection, centre: str, batch_no: int) -> dict[str, str]:
    """The state of each payment of a batch."""
    e = tables.payment_event
    last = last_event(centre, tables.payment.c.batch_no == batch_no)
    query = sa.select(e.c.payment_no, e.c.state).join(last, sa.and_(e.c.centre == centre, last.c.event_no == e.c.event_no))
    return {row[0]: row[1] for row in conn.execute(query)}


def given_back(conn: Connection, centre: str, period: str) -> bool:
    """True when payments of a settlement were released: a later settlement pays their lines."""
    e, p, b = tables.payment_event, tables.payment, tables.batch
    released = (
        sa.select(e.c.event_no)
        .join(p, sa.and_(p.c.centre == e.c.centre, p.c.payment_no == e.c.payment_no))
        .join(b, sa.and_(b.c.centre == p.c.centre, b.c.batch_no == p.c.batch_no))
        .where(e.c.centre == centre, e.c.state == "released", b.c.period == period)
    )
    return conn.execute(released.limit(1)).first() is not None


def of_batch_in(conn: Connection, centre: str, batch_no: int, state: str) -> pa.Array:
    """The numbers of a batch's payments whose state is `state`, by ordinal."""
    e, p = tables.payment_event, tables.payment
    last = last_event(centre, p.c.batch_no == batch_no)
    query = (
        sa.select(p.c.payment_no)
        .join(last, last.c.payment_no == p.c.payment_no)
        .join(e, sa.and_(e.c.centre == p.c.centre, e.c.event_no == last.c.event_no))
        .where(p.c.centre == centre, p.c.batch_no == batch_no, e.c.state == state)
        .order_by(p.c.ordinal)
    )
    return read_arrow(conn, query, pa.schema([("payment_no", pa.string())]))["payment_no"].combine_chunks()
