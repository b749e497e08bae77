"""Verify: prove the invariants over what the run touched and a rolling part of the rest (handbook section 8), and the chain of human
acts the same way."""

from __future__ import annotations

from typing import Any

from subsidy.ledger import verify as proofs
from subsidy.night import context, register
from subsidy.night.context import Context


def verify(ctx: Context, token: int) -> dict[str, Any]:
    """The step `verify`. A broken invariant is a finding and blocks settlement, in this run and in those that follow: as long as the run
    before left one broken, everything is proved. Counts: broken."""
    with ctx.db.read() as conn:
        done = context.step_result(conn, ctx.run, "verify")
        before = register.previous_night(conn, ctx.run)
        left = None if before is None else context.step_result(conn, context.run_of(before), "verify")
    if done is not None and (ctx.run.closed or not done["broken"]):
        return done
    if left is not None and left["broken"]:
        found = proofs.verify(ctx.db, ctx.centre) + proofs.verify_audit(ctx.db)
    else:
        found = proofs.verify(ctx.db, ctx.centre, run_no=ctx.run.run_no)
        found += proofs.verify_audit(ctx.db, proofs.ROLLING_ACTS, ctx.run.business_date.toordinal())
    result = {"broken": len(found)}
    with ctx.db.transaction(ctx.centre, token) as conn:
        register.add_findings(ctx.db, conn, ctx.run, "verify", found)
        if done is not None:
            return context.replace_step(conn, ctx.run, "verify", result)
        return context.finish_step(conn, ctx.run, "verify", result)
