"""Invariants 1 and 9: rows of files tie, and business dates only move forward."""

from __future__ import annotations

import sqlalchemy as sa

from subsidy.errors import Finding
from subsidy.ledger import tables
from subsidy.ledger.verify_scope import NAMED, Breaches, Scope, broken

_LIMIT = NAMED + 1
#: Newest files that a night looks at, and as many older ones.
_FILES = 100


def check(scope: Scope) -> list[Finding]:
    """Both for the centre of the scope."""
    return _rows(scope) + _dates(scope)


def _rows(scope: Scope) -> list[Finding]:
    """1: rows in = booked + quarantined + exact duplicates, and the quarantine holds as many rows as the file says."""
    f, q = tables.file, tables.quarantine
    newest = scope.conn.execute(sa.select(sa.func.max(f.c.file_no)).where(f.c.centre == scope.centre)).scalar_one() or 0
    kept = (
        sa.select(q.c.table_name, q.c.line_no)
        .where(q.c.centre == f.c.centre, q.c.file_no == f.c.file_no, q.c.stage == "intake")
        .distinct().correlate(f).subquery()
    )  # fmt: skip
    held = sa.select(sa.func.count()).select_from(kept).scalar_subquery()
    found: Breaches = []
    for low, high in scope.stretch(newest, _FILES):
        mine = (f.c.centre == scope.centre, f.c.file_no.between(low, high))
        untied = sa.select(f.c.file_no).where(*mine, f.c.rows_in != f.c.rows_booked + f.c.rows_quarantined + f.c.rows_duplicate)
        found += [
            (f"文件 {number} 的行数不平：收到的行数不等于入库、隔离与重复之和。", {"file_no": number})
            for number in scope.conn.execute(untied.limit(_LIMIT)).scalars()
        ]
        lost = sa.select(f.c.file_no).where(*mine, f.c.state == "booked", held != f.c.rows_quarantined)
        found += [
            (f"文件 {number} 登记的隔离行数与隔离区实有行数不符。", {"file_no": number})
            for number in scope.conn.execute(lost.limit(_LIMIT)).scalars()
        ]
    return broken("INV-1-ROWS", "1", found)


def _dates(scope: Scope) -> list[Finding]:
    """9: blocks are booked by runs in the order of their business dates, none beyond the open business date."""
    r, b, s, p = tables.run, tables.journal_block, tables.centre_state, tables.posting
    newest = scope.conn.execute(sa.select(sa.func.max(b.c.block_no)).where(b.c.centre == scope.centre)).scalar_one() or 0
    found: Breaches = []
    for low, high in scope.stretch(newest, _FILES):
        dated = (
            sa.select(b.c.block_no, r.c.business_date, sa.func.lag(r.c.business_date).over(order_by=b.c.block_no).label("before"))
            .join(r, sa.and_(r.c.centre == b.c.centre, r.c.run_no == b.c.run_no))
            .where(b.c.centre == scope.centre, b.c.block_no.between(low, high), b.c.last_posting > 0)
            .subquery()
        )
        back = sa.select(dated.c.block_no).where(dated.c.business_date < dated.c.before).order_by(dated.c.block_no)
        found += [(f"凭证块 {number} 记入的营业日期早于前一块。", {}) for number in scope.conn.execute(back.limit(_LIMIT)).scalars()]
    opened = scope.conn.execute(sa.select(s.c.open_business_date).where(s.c.centre == scope.centre)).scalar_one_or_none()
    last = scope.conn.execute(
        sa.select(p.c.business_date).where(p.c.centre == scope.centre).order_by(p.c.posting_no.desc()).limit(1)
    ).scalar_one_or_none()
    if last is not None and (opened is None or last > opened):
        found.append((f"最后的分录记在 {last}，晚于营业日期 {opened}。", {}))
    return broken("INV-9-DATE", "9", found)
