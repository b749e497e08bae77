"""Which part of a centre a proof looks at, and how a broken invariant is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.errors import Finding
from subsidy.ledger.bulk import is_postgres

#: How many breaches of one kind are named one by one; the rest is counted.
NAMED = 20

#: What is broken: (sentence, further fields of `Finding`).
Breaches = list[tuple[str, dict[str, Any]]]

TODO = "本中心停止清算；不要手工改数据库。把本条交维护人员，与最近一次备份核对。"


@dataclass(frozen=True)
class Scope:
    """Part of a centre. Agreements: those that `agreements` selects, or for which `within` holds; all without either. `payments` selects
    the numbers of the payments with an item of these agreements, where that is known already. `written`: first and last posting and entry
    of blocks, to which what concerns single postings is limited. `run_no`, `position` and `rolling` limit what is not kept per agreement;
    without `rolling` everything is looked at."""

    conn: Connection
    centre: str
    agreements: sa.Select[tuple[str]] | None = None
    payments: sa.Select[tuple[str]] | None = None
    within: Callable[[sa.ColumnElement[Any]], sa.ColumnElement[bool]] | None = None
    written: tuple[tuple[int, int, int, int], ...] | None = None
    run_no: int | None = None
    position: int = 0
    rolling: int | None = None

    def of(self, column: sa.ColumnElement[Any]) -> list[sa.ColumnElement[bool]]:
        """Conditions that an agreement number lies in the scope."""
        if self.within is not None:
            return [self.within(column)]
        return [] if self.agreements is None else [column.in_(self.agreements)]

    def postings(self, posting: Any) -> list[sa.ColumnElement[bool]]:
        """Conditions that a posting lies in the scope."""
        if self.written is None:
            return self.of(posting.c.agreement_no)
        return [sa.or_(sa.false(), *(posting.c.posting_no.between(low, high) for low, high, _, _ in self.written))]

    def entries(self, journal: Any) -> list[sa.ColumnElement[bool]]:
        """Conditions that a journal entry of a posting lies in the scope."""
        if self.written is None:
            return self.of(journal.c.agreement_no)
        return [sa.or_(sa.false(), *(journal.c.entry_no.between(low, high) for _, _, low, high in self.written))]

    def stretch(self, newest: int, size: int) -> list[tuple[int, int]]:
        """Ranges of numbers 1..`newest` to look at: everything, or the newest `size` and as many that move on with `position`."""
        if self.rolling is None or newest <= 2 * size:
            return [(1, newest)]
        first = (self.position * size) % (newest - size) + 1
        return [(first, min(first + size - 1, newest - size)), (newest - size + 1, newest)]


def answered(conn: Connection, query: sa.Select[tuple[str]], name: str) -> sa.Select[tuple[str]]:
    """What `query` (distinct texts) selects, found once for all the places where it will stand: SQLite keeps it in the temporary table
    `name`. PostgreSQL keeps nothing in a reading transaction, and joins the query itself where it stands."""
    if is_postgres(conn):
        return query
    kept = sa.table(name, sa.column("value", sa.Text))
    conn.exec_driver_sql(f"DROP TABLE IF EXISTS temp.{name}")
    conn.exec_driver_sql(f"CREATE TEMPORARY TABLE {name} (value TEXT PRIMARY KEY) WITHOUT ROWID")
    conn.execute(sa.insert(kept).from_select(["value"], query))
    return sa.select(kept.c.value)


def broken(code: str, rule: str, whats: Breaches) -> list[Finding]:
    """Findings for breaches; at most `NAMED`, with a sentence for the rest."""
    found = [Finding(code, "error", what, TODO, rule=f"手册第 8 节第 {rule} 条", **more) for what, more in whats[:NAMED]]
    if len(whats) > NAMED:
        found.append(
            Finding(code, "error", f"同类问题还有至少 {len(whats) - NAMED} 处，未逐一列出。", TODO, rule=f"手册第 8 节第 {rule} 条")
        )
    return found
