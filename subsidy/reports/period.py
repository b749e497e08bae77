"""The workbook of one centre and period: which sheets it has and what stands in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.entitlement.lines import LINE_KEY
from subsidy.ledger import tables
from subsidy.policy import CentrePolicy
from subsidy.reports.sheet import Book, Column, Cover, Sheet, Tie

OUTCOMES = {
    "pay": "应付",
    "stop": "应付后终止",
    "hold": "暂缓",
    "forfeit": "不付",
    "reversed": "已冲正",
    "quarantined": "隔离",
    "opening": "上线前",
    "clawback": "追回",
    "withdrawn": "记录已撤回",
}
METHODS = {
    "ratio": "利率比例",
    "spread": "利差",
    "points": "固定点数",
    "share": "利息比例",
    "shadow_interest": "影子利息差",
    "payment_difference": "月供差",
}
STATES = {
    "reserved": "待发送",
    "sent": "未决",
    "open": "未决",
    "confirmed": "已付",
    "failed": "失败",
    "returned": "退汇",
    "released": "已释放",
}


@dataclass(frozen=True)
class ReportInputs:
    """Everything a period's workbook is made of.

    `lines` / `previous_lines`: schema `LINES`, the lines whose transaction the bank booked in this period's and the last period's window
    (after the last cut-off, up to this one). `parties`: agreement_no -> (bank code, bank name, payee name, payee account).
    `file_names`: name of each inbound file by number. `vouchers`: rows of table
    8.0.5 (number, summary, account, debit fen, credit fen, attachments, date).
    `figures`: annual figures as (label, this month, this year, in all, is money). `mask_name` / `mask_account` hide personal data.
    """

    policy: CentrePolicy
    period: str
    business_date: date
    settlement: Mapping[str, Any] | None
    lines: pa.Table
    previous_lines: pa.Table
    parties: Mapping[str, tuple[str, str, str, str]]
    file_names: Mapping[int, str]
    vouchers: Sequence[tuple[str, str, str, int, int, int, date]]
    figures: Sequence[tuple[str, int, int, int, bool]]
    mask_name: Any
    mask_account: Any


def book(conn: Connection, inputs: ReportInputs) -> Book:
    """The workbook of a period, from the ledger and the stored lines."""
    posted = _posted(conn, inputs)
    detail = _detail(inputs)
    summary = _summary(inputs)
    corrections = _corrections(conn, inputs)
    payments = _payments(conn, inputs)
    vouchers = _vouchers(inputs)
    changes = _changes(inputs)
    sheets = (
        summary,
        detail,
        changes,
        corrections,
        _suspensions(inputs),
        _quarantine(conn, inputs),
        payments,
        vouchers,
        _figures(inputs),
    )
    cover = _cover(conn, inputs, detail, corrections, payments)
    return Book(cover, sheets, _ties(inputs, posted, sheets))


def _detail(inputs: ReportInputs) -> Sheet:
    columns = (
        Column("协议编号", width=20),
        Column("贷款账号", width=20),
        Column("收款户名", width=12),
        Column("业务流水号", width=20),
        Column("期次", "int", 6),
        Column("计息起始日", "date", 11),
        Column("计息终止日", "date", 11),
        Column("记账日期", "date", 11),
        Column("计息本金", "money", 15),
        Column("实还利息", "money", 12, True),
        Column("执行利率", "rate", 10),
        Column("公积金利率", "rate", 10),
        Column("计息天数", "int", 8),
        Column("贴息天数", "int", 8),
        Column("计算方法", width=11),
        Column("计算金额", "money", 12, True),
        Column("应得金额", "money", 12, True),
        Column("应付金额", "money", 12, True),
        Column("结果", width=10),
        Column("原因", width=16),
        Column("规则版本", width=12),
        Column("来源文件", width=30),
        Column("行号", "int", 7),
    )
    rows = []
    for line in _ordered(inputs.lines):
        party = inputs.parties.get(line["agreement_no"], ("", "", "", ""))
        rate = line["fund_rate_ppm"]
        rows.append(
            (
                line["agreement_no"],
                inputs.mask_account(line["account_no"]),
                inputs.mask_name(party[2]),
                line["serial_no"],
                line["instalment"],
                line["accrual_from"],
                line["accrual_to"],
                line["booked_on"],
                line["base_principal_fen"],
                line["interest_fen"],
                line["rate_ppm"],
                None if rate is None or rate < 0 else rate,
                line["days"],
                line["days_inside"],
                METHODS.get(line["method"], line["method"]),
                line["figure_fen"],
                line["entitled_fen"],
                line["payable_fen"],
                OUTCOMES.get(line["outcome"], line["outcome"]),
                line["reason"],
                line["rule_version"],
                inputs.file_names.get(line["file_no"], ""),
                line["line_no"],
            )
        )
    return Sheet("贴息明细", columns, rows, ("每一行对应一条贷款业务明细；金额单位：元；来源文件与行号即该行依据",))


def _ordered(lines: pa.Table) -> list[dict[str, Any]]:
    return list(lines.sort_by([(n, "ascending") for n in ("agreement_no", "accrual_to", "serial_no")]).to_pylist())


def _summary(inputs: ReportInputs) -> Sheet:
    by: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    for line in inputs.lines.to_pylist():
        party = inputs.parties.get(line["agreement_no"], ("", "", "", ""))
        at = by[(party[0], party[1])]
        at[0] += 1
        at[1] += line["interest_fen"]
        at[2] += line["payable_fen"]
        at[3] += line["entitled_fen"] - line["payable_fen"] if line["outcome"] == "hold" else 0
        at[4] += line["figure_fen"] if line["outcome"] == "forfeit" else 0
    columns = (
        Column("银行代码", width=10),
        Column("贷款银行", width=34),
        Column("笔数", "int", 10, True),
        Column("实还利息", "money", 16, True),
        Column("应付贴息", "money", 16, True),
        Column("暂缓贴息", "money", 16, True),
        Column("不付贴息", "money", 16, True),
    )
    return Sheet("汇总", columns, [(code, name, *values) for (code, name), values in sorted(by.items())], ("按贷款银行与网点",))


def _changes(inputs: ReportInputs) -> Sheet:
    """Last month to this month, per loan account: why the payable sum moved. The classes add up."""

    def per_account(lines: pa.Table) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for line in lines.to_pylist():
            found[line["account_no"]].append(line)
        return found

    now, before = per_account(inputs.lines), per_account(inputs.previous_lines)
    counted: dict[str, list[int]] = {name: [0, 0] for name in CHANGE_CLASSES}
    for account in sorted(now.keys() | before.keys()):
        a, b = sum(x["payable_fen"] for x in before.get(account, [])), sum(x["payable_fen"] for x in now.get(account, []))
        name = _class_of(before.get(account, []), now.get(account, []))
        counted[name][0] += 1
        counted[name][1] += b - a
    total_before = sum(x["payable_fen"] for x in inputs.previous_lines.select(["payable_fen"]).to_pylist())
    rows: list[tuple[Any, ...]] = [("上期应付", len(before), total_before)]
    rows += [(name, count, amount) for name, (count, amount) in counted.items()]
    columns = (Column("变动类别", width=24), Column("贷款数", "int", 10), Column("金额", "money", 18, True))
    return Sheet("变动分析", columns, rows, ("上期应付加各类变动等于本期应付（合计行）",))


CHANGE_CLASSES = ("新增", "结清或无还款", "提前还款", "利率变动", "暂停", "恢复", "终止", "更正与冲正", "正常递减")


def _class_of(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> str:
    outcomes_now, outcomes_before = {x["outcome"] for x in now}, {x["outcome"] for x in before}
    if not before:
        return "新增"
    if not now or any(x["kind"] == "06" for x in now):
        return "结清或无还款"
    if "stop" in outcomes_now or any(x["reason"] == "WINDOW" for x in now):
        return "终止"
    if "hold" in outcomes_now and "hold" not in outcomes_before:
        return "暂停"
    if "hold" in outcomes_before and "hold" not in outcomes_now:
        return "恢复"
    if {"reversed", "clawback", "quarantined"} & (outcomes_now | outcomes_before):
        return "更正与冲正"
    if any(x["kind"] == "03" for x in (*now, *before)):
        return "提前还款"
    if {(x["rate_ppm"], x["fund_rate_ppm"]) for x in now} != {(x["rate_ppm"], x["fund_rate_ppm"]) for x in before}:
        return "利率变动"
    return "正常递减"


def _corrections(conn: Connection, inputs: ReportInputs) -> Sheet:
    t, c = tables.posting, tables.posting_cause
    low, high = _window(inputs)
    rows = conn.execute(
        sa.select(
            t,
            c.c.ordinal,
            c.c.cause,
            c.c.amount_fen.label("cause_fen"),
            c.c.file_no.label("cause_file"),
            c.c.line_no.label("cause_line"),
            c.c.text,
        )
        .join(c, sa.and_(c.c.centre == t.c.centre, c.c.posting_no == t.c.posting_no), isouter=True)
        .where(t.c.centre == inputs.policy.centre, t.c.kind.in_(("top_up", "recovery")), t.c.business_date > low, t.c.business_date <= high)
        .order_by(t.c.posting_no, c.c.ordinal)
    ).mappings()
    columns = (
        Column("协议编号", width=20),
        Column("业务流水号", width=20),
        Column("类别", width=8),
        Column("金额", "money", 14, True),
        Column("更正后应付", "money", 14),
        Column("原因", width=18),
        Column("原因文件", width=30),
        Column("行号", "int", 7),
        Column("记账号", "int", 9),
        Column("更正的记账号", "int", 12),
        Column("入账日", "date", 11),
    )
    return Sheet(
        "补差与追回",
        columns,
        [
            (
                r["agreement_no"],
                r["serial_no"],
                "补差" if r["kind"] == "top_up" else "追回",
                r["amount_fen"] if r["cause_fen"] is None else r["cause_fen"],
                r["due_fen"],
                r["text"] or "",
                inputs.file_names.get(r["cause_file"] or 0, ""),
                r["cause_line"],
                r["posting_no"],
                r["corrects"],
                r["business_date"],
            )
            for r in rows
        ],
        ("同一笔更正有几个原因时分行列示，金额相加即该笔更正",),
    )


def _window(inputs: ReportInputs) -> tuple[date, date]:
    """Business dates (after, up to and including) whose postings belong to the period's workbook."""
    s = inputs.settlement
    return (date.min if s is None else s["posted_after"], inputs.business_date)


