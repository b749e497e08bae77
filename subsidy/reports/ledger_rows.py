"""What the ledger says of a period: rows for sheets, and control totals that come from the tables themselves."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import events
from subsidy.clearing.vouchers import month_of
from subsidy.entitlement.lines import LINE_KEY
from subsidy.facts.schema import TABLES
from subsidy.ledger import tables
from subsidy.ledger.bulk import iter_arrow, read_arrow
from subsidy.ledger.postings import OPENING
from subsidy.money import format_yuan
from subsidy.reports import gathered, personal
from subsidy.reports.labels import DIRECTIONS, SEVERITIES, STATES, safe_of
from subsidy.reports.sheet import Column, Sheet, of_rows

#: What became of what was sent, in the words of the sheet.
SENT_STATES = ("已付", "退汇", "失败", "未决", "待发送", "已释放")


@dataclass(frozen=True, slots=True)
class Window:
    """What a period's workbook covers: bookings of the bank after `low` up to `high`, runs after `after_run` up to `run_no`.

    The last period: bookings after `lower` up to `low`, as its run `after_run` knew them (0: there is none)."""

    centre: str
    period: str
    lower: date
    low: date
    high: date
    after_run: int
    run_no: int


def window(conn: Connection, centre: str, period: str) -> Window | None:
    """What a period's workbook covers; None before it was settled."""
    s = tables.settlement
    last = conn.execute(
        sa.select(s.c.period, s.c.cutoff_on, s.c.run_no)
        .where(s.c.centre == centre, s.c.period <= period)
        .order_by(s.c.period.desc())
        .limit(3)
    ).all()
    if not last or last[0].period != period:
        return None
    here, *before = last
    return Window(
        centre=centre,
        period=period,
        lower=before[1].cutoff_on if len(before) > 1 else date.min,
        low=before[0].cutoff_on if before else date.min,
        high=here.cutoff_on,
        after_run=int(before[0].run_no) if before else 0,
        run_no=int(here.run_no),
    )


def _sum(conn: Connection, column: sa.ColumnElement[Any], *where: sa.ColumnElement[bool]) -> int:
    return int(conn.execute(sa.select(sa.func.coalesce(sa.func.sum(column), 0)).where(*where)).scalar_one())


def due_booked(conn: Connection, w: Window, which: Literal["now", "before"]) -> int:
    """Posted up to the period's run (or the last one's) for lines that the bank booked in its window. A line's due is the sum of its
    postings."""
    t = tables.posting
    low, high, run_no = (w.low, w.high, w.run_no) if which == "now" else (w.lower, w.low, w.after_run)
    if run_no == 0:
        return 0
    return _sum(
        conn,
        t.c.amount_fen,
        t.c.centre == w.centre,
        t.c.kind != "opening",
        t.c.booked_on > low,
        t.c.booked_on <= high,
        t.c.run_no <= run_no,
    )


def _corrections(w: Window) -> list[sa.ColumnElement[bool]]:
    t = tables.posting
    return [t.c.centre == w.centre, t.c.kind.in_(("top_up", "recovery")), t.c.run_no > w.after_run, t.c.run_no <= w.run_no]


def _first_posted(w: Window) -> list[sa.ColumnElement[bool]]:
    t = tables.posting
    return [t.c.centre == w.centre, t.c.kind == "accrual", t.c.run_no > w.after_run, t.c.run_no <= w.run_no, t.c.booked_on <= w.low]


def first_posted(conn: Connection, w: Window) -> pa.Table:
    """Keys of lines that the bank booked up to the last cut-off and that were first posted by this period's runs."""
    t = tables.posting
    names = [(name, pa.string()) for name in LINE_KEY]
    return read_arrow(conn, sa.select(*(t.c[name] for name in LINE_KEY)).where(*_first_posted(w)), pa.schema(names))


def _to_earlier(w: Window) -> list[sa.ColumnElement[bool]]:
    t = tables.posting
    return [t.c.centre == w.centre, t.c.kind != "opening", t.c.run_no > w.after_run, t.c.run_no <= w.run_no, t.c.booked_on <= w.low]


