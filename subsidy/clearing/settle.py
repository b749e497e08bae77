"""Building a settlement: due lines become numbered payments in batches, whole and in the caller's transaction (handbook section 7).

What a settlement pays is the difference between what is due by now and what has been posted and put into payments; corrections therefore
appear as top-ups and recoveries, and payments that failed or came back appear again under new numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.calendar.settlement import SettlementDates
from subsidy.clearing import batches as batch_rules
from subsidy.clearing import dues, events
from subsidy.clearing.batches import Batch, content_hash, data_bytes, digest, digest_rows, message, terms_of
from subsidy.clearing.gather import Gathering, gather
from subsidy.clearing.payment_file import PAYMENTS
from subsidy.clearing.profiles import Layout, Outbound, fill
from subsidy.entitlement.lines import LINE_KEY
from subsidy.errors import Finding, TerminalError
from subsidy.ledger import postings, restore, tables
from subsidy.ledger.database import bulk_insert, next_numbers, read_arrow
from subsidy.ledger.journal import RunRef
from subsidy.money.amounts import format_yuan
from subsidy.policy.model import CentrePolicy, SettlementTerms

#: Why a person must look, said to people.
REASONS = {
    "FIRST-BATCH": "本中心的首个批次",
    "ALWAYS-WAITS": "本中心的批次一律由人审批",
    "AMOUNT": "金额达到自动发布的上限",
    "TWO-PERSONS": "金额达到双人审批的上限",
    "GROWTH": "金额比上一批次增长过多",
    "NEW-PAYEES": "新收款人占比过高",
    "POLICY-CHANGED": "规则、参数或程序在上一批次之后有变动",
    "FAILED-DEBITED": "再次支付的款项中，有银行称失败而账户已借记、尚未退回的",
}
#: Reasons that are unusual: the settlement is `held`, not merely `waiting`.
UNUSUAL = frozenset(("GROWTH", "NEW-PAYEES", "POLICY-CHANGED", "FAILED-DEBITED"))


@dataclass(frozen=True, slots=True)
class SettlementResult:
    """A settlement as built. Amounts in fen; computed = sent + netted + carried + held. `carried` and `held` are split by reason code.

    `collected_fen` goes into collection batches, `receivable_fen` is left to recover. `state`: empty, waiting, held or approved."""

    centre: str
    period: str
    settlement_on: date
    cutoff_on: date
    state: str
    reasons: tuple[str, ...]
    approvals_needed: int
    content_hash: str
    batches: tuple[Batch, ...]
    computed_fen: int
    sent_fen: int
    netted_fen: int
    carried_fen: int
    held_fen: int
    collected_fen: int
    receivable_fen: int
    carried: dict[str, int]
    held: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def payment_count(self) -> int:
        """How many payments leave for banks, out and in."""
        return sum(batch.payment_count for batch in self.batches if batch.leaves)

    def counts(self) -> dict[str, Any]:
        """Counts and amounts only, for a task's result."""
        return {
            "period": self.period,
            "state": self.state,
            "batches": len(self.batches),
            "payments": self.payment_count,
            "computed_fen": self.computed_fen,
            "sent_fen": self.sent_fen,
            "netted_fen": self.netted_fen,
            "carried_fen": self.carried_fen,
            "held_fen": self.held_fen,
            "collected_fen": self.collected_fen,
            "receivable_fen": self.receivable_fen,
            "reasons": list(self.reasons),
            "findings": len(self.findings),
        }


