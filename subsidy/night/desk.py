"""The quarantine desk: what lies there, one row whole, and a person's word that a row only looked wrong."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.errors import TerminalError
from subsidy.facts.schema import TABLES
from subsidy.facts.store import Segment
from subsidy.facts.view import sort_key
from subsidy.intake.context import StoreContext
from subsidy.intake.parents import Parents
from subsidy.intake.profile import Profiles
from subsidy.intake.release import release_by_person
from subsidy.intake.result import Release
from subsidy.ledger import audit, tables
from subsidy.ledger.database import open_database
from subsidy.night import clock
from subsidy.night.context import Context
from subsidy.settings import Settings

Q, R, W, F = tables.quarantine, tables.quarantine_release, tables.release_request, tables.file


def listed(settings: Settings, centre: str, on: date | None = None, *, everything: bool = False) -> list[dict[str, Any]]:
    """Rows in quarantine, oldest first: number, file, line, code, field, masked value, what, todo, days, asked (who wants it released).

    `on`: the day ages are counted to (default: the centre's open business date). `everything`: released ones too."""
    with open_database(settings).read() as conn:
        state = tables.centre_state
        day = on or conn.execute(sa.select(state.c.open_business_date).where(state.c.centre == centre)).scalar_one_or_none()
        query = (
            sa.select(Q, F.c.name, R.c.how, R.c.business_date.label("released_on"), W.c.person.label("asked"))
            .join(F, sa.and_(F.c.centre == Q.c.centre, F.c.file_no == Q.c.file_no))
            .join(R, sa.and_(R.c.centre == Q.c.centre, R.c.quarantine_no == Q.c.quarantine_no), isouter=True)
            .join(W, sa.and_(W.c.centre == Q.c.centre, W.c.quarantine_no == Q.c.quarantine_no), isouter=True)
            .where(Q.c.centre == centre)
            .order_by(Q.c.quarantine_no)
        )
        rows = conn.execute(query if everything else query.where(R.c.quarantine_no.is_(None))).mappings()
        return [
            {
                "quarantine_no": r["quarantine_no"], "file": r["name"], "table": TABLES[r["table_name"]].label, "line_no": r["line_no"],
                "code": r["code"], "field": r["field"], "value": r["value"], "what": r["what"], "todo": r["todo"],
                "known_on": str(r["known_on"]),
                "days": (day - r["known_on"]).days if day else 0, "asked": r["asked"] or "", "released": r["how"] or "",
                "released_on": str(r["released_on"] or ""),
            }
            for r in rows
        ]  # fmt: skip


def shown(settings: Settings, centre: str, quarantine_no: int) -> dict[str, Any]:
    """One row with its raw bytes. TerminalError ``DESK-UNKNOWN`` when there is none of that number."""
    with open_database(settings).read() as conn:
        raw = conn.execute(sa.select(Q.c.raw).where(Q.c.centre == centre, Q.c.quarantine_no == quarantine_no)).scalar_one_or_none()
    if raw is None:
        raise _unknown(centre, quarantine_no)
    row = next(r for r in listed(settings, centre, everything=True) if r["quarantine_no"] == quarantine_no)
    return {**row, "raw": bytes(raw)}


def ask(settings: Settings, centre: str, quarantine_no: int, person: str, reason: str) -> None:
    """Record that `person` wants a row released because it only looked wrong; the next night reads it again and books it if nothing
    else is wrong with it. TerminalError ``DESK-…`` when the row is unknown, released or asked for already, or no reason is given."""
    if not reason.strip():
        raise TerminalError("DESK-REASON", "放行必须写明原因。", "该行仍在隔离区。", "写明为什么该行无误，再放行。")
    db = open_database(settings)
    with db.transaction_system() as conn:
        if conn.execute(sa.select(Q.c.quarantine_no).where(Q.c.centre == centre, Q.c.quarantine_no == quarantine_no)).one_or_none() is None:
            raise _unknown(centre, quarantine_no)
        for t, said in ((R, "已经放行"), (W, "已有人申请放行，等待下一夜处理")):
            if conn.execute(sa.select(t.c.quarantine_no).where(t.c.centre == centre, t.c.quarantine_no == quarantine_no)).first():
                raise TerminalError("DESK-DONE", f"隔离行 {quarantine_no} {said}。", "没有改动任何数据。", "无需再次操作。")
        at = clock.stamp()
        conn.execute(sa.insert(W).values(centre=centre, quarantine_no=quarantine_no, person=person, reason=reason, at=at))
        audit.record(conn, centre, person, "release", f"quarantine:{quarantine_no}", reason, at)


def _unknown(centre: str, quarantine_no: int) -> TerminalError:
    return TerminalError(
        "DESK-UNKNOWN", f"{centre} 没有编号为 {quarantine_no} 的隔离行。", "没有改动任何数据。", "用 subsidy quarantine list 查看编号。"
    )


class _Lineage:
    """Known parents, for reading released rows again."""

    def __init__(self, known: StoreContext) -> None:
        self._known = known

    def parents(self, table: str) -> Parents:
        """See `subsidy.intake.rows.Lineage`."""
        return Parents(self._known.parents(table))


def release_asked(
    ctx: Context, conn: Connection, known: StoreContext, profiles: Profiles
) -> tuple[list[Segment], list[tuple[Release, str]]]:
    """Read again what people asked to be released by now: segments of the facts it gives, and releases with who asked."""
    asked = {
        int(r.quarantine_no): (str(r.person), str(r.reason))
        for r in conn.execute(
            sa.select(W.c.quarantine_no, W.c.person, W.c.reason)
            .where(W.c.centre == ctx.centre, ~sa.exists().where(R.c.centre == W.c.centre, R.c.quarantine_no == W.c.quarantine_no))
            .order_by(W.c.quarantine_no)
        )
    }
    segments: list[Segment] = []
    releases: list[tuple[Release, str]] = []
    for name, table in TABLES.items():
        rows = [r for r in known.open_quarantine(name) if r.quarantine_no in asked]
        for row in rows:
            person, reason = asked[row.quarantine_no]
            outcome = release_by_person([row], table, profiles, known, _Lineage(known), ctx.run.business_date, reason)
            releases += [(release, person) for release in outcome.releases]
            if outcome.facts is not None and outcome.facts.num_rows:
                one = ctx.store.write_segment(f"facts/{ctx.centre}/{name}", table.arrow, [pa.table(outcome.facts)], sort_key(table))
                segments.append(Segment(name, ctx.run.business_date, row.file_no, one.path, one.rows, one.sha256))
    return segments, releases
