"""Three ways to see the same money: computed, sent, and what the bank moved; every difference has a class (handbook section 7, step 5).

computed = sent + netted + carried + held; sent = confirmed + failed + open; bank debits − bank returns = confirmed − returned.

Payments and movements are compared by columns: a batch of a million costs seconds. The first differences of a kind are named payment by
payment, the rest is one sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import events
from subsidy.ledger import tables
from subsidy.ledger.database import read_arrow

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
_EARLY = date.min + timedelta(days=PATIENCE_DAYS)
#: Payments of a batch that are named one by one per kind of difference; the rest is one sum.
NAMED = 100

_PAYMENTS = pa.schema(
    [
        ("payment_no", pa.string()),
        ("batch_no", pa.int64()),
        ("ordinal", pa.int32()),
        ("amount_fen", pa.int64()),
        ("state", pa.string()),
        ("event_on", pa.date32()),
    ]
)
#: `batch_no` 0: a movement of one payment, otherwise of the whole batch.
_MOVEMENTS = pa.schema(
    [("payment_no", pa.string()), ("batch_no", pa.int64()), ("of_batch", pa.int64()), ("kind", pa.string()), ("amount_fen", pa.int64())]
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between what was sent and what the bank says or did. `amount_fen` is the money in question; `count` payments, of
    which `payment_no` names one when it is only one. `explained`: time will settle it, or it is booked already; otherwise a person must
    look."""

    kind: Class
    batch_no: int
    payment_no: str
    amount_fen: int
    text: str
    count: int = 1
    explained: bool = False


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
        """All three equations hold, or every difference is explained."""
        return self.computed_ties and all(b.sent_ties for b in self.batches) and not self.unexplained

    @property
    def unexplained(self) -> tuple[Difference, ...]:
        """Differences that a person must look at."""
        return tuple(d for d in self.differences if not d.explained)

    @property
    def unexplained_count(self) -> int:
        """How many payments and movements a person must look at."""
        return sum(d.count for d in self.unexplained)

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
    numbers = [int(batch["batch_no"]) for batch in batches]
    payments, movements = _payments(conn, centre, numbers), _movements(conn, centre, numbers)
    days = _sent_on(conn, centre, numbers)
    views: list[BatchView] = []
    differences: list[Difference] = []
    for batch in batches:
        own = payments.filter(pc.equal(payments["batch_no"], batch["batch_no"]))
        moved = movements.filter(pc.equal(movements["of_batch"], batch["batch_no"]))
        views.append(_view(batch, own, moved))
        differences += _differences(conn, centre, views[-1], own, moved, days.get(batch["batch_no"]), on)
    if period is None:
        differences += _strangers(conn, centre)
    computed, sent, netted, carried, held = (int(value) for value in sums)
    return Reconciliation(centre, period or "", on, computed, sent, netted, carried, held, tuple(views), tuple(differences))


def _batches(conn: Connection, centre: str, period: str | None) -> list[dict[str, Any]]:
    b, s = tables.batch, tables.settlement
    query = sa.select(b).join(s, sa.and_(s.c.centre == b.c.centre, s.c.period == b.c.period))
    query = query.where(b.c.centre == centre, b.c.direction != "net", s.c.state.in_(("publishing", "published")))
    if period is not None:
        query = query.where(b.c.period == period)
    return [dict(row) for row in conn.execute(query.order_by(b.c.batch_no)).mappings()]


def _payments(conn: Connection, centre: str, batch_nos: list[int]) -> pa.Table:
    """The payments of some batches with their state, in order of batch and ordinal."""
    p, e = tables.payment, tables.payment_event
    last = events.last_event(centre, p.c.batch_no.in_(batch_nos))
    query = (
        sa.select(p.c.payment_no, p.c.batch_no, p.c.ordinal, p.c.amount_fen, e.c.state, e.c.event_on)
        .join(last, last.c.payment_no == p.c.payment_no)
        .join(e, sa.and_(e.c.centre == p.c.centre, e.c.event_no == last.c.event_no))
        .where(p.c.centre == centre, p.c.batch_no.in_(batch_nos))
    )
    return read_arrow(conn, query, _PAYMENTS).sort_by([("batch_no", "ascending"), ("ordinal", "ascending")])


def _movements(conn: Connection, centre: str, batch_nos: list[int]) -> pa.Table:
    """What the bank moved for some batches, payment by payment or as one sum; `of_batch` is the batch either way."""
    m, p = tables.movement, tables.payment
    columns = (m.c.payment_no, m.c.batch_no, m.c["class"].label("kind"), m.c.amount_fen)
    single = (
        sa.select(*columns[:2], p.c.batch_no.label("of_batch"), *columns[2:])
        .join(p, sa.and_(p.c.centre == m.c.centre, p.c.payment_no == m.c.payment_no))
        .where(m.c.centre == centre, m.c.batch_no == 0, p.c.batch_no.in_(batch_nos))
    )
    whole = sa.select(*columns[:2], m.c.batch_no.label("of_batch"), *columns[2:]).where(m.c.centre == centre, m.c.batch_no.in_(batch_nos))
    return pa.concat_tables([read_arrow(conn, query, _MOVEMENTS) for query in (single, whole)])