def build(
    conn: Connection,
    policy: CentrePolicy,
    run_no: int,
    dates: SettlementDates,
    *,
    payees: pa.Table,
    outbound: Outbound,
    held: Mapping[str, int] | None = None,
    stopped: Collection[str] = (),
    unusual: Sequence[str] = (),
) -> SettlementResult:
    """Build the settlement of `dates.period` in the caller's transaction; building it again returns what was stored.

    `payees`: one row per agreement as `gather.PAYEES`, as known that night (`payees.payees_on`). `held`: amounts in fen of lines that are
    entitled and held by a gate up to the cut-off, by reason code. `stopped`: agreements for which no money may move. `unusual`: further
    keys of `REASONS` why a person must look, whatever the limits say. A rejected settlement that was not reopened by now gives its lines
    back: its payments are released and the lines come again under new numbers. A period without anything to send is declared `empty`.
    After a restore, a rejected settlement that was matched as having left gives nothing back; TerminalError ``SETTLE-UNMATCHED`` while it
    is not matched.
    """
    centre = policy.centre
    stored = load(conn, policy, dates.period)
    if stored is not None:
        return stored
    terms = terms_of(policy, dates.settlement_on)
    layout = outbound.layout(terms.payment_profile)
    collect_layout = outbound.layout(outbound.recovery)
    _release_rejected(conn, policy, terms, dates.night, run_no)
    gathered = gather(
        dues.due(conn, centre, dates.cutoff_on),
        payees,
        stopped=stopped,
        recovery=terms.recovery,
        minimum_fen=terms.minimum_fen,
        layout=layout,
        collect_layout=collect_layout,
    )
    builder = _Builder(conn, policy, dates, terms, outbound, run_no)
    builder.add(gathered.out, gathered.out_items, layout, "out")
    builder.add(gathered.collect, gathered.collect_items, collect_layout, "in")
    builder.write()
    sent_fen = sum(batch.amount_fen for batch in builder.batches if batch.direction == "out")
    collected_fen = sum(batch.amount_fen for batch in builder.batches if batch.direction == "in")
    held_by_reason = {reason: fen for reason, fen in sorted((held or {}).items()) if fen}
    held_fen = sum(held_by_reason.values())
    carried_fen = sum(gathered.carried_fen.values())
    computed_fen = gathered.computed_fen + held_fen
    assert computed_fen == sent_fen + gathered.netted_fen + carried_fen + held_fen, "computed = sent + netted + carried + held"
    first = not conn.execute(
        sa.select(sa.func.count()).where(tables.settlement.c.centre == centre, tables.settlement.c.state == "published")
    ).scalar_one()
    reasons = _reasons(conn, policy, terms, first, sent_fen, collected_fen, gathered, builder.first_payment) if builder.batches else ()
    if builder.batches:
        reasons += tuple(code for code in REASONS if code in unusual and code not in reasons)
    state = "empty" if not builder.batches else "approved" if not reasons else "held" if UNUSUAL & set(reasons) else "waiting"
    needed = 0 if not reasons else 2 if "TWO-PERSONS" in reasons else 1
    result = SettlementResult(
        centre=centre,
        period=dates.period,
        settlement_on=dates.settlement_on,
        cutoff_on=dates.cutoff_on,
        state=state,
        reasons=reasons,
        approvals_needed=needed,
        content_hash=content_hash(policy, dates.period, dates.settlement_on, builder.parts) if builder.batches else "",
        batches=tuple(builder.batches),
        computed_fen=computed_fen,
        sent_fen=sent_fen,
        netted_fen=gathered.netted_fen,
        carried_fen=carried_fen,
        held_fen=held_fen,
        collected_fen=collected_fen,
        receivable_fen=gathered.receivable_fen,
        carried=gathered.carried_fen,
        held=held_by_reason,
        findings=gathered.findings,
    )
    _store(conn, result, run_no, first)
    return result


#: Why a due amount may be carried forward, said to people.
CARRIED = {
    "LOAN-FAILED": "程序出错，贷款已隔离",
    "MINIMUM": "低于最低支付额",
    "PAYEE-UNKNOWN": "没有收款账户",
    "PAYEE-ACCOUNT": "收款账号不合格式",
    "PAYEE-BANK": "收款行联行号有误",
    "PAYEE-NAME": "收款户名不能写入付款文件",
}


