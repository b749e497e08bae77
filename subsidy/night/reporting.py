"""Report: the workbook of a centre's period, written again as a new version whenever what it shows has changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import figures, vouchers
from subsidy.clearing.overall import CLEARING, Clearing
from subsidy.entitlement.explain import Explanation, explain_agreements, facts_of
from subsidy.errors import TerminalError
from subsidy.facts.schema import Facts
from subsidy.facts.store import Segment
from subsidy.ledger import tables
from subsidy.ledger.database import Database, open_database
from subsidy.money import format_yuan
from subsidy.night import claims, context, isolate, line_store, manifest, moved
from subsidy.night.context import Context, Run
from subsidy.night.lookup import Asked
from subsidy.night.moved import Mark
from subsidy.night.visible import show
from subsidy.policy import PolicyError, centre_names, load_centre
from subsidy.reports import changes, clearing_workbook, fingerprint, ledger_rows, workbook
from subsidy.reports import period as sheets
from subsidy.reports.gathered import Gatherer
from subsidy.reports.ledger_rows import Earlier, Key
from subsidy.reports.period import Derived, ReportInputs
from subsidy.reports.sheet import Book
from subsidy.settings import Settings

#: Lines whose derivation stands in the workbook; a larger period names the command that shows one.
DERIVED_LINES = 500
#: The fact tables that a workbook shows something of.
_READS = ("agreement", "contract", "account", "status")
#: Detail rows that lie in the workbook itself (on as many sheets as they need); more go into numbered part files of `PART_ROWS` rows each.
BOOK_ROWS, PART_ROWS = 2_000_000, 1_000_000


def report(ctx: Context, token: int) -> dict[str, Any]:
    """The step `report`: write the workbook of every settlement that this run built, and of every other period whose workbook the ledger
    has left behind. Returns periods and file paths."""
    with ctx.db.read() as conn:
        done = context.step_result(conn, ctx.run, "report")
        t = tables.settlement
        built = set(conn.execute(sa.select(t.c.period).where(t.c.centre == ctx.centre, t.c.run_no == ctx.run.run_no)).scalars())
    if done is not None:
        return done
    written, reached = _write_moved(ctx.settings, ctx.db, ctx.centre, token, built)
    with ctx.db.transaction(ctx.centre, token) as conn:
        moved.remember(conn, ctx.centre, reached)
        return context.finish_step(conn, ctx.run, "report", written)


def refresh(settings: Settings, centre: str) -> dict[str, Any]:
    """Write the workbook of every period whose ledger moved on since it was written, as a new version; again does nothing. Returns periods
    and file paths."""
    db = open_database(settings)
    with context.working(db, centre, "更新报表") as token:
        written, reached = _write_moved(settings, db, centre, token, set())
        with db.transaction(centre, token) as conn:
            if reached != (moved.mark(conn, centre) or Mark()):
                moved.remember(conn, centre, reached)
    return written


def _write_moved(settings: Settings, db: Database, centre: str, token: int, built: set[str]) -> tuple[dict[str, Any], Mark]:
    """Write what the ledger has left behind, and `built`; returns what was written and how far the workbooks go then."""
    with db.read() as conn:
        reached = moved.now(conn, centre)
        old = moved.mark(conn, centre) or Mark()
        periods = sorted(built | moved.booked(conn, centre, old, reached) | moved.late(conn, centre, old, reached))
    return {"periods": periods, "workbooks": [write(of_period(settings, centre, p), token, p) for p in periods]}, reached


def write_report(settings: Settings, centre: str, period: str) -> str:
    """Write the workbook of a period as it stands now; returns its path under the home folder. The same content is not written twice.

    TerminalError ``REPORT-NONE`` when the period has no settlement."""
    ctx = of_period(settings, centre, period)
    with context.working(ctx.db, centre, f"报表 {period}") as token:
        return write(ctx, token, period)


def of_period(settings: Settings, centre: str, period: str) -> Context:
    """The context of the run that built the settlement of a period. TerminalError ``REPORT-NONE`` when there is none."""
    db = open_database(settings)
    t = tables.settlement
    with db.read() as conn:
        run_no = conn.execute(sa.select(t.c.run_no).where(t.c.centre == centre, t.c.period == period)).scalar_one_or_none()
    if run_no is None:
        raise TerminalError("REPORT-NONE", f"{centre} 没有 {period} 期。", "没有写任何文件。", "核对期间；先运行该期的夜间处理。")
    return context.load(settings, centre, int(run_no))


def write(ctx: Context, token: int, period: str) -> str:
    """As `write_report`, under a lease that is already held. A detail of more than `BOOK_ROWS` rows is shown as part files
    ``<centre>-<period>-D01-V001.xlsx`` beside the workbook."""
    book = current(ctx, period)
    stem = f"{ctx.centre}-{period}"
    if book.sheet(sheets.DETAIL_TITLE).data.num_rows > BOOK_ROWS:
        parts = workbook.in_parts(book, sheets.DETAIL_TITLE, PART_ROWS)
        for number, part in enumerate(parts, start=1):
            _show(ctx, token, f"{stem}-D{number:02d}", part)
        book = sheets.without_detail(book, parts)
    return _show(ctx, token, stem, book)


def _show(ctx: Context, token: int, stem: str, book: Book) -> str:
    folder = ctx.settings.reports(ctx.centre)
    with ctx.db.read() as conn:
        run = replace(ctx.run, business_date=_as_of(ctx, conn))
    return show(ctx.db, ctx.settings, ctx.centre, token, "workbook", folder, stem, ".xlsx", run, lambda path: workbook.write(book, path))


def _as_of(ctx: Context, conn: Connection) -> date:
    """The open business date: the day up to which days are counted in a workbook."""
    return max(moved.now(conn, ctx.centre).on, ctx.run.business_date)


def current(ctx: Context, period: str, *, full: bool = False) -> Book:
    """The workbook of a period as the ledger has it now, not written. `full`: personal data unmasked, for those whose role allows it."""
    with ctx.db.read() as conn:
        return sheets.book(conn, inputs(ctx, conn, period, full=full))


def write_unmasked(settings: Settings, centre: str, period: str, path: Path) -> str:
    """Write the workbook of a period with full personal data to `path`, which nobody else can see; returns its fingerprint.

    For a person whose role allows it; nothing is stored. TerminalError ``REPORT-NONE`` when the period has no settlement."""
    return workbook.write(current(of_period(settings, centre, period), period, full=True), path)


def still_says(settings: Settings, centre: str, period: str, shown: fingerprint.Print) -> list[str]:
    """Titles of the sheets in which the ledger now says something else than a workbook that was written earlier; empty when all is the
    same."""
    ctx = of_period(settings, centre, period)
    now = fingerprint.of_book(current(ctx, period, full=shown.facts.get("个人信息") == "完整"))
    return sorted(title for title in now.keys() | shown.sheets.keys() if now.get(title) != shown.sheets.get(title))


def write_clearing(db: Database, settings: Settings, token: int, clearing: Clearing, names: Mapping[str, str]) -> str:
    """Write the clearing workbook of a month over all centres, under the lease `token` of `CLEARING`; returns its path under the home
    folder. The same content is not written twice. `names`: centre folder → name for people."""
    with db.read() as conn:
        book = clearing_workbook.book(conn, clearing, names)
    own = Run(CLEARING, 0, vouchers.month_of(clearing.period)[0], "clearing", "", "", 0, "closed")
    name, folder = f"clearing-{clearing.period}", settings.reports(CLEARING)
    return show(db, settings, CLEARING, token, "workbook", folder, name, ".xlsx", own, lambda path: workbook.write(book, path))


def centre_of(settings: Settings, code: str) -> str:
    """Folder name of the centre with a 15-digit code. TerminalError ``REPORT-CENTRE`` when there is none."""
    for name in centre_names(settings.rules):
        try:
            if load_centre(settings.rules, name).code == code:
                return name
        except PolicyError:
            continue  # another centre's broken folder does not matter here
    raise TerminalError("REPORT-CENTRE", f"没有编号为 {code} 的中心。", "没有改动任何数据。", "核对工作簿出自哪个系统。")


def chain_holds(settings: Settings, centre: str, head: str) -> bool:
    """Whether the journal's chain still contains the block whose hash stands on a cover; a cover from before the first booking holds."""
    with open_database(settings).read() as conn:
        return ledger_rows.has_block(conn, centre, head) if re.fullmatch("[0-9a-f]{64}", head) else head == "尚无记账"


