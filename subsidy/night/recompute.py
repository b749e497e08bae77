"""Preview and recompute: today's rules and knowledge over everything, shown first.

Posted only when another person agreed (handbook section 6).
"""

from __future__ import annotations

import hashlib
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from subsidy import ENGINE_VERSION
from subsidy.entitlement.lines import LINE_KEY
from subsidy.errors import TerminalError
from subsidy.facts.store import Store
from subsidy.ledger import audit, postings, tables
from subsidy.ledger.database import open_database
from subsidy.money import format_yuan
from subsidy.night import causes, clock, compute, context, isolate, opening, posting, proving, register, touched, upgrade
from subsidy.night.context import Context, Run
from subsidy.policy import load_centre
from subsidy.settings import Settings

#: How many lines a preview lists one by one.
LISTED = 200


def preview(settings: Settings, centre: str, business_date: date) -> dict[str, Any]:
    """What a recompute on `business_date` would change. Writes nothing.

    Returns lines, loans, amount_fen, raised_fen, lowered_fen, `causes` (cause -> fen), `listed` (the first lines: agreement_no,
    serial_no, old_fen, new_fen, cause) and `content_hash`, which an approval names; `failed`: agreements that the program
    fails at, which stay as they are."""
    ctx = _today(settings, centre, business_date)
    changes, failures = posting.differences(ctx, touched.scope(ctx))
    return summary(changes, _why(ctx)) | {"failed": isolate.numbers(failures)}


#: Cause of a line that is payable for the first time.
FIRST = "首次入账"


def summary(changes: pa.Table, why: str) -> dict[str, Any]:
    """Counts and sums of a preview table (schema of `postings.preview`). `why`: the cause of lines that were posted before."""
    if changes.num_rows == 0:
        changes = postings.CHANGES.empty_table()
    delta = changes["delta_fen"]
    cause = pc.if_else(pc.equal(changes["seq"], 0), FIRST, why)
    by_cause = pa.table({"cause": cause, "fen": delta}).group_by("cause", use_threads=False).aggregate([("fen", "sum")])
    told = pc.binary_join_element_wise(
        *(changes[name] for name in LINE_KEY), changes["old_fen"].cast(pa.string()), changes["new_fen"].cast(pa.string()), "|"
    )
    digest = hashlib.sha256()
    for chunk in told.chunks:
        for row in chunk.to_pylist():
            digest.update(f"{row}\n".encode())
    first = changes.select(["agreement_no", "serial_no", "old_fen", "new_fen"]).append_column("cause", cause).slice(0, LISTED)
    return {
        "lines": changes.num_rows,
        "loans": len(pc.unique(changes["agreement_no"])),
        "amount_fen": _sum(delta),
        "raised_fen": _sum(pc.max_element_wise(delta, 0)),
        "lowered_fen": -_sum(pc.min_element_wise(delta, 0)),
        "causes": dict(sorted((row["cause"], row["fen_sum"]) for row in by_cause.to_pylist())),
        "listed": first.to_pylist(),
        "content_hash": digest.hexdigest(),
    }


def _sum(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)


def _why(ctx: Context) -> str:
    """Why lines that were posted come out differently today: what changed since the last closed run."""
    with ctx.db.read() as conn:
        before = register.previous_night(conn, ctx.run)
    if before is None:
        return CAUSES["fact"]
    changed = [
        name
        for name, then, now in (
            ("policy", before["policy_version"], ctx.run.policy_version),
            ("engine", before["engine_version"], ctx.run.engine_version),
        )
        if then != now
    ]
    return "、".join(CAUSES[name] for name in changed or ["fact"])


#: What people read as the cause of a difference.
CAUSES = {**{name: causes.TEXTS[name] for name in ("policy", "engine")}, "fact": "资料变动"}