def _release_rejected(conn: Connection, policy: CentrePolicy, terms: SettlementTerms, day: date, run_no: int) -> None:
    centre = policy.centre
    s, b, p = tables.settlement, tables.batch, tables.payment
    # Answers take no lease: one that comes now waits for this row, and finds the payments given back.
    rejected = conn.execute(sa.select(s.c.period).where(s.c.centre == centre, s.c.state == "rejected").with_for_update()).scalars().all()
    # The rejection is what the backup knows: after it, the batch may have been approved after all and sent.
    stay = [period for period in rejected if not restore.period_left(conn, centre, period)]
    query = (
        sa.select(p.c.payment_no, p.c.batch_no)
        .join(b, sa.and_(b.c.centre == p.c.centre, b.c.batch_no == p.c.batch_no))
        .where(p.c.centre == centre, b.c.period.in_(stay))
        .order_by(p.c.batch_no, p.c.ordinal)
    )
    batch_of = {row.payment_no: row.batch_no for row in conn.execute(query)}
    if not batch_of:
        return
    states = events.states(conn, centre, list(batch_of))
    given_back = [number for number in batch_of if states.get(number) == "reserved"]
    unmatched = sorted({batch_of[number] for number in given_back}.intersection(restore.pending(conn, centre)))
    if unmatched:
        raise TerminalError(
            "SETTLE-UNMATCHED",
            f"{policy.short_name} 被驳回的批次 {unmatched[0]} 在账簿恢复之后还没有核对，出事前可能已经改为批准并发出。",
            "没有生成新的清算批次，它的款项没有退回待付，不会重复付款。",
            "查明它是否发出，用 subsidy ledger match 核对后重跑本夜。",
        )
    if given_back:
        events.append(conn, centre, given_back, "released", day, run_no=run_no, text="批次被驳回，款项退回待付")
        postings.book_failed(conn, RunRef(centre, run_no, day, policy.version), terms.accounts, given_back)


def _reasons(
    conn: Connection,
    policy: CentrePolicy,
    terms: SettlementTerms,
    first: bool,
    sent_fen: int,
    collected_fen: int,
    gathered: Gathering,
    first_payment: str,
) -> tuple[str, ...]:
    approval, s = terms.approval, tables.settlement
    amount_fen = sent_fen + collected_fen
    reasons = ["FIRST-BATCH"] if first else []
    if approval.auto_below_fen is None:
        reasons.append("ALWAYS-WAITS")
    elif amount_fen >= approval.auto_below_fen:
        reasons.append("AMOUNT")
    if amount_fen > approval.two_above_fen:
        reasons.append("TWO-PERSONS")
    last = conn.execute(
        sa.select(s.c.sent_fen)
        .where(s.c.centre == policy.centre, s.c.state == "published", s.c.sent_fen > 0)
        .order_by(s.c.settlement_on.desc())
        .limit(1)
    ).scalar_one_or_none()
    if last is not None and sent_fen * 100 > int(last) * approval.growth_limit_percent:
        reasons.append("GROWTH")
    if not first and gathered.out.num_rows:
        fresh = _new_payees(conn, policy.centre, gathered.out, first_payment)
        if fresh * 100 > gathered.out.num_rows * approval.new_payee_limit_percent:
            reasons.append("NEW-PAYEES")
    if _debited(conn, policy.centre, gathered.out_items):
        reasons.append("FAILED-DEBITED")
    return tuple(reasons)


def _debited(conn: Connection, centre: str, items: pa.Table) -> bool:
    """Whether lines of `items` stood in a payment that failed, as the bank says, and whose debit the account shows without its return:
    the money may have arrived."""
    e, i, m = tables.payment_event, tables.payment_item, tables.movement
    moved = sa.select(m.c.payment_no).where(m.c.centre == centre, m.c.payment_no == e.c.payment_no)
    query = (
        sa.select(*(i.c[name] for name in LINE_KEY))
        .join(e, sa.and_(e.c.centre == i.c.centre, e.c.payment_no == i.c.payment_no))
        .where(e.c.centre == centre, e.c.state == "failed")
        .where(moved.where(m.c["class"] == "debit").exists(), sa.not_(moved.where(m.c["class"] == "return").exists()))
    )
    doubtful = read_arrow(conn, query, pa.schema([(name, pa.string()) for name in LINE_KEY]))
    return bool(items.join(doubtful, list(LINE_KEY), join_type="left semi").num_rows) if doubtful.num_rows else False