def _suspensions(inputs: ReportInputs) -> Sheet:
    columns = (
        Column("协议编号", width=20),
        Column("贷款账号", width=20),
        Column("业务流水号", width=20),
        Column("应还款日", "date", 11),
        Column("应得金额", "money", 14, True),
        Column("结果", width=10),
        Column("原因", width=24),
    )
    rows = [
        (
            x["agreement_no"],
            inputs.mask_account(x["account_no"]),
            x["serial_no"],
            x["due_on"],
            x["entitled_fen"],
            OUTCOMES.get(x["outcome"], x["outcome"]),
            x["reason"],
        )
        for x in _ordered(inputs.lines)
        if x["outcome"] in ("hold", "forfeit", "stop")
    ]
    return Sheet("暂停与恢复", columns, rows, ("暂缓的行在原因消除后支付；不付的行不再支付",))


def _quarantine(conn: Connection, inputs: ReportInputs) -> Sheet:
    q, r, f = tables.quarantine, tables.quarantine_release, tables.finding
    centre = inputs.policy.centre
    open_rows = conn.execute(
        sa.select(q)
        .where(
            q.c.centre == centre,
            q.c.known_on <= inputs.business_date,
            ~sa.exists().where(r.c.centre == centre, r.c.quarantine_no == q.c.quarantine_no, r.c.business_date <= inputs.business_date),
        )
        .order_by(q.c.quarantine_no)
    ).mappings()
    columns = (
        Column("类别", width=8),
        Column("代码", width=20),
        Column("来源文件", width=30),
        Column("行号", "int", 7),
        Column("字段", width=12),
        Column("值", width=18),
        Column("说明", width=60),
        Column("处理办法", width=44),
        Column("已隔天数", "int", 9),
    )
    rows: list[tuple[Any, ...]] = [
        (
            "隔离",
            x["code"],
            inputs.file_names.get(x["file_no"], ""),
            x["line_no"],
            x["field"],
            x["value"],
            x["what"],
            x["todo"],
            (inputs.business_date - x["known_on"]).days,
        )
        for x in open_rows
    ]
    low, high = _window(inputs)
    run = tables.run
    rows += [
        ("异常", x["code"], inputs.file_names.get(x["file_no"], ""), x["line_no"], x["field"], x["value"], x["what"], x["todo"], None)
        for x in conn.execute(
            sa.select(f)
            .join(run, sa.and_(run.c.centre == f.c.centre, run.c.run_no == f.c.run_no))
            .where(f.c.centre == centre, run.c.business_date > low, run.c.business_date <= high)
            .order_by(f.c.finding_no)
        ).mappings()
    ]
    return Sheet("隔离与异常", columns, rows, ("隔离的行没有计入贴息，原始内容已保存",))