def posted_to_earlier(conn: Connection, w: Window) -> int:
    """Sum of what this period's runs posted to lines of earlier periods: first postings, top-ups and recoveries."""
    return _sum(conn, tables.posting.c.amount_fen, *_to_earlier(w))


#: Agreement, account and serial number of a line.
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a period's runs posted to a line of an earlier period: whether they were the first to, and the sum in fen."""

    first: bool
    amount_fen: int

    def text(self) -> str:
        """The same in words."""
        return f"以前期间的行，本期{'首次入账' if self.first else '更正'} {format_yuan(self.amount_fen)} 元"


def posted_earlier(
    conn: Connection, w: Window, agreements: Collection[str] | None = None, most: int | None = None
) -> dict[Key, Earlier]:
    """The lines of earlier periods that this period's runs posted anything to (of `agreements` only, at most `most` of them)."""
    t = tables.posting
    line = (t.c.agreement_no, t.c.account_no, t.c.serial_no)
    query = sa.select(*line, sa.func.min(t.c.seq), sa.func.sum(t.c.amount_fen)).where(*_to_earlier(w)).group_by(*line).order_by(*line)
    if agreements is not None:
        query = query.where(t.c.agreement_no.in_(sorted(agreements)))
    return {(r[0], r[1], r[2]): Earlier(r[3] == 0, int(r[4])) for r in conn.execute(query.limit(most))}


def corrected(conn: Connection, w: Window) -> int:
    """Sum of the period's top-ups and recoveries."""
    return _sum(conn, tables.posting.c.amount_fen, *_corrections(w))


def batch_total(conn: Connection, w: Window, direction: str) -> int:
    """Sum of the period's batches of a direction, as sent."""
    b = tables.batch
    return _sum(conn, b.c.amount_fen, b.c.centre == w.centre, b.c.period == w.period, b.c.direction == direction)


def journal_sides(conn: Connection, centre: str, period: str) -> tuple[int, int]:
    """Debits and credits of the calendar month; each summed over its accounts."""
    j = tables.journal
    first, after = month_of(period)

    def side(account: sa.ColumnElement[Any]) -> int:
        query = sa.select(account, sa.func.sum(j.c.amount_fen)).where(j.c.centre == centre, j.c.entry_on >= first, j.c.entry_on < after)
        return sum(int(fen) for _, fen in conn.execute(query.group_by(account)))

    return side(j.c.debit_account), side(j.c.credit_account)


def chain_head(conn: Connection, centre: str) -> str:
    """Hash of the journal's last block; empty before the first."""
    t = tables.journal_block
    return str(
        conn.execute(sa.select(t.c.hash).where(t.c.centre == centre).order_by(t.c.block_no.desc()).limit(1)).scalar_one_or_none() or ""
    )


def has_block(conn: Connection, centre: str, block_hash: str) -> bool:
    """Whether the journal's chain still contains a block."""
    t = tables.journal_block
    return conn.execute(sa.select(t.c.block_no).where(t.c.centre == centre, t.c.hash == block_hash)).first() is not None


@dataclass(frozen=True, slots=True)
class Composition:
    """A settlement in its parts; `states`: (state in words, count, fen) of what goes out. Amounts in fen."""

    sent_count: int
    sent_fen: int
    netted_fen: int
    carried: Mapping[str, int]
    held: Mapping[str, int]
    states: tuple[tuple[str, int, int], ...]
    collected_fen: int
    receivable_fen: int


