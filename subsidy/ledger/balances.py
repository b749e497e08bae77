"""The sub-ledger: what is due, in payments, paid and to be recovered, per line and per agreement.

``due(line) = sum(postings) - sum(items of live payments)``. A payment is live unless an event says that it never happened or came back,
which is final; one without any answer is live, because unknown is not "failed".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.ledger.bulk import among, read_arrow
from subsidy.ledger.chain import bytewise
from subsidy.ledger.tables import payment_event, payment_item, posting

#: States from which on a payment takes nothing any more.
DEAD = ("failed", "returned", "released")
CONFIRMED = "confirmed"

#: Result of `due_lines`. `due_fen` > 0 is payable, < 0 is to be recovered; `kind` is normal, top_up (part of the line is in payments or
#: paid already) or recovery; `posted_fen` is what the line is entitled to, `live_fen` what lies in live payments.
DUE = pa.schema(
    [
        ("scheme", pa.string()),
        ("agreement_no", pa.string()),
        ("account_no", pa.string()),
        ("serial_no", pa.string()),
        ("bucket", pa.int64()),
        ("posted_fen", pa.int64()),
        ("live_fen", pa.int64()),
        ("due_fen", pa.int64()),
        ("kind", pa.string()),
        ("booked_on", pa.date32()),
        ("accrual_to", pa.date32()),
        ("posted_on", pa.date32()),
    ]
)

#: Result of `live_items`: what lies in live payments per line, confirmed, and taken as recovery in payments still under way (as a
#: positive figure).
LIVE = pa.schema(
    [
        ("agreement_no", pa.string()),
        ("account_no", pa.string()),
        ("serial_no", pa.string()),
        ("live_fen", pa.int64()),
        ("confirmed_fen", pa.int64()),
        ("netting_fen", pa.int64()),
    ]
)

#: Result of `posted_lines`.
POSTED = pa.schema([("agreement_no", pa.string()), ("account_no", pa.string()), ("serial_no", pa.string()), ("posted_fen", pa.int64())])

#: Result of `agreement_balances`.
BALANCES = pa.schema(
    [
        ("agreement_no", pa.string()),
        ("posted_fen", pa.int64()),  # entitled, receivables of the opening deducted
        ("confirmed_fen", pa.int64()),  # paid less recovered
        ("in_flight_fen", pa.int64()),  # in live payments that are not confirmed
        ("payable_fen", pa.int64()),  # sum of what is due to be paid
        ("receivable_fen", pa.int64()),  # sum of what is to be recovered and lies in no payment yet
    ]
)


def has_event(centre: sa.ColumnElement[Any], payment_no: sa.ColumnElement[Any], states: Sequence[str]) -> sa.ColumnElement[bool]:
    """The condition that a payment ever had one of `states`, correlated with the columns given."""
    e = payment_event.alias()
    # Written as constants, because an index over some states is used only where the query names the same.
    named: list[sa.ColumnElement[Any]] = [sa.literal_column(f"'{state}'") for state in states]
    return sa.exists().where(e.c.centre == centre, e.c.payment_no == payment_no, e.c.state.in_(named))


def _items(centre: str, split: bool, *where: sa.ColumnElement[bool]) -> sa.Subquery:
    """Live items per line; with `split` also what is confirmed of them, and what is being netted or collected."""
    i = payment_item
    key = (i.c.agreement_no, i.c.account_no, i.c.serial_no)
    live = sa.not_(has_event(i.c.centre, i.c.payment_no, DEAD))
    query = sa.select(*key, _sum(i.c.amount_fen).label("live_fen")).where(i.c.centre == centre, live, *where).group_by(*key)
    if split:
        confirmed = has_event(i.c.centre, i.c.payment_no, (CONFIRMED,))
        query = query.add_columns(
            _sum(sa.case((confirmed, i.c.amount_fen), else_=0)).label("confirmed_fen"),
            _sum(sa.case((sa.and_(i.c.amount_fen < 0, sa.not_(confirmed)), -i.c.amount_fen), else_=0)).label("netting_fen"),
        )
    return query.subquery()


def _sum(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.cast(sa.func.sum(column), sa.BigInteger)


def live_items(
    conn: Connection, centre: str, agreements: Sequence[str] | pa.Array | pa.ChunkedArray, without: Iterable[str] = ()
) -> pa.Table:
    """Schema `LIVE`: what lies in live payments per line of some agreements, leaving out the payments numbered `without`."""
    where = [among(conn, payment_item.c.agreement_no, agreements)]
    left_out = list(without)
    if left_out:
        where.append(sa.not_(among(conn, payment_item.c.payment_no, left_out)))
    return read_arrow(conn, sa.select(_items(centre, True, *where)), LIVE)


def _lines(centre: str, *where: sa.ColumnElement[bool]) -> sa.Subquery:
    """Per line the sum of postings, and dates of its last posting."""
    p = posting
    key = (p.c.scheme, p.c.agreement_no, p.c.account_no, p.c.serial_no)
    last = sa.func.max(p.c.posting_no).label("last_no")
    summed = sa.select(*key, p.c.bucket, _sum(p.c.amount_fen).label("posted_fen"), last).where(p.c.centre == centre, *where)
    return summed.group_by(*key, p.c.bucket).subquery()


def posted_lines(conn: Connection, centre: str, agreements: Sequence[str] | pa.Array | pa.ChunkedArray) -> pa.Table:
    """Schema `POSTED`: the sum of postings per line of some agreements."""
    key = [posting.c[name] for name in ("agreement_no", "account_no", "serial_no")]
    query = sa.select(*key, _sum(posting.c.amount_fen)).group_by(*key)
    return read_arrow(conn, query.where(posting.c.centre == centre, among(conn, posting.c.agreement_no, agreements)), POSTED)


def _due(
    conn: Connection, centre: str, buckets: Sequence[int] | range | None, agreements: Any, split: bool
) -> tuple[sa.Select[Any], dict[str, Any]]:
    conditions: list[sa.ColumnElement[bool]] = []
    items: list[sa.ColumnElement[bool]] = []
    if buckets is not None:
        low, high = min(buckets), max(buckets)
        conditions.append(posting.c.bucket.between(low, high))
        items.append(payment_item.c.bucket.between(low, high))
    if agreements is not None:
        conditions.append(among(conn, posting.c.agreement_no, agreements))
        items.append(among(conn, payment_item.c.agreement_no, agreements))
    line = _lines(centre, *conditions)
    live = _items(centre, split, *items)
    same = [line.c[name] == live.c[name] for name in ("agreement_no", "account_no", "serial_no")]
    live_fen = sa.func.coalesce(live.c.live_fen, 0)
    columns = {"line": line, "live_fen": live_fen, "due_fen": line.c.posted_fen - live_fen}
    if split:
        columns["confirmed_fen"] = sa.func.coalesce(live.c.confirmed_fen, 0)
    return sa.select().select_from(line.outerjoin(live, sa.and_(*same))), columns


def due_lines(
    conn: Connection,
    centre: str,
    cutoff_on: date | None = None,
    *,
    buckets: Sequence[int] | range | None = None,
    agreements: Sequence[str] | pa.Array | pa.ChunkedArray | None = None,
) -> pa.Table:
    """Every line whose due amount is not 0, schema `DUE`, in the order (scheme, agreement, account, serial number) by bytes.

    `cutoff_on`: only lines whose transaction the bank booked (JZRQ) on or before it; None takes all. `buckets`: only a run of consecutive
    buckets, to work on part of a centre at a time. Source: handbook section 2 (cut-off) and 7.1."""
    query, c = _due(conn, centre, buckets, agreements, split=False)
    line, last = c["line"], posting.alias()
    kind = sa.case((c["due_fen"] < 0, "recovery"), (c["live_fen"] != 0, "top_up"), else_="normal")
    key = [line.c[name] for name in ("scheme", "agreement_no", "account_no", "serial_no")]
    query = (
        query.add_columns(
            *key,
            line.c.bucket,
            line.c.posted_fen,
            c["live_fen"],
            c["due_fen"],
            kind,
            last.c.booked_on,
            last.c.accrual_to,
            last.c.business_date,
        )
        .join(last, sa.and_(last.c.centre == centre, last.c.posting_no == line.c.last_no))
        .where(c["due_fen"] != 0)
        .order_by(*(bytewise(conn, column) for column in key))
    )
    if cutoff_on is not None:
        query = query.where(last.c.booked_on <= cutoff_on)
    return read_arrow(conn, query, DUE)


def agreement_balances(conn: Connection, centre: str, agreements: Sequence[str] | pa.Array | pa.ChunkedArray | None = None) -> pa.Table:
    """Schema `BALANCES` for some agreements (default: all that were ever posted), ordered by agreement number."""
    query, c = _due(conn, centre, None, agreements, split=True)
    agreement = c["line"].c.agreement_no
    zero = sa.literal(0, sa.BigInteger)
    query = (
        query.add_columns(
            agreement,
            _sum(c["line"].c.posted_fen),
            _sum(c["confirmed_fen"]),
            _sum(c["live_fen"] - c["confirmed_fen"]),
            _sum(sa.case((c["due_fen"] > 0, c["due_fen"]), else_=zero)),
            _sum(sa.case((c["due_fen"] < 0, -c["due_fen"]), else_=zero)),
        )
        .group_by(agreement)
        .order_by(bytewise(conn, agreement))
    )
    return read_arrow(conn, query, BALANCES)
