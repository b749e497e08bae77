"""Open and close a run: who runs what, on which policy, engine and knowledge."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy import ENGINE_VERSION
from subsidy.calendar import settlements_due
from subsidy.clearing.folder import load_folder
from subsidy.errors import BusyError, TerminalError
from subsidy.facts.store import Store
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import claims, clock, context, secret
from subsidy.night.context import Context, Run
from subsidy.policy import CentrePolicy, pack, working_days_of
from subsidy.settings import Settings

#: How many days a business date may lie after the centre's latest one before somebody must say why: a mistyped month is further off.
REACH_DAYS = 45


def open_run(
    settings: Settings,
    centre: str,
    business_date: date,
    actor: str,
    mode: str = "night",
    reason: str = "",
    policy_version: str | None = None,
    claimed: frozenset[str] | None = None,
) -> Run:
    """Open the night of `business_date`, or find it again: a rerun is the same run with what it pinned.

    `policy_version`: the only one to open the run with, because people agreed to what it gives (``RUN-POLICY`` when it is no longer there).
    `claimed`: the agreements that were held for a claim of another in what people agreed to.
    Refused: a date before the open business date that was never run (``NIGHT-PAST``), one more than `REACH_DAYS` after the latest without a
    reason (``NIGHT-FAR``), a night while an earlier one is not closed (``NIGHT-OPEN``), a date without calendar or rates (``CAL-…``,
    ``POLICY-…``), another key than the ledger's (``SET-KEY-DIFFERS``). BusyError while somebody else works.
    """
    db = open_database(settings)
    secret.hold(db, settings.key)
    with db.read() as conn:
        found = night_of(conn, centre, business_date) if mode == "night" else None
    if found is not None:
        return found
    policy = load_folder(settings.rules, centre)  # the whole of it is pinned, and could not be mended under an open run
    if policy_version not in (None, policy.version):
        raise TerminalError(
            "RUN-POLICY",
            f"{policy.short_name} 的规则或参数在批准之后又有变动。",
            "没有改动任何数据。",
            "重新触发，由另一人查看并批准新的结果。",
        )
    _refuse_unknown_dates(policy, business_date)
    archived = Store(settings.store_url).put_bytes(pack(settings.rules, centre))
    with context.working(db, centre, f"{actor}：{business_date} {mode}") as token, db.transaction(centre, token) as conn:
        found = night_of(conn, centre, business_date) if mode == "night" else None
        if found is not None:
            return found
        _move_forward(conn, centre, business_date, mode, reason)
        run_no = db.next_numbers(conn, centre, "run", 1)
        values: dict[str, Any] = {
            "centre": centre,
            "run_no": run_no,
            "business_date": business_date,
            "mode": mode,
            "policy_version": policy.version,
            "engine_version": ENGINE_VERSION,
            "knowledge_date": business_date,
            "knowledge_file_no": 0,
            "state": "running",
            "started_by": actor,
            "reason": reason,
            "started_at": clock.stamp(),
        }
        conn.execute(sa.insert(tables.run).values(**values))
        run = context.run_of(values)
        context.finish_step(conn, run, "open", {"policy_sha256": archived, "warnings": list(policy.warnings)})
        if claimed is not None:
            claims.pin(conn, run, claimed)
        return run


def is_open(settings: Settings, centre: str, business_date: date) -> bool:
    """Whether the night of a business date was ever opened."""
    with open_database(settings).read() as conn:
        return night_of(conn, centre, business_date) is not None


def night_of(conn: Connection, centre: str, business_date: date) -> Run | None:
    """The night run of a business date; None when it was never opened."""
    t = tables.run
    row = (
        conn.execute(sa.select(t).where(t.c.centre == centre, t.c.business_date == business_date, t.c.mode == "night"))
        .mappings()
        .one_or_none()
    )
    return None if row is None else context.run_of(row)


def unfinished(conn: Connection, centre: str) -> Any:
    """The night or recompute of a centre that was opened and not ended, as a mapping; None when there is none."""
    t = tables.run
    query = sa.select(t).where(t.c.centre == centre, t.c.state == "running", t.c.mode.in_(("night", "recompute")))
    return conn.execute(query).mappings().first()


def unfinished_recompute(conn: Connection, centre: str) -> Run | None:
    """The recompute of a centre that was opened and not ended; None when there is none."""
    row = unfinished(conn, centre)
    return None if row is None or row["mode"] != "recompute" else context.run_of(row)


def open_date(conn: Connection, centre: str) -> date | None:
    """The centre's open business date; None before its first night."""
    t = tables.centre_state
    return conn.execute(sa.select(t.c.open_business_date).where(t.c.centre == centre)).scalar_one_or_none()