def _new_payees(conn: Connection, centre: str, payments: pa.Table, first_payment: str) -> int:
    """How many payees had no payment before this settlement."""
    p = tables.payment
    known: set[str] = set()
    query = sa.select(p.c.payee_account).distinct().where(p.c.centre == centre, p.c.batch_no < _first_batch(conn, centre, first_payment))
    known.update(row[0] for row in conn.execute(query))
    accounts = payments["payee_account"].combine_chunks()
    if not known:
        return len(accounts)
    return int(pc.sum(pc.invert(pc.is_in(accounts, pa.array(sorted(known))))).as_py() or 0)


def _first_batch(conn: Connection, centre: str, payment_no: str) -> int:
    p = tables.payment
    return int(conn.execute(sa.select(p.c.batch_no).where(p.c.centre == centre, p.c.payment_no == payment_no)).scalar_one())


@dataclass(frozen=True, slots=True)
class _Route:
    """What becomes one batch: the payments of a gathering that `chosen` marks, with their items; picked when their turn has come."""

    direction: str
    route: str
    layout: Layout | None
    payments: pa.Table
    items: pa.Table
    chosen: pa.ChunkedArray

    @property
    def count(self) -> int:
        """How many payments."""
        return int(pc.sum(self.chosen, min_count=0).as_py())

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """Payments and items."""
        payments = self.payments.filter(self.chosen)
        return payments, self.items.filter(pc.is_in(self.items["group"], payments["group"].combine_chunks()))


