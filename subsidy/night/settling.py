"""Settle: build what is due, ask people, publish what they approved, say when a period is complete."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.calendar import SettlementDates, settlements_due
from subsidy.clearing import approval, payees, profiles, vouchers
from subsidy.clearing import publish as publishing
from subsidy.clearing import settle as building
from subsidy.clearing.gather import PAYEES
from subsidy.errors import Finding, TerminalError
from subsidy.facts import memory
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import clock, context, line_store, manifest, register, touched
from subsidy.night.context import Context
from subsidy.policy import working_days_of
from subsidy.settings import Settings


def settle(ctx: Context, token: int) -> dict[str, Any]:
    """The step `settle`: write the vouchers of what was booked, and build every settlement whose night has come and that was not built yet.

    Nothing is built while a line differs from its second computation or an invariant is broken: the night goes on, a finding
    ``SETTLE-BLOCKED`` and `blocked` in the result (periods, and how many differences and broken invariants) say so, and the first night
    that has proved everything builds it. TerminalError ``NIGHT-INCOMPLETE`` while a step before it is not done."""
    with ctx.db.read() as conn:
        done = context.step_result(conn, ctx.run, "settle")
        _, _, checked, _, verified = context.finished(conn, ctx.run, "take_in", "compute", "check", "post", "verify")
        stopped = touched.failed(conn, ctx.run, "compute", "check")
    if done is not None and (ctx.run.closed or not done.get("blocked")):
        return done
    finish = context.finish_step if done is None else context.replace_step
    due = due_settlements(ctx)
    outbound = profiles.load(ctx.rules, ctx.centre)
    if not verified["broken"]:
        vouchers.write_new(
            ctx.db, token, ctx.settings, ctx.policy, business_date=ctx.run.business_date, run_no=ctx.run.run_no, outbound=outbound
        )
    if due and (checked["differences"] or verified["broken"]):
        blocked = {"periods": [d.period for d in due], "differences": checked["differences"], "broken": verified["broken"]}
        told = _blocked(ctx.policy.short_name, blocked).message
        with ctx.db.transaction(ctx.centre, token) as conn:
            register.add_findings(ctx.db, conn, ctx.run, "settle", [Finding(told.code, "error", told.what, told.todo)])
            return finish(conn, ctx.run, "settle", {"settlements": [], "blocked": blocked})
    parties, held_by = _inputs(ctx, due)
    built = []
    with ctx.db.transaction(ctx.centre, token) as conn:
        for dates, held in zip(due, held_by, strict=True):
            result = building.build(
                conn,
                ctx.policy,
                ctx.run.run_no,
                dates,
                payees=parties,
                outbound=outbound,
                held=held,
                stopped=stopped,
                unusual=("POLICY-CHANGED",) if _policy_changed(conn, ctx) else (),
            )
            register.add_findings(ctx.db, conn, ctx.run, "clearing", result.findings)
            built.append(result.counts())
            memory.give_back()
        return finish(conn, ctx.run, "settle", {"settlements": built})


def _blocked(short_name: str, blocked: dict[str, Any]) -> TerminalError:
    return TerminalError(
        "SETTLE-BLOCKED",
        f"{short_name} {'、'.join(blocked['periods'])} 期没有生成清算批次：独立复算不一致 {blocked['differences']} 行，"
        f"账簿核验不通过 {blocked['broken']} 项。",
        "没有付款；当日照常关闭，以后各夜照常处理；已记账的内容保留。",
        "在看板打开当夜的异常清单，交系统维护人员逐项查明、改正；明细的金额要改的，预演后重算。查清后的第一夜自动生成批次。",
    )


def refuse_blocked(settings: Settings, centre: str, run_no: int) -> None:
    """TerminalError ``SETTLE-BLOCKED`` when the step `settle` of a run ended blocked, as long as no later night built what was due."""
    ctx = context.load(settings, centre, run_no)
    with ctx.db.read() as conn:
        blocked = (context.step_result(conn, ctx.run, "settle") or {}).get("blocked")
    if blocked and due_settlements(ctx):
        raise _blocked(ctx.policy.short_name, blocked)


def _policy_changed(conn: Connection, ctx: Context) -> bool:
    """Whether rules, parameters or engine changed since the run that built the last settlement: the night then assesses everything anew
    and posts what comes out differently, which nobody has seen yet."""
    s, r = tables.settlement, tables.run
    last = conn.execute(
        sa.select(sa.func.max(s.c.run_no)).where(s.c.centre == ctx.centre, s.c.run_no < ctx.run.run_no, s.c.state != "empty")
    ).scalar_one()
    versions = conn.execute(
        sa.select(r.c.policy_version, r.c.engine_version)
        .distinct()
        .where(r.c.centre == ctx.centre, r.c.run_no.between(int(last or 1), ctx.run.run_no))
    ).all()
    return len(versions) > 1


def due_settlements(ctx: Context) -> list[SettlementDates]:
    """Settlements whose night is on or before the run's business date and that are not stored yet, oldest first."""
    dated = settlements_due(ctx.policy, working_days_of(ctx.policy), ctx.policy.go_live, ctx.run.business_date)
    with ctx.db.read() as conn:
        t = tables.settlement
        stored = set(conn.execute(sa.select(t.c.period).where(t.c.centre == ctx.centre)).scalars())
    return [d for d in dated if d.period not in stored]


