"""Settlements, bank files, queries, receivables, vouchers and the clearing of a month from a shell. The shell cannot approve."""

from __future__ import annotations

import argparse
import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from subsidy.clearing import profiles, publish, query, reconcile, settle, vouchers
from subsidy.cli import arguments
from subsidy.cli.named import settings_of
from subsidy.errors import TerminalError
from subsidy.ledger import lease, receivables, tables
from subsidy.ledger.database import open_database
from subsidy.money.amounts import format_yuan
from subsidy.night import api, context, opening, previewing
from subsidy.night.context import Context
from subsidy.settings import Settings

DONE, FOUND, WAITING = 0, 1, 5


def register(subparsers: Any) -> None:
    """Add ``settlement``, ``results``, ``query``, ``receivables``, ``vouchers`` and ``clearing``."""
    settlement = _group(subparsers, "settlement", "清算批次：查看、发布")
    show = _command(settlement, "show", "查看一个期间的清算批次、三方核对和差异", _show)
    show.add_argument("--period", type=arguments.period, help="期间，如 2026-10；默认最近一期")
    _command(settlement, "publish", "发布已获批准的批次（命令行不能审批）", _publish).add_argument(
        "--period", required=True, type=arguments.period, help="期间"
    )
    again = _command(settlement, "republish", "银行答复从未收到的批次，原样重新发布", _republish)
    again.add_argument("--batch", required=True, type=arguments.number, help="批次号")

    results = _group(subparsers, "results", "银行文件：读入")
    _dated(_command(results, "read", "读入回盘、状态回执和账户明细", _read))
    queries = _group(subparsers, "query", "查询：对已发出而未答复的付款")
    _dated(_command(queries, "write", "写出 BDC107 / BDC110 查询文件", _query))
    _dated(_command(queries, "list", "列出未决的付款及天数", _open), required=False)
    owed = _group(subparsers, "receivables", "应收追回")
    _dated(_command(owed, "list", "列出应收追回及账龄", _receivables))
    books = _group(subparsers, "vouchers", "记账凭证")
    write = _command(books, "write", "写出一个月的记账凭证文件（表8.0.5）", _vouchers)
    write.add_argument("--period", required=True, type=arguments.period, help="月份，如 2026-10")
    clearing = _group(subparsers, "clearing", "各中心汇总清算")
    run = _command(clearing, "run", "汇总一个月各中心的清算，写出资金调拨指令", _clearing, centre=False)
    run.add_argument("--period", required=True, type=arguments.period, help="月份，如 2026-10")


def _group(subparsers: Any, name: str, about: str) -> Any:
    parser = subparsers.add_parser(name, help=about, description=about)
    return parser.add_subparsers(title="命令", metavar="命令", required=True)


def _command(group: Any, name: str, about: str, run: Any, centre: bool = True) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = group.add_parser(name, help=about, description=about)
    if centre:
        parser.add_argument("--centre", required=True, help="中心目录名，如 hangzhou")
    parser.add_argument("--json", action="store_true", help="结果以 JSON 输出")
    parser.set_defaults(run=run)
    return parser


def _dated(parser: argparse.ArgumentParser, required: bool = True) -> None:
    about = "业务日期，如 2026-09-21" + ("" if required else "；默认当前业务日")
    parser.add_argument("--date", required=required, type=arguments.day, help=about)


def _actor() -> str:
    return f"shell:{getpass.getuser()}"


def _print(args: argparse.Namespace, data: Any, text: str) -> None:
    print(json.dumps(data, ensure_ascii=False, default=str) if args.json else text)


def _print_and_refresh(args: argparse.Namespace, settings: Settings, data: dict[str, Any], text: str) -> None:
    """Bring the workbooks up to what was done, as the DAGs do in a task of its own, and print both."""
    written = api.refresh_reports(settings, args.centre)
    more = {name: value for name, value in written.items() if name != "periods"}
    _print(args, data | more, f"{text}\n{previewing.refreshed(written)}")


