"""Which loans a run works on: those that something touched since the run before, and those that it could not prove, bucket group by bucket
group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import Connection

from subsidy.facts.schema import TABLES, Facts
from subsidy.facts.store import Segment, Store
from subsidy.night import claims, context, line_store, manifest, register
from subsidy.night.context import Context, Run

#: Which column of a fact table leads to the loan it is about.
LEADS_TO = {
    "agreement": "contract_no",
    "contract": "contract_no",
    "account": "contract_no",
    "opening": "agreement_no",
    "change": "agreement_no",
    "transaction": "account_no",
    "overdue": "account_no",
    "status": "account_no",
    "other_subsidy": "account_no",
}

FACT_KEYS = {name: table.key for name, table in TABLES.items()}


class Reads(Protocol):
    """What the loans of a run are read with; a context has it."""

    @property
    def store(self) -> Store: ...
    @property
    def run(self) -> Run: ...


@dataclass(frozen=True)
class Group:
    """The touched loans of some buckets: their facts as known tonight, and per table what led to them: column `LEADS_TO` of the fact rows
    that arrived tonight."""

    number: int
    buckets: range
    facts: Facts
    changed: dict[str, pa.Table]


@dataclass(frozen=True)
class Scope:
    """What a run sees. `known`: all segments through its business date; `mine`: those it wrote itself; `everything`: every
    agreement is assessed (policy changed, or a recompute); `claimed`: agreements that it holds for a claim of another; `moved`: those of
    which the run before thought otherwise; `doubted`: those that the run before could not prove; `failed`: those that this run
    set aside (`isolate`)."""

    known: Sequence[Segment]
    mine: Sequence[Segment]
    everything: bool
    claimed: frozenset[str]
    moved: frozenset[str]
    doubted: frozenset[str]
    failed: frozenset[str]

    @property
    def facts_mine(self) -> list[Segment]:
        return [s for s in self.mine if s.table_name in LEADS_TO]

    @property
    def before(self) -> list[Segment]:
        """All that was known when the run computed: facts of tonight, but lines of earlier runs only."""
        own = {s.path for s in self.mine if s.table_name in ("line", "shadow")}
        return [s for s in self.known if s.path not in own]


def failed(conn: Connection, run: Run, *steps: str) -> frozenset[str]:
    """Agreements that some steps of a run set aside."""
    return frozenset(number for step in steps for number in (context.step_result(conn, run, step) or {}).get("failed", ()))


def scope(ctx: Context, *after: str) -> Scope:
    """What the run sees, by the manifest and the claims that it pinned, without what the steps `after` set aside."""
    with ctx.db.read() as conn:
        through = ctx.run.business_date
        known = manifest.segments(conn, ctx.centre, through, through_run=ctx.run.run_no)
        mine = manifest.segments(conn, ctx.centre, through, run_no=ctx.run.run_no)
        before = register.previous_night(conn, ctx.run)
        claimed = claims.seen(conn, ctx.run)
        earlier = frozenset() if before is None else claims.seen(conn, context.run_of(before))
        doubted = frozenset() if before is None else register.doubted(conn, ctx.centre, int(before["run_no"]))
        set_aside = failed(conn, ctx.run, *after)
        everything = ctx.run.mode == "recompute" or register.policy_changed(conn, ctx.run)
    return Scope(known, mine, everything, claimed, claimed ^ earlier, doubted, set_aside)


def groups(
    ctx: Reads,
    sees: Scope,
    names: Sequence[str] = tuple(TABLES),
    among: Iterable[range] | None = None,
    facts_of: Sequence[str] = (),
) -> Iterator[Group]:
    """The loans that something in the tables `names` touched, group by group, with the facts of the tables `facts_of` (default: the
    same; agreement, contract and account among them); groups without any are left out. `among`: the groups of buckets; None means all."""
    for number, buckets in enumerate(manifest.groups(sees.before) if among is None else among):
        facts = manifest.facts_of(ctx.store, sees.before, ctx.run.business_date, buckets, sees.claimed, names=facts_of or names)
        changed = changed_facts(ctx, [s for s in sees.facts_mine if s.table_name in names], buckets)
        if sees.failed:
            facts = manifest.only_contracts(facts, _without(facts, sees.failed))
        if not sees.everything:
            facts = manifest.only_contracts(facts, _contracts(facts, changed, sees.moved | sees.doubted))
        if facts["agreement"].num_rows:
            yield Group(number, buckets, facts, changed)


def changed_facts(ctx: Reads, mine: Sequence[Segment], buckets: range, whole: bool = False) -> dict[str, pa.Table]:
    """The rows, withdrawals included, that a run's fact segments hold for some buckets, per table: column `LEADS_TO`, or the whole row."""
    found = {}
    for name in LEADS_TO:
        own = [s for s in mine if s.table_name == name]
        if own:
            found[name] = line_store.rows_of(ctx.store, own, buckets, None if whole else [LEADS_TO[name]])
    return found


def _without(facts: Facts, failed: frozenset[str]) -> pa.Array:
    """The contracts of all agreements but those that share one with an agreement that was set aside."""
    agreement = facts["agreement"]
    bad = agreement.filter(pc.is_in(agreement["agreement_no"], value_set=pa.array(sorted(failed), pa.string())))["contract_no"]
    contracts = pc.unique(agreement["contract_no"].combine_chunks())
    return contracts.filter(pc.invert(pc.is_in(contracts, value_set=bad.combine_chunks())))


def _contracts(facts: Facts, changed: dict[str, pa.Table], named: frozenset[str]) -> pa.Array:
    by_agreement = facts["agreement"].select(["agreement_no", "contract_no"])
    by_account = facts["account"].select(["account_no", "contract_no"])
    found = [by_agreement.filter(pc.is_in(by_agreement["agreement_no"], value_set=pa.array(sorted(named), pa.string())))["contract_no"]]
    for name, rows in changed.items():
        column = LEADS_TO[name]
        if column == "contract_no":
            found.append(rows[column])
        else:
            source = by_agreement if column == "agreement_no" else by_account
            found.append(source.filter(pc.is_in(source[column], value_set=rows[column].combine_chunks()))["contract_no"])
    return pc.unique(pa.chunked_array([chunk for column in found for chunk in column.chunks], pa.string()))
