"""Which workbooks the ledger has left behind: the periods for which something was booked since the workbooks were last written.

A mark remembers how far the stored workbooks go: the next numbers of everything a workbook shows, and the business date. Whoever books
does not write workbooks; `reporting.refresh` does afterwards, and moves the mark in one transaction with what it says. So a kill anywhere
loses no workbook, an unchanged ledger costs a few numbers, and a payment that comes back after years finds its period.

What makes a period's workbook old:

- its settlement was built, also one with nothing to pay;
- an answer about its settlement;
- an event of one of its payments. Later periods list what is still open of earlier ones, so they are old too unless the payment had been
  answered before (a return);
- a bank movement of its batches;
- a finding of its runs;
- a booking in its month that is no accrual (payment, return, recovery, write-off), and any booking at all once the month is over. While a
  month is open every night accrues something; the sheet of vouchers says how far it goes and is completed when the month ends;
- days: a difference that was a matter of time became one that a person must look at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing.approval import subject_of
from subsidy.clearing.reconcile import PATIENCE_DAYS, three_way
from subsidy.clearing.vouchers import month_of
from subsidy.ledger import tables

#: Names of the step rows that hold a mark: how far the workbooks go, and how far the clearings over all centres know a centre. The newest
#: run that has one counts.
STEP, CLEARED = "workbooks", "cleared"
#: How long after it left a batch is watched for differences that become a matter for people.
WATCHED = timedelta(days=6 * PATIENCE_DAYS)


@dataclass(frozen=True, slots=True)
class Mark:
    """The next number of each kind, and the open business date."""

    event: int = 1
    movement: int = 1
    approval: int = 1
    finding: int = 1
    block: int = 1
    settlement: int = 1
    on: date = date.min


def now(conn: Connection, centre: str) -> Mark:
    """How far the ledger goes. `on` is ``date.min`` before the first night."""
    c, b, s = tables.counter, tables.journal_block, tables.centre_state
    kinds = ("event", "movement", "approval", "finding")
    numbers = {
        str(name): int(number)
        for name, number in conn.execute(sa.select(c.c.name, c.c.next_no).where(c.c.centre == centre, c.c.name.in_(kinds)))
    }
    newest = conn.execute(sa.select(sa.func.max(b.c.block_no)).where(b.c.centre == centre)).scalar_one()
    on = conn.execute(sa.select(s.c.open_business_date).where(s.c.centre == centre)).scalar_one_or_none()
    t = tables.settlement
    built = conn.execute(sa.select(sa.func.count()).select_from(t).where(t.c.centre == centre)).scalar_one()
    return Mark(**numbers, block=int(newest or 0) + 1, settlement=int(built) + 1, on=on or date.min)


def mark(conn: Connection, centre: str, name: str = STEP) -> Mark | None:
    """How far the stored workbooks (or clearings) go; None when none was ever written."""
    t = tables.step
    found = conn.execute(
        sa.select(t.c.result).where(t.c.centre == centre, t.c.name == name).order_by(t.c.run_no.desc()).limit(1)
    ).scalar_one_or_none()
    if found is None:
        return None
    kept = json.loads(found)
    return Mark(**{**kept, "on": date.fromisoformat(kept["on"])})


def remember(conn: Connection, centre: str, reached: Mark, name: str = STEP) -> None:
    """Move the mark, in the transaction of what was written."""
    t, r = tables.step, tables.run
    run_no = conn.execute(sa.select(sa.func.max(r.c.run_no)).where(r.c.centre == centre)).scalar_one()
    result = json.dumps(asdict(reached), default=str, sort_keys=True)
    here = (t.c.centre == centre, t.c.run_no == run_no, t.c.name == name)
    if not conn.execute(sa.update(t).where(*here).values(result=result)).rowcount:
        conn.execute(sa.insert(t).values(centre=centre, run_no=run_no, name=name, input_hash="", result=result))


def booked(conn: Connection, centre: str, old: Mark, new: Mark) -> set[str]:
    """Periods for which something was booked between two marks. Reads only what is new."""
    s = tables.settlement
    built = list(conn.execute(sa.select(s.c.period, s.c.run_no).where(s.c.centre == centre).order_by(s.c.run_no, s.c.period)).all())
    periods = {str(row.period) for row in built}
    found = {str(row.period) for row in built[old.settlement - 1 :]}
    if new.event > old.event:
        for period, later in _paid(conn, centre, old.event):
            found |= {p for p in periods if p == period or (later and p > period)}
    if new.movement > old.movement:
        found |= _of_movements(conn, centre, old.movement)
    if new.approval > old.approval:
        a = tables.approval
        subjects = set(conn.execute(sa.select(a.c.subject).where(a.c.centre == centre, a.c.approval_no >= old.approval)).scalars())
        found |= {p for p in periods if subject_of(p) in subjects}
    if new.finding > old.finding:
        f = tables.finding
        runs = conn.execute(sa.select(f.c.run_no).distinct().where(f.c.centre == centre, f.c.finding_no >= old.finding)).scalars()
        found |= {str(next(row.period for row in built if row.run_no >= run_no)) for run_no in runs if built and built[-1].run_no >= run_no}
    first = min(_months(conn, centre, old, new), default=None) if new.block > old.block else None
    if first is not None:  # the figures since the beginning of later periods hold it too
        found |= {p for p in periods if p >= first}
    return found | {p for p in periods if old.on < _last_day(p) <= new.on}


def late(conn: Connection, centre: str, old: Mark, new: Mark) -> set[str]:
    """Periods in which the days between two marks made a difference one that a person must look at."""
    f, b = tables.published_file, tables.batch
    if new.on <= old.on or old.on == date.min:
        return set()
    watched = conn.execute(
        sa.select(b.c.period)
        .distinct()
        .join(f, sa.and_(f.c.centre == b.c.centre, f.c.batch_no == b.c.batch_no))
        .where(b.c.centre == centre, f.c.kind.in_(("payment", "recovery")), f.c.business_date > new.on - WATCHED)
    ).scalars()
    found = set()
    for period in watched:
        unexplained = three_way(conn, centre, period, new.on).unexplained_count
        if unexplained and unexplained != three_way(conn, centre, period, old.on).unexplained_count:
            found.add(str(period))
    return found


def _paid(conn: Connection, centre: str, first: int) -> Iterator[tuple[str, bool]]:
    """Periods of payments with new events, and whether later periods listed these as open."""
    e, p, b = tables.payment_event, tables.payment, tables.batch
    query = (
        sa.select(b.c.period, e.c.state)
        .distinct()
        .select_from(e)
        .join(p, sa.and_(p.c.centre == e.c.centre, p.c.payment_no == e.c.payment_no))
        .join(b, sa.and_(b.c.centre == p.c.centre, b.c.batch_no == p.c.batch_no))
        .where(e.c.centre == centre, e.c.event_no >= first)
    )
    for period, state in conn.execute(query):
        yield str(period), state != "returned"


def _of_movements(conn: Connection, centre: str, first: int) -> set[str]:
    """Periods of batches with new movements, moved payment by payment or as one sum."""
    m, p, b = tables.movement, tables.payment, tables.batch
    new = (m.c.centre == centre, m.c.movement_no >= first)
    single = (
        sa.select(b.c.period)
        .select_from(m)
        .join(p, sa.and_(p.c.centre == m.c.centre, p.c.payment_no == m.c.payment_no))
        .join(b, sa.and_(b.c.centre == p.c.centre, b.c.batch_no == p.c.batch_no))
        .where(*new)
    )
    whole = sa.select(b.c.period).select_from(m).join(b, sa.and_(b.c.centre == m.c.centre, b.c.batch_no == m.c.batch_no)).where(*new)
    return {str(period) for query in (single, whole) for period in conn.execute(query.distinct()).scalars()}


def _months(conn: Connection, centre: str, old: Mark, new: Mark) -> Iterator[str]:
    """Months of new bookings; accruals of a month that is not over are left for its end."""
    b, j = tables.journal_block, tables.journal
    query = (
        sa.select(j.c.entry_on, b.c.first_posting)
        .distinct()
        .join(j, sa.and_(j.c.centre == b.c.centre, j.c.block_no == b.c.block_no))
        .where(b.c.centre == centre, b.c.block_no >= old.block)
    )
    for entry_on, first_posting in conn.execute(query):
        month = f"{entry_on:%Y-%m}"
        if not first_posting or _last_day(month) <= new.on:
            yield month


def _last_day(month: str) -> date:
    return month_of(month)[1] - timedelta(days=1)