def composition(conn: Connection, w: Window, settlement: Mapping[str, Any]) -> Composition:
    """What was computed, in its parts: payments and netted items from their tables, carried and held by reason as the settlement stored
    them."""
    p, b, i, e = tables.payment, tables.batch, tables.payment_item, tables.payment_event
    own = sa.select(b.c.batch_no).where(b.c.centre == w.centre, b.c.period == w.period)
    last = events.last_event(w.centre, p.c.batch_no.in_(own.where(b.c.direction == "out")))
    found = conn.execute(
        sa.select(e.c.state, sa.func.count().label("n"), sa.func.sum(p.c.amount_fen).label("fen"))
        .select_from(p)
        .join(last, last.c.payment_no == p.c.payment_no)
        .join(e, sa.and_(e.c.centre == p.c.centre, e.c.event_no == last.c.event_no))
        .where(p.c.centre == w.centre)
        .group_by(e.c.state)
    ).all()
    by: dict[str, list[int]] = {name: [0, 0] for name in SENT_STATES}
    for row in found:
        by[STATES[row.state]][0] += int(row.n)
        by[STATES[row.state]][1] += int(row.fen)
    numbers = sa.select(p.c.payment_no).where(p.c.centre == w.centre, p.c.batch_no.in_(own.where(b.c.direction != "in")))
    detail = json.loads(settlement["detail"])
    states = tuple((name, count, fen) for name, (count, fen) in by.items())
    return Composition(
        sent_count=sum(n for _, n, _ in states),
        sent_fen=sum(fen for _, _, fen in states),
        netted_fen=-_sum(conn, i.c.amount_fen, i.c.centre == w.centre, i.c.amount_fen < 0, i.c.payment_no.in_(numbers)),
        carried=detail.get("carried", {}),
        held=detail.get("held", {}),
        states=states,
        collected_fen=batch_total(conn, w, "in"),
        receivable_fen=int(detail.get("receivable_fen", 0)),
    )


#: Payments that ended between two settlements: their amounts are due again, what was being netted or collected is receivable again.
_REENTERED = {"failed": "付款失败，款项重新计入", "returned": "退汇，款项重新计入", "released": "批次驳回，款项退回待付"}


def carried_over(conn: Connection, w: Window, composed: Composition) -> list[tuple[str, int]]:
    """What makes the settlement's computed sum beside postings and held lines, as (item, fen), receivables negative.

    Last settlement's rest, what became due again of payments since, write-offs, openings; and added back at the end all that is to be
    recovered, because the computed sum counts only what is payable."""
    s, t = tables.settlement, tables.posting
    last = conn.execute(
        sa.select(s.c.period, s.c.carried_fen, s.c.detail)
        .where(s.c.centre == w.centre, s.c.period < w.period)
        .order_by(s.c.period.desc())
        .limit(1)
    ).one_or_none()
    since, until = (0 if last is None else _built_at(conn, w.centre, last.period)), _built_at(conn, w.centre, w.period)
    found: list[tuple[str, int]] = []
    if last is not None:
        found += [("上期转入", last.carried_fen), ("上期未收回的应收款", -json.loads(last.detail).get("receivable_fen", 0))]
    new = sa.or_(sa.and_(t.c.booked_on > w.low, t.c.booked_on <= w.high), sa.and_(t.c.booked_on <= w.low, t.c.run_no > w.after_run))
    found.append(("期初应收款", _sum(conn, t.c.amount_fen, t.c.centre == w.centre, t.c.kind == "opening", t.c.run_no <= w.run_no, new)))
    ended = _ended(conn, w.centre, since, until)
    found += [(text, ended.get((True, state), 0)) for state, text in _REENTERED.items()]
    found.append(("核销应收款", ended.get((False, "returned"), 0) - ended.get((False, "confirmed"), 0)))
    owed = composed.netted_fen + composed.collected_fen + composed.receivable_fen
    return [*found, ("加回应收款", owed)]


_NEVER = 2**62


def _built_at(conn: Connection, centre: str, period: str) -> int:
    """Number of the first payment event that a settlement did not know of yet when it took what was due."""
    e, p, b, s = tables.payment_event, tables.payment, tables.batch, tables.settlement
    own = (
        sa.select(sa.func.min(e.c.event_no))
        .select_from(b)
        .join(p, sa.and_(p.c.centre == b.c.centre, p.c.batch_no == b.c.batch_no, p.c.ordinal == 1))
        .join(e, sa.and_(e.c.centre == p.c.centre, e.c.payment_no == p.c.payment_no))
        .where(b.c.centre == centre, b.c.period == period)
    )
    number = conn.execute(own).scalar_one()
    if number is None:  # it paid nothing: what its run released it knew, what came in afterwards it did not
        run_no = sa.select(s.c.run_no).where(s.c.centre == centre, s.c.period == period).scalar_subquery()
        later = sa.or_(e.c.run_no > run_no, sa.and_(e.c.run_no == run_no, e.c.state != "released"))
        number = conn.execute(sa.select(sa.func.min(e.c.event_no)).where(e.c.centre == centre, later)).scalar_one()
    return int(number or _NEVER)


