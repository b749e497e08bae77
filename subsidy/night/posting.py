"""Post: what is payable by now less what has been posted, one correction per line that changes, with its causes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from subsidy.entitlement.engine import assess
from subsidy.facts.schema import Facts
from subsidy.ledger import postings
from subsidy.ledger.postings import RunRef
from subsidy.night import causes, context, isolate, line_store, manifest, register, touched
from subsidy.night.context import Context
from subsidy.night.isolate import Failure
from subsidy.night.touched import Group, Scope

#: The column that leads from a fact row to its loan, and the table that holds those of the loans; the first that a row has counts.
_LOANS = {"agreement_no": "agreement", "contract_no": "agreement", "account_no": "account"}


def run_ref(ctx: Context) -> RunRef:
    """The run as the ledger names it."""
    return RunRef(ctx.centre, ctx.run.run_no, ctx.run.business_date, ctx.run.policy_version)


def chart(ctx: Context) -> Any:
    """The chart of accounts in force on the run's business date."""
    return ctx.policy.settlement_on(ctx.run.business_date).accounts


def post(ctx: Context, token: int) -> dict[str, Any]:
    """The step `post`, one transaction for the night. Counts and sums as `PostingResult` gives them."""
    with ctx.db.read() as conn:
        done = context.step_result(conn, ctx.run, "post")
    if done is not None:
        return done
    sees = touched.scope(ctx, "compute", "check")
    with ctx.db.transaction(ctx.centre, token) as conn:
        result = postings.post(conn, run_ref(ctx), ctx.policy.scheme, chart(ctx), parts(ctx, conn, sees))
        register.add_findings(ctx.db, conn, ctx.run, "post", result.findings)
        return context.finish_step(conn, ctx.run, "post", result.as_counts())


def parts(ctx: Context, conn: Any, sees: Scope) -> Iterator[postings.Part]:
    """What the ledger needs, group by group: all lines of the touched agreements, their openings, and the causes of what moves."""
    for group in touched.groups(ctx, sees, facts_of=("agreement", "contract", "account", "opening")):
        lines = line_store.known_lines(ctx.store, sees.known, group.buckets)
        agreements = group.facts["agreement"]["agreement_no"].combine_chunks()
        lines = lines.filter(pc.is_in(lines["agreement_no"], value_set=agreements))
        moved = postings.preview(conn, ctx.centre, ctx.policy.scheme, lines, agreements, group.facts["opening"])
        moved = moved.filter(pc.greater(moved["seq"], 0))
        yield postings.Part(lines, agreements, group.facts["opening"], causes_of(ctx, sees, group, moved))


def causes_of(ctx: Context, sees: Scope, group: Group, moved: pa.Table) -> pa.Table:
    """Schema `causes.CAUSES`: why each already posted line changes."""
    if moved.num_rows == 0:
        return causes.CAUSES.empty_table()
    names = sorted(set(moved["agreement_no"].to_pylist()))
    contracts = causes.of_agreements(group.facts["agreement"], names)["contract_no"].combine_chunks()
    facts = manifest.only_contracts(
        manifest.facts_of(ctx.store, sees.before, ctx.run.business_date, group.buckets, sees.claimed), contracts
    )
    changed = _of_loans(touched.changed_facts(ctx, sees.facts_mine, group.buckets, whole=True), facts)
    earlier = [s for s in sees.before if s not in sees.mine]
    known = manifest.only_contracts(manifest.facts_of(ctx.store, earlier, ctx.run.business_date, group.buckets, sees.claimed), contracts)
    existing = {name: causes.keys_of(known[name], touched.FACT_KEYS[name]) for name in changed}
    arrived = causes.arrivals(facts, changed, existing)
    boundaries = sorted({f for a in names for f, _, _ in arrived.get(a, [])[:-1]})
    steps = (
        (
            file_no,
            manifest.only_contracts(
                manifest.facts_of(ctx.store, sees.before, ctx.run.business_date, group.buckets, sees.claimed, file_no), contracts
            ),
        )
        for file_no in boundaries
    )
    default = "claim" if any(a in sees.moved for a in names) else _upgraded(ctx)
    return causes.split(moved, arrived, steps, ctx.policy, default)


def _upgraded(ctx: Context) -> str:
    """The cause of what no fact explains: ``engine`` when the program is another one and rules and parameters are the same."""
    with ctx.db.read() as conn:
        before = register.previous_night(conn, ctx.run)
    same = before is not None and before["policy_version"] == ctx.run.policy_version
    return "engine" if same and before["engine_version"] != ctx.run.engine_version else "policy"


def _of_loans(changed: dict[str, pa.Table], facts: Facts) -> dict[str, pa.Table]:
    """The changed fact rows that lead to the loans of `facts`, as `causes.arrivals` follows them."""
    known = {name: facts[table][name].combine_chunks() for name, table in _LOANS.items()}
    kept = {}
    for table, rows in changed.items():
        name = next(name for name in _LOANS if name in rows.column_names)
        kept[table] = rows.filter(pc.is_in(rows[name], value_set=known[name]))
    return kept


def differences(ctx: Context, sees: Scope) -> tuple[pa.Table, list[Failure]]:
    """Schema of `postings.preview`: what assessing everything that the run sees, with its policy, would change in the ledger; nothing is
    written. Also the loans that the program fails at: they are left out."""
    sees = replace(sees, everything=True)
    found: list[pa.Table] = []
    failures: list[Failure] = []
    with ctx.db.read() as conn:
        for group in touched.groups(ctx, sees):
            done, failed = isolate.apart(lambda facts: (facts, assess(facts, ctx.policy).lines), group.facts)
            failures += failed
            isolate.stop_at_many(failures)
            for facts, lines in done:
                agreements = facts["agreement"]["agreement_no"].combine_chunks()
                found.append(postings.preview(conn, ctx.centre, ctx.policy.scheme, lines, agreements, facts["opening"]))
    return pa.concat_tables(found) if found else pa.table({}), failures