def _context(settings: Settings, centre: str) -> Context:
    """The context of the centre's last run."""
    with open_database(settings).read() as conn:
        number = conn.execute(sa.select(sa.func.max(tables.run.c.run_no)).where(tables.run.c.centre == centre)).scalar_one_or_none()
    if number is None:
        raise TerminalError("RUN-NONE", f"{centre} 还没有运行过。", "没有读写任何文件。", "先运行该中心的夜间处理。")
    return context.load(settings, centre, int(number))


@contextmanager
def _working(args: argparse.Namespace, what: str) -> Iterator[tuple[Context, int]]:
    settings = settings_of(args)
    ctx = _context(settings, args.centre)
    with context.working(ctx.db, args.centre, f"{_actor()}：{what}") as token:
        lease.refuse_if_lost(ctx.db, args.centre, token)
        yield ctx, token


def _show(args: argparse.Namespace) -> int:
    ctx = _context(settings_of(args), args.centre)
    with ctx.db.read() as conn:
        s = tables.settlement
        period = args.period or conn.execute(sa.select(sa.func.max(s.c.period)).where(s.c.centre == args.centre)).scalar_one_or_none()
        stored = settle.load(conn, ctx.policy, period) if period else None
        if stored is None:
            raise TerminalError(
                "SETTLE-UNKNOWN", f"{args.centre} 没有 {period or '任何'} 期的清算批次。", "没有改动任何数据。", "核对期间。"
            )
        found = reconcile.three_way(conn, args.centre, period)
    lines = [settle.summary(stored)]
    for batch in found.batches:
        lines.append(
            f"  批次 {batch.batch_no} 核对：发送 {format_yuan(batch.sent_fen)} = 成功 {format_yuan(batch.confirmed_fen)} + 失败 "
            f"{format_yuan(batch.failed_fen)} + 未决 {format_yuan(batch.open_fen)}；退汇 {format_yuan(batch.returned_fen)}；"
            f"账户借记 {format_yuan(batch.debit_fen)}，退回 {format_yuan(batch.bank_return_fen)}"
        )
    lines += [
        f"  差异［{reconcile.CLASSES[d.kind]}］批次 {d.batch_no} {d.payment_no} {format_yuan(d.amount_fen)} 元：{d.text}"
        for d in found.differences
    ]
    data = stored.counts() | {"content_hash": stored.content_hash, "approvals_needed": stored.approvals_needed}
    data |= {"reconciliation": [asdict(b) for b in found.batches], "differences": [asdict(d) for d in found.differences]}
    _print(args, data, "\n".join(lines))
    if stored.state in ("waiting", "held"):
        return WAITING
    return FOUND if found.unexplained or not found.computed_ties else DONE