def _payments(conn: Connection, inputs: ReportInputs) -> Sheet:
    p, b, e = tables.payment, tables.batch, tables.payment_event
    centre = inputs.policy.centre
    last = (
        sa.select(e.c.payment_no, sa.func.max(e.c.event_no).label("event_no"))
        .where(e.c.centre == centre)
        .group_by(e.c.payment_no)
        .subquery()
    )
    rows = conn.execute(
        sa.select(p, b.c.period, b.c.file_name, b.c.direction, e.c.state, e.c.event_on, e.c.code, e.c.text, e.c.host_serial)
        .join(b, sa.and_(b.c.centre == p.c.centre, b.c.batch_no == p.c.batch_no))
        .join(last, last.c.payment_no == p.c.payment_no)
        .join(e, sa.and_(e.c.centre == p.c.centre, e.c.event_no == last.c.event_no))
        .where(
            p.c.centre == centre,
            sa.or_(b.c.period == inputs.period, e.c.state.in_(("sent", "open", "reserved"))),
            b.c.period <= inputs.period,
        )
        .order_by(p.c.batch_no, p.c.ordinal)
    ).mappings()
    columns = (
        Column("付款编号", width=22),
        Column("期间", width=9),
        Column("序号", "int", 6),
        Column("收款账号", width=20),
        Column("收款户名", width=14),
        Column("金额", "money", 14, True),
        Column("方向", width=6),
        Column("状态", width=8),
        Column("状态日期", "date", 11),
        Column("响应码", width=8),
        Column("说明", width=24),
        Column("主机流水号", width=20),
        Column("未决天数", "int", 9),
        Column("替代的付款", width=22),
        Column("付款文件", width=44),
    )
    direction = {"out": "付款", "in": "收款", "net": "抵扣"}
    return Sheet(
        "回盘与退汇",
        columns,
        [
            (
                r["payment_no"],
                r["period"],
                r["ordinal"],
                inputs.mask_account(r["payee_account"]),
                inputs.mask_name(r["payee_name"]),
                r["amount_fen"],
                direction[r["direction"]],
                STATES.get(r["state"], r["state"]),
                r["event_on"],
                r["code"],
                r["text"],
                r["host_serial"],
                (inputs.business_date - r["event_on"]).days if r["state"] in ("sent", "open") else None,
                r["replaces"] or "",
                r["file_name"],
            )
            for r in rows
        ],
        ("未决的付款既不算已付也不算失败，查询银行之前不会重发",),
    )