def _ended(conn: Connection, centre: str, since: int, until: int) -> dict[tuple[bool, str], int]:
    """Sums of items by (payment of a batch, not a write-off; state) of payments that ended, and of write-offs that began or ended, with
    events from `since` up to before `until`."""
    e, p, i = tables.payment_event, tables.payment, tables.payment_item
    of_batch = sa.case((p.c.batch_no > 0, 1), else_=0)
    query = (
        sa.select(of_batch, e.c.state, sa.func.sum(i.c.amount_fen))
        .select_from(e)
        .join(p, sa.and_(p.c.centre == e.c.centre, p.c.payment_no == e.c.payment_no))
        .join(i, sa.and_(i.c.centre == e.c.centre, i.c.payment_no == e.c.payment_no))
        .where(e.c.centre == centre, e.c.event_no >= since, e.c.event_no < until)
        .where(sa.or_(e.c.state.in_(events.DEAD), sa.and_(p.c.batch_no == 0, e.c.state == "confirmed")))
        .group_by(sa.literal_column("1"), e.c.state)
    )
    return {(bool(row[0]), str(row[1])): int(row[2]) for row in conn.execute(query)}


#: Where the amount of a correction is counted. Only that of `EARLIER` is not in the figure of another sheet.
EARLIER = "以前各期"
_HELD_BEFORE, _NEWLY, _OWN, _NEXT = "见暂停与恢复", "见以前期间首次应付", "见贴息明细", "下期"


def corrections(conn: Connection, w: Window, files: Mapping[int, str], moved: pa.Table) -> Sheet:
    """补差与追回: one row per cause of each top-up and recovery. `moved`: schema `gathered.MOVED`."""
    t, c = tables.posting, tables.posting_cause
    first, origin = t.alias("first"), t.alias("origin")
    same_line = [origin.c[n] == t.c[n] for n in ("centre", "scheme", *LINE_KEY)]
    belongs = sa.case(
        (t.c.booked_on > w.high, _NEXT), (t.c.booked_on > w.low, _OWN), (origin.c.run_no > w.after_run, _NEWLY), else_=EARLIER
    )
    held = moved.filter(pc.is_in(moved["moved"], pa.array(gathered.WERE_HELD)))
    found = conn.execute(
        sa.select(
            t,
            c.c.ordinal,
            c.c.cause,
            c.c.amount_fen.label("cause_fen"),
            c.c.file_no.label("cause_file"),
            c.c.line_no.label("cause_line"),
            c.c.text,
            first.c.due_fen.label("before_fen"),
            first.c.business_date.label("before_on"),
            belongs.label("belongs"),
        )
        .join(c, sa.and_(c.c.centre == t.c.centre, c.c.posting_no == t.c.posting_no), isouter=True)
        .join(first, sa.and_(first.c.centre == t.c.centre, first.c.posting_no == t.c.corrects), isouter=True)
        .join(origin, sa.and_(origin.c.seq == 0, *same_line))
        .where(*_corrections(w))
        .order_by(t.c.posting_no, c.c.ordinal)
    ).mappings().all()
    lines = pa.array(["\x1f".join(r[n] for n in LINE_KEY) for r in found], pa.string())
    were_held = pc.is_in(lines, value_set=gathered.key(held)).to_pylist()
    columns = (
        Column("协议编号", width=18),
        Column("业务流水号", width=20),
        Column("类别", width=7),
        Column("金额", "money", 14, True),
        Column("归属", width=12, wrap=True),
        Column("更正前应付", "money", 12),
        Column("更正后应付", "money", 12),
        Column("原因", width=28, wrap=True),
        Column("原因文件", width=24, wrap=True),
        Column("行号", "int", 7),
        Column("记账号", "int", 8),
        Column("更正的记账号", "int", 9),
        Column("原记账日", "date", 11),
        Column("入账日", "date", 11),
        Column("规则版本", width=18, wrap=True),
    )
    rows = [
        (
            r["agreement_no"],
            r["serial_no"],
            "补差" if r["kind"] == "top_up" else "追回",
            r["amount_fen"] if r["cause_fen"] is None else r["cause_fen"],
            _HELD_BEFORE if was_held and r["belongs"] in (EARLIER, _NEWLY) else r["belongs"],
            r["before_fen"],
            r["due_fen"],
            r["text"] or "",
            files.get(r["cause_file"] or 0, ""),
            r["cause_line"] or None,
            r["posting_no"],
            r["corrects"],
            r["before_on"],
            r["business_date"],
            r["rule_version"],
        )
        for r, was_held in zip(found, were_held, strict=True)
    ]
    notes = (
        "同一笔更正有几个原因时分行列示，金额相加即该笔更正",
        f"归属“{EARLIER}”的计入本期应清算；“见……”的已含在该表的应付金额内，不再相加；“{_NEXT}”的随下期清算",
        "“更正的记账号”指向被更正的那笔记账",
        "金额单位：元",
    )
    return of_rows("补差与追回", columns, rows, notes)


