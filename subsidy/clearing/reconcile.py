"""Three ways to see the same money: computed, sent, and what the bank moved; every difference has a class (handbook section 7, step 5).

computed = sent + netted + carried + held; sent = confirmed + failed + open; bank debits − bank returns = confirmed − returned.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import events
from subsidy.ledger import tables

Class = Literal["timing", "return", "amount", "missing", "twice", "unknown"]

CLASSES: dict[Class, str] = {
    "timing": "时间差",
    "return": "退汇",
    "amount": "金额不符",
    "missing": "缺失",
    "twice": "重复",
    "unknown": "不明",
}
#: What the bank has not said or shown after so many days is missing, no longer a matter of time.
PATIENCE_DAYS = 10


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between what was sent and what the bank says or did. `amount_fen` is the money in question."""

    kind: Class
    batch_no: int
    payment_no: str
    amount_fen: int
    text: str


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch (or a sum of batches) three ways. Confirmed amounts include those that were returned later; amounts in fen."""

    batch_no: int
    direction: str
    bank_code: str
    route: str
    sent_count: int
    sent_fen: int
    confirmed_count: int
    confirmed_fen: int
    failed_count: int
    failed_fen: int
    open_count: int
    open_fen: int
    returned_count: int
    returned_fen: int
    released_fen: int
    debit_fen: int  # bank debits of payments, or credits of collections
    bank_return_fen: int

    @property
    def sent_ties(self) -> bool:
        """sent = confirmed + failed + open (+ withdrawn before sending)."""
        return self.sent_fen == self.confirmed_fen + self.failed_fen + self.open_fen + self.released_fen

    @property
    def bank_difference_fen(self) -> int:
        """(bank debits − bank returns) − (confirmed − returned)."""
        return (self.debit_fen - self.bank_return_fen) - (self.confirmed_fen - self.returned_fen)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A centre's period (or all of it) three ways, with every difference classified."""

    centre: str
    period: str
    on: date
    computed_fen: int
    sent_fen: int
    netted_fen: int
    carried_fen: int
    held_fen: int
    batches: tuple[BatchView, ...]
    differences: tuple[Difference, ...]

    @property
    def computed_ties(self) -> bool:
        """computed = sent + netted + carried + held."""
        return self.computed_fen == self.sent_fen + self.netted_fen + self.carried_fen + self.held_fen

    @property
    def ties(self) -> bool:
        """All three equations hold, differences of timing and returns explained."""
        return self.computed_ties and all(b.sent_ties for b in self.batches) and not self.unexplained

    @property
    def unexplained(self) -> tuple[Difference, ...]:
        """Differences that a person must look at."""
        return tuple(d for d in self.differences if d.kind not in ("timing", "return"))

    def total(self, direction: str = "out") -> BatchView:
        """The sum over the batches of a direction."""
        chosen = [b for b in self.batches if b.direction == direction]
        names = [n for n in BatchView.__dataclass_fields__ if n.endswith(("_count", "_fen"))]
        return BatchView(batch_no=0, direction=direction, bank_code="", route="", **{n: sum(getattr(b, n) for b in chosen) for n in names})


def three_way(conn: Connection, centre: str, period: str | None = None, on: date | None = None) -> Reconciliation:
    """Reconcile a period of a centre, or with `period` None everything the centre ever sent.

    `on`: the day as of which ages count; default the centre's open business date. Netting batches confirm themselves and are left out.
    """
    s = tables.settlement
    c = tables.centre_state
    if on is None:
        on = conn.execute(sa.select(c.c.open_business_date).where(c.c.centre == centre)).scalar_one_or_none() or date.min
    where = [s.c.centre == centre] + ([s.c.period == period] if period is not None else [])
    names = ("computed_fen", "sent_fen", "netted_fen", "carried_fen", "held_fen")
    sums = conn.execute(sa.select(*(sa.func.coalesce(sa.func.sum(s.c[n]), 0) for n in names)).where(*where)).one()
    batches = _batches(conn, centre, period)
    moved = _moved(conn, centre, period)
    states = _states(conn, centre, period)
    views = tuple(_view(batch, states.get(batch["batch_no"], {}), moved.get(batch["batch_no"], {})) for batch in batches)
    differences = [d for view in views for d in _differences(conn, centre, view, on)]
    if period is None:
        differences += _strangers(conn, centre)
    computed, sent, netted, carried, held = (int(value) for value in sums)
    return Reconciliation(centre, period or "", on, computed, sent, netted, carried, held, views, tuple(differences))


