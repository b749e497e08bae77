"""Proof of the invariants of handbook section 8 from stored data: what is broken is named, nothing is repaired.

A night proves what it touched and a part of the rest that moves on from day to day, so that its cost does not grow with history; the shell
proves everything. Invariant 6 is proved here as far as it is stored (batch, payments, items, digest of the published file); clearing
reads the file itself back. Invariant 7 is the second computation of the night.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from functools import partial
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.errors import Finding
from subsidy.ledger import tables, verify_chain, verify_lines, verify_payments, verify_register
from subsidy.ledger.bulk import among
from subsidy.ledger.database import Database
from subsidy.ledger.verify_scope import Scope, answered

#: Rows of older history that a night looks at again, beside what it touched.
ROLLING_ROWS = 10_000
#: Newest human acts that a night looks at, and as many older ones.
ROLLING_ACTS = 2_000
#: Agreements of a list that are looked at together.
_CHUNK = 20_000


def verify(
    where: Database | Connection,
    centre: str,
    *,
    touched: Sequence[str] | pa.Array | None = None,
    run_no: int | None = None,
    rolling: int = ROLLING_ROWS,
    on: date | None = None,
) -> list[Finding]:
    """Findings of severity ``error`` for every broken invariant of a centre; an empty list proves them.

    Without `touched` and `run_no` everything is proved. `run_no`: the agreements this run posted or whose payments it moved, its files,
    batches and blocks; `touched`: these agreements and what was written last. Either adds about `rolling` rows of older history, chosen
    by `on` (default: the centre's open business date). Memory does not grow with history. With a database, agreements and chains are proved
    side by side on two connections; the caller's lease keeps both from changing."""
    everything = touched is None and run_no is None

    def agreements(conn: Connection) -> list[Finding]:
        if everything:
            return _agreements(Scope(conn, centre))
        findings: list[Finding] = []
        for scope in _scopes(conn, centre, touched, run_no):
            findings += _agreements(scope)
        return findings + _agreements(Scope(conn, centre, agreements=_old_agreements(conn, centre, _position(conn, centre, on), rolling)))

    def rest(conn: Connection) -> list[Finding]:
        if everything:
            return _rest(Scope(conn, centre))
        return _rest(Scope(conn, centre, run_no=run_no, position=_position(conn, centre, on), rolling=rolling))

    if not isinstance(where, Database):
        return _without_repeats(agreements(where) + rest(where))
    with ThreadPoolExecutor(1) as beside:
        later = beside.submit(_on, where, rest)
        return _without_repeats(_on(where, agreements) + later.result())


def _on(db: Database, work: Callable[[Connection], list[Finding]]) -> list[Finding]:
    with db.read() as conn:
        return work(conn)


def verify_audit(where: Database | Connection, rolling: int | None = None, position: int = 0) -> list[Finding]:
    """Findings for the chain of human acts, over all centres; with `rolling` only its newest rows and as many older ones."""
    with _reading(where) as conn:
        return verify_chain.check_audit(conn, rolling, position)


def _agreements(scope: Scope) -> list[Finding]:
    return verify_lines.check(scope) + verify_payments.check_payments(scope)


def _rest(scope: Scope) -> list[Finding]:
    return (
        verify_register.check(scope)
        + verify_payments.check_batches(scope)
        + verify_chain.check_blocks(scope)
        + verify_chain.check_seals(scope)
    )


@contextmanager
def _reading(where: Database | Connection) -> Iterator[Connection]:
    if isinstance(where, Database):
        with where.read() as conn:
            yield conn
    else:
        yield where


def _position(conn: Connection, centre: str, on: date | None) -> int:
    state = tables.centre_state
    day = on or conn.execute(sa.select(state.c.open_business_date).where(state.c.centre == centre)).scalar_one_or_none()
    return day.toordinal() if day else 0


def _scopes(conn: Connection, centre: str, touched: Sequence[str] | pa.Array | None, run_no: int | None) -> Iterator[Scope]:
    if run_no is not None:
        agreements = answered(conn, _agreements_of_run(centre, run_no), "scope_agreement")
        payments = answered(conn, _payments_of(centre, agreements), "scope_payment")
        yield Scope(conn, centre, agreements=agreements, payments=payments, written=_written(conn, centre, run_no))
    if touched is not None:
        names = touched.to_pylist() if isinstance(touched, (pa.Array, pa.ChunkedArray)) else list(touched)
        for start in range(0, len(names), _CHUNK):
            yield Scope(conn, centre, within=partial(_named, conn, names[start : start + _CHUNK]))


def _named(conn: Connection, names: list[str], column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    return among(conn, column, names)


def _agreements_of_run(centre: str, run_no: int) -> sa.Select[tuple[str]]:
    """Agreements that a run posted, or that have an entry in one of its blocks (payments of theirs that it booked)."""
    p, b, j = tables.posting, tables.journal_block, tables.journal
    blocks = sa.select(b.c.block_no).where(b.c.centre == centre, b.c.run_no == run_no)
    posted = sa.select(p.c.agreement_no).where(p.c.centre == centre, p.c.run_no == run_no)
    booked = sa.select(j.c.agreement_no).where(j.c.centre == centre, j.c.block_no.in_(blocks))
    return sa.select(sa.union(posted, booked).subquery().c.agreement_no)


def _payments_of(centre: str, agreements: sa.Select[tuple[str]]) -> sa.Select[tuple[str]]:
    """Payments with an item of some agreements."""
    i = tables.payment_item
    return sa.select(i.c.payment_no).distinct().where(i.c.centre == centre, i.c.agreement_no.in_(agreements))


def _written(conn: Connection, centre: str, run_no: int) -> tuple[tuple[int, int, int, int], ...]:
    """First and last posting and entry of each block of a run."""
    b = tables.journal_block
    names = ("first_posting", "last_posting", "first_entry", "last_entry")
    rows = conn.execute(sa.select(*(b.c[name] for name in names)).where(b.c.centre == centre, b.c.run_no == run_no))
    return tuple((row[0], row[1], row[2], row[3]) for row in rows)


def _old_agreements(conn: Connection, centre: str, position: int, rolling: int) -> sa.Select[tuple[str]]:
    """The agreements of a stretch of postings that moves on with `position` and comes round."""
    p = tables.posting
    newest = conn.execute(sa.select(sa.func.max(p.c.posting_no)).where(p.c.centre == centre)).scalar_one() or 0
    size = max(1, rolling // 4)
    first = (position * size) % max(1, newest) + 1
    return sa.select(p.c.agreement_no).where(p.c.centre == centre, p.c.posting_no.between(first, first + size - 1))


def _without_repeats(findings: list[Finding]) -> list[Finding]:
    return list(dict.fromkeys(findings))