def inputs(ctx: Context, conn: Connection, period: str, *, full: bool = False) -> ReportInputs:
    """Everything the workbook of `period` shows. Lines are read bucket group by bucket group; what stays in memory is the period's detail
    in
    columns (about 200 bytes a line)."""
    s, f = tables.settlement, tables.file
    here = conn.execute(sa.select(s).where(s.c.centre == ctx.centre, s.c.period == period)).mappings().one()
    window = ledger_rows.window(conn, ctx.centre, period)
    assert window is not None, "the period is settled"
    before = window.after_run > 0
    known = manifest.segments(conn, ctx.centre, ctx.run.business_date, through_run=ctx.run.run_no)
    reported = manifest.segments(conn, ctx.centre, ctx.run.business_date, through_run=window.after_run) if before else []
    cutoffs = tuple(pa.scalar(d, pa.date32()) for d in (window.lower, window.low, window.high))
    gatherer = Gatherer(cutoffs, before, ledger_rows.first_posted(conn, window))
    loans = []
    for buckets in manifest.groups(known):
        facts = manifest.facts_of(ctx.store, known, ctx.run.business_date, buckets, frozenset(), names=_READS)
        lines = line_store.known_lines(ctx.store, known, buckets)
        gatherer.take(lines, lines if reported == known else line_store.known_lines(ctx.store, reported, buckets), facts)
        loans.append(figures.loans(facts["account"], facts["status"], period))
    detail, earlier, moved = gatherer.detail(), gatherer.first_payable(), gatherer.movements()
    asked = Asked(window.low, window.high, ledger_rows.posted_earlier(conn, window, most=DERIVED_LINES + 1))
    explained = detail.num_rows + len(asked.earlier) <= DERIVED_LINES
    names = {int(n): str(name) for n, name in conn.execute(sa.select(f.c.file_no, f.c.name).where(f.c.centre == ctx.centre))}
    return ReportInputs(
        policy=ctx.policy,
        period=period,
        business_date=ctx.run.business_date,
        as_of=_as_of(ctx, conn),
        settlement=dict(here),
        window=window,
        detail=detail,
        earlier=earlier,
        moved=moved,
        changes=changes.add(gatherer.changes),
        file_names=names,
        vouchers=vouchers.rows(conn, ctx.centre, period),
        figures=figures.annual(conn, ctx.centre, period, figures.added(loans)),
        derivations=_derivations(ctx, conn, known, asked, names) if explained else None,
        derivation_limit=DERIVED_LINES,
        full=full,
    )