def _batches(conn: Connection, centre: str, period: str | None) -> list[dict[str, Any]]:
    b, s = tables.batch, tables.settlement
    query = sa.select(b).join(s, sa.and_(s.c.centre == b.c.centre, s.c.period == b.c.period))
    query = query.where(b.c.centre == centre, b.c.direction != "net", s.c.state.in_(("publishing", "published")))
    if period is not None:
        query = query.where(b.c.period == period)
    return [dict(row) for row in conn.execute(query.order_by(b.c.batch_no)).mappings()]


def _limited(centre: str, period: str | None) -> list[sa.ColumnElement[bool]]:
    p, b = tables.payment, tables.batch
    if period is None:
        return []
    return [p.c.batch_no.in_(sa.select(b.c.batch_no).where(b.c.centre == centre, b.c.period == period))]


def _states(conn: Connection, centre: str, period: str | None) -> dict[int, dict[str, tuple[int, int]]]:
    """Per batch: state → (count, fen)."""
    p, e = tables.payment, tables.payment_event
    last = events.last_event(centre, *_limited(centre, period))
    query = (
        sa.select(p.c.batch_no, e.c.state, sa.func.count().label("n"), sa.cast(sa.func.sum(p.c.amount_fen), sa.BigInteger).label("fen"))
        .select_from(p)
        .join(last, last.c.payment_no == p.c.payment_no)
        .join(e, sa.and_(e.c.centre == p.c.centre, e.c.event_no == last.c.event_no))
        .where(p.c.centre == centre)
        .group_by(p.c.batch_no, e.c.state)
    )
    found: dict[int, dict[str, tuple[int, int]]] = {}
    for row in conn.execute(query):
        found.setdefault(row.batch_no, {})[row.state] = (int(row.n), int(row.fen))
    return found


def _moved(conn: Connection, centre: str, period: str | None) -> dict[int, dict[str, int]]:
    """Per batch: class of movement → fen, unsigned."""
    m, p = tables.movement, tables.payment
    number = sa.case((m.c.batch_no > 0, m.c.batch_no), else_=p.c.batch_no).label("number")
    query = (
        sa.select(number, m.c["class"].label("kind"), sa.cast(sa.func.sum(sa.func.abs(m.c.amount_fen)), sa.BigInteger).label("fen"))
        .select_from(m)
        .outerjoin(p, sa.and_(p.c.centre == m.c.centre, p.c.payment_no == m.c.payment_no))
        .where(m.c.centre == centre, m.c["class"] != "unknown")
        .group_by(number, m.c["class"])
    )
    found: dict[int, dict[str, int]] = {}
    for row in conn.execute(query):
        if row.number is not None:
            found.setdefault(int(row.number), {})[row.kind] = int(row.fen)
    return found


def _view(batch: dict[str, Any], states: dict[str, tuple[int, int]], moved: dict[str, int]) -> BatchView:
    def of(*names: str) -> tuple[int, int]:
        pairs = [states.get(name, (0, 0)) for name in names]
        return sum(n for n, _ in pairs), sum(fen for _, fen in pairs)

    confirmed, failed, waiting = of("confirmed", "returned"), of("failed"), of("sent", "open", "reserved")
    returned = of("returned")
    return BatchView(
        batch_no=batch["batch_no"],
        direction=batch["direction"],
        bank_code=batch["bank_code"],
        route=batch["route"],
        sent_count=batch["payment_count"],
        sent_fen=batch["amount_fen"],
        confirmed_count=confirmed[0],
        confirmed_fen=confirmed[1],
        failed_count=failed[0],
        failed_fen=failed[1],
        open_count=waiting[0],
        open_fen=waiting[1],
        returned_count=returned[0],
        returned_fen=returned[1],
        released_fen=of("released")[1],
        debit_fen=moved.get("debit", 0) + moved.get("collection", 0),
        bank_return_fen=moved.get("return", 0),
    )


def _differences(conn: Connection, centre: str, view: BatchView, on: date) -> Iterable[Difference]:
    """Differences of one batch, payment by payment; a batch that the bank moved as one sum is compared as a whole."""
    m, p = tables.movement, tables.payment
    as_one = conn.execute(sa.select(sa.func.count()).select_from(m).where(m.c.centre == centre, m.c.batch_no == view.batch_no)).scalar_one()
    yield from _unanswered(conn, centre, view, on)
    yield from _unmoved(conn, centre, view, on, bool(as_one))
    if as_one:
        explained = view.confirmed_fen + view.open_fen
        # One sum holds the failed payments too when the bank gives them back one by one.
        if view.debit_fen not in (view.confirmed_fen, explained, view.sent_fen) or (
            view.debit_fen == view.sent_fen != view.confirmed_fen and view.bank_difference_fen not in (0, view.open_fen)
        ):
            yield Difference("amount", view.batch_no, "", view.bank_difference_fen, "银行整批借记的金额与确认的金额不一致")
    odd = conn.execute(
        sa.select(m.c.payment_no, m.c.amount_fen, p.c.amount_fen.label("expected"))
        .join(p, sa.and_(p.c.centre == m.c.centre, p.c.payment_no == m.c.payment_no))
        .where(m.c.centre == centre, m.c["class"] == "unknown", p.c.batch_no == view.batch_no)
        .order_by(m.c.movement_no)
    )
    sign = -1 if view.direction == "out" else 1
    for number, fen, expected in odd:
        if fen == sign * expected:
            yield Difference("twice", view.batch_no, number, abs(fen), "银行对同一笔付款不止一次记账")
        elif fen == -sign * expected:
            yield Difference("return", view.batch_no, number, abs(fen), "有退回，但不能按退汇处理（未确认、过期或重复）")
        else:
            yield Difference("amount", view.batch_no, number, abs(fen) - expected, "银行记账的金额或对方账号与发出的不一致")


