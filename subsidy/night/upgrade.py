"""A new engine may not change money by itself: what it computes differently goes through a recompute first (handbook section 6)."""

from __future__ import annotations

from dataclasses import replace

import pyarrow.compute as pc
import sqlalchemy as sa

from subsidy import ENGINE_VERSION
from subsidy.errors import TerminalError
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.money import format_yuan
from subsidy.night import context, opening, posting, register, touched
from subsidy.night.context import Context, Run
from subsidy.settings import Settings


def refuse_unapproved(settings: Settings, centre: str) -> None:
    """Refuse to open a night when this program, over the facts and the policy of the last closed run, comes to other posted amounts than
    the program of that run did. TerminalError ``NIGHT-UPGRADE`` says how many lines and how much.

    Looked at only when the engine's version differs from that run's, so it costs other nights nothing; then it assesses every loan once."""
    with open_database(settings).read() as conn:
        if opening.unfinished(conn, centre) is not None:
            return  # that run must be finished first, and has posted what the last closed one did not know
    told = _told(settings, centre)
    if told:
        before, what = told
        raise TerminalError(
            "NIGHT-UPGRADE",
            f"程序升级后，{what}。",
            "没有开始当日的处理，没有改动任何数据；收到的文件都在收件目录里。",
            f"以业务日期 {before.business_date} 触发“预演”查看差额，再触发“重算”，由另一人批准；之后重跑当日的夜间流程。"
            "如果差额不对，换回原来的程序版本。",
        )


def pinned(ctx: Context, token: int) -> Context:
    """`ctx` of a run about to compute. A night that was opened by another engine and has computed nothing yet goes on with this one when
    the two agree; TerminalError ``RUN-ENGINE`` when they do not, or when people approved what the other one gives."""
    if ctx.run.engine_version == ENGINE_VERSION:
        return ctx
    with ctx.db.read() as conn:
        if context.step_result(conn, ctx.run, "compute") is not None:
            return ctx
    if ctx.run.mode == "recompute":
        raise TerminalError(
            "RUN-ENGINE",
            f"{ctx.run.business_date} 的重算由计算引擎 {ctx.run.engine_version} 打开，现在的程序是 {ENGINE_VERSION}："
            "批准的是原程序的结果。",
            "本次重算作废，没有记账；夜间处理照常。",
            "用现在的程序重新预演、重算，由另一人批准。",
        )
    told = _told(ctx.settings, ctx.centre)
    if told:
        raise TerminalError(
            "RUN-ENGINE",
            f"{ctx.run.business_date} 的处理由计算引擎 {ctx.run.engine_version} 打开，现在的程序是 {ENGINE_VERSION}：{told[1]}。",
            "没有计算，没有记账；已接收的文件都已保存。",
            "换回打开这一批次的程序版本，把它运行完成；之后再升级。",
        )
    run = replace(ctx.run, engine_version=ENGINE_VERSION)
    t = tables.run
    with ctx.db.transaction(ctx.centre, token) as conn:
        conn.execute(sa.update(t).where(t.c.centre == run.centre, t.c.run_no == run.run_no).values(engine_version=ENGINE_VERSION))
    return replace(ctx, run=run)


def _told(settings: Settings, centre: str) -> tuple[Run, str] | None:
    """The last closed run and what this engine posts differently from it, for people; None when nothing. Loans that the run set aside do
    not count: every run tries them again."""
    with open_database(settings).read() as conn:
        before = register.last_closed(conn, centre)
    if before is None or before["engine_version"] == ENGINE_VERSION:
        return None
    then = context.load(settings, centre, int(before["run_no"]))
    moved, _ = posting.differences(then, touched.scope(then, "compute", "check"))
    if moved.num_rows == 0:
        return None
    raised = pc.sum(pc.max_element_wise(moved["delta_fen"], 0)).as_py()
    lowered = raised - pc.sum(moved["delta_fen"]).as_py()
    loans = pc.count_distinct(moved["agreement_no"]).as_py()
    return then.run, (
        f"{then.policy.short_name}已记账的 {loans} 笔贷款共 {moved.num_rows} 行结果不同"
        f"（计算引擎 {then.run.engine_version} → {ENGINE_VERSION}），调增 {format_yuan(raised)} 元，调减 {format_yuan(lowered)} 元"
    )