def _derivations(ctx: Context, conn: Connection, known: Sequence[Segment], asked: Asked, names: dict[int, str]) -> list[Derived]:
    """How each line that the period's figures are made of came about: its own ones, then the earlier ones. A line that comes out
    differently from what is stored says so."""

    def derive(known: Facts) -> tuple[Explanation, ...]:
        return explain_agreements(known, ctx.policy)

    claimed = claims.seen(conn, ctx.run)
    shown: list[Mapping[str, Any]] = []
    found: dict[Key, list[Derived]] = {}
    for buckets in manifest.groups(known):
        lines = line_store.known_lines(ctx.store, known, buckets)
        rows = lines.filter(pc.not_equal(lines["outcome"], "opening")).select(_SHOWN).to_pylist()
        stored = {_key(r): r for r in rows if asked.takes(r)}
        if not stored:
            continue
        shown += stored.values()
        facts = manifest.facts_of(ctx.store, known, ctx.run.business_date, buckets, claimed)
        done, _ = isolate.apart(derive, facts_of(facts, sorted({key[0] for key in stored})))
        for explanation in (explanation for explained in done for explanation in explained):
            key = _key(explanation.line)
            if key in stored:
                found[key] = _steps(explanation, stored[key], asked.posted(stored[key]), names)
    shown.sort(key=lambda r: (not asked.own(r), r["agreement_no"], r["accrual_to"], r["serial_no"], r["account_no"]))
    gone = "该行的资料已不在账内"
    return [step for r in shown for step in found.get(_key(r), [(r["agreement_no"], r["serial_no"], "没有推导", gone, "", "", None, None)])]


def _key(line: Mapping[str, Any]) -> Key:
    return line["agreement_no"], line["account_no"], line["serial_no"]


def _steps(e: Explanation, stored: Mapping[str, Any], posted: Earlier | None, names: Mapping[int, str]) -> list[Derived]:
    source = f"文件 {names.get(e.file_no, '')}（登记号 {e.file_no}）第 {e.line_no} 行"
    steps: list[Derived] = [(e.agreement_no, e.serial_no, "来源", source, "", "", None, None)]
    if posted is not None:
        steps.append((e.agreement_no, e.serial_no, "期间", posted.text(), "", "", None, None))
    for section in e.sections:
        content = "；".join(f"{i.label}：{i.value}" + (f"〔{i.source_in(names)}〕" if i.source else "") for i in section.items)
        if section.key == "amount":
            exact, limit = ("" if value is None else str(value) for value in (e.exact, e.limit))
            steps.append((e.agreement_no, e.serial_no, section.title, content, exact, limit, e.rounded_fen, e.earlier_fen))
        else:
            steps.append((e.agreement_no, e.serial_no, section.title, content, "", "", None, None))
    if any(stored[n] != e.line[n] for n in ("figure_fen", "entitled_fen", "payable_fen")):
        text = f"按本批次的规则重算为应付 {format_yuan(e.line['payable_fen'])} 元，与已存明细不同，应查明"
        steps.append((e.agreement_no, e.serial_no, "注意", text, "", "", None, None))
    return steps


_SHOWN = ["agreement_no", "account_no", "serial_no", "accrual_to", "booked_on", "figure_fen", "entitled_fen", "payable_fen"]
