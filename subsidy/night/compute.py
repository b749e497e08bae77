"""Compute: assess every touched agreement and store the lines that are new or came out differently; then compute them a second time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow.compute as pc

from subsidy.entitlement.engine import assess
from subsidy.errors import Finding
from subsidy.facts.store import Segment
from subsidy.night import claims, context, line_store, manifest, register, second, touched
from subsidy.night.context import Context


def compute(ctx: Context, token: int) -> dict[str, Any]:
    """The step `compute`. Counts: agreements, lines, lines new, changed, withdrawn, findings.

    On a run that computed before, nothing is written: the lines are computed again from what the run knew and compared with what it
    stored; `rerun_differences` counts the segments that differ (a finding for a person, handbook section 6).
    """
    with ctx.db.read() as conn:
        done = context.step_result(conn, ctx.run, "compute")
    if done is None:
        _record_claims(ctx, token)
    sees = touched.scope(ctx)
    counts: dict[str, int] = defaultdict(int)
    written: list[Segment] = []
    findings: list[Finding] = []
    for group in touched.groups(ctx, sees):
        assessment = assess(group.facts, ctx.policy)
        agreements = group.facts["agreement"]["agreement_no"].combine_chunks()
        counts["agreements"] += len(agreements)
        old = line_store.known_lines(ctx.store, sees.before, group.buckets)
        fresh, tally = line_store.difference(old.filter(pc.is_in(old["agreement_no"], value_set=agreements)), assessment.lines)
        for name, value in tally.items():
            counts[name] += value
        findings.extend(assessment.findings)
        written += line_store.write(ctx.store, ctx.run, "line", fresh)
        written += line_store.write(ctx.store, ctx.run, "shadow", line_store.with_buckets(assessment.shadow, group.facts))
    if done is not None:
        return {**done, "rerun_differences": _different(sees.mine, written)}
    with ctx.db.transaction(ctx.centre, token) as conn:
        manifest.add(ctx.db, conn, ctx.run, written)
        register.add_findings(ctx.db, conn, ctx.run, "assess", findings)
        return context.finish_step(
            conn, ctx.run, "compute", {**dict(sorted(counts.items())), "findings": len(findings), "everything": sees.everything}
        )


def _record_claims(ctx: Context, token: int) -> None:
    with ctx.db.read() as conn:
        if context.step_result(conn, ctx.run, "claims") is not None:
            return
    found: list[tuple[str, str, str, bool]] = []
    sees = touched.scope(ctx)
    if any(s.table_name in ("agreement", "contract", "account", "change") for s in sees.mine):
        for group in touched.groups(ctx, sees):
            found += claims.of_facts(ctx.settings.key, group.facts)
    with ctx.db.transaction(ctx.centre, token) as conn:
        context.finish_step(conn, ctx.run, "claims", {"claims": claims.record(ctx.db, conn, ctx.run, found)})


def _different(mine: Sequence[Segment], written: Iterable[Segment]) -> int:
    stored = {s.path: s.sha256 for s in mine if s.table_name in ("line", "shadow")}
    again = {s.path: s.sha256 for s in written}
    return sum(stored.get(path) != again.get(path) for path in stored.keys() | again.keys())


def check(ctx: Context, token: int) -> dict[str, Any]:
    """The step `check`: every line of the touched loans is computed a second time, independently. A difference is a finding
    ``PROOF-DIFFERS`` that names the line, and blocks settlement. Counts: checked, differences."""
    with ctx.db.read() as conn:
        done = context.step_result(conn, ctx.run, "check")
    if done is not None:
        return done
    sees = touched.scope(ctx)
    checked, findings = 0, list[Finding]()
    for group in touched.groups(ctx, sees):
        lines = line_store.known_lines(ctx.store, sees.known, group.buckets)
        lines = lines.filter(pc.is_in(lines["agreement_no"], value_set=group.facts["agreement"]["agreement_no"].combine_chunks()))
        checked += lines.num_rows
        findings += second.compare(group.facts, lines, ctx.policy)
    with ctx.db.transaction(ctx.centre, token) as conn:
        register.add_findings(ctx.db, conn, ctx.run, "proof", findings)
        return context.finish_step(conn, ctx.run, "check", {"checked": checked, "differences": len(findings)})
