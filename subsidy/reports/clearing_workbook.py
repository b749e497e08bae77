"""The clearing workbook over all centres of a month: per centre and bank what was computed, sent and became of it; funds; differences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import reconcile
from subsidy.clearing.overall import Clearing
from subsidy.ledger import tables
from subsidy.reports import workbook
from subsidy.reports.labels import BANKS, SETTLEMENT_STATES
from subsidy.reports.sheet import Book, Column, Cover, Sheet, Term, Tie, of_rows

_FLOWS = (
    ("应清算", "computed_fen"),
    ("发送", "sent_fen"),
    ("抵扣", "netted_fen"),
    ("转入下期", "carried_fen"),
    ("暂缓", "held_fen"),
    ("已付", "confirmed_fen"),
    ("失败", "failed_fen"),
    ("未决", "open_fen"),
    ("退汇", "returned_fen"),
    ("已追回", "collected_fen"),
)


def write(conn: Connection, clearing: Clearing, names: Mapping[str, str], path: Path) -> str:
    """Write the workbook of a clearing to `path`; returns its fingerprint. `names`: centre folder → name for people."""
    return workbook.write(book(conn, clearing, names), path)


def book(conn: Connection, clearing: Clearing, names: Mapping[str, str]) -> Book:
    """The clearing workbook: positions as the clearing has them, differences payment by payment, and the ledger's own totals beside."""
    sheets = (_positions(conn, clearing, names), _funds(clearing, names), _differences(conn, clearing, names), _progress(clearing, names))
    warnings = [f"尚未完成的中心：{'、'.join(names.get(c, c) for c in clearing.missing)}；补齐后出具新版本。"] if clearing.missing else []
    warnings += [f"{names.get(c, c)}的清算数据读不出：{cause}" for c, cause in clearing.faults.items()]
    flows = sheets[0]
    facts = (
        ("范围", "全部中心"),
        ("期间", clearing.period),
        ("清算版本", str(clearing.version)),
        ("清算内容指纹", clearing.content_hash),
        ("已完成", "、".join(names.get(c, c) for c in clearing.complete) or "无"),
        ("未完成", "、".join(names.get(c, c) for c in clearing.missing) or "无"),
    )
    totals = (*((label, flows.total(label)) for label, _ in _FLOWS), ("资金调拨净额", clearing.net_fen))
    cover = Cover(f"公转商贴息汇总清算　{clearing.period}", facts, totals, tuple(warnings))
    return Book(cover, sheets, _ties(conn, clearing))


def _positions(conn: Connection, clearing: Clearing, names: Mapping[str, str]) -> Sheet:
    columns = (
        Column("中心", width=36),
        Column("付款银行", width=16),
        Column("清算状态", width=12),
        *(Column(label, "money", 13, True) for label, _ in _FLOWS),
    )
    s = tables.settlement
    left = {
        row.centre: (int(row.carried_fen), int(row.held_fen))
        for row in conn.execute(sa.select(s.c.centre, s.c.carried_fen, s.c.held_fen).where(s.c.period == clearing.period))
    }
    rows = []
    for p in clearing.positions:
        carried, held = left.get(p.centre, (0, 0))
        parts = {"carried_fen": carried, "held_fen": held}
        amounts = (parts[name] if name in parts else getattr(p, name) for _, name in _FLOWS)
        rows.append((names.get(p.centre, p.centre), BANKS.get(p.bank_code, p.bank_code), SETTLEMENT_STATES.get(p.state, p.state), *amounts))
    notes = ("应清算 = 发送 + 抵扣 + 转入下期 + 暂缓；未审批的批次尚未发送", "发送 = 已付 + 失败 + 未决；已付含退汇", "金额单位：元")
    return of_rows("中心与银行", columns, rows, notes)


def _funds(clearing: Clearing, names: Mapping[str, str]) -> Sheet:
    columns = (
        Column("中心", width=36),
        Column("付款银行", width=16),
        Column("付款账户", width=26),
        Column("应拨付", "money", 18, True),
        Column("应收回", "money", 18, True),
        Column("调拨净额", "money", 18, True),
    )
    rows = [
        (
            names.get(p.centre, p.centre),
            BANKS.get(p.bank_code, p.bank_code),
            p.account_no,
            p.payable_fen,
            p.receivable_fen,
            p.net_fen,
        )
        for p in clearing.positions
    ]
    return of_rows("资金调拨", columns, rows, ("与资金调拨指令（BDC109）相同", "净额为正：向付款账户拨入；为负：调出"))


