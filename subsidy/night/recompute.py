"""Preview and recompute: today's rules and knowledge over everything, shown first.

Posted only when another person agreed (handbook section 6).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from datetime import date
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from subsidy import ENGINE_VERSION
from subsidy.errors import TerminalError
from subsidy.facts.store import Store
from subsidy.ledger import audit, tables
from subsidy.ledger.database import open_database
from subsidy.money import format_yuan
from subsidy.night import clock, compute, context, opening, posting, proving
from subsidy.night.context import Context, Run
from subsidy.policy import load_centre
from subsidy.settings import Settings

#: How many lines a preview lists one by one.
LISTED = 200


def preview(settings: Settings, centre: str, business_date: date) -> dict[str, Any]:
    """What a recompute on `business_date` would change. Writes nothing.

    Returns lines, loans, amount_fen, raised_fen, lowered_fen, `causes` (cause -> fen), `listed` (the first lines: agreement_no,
    serial_no, old_fen, new_fen) and `content_hash`, which an approval names."""
    return summary(posting.differences(_today(settings, centre, business_date)))


def summary(changes: pa.Table) -> dict[str, Any]:
    """Counts and sums of a preview table."""
    rows = changes.to_pylist()
    causes: dict[str, int] = defaultdict(int)
    for row in rows:
        causes["首次入账" if row["seq"] == 0 else "规则或参数更正"] += row["delta_fen"]
    told = [f"{r['agreement_no']}|{r['account_no']}|{r['serial_no']}|{r['old_fen']}|{r['new_fen']}" for r in rows]
    return {
        "lines": len(rows),
        "loans": len({r["agreement_no"] for r in rows}),
        "amount_fen": sum(r["delta_fen"] for r in rows),
        "raised_fen": sum(max(0, r["delta_fen"]) for r in rows),
        "lowered_fen": -sum(min(0, r["delta_fen"]) for r in rows),
        "causes": dict(sorted(causes.items())),
        "listed": [{k: r[k] for k in ("agreement_no", "serial_no", "old_fen", "new_fen")} for r in rows[:LISTED]],
        "content_hash": hashlib.sha256("\n".join(told).encode()).hexdigest(),
    }


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

    TerminalError ``RECOMPUTE-REASON`` without a reason, ``RECOMPUTE-APPROVAL`` without an approval of this very change by another person,
    ``RECOMPUTE-DATE`` when `business_date` is not the open business date."""
    shown = preview(settings, centre, business_date)
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
    db = open_database(settings)
    with db.read() as conn:
        open_date = opening.open_date(conn, centre)
    if open_date != business_date:
        raise TerminalError(
            "RECOMPUTE-DATE",
            f"重算只能记在当前营业日期 {open_date}，不能记在 {business_date}。",
            "没有改动任何数据。",
            f"把业务日期改为 {open_date} 后重新触发。",
        )
    run = opening.open_run(settings, centre, business_date, actor, "recompute", reason)
    ctx = context.load(settings, centre, run.run_no)
    with context.working(db, centre, f"重算 {business_date}") as token:
        compute.compute(ctx, token)
        checked = compute.check(ctx, token)
        if checked["differences"]:
            raise TerminalError(
                "RECOMPUTE-PROOF",
                f"重算结果有 {checked['differences']} 行与独立复算不一致。",
                "没有记账。",
                "查看异常清单；查明后重新触发。",
            )
        posted = posting.post(ctx, token)
        proving.verify(ctx, token)
        opening.close_run(ctx, token)
    with db.transaction_system() as conn:
        for given in approvals:
            audit.record(conn, centre, given["person"], "approve", f"recompute:{run.run_no}", reason, clock.stamp())
    return {"posted": posted["postings"], "amount_fen": shown["amount_fen"], "changed": True, "run_no": run.run_no}
