"""The same contract, or the same house, under two live agreements: found by keyed fingerprint, also across centres (handbook section 5).

A centre sees its own claims up to and including its night and other centres' claims from earlier nights only, so that the order
in which centres run on one night changes nothing. A centre may run a night late: what a run found is therefore kept with the run, every
step of it reads that, and a claim that came too late for one run is news to the next.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Sequence
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.facts.schema import Facts
from subsidy.ledger import tables
from subsidy.ledger.bulk import among
from subsidy.ledger.database import Database
from subsidy.night import context
from subsidy.night.context import Run

#: Fact tables that claims are made of.
MADE_OF = ("agreement", "contract", "account", "change")
#: How many claims are compared with the stored ones at a time.
CHUNK = 20_000


def fingerprint(key: str, kind: str, *parts: str) -> str:
    """Keyed fingerprint (HMAC-SHA-256, 32 hex digits) of an identifier; never a bare hash."""
    return hmac.digest(key.encode(), "\x1f".join((kind, *parts)).encode(), hashlib.sha256).hex()[:32]


def of_facts(key: str, facts: Facts) -> pa.Table:
    """The claims of every agreement that has a contract: agreement_no, kind, fingerprint, live. An agreement is live until a change of
    kind stop or convert is known, or its account is settled."""
    agreement = facts["agreement"].select(["agreement_no", "contract_no"])
    contract = facts["contract"].select(["contract_no", "bank_code", "house_contract_no"])
    joined = agreement.join(contract, "contract_no", join_type="inner").sort_by([("agreement_no", "ascending")]).combine_chunks()
    change, account = facts["change"], facts["account"]
    ended = change.filter(pc.is_in(change["kind"], value_set=pa.array(["stop", "convert"])))["agreement_no"]
    closed = account.filter(pc.is_valid(account["settled_on"]))["contract_no"]
    over = pc.or_(
        pc.is_in(joined["agreement_no"], value_set=ended.combine_chunks()),
        pc.is_in(joined["contract_no"], value_set=closed.combine_chunks()),
    )
    joined = joined.append_column("live", pc.invert(over))
    banks, contracts = joined["bank_code"].to_pylist(), joined["contract_no"].to_pylist()
    housed = joined.filter(pc.not_equal(pc.fill_null(joined["house_contract_no"], ""), ""))
    return pa.concat_tables(
        [
            _claims(joined, "contract", [fingerprint(key, "contract", *pair) for pair in zip(banks, contracts, strict=True)]),
            _claims(housed, "house", [fingerprint(key, "house", house) for house in housed["house_contract_no"].to_pylist()]),
        ]
    )


def _claims(rows: pa.Table, kind: str, fingerprints: list[str]) -> pa.Table:
    return pa.table(
        {
            "agreement_no": rows["agreement_no"],
            "kind": pa.repeat(kind, rows.num_rows),
            "fingerprint": pa.array(fingerprints, pa.string()),
            "live": rows["live"],
        }
    )


def record(db: Database, conn: Connection, run: Run, found: Sequence[pa.Table]) -> int:
    """Store what is new or changed among `found` (tables of `of_facts`); returns how many rows were written."""
    written = 0
    for table in found:
        for start in range(0, table.num_rows, CHUNK):
            part = table.slice(start, CHUNK)
            known = _latest(conn, run, part["agreement_no"])
            rows = zip(*(part[name].to_pylist() for name in ("agreement_no", "kind", "fingerprint", "live")), strict=True)
            fresh = part.filter(pa.array([known.get((a, k)) != (f, live) for a, k, f, live in rows]))
            whole = {"centre": run.centre, "known_on": run.business_date}
            for name, value in whole.items():
                fresh = fresh.append_column(name, pa.repeat(pa.scalar(value), fresh.num_rows))
            written += db.bulk_insert(conn, tables.claim, fresh)
    return written


def _latest(conn: Connection, run: Run, agreement_nos: pa.ChunkedArray) -> dict[tuple[str, str], tuple[str, bool]]:
    t = tables.claim
    rows = conn.execute(
        sa.select(t.c.agreement_no, t.c.kind, t.c.fingerprint, t.c.live)
        .where(t.c.centre == run.centre, t.c.known_on <= run.business_date, among(conn, t.c.agreement_no, agreement_nos))
        .order_by(t.c.known_on)
    )
    return {(r[0], r[1]): (r[2], bool(r[3])) for r in rows}


def pin(conn: Connection, run: Run, claimed: frozenset[str], recorded: int = 0) -> None:
    """Keep with a run which agreements it holds for a claim of another agreement; `recorded`: how many rows of its own it wrote."""
    context.finish_step(conn, run, "claims", {"claims": recorded, "held": sorted(claimed)})


def seen(conn: Connection, run: Run) -> frozenset[str]:
    """The agreements that a run holds for a claim of another agreement: those it pinned, before that what is found now."""
    kept = (context.step_result(conn, run, "claims") or {}).get("held")
    return held(conn, run.centre, run.business_date) if kept is None else frozenset(kept)


def held(conn: Connection, centre: str, day: date) -> frozenset[str]:
    """Agreements of `centre` that share a live fingerprint with another live agreement, as known in the night of `day`."""
    t = tables.claim
    visible = sa.or_(sa.and_(t.c.centre == centre, t.c.known_on <= day), sa.and_(t.c.centre != centre, t.c.known_on < day))
    owner = t.c.centre + "\x1f" + t.c.agreement_no
    # Few fingerprints were ever claimed by two agreements: only the histories of those are looked at.
    again = sa.select(t.c.fingerprint).group_by(t.c.fingerprint).having(sa.func.count() > 1)  # counted in the index alone
    shared = sa.select(t.c.fingerprint).where(t.c.fingerprint.in_(again)).group_by(t.c.fingerprint)
    shared = shared.having(sa.func.min(owner) != sa.func.max(owner))
    claimants = sa.select(t.c.centre, t.c.agreement_no).where(t.c.fingerprint.in_(shared)).distinct().subquery()
    rows = conn.execute(
        sa.select(t.c.centre, t.c.agreement_no, t.c.kind, t.c.fingerprint, t.c.live)
        .join(claimants, sa.and_(t.c.centre == claimants.c.centre, t.c.agreement_no == claimants.c.agreement_no))
        .where(visible)
        .order_by(t.c.known_on)
    )
    now = {(c, a, kind): (print_, bool(live)) for c, a, kind, print_, live in rows}
    claimed = defaultdict[tuple[str, str], list[tuple[str, str]]](list)
    for (c, a, kind), (print_, live) in now.items():
        if live:
            claimed[kind, print_].append((c, a))
    return frozenset(a for owners in claimed.values() if len(owners) > 1 for c, a in owners if c == centre)
