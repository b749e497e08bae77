"""Invariants 6 and 8: payments are the sum of their items, batches of their payments, and every payment has one lawful history."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from subsidy.errors import Finding
from subsidy.ledger import tables
from subsidy.ledger.verify_scope import NAMED, Breaches, Scope, broken

_LIMIT = NAMED + 1
#: Newest batches that a night looks at, and as many older ones.
_BATCHES = 4

#: Which state may follow which; "" stands before the first. A netting and a write-off are confirmed without a bank, and a bank may answer
#: before a crashed publication is recorded as sent. What was released or failed or came back stays so.
FOLLOWS: dict[str, tuple[str, ...]] = {
    "": ("reserved", "confirmed"),
    "reserved": ("sent", "released", "open", "confirmed", "failed"),
    "sent": ("sent", "open", "confirmed", "failed"),
    "open": ("sent", "open", "confirmed", "failed"),
    "confirmed": ("returned",),
}
BOOKINGS = ("pay", "net", "collect", "write_off")


def check_payments(scope: Scope) -> list[Finding]:
    """Amounts and histories of the payments of the scope's agreements."""
    return _amounts(scope) + _histories(scope) + _bookings(scope)


def check_batches(scope: Scope) -> list[Finding]:
    """Sums of batches, of their files as published, and of settlements."""
    return _batch_sums(scope) + _files(scope) + _settlements(scope)


def _mine(scope: Scope, payment_no: sa.ColumnElement[Any]) -> list[sa.ColumnElement[bool]]:
    """Conditions that a payment has an item in the scope."""
    if scope.payments is not None:
        return [payment_no.in_(scope.payments)]
    i = tables.payment_item
    conditions = scope.of(i.c.agreement_no)
    return [payment_no.in_(sa.select(i.c.payment_no).where(i.c.centre == scope.centre, *conditions))] if conditions else []


def _first(scope: Scope, query: sa.Select[Any]) -> list[Any]:
    """The first values of a query that is not ordered by the database, lest it walks all of history in that order to find the few."""
    return sorted(scope.conn.execute(query.limit(_LIMIT)).scalars())


def _amounts(scope: Scope) -> list[Finding]:
    """6: the amount of a payment is that of its items; what comes in, and what is written off, is the opposite of them."""
    p, i, b = tables.payment, tables.payment_item, tables.batch
    items = sa.select(sa.func.sum(i.c.amount_fen)).where(i.c.centre == p.c.centre, i.c.payment_no == p.c.payment_no).scalar_subquery()
    direction = sa.select(b.c.direction).where(b.c.centre == p.c.centre, b.c.batch_no == p.c.batch_no).scalar_subquery()
    incoming = sa.or_(p.c.batch_no == 0, direction == "in")
    wrong = sa.or_(items.is_(None), sa.case((incoming, -items), else_=items) != p.c.amount_fen)
    query = sa.select(p.c.payment_no).where(p.c.centre == scope.centre, *_mine(scope, p.c.payment_no), wrong)
    found = _first(scope, query)
    return broken("INV-6-PAYMENT", "6", [(f"付款 {number} 的金额与其明细之和不符。", {}) for number in found])


def _histories(scope: Scope) -> list[Finding]:
    """8: every payment has a history, and each state may follow the one before."""
    p, e = tables.payment, tables.payment_event
    before = sa.func.lag(e.c.state).over(partition_by=e.c.payment_no, order_by=e.c.event_no)
    events = (
        sa.select(e.c.payment_no, e.c.state, sa.func.coalesce(before, "").label("before"))
        .where(e.c.centre == scope.centre, *_mine(scope, e.c.payment_no)).subquery()
    )  # fmt: skip
    lawful = sa.or_(*(sa.and_(events.c.before == first, events.c.state.in_(then)) for first, then in FOLLOWS.items()))
    query = sa.select(events.c.payment_no, events.c.before, events.c.state).where(sa.not_(lawful)).order_by(events.c.payment_no)
    found: Breaches = [
        (f"付款 {row.payment_no} 的状态由“{row.before}”变为“{row.state}”，不合规定。", {})
        for row in scope.conn.execute(query.limit(_LIMIT))
    ]
    none = sa.not_(sa.exists().where(e.c.centre == p.c.centre, e.c.payment_no == p.c.payment_no))
    query_none = sa.select(p.c.payment_no).where(p.c.centre == scope.centre, *_mine(scope, p.c.payment_no), none)
    missing = _first(scope, query_none)
    unknown = sa.select(e.c.payment_no).distinct().where(e.c.centre == scope.centre, *_mine(scope, e.c.payment_no))
    unknown = unknown.where(sa.not_(sa.exists().where(p.c.centre == e.c.centre, p.c.payment_no == e.c.payment_no)))
    strangers = _first(scope, unknown)
    return (
        broken("INV-8-STATE", "8", found)
        + broken("INV-8-STATE", "8", [(f"付款 {number} 没有任何状态记录。", {}) for number in missing])
        + broken("INV-8-STATE", "8", [(f"状态记录指向不存在的付款 {number}。", {}) for number in strangers])
    )


