"""The same contract, or the same house, under two live agreements: found by keyed fingerprint, also across centres (handbook section 5).

A centre sees its own claims up to and including its night and other centres' claims from earlier nights only, so that the order
in which centres run on one night changes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.facts.schema import Facts
from subsidy.ledger import tables
from subsidy.ledger.database import Database
from subsidy.night.context import Run

#: How many agreements one look-up of stored claims names.
CHUNK = 500


def fingerprint(key: str, kind: str, *parts: str) -> str:
    """Keyed fingerprint (HMAC-SHA-256, 32 hex digits) of an identifier; never a bare hash."""
    return hmac.new(key.encode(), "\x1f".join((kind, *parts)).encode(), hashlib.sha256).hexdigest()[:32]


def of_facts(key: str, facts: Facts) -> list[tuple[str, str, str, bool]]:
    """(agreement_no, kind, fingerprint, live) of every agreement that has a contract. An agreement is live until a change of
    kind stop or convert is known, or its account is settled."""
    agreement = facts["agreement"].select(["agreement_no", "contract_no"])
    contract = facts["contract"].select(["contract_no", "bank_code", "house_contract_no"])
    joined = agreement.join(contract, "contract_no", join_type="inner").sort_by([("agreement_no", "ascending")])
    change = facts["change"]
    ended = set(change.filter(pc.is_in(change["kind"], value_set=pa.array(["stop", "convert"])))["agreement_no"].to_pylist())
    account = facts["account"]
    closed = set(account.filter(pc.is_valid(account["settled_on"]))["contract_no"].to_pylist())
    found = []
    for row in joined.to_pylist():
        live = row["agreement_no"] not in ended and row["contract_no"] not in closed
        found.append((row["agreement_no"], "contract", fingerprint(key, "contract", row["bank_code"], row["contract_no"]), live))
        if row["house_contract_no"]:
            found.append((row["agreement_no"], "house", fingerprint(key, "house", row["house_contract_no"]), live))
    return found


def record(db: Database, conn: Connection, run: Run, found: list[tuple[str, str, str, bool]]) -> int:
    """Store what is new or changed among `found`; returns how many rows were written."""
    fresh: list[dict[str, object]] = []
    for start in range(0, len(found), CHUNK):
        part = found[start : start + CHUNK]
        known = _latest(conn, run, sorted({a for a, _, _, _ in part}))
        fresh.extend(
            {"centre": run.centre, "agreement_no": a, "kind": k, "known_on": run.business_date, "fingerprint": f, "live": live}
            for a, k, f, live in part
            if known.get((a, k)) != (f, live)
        )
    db.bulk_insert(conn, tables.claim, fresh)
    return len(fresh)


def _latest(conn: Connection, run: Run, agreement_nos: list[str]) -> dict[tuple[str, str], tuple[str, bool]]:
    t = tables.claim
    rows = conn.execute(
        sa.select(t.c.agreement_no, t.c.kind, t.c.fingerprint, t.c.live)
        .where(t.c.centre == run.centre, t.c.known_on <= run.business_date, t.c.agreement_no.in_(agreement_nos))
        .order_by(t.c.known_on)
    )
    return {(r[0], r[1]): (r[2], bool(r[3])) for r in rows}


def held(conn: Connection, centre: str, day: date) -> frozenset[str]:
    """Agreements of `centre` that share a live fingerprint with another live agreement, as known in the night of `day`."""
    t = tables.claim
    visible = sa.or_(sa.and_(t.c.centre == centre, t.c.known_on <= day), sa.and_(t.c.centre != centre, t.c.known_on < day))
    key = (t.c.centre, t.c.agreement_no, t.c.kind)
    newest = sa.select(*key, sa.func.max(t.c.known_on).label("known_on")).where(visible).group_by(*key).subquery()
    same = [t.c[name] == newest.c[name] for name in ("centre", "agreement_no", "kind", "known_on")]
    live = sa.select(*key, t.c.fingerprint).join(newest, sa.and_(*same)).where(t.c.live).subquery()
    shared = sa.select(live.c.kind, live.c.fingerprint).group_by(live.c.kind, live.c.fingerprint).having(sa.func.count() > 1).subquery()
    rows = conn.execute(
        sa.select(live.c.agreement_no)
        .join(shared, sa.and_(live.c.kind == shared.c.kind, live.c.fingerprint == shared.c.fingerprint))
        .where(live.c.centre == centre)
    )
    return frozenset(r[0] for r in rows)
