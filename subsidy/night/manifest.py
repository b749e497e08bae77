"""The manifest of write-once columnar files, between table `segment` and the store."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.facts import memory
from subsidy.facts.schema import BUCKETS, TABLES, Facts
from subsidy.facts.store import Segment, Store
from subsidy.facts.view import load
from subsidy.ledger import tables
from subsidy.ledger.database import Database
from subsidy.night.context import Run

#: Rows of all fact tables that one bucket group may hold; decides memory, never a result.
GROUP_ROWS = 400_000
#: A transaction weighs as much as so many other rows: a line comes of it, and is compared, posted and shown.
TRANSACTION_WEIGHS = 3


def segments(conn: Connection, centre: str, through: date, run_no: int | None = None, through_run: int | None = None) -> list[Segment]:
    """Segments of `centre` known on or before `through`, in the order they were written; only those of `run_no`, or of runs up to
    `through_run`, when given. What a failed run wrote counts for nobody."""
    t, r = tables.segment, tables.run
    failed = sa.select(r.c.run_no).where(r.c.centre == centre, r.c.state == "failed")
    query = sa.select(t).where(t.c.centre == centre, t.c.known_on <= through, t.c.run_no.not_in(failed)).order_by(t.c.segment_no)
    if run_no is not None:
        query = query.where(t.c.run_no == run_no)
    if through_run is not None:
        query = query.where(t.c.run_no <= through_run)
    return [
        Segment(r["table_name"], r["known_on"], int(r["file_no"]), r["path"], int(r["rows"]), r["sha256"])
        for r in conn.execute(query).mappings()
    ]


def add(db: Database, conn: Connection, run: Run, written: Sequence[Segment]) -> None:
    """List newly written segments, in the transaction of their effects."""
    if not written:
        return
    first = db.next_numbers(conn, run.centre, "segment", len(written))
    db.bulk_insert(
        conn,
        tables.segment,
        [
            {
                "centre": run.centre,
                "segment_no": first + i,
                "table_name": s.table_name,
                "run_no": run.run_no,
                "known_on": s.known_on,
                "file_no": s.file_no,
                "path": s.path,
                "rows": s.rows,
                "sha256": s.sha256,
            }
            for i, s in enumerate(written)
        ],
    )


def groups(known: Sequence[Segment]) -> Iterator[range]:
    """Ranges of buckets that together cover all, each small enough to be worked on at once; memory goes back between them."""
    rows = sum(s.rows * (TRANSACTION_WEIGHS if s.table_name == "transaction" else 1) for s in known if s.table_name in TABLES)
    count = min(BUCKETS, max(1, -(-rows // GROUP_ROWS)))
    edges = [i * BUCKETS // count for i in range(count + 1)]
    for low, high in itertools.pairwise(edges):
        yield range(low, high)
        memory.give_back()


def facts_of(
    store: Store,
    known: Sequence[Segment],
    through: date,
    buckets: range,
    claims: frozenset[str],
    upto_file_no: int | None = None,
    names: Sequence[str] = tuple(TABLES),
) -> Facts:
    """The facts of some buckets as known on `through`, of the tables `names`."""
    return load(store, known, through, buckets, upto_file_no, claims, names)


def only_contracts(facts: Facts, contract_nos: pa.Array) -> Facts:
    """The facts of some contracts only: agreements, contracts, accounts and everything that hangs on them."""
    narrowed = dict(facts.tables)

    def keep(table: str, column: str, values: pa.Array) -> None:
        if table in narrowed:
            narrowed[table] = narrowed[table].filter(pc.is_in(narrowed[table][column], value_set=values))

    for table in ("agreement", "contract", "account"):
        keep(table, "contract_no", contract_nos)
    agreements = narrowed["agreement"]["agreement_no"].combine_chunks()
    accounts = narrowed["account"]["account_no"].combine_chunks()
    for table in ("opening", "change"):
        keep(table, "agreement_no", agreements)
    for table in ("transaction", "overdue", "status", "other_subsidy"):
        keep(table, "account_no", accounts)
    return Facts(narrowed, facts.claims)