def _sent_on(conn: Connection, centre: str, batch_nos: list[int]) -> dict[int, date]:
    """The day on which each batch left."""
    f = tables.published_file
    query = sa.select(f.c.batch_no, sa.func.min(f.c.business_date)).where(
        f.c.centre == centre, f.c.batch_no.in_(batch_nos), f.c.kind.in_(("payment", "recovery"))
    )
    return {int(number): day for number, day in conn.execute(query.group_by(f.c.batch_no))}


def _view(batch: dict[str, Any], payments: pa.Table, moved: pa.Table) -> BatchView:
    def of(*names: str) -> tuple[int, int]:
        chosen = payments.filter(pc.is_in(payments["state"], value_set=pa.array(names, pa.string())))
        return chosen.num_rows, _sum(chosen["amount_fen"])

    def shown(*kinds: str) -> int:
        return _sum(pc.abs(_of_kinds(moved, *kinds)["amount_fen"]))

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
        debit_fen=shown("debit", "collection"),
        bank_return_fen=shown("return"),
    )


def _sum(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)


def _of_kinds(moved: pa.Table, *kinds: str) -> pa.Table:
    return moved.filter(pc.is_in(moved["kind"], value_set=pa.array(kinds, pa.string())))


def _differences(
    conn: Connection, centre: str, view: BatchView, payments: pa.Table, moved: pa.Table, sent_on: date | None, on: date
) -> Iterator[Difference]:
    """Differences of one batch, payment by payment; a batch that the bank moved as one sum is compared as a whole."""
    as_one = pc.any(pc.greater(moved["batch_no"], 0)).as_py() is True
    yield from _unanswered(view.batch_no, payments, sent_on, on)
    yield from _unmoved(view.batch_no, payments, moved, on, as_one)
    if as_one:
        explained = view.confirmed_fen + view.open_fen
        # One sum holds the failed payments too when the bank gives them back one by one.
        if view.debit_fen not in (view.confirmed_fen, explained, view.sent_fen) or (
            view.debit_fen == view.sent_fen != view.confirmed_fen and view.bank_difference_fen not in (0, view.open_fen)
        ):
            yield Difference("amount", view.batch_no, "", view.bank_difference_fen, "银行整批借记的金额与确认的金额不一致")
    m, p = tables.movement, tables.payment
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


def _named(kind: Class, batch_no: int, payments: pa.Table, text: str) -> Iterator[Difference]:
    """The first payments one by one, the rest as one sum. A matter of time and a booked return are explained."""
    explained = kind in ("timing", "return")
    for row in payments.slice(0, NAMED).select(["payment_no", "amount_fen"]).to_pylist():
        yield Difference(kind, batch_no, row["payment_no"], row["amount_fen"], text, explained=explained)
    rest = payments.slice(NAMED)
    if rest.num_rows:
        fen = _sum(rest["amount_fen"])
        yield Difference(kind, batch_no, "", fen, f"{text}（其余 {rest.num_rows} 笔合计）", rest.num_rows, explained)


def _unanswered(batch_no: int, payments: pa.Table, sent_on: date | None, on: date) -> Iterator[Difference]:
    """Sent and without an answer, or returned."""
    waiting = payments.filter(pc.is_in(payments["state"], value_set=pa.array(events.UNANSWERED)))
    if waiting.num_rows:
        late = (on - (sent_on or pc.min(waiting["event_on"]).as_py())).days > PATIENCE_DAYS
        text = f"银行超过 {PATIENCE_DAYS} 天没有给出结果" if late else "银行尚未给出结果"
        yield from _named("missing" if late else "timing", batch_no, waiting, text)
    yield from _named("return", batch_no, payments.filter(pc.equal(payments["state"], "returned")), "已退汇，款项转入下一次清算")


def _unmoved(batch_no: int, payments: pa.Table, moved: pa.Table, on: date, as_one: bool) -> Iterator[Difference]:
    """Confirmed without a movement, and failed with a debit that did not come back."""

    def moved_as(*kinds: str) -> pa.ChunkedArray:
        return pc.is_in(payments["payment_no"], value_set=_of_kinds(moved, *kinds)["payment_no"].combine_chunks())

    if not as_one:
        absent = payments.filter(pc.and_(pc.equal(payments["state"], "confirmed"), pc.invert(moved_as("debit", "collection"))))
        if absent.num_rows:
            late = pc.less(absent["event_on"], pa.scalar(max(on, _EARLY) - timedelta(days=PATIENCE_DAYS), pa.date32()))
            yield from _named("missing", batch_no, absent.filter(late), f"银行确认后超过 {PATIENCE_DAYS} 天没有账户变动")
            yield from _named("timing", batch_no, absent.filter(pc.invert(late)), "银行已确认，账户变动未到")
    stuck = pc.and_(pc.and_(pc.equal(payments["state"], "failed"), moved_as("debit")), pc.invert(moved_as("return")))
    yield from _named("missing", batch_no, payments.filter(stuck), "银行称失败，但账户已借记而未退回")


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