def _inputs(ctx: Context, due: Sequence[SettlementDates]) -> tuple[pa.Table, list[dict[str, int]]]:
    """Who is paid for each agreement as known tonight, and for each settlement what is entitled but held up to its cut-off, fen by
    reason."""
    known = _known(ctx) if due else []
    # Night D runs on the morning of D + 1, and what it builds is sent no earlier.
    sent_on = ctx.run.business_date + timedelta(days=1)
    parties = [PAYEES.empty_table()]
    held = [defaultdict[str, int](int) for _ in due]
    for buckets in manifest.groups(known) if due else ():
        facts = manifest.facts_of(ctx.store, known, ctx.run.business_date, buckets, frozenset(), names=payees.READS)
        parties.append(payees.payees_on(facts, sent_on))
        lines = line_store.known_lines(ctx.store, known, buckets, ("outcome", "reason", "booked_on", "entitled_fen"))
        waiting = lines.filter(pc.equal(lines["outcome"], "hold"))
        for dates, by_reason in zip(due, held, strict=True):
            mine = waiting.filter(pc.less_equal(waiting["booked_on"], pa.scalar(dates.cutoff_on)))
            for row in mine.group_by("reason").aggregate([("entitled_fen", "sum")]).to_pylist():
                by_reason[row["reason"]] += row["entitled_fen_sum"]
    return pa.concat_tables(parties).combine_chunks(), [dict(by_reason) for by_reason in held]


def _known(ctx: Context) -> list[Any]:
    with ctx.db.read() as conn:
        return manifest.segments(conn, ctx.centre, ctx.run.business_date, through_run=ctx.run.run_no)


def pending(settings: Settings, centre: str, period: str | None) -> list[dict[str, Any]]:
    """The settlements that wait for an answer or for the end of their publication, oldest first (or the one of `period`, if it waits)."""
    db = open_database(settings)
    t = tables.settlement
    # A rejected settlement is asked about again only when a person names its period.
    states = ("waiting", "held", "approved", "publishing", *(() if period is None else ("rejected",)))
    query = sa.select(t).where(t.c.centre == centre, t.c.state.in_(states)).order_by(t.c.period)
    with db.read() as conn:
        rows = conn.execute(query if period is None else query.where(t.c.period == period)).mappings().all()
        return [_question(conn, row) for row in rows]


def _question(conn: Connection, row: Mapping[Any, Any]) -> dict[str, Any]:
    b = tables.batch
    sums = conn.execute(
        sa.select(sa.func.coalesce(sa.func.sum(b.c.payment_count), 0), sa.func.coalesce(sa.func.sum(b.c.amount_fen), 0)).where(
            b.c.centre == row["centre"], b.c.period == row["period"], b.c.direction != "net"
        )
    ).one()
    return {
        "period": row["period"],
        "content_hash": row["content_hash"],
        "amount_fen": int(sums[1]),
        "count": int(sums[0]),
        "reasons": [building.REASONS.get(code, code) for code in json.loads(row["reasons"])],
        "state": approval.standing(conn, row),
        "approvals_needed": row["approvals_needed"],
        "settlement_on": str(row["settlement_on"]),
    }


def answer(settings: Settings, centre: str, period: str, person: str, said: str, content_hash: str) -> dict[str, Any]:
    """Record what a person answered; refused answers are recorded too and say why."""
    if said not in ("approve", "reject"):
        raise ValueError(said)
    given = approval.answer(
        open_database(settings), centre, period, person, "approve" if said == "approve" else "reject", content_hash, clock.stamp()
    )
    return {"accepted": given.accepted, "message": given.message, "state": given.state}


def publish(settings: Settings, centre: str, period: str) -> dict[str, Any]:
    """Publish the approved files of a period under the centre's lease."""
    db = open_database(settings)
    with db.read() as conn:
        t = tables.settlement
        run_no = conn.execute(sa.select(t.c.run_no).where(t.c.centre == centre, t.c.period == period)).scalar_one_or_none()
    if run_no is None:
        raise TerminalError("PUBLISH-NONE", f"{centre} 没有 {period} 期的清算批次。", "没有发布任何文件。", "先运行该期的夜间处理。")
    ctx = context.load(settings, centre, int(run_no))
    with context.working(db, centre, f"发布 {period}") as token:
        outbound = profiles.load(ctx.rules, centre)
        published = publishing.publish(db, token, settings, ctx.policy, period, ctx.run.run_no, outbound=outbound)
    return asdict(published)
