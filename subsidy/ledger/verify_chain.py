"""Invariants 4 and 5: the chains over journal, other append-only tables and acts of people are whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.errors import Finding
from subsidy.ledger import tables
from subsidy.ledger.audit import audit_hash
from subsidy.ledger.chain import GENESIS, stored_block_hash, stored_seal_hash
from subsidy.ledger.verify_scope import Breaches, Scope, broken

#: Older blocks that a night looks at, as far as its rows allow; newest and older seals.
_BLOCKS = 8
_SEALS = 32


def check_blocks(scope: Scope) -> list[Finding]:
    """The journal's blocks: each has the hash of its rows and of the block before, and together they cover all numbers."""
    b = tables.journal_block
    newest = _newest(scope.conn, b.c.block_no, b.c.centre == scope.centre)
    found: Breaches = []
    for low, high in _block_ranges(scope, newest):
        before: Any = None
        rows = scope.conn.execute(
            sa.select(b).where(b.c.centre == scope.centre, b.c.block_no.between(low - 1, high)).order_by(b.c.block_no)
        ).mappings().all()  # fmt: skip
        for row in rows:
            if row["block_no"] >= low:
                found += _block(scope.conn, row, before)
            before = row
    found += _ends(scope)
    return broken("INV-5-CHAIN", "5", found)


def _block(conn: Connection, row: Any, before: Any) -> Breaches:
    number = row["block_no"]
    found: Breaches = []
    if row["block_no"] != (before["block_no"] + 1 if before else 1) or row["previous_hash"] != (before["hash"] if before else GENESIS):
        found.append((f"凭证块 {number} 与前一块不相连。", {}))
    if row["first_entry"] != (before["last_entry"] + 1 if before else 1):
        found.append((f"凭证块 {number} 的分录号与前一块不衔接。", {}))
    if stored_block_hash(conn, row) != row["hash"]:
        found.append((f"凭证块 {number} 的哈希与现存的分录、原因或凭证不符：有记录被改动、删除或插入。", {}))
    return found


def _block_ranges(scope: Scope, newest: int) -> Iterator[tuple[int, int]]:
    """Everything; or the blocks of the run, or else the newest, and older ones up to about `rolling` rows, one at least."""
    if scope.rolling is None or newest < 2:
        yield 1, newest
        return
    b = tables.journal_block
    first = newest
    if scope.run_no is not None:
        first = _oldest(scope.conn, b.c.block_no, b.c.centre == scope.centre, b.c.run_no == scope.run_no) or newest
    if first > 1:
        at = scope.position * _BLOCKS % (first - 1) + 1
        rows = scope.conn.execute(
            sa.select(b.c.block_no, b.c.last_entry - b.c.first_entry + 1)
            .where(b.c.centre == scope.centre, b.c.block_no.between(at, min(at + _BLOCKS, first) - 1)).order_by(b.c.block_no)
        ).all()  # fmt: skip
        total = 0
        for number, size in rows:
            total += size
            if number == at or total <= scope.rolling:
                yield number, number
    yield first, newest


def _ends(scope: Scope) -> Breaches:
    """The last block ends where the numbers end: nothing was appended beside the chain, or cut off."""
    conn, centre, b = scope.conn, scope.centre, tables.journal_block
    found: Breaches = []
    for table, column, counter, name in (
        (tables.journal, "entry_no", "entry", "凭证分录"),
        (tables.posting, "posting_no", "posting", "分录"),
    ):
        covered = _newest(conn, b.c["last_entry" if counter == "entry" else "last_posting"], b.c.centre == centre)
        written = _newest(conn, table.c[column], table.c.centre == centre)
        given = _newest(conn, tables.counter.c.next_no, tables.counter.c.centre == centre, tables.counter.c.name == counter)
        if not covered == written == max(given, 1) - 1:
            found.append((f"{name}最后一号不一致：链上 {covered}，表中 {written}，编号器 {max(given, 1) - 1}。", {}))
    return found


def check_seals(scope: Scope) -> list[Finding]:
    """The seals over payments, states, movements, approvals, quarantine, findings and segments."""
    s = tables.seal
    newest = _newest(scope.conn, s.c.seal_no, s.c.centre == scope.centre)
    found: Breaches = []
    for low, high in scope.stretch(newest, _SEALS):
        before: Any = None
        rows = scope.conn.execute(
            sa.select(s).where(s.c.centre == scope.centre, s.c.seal_no.between(low - 1, high)).order_by(s.c.seal_no)
        ).mappings().all()  # fmt: skip
        for row in rows:
            if row["seal_no"] >= low:
                linked = row["seal_no"] == (before["seal_no"] + 1 if before else 1)
                linked = linked and row["previous_hash"] == (before["hash"] if before else GENESIS)
                if not linked or stored_seal_hash(scope.conn, row) != row["hash"]:
                    found.append((f"封存记录 {row['seal_no']} 与现存的付款、状态、审批等记录不符：有记录被改动、删除或插入。", {}))
            before = row
    return broken("INV-4-SEAL", "4", found)


def check_audit(conn: Connection, rolling: int | None, position: int) -> list[Finding]:
    """The chain of human acts."""
    t = tables.audit
    newest = _newest(conn, t.c.audit_no)
    found: Breaches = []
    for low, high in Scope(conn, "", position=position, rolling=rolling).stretch(newest, rolling or 1):
        before: Any = None
        query = sa.select(t).where(t.c.audit_no.between(low - 1, high)).order_by(t.c.audit_no)
        for row in conn.execute(query).mappings():
            if row["audit_no"] >= low:
                linked = row["audit_no"] == (before["audit_no"] + 1 if before else 1)
                linked = linked and row["previous_hash"] == (before["hash"] if before else GENESIS)
                if not linked or audit_hash(row) != row["hash"]:
                    found.append((f"操作记录 {row['audit_no']} 与链不符：有记录被改动、删除或插入。", {}))
            before = row
    given = _newest(conn, tables.counter.c.next_no, tables.counter.c.centre == "", tables.counter.c.name == "audit")
    if newest != max(given, 1) - 1:
        found.append((f"操作记录最后一号是 {newest}，编号器是 {max(given, 1) - 1}：有记录被删除。", {}))
    return broken("INV-4-AUDIT", "4", found)


def _newest(conn: Connection, column: sa.ColumnElement[Any], *where: sa.ColumnElement[bool]) -> int:
    return int(conn.execute(sa.select(sa.func.max(column)).where(*where)).scalar_one() or 0)


def _oldest(conn: Connection, column: sa.ColumnElement[Any], *where: sa.ColumnElement[bool]) -> int:
    return int(conn.execute(sa.select(sa.func.min(column)).where(*where)).scalar_one() or 0)
