"""What people did, appended to one chain over all centres: trigger, clear, release, approve, write off, download, and so on."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.errors import TerminalError, refuse_control
from subsidy.ledger import tables
from subsidy.ledger.bulk import among
from subsidy.ledger.chain import GENESIS, hash_of
from subsidy.ledger.database import next_numbers

#: Acts after which a person may not approve what the subject leads to (handbook section 7). An opening or override is an act in the run of
#: the centre that books it; approving, answering and downloading are not.
ACTED = frozenset(("trigger", "clear", "mark", "backfill", "release", "opening", "override", "recompute", "write_off"))


def record(conn: Connection, centre: str, person: str, act: str, subject: str, reason: str, at: str) -> int:
    """Append an act and return its number.

    `centre` is "" for what concerns all; `subject` names what was acted on, as ``kind:number`` (``run:17``, ``settlement:2026-10``,
    ``quarantine:5``, ``file:3``); `at` is ISO 8601 with offset. The numbers of this chain are handed out one transaction at a time, so keep
    the transaction short. TerminalError ``AUDIT-NOBODY`` without a person, ``ACT-TEXT`` for text that cannot be kept."""
    if not person:
        raise TerminalError("AUDIT-NOBODY", "没有操作人。", "没有记录，也没有执行。", "以登录用户的身份操作。")
    refuse_control(person, subject, reason)
    number = next_numbers(conn, "", "audit")
    previous = conn.execute(sa.select(tables.audit.c.hash).where(tables.audit.c.audit_no == number - 1)).scalar_one_or_none()
    row = {
        "audit_no": number, "centre": centre, "person": person, "act": act, "subject": subject, "reason": reason, "at": at,
        "previous_hash": previous or GENESIS,
    }  # fmt: skip
    conn.execute(sa.insert(tables.audit).values(**row, hash=audit_hash(row)))
    return number


def audit_hash(row: object) -> str:
    """The hash of an audit row (any mapping of its columns)."""
    assert hasattr(row, "__getitem__")
    return hash_of(*(row[name] for name in ("previous_hash", "audit_no", "centre", "person", "act", "subject", "reason", "at")))


def acted(conn: Connection, centre: str, subjects: Iterable[str]) -> set[str]:
    """The persons who acted (`ACTED`) in any of `subjects`; none of them may approve what came of it. Acts that were recorded for no
    centre count for every centre."""
    t = tables.audit
    return set(
        conn.execute(
            sa.select(t.c.person).where(t.c.centre.in_((centre, "")), t.c.act.in_(sorted(ACTED)), among(conn, t.c.subject, list(subjects)))
        ).scalars()
    )