def _vouchers(inputs: ReportInputs) -> Sheet:
    columns = (
        Column("记账凭证号", width=20),
        Column("摘要", width=30),
        Column("科目编号", width=14),
        Column("借方发生额", "money", 18, True),
        Column("贷方发生额", "money", 18, True),
        Column("附件单据数", "int", 10),
        Column("记账日期", "date", 11),
    )
    return Sheet("凭证", columns, list(inputs.vouchers), ("国家标准表 8.0.5 记账凭证信息",))


def _figures(inputs: ReportInputs) -> Sheet:
    columns = (
        Column("指标", width=30),
        Column("本期笔数", "int", 14),
        Column("本年笔数", "int", 14),
        Column("累计笔数", "int", 14),
        Column("本期金额", "money", 18),
        Column("本年金额", "money", 18),
        Column("累计金额", "money", 18),
    )
    rows: list[tuple[Any, ...]] = [
        (label, None, None, None, month, year, total) if money else (label, month, year, total, None, None, None)
        for label, month, year, total, money in inputs.figures
    ]
    return Sheet("年度口径", columns, rows, ("按中心对外公布的口径",))


def _posted(conn: Connection, inputs: ReportInputs) -> dict[str, int]:
    """What the ledger says of the lines shown and of the postings of the window."""
    t = tables.posting
    centre = inputs.policy.centre
    keys = {tuple(r[n] for n in LINE_KEY) for r in inputs.lines.select(list(LINE_KEY)).to_pylist()}
    low_line = min((r for r in inputs.lines["booked_on"].to_pylist()), default=inputs.business_date)
    due: dict[tuple[str, ...], int] = {}
    for r in conn.execute(
        sa.select(t.c.agreement_no, t.c.account_no, t.c.serial_no, t.c.due_fen)
        .where(t.c.centre == centre, t.c.booked_on >= low_line, t.c.kind != "opening", t.c.business_date <= inputs.business_date)
        .order_by(t.c.posting_no)
    ):
        due[(r[0], r[1], r[2])] = int(r[3])
    low, high = _window(inputs)
    corrected = conn.execute(
        sa.select(sa.func.coalesce(sa.func.sum(t.c.amount_fen), 0)).where(
            t.c.centre == centre, t.c.kind.in_(("top_up", "recovery")), t.c.business_date > low, t.c.business_date <= high
        )
    ).scalar_one()
    return {"detail": sum(v for k, v in due.items() if k in keys), "corrections": int(corrected)}


