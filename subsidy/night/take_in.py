"""Take in: read the complete files of the inbox and book each in one transaction with everything that came of it."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import aside
from subsidy.clearing.outbox import file_digest
from subsidy.errors import Finding, TransientError
from subsidy.facts.schema import TABLES
from subsidy.facts.store import Segment
from subsidy.facts.view import sort_key
from subsidy.intake.acknowledge import acknowledge, acknowledgement_name
from subsidy.intake.arrival import Arrival, expected, missing, survey
from subsidy.intake.context import KnownFile, StoreContext
from subsidy.intake.faults import finding, owner_of
from subsidy.intake.profile import Profiles
from subsidy.intake.profile_load import load_profiles
from subsidy.intake.read import read
from subsidy.intake.result import Intake, OpenRow, Release
from subsidy.intake.snapshot import snapshot
from subsidy.ledger import tables
from subsidy.night import claims, clock, context, desk, manifest, register
from subsidy.night.context import Context
from subsidy.night.visible import show
from subsidy.settings import shown

#: Folder beside the inbox files to which taken files move; the immutable copy lies in the store.
TAKEN = "已接收"
#: How long a file whose name follows no profile must not change before it is refused by name.
QUIET_SECONDS = 60
#: How many files of days to come a finding names.
NAMED = 5

_log = logging.getLogger(__name__)


def take_in(ctx: Context, token: int) -> dict[str, Any]:
    """The step `take_in`. Counts: files and rows in, booked, quarantined, duplicate, released; names of files
    missing at their deadline, of files that lie in the inbox and are not complete, and of files there whose day has not come."""
    with ctx.db.read() as conn:
        done = context.step_result(conn, ctx.run, "take_in")
    if done is not None:
        return done
    profiles = load_profiles(ctx.rules, ctx.centre)
    inbox = ctx.settings.inbox(ctx.centre)
    inbox.mkdir(parents=True, exist_ok=True)
    work = ctx.settings.work(ctx.centre) / "intake"
    shutil.rmtree(work, ignore_errors=True)  # what a killed attempt left; the lease says that nobody else works here
    work.mkdir(parents=True)
    _sweep(ctx)  # lest what an interrupted attempt left behind looks like files that wait
    looked = survey(inbox, profiles, QUIET_SECONDS, clock.seconds(), ctx.run.business_date)
    waiting = [finding("FILE-WAITING", file_name=w.name, file=w.name, reason=w.reason) for w in looked.waiting]
    if looked.early:
        first = "、".join(looked.early[:NAMED]) + (" 等" if len(looked.early) > NAMED else "")
        waiting.append(finding("FILE-EARLY", count=len(looked.early), files=first))
    changing: list[Finding] = []
    for arrival in looked.ready:
        try:
            _one(ctx, token, arrival, profiles, work)
        except TransientError as error:
            if error.message.code != "FILE-CHANGED":
                raise
            # It stays in the inbox for the next night.
            changing.append(finding("FILE-CHANGED", file_name=arrival.name, file=f" {arrival.name} "))
    with ctx.db.read() as conn:
        asked = desk.held_asked(conn, ctx.centre)
    for file_no, person, reason in asked:
        _held(ctx, token, file_no, person, reason, profiles, work)
    for file_no in _released_here(ctx):
        _acknowledge(ctx, token, file_no)
    with ctx.db.read() as conn:
        segments, releases = desk.release_asked(ctx, conn, _known(ctx, conn), profiles)
        missing = _missing(ctx, conn, profiles)
        totals = _totals(conn, ctx)
    with ctx.db.transaction(ctx.centre, token) as conn:
        # What people asked to be released is booked with the step: a rerun after a kill counts the same rows.
        manifest.add(ctx.db, conn, ctx.run, segments)
        _persist_releases(ctx, conn, [(release, person, 0) for release, person in releases])
        still = desk.still_wrong(conn, ctx.centre, [release for release, _ in releases])
        register.add_findings(ctx.db, conn, ctx.run, "intake", [*changing, *still, *missing, *waiting])
        newest = conn.execute(sa.select(sa.func.max(tables.file.c.file_no)).where(tables.file.c.centre == ctx.centre)).scalar_one()
        r = tables.run
        conn.execute(sa.update(r).where(r.c.centre == ctx.centre, r.c.run_no == ctx.run.run_no).values(knowledge_file_no=int(newest or 0)))
        names = {
            "missing": [f.file_name for f in missing],
            "waiting": [w.name for w in looked.waiting],
            "early": list(looked.early),
        }
        counts = {**totals, "released": len(releases), **names}
        return context.finish_step(conn, ctx.run, "take_in", counts)


def _persist_releases(ctx: Context, conn: Connection, releases: Sequence[tuple[Release, str, int]]) -> None:
    ctx.db.bulk_insert(
        conn,
        tables.quarantine_release,
        [
            {
                "centre": ctx.centre, "quarantine_no": release.quarantine_no, "how": release.how, "person": person,
                "reason": release.reason, "by_file_no": file_no, "business_date": ctx.run.business_date,
            }
            for release, person, file_no in releases
        ],
    )  # fmt: skip


def _one(ctx: Context, token: int, arrival: Arrival, profiles: Profiles, work: Path) -> None:
    with snapshot(arrival, work) as copy:
        sha256 = ctx.store.put_file(copy.path)
        for companion in copy.companions.values():
            ctx.store.put_file(companion)
        with ctx.db.read() as conn:
            booked_here = _in_this_run(conn, ctx, sha256, arrival.name)
        if booked_here is None:
            booked_here = _book(ctx, token, copy, profiles, work)
    _acknowledge(ctx, token, booked_here)
    _put_aside(ctx, arrival)


def _book(
    ctx: Context, token: int, arrival: Arrival, profiles: Profiles, work: Path, released: tuple[int, str, str] | None = None
) -> int:
    """Read one file and book it; its register number. `released`: (number it was held under, person, reason)."""
    with ctx.db.read() as conn:
        known, file_no = _known(ctx, conn), _next_file_no(conn, ctx.centre)
    accept = frozenset(desk.HOLDS) if released is not None else frozenset()
    with read(arrival, profiles, known, file_no=file_no, known_on=ctx.run.business_date, scratch=work, accept=accept) as result:
        segments = _write_facts(ctx, result)
        answer = ctx.store.put_bytes(acknowledge(result, profiles))
        with ctx.db.transaction(ctx.centre, token) as conn:
            _persist(ctx, conn, result, segments, answer, profiles)
            settled: list[tuple[Release, str, int]] = []
            if released is not None:
                held_no, person, reason = released
                settled.append((Release(-held_no, "person", reason, booked=result.state == "booked"), person, file_no))
            elif result.state == "booked":
                settled += [(release, "", file_no) for release in desk.held_before(conn, ctx.centre, result.identity, file_no)]
            _persist_releases(ctx, conn, settled)
        c = result.counts
        _log.info("文件 %d：收到 %d 行 = 登记 %d + 隔离 %d + 重复 %d", file_no, c.rows_in, c.booked, c.quarantined, c.duplicates)
    return file_no


def _held(ctx: Context, token: int, file_no: int, person: str, reason: str, profiles: Profiles, work: Path) -> None:
    """Book a held file that `person` has released, from the bytes in the store."""
    t = tables.file
    with ctx.db.read() as conn:
        row = conn.execute(sa.select(t).where(t.c.centre == ctx.centre, t.c.file_no == file_no)).mappings().one()
    folder = Path(tempfile.mkdtemp(prefix="held-", dir=work))
    try:
        path = _fetched(ctx, row["sha256"], folder / row["name"])
        companions = {}
        for name, sha256 in json.loads(row["detail"])["companions"]:
            companions[name.removeprefix(row["name"])] = _fetched(ctx, sha256, folder / name)
        arrival = Arrival(path, row["name"], row["profile"], companions, row["bytes"])
        _book(ctx, token, arrival, profiles, work, (file_no, person, reason))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _released_here(ctx: Context) -> list[int]:
    """Register numbers of the files that this run, perhaps before it was interrupted, booked because a person released them."""
    r, f = tables.quarantine_release, tables.file
    with ctx.db.read() as conn:
        numbers = conn.execute(
            sa.select(r.c.by_file_no)
            .join(f, sa.and_(f.c.centre == r.c.centre, f.c.file_no == r.c.by_file_no))
            .where(r.c.centre == ctx.centre, r.c.quarantine_no < 0, r.c.how == "person", f.c.run_no == ctx.run.run_no)
            .order_by(r.c.by_file_no)
        ).scalars()
        return [int(n) for n in numbers]


def _fetched(ctx: Context, sha256: str, path: Path) -> Path:
    """The raw file `sha256` of the store, copied to `path`."""
    with ctx.store.open(ctx.store.raw_path(sha256)) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)
    return path


def _next_file_no(conn: Connection, centre: str) -> int:
    t = tables.counter
    return int(conn.execute(sa.select(t.c.next_no).where(t.c.centre == centre, t.c.name == "file")).scalar_one_or_none() or 1)


def _in_this_run(conn: Connection, ctx: Context, sha256: str, name: str) -> int | None:
    """The number under which this run registered this very file before it was interrupted."""
    t = tables.file
    return conn.execute(
        sa.select(sa.func.max(t.c.file_no)).where(
            t.c.centre == ctx.centre, t.c.run_no == ctx.run.run_no, t.c.sha256 == sha256, t.c.name == name
        )
    ).scalar_one_or_none()


def _known(ctx: Context, conn: Connection) -> StoreContext:
    f, q, r = tables.file, tables.quarantine, tables.quarantine_release
    files, full = [], []
    for row in conn.execute(sa.select(f).where(f.c.centre == ctx.centre, f.c.state != "duplicate").order_by(f.c.file_no)).mappings():
        detail = json.loads(row["detail"])
        day = date.fromisoformat(detail["business_date"]) if detail.get("business_date") else row["known_on"]
        files.append(KnownFile(int(row["file_no"]), row["sha256"], row["identity"], int(row["version"]), row["state"], day))
        if row["state"] == "booked":
            full += [(table, day) for table in detail.get("full", ())]
    dates = {k.file_no: k.business_date for k in files}
    open_rows = [
        OpenRow(
            int(row["quarantine_no"]), int(row["file_no"]), row["profile"], row["identity"], row["table_name"], int(row["line_no"]),
            row["raw"], row["code"], dates.get(int(row["file_no"]), row["known_on"]),
        )
        for row in conn.execute(
            sa.select(q, f.c.profile, f.c.identity)
            .join(f, sa.and_(f.c.centre == q.c.centre, f.c.file_no == q.c.file_no))
            .where(
                q.c.centre == ctx.centre, q.c.stage == "intake",
                ~sa.exists().where(r.c.centre == q.c.centre, r.c.quarantine_no == q.c.quarantine_no),
            )
            .order_by(q.c.quarantine_no)
        ).mappings()
    ]  # fmt: skip
    segments = manifest.segments(conn, ctx.centre, ctx.run.business_date, through_run=ctx.run.run_no)
    return StoreContext(ctx.store, segments, ctx.run.business_date, files, open_rows, full)


def _write_facts(ctx: Context, result: Intake) -> list[Segment]:
    written = []
    for name, table in result.tables.items():
        fact_table = TABLES[name]
        one = ctx.store.write_segment(f"facts/{ctx.centre}/{name}", fact_table.arrow, table.batches(), sort_key(fact_table))
        assert one.rows == table.facts.rows, f"{name}: {one.rows} of {table.facts.rows} rows written"
        if one.rows:
            written.append(Segment(name, result.known_on, result.file_no, one.path, one.rows, one.sha256))
    return written


def _persist(ctx: Context, conn: Connection, result: Intake, segments: Sequence[Segment], answer: str, profiles: Profiles) -> None:
    db, centre, counts = ctx.db, ctx.centre, result.counts
    counts.tie()
    file_no = db.next_numbers(conn, centre, "file", 1)
    assert file_no == result.file_no
    conn.execute(
        sa.insert(tables.file).values(
            centre=centre, file_no=file_no, sha256=result.sha256, name=result.file_name, bytes=result.bytes, profile=result.profile,
            identity=result.identity, version=result.version, state=result.state, run_no=ctx.run.run_no, known_on=result.known_on,
            rows_in=counts.rows_in, rows_booked=counts.booked, rows_quarantined=counts.quarantined, rows_duplicate=counts.duplicates,
            detail=json.dumps(_detail(result, answer, profiles), ensure_ascii=False, sort_keys=True), message=result.message,
        )
    )  # fmt: skip
    manifest.add(db, conn, ctx.run, segments)
    register.add_findings(db, conn, ctx.run, "intake", result.findings)
    first = db.next_numbers(conn, centre, "quarantine", len(result.quarantined))
    db.bulk_insert(
        conn,
        tables.quarantine,
        [
            {
                "centre": centre, "quarantine_no": first + i, "file_no": file_no, "table_name": q.table_name, "line_no": q.line_no,
                "row_key": "" if q.key is None else claims.fingerprint(ctx.settings.key, q.table_name, *q.key),
                "raw": q.raw, "code": q.code,
                "field": q.field, "value": q.value, "what": q.what, "todo": q.todo, "stage": "intake",
                "known_on": result.known_on, "owner": owner_of(q.code),
            }
            for i, q in enumerate(result.quarantined)
        ],
    )  # fmt: skip
    _persist_releases(ctx, conn, [(release, "", file_no) for release in result.releases])


def _replaces_table(profiles: Profiles, profile: str, name: str) -> bool:
    spec = profiles.profiles[profile].tables[TABLES[name].code]
    return spec.mode == "full" and spec.replaces == "table"


def _detail(result: Intake, answer: str, profiles: Profiles) -> dict[str, Any]:
    return {
        "business_date": None if result.business_date is None else str(result.business_date),
        "full": sorted(name for name in result.tables if _replaces_table(profiles, result.profile, name)),
        "companions": [list(c) for c in result.companions],
        "acknowledgement": answer,
        "acknowledgement_name": acknowledgement_name(result, profiles),
        "findings_unlisted": result.findings_unlisted,
        "tables": {
            name: {
                "rows_in": t.counts.rows_in, "booked": t.counts.booked, "quarantined": t.counts.quarantined,
                "duplicates": t.counts.duplicates,
                "added": t.counts.added, "changed": t.counts.changed, "unchanged": t.counts.unchanged, "withdrawn": t.counts.withdrawn,
                "released": t.counts.released, "unprotected": list(t.unprotected),
            }
            for name, t in result.tables.items()
        },
    }  # fmt: skip


def _acknowledge(ctx: Context, token: int, file_no: int) -> None:
    t = tables.file
    with ctx.db.read() as conn:
        row = conn.execute(sa.select(t.c.detail).where(t.c.centre == ctx.centre, t.c.file_no == file_no)).one()
    detail = json.loads(row.detail)
    with ctx.store.open(ctx.store.raw_path(detail["acknowledgement"])) as handle:
        data = handle.read()
    name = Path(detail["acknowledgement_name"])
    folder = ctx.settings.outbox(ctx.centre) / "acknowledgement"
    show(
        ctx.db,
        ctx.settings,
        ctx.centre,
        token,
        "acknowledgement",
        folder,
        name.stem,
        name.suffix,
        ctx.run,
        lambda p: p.write_bytes(data),
    )


def _put_aside(ctx: Context, arrival: Arrival) -> None:
    folder = ctx.settings.inbox(ctx.centre) / TAKEN / str(ctx.run.business_date)

    def unchanged(path: Path) -> bool:
        now = path.stat()
        return (now.st_size, now.st_mtime_ns) == (arrival.size, arrival.mtime_ns)

    # The file goes first: without its companions it would look incomplete to a rerun, companions alone are swept up.
    if not aside.take(arrival.path, _place(folder / arrival.path.name, arrival.path), unchanged):
        return  # meanwhile another file came under this name: it is read next time
    for path in arrival.companions.values():
        path.replace(_place(folder / path.name, path))


def _place(target: Path, taken: Path) -> Path:
    """Where a taken file goes: `target`, or with a number behind it when a file with other bytes came under this name before."""
    return target if not target.exists() or file_digest(target) == file_digest(taken) else aside.free(target)


def _sweep(ctx: Context) -> None:
    """Finish moving what an interrupted attempt was about to put aside, and the companions that one of this run left behind."""
    t = tables.file
    inbox = ctx.settings.inbox(ctx.centre)

    def registered(found: Path) -> bool:
        query = sa.select(t.c.file_no).where(t.c.centre == ctx.centre, t.c.sha256 == file_digest(found))
        with ctx.db.read() as conn:
            return conn.execute(query.where(t.c.name == shown(found.name))).first() is not None

    for found in aside.left(inbox):
        aside.decide(found, _place(inbox / TAKEN / str(ctx.run.business_date) / found.name, found), registered)
    with ctx.db.read() as conn:
        rows = conn.execute(sa.select(t.c.name, t.c.detail).where(t.c.centre == ctx.centre, t.c.run_no == ctx.run.run_no)).all()
    for name, detail in rows:
        if (inbox / name).exists():
            continue
        for companion, _ in json.loads(detail)["companions"]:
            left = inbox / Path(companion).name
            if left.exists():
                left.replace(_place(inbox / TAKEN / str(ctx.run.business_date) / left.name, left))


def _missing(ctx: Context, conn: Connection, profiles: Profiles) -> list[Finding]:
    t = tables.file
    received = []
    for row in conn.execute(sa.select(t.c.detail).where(t.c.centre == ctx.centre, t.c.state == "booked")):
        detail = json.loads(row.detail)
        day = date.fromisoformat(detail["business_date"])
        received += [(TABLES[name].code, day) for name in detail["tables"]]
    return [
        Finding(
            code="FILE-MISSING",
            severity="warning",
            what=f"应于 {e.deadline} 前送达的“{e.label}”文件没有收到。",
            todo=f"请对方补送（文件名形如 {e.file_name}），放入收件目录，下一夜自动接收。",
            file_name=e.file_name,
            table=e.table,
        )
        for e in missing(expected(profiles, ctx.run.business_date), received)
    ]


def _totals(conn: Connection, ctx: Context) -> dict[str, Any]:
    t = tables.file
    here = sa.and_(t.c.centre == ctx.centre, t.c.run_no == ctx.run.run_no)
    names = ("rows_in", "rows_booked", "rows_quarantined", "rows_duplicate")
    row = conn.execute(sa.select(sa.func.count(), *(sa.func.coalesce(sa.func.sum(t.c[n]), 0) for n in names)).where(here)).one()
    states = conn.execute(sa.select(t.c.state, sa.func.count()).where(here).group_by(t.c.state).order_by(t.c.state))
    return {"files": int(row[0]), **{n: int(v) for n, v in zip(names, row[1:], strict=True)}, "states": {s: int(n) for s, n in states}}