def _unanswered(conn: Connection, centre: str, view: BatchView, on: date) -> Iterable[Difference]:
    p, e = tables.payment, tables.payment_event
    last = events.last_event(centre, p.c.batch_no == view.batch_no)
    sent = (
        sa.select(e.c.payment_no, sa.func.min(e.c.event_on).label("day"))
        .where(e.c.centre == centre, e.c.state == "sent")
        .group_by(e.c.payment_no)
        .subquery()
    )
    query = (
        sa.select(p.c.payment_no, p.c.amount_fen, e.c.state, e.c.event_on, sent.c.day)
        .select_from(p)
        .join(last, last.c.payment_no == p.c.payment_no)
        .join(e, sa.and_(e.c.centre == p.c.centre, e.c.event_no == last.c.event_no))
        .outerjoin(sent, sent.c.payment_no == p.c.payment_no)
        .where(p.c.centre == centre, e.c.state.in_((*events.UNANSWERED, "returned")))
        .order_by(p.c.ordinal)
    )
    for row in conn.execute(query):
        if row.state == "returned":
            yield Difference("return", view.batch_no, row.payment_no, int(row.amount_fen), "已退汇，款项转入下一次清算")
        else:
            late = (on - (row.day or row.event_on)).days > PATIENCE_DAYS
            text = f"银行超过 {PATIENCE_DAYS} 天没有答复" if late else "银行尚未答复"
            yield Difference("missing" if late else "timing", view.batch_no, row.payment_no, int(row.amount_fen), text)


def _unmoved(conn: Connection, centre: str, view: BatchView, on: date, as_one: bool) -> Iterable[Difference]:
    """Confirmed without a movement, and failed with a debit that did not come back."""
    p, e, m = tables.payment, tables.payment_event, tables.movement
    last = events.last_event(centre, p.c.batch_no == view.batch_no)

    def moved(*kinds: str) -> sa.ColumnElement[bool]:
        return sa.exists().where(m.c.centre == centre, m.c.payment_no == p.c.payment_no, m.c["class"].in_(kinds))

    base = (
        sa.select(p.c.payment_no, p.c.amount_fen, e.c.event_on)
        .select_from(p)
        .join(last, last.c.payment_no == p.c.payment_no)
        .join(e, sa.and_(e.c.centre == p.c.centre, e.c.event_no == last.c.event_no))
        .where(p.c.centre == centre)
        .order_by(p.c.ordinal)
    )
    if not as_one:
        for row in conn.execute(base.where(e.c.state == "confirmed", ~moved("debit", "collection"))):
            late = (on - row.event_on).days > PATIENCE_DAYS
            text = f"银行确认后超过 {PATIENCE_DAYS} 天没有账户变动" if late else "银行已确认，账户变动未到"
            yield Difference("missing" if late else "timing", view.batch_no, row.payment_no, int(row.amount_fen), text)
    for row in conn.execute(base.where(e.c.state == "failed", moved("debit"), ~moved("return"))):
        yield Difference("missing", view.batch_no, row.payment_no, int(row.amount_fen), "银行称失败，但账户已借记而未退回")


def _strangers(conn: Connection, centre: str) -> list[Difference]:
    m, p = tables.movement, tables.payment
    query = (
        sa.select(m.c.amount_fen, m.c.moved_on)
        .select_from(m)
        .outerjoin(p, sa.and_(p.c.centre == m.c.centre, p.c.payment_no == m.c.payment_no))
        .where(m.c.centre == centre, m.c["class"] == "unknown", p.c.payment_no.is_(None))
        .order_by(m.c.movement_no)
    )
    return [Difference("unknown", 0, "", int(fen), f"{day} 的账户变动对应不到任何付款") for fen, day in conn.execute(query)]
