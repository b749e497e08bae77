"""Small reads and writes of the register tables that several steps share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.errors import Finding
from subsidy.ledger import tables
from subsidy.ledger.database import Database
from subsidy.night.context import Run

#: Findings that keep an agreement in the runs to come.
_OPEN = ("PROOF-DIFFERS", "LOAN-FAILED")


def previous_night(conn: Connection, run: Run) -> Any:
    """The last closed run of the centre before `run`, as a mapping; None for the first."""
    return last_closed(conn, run.centre, tables.run.c.run_no < run.run_no)


def last_closed(conn: Connection, centre: str, *among: sa.ColumnElement[bool]) -> Any:
    """The newest closed night or recompute of a centre, `among` some runs, as a mapping; None when there is none."""
    t = tables.run
    query = sa.select(t).where(t.c.centre == centre, t.c.state == "closed", t.c.mode.in_(("night", "recompute")), *among)
    return conn.execute(query.order_by(t.c.run_no.desc()).limit(1)).mappings().one_or_none()


def doubted(conn: Connection, centre: str, run_no: int) -> frozenset[str]:
    """Agreements with a line that a run could not prove, or that it set aside: the next run works on them again, whatever arrives."""
    t = tables.finding
    query = sa.select(t.c.agreement_no).distinct().where(t.c.centre == centre, t.c.run_no == run_no, t.c.code.in_(_OPEN))
    return frozenset(conn.execute(query).scalars())


def policy_changed(conn: Connection, run: Run) -> bool:
    """True when policy, parameters or engine are not those of the run before: then every agreement is assessed."""
    before = previous_night(conn, run)
    return before is not None and (before["policy_version"], before["engine_version"]) != (run.policy_version, run.engine_version)


def add_findings(db: Database, conn: Connection, run: Run, stage: str, found: Sequence[Finding]) -> None:
    """Append findings of a stage to the register."""
    if not found:
        return
    first = db.next_numbers(conn, run.centre, "finding", len(found))
    db.bulk_insert(
        conn,
        tables.finding,
        [
            {
                "centre": run.centre,
                "finding_no": first + i,
                "run_no": run.run_no,
                "stage": stage,
                "code": f.code,
                "severity": f.severity,
                "what": f.what,
                "todo": f.todo,
                "file_no": f.file_no,
                "line_no": f.line_no,
                "field": f.field,
                "value": f.value,
                "agreement_no": f.agreement_no,
                "serial_no": f.serial_no,
            }
            for i, f in enumerate(found)
        ],
    )