class _Builder:
    """Numbers payments and batches in a fixed order and writes them: out (own, other or single), netting, in (own, other)."""

    def __init__(
        self, conn: Connection, policy: CentrePolicy, dates: SettlementDates, terms: SettlementTerms, outbound: Outbound, run_no: int
    ) -> None:
        self.conn, self.policy, self.dates, self.terms, self.outbound, self.run_no = conn, policy, dates, terms, outbound, run_no
        self.batches: list[Batch] = []
        self.parts: list[tuple[Batch, str, str]] = []
        self.first_payment = ""
        self._work: list[_Route] = []

    def add(self, payments: pa.Table, items: pa.Table, layout: Layout, direction: str) -> None:
        """Split gathered payments by route; payments of 0 fen become a netting batch."""
        paying = pc.greater(payments["amount_fen"], 0)
        bank = pc.equal(pc.utf8_slice_codeunits(payments["payee_bank_no"], 0, 3), self.terms.paying_account.bank_code)
        routes = [("own", bank), ("other", pc.invert(bank))] if layout.splits else [("single", paying)]
        for route, chosen in routes:
            self._take(_Route(direction, route, layout, payments, items, pc.and_(chosen, paying)))
        self._take(_Route("net", "single", None, payments, items, pc.invert(paying)))

    def _take(self, route: _Route) -> None:
        if route.count:
            self._work.append(route)

    def write(self) -> None:
        """Take all numbers at once and write batches, payments, items and their first event."""
        centre = self.policy.centre
        count = sum(route.count for route in self._work)
        if not count:
            return
        payment_at = next_numbers(self.conn, centre, "payment", count)
        batch_at = next_numbers(self.conn, centre, "batch", len(self._work))
        sends = sum(route.layout is not None for route in self._work)
        send_at = next_numbers(self.conn, centre, "send", sends)
        self.first_payment = self._numbers(payment_at, 1)[0].as_py()
        for route in self._work:
            send_no = f"NET{batch_at:017d}"
            if route.layout is not None:
                send_no, send_at = f"{self.dates.settlement_on:%Y%m%d}{send_at:012d}", send_at + 1
            self._one(route, batch_at, send_no, self._numbers(payment_at, route.count))
            payment_at += route.count
            batch_at += 1

    def _numbers(self, first: int, count: int) -> pa.Array:
        """`count` payment numbers from `first` on: ``TX`` period and ten digits."""
        counted = pa.array(np.arange(first, first + count)).cast(pa.string())
        return pc.binary_join_element_wise(f"TX{self.dates.period.replace('-', '')}", pc.ascii_lpad(counted, 10, "0"), "")

    def _one(self, route: _Route, batch_no: int, send_no: str, numbers: pa.Array) -> None:
        centre, layout, rows = self.policy.centre, route.layout, route.count
        payments, items = route.tables()
        batch = Batch(
            batch_no=batch_no,
            period=self.dates.period,
            settlement_on=self.dates.settlement_on,
            direction=route.direction,
            bank_code=self.terms.paying_account.bank_code,
            route=route.route,
            profile=layout.name if layout else "",
            send_no=send_no,
            file_name=self._file_name(layout, route.route, send_no) if layout else "",
            sha256="",
            payment_count=rows,
            amount_fen=int(np.asarray(payments["amount_fen"]).sum()),
        )
        ordinals = pa.array(np.arange(1, rows + 1, dtype=np.int32))
        if layout is not None:
            table = pa.table(
                {
                    "ordinal": ordinals,
                    "amount_fen": payments["amount_fen"],
                    "account": payments["payee_account"],
                    "name": payments["payee_name"],
                    "bank_no": payments["payee_bank_no"],
                    "payment_no": numbers,
                },
                schema=PAYMENTS,
            )
            sha256, _ = digest(data_bytes(batch, table, self.policy, layout))
            batch = replace(batch, sha256=sha256)
        number_of = numbers.take(pc.index_in(items["group"].combine_chunks(), payments["group"].combine_chunks()))
        item_rows = pa.table(
            {
                "centre": pa.repeat(centre, items.num_rows),
                "payment_no": number_of,
                **{name: items[name] for name in ("agreement_no", "account_no", "serial_no", "amount_fen", "kind", "bucket")},
            }
        )
        conn = self.conn
        conn.execute(sa.insert(tables.batch).values(centre=centre, **{name: getattr(batch, name) for name in batch_rules.BATCH_COLUMNS}))
        bulk_insert(
            conn,
            tables.payment,
            pa.table(
                {
                    "centre": pa.repeat(centre, rows),
                    "payment_no": numbers,
                    "batch_no": pa.repeat(pa.scalar(batch_no, pa.int64()), rows),
                    "ordinal": ordinals,
                    **{name: payments[name] for name in ("payee_account", "payee_name", "payee_bank_no", "payee_kind")},
                    "amount_fen": payments["amount_fen"],
                    "attempt": payments["attempt"],
                    "replaces": payments["replaces"],
                }
            ),
        )
        bulk_insert(conn, tables.payment_item, item_rows)
        events.append(conn, centre, numbers, "reserved", self.dates.night, run_no=self.run_no)
        body = message(batch, self.policy, layout) if layout else None
        items_digest = digest_rows(batch_rules.in_order(item_rows.select(batch_rules.ITEM_KEY.names)))
        self.batches.append(batch)
        self.parts.append((batch, hashlib.sha256(body[1]).hexdigest() if body else "", items_digest))

    def _file_name(self, layout: Layout, route: str, send_no: str) -> str:
        template = layout.route(route).file_name
        values = {
            "unit_no": self.policy.code,
            "send_no": send_no,
            "date": f"{self.dates.settlement_on:%Y%m%d}",
            "month": self.dates.period.replace("-", ""),
        }
        if "{day_no}" not in template:
            return fill(template, values)
        b = tables.batch
        names = {
            name
            for (name,) in self.conn.execute(sa.select(b.c.file_name).where(b.c.centre == self.policy.centre, b.c.profile == layout.name))
        } | {batch.file_name for batch in self.batches}
        for day_no in range(1, 1000):
            name = fill(template, values | {"day_no": f"{day_no:03d}"})
            if name not in names:
                return name
        raise OverflowError("more than 999 files of one day")