def _bookings(scope: Scope) -> list[Finding]:
    """5: what is confirmed is booked, and only that."""
    p, e, j = tables.payment, tables.payment_event, tables.journal
    confirmed = sa.exists().where(e.c.centre == p.c.centre, e.c.payment_no == p.c.payment_no, e.c.state == "confirmed")
    booked = sa.exists().where(j.c.centre == p.c.centre, j.c.payment_no == p.c.payment_no, j.c.payment_no != "", j.c.reason.in_(BOOKINGS))
    query = sa.select(p.c.payment_no).where(p.c.centre == scope.centre, *_mine(scope, p.c.payment_no), confirmed != booked)
    found = _first(scope, query)
    return broken(
        "INV-5-BOOKED", "5", [(f"付款 {number} 的银行状态与记账不一致（已确认未记账，或未确认已记账）。", {}) for number in found]
    )


def _batch_sums(scope: Scope) -> list[Finding]:
    """6 and 8: a batch is its payments."""
    p, b = tables.payment, tables.batch
    newest = scope.conn.execute(sa.select(sa.func.max(b.c.batch_no)).where(b.c.centre == scope.centre)).scalar_one() or 0
    found: Breaches = []
    for low, high in scope.stretch(newest, _BATCHES):
        sums = (
            sa.select(p.c.batch_no, sa.func.count().label("count"), sa.func.sum(p.c.amount_fen).label("fen"),
            sa.func.max(p.c.ordinal).label("last")) .where(p.c.centre == scope.centre, p.c.batch_no.between(low,
            high)).group_by(p.c.batch_no).subquery()
        )  # fmt: skip
        query = (
            sa.select(b.c.batch_no)
            .outerjoin(sums, sums.c.batch_no == b.c.batch_no)
            .where(b.c.centre == scope.centre, b.c.batch_no.between(low, high))
            .where(
                sa.or_(
                    sa.func.coalesce(sums.c.count, 0) != b.c.payment_count,
                    sa.func.coalesce(sums.c.fen, 0) != b.c.amount_fen,
                    sa.func.coalesce(sums.c.last, 0) != b.c.payment_count,
                )
            )
            .order_by(b.c.batch_no)
        )
        found += [(f"批次 {number} 的笔数或金额与其付款不符。", {}) for number in scope.conn.execute(query.limit(_LIMIT)).scalars()]
    counted = scope.conn.execute(sa.select(sa.func.count()).select_from(b).where(b.c.centre == scope.centre)).scalar_one()
    if counted != newest:
        found.append((f"批次号不连续：最大号 {newest}，实有 {counted} 个批次。", {}))
    return broken("INV-8-BATCH", "8", found)


def _files(scope: Scope) -> list[Finding]:
    """6: the published file is the one whose digest the batch holds."""
    b, f = tables.batch, tables.published_file
    newest = scope.conn.execute(sa.select(sa.func.max(b.c.batch_no)).where(b.c.centre == scope.centre)).scalar_one() or 0
    found: Breaches = []
    for low, high in scope.stretch(newest, _BATCHES):
        query = (
            sa.select(b.c.batch_no)
            .join(f, sa.and_(f.c.centre == b.c.centre, f.c.batch_no == b.c.batch_no))
            .where(b.c.centre == scope.centre, b.c.batch_no.between(low, high))
            .where(f.c.kind.in_(("payment", "recovery")), f.c.sha256 != b.c.sha256)
        )
        found += [(f"批次 {number} 发布的文件不是账簿中登记的文件。", {}) for number in _first(scope, query)]
    return broken("INV-6-FILE", "6", found)


def _settlements(scope: Scope) -> list[Finding]:
    """7.5: computed = sent + netted + carried forward + held."""
    s = tables.settlement
    query = sa.select(s.c.period).where(
        s.c.centre == scope.centre, s.c.computed_fen != s.c.sent_fen + s.c.netted_fen + s.c.carried_fen + s.c.held_fen
    )
    found = scope.conn.execute(query.order_by(s.c.period).limit(_LIMIT)).scalars()
    return broken("INV-8-SETTLEMENT", "8", [(f"{period} 期的应付合计不等于发送、抵扣、转入下期与暂缓之和。", {}) for period in found])