def _differences(conn: Connection, clearing: Clearing, names: Mapping[str, str]) -> Sheet:
    columns = (
        Column("中心", width=36),
        Column("差异类别", width=12),
        Column("笔数", "int", 8, True),
        Column("金额", "money", 18, True),
        Column("是否需要人工查明", width=16),
        Column("说明", width=60, wrap=True),
    )
    rows = []
    for centre in sorted({p.centre for p in clearing.positions}):
        by: dict[reconcile.Class, list[reconcile.Difference]] = {}
        for difference in reconcile.three_way(conn, centre, clearing.period).differences:
            by.setdefault(difference.kind, []).append(difference)
        for kind in reconcile.CLASSES:
            found = by.get(kind, [])
            if found:
                texts = "；".join(sorted({d.text for d in found}))
                amount = sum(abs(d.amount_fen) for d in found)
                explained = "否" if all(d.explained for d in found) else "是"
                rows.append((names.get(centre, centre), reconcile.CLASSES[kind], sum(d.count for d in found), amount, explained, texts))
    return of_rows("差异", columns, rows or [("没有差异", "", None, None, "", "")], ("逐笔差异见各中心工作簿的“对账差异”",))


def _progress(clearing: Clearing, names: Mapping[str, str]) -> Sheet:
    columns = (Column("中心", width=36), Column("本月", width=24))
    rows = [(names.get(c, c), "已完成") for c in clearing.complete]
    rows += [(names.get(c, c), "本月不清算") for c in clearing.idle]
    rows += [(names.get(c, c), "未完成") for c in clearing.missing]
    return of_rows("各中心进度", columns, sorted(rows), ())


def _ties(conn: Connection, clearing: Clearing) -> tuple[Tie, ...]:
    """The ledger's side is asked of settlements, batches and payments over all centres."""
    s, b = tables.settlement, tables.batch
    centres = sorted({p.centre for p in clearing.positions})
    here = sa.select(*(sa.func.coalesce(sa.func.sum(s.c[n]), 0) for n in ("computed_fen", "netted_fen", "carried_fen", "held_fen")))
    computed, netted, carried, held = (
        int(v) for v in conn.execute(here.where(s.c.period == clearing.period, s.c.centre.in_(centres))).one()
    )
    gone = sa.select(s.c.centre).where(s.c.period == clearing.period, s.c.state.in_(("publishing", "published")), s.c.centre.in_(centres))
    sent = int(
        conn.execute(
            sa.select(sa.func.coalesce(sa.func.sum(b.c.amount_fen), 0)).where(
                b.c.period == clearing.period, b.c.direction == "out", b.c.centre.in_(gone)
            )
        ).scalar_one()
    )

    def flow(*labels: str, sign: int = 1) -> tuple[Term, ...]:
        return tuple(Term(sign, "中心与银行", label) for label in labels)

    payable = (Term(1, "资金调拨", "应拨付"), Term(-1, "资金调拨", "应收回"))
    instructed = sum(p.net_fen for p in clearing.positions)
    return (
        Tie("应清算 = 账簿应清算", computed, flow("应清算"), "清算表：各中心应清算金额之和"),
        Tie("应清算 − 抵扣 − 转入下期 − 暂缓 = 应发送", computed - netted - carried - held,
            (*flow("应清算"), *flow("抵扣", "转入下期", "暂缓", sign=-1)), "清算表：应清算减抵扣、转入下期、暂缓"),
        Tie("发送 = 账簿已发批次", sent, flow("发送"), "付款批次表：已发送批次金额之和"),
        Tie("发送 = 已付 + 失败 + 未决", sent, flow("已付", "失败", "未决"), "付款批次表：已发送批次金额之和"),
        Tie("应拨付 − 应收回 = 调拨指令净额", instructed, payable, "汇总清算（clearing）：调拨指令净额"),
    )  # fmt: skip
