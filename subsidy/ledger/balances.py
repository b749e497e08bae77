"""The sub-ledger: what is due, in payments, paid and to be recovered, per line and per agreement.

``due(line) = sum(postings) - sum(items of live payments)``. A payment is live unless an event says that it never happened or came back,
which is final; one without any answer is live, because unknown is not "failed".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.entitlement.lines import LINE_KEY
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
    bucket = sa.func.max(p.c.bucket).label("bucket")
    summed = sa.select(*key, bucket, _sum(p.c.amount_fen).label("posted_fen"), last).where(p.c.centre == centre, *where)
    return summed.group_by(*key).subquery()


def posted_lines(conn: Connection, centre: str, agreements: Sequence[str] | pa.Array | pa.ChunkedArray) -> pa.Table:
    """Schema `POSTED`: the sum of postings per line of some agreements."""
    key = [posting.c[name] for name in ("agreement_no", "account_no", "serial_no")]
    query = sa.select(*key, _sum(posting.c.amount_fen)).group_by(*key)
    return read_arrow(conn, query.where(posting.c.centre == centre, among(conn, posting.c.agreement_no, agreements)), POSTED)


Condition = Callable[[sa.ColumnElement[Any]], list[sa.ColumnElement[bool]]]


def line_balances(centre: str, of: Condition, buckets: Sequence[int] | range | None = None, split: bool = True) -> sa.Subquery:
    """Per posted line: scheme, key, bucket, posted_fen, last_no (number of its last posting), live_fen, and with `split` confirmed_fen
    and netting_fen. `of` gives the conditions on an agreement number; `buckets` is a run of consecutive buckets."""
    postings, items = of(posting.c.agreement_no), of(payment_item.c.agreement_no)
    if buckets is not None:
        postings.append(posting.c.bucket.between(min(buckets), max(buckets)))
        items.append(payment_item.c.bucket.between(min(buckets), max(buckets)))
    line = _lines(centre, *postings)
    live = _items(centre, split, *items)
    same = [line.c[name] == live.c[name] for name in ("agreement_no", "account_no", "serial_no")]
    zero = sa.literal(0, sa.BigInteger)
    names = ("live_fen", "confirmed_fen", "netting_fen") if split else ("live_fen",)
    amounts = [sa.func.coalesce(live.c[name], zero).label(name) for name in names]
    return sa.select(line, *amounts).select_from(line.outerjoin(live, sa.and_(*same))).subquery()


def _among(conn: Connection, agreements: Any) -> Condition:
    return lambda column: [] if agreements is None else [among(conn, column, agreements)]


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
    line, last = line_balances(centre, _among(conn, agreements), buckets, split=False), posting.alias()
    due_fen = line.c.posted_fen - line.c.live_fen
    kind = sa.case((due_fen < 0, "recovery"), (line.c.live_fen != 0, "top_up"), else_="normal")
    key = [line.c[name] for name in ("scheme", "agreement_no", "account_no", "serial_no")]
    query = (
        sa.select(*key, line.c.bucket, line.c.posted_fen, line.c.live_fen, due_fen, kind, last.c.booked_on, last.c.accrual_to)
        .add_columns(last.c.business_date)
        .join(last, sa.and_(last.c.centre == centre, last.c.posting_no == line.c.last_no))
        .where(due_fen != 0)
    )
    if cutoff_on is not None:
        query = query.where(last.c.booked_on <= cutoff_on)
    return read_arrow(conn, query, DUE).sort_by([(name, "ascending") for name in ("scheme", *LINE_KEY)])


def agreement_balances(conn: Connection, centre: str, agreements: Sequence[str] | pa.Array | pa.ChunkedArray | None = None) -> pa.Table:
    """Schema `BALANCES` for some agreements (default: all that were ever posted), ordered by agreement number."""
    line = line_balances(centre, _among(conn, agreements)).c
    due_fen = line.posted_fen - line.live_fen
    zero = sa.literal(0, sa.BigInteger)
    query = (
        sa.select(
            line.agreement_no,
            _sum(line.posted_fen),
            _sum(line.confirmed_fen),
            _sum(line.live_fen - line.confirmed_fen),
            _sum(sa.case((due_fen > 0, due_fen), else_=zero)),
            _sum(sa.case((due_fen < 0, -due_fen), else_=zero)),
        )
        .group_by(line.agreement_no)
        .order_by(bytewise(conn, line.agreement_no))
    )
    return read_arrow(conn, query, BALANCES)
