"""The quarantine desk: what lies there, one row whole, and a person's word that a row only looked wrong.

A file that is held whole (too many withdrawals, an old snapshot) lies there too, under minus its register number, until a person releases
it or a later version of the same delivery is booked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.errors import Finding, TerminalError, refuse_control
from subsidy.facts.schema import TABLES
from subsidy.facts.store import Segment
from subsidy.facts.view import sort_key
from subsidy.intake.context import StoreContext
from subsidy.intake.faults import FAULTS, owner_of
from subsidy.intake.parents import Parents
from subsidy.intake.profile import Profiles
from subsidy.intake.release import release_by_person
from subsidy.intake.result import Release
from subsidy.ledger import audit, tables
from subsidy.ledger.database import open_database
from subsidy.night import clock
from subsidy.night.context import Context
from subsidy.settings import Settings

#: Faults that hold a file whole until a person releases it.
HOLDS = tuple(code for code, fault in FAULTS.items() if fault.soft and code.startswith("FILE-"))

Q, R, W, F = tables.quarantine, tables.quarantine_release, tables.release_request, tables.file


def listed(
    settings: Settings, centre: str, on: date | None = None, *, everything: bool = False, limit: int | None = None
) -> list[dict[str, Any]]:
    """Rows in quarantine, oldest first: number, file, line, code, field, masked value, what, todo, owner (who must act), days, asked (who
    wants it released), soft (a person may release it); then the files that are held whole, with minus their register number and line 0.

    `on`: the day ages are counted to (default: the centre's open business date). `everything`: released ones too. `limit`: at most so many
    rows, the oldest; held files come besides."""
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
            .limit(limit)
        )
        rows = conn.execute(query if everything else query.where(R.c.quarantine_no.is_(None))).mappings()
        found = [
            {
                "quarantine_no": r["quarantine_no"], "file": r["name"], "table": TABLES[r["table_name"]].label, "line_no": r["line_no"],
                "code": r["code"], "field": r["field"], "value": r["value"], "what": r["what"], "todo": r["todo"],
                "owner": r["owner"] or owner_of(r["code"]), "soft": _soft(r["code"]), "known_on": str(r["known_on"]),
                "days": (day - r["known_on"]).days if day else 0, "asked": r["asked"] or "", "released": r["how"] or "",
                "released_on": str(r["released_on"] or ""),
            }
            for r in rows
        ]  # fmt: skip
        return found + [row for row in _held(conn, centre, day) if everything or not row["released"]]


def _soft(code: str) -> bool:
    return code in FAULTS and FAULTS[code].soft


def _held(conn: Connection, centre: str, day: date | None) -> list[dict[str, Any]]:
    """The files that were held whole, as rows of the desk."""
    query = (
        sa.select(F, R.c.how, R.c.business_date.label("released_on"), W.c.person.label("asked"))
        .join(R, sa.and_(R.c.centre == F.c.centre, R.c.quarantine_no == -F.c.file_no), isouter=True)
        .join(W, sa.and_(W.c.centre == F.c.centre, W.c.quarantine_no == -F.c.file_no), isouter=True)
        .where(F.c.centre == centre, F.c.state == "held")
        .order_by(F.c.file_no)
    )
    held = conn.execute(query).mappings().all()
    why: dict[int, tuple[str, str]] = {}
    t = tables.finding
    runs, files = {r["run_no"] for r in held}, {r["file_no"] for r in held}
    found = sa.select(t.c.file_no, t.c.code, t.c.todo).where(t.c.centre == centre, t.c.run_no.in_(runs), t.c.file_no.in_(files))
    for row in conn.execute(found.where(t.c.code.in_(HOLDS))) if held else ():
        why.setdefault(int(row.file_no), (str(row.code), str(row.todo)))
    return [
        {
            "quarantine_no": -r["file_no"], "file": r["name"], "table": "整份文件", "line_no": 0, "code": why[r["file_no"]][0],
            "field": "", "value": "", "what": r["message"], "todo": why[r["file_no"]][1], "owner": owner_of(why[r["file_no"]][0]),
            "soft": True, "known_on": str(r["known_on"]), "days": (day - r["known_on"]).days if day else 0, "asked": r["asked"] or "",
            "released": r["how"] or "", "released_on": str(r["released_on"] or ""),
        }
        for r in held
    ]  # fmt: skip


def shown(settings: Settings, centre: str, quarantine_no: int) -> dict[str, Any]:
    """One row with its raw bytes, the profile it was read by, and who released it why. A held file has no bytes of its own here: the store
    keeps it whole. TerminalError ``DESK-UNKNOWN`` when there is none of that number."""
    row = next((r for r in listed(settings, centre, everything=True) if r["quarantine_no"] == quarantine_no), None)
    if row is None:
        raise _unknown(centre, quarantine_no)
    with open_database(settings).read() as conn:
        said = conn.execute(sa.select(R.c.person, R.c.reason).where(R.c.centre == centre, R.c.quarantine_no == quarantine_no)).one_or_none()
        released = {"released_by": said.person, "reason": said.reason} if said is not None else {"released_by": "", "reason": ""}
        if quarantine_no < 0:
            profile = conn.execute(sa.select(F.c.profile).where(F.c.centre == centre, F.c.file_no == -quarantine_no)).scalar_one()
            return {**row, **released, "profile": profile, "raw": b""}
        kept = conn.execute(
            sa.select(Q.c.raw, F.c.profile)
            .join(F, sa.and_(F.c.centre == Q.c.centre, F.c.file_no == Q.c.file_no))
            .where(Q.c.centre == centre, Q.c.quarantine_no == quarantine_no)
        ).one()
    return {**row, **released, "profile": kept.profile, "raw": bytes(kept.raw)}


def ask(settings: Settings, centre: str, quarantine_no: int, person: str, reason: str) -> None:
    """Record that `person` wants a row (or, by minus its number, a held file) released because it only looked wrong; the next night reads
    it again and books it if nothing else is wrong with it. TerminalError ``DESK-…`` when the row is unknown, released or asked for already,
    wrong beyond a person's word, or no reason is given."""
    refuse_control(reason)
    if not reason.strip():
        raise TerminalError("DESK-REASON", "放行必须写明原因。", "该行仍在隔离区。", "写明为什么该行无误，再放行。")
    db = open_database(settings)
    with db.transaction_system() as conn:
        if quarantine_no < 0:
            held = sa.select(F.c.message).where(F.c.centre == centre, F.c.file_no == -quarantine_no, F.c.state == "held")
            kept = conn.execute(held).one_or_none()
        else:
            kept = conn.execute(sa.select(Q.c.code).where(Q.c.centre == centre, Q.c.quarantine_no == quarantine_no)).one_or_none()
        if kept is None:
            raise _unknown(centre, quarantine_no)
        name = f"搁置文件 {-quarantine_no} " if quarantine_no < 0 else f"隔离行 {quarantine_no} "
        for t, said in ((R, "已经解除"), (W, "已有人申请放行，等待下一夜处理")):
            if conn.execute(sa.select(t.c.quarantine_no).where(t.c.centre == centre, t.c.quarantine_no == quarantine_no)).first():
                raise TerminalError("DESK-DONE", f"{name}不用再放行：{said}。", "没有改动任何数据。", "无需再次操作。")
        if quarantine_no > 0 and not _soft(kept[0]):
            raise TerminalError(
                "DESK-HARD", f"隔离行 {quarantine_no}（{kept[0]}）是确定的错误，不能由人放行。", "该行仍在隔离区，没有改动任何数据。",
                "请送文件方更正后重送；更正或所缺数据到达后自动解除。",
            )  # fmt: skip
        at = clock.stamp()
        conn.execute(sa.insert(W).values(centre=centre, quarantine_no=quarantine_no, person=person, reason=reason, at=at))
        audit.record(conn, centre, person, "release", f"quarantine:{quarantine_no}", reason, at)


def _unknown(centre: str, quarantine_no: int) -> TerminalError:
    name = f"登记号为 {-quarantine_no} 的搁置文件" if quarantine_no < 0 else f"编号为 {quarantine_no} 的隔离行"
    return TerminalError("DESK-UNKNOWN", f"{centre} 没有{name}。", "没有改动任何数据。", "用 subsidy quarantine list 查看编号。")


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


def still_wrong(conn: Connection, centre: str, releases: Sequence[Release]) -> list[Finding]:
    """A warning for each row that a person wants released and that is not among `releases`, because something else is wrong with it."""
    done = {release.quarantine_no for release in releases}
    rows = conn.execute(
        sa.select(Q.c.quarantine_no, Q.c.file_no, Q.c.line_no, Q.c.code, F.c.name, W.c.person)
        .join(W, sa.and_(W.c.centre == Q.c.centre, W.c.quarantine_no == Q.c.quarantine_no))
        .join(F, sa.and_(F.c.centre == Q.c.centre, F.c.file_no == Q.c.file_no))
        .where(
            Q.c.centre == centre, Q.c.quarantine_no.not_in(done) if done else sa.true(),
            ~sa.exists().where(R.c.centre == W.c.centre, R.c.quarantine_no == W.c.quarantine_no),
        )
        .order_by(Q.c.quarantine_no)
    )  # fmt: skip
    return [
        Finding(
            "DESK-STILL", "warning", f"{r.person} 申请放行的隔离行 {r.quarantine_no} 还有别的错误，没有入账。",
            "请送文件方更正该行；更正到达后自动解除。", file_no=int(r.file_no), file_name=r.name, line_no=int(r.line_no),
        )
        for r in rows
    ]  # fmt: skip


def held_asked(conn: Connection, centre: str) -> list[tuple[int, str, str]]:
    """Held files that a person wants released and nothing has settled yet: (register number, person, reason), in order."""
    rows = conn.execute(
        sa.select(F.c.file_no, W.c.person, W.c.reason)
        .join(W, sa.and_(W.c.centre == F.c.centre, W.c.quarantine_no == -F.c.file_no))
        .where(
            F.c.centre == centre, F.c.state == "held",
            ~sa.exists().where(R.c.centre == W.c.centre, R.c.quarantine_no == W.c.quarantine_no),
        )
        .order_by(F.c.file_no)
    )  # fmt: skip
    return [(int(r.file_no), str(r.person), str(r.reason)) for r in rows]


def held_before(conn: Connection, centre: str, identity: str, file_no: int) -> list[Release]:
    """Releases of files of `identity` that were held before `file_no`, which has been booked now."""
    rows = conn.execute(
        sa.select(F.c.file_no)
        .where(
            F.c.centre == centre, F.c.state == "held", F.c.identity == identity, F.c.file_no < file_no,
            ~sa.exists().where(R.c.centre == F.c.centre, R.c.quarantine_no == -F.c.file_no),
        )
        .order_by(F.c.file_no)
    )  # fmt: skip
    return [Release(-int(r.file_no), "correction", "同一身份的新版本已登记", booked=False) for r in rows]


def taken(settings: Settings, centre: str, run_no: int) -> list[dict[str, Any]]:
    """The files that a run took, in order: file_no, name, state, message and rows in = booked + quarantined + duplicate."""
    names = ("file_no", "name", "state", "message", "rows_in", "rows_booked", "rows_quarantined", "rows_duplicate")
    with open_database(settings).read() as conn:
        query = sa.select(*(F.c[n] for n in names)).where(F.c.centre == centre, F.c.run_no == run_no).order_by(F.c.file_no)
        found = [dict(row) for row in conn.execute(query).mappings()]
    for row in found:
        assert row["rows_in"] == row["rows_booked"] + row["rows_quarantined"] + row["rows_duplicate"], row["file_no"]
    return found
