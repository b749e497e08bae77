"""Report: the workbook of a centre's period, written again as a new version whenever what it shows has changed."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import figures, vouchers
from subsidy.entitlement.lines import LINES
from subsidy.errors import TerminalError
from subsidy.facts.schema import ACCOUNT, STATUS, Facts
from subsidy.intake import masking
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import context, line_store, manifest
from subsidy.night.context import Context
from subsidy.night.visible import show
from subsidy.reports import period as sheets
from subsidy.reports import workbook
from subsidy.reports.period import ReportInputs
from subsidy.settings import Settings


def report(ctx: Context, token: int) -> dict[str, Any]:
    """The step `report`: write the workbook of every settlement that this run built. Returns periods and file paths."""
    with ctx.db.read() as conn:
        done = context.step_result(conn, ctx.run, "report")
        t = tables.settlement
        periods = list(
            conn.execute(sa.select(t.c.period).where(t.c.centre == ctx.centre, t.c.run_no == ctx.run.run_no).order_by(t.c.period)).scalars()
        )
    if done is not None:
        return done
    written = [write(ctx, token, period) for period in periods]
    with ctx.db.transaction(ctx.centre, token) as conn:
        return context.finish_step(conn, ctx.run, "report", {"periods": periods, "workbooks": written})


def write_report(settings: Settings, centre: str, period: str) -> str:
    """Write the workbook of a period as it stands now; returns its path under the home folder. The same content is not written twice.

    TerminalError ``REPORT-NONE`` when the period has no settlement."""
    db = open_database(settings)
    t = tables.settlement
    with db.read() as conn:
        run_no = conn.execute(sa.select(t.c.run_no).where(t.c.centre == centre, t.c.period == period)).scalar_one_or_none()
    if run_no is None:
        raise TerminalError("REPORT-NONE", f"{centre} 没有 {period} 期。", "没有写任何文件。", "核对期间；先运行该期的夜间处理。")
    ctx = context.load(settings, centre, int(run_no))
    with context.working(db, centre, f"报表 {period}") as token:
        return write(ctx, token, period)


def write(ctx: Context, token: int, period: str) -> str:
    """As `write_report`, under a lease that is already held."""
    with ctx.db.read() as conn:
        book = sheets.book(conn, inputs(ctx, conn, period))
    folder = ctx.settings.reports(ctx.centre)
    return show(
        ctx.db,
        ctx.settings,
        ctx.centre,
        token,
        "workbook",
        folder,
        f"{ctx.centre}-{period}",
        ".xlsx",
        ctx.run,
        lambda path: workbook.write(book, path),
    )


def inputs(ctx: Context, conn: Connection, period: str, *, full: bool = False) -> ReportInputs:
    """Everything the workbook of `period` shows. `full`: personal data unmasked, for those whose role allows it."""
    s, r, f = tables.settlement, tables.run, tables.file
    here = conn.execute(sa.select(s).where(s.c.centre == ctx.centre, s.c.period == period)).mappings().one()
    before = conn.execute(
        sa.select(s.c.period, s.c.cutoff_on, r.c.business_date)
        .join(r, sa.and_(r.c.centre == s.c.centre, r.c.run_no == s.c.run_no))
        .where(s.c.centre == ctx.centre, s.c.period < period)
        .order_by(s.c.period.desc())
        .limit(2)
    ).all()
    known = manifest.segments(conn, ctx.centre, ctx.run.business_date, through_run=ctx.run.run_no)
    low = before[0].cutoff_on if before else date.min
    lower = before[1].cutoff_on if len(before) > 1 else date.min
    lines, previous, parties = [LINES.empty_table()], [LINES.empty_table()], dict[str, tuple[str, str, str, str]]()
    accounts, statuses = [ACCOUNT.arrow.empty_table()], [STATUS.arrow.empty_table()]
    for buckets in manifest.groups(known):
        stored = line_store.known_lines(ctx.store, known, buckets)
        stored = stored.filter(pc.not_equal(stored["outcome"], "opening"))
        lines.append(_booked(stored, low, here["cutoff_on"]))
        if before:
            previous.append(_booked(stored, lower, low))
        facts = manifest.facts_of(ctx.store, known, ctx.run.business_date, buckets, frozenset())
        parties |= _parties(facts)
        accounts.append(facts["account"])
        statuses.append(facts["status"])
    return ReportInputs(
        policy=ctx.policy,
        period=period,
        business_date=ctx.run.business_date,
        settlement={**here, "posted_after": before[0].business_date if before else date.min},
        lines=pa.concat_tables(lines),
        previous_lines=pa.concat_tables(previous),
        parties=parties,
        file_names=dict(conn.execute(sa.select(f.c.file_no, f.c.name).where(f.c.centre == ctx.centre)).tuples().all()),
        vouchers=vouchers.rows(conn, ctx.centre, period),
        figures=figures.annual(conn, ctx.centre, period, accounts=pa.concat_tables(accounts), statuses=pa.concat_tables(statuses)),
        mask_name=_whole if full else masking.mask_name,
        mask_account=_whole if full else masking.mask_account,
    )


def _whole(text: str) -> str:
    return text


def _booked(lines: pa.Table, after: date, through: date) -> pa.Table:
    day = lines["booked_on"]
    return lines.filter(pc.and_(pc.greater(day, pa.scalar(after, pa.date32())), pc.less_equal(day, pa.scalar(through, pa.date32()))))


def _parties(facts: Facts) -> dict[str, tuple[str, str, str, str]]:
    joined = (
        facts["agreement"]
        .select(["agreement_no", "contract_no", "payee_name", "payee_account"])
        .join(facts["contract"].select(["contract_no", "bank_code", "bank_name"]), "contract_no", join_type="left outer")
    )
    return {
        row["agreement_no"]: (row["bank_code"] or "", row["bank_name"] or "", row["payee_name"], row["payee_account"])
        for row in joined.to_pylist()
    }