def _store(conn: Connection, result: SettlementResult, run_no: int, first: bool) -> None:
    detail = {
        "carried": result.carried,
        "held": result.held,
        "collected_fen": result.collected_fen,
        "receivable_fen": result.receivable_fen,
    }
    conn.execute(
        sa.insert(tables.settlement).values(
            centre=result.centre,
            period=result.period,
            settlement_on=result.settlement_on,
            cutoff_on=result.cutoff_on,
            run_no=run_no,
            state=result.state,
            first=first,
            reasons=json.dumps(list(result.reasons)),
            approvals_needed=result.approvals_needed,
            content_hash=result.content_hash,
            computed_fen=result.computed_fen,
            sent_fen=result.sent_fen,
            netted_fen=result.netted_fen,
            carried_fen=result.carried_fen,
            held_fen=result.held_fen,
            detail=json.dumps(detail, sort_keys=True),
        )
    )


def load(conn: Connection, policy: CentrePolicy, period: str) -> SettlementResult | None:
    """The stored settlement of a period; None when it was not built. Findings are not stored with it."""
    s = tables.settlement
    row = conn.execute(sa.select(s).where(s.c.centre == policy.centre, s.c.period == period)).mappings().one_or_none()
    if row is None:
        return None
    detail = json.loads(row["detail"])
    return SettlementResult(
        centre=policy.centre,
        period=period,
        settlement_on=row["settlement_on"],
        cutoff_on=row["cutoff_on"],
        state=row["state"],
        reasons=tuple(json.loads(row["reasons"])),
        approvals_needed=row["approvals_needed"],
        content_hash=row["content_hash"],
        batches=tuple(batch_rules.load_batches(conn, policy.centre, period)),
        computed_fen=row["computed_fen"],
        sent_fen=row["sent_fen"],
        netted_fen=row["netted_fen"],
        carried_fen=row["carried_fen"],
        held_fen=row["held_fen"],
        collected_fen=detail.get("collected_fen", 0),
        receivable_fen=detail.get("receivable_fen", 0),
        carried=detail.get("carried", {}),
        held=detail.get("held", {}),
        findings=(),
    )


def reasons_of(row: Mapping[Any, Any]) -> list[str]:
    """The reasons why a person must look, in Chinese, of a row of table `settlement`."""
    return [REASONS.get(code, code) for code in json.loads(row["reasons"])]


def summary(result: SettlementResult) -> str:
    """The settlement in Chinese, for people; no personal data."""
    lines = [
        f"期间 {result.period}，清算日 {result.settlement_on:%Y-%m-%d}，截止日 {result.cutoff_on:%Y-%m-%d}，状态 {result.state}",
        f"应付 {format_yuan(result.computed_fen)} = 发送 {format_yuan(result.sent_fen)} + 抵扣 {format_yuan(result.netted_fen)}"
        f" + 转入下期 {format_yuan(result.carried_fen)} + 暂缓 {format_yuan(result.held_fen)}（元）",
    ]
    lines += [f"  转入下期：{CARRIED.get(code, code)} {format_yuan(fen)} 元" for code, fen in result.carried.items()]
    lines += [f"  暂缓：{code} {format_yuan(fen)} 元" for code, fen in result.held.items()]
    if result.collected_fen or result.receivable_fen:
        lines.append(f"追回：本期收款 {format_yuan(result.collected_fen)} 元，仍应收 {format_yuan(result.receivable_fen)} 元")
    lines += [f"  需人工审批：{REASONS.get(code, code)}" for code in result.reasons]
    for batch in result.batches:
        lines.append(
            f"  批次 {batch.batch_no} {batch.direction}/{batch.route}：{batch.payment_count} 笔 {format_yuan(batch.amount_fen)} 元"
            f" {batch.file_name}"
        )
    return "\n".join(lines)