INTAKE, ERROR = sa.literal("intake").label("stage"), sa.literal("error").label("kind")


#: Fields of files in words: 利息金额（LXJE）.
_FIELDS = {column.code: f"{column.label}（{column.code}）" for table in TABLES.values() for column in table.columns}


def quarantine(conn: Connection, w: Window, on: date, files: Mapping[int, str]) -> Sheet:
    """隔离与异常: every row that is set aside, with its age, and what else the period's nights found."""
    q, r, f, run = tables.quarantine, tables.quarantine_release, tables.finding, tables.run
    released = sa.exists().where(r.c.centre == w.centre, r.c.quarantine_no == q.c.quarantine_no, r.c.business_date <= on)
    same_row = [q.c[n] == f.c[n] for n in ("centre", "file_no", "line_no", "code")]
    listed = sa.exists().where(*same_row, q.c.known_on <= on, ~released)
    fields = ("code", "file_no", "line_no", "field", "value", "what", "todo")
    rows: list[tuple[Any, ...]] = []

    def row(kind: str, x: Any, day: date) -> tuple[Any, ...]:
        place = (files.get(x.file_no, ""), x.line_no or None, _FIELDS.get(x.field, x.field), x.value)
        return (kind, x.code, x.agreement_no, *place, x.what, safe_of(x.stage, x.kind, x.line_no), x.todo, day, (on - day).days)

    open_rows = (
        sa.select(*(q.c[n] for n in fields), sa.literal("").label("agreement_no"), INTAKE, ERROR, q.c.known_on)
        .where(q.c.centre == w.centre, q.c.known_on <= on, ~released)
        .order_by(q.c.quarantine_no)
    )
    rows += [row("隔离", x, x.known_on) for x in conn.execute(open_rows)]
    findings = (
        sa.select(*(f.c[n] for n in fields), f.c.agreement_no, f.c.stage, f.c.severity.label("kind"), run.c.business_date)
        .join(run, sa.and_(run.c.centre == f.c.centre, run.c.run_no == f.c.run_no))
        .where(f.c.centre == w.centre, f.c.run_no > w.after_run, f.c.run_no <= w.run_no, ~listed)
        .order_by(f.c.finding_no)
    )
    rows += [row(SEVERITIES.get(x.kind, "异常"), x, x.business_date) for x in conn.execute(findings)]
    columns = (
        Column("类别", width=7),
        Column("代码", width=19),
        Column("协议编号", width=18),
        Column("来源文件", width=24, wrap=True),
        Column("行号", "int", 7),
        Column("字段", width=17, wrap=True),
        Column("值", width=15, wrap=True),
        Column("说明", width=40, wrap=True),
        Column("安全情况", width=22, wrap=True),
        Column("处理办法", width=34, wrap=True),
        Column("发现日", "date", 11),
        Column("已历天数", "int", 9),
    )
    return of_rows("隔离与异常", columns, rows, ("隔离的行没有计入贴息，原始内容已保存", f"天数截至 {on}"))


