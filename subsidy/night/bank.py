"""Read what the banks answered, and clear a month over all centres."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict
from datetime import date
from typing import Any

import sqlalchemy as sa

from subsidy.clearing import overall, profiles, results, vouchers
from subsidy.errors import BusyError, TerminalError
from subsidy.ledger import tables
from subsidy.ledger.database import Database, open_database
from subsidy.night import context, moved, opening, reporting
from subsidy.policy import CentrePolicy, PolicyError, centre_names, load_centre
from subsidy.settings import Settings

#: Seconds that a clearing waits for another one to end.
PATIENCE_SECONDS = 60


def read_results(settings: Settings, centre: str, business_date: date, actor: str) -> dict[str, Any]:
    """Read the centre's result, movement and answer files under its lease, and write the vouchers of what they booked; the last opened run
    gives the policy. What an old task reads again became known on the open business date, not on its own earlier one. TerminalError
    ``BANK-DATE-FAR`` for a date that no night of the centre is near."""
    db = open_database(settings)
    with db.read() as conn:
        state = tables.centre_state
        opened = conn.execute(sa.select(state.c.open_business_date).where(state.c.centre == centre)).scalar_one_or_none()
        run_no = conn.execute(sa.select(sa.func.max(tables.run.c.run_no)).where(tables.run.c.centre == centre)).scalar_one_or_none()
        opening.refuse_far(conn, centre, business_date)
    if run_no is None:
        raise TerminalError("RESULT-NO-RUN", f"{centre} 还没有运行过。", "没有读取任何文件，银行文件留在原处。", "先运行该中心的夜间处理。")
    business_date = max(business_date, opened or business_date)
    ctx = context.load(settings, centre, int(run_no))
    with context.working(db, centre, f"{actor}：读取回盘 {business_date}") as token:
        outbound = profiles.load(ctx.rules, centre)
        counts = results.read_bank_files(db, token, settings, ctx.policy, business_date, ctx.run.run_no, outbound=outbound)
        vouchers.write_new(db, token, settings, ctx.policy, business_date=business_date, run_no=ctx.run.run_no, outbound=outbound)
    return counts if isinstance(counts, dict) else asdict(counts)


def clear_month(settings: Settings, period: str, whole: bool = False) -> dict[str, Any]:
    """Clear `period` over all centre folders, one clearing at a time, lest an older look at the ledger makes the newer version. A folder
    that cannot be loaded, and a centre that the program fails at, are named among the missing. TerminalError ``CLEAR-FAULT`` instead of
    leaving such a centre out when the clearing must be `whole`."""
    db = open_database(settings)
    policies, broken = _centres(settings)
    with ExitStack() as turn:
        token = _turn(turn, db, f"清算 {period}")
        done = overall.clear(db, settings, policies, period, broken=broken, whole=whole)
        workbook = reporting.write_clearing(db, settings, token, done, {policy.centre: policy.name for policy in policies})
    return {**asdict(done), "workbook": workbook}


def _centres(settings: Settings) -> tuple[list[CentrePolicy], list[str]]:
    """The policies of all centre folders, and the folders that cannot be loaded."""
    policies, broken = [], []
    for name in centre_names(settings.rules):
        try:
            policies.append(load_centre(settings.rules, name))
        except PolicyError:
            broken.append(name)
    return policies, broken


def _turn(turn: ExitStack, db: Database, what: str) -> int:
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return turn.enter_context(context.working(db, overall.CLEARING, what))
        except BusyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def clear_again(settings: Settings, centre: str) -> dict[str, Any]:
    """Clear each month again that was cleared before and for which something of `centre` was booked since: a result, a return, a late
    publication. The same content makes no new version; a kill on the way loses none. While a centre folder cannot be loaded, or a centre is
    locked after a restore, nothing is cleared, lest a version drops a centre that an earlier one had; the next call after that does. So is
    a month put off in which the program fails at a centre. Returns `cleared`, {period, version} of each new version, and when there are
    such months `uncleared`, what is said of them."""
    db = open_database(settings)
    with db.read() as conn:
        cleared = overall.cleared(conn)
        reached, old = moved.now(conn, centre), moved.mark(conn, centre, moved.CLEARED) or moved.Mark()
        behind = sorted(cleared & moved.booked(conn, centre, old, reached)) if cleared else []
        locked = overall.locked(conn, centre_names(settings.rules))
    if not cleared or reached == old or locked or _centres(settings)[1]:
        return {"cleared": []}
    done, put_off = [], []
    for period in behind:
        try:
            done.append(clear_month(settings, period, whole=True))
        except TerminalError as error:
            if error.message.code != "CLEAR-FAULT":
                raise
            put_off.append(str(error))
    new = [{"period": month["period"], "version": month["version"]} for month in done if month["changed"]]
    if put_off:
        return {"cleared": new, "uncleared": put_off}
    with context.working(db, centre, "更新月度清算") as token, db.transaction(centre, token) as conn:
        moved.remember(conn, centre, reached, moved.CLEARED)
    return {"cleared": new}