def too_far(conn: Connection, centre: str, business_date: date) -> date | None:
    """The latest business date of the centre's runs when `business_date` lies more than `REACH_DAYS` after it; None when it does not, or
    when nothing ran before."""
    t = tables.run
    latest: date | None = conn.execute(sa.select(sa.func.max(t.c.business_date)).where(t.c.centre == centre)).scalar_one()
    return latest if latest is not None and (business_date - latest).days > REACH_DAYS else None


def refuse_far(conn: Connection, centre: str, business_date: date) -> None:
    """TerminalError ``BANK-DATE-FAR`` for a date on which bank files are read or written and which no night of the centre is near."""
    latest = too_far(conn, centre, business_date)
    if latest is not None:
        raise TerminalError(
            "BANK-DATE-FAR",
            f"{business_date} 比 {centre} 最近运行过的营业日期 {latest} 晚 {REACH_DAYS} 天以上，多半是日期写错了。",
            "没有读写任何文件，也没有记账；银行文件留在原处。",
            f"改正日期后重试；日期确实无误的，先运行该中心到这一天的夜间处理，或以 {latest} 为业务日期处理。",
        )


def _move_forward(conn: Connection, centre: str, business_date: date, mode: str, reason: str) -> None:
    reached = open_date(conn, centre)
    if reached is not None and business_date < reached:
        raise TerminalError(
            "NIGHT-PAST",
            f"{centre} 的营业日期已到 {reached}，不能再为更早的 {business_date} 开始新的处理。",
            "没有改动任何数据；已记账的内容不会写到过去的日期。",
            f"如需补充当时的文件，放入收件目录，由 {reached} 之后的夜间处理接收；如需查看差异，用“预演”。",
        )
    latest = too_far(conn, centre, business_date)
    if latest is not None and not reason.strip():
        raise TerminalError(
            "NIGHT-FAR",
            f"{business_date} 比 {centre} 最近的营业日期 {latest} 晚 {REACH_DAYS} 天以上，又没有写明原因，多半是日期写错了。",
            f"没有改动任何数据，营业日期仍是 {latest}。",
            "核对日期；要补跑其间各日的，由早到晚逐日运行；确实要直接到这一天的，写明原因重新触发（命令行 --reason），其间各日不能再运行。",
        )
    waiting = unfinished(conn, centre)
    if waiting is not None:
        raise BusyError(
            "NIGHT-OPEN",
            f"{centre} {waiting['business_date']} 的处理还没有完成（{waiting['started_by']} 于 {waiting['started_at']} 开始）。",
            "没有改动任何数据。",
            "先把那一天的流程运行完成（可直接重跑），再开始这一天。",
        )
    state = tables.centre_state
    if reached is None:
        conn.execute(sa.insert(state).values(centre=centre, open_business_date=business_date))
    elif mode == "night":
        conn.execute(sa.update(state).where(state.c.centre == centre).values(open_business_date=business_date))


def _refuse_unknown_dates(policy: CentrePolicy, business_date: date) -> None:
    try:
        policy.rules_on(business_date)
        policy.settlement_on(business_date)
    except KeyError:
        raise TerminalError(
            "NIGHT-NO-POLICY",
            f"{policy.short_name} 的规则没有覆盖 {business_date}。",
            "没有改动任何数据。",
            f"在 rules/{policy.centre}/policy.yaml 中补上这一天适用的版本。",
        ) from None
    days = working_days_of(policy)
    days.is_working(business_date)
    days.is_working(business_date + timedelta(days=1))
    settlements_due(policy, days, policy.go_live, business_date)


def give_up(ctx: Context, token: int) -> None:
    """Mark a run that posted nothing as failed: what it wrote counts for nobody, and no other run waits for it."""
    t = tables.run
    with ctx.db.transaction(ctx.centre, token) as conn:
        conn.execute(
            sa.update(t).where(t.c.centre == ctx.centre, t.c.run_no == ctx.run.run_no).values(state="failed", closed_at=clock.stamp())
        )


def close_run(ctx: Context, token: int) -> dict[str, Any]:
    """Mark the run closed once its steps are done; again does nothing."""
    with ctx.db.transaction(ctx.centre, token) as conn:
        done = context.step_result(conn, ctx.run, "close")
        if done is not None:
            return done
        left_out = ("take_in", "settle", "report") if ctx.run.mode == "recompute" else ()
        context.finished(conn, ctx.run, *(name for name in context.STEPS if name not in (*left_out, "close_night")))
        t = tables.run
        conn.execute(
            sa.update(t).where(t.c.centre == ctx.centre, t.c.run_no == ctx.run.run_no).values(state="closed", closed_at=clock.stamp())
        )
        return context.finish_step(conn, ctx.run, "close", {"run_no": ctx.run.run_no, "business_date": str(ctx.run.business_date)})