_PAYMENTS = pa.schema(
    [
        *((n, pa.string()) for n in ("payment_no", "period")),
        ("ordinal", pa.int64()),
        *((n, pa.string()) for n in ("payee_account", "payee_name", "payee_kind")),
        ("amount_fen", pa.int64()),
        *((n, pa.string()) for n in ("direction", "state")),
        ("event_on", pa.date32()),
        ("sent_on", pa.date32()),
        *((n, pa.string()) for n in ("code", "text", "host_serial", "replaces", "file_name")),
    ]
)
#: As they are kept: text that many payments share as a dictionary.
_SHARED = ("period", "payee_kind", "direction", "state", "code", "text", "file_name", "kind")


def _narrow(conn: Connection, query: sa.Select[Any], schema: pa.Schema) -> pa.Table:
    """The rows of a query as they are kept, whose columns are those of `schema`."""
    kept = pa.schema([f.with_type(pa.dictionary(pa.int32(), pa.string())) if f.name in _SHARED else f for f in schema])
    found = [kept.empty_table()]
    for part in iter_arrow(conn, query, schema):
        columns = [part[f.name].dictionary_encode() if pa.types.is_dictionary(f.type) else part[f.name] for f in kept]
        found.append(pa.table(columns, schema=kept))
    return pa.concat_tables(found).unify_dictionaries()


def payments(conn: Connection, w: Window, on: date, full: bool) -> Sheet:
    """回盘与退汇: the period's payments and every earlier one that is still open, with what the bank said last."""
    p, b, e = tables.payment, tables.batch, tables.payment_event
    last, sent = events.last_event(w.centre), e.alias()
    waiting = e.c.state.in_(events.UNANSWERED)
    sent_on = sa.select(sa.func.min(sent.c.event_on)).where(
        sent.c.centre == p.c.centre, sent.c.payment_no == p.c.payment_no, sent.c.state == "sent"
    )
    query = (
        sa.select(
            p.c.payment_no, b.c.period, p.c.ordinal, p.c.payee_account, p.c.payee_name, p.c.payee_kind, p.c.amount_fen, b.c.direction,
            e.c.state, e.c.event_on, sa.case((waiting, sent_on.scalar_subquery())),
            e.c.code, e.c.text, e.c.host_serial, sa.func.coalesce(p.c.replaces, ""), b.c.file_name,
        )
        .select_from(p)
        .join(b, sa.and_(b.c.centre == p.c.centre, b.c.batch_no == p.c.batch_no))
        .join(last, last.c.payment_no == p.c.payment_no)
        .join(e, sa.and_(e.c.centre == p.c.centre, e.c.event_no == last.c.event_no))
        .where(
            p.c.centre == w.centre,
            sa.or_(b.c.period == w.period, e.c.state.in_((*events.UNANSWERED, "reserved"))),
            b.c.period <= w.period,
        )
        .order_by(p.c.batch_no, p.c.ordinal)
    )  # fmt: skip
    t = _narrow(conn, query, _PAYMENTS)
    age = pc.days_between(t["sent_on"], pa.scalar(on, pa.date32()))
    columns = (
        Column("付款编号", width=20),
        Column("期间", width=9),
        Column("序号", "int", 6),
        Column("收款账号", width=21),
        Column("收款户名", width=16),
        Column("金额", "money", 16, True),
        Column("方向", width=6),
        Column("状态", width=8),
        Column("状态日期", "date", 11),
        Column("未决天数", "int", 9),
        Column("响应码", width=9),
        Column("说明", width=40, wrap=True),
        Column("主机流水号", width=20),
        Column("替代的付款", width=20),
        Column("付款文件", width=49),
    )
    data = [
        t["payment_no"],
        t["period"],
        t["ordinal"],
        t["payee_account"] if full else personal.of_persons(t["payee_account"], t["payee_kind"], personal.mask_accounts),
        t["payee_name"] if full else personal.of_persons(t["payee_name"], t["payee_kind"], personal.mask_names),
        t["amount_fen"],
        _words(t["direction"], DIRECTIONS),
        _words(t["state"], STATES),
        t["event_on"],
        pc.if_else(pc.is_valid(age), pc.max_element_wise(age, pa.scalar(0, pa.int64())), age),
        _words(t["code"], {"RETURN": ""}),
        t["text"],
        t["host_serial"],
        t["replaces"],
        t["file_name"],
    ]
    notes = (
        f"本期付款，以及以前各期仍未决的付款；未决天数从发送日数到 {on}",
        "未决的付款既不算已付也不算失败，查询银行之前不会重发",
        "退汇与失败的款项以新编号转入下一次清算",
        "每笔由哪些明细组成见“付款构成”",
        "金额单位：元",
    )
    own = ("期间", w.period)
    sums = [(f"本期{name}合计", (own, ("方向", name))) for name in (DIRECTIONS["out"], DIRECTIONS["in"])]
    data_table = pa.table(data, names=[c.label for c in columns])
    return Sheet("回盘与退汇", columns, data_table, notes, ("未决天数",), tuple(sums), "以前各期未决合计")