def _ties(inputs: ReportInputs, posted: Mapping[str, int], sheets: Sequence[Sheet]) -> tuple[Tie, ...]:
    by = {s.title: s for s in sheets}
    ties = [
        Tie("明细应付金额 = 账簿应付", posted["detail"], ((1, "贴息明细", "应付金额"),)),
        Tie("汇总应付贴息 = 账簿应付", posted["detail"], ((1, "汇总", "应付贴息"),)),
        Tie("变动分析合计 = 账簿应付", posted["detail"], ((1, "变动分析", "金额"),)),
        Tie("补差与追回 = 账簿更正", posted["corrections"], ((1, "补差与追回", "金额"),)),
        Tie("凭证借方 = 凭证贷方", 0, ((1, "凭证", "借方发生额"), (-1, "凭证", "贷方发生额"))),
        Tie("凭证借方 = 账簿借方", by["凭证"].total("借方发生额"), ((1, "凭证", "借方发生额"),)),
        Tie("回盘与退汇金额 = 账簿发送", by["回盘与退汇"].total("金额"), ((1, "回盘与退汇", "金额"),)),
    ]
    return tuple(ties)


def _cover(conn: Connection, inputs: ReportInputs, detail: Sheet, corrections: Sheet, payments: Sheet) -> Cover:
    s = inputs.settlement
    head = conn.execute(
        sa.select(tables.journal_block.c.hash)
        .where(tables.journal_block.c.centre == inputs.policy.centre)
        .order_by(tables.journal_block.c.block_no.desc())
        .limit(1)
    ).scalar_one_or_none()
    facts = [
        ("中心", f"{inputs.policy.name}（{inputs.policy.code}）"),
        ("期间", inputs.period),
        ("营业日期", str(inputs.business_date)),
        ("清算日", "本期不清算" if s is None else str(s["settlement_on"])),
        ("截止日", "" if s is None else str(s["cutoff_on"])),
        ("规则版本", inputs.policy.version),
        ("账簿链头", head or "尚无记账"),
    ]
    totals = [
        ("本期明细应付", detail.total("应付金额")),
        ("补差与追回", corrections.total("金额")),
    ]
    if s is not None:
        totals += [
            ("本期应清算", s["computed_fen"]),
            ("发送银行", s["sent_fen"]),
            ("抵扣追回", s["netted_fen"]),
            ("结转下期", s["carried_fen"]),
            ("暂缓支付", s["held_fen"]),
        ]
    return Cover(f"{inputs.policy.short_name} 公转商贴息 {inputs.period}", tuple(facts), tuple(totals), inputs.policy.warnings)