def _today(settings: Settings, centre: str, business_date: date) -> Context:
    """A context over today's policy and all that is known by `business_date`, without a run in the database."""
    db = open_database(settings)
    policy = load_centre(settings.rules, centre)
    with db.read() as conn:
        newest = conn.execute(sa.select(sa.func.max(tables.run.c.run_no)).where(tables.run.c.centre == centre)).scalar_one_or_none()
    run = Run(centre, int(newest or 0) + 1, business_date, "recompute", policy.version, ENGINE_VERSION, 0, "running")
    return Context(settings, db, Store(settings.store_url), run, policy, settings.rules)


def recompute(
    settings: Settings, centre: str, business_date: date, actor: str, reason: str, approvals: list[dict[str, str]]
) -> dict[str, Any]:
    """Post what today's policy and knowledge change, on the open business date. The same call again finds nothing left to change.

    A recompute that was interrupted after it had been approved is finished first, with the rules it pinned: nights wait for it.
    TerminalError ``RECOMPUTE-REASON`` without a reason, ``RECOMPUTE-APPROVAL`` without an approval of this very change by another person,
    ``RECOMPUTE-DATE`` when `business_date` is not the open business date."""
    db = open_database(settings)
    with db.read() as conn:
        begun = opening.unfinished_recompute(conn, centre)
    if begun is not None:
        return _carry_out(settings, begun)
    today = _today(settings, centre, business_date)
    sees = touched.scope(today)
    shown = summary(posting.differences(today, sees)[0], _why(today))
    if shown["lines"] == 0:
        return {"posted": 0, "amount_fen": 0, "changed": False}
    if not reason.strip():
        raise TerminalError("RECOMPUTE-REASON", "重算会改变金额，但没有写原因。", "没有改动任何数据。", "填写原因后重新触发重算。")
    if not any(a["answer"] == "approve" and a["person"] != actor and a["content_hash"] == shown["content_hash"] for a in approvals):
        raise TerminalError(
            "RECOMPUTE-APPROVAL",
            f"重算会改变 {shown['loans']} 笔贷款共 {format_yuan(shown['amount_fen'])} 元，没有另一人对这一结果的批准。",
            "没有改动任何数据。",
            "由没有发起本次重算的人在 Airflow 中查看并批准；结果若已变化需重新批准。",
        )
    with db.read() as conn:
        open_date = opening.open_date(conn, centre)
    if open_date != business_date:
        raise TerminalError(
            "RECOMPUTE-DATE",
            f"重算只能记在当前营业日期 {open_date}，不能记在 {business_date}。",
            "没有改动任何数据。",
            f"把业务日期改为 {open_date} 后重新触发。",
        )
    version = today.run.policy_version
    run = opening.open_run(settings, centre, business_date, actor, "recompute", reason, policy_version=version, claimed=sees.claimed)
    with db.transaction_system() as conn:
        for given in approvals:
            audit.record(conn, centre, given["person"], "approve", f"recompute:{run.run_no}", reason, clock.stamp())
    return _carry_out(settings, run)


def _prove(ctx: Context, token: int) -> None:
    compute.compute(upgrade.pinned(ctx, token), token)
    checked = compute.check(ctx, token)
    if checked["differences"]:
        raise TerminalError(
            "RECOMPUTE-PROOF",
            f"重算结果有 {checked['differences']} 行与独立复算不一致。",
            "本次重算作废，没有记账；夜间处理照常。",
            f"在 {ctx.run.business_date} 的“当夜”页面看异常清单，交系统维护人员查明；改正后重新预演、重算。",
        )


def _carry_out(settings: Settings, run: Run) -> dict[str, Any]:
    """The steps of an opened recompute; those that are done are not done again. One that cannot be proved is given up: no night waits for
    what may never be posted."""
    ctx = context.load(settings, run.centre, run.run_no)
    with context.working(ctx.db, run.centre, f"重算 {run.business_date}") as token:
        try:
            _prove(ctx, token)
        except TerminalError:
            opening.give_up(ctx, token)
            raise
        posted = posting.post(ctx, token)
        proving.verify(ctx, token)
        opening.close_run(ctx, token)
    amount_fen = posted["raised_fen"] - posted["lowered_fen"]
    return {"posted": posted["postings"], "amount_fen": amount_fen, "changed": True, "run_no": run.run_no}