_ITEMS = pa.schema(
    [
        *((n, pa.string()) for n in ("payment_no", "direction", *LINE_KEY)),
        ("booked_on", pa.date32()),
        ("kind", pa.string()),
        ("amount_fen", pa.int64()),
    ]
)
_ITEM_KINDS = {"normal": "正常", "top_up": "补差", "recovery": "追回"}


def payment_items(conn: Connection, w: Window, full: bool) -> Sheet:
    """付款构成: which lines the period's payments are made of, and what of them was netted or collected."""
    p, b, i, t = tables.payment, tables.batch, tables.payment_item, tables.posting
    booked_on = sa.select(sa.func.min(t.c.booked_on)).where(t.c.seq == 0, *(t.c[n] == i.c[n] for n in ("centre", *LINE_KEY)))
    query = (
        sa.select(p.c.payment_no, b.c.direction, *(i.c[n] for n in LINE_KEY), booked_on.scalar_subquery(), i.c.kind, i.c.amount_fen)
        .select_from(b)
        .join(p, sa.and_(p.c.centre == b.c.centre, p.c.batch_no == b.c.batch_no))
        .join(i, sa.and_(i.c.centre == p.c.centre, i.c.payment_no == p.c.payment_no))
        .where(b.c.centre == w.centre, b.c.period == w.period)
        .order_by(p.c.batch_no, p.c.ordinal, *(i.c[n] for n in LINE_KEY))
    )
    d = _narrow(conn, query, _ITEMS)
    amount, zero = d["amount_fen"], pa.scalar(0, pa.int64())
    back = pc.equal(d["direction"].cast(pa.string()), "in")
    taken = pc.negate(pc.min_element_wise(amount, zero))
    columns = (
        Column("付款编号", width=20),
        Column("方向", width=6),
        Column("协议编号", width=19),
        Column("贷款账号", width=21),
        Column("业务流水号", width=21),
        Column("记账日期", "date", 11),
        Column("类别", width=7),
        Column("应付", "money", 16, True),
        Column("抵扣", "money", 16, True),
        Column("实付", "money", 16, True),
        Column("收款", "money", 16, True),
    )
    data = [
        d["payment_no"],
        _words(d["direction"], DIRECTIONS),
        d["agreement_no"],
        d["account_no"] if full else personal.mask_accounts(d["account_no"]),
        pc.if_else(pc.equal(d["serial_no"], OPENING), "期初应收", d["serial_no"]),
        d["booked_on"],
        _words(d["kind"], _ITEM_KINDS),
        pc.max_element_wise(amount, zero),
        pc.if_else(back, zero, taken),
        pc.if_else(back, zero, amount),
        pc.if_else(back, taken, zero),
    ]
    notes = (
        "本期每笔付款由哪些明细组成：实付 = 应付 − 抵扣，同一付款编号相加即“回盘与退汇”的金额",
        "抵扣：以前多付的，从本协议本期的应付中扣除；类别“追回”的行指明扣的是哪一笔",
        "金额单位：元",
    )
    return Sheet("付款构成", columns, pa.table(data, names=[c.label for c in columns]), notes)


def _words(column: pa.ChunkedArray, words: Mapping[str, str]) -> pa.ChunkedArray:
    coded = column.combine_chunks()
    values = pa.array([words.get(v, v) for v in coded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([pa.DictionaryArray.from_arrays(coded.indices, values)])