def _publish(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    api.record_act(settings, args.centre, _actor(), "publish", f"settlement:{args.period}", "命令行")
    result = api.publish(settings, args.centre, args.period)
    text = f"{result['period']} 期：{result['state']}\n" + "\n".join(f"  {path}" for path in result["files"])
    if result["taken"]:
        text += "\n以下文件此前已离开待发目录，没有再次写出，已发出查询：\n" + "\n".join(f"  {name}" for name in result["taken"])
    _print_and_refresh(args, settings, result, text)
    return DONE


def _republish(args: argparse.Namespace) -> int:
    with _working(args, f"重新发布批次 {args.batch}") as (ctx, token):
        name = publish.republish(ctx.db, token, ctx.settings, ctx.policy, args.batch, outbound=profiles.load(ctx.rules, args.centre))
    api.record_act(ctx.settings, args.centre, _actor(), "republish", f"batch:{args.batch}", "银行答复从未收到")
    _print(args, {"file": name}, f"已原样重新发布 {name}。")
    return DONE


def _read(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    result = api.read_results(settings, args.centre, args.date, _actor())
    blocked = int(result.get("blocked", 0)) + int(result.get("incomplete", 0))
    _print_and_refresh(args, settings, result, previewing.read(result))
    return FOUND if blocked else DONE


def _query(args: argparse.Namespace) -> int:
    with _working(args, "写查询文件") as (ctx, token):
        with ctx.db.read() as conn:
            opening.refuse_far(conn, args.centre, args.date)
        asked = query.write(
            ctx.db,
            token,
            ctx.settings,
            ctx.policy,
            business_date=args.date,
            run_no=ctx.run.run_no,
            outbound=profiles.load(ctx.rules, args.centre),
        )
    _print(args, asdict(asked), f"未决 {asked.payments} 笔，涉及 {asked.batches} 个批次\n" + "\n".join(f"  {name}" for name in asked.files))
    return DONE


def _open(args: argparse.Namespace) -> int:
    ctx = _context(settings_of(args), args.centre)
    with ctx.db.read() as conn:
        c = tables.centre_state
        opened = conn.execute(sa.select(c.c.open_business_date).where(c.c.centre == args.centre)).scalar_one_or_none()
        waiting = query.open_payments(conn, args.centre, args.date or opened or ctx.run.business_date)
    data = [
        {"payment_no": p.payment_no, "batch_no": p.batch_no, "amount_fen": p.amount_fen, "sent_on": p.sent_on, "age_days": p.age_days}
        for p in waiting
    ]
    lines = [f"{p.payment_no}  批次 {p.batch_no}  {format_yuan(p.amount_fen)} 元  {p.sent_on} 发出  {p.age_days} 天" for p in waiting]
    _print(args, data, "\n".join(lines) or "没有未决的付款。")
    return FOUND if waiting else DONE


def _receivables(args: argparse.Namespace) -> int:
    ctx = _context(settings_of(args), args.centre)
    with ctx.db.read() as conn:
        table = receivables.receivables(conn, args.centre, args.date)
    rows = table.to_pylist()
    lines = [
        f"{r['agreement_no']}  {format_yuan(r['receivable_fen'])} 元  自 {r['since_on']}（{r['age_days']} 天）"
        f"  其中收回中 {format_yuan(r['in_process_fen'])} 元"
        for r in rows
    ]
    total = sum(r["receivable_fen"] for r in rows)
    _print(args, rows, "\n".join([*lines, f"合计 {len(rows)} 户 {format_yuan(total)} 元"]))
    return DONE


def _vouchers(args: argparse.Namespace) -> int:
    with _working(args, f"写凭证 {args.period}") as (ctx, token):
        name = vouchers.write(
            ctx.db,
            token,
            ctx.settings,
            ctx.policy,
            args.period,
            business_date=ctx.run.business_date,
            run_no=ctx.run.run_no,
            outbound=profiles.load(ctx.rules, args.centre),
        )
    _print(args, {"file": name}, f"已写出 {name}。")
    return DONE


def _clearing(args: argparse.Namespace) -> int:
    result = api.clear_month(settings_of(args), args.period)
    lines = [f"{result['period']} 第 {result['version']} 版{'（新）' if result['changed'] else '（内容未变）'}：{result['file']}"]
    for p in result["positions"]:
        amounts = {name: format_yuan(p[f"{name}_fen"]) for name in ("sent", "confirmed", "failed", "open", "returned", "net")}
        lines.append(
            f"  {p['centre']} {p['bank_code']}：发送 {amounts['sent']}，成功 {amounts['confirmed']}，失败 {amounts['failed']}，"
            f"未决 {amounts['open']}，退汇 {amounts['returned']}，净额 {amounts['net']}"
        )
    if result["missing"]:
        lines.append(f"  尚未完成：{'、'.join(result['missing'])}")
    lines += [f"  {centre} 的清算数据读不出：{cause}" for centre, cause in result["faults"].items()]
    _print(args, result, "\n".join(lines))
    return FOUND if result["missing"] else DONE
