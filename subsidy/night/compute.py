"""Compute: assess every touched agreement and store the lines that are new or came out differently; then compute them a second time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from subsidy import ENGINE_VERSION
from subsidy.entitlement.engine import assess
from subsidy.entitlement.lines import LINES, SHADOW, Assessment
from subsidy.entitlement.verification import REASONS as VERIFY_REASONS
from subsidy.entitlement.verification import verify_contracts
from subsidy.errors import Finding
from subsidy.facts import memory
from subsidy.facts.schema import Facts
from subsidy.facts.store import Segment, Store
from subsidy.ledger.postings import opening_findings
from subsidy.night import claims, context, helpers, isolate, line_store, manifest, register, second, touched
from subsidy.night.context import Context, Run
from subsidy.night.isolate import Failure
from subsidy.night.touched import Group, Scope
from subsidy.policy import CentrePolicy


def compute(ctx: Context, token: int) -> dict[str, Any]:
    """The step `compute`. Counts: agreements, lines, lines new, changed, withdrawn, findings.

    On a run that computed before, nothing is written: the lines are computed again from what the run knew and compared with what it
    stored; `rerun_differences` counts the segments that differ (a finding for a person, handbook section 6). Another engine than the
    run's has nothing to say about that and compares nothing.
    """
    with ctx.db.read() as conn:
        done = context.step_result(conn, ctx.run, "compute")
    if done is not None and ctx.run.engine_version != ENGINE_VERSION:
        return done
    if done is None:
        _record_claims(ctx, token)
    sees = touched.scope(ctx, "compute")
    counts: dict[str, int] = defaultdict(int)
    written: list[Segment] = []
    findings: list[Finding] = []
    failures: list[Failure] = []
    for group in touched.groups(ctx, sees):
        assessment, unverified, failed = _assessed(group, ctx)
        failures += failed
        isolate.stop_at_many(failures)
        agreements = group.facts["agreement"]["agreement_no"].combine_chunks()
        if failed:
            agreements = agreements.filter(pc.invert(pc.is_in(agreements, value_set=pa.array(isolate.numbers(failed)))))
        counts["agreements"] += len(agreements)
        old = line_store.known_lines(ctx.store, sees.before, group.buckets)
        old = old.filter(pc.is_in(old["agreement_no"], value_set=agreements))
        fresh, tally = line_store.difference(old, assessment.lines)
        for name, value in tally.items():
            counts[name] += value
        findings.extend(assessment.findings)
        findings.extend(opening_findings(old, assessment.lines))
        counts["unverified"] += len(unverified)
        findings.extend(unverified)
        written += line_store.write(ctx.store, ctx.run, "line", fresh)
        written += line_store.write(ctx.store, ctx.run, "shadow", line_store.with_buckets(assessment.shadow, group.facts))
    if done is not None:
        return _compared(ctx, token, done, _different(sees.mine, written))
    findings += isolate.findings(failures, "计算")
    result: dict[str, Any] = {**dict(sorted(counts.items())), "findings": len(findings), "everything": sees.everything}
    if failures:
        result["failed"] = isolate.numbers(failures)
    with ctx.db.transaction(ctx.centre, token) as conn:
        manifest.add(ctx.db, conn, ctx.run, written)
        register.add_findings(ctx.db, conn, ctx.run, "assess", findings)
        return context.finish_step(conn, ctx.run, "compute", result)


def _assessed(group: Group, ctx: Context) -> tuple[Assessment, list[Finding], list[Failure]]:
    """What the loans of a group are entitled to, their contracts that do not agree, and the loans that the program fails at."""

    def work(facts: Facts) -> tuple[Assessment, list[Finding]]:
        return assess(facts, ctx.policy), _unverified(facts, group, ctx)

    done, failures = isolate.apart(work, group.facts)
    if len(done) == 1:
        return *done[0], failures
    parts = [assessment for assessment, _ in done]
    whole = Assessment(
        pa.concat_tables([LINES.empty_table(), *(part.lines for part in parts)]),
        tuple(finding for part in parts for finding in part.findings),
        pa.concat_tables([SHADOW.empty_table(), *(part.shadow for part in parts)]),
    )
    return whole, [finding for _, unverified in done for finding in unverified], failures


def _unverified(facts: Facts, group: Group, ctx: Context) -> list[Finding]:
    """Contracts of `facts` that arrived or changed tonight, with their agreement or account, and do not agree with it (合同核定)."""
    named = [group.changed[name]["contract_no"].combine_chunks() for name in ("agreement", "contract", "account") if name in group.changed]
    if not named:
        return []
    checked = verify_contracts(manifest.only_contracts(facts, pc.unique(pa.concat_arrays(named))), ctx.policy)
    return [
        Finding(
            code="CONTRACT-UNVERIFIED",
            severity="warning",
            what=f"协议 {row['agreement_no']} 的借款合同核定未通过：{'；'.join(VERIFY_REASONS[code] for code in row['reasons'])}。",
            todo="贴息暂缓支付；请中心或银行更正协议、合同或账户后重新送来，核定通过后自动补付。",
            agreement_no=row["agreement_no"],
        )
        for row in checked.filter(pc.invert(checked["verified"])).to_pylist()
    ]


def _record_claims(ctx: Context, token: int) -> None:
    with ctx.db.read() as conn:
        if context.step_result(conn, ctx.run, "claims") is not None:
            return
    found: list[pa.Table] = []
    sees = touched.scope(ctx)
    if any(s.table_name in claims.MADE_OF for s in sees.mine):
        found = [claims.of_facts(ctx.settings.key, group.facts) for group in touched.groups(ctx, sees, claims.MADE_OF)]
    with ctx.db.transaction(ctx.centre, token) as conn:
        recorded = claims.record(ctx.db, conn, ctx.run, found)
        claims.pin(conn, ctx.run, claims.held(conn, ctx.centre, ctx.run.business_date), recorded)


def _compared(ctx: Context, token: int, done: dict[str, Any], differing: int) -> dict[str, Any]:
    if differing:
        found = Finding(
            code="RERUN-DIFFERS",
            severity="error",
            what=f"重跑 {ctx.run.business_date} 得到的明细与当夜存下的不同（{differing} 个数据段）。",
            todo="没有改动已记的账；交系统维护人员查明，需要更正时用“重算”。",
        )
        with ctx.db.transaction(ctx.centre, token) as conn:
            register.add_findings(ctx.db, conn, ctx.run, "assess", [found])
    return {**done, "rerun_differences": differing}


def _different(mine: Sequence[Segment], written: Iterable[Segment]) -> int:
    stored = {s.path: s.sha256 for s in mine if s.table_name in ("line", "shadow")}
    again = {s.path: s.sha256 for s in written}
    return sum(stored.get(path) != again.get(path) for path in stored.keys() | again.keys())


def check(ctx: Context, token: int) -> dict[str, Any]:
    """The step `check`: every line of the touched loans is computed a second time, independently. A difference is a finding
    ``PROOF-DIFFERS`` that names the line, and blocks settlement, in this run and in those that follow, until one checks that loan
    without any. A loan that the second computation fails at is set aside. Counts: checked, differences."""
    with ctx.db.read() as conn:
        done = context.step_result(conn, ctx.run, "check")
    if done is not None and (ctx.run.closed or not done["differences"]):
        return done
    sees = touched.scope(ctx, "compute")
    parts = [Part(ctx.store, ctx.run, ctx.policy, sees, buckets) for buckets in manifest.groups(sees.before)]
    checked, findings, failures = 0, list[Finding](), list[Failure]()
    for lines, found, bad in helpers.each(check_part, parts):
        checked += lines
        findings += found
        failures += bad
    isolate.stop_at_many(failures)
    with ctx.db.transaction(ctx.centre, token) as conn:
        register.add_findings(ctx.db, conn, ctx.run, "proof", findings)
        register.add_findings(ctx.db, conn, ctx.run, "assess", isolate.findings(failures, "独立复算"))
        result: dict[str, Any] = {"checked": checked, "differences": len(findings)}
        failed = {*isolate.numbers(failures), *(done or {}).get("failed", ())}  # of what was set aside once, nothing is posted tonight
        if failed:
            result["failed"] = sorted(failed)
        if done is not None:
            return context.replace_step(conn, ctx.run, "check", result)
        return context.finish_step(conn, ctx.run, "check", result)


@dataclass(frozen=True)
class Part:
    """A bucket group to be computed a second time, with all that a helper needs for it: no key and no database."""

    store: Store
    run: Run
    policy: CentrePolicy
    sees: Scope
    buckets: range


def check_part(part: Part) -> tuple[int, list[Finding], list[Failure]]:
    """How many lines the touched loans of a part have, where they differ from the second computation, and which loans that fails at."""
    checked, findings, failures = 0, list[Finding](), list[Failure]()
    for group in touched.groups(part, part.sees, among=[part.buckets]):
        lines = line_store.known_lines(part.store, part.sees.known, group.buckets)

        def work(facts: Facts, lines: pa.Table = lines) -> tuple[int, list[Finding]]:
            mine = lines.filter(pc.is_in(lines["agreement_no"], value_set=facts["agreement"]["agreement_no"].combine_chunks()))
            return mine.num_rows, second.compare(facts, mine, part.policy)

        done, failed = isolate.apart(work, group.facts)
        checked += sum(count for count, _ in done)
        findings += [finding for _, found in done for finding in found]
        failures += failed
        isolate.stop_at_many(failures)
        memory.give_back()
    return checked, findings, failures
