"""What the pages show: read-only views over the register and the ledger, counted by the database, never row by row."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import overall, profiles
from subsidy.clearing import vouchers as voucher_file
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import moved, previewing, tally
from subsidy.policy import PolicyError, load_centre
from subsidy.reports.labels import safe_of
from subsidy.settings import Settings

#: Rows of findings and quarantine that one page lists; the workbook has them all.
LISTED = 200
#: Rows in quarantine that the board counts one by one.
COUNTED = 200
#: Missing and incomplete files that a square of the board names; the night's page names all.
NAMED = 4
#: Stages whose errors need somebody at once; what intake finds lies in quarantine.
SERIOUS = ("assess", "proof", "verify", "settle", "clearing", "result", "post")
#: Kinds of published files that are offered to people, with what people call them. The first ones hold no personal data, or it is masked.
MASKED = {"workbook": "工作簿", "voucher": "记账凭证", "transfer": "资金调拨指令"}
PERSONAL = {"payment": "付款文件副本", "recovery": "收款文件副本", "message": "付款报文", "notice": "资金通知", "query": "查询文件"}
OFFERED = tuple(MASKED | PERSONAL)
CLEARING = "clearing"


Place = Literal["", "files", "findings", "steps", "period", "payments", "ties", "approval"]


@dataclass(frozen=True)
class Cell:
    """One square of the board. `state`: done | waiting | trouble | none; `text` says it in a few words; `todo` what to do next; `place`
    what a person should open; `night` the business date it is about, if it is about one."""

    state: str
    text: str
    todo: str = ""
    place: Place = ""
    night: str = ""


@dataclass(frozen=True)
class Row:
    """One centre in one month: its name, or why its folder cannot be loaded; the cells in the order of `STAGES`."""

    centre: str
    name: str
    fault: str
    cells: tuple[Cell, ...]
    nights: tuple[str, ...]
    period: str


STAGES = ("文件", "隔离与异常", "计算与复算", "清算批次", "审批", "发送", "回盘", "勾稽")


def board(settings: Settings, centres: list[str], month: str) -> list[Row]:
    """The board of a month over `centres` (those the reader may see)."""
    with open_database(settings).read() as conn:
        return [_row(conn, settings, centre, month) for centre in centres]


def name_of(settings: Settings, centre: str) -> tuple[str, str]:
    """What people call a centre, and why its folder cannot be loaded ("" when it can). The folder is read again when a file changed."""
    files = [p for folder in (settings.rules / centre, settings.rules / "parameters") for p in sorted(folder.rglob("*")) if p.is_file()]
    return _named(settings.rules, centre, tuple((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in files))


@lru_cache(maxsize=64)
def _named(rules: Path, centre: str, _stamps: tuple[tuple[str, int, int], ...]) -> tuple[str, str]:
    try:
        return load_centre(rules, centre).short_name, ""
    except PolicyError as error:
        return centre, str(error.message.what)


def _row(conn: Connection, settings: Settings, centre: str, month: str) -> Row:
    name, fault = name_of(settings, centre)
    first, after = _month(month)
    r, s = tables.run, tables.settlement
    runs = conn.execute(
        sa.select(r.c.run_no, r.c.business_date, r.c.state)
        .where(r.c.centre == centre, r.c.mode == "night", r.c.business_date >= first, r.c.business_date < after)
        .order_by(r.c.run_no)
    ).all()
    nights = {int(x.run_no): str(x.business_date) for x in runs}
    steps = _steps(conn, centre, list(nights))
    settlement = conn.execute(sa.select(s).where(s.c.centre == centre, s.c.period == month)).mappings().one_or_none()
    cells = (
        _files(conn, centre, nights, steps),
        _findings(conn, centre, nights),
        _computed(steps, {str(x.business_date): str(x.state) for x in runs}),
        *(_blocked(nights, steps) if settlement is None else _settled(conn, settings, centre, settlement)),
    )
    return Row(centre, name, fault, cells, tuple(nights.values()), month if settlement is not None else "")


def _month(month: str) -> tuple[date, date]:
    year, number = int(month[:4]), int(month[5:7])
    return date(year, number, 1), date(year + number // 12, number % 12 + 1, 1)


def _steps(conn: Connection, centre: str, numbers: list[int]) -> dict[str, list[dict[str, Any]]]:
    t = tables.step
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, result in conn.execute(
        sa.select(t.c.name, t.c.result).where(t.c.centre == centre, t.c.run_no.in_(numbers)).order_by(t.c.run_no)
    ):
        found[name].append(json.loads(result))
    return found


def _files(conn: Connection, centre: str, nights: dict[int, str], steps: dict[str, list[dict[str, Any]]]) -> Cell:
    f, t = tables.file, tables.finding
    if not nights:
        return Cell("none", "未运行")
    last = max(nights)
    rows = conn.execute(
        sa.select(f.c.state, sa.func.count().label("n"), sa.func.sum(f.c.rows_in).label("rows"), sa.func.max(f.c.run_no).label("run_no"))
        .where(f.c.centre == centre, f.c.run_no.in_(list(nights)))
        .group_by(f.c.state)
    ).all()
    refused = sum(int(x.n) for x in rows if x.state in ("refused", "held"))
    if refused:
        night = nights[max(int(x.run_no) for x in rows if x.state in ("refused", "held"))]
        return Cell("trouble", f"{refused} 个文件被拒收或搁置", "看原因，请对方更正后重送", "files", night)
    newest = steps["take_in"][-1] if steps["take_in"] else {}
    missing, waiting, early = (newest.get(name, []) for name in ("missing", "waiting", "early"))
    if missing or waiting or early:
        codes = ("FILE-MISSING", "FILE-WAITING", *(() if missing or waiting else ("FILE-EARLY",)))
        query = sa.select(t.c.what).where(t.c.centre == centre, t.c.run_no == last, t.c.code.in_(codes)).order_by(t.c.finding_no)
        follows = "请对方补送" if missing else "请对方补齐" if waiting else "到日期自动接收"
        todo = f"{' '.join(conn.execute(query.limit(NAMED)).scalars())}{follows}"
        counted = (("缺", missing), ("未到齐", waiting), ("未到日期", early))
        text = "，".join(f"{word} {len(names)} 个文件" for word, names in counted if names)
        return Cell("trouble" if missing else "waiting", text, todo, "findings", nights[last])
    count, lines = sum(int(x.n) for x in rows), sum(int(x.rows) for x in rows)
    return Cell("done" if count else "none", f"已到齐：{count} 个文件 {lines:,} 行" if count else "无文件", "", "files", nights[last])


def _findings(conn: Connection, centre: str, nights: dict[int, str]) -> Cell:
    t, q, r, f = tables.finding, tables.quarantine, tables.quarantine_release, tables.file
    if not nights:
        return Cell("none", "")
    serious = conn.execute(
        sa.select(sa.func.count(), sa.func.max(t.c.run_no)).where(
            t.c.centre == centre, t.c.run_no.in_(list(nights)), t.c.severity == "error", t.c.stage.in_(SERIOUS)
        )
    ).one()
    # As many rows as lie there still (released ones are read again and booked), counted no further than people count.
    lying = (
        sa.select(sa.literal(1))
        .select_from(q)
        .join(f, sa.and_(f.c.centre == q.c.centre, f.c.file_no == q.c.file_no))
        .where(
            q.c.centre == centre, f.c.run_no.in_(list(nights)),
            ~sa.exists().where(r.c.centre == q.c.centre, r.c.quarantine_no == q.c.quarantine_no),
        )
        .limit(COUNTED + 1)
        .subquery()
    )  # fmt: skip
    waiting = conn.execute(sa.select(sa.func.count()).select_from(lying)).scalar_one()
    many = f"{waiting:,} 行" if waiting <= COUNTED else f"{COUNTED:,} 行以上"
    last = nights[max(nights)]
    if serious[0]:
        night = nights[int(serious[1])]
        return Cell("trouble", f"异常 {serious[0]:,} 项，隔离 {many}", "逐项查明，按“处理办法”处理", "findings", night)
    if waiting:
        return Cell("waiting", f"隔离 {many}", "请对方更正；确认无误的放行", "findings", last)
    return Cell("done", "无隔离", "", "findings", last)


def _computed(steps: dict[str, list[dict[str, Any]]], states: dict[str, str]) -> Cell:
    if not states:
        return Cell("none", "")
    last = max(states)
    unfinished = [day for day, state in states.items() if state != "closed"]
    if unfinished:
        return Cell("trouble", f"{unfinished[0][5:]} 没有完成", "打开流程，清除失败的任务即重跑", "steps", unfinished[0])
    differing = steps["check"][-1].get("differences", 0) if steps["check"] else 0  # each night checks again what is open
    if differing:
        return Cell("trouble", f"复算不一致 {differing} 行", "不要付款；交系统维护人员查明", "steps", last)
    lines = sum(x.get("lines_new", 0) for x in steps["compute"])
    return Cell("done", f"{len(states)} 夜，新明细 {lines:,} 行，复算一致", "", "steps", last)


def _blocked(nights: dict[int, str], steps: dict[str, list[dict[str, Any]]]) -> tuple[Cell, ...]:
    """A month without a settlement: there is none, or the newest night could not build what is due."""
    blocked = steps["settle"][-1].get("blocked") if steps["settle"] else None
    if not blocked:
        return (Cell("none", "本月无清算"), *([Cell("none", "")] * 4))
    text = f"{'、'.join(blocked['periods'])} 期没有生成：{previewing.stopped(blocked)}"
    todo = "没有付款；交系统维护人员查明，查清后的第一夜自动生成"
    return (Cell("trouble", text, todo, "steps", nights[max(nights)]), *([Cell("none", "")] * 4))


def _settled(conn: Connection, settings: Settings, centre: str, settlement: Any) -> tuple[Cell, ...]:
    nothing = Cell("none", "")
    state = settlement["state"]
    if state == "empty":
        return (Cell("done", "无应付，已宣布为空", "", "period"), *([nothing] * 4))
    built = Cell("done", f"应发 {yuan(settlement['sent_fen'])} 元", "", "period")
    answered = {
        "waiting": Cell("waiting", "等待审批", "由没有参与本批次的审批人答复", "approval"),
        "held": Cell("trouble", "异常，等待审批", "先核对异常原因，再由审批人答复", "approval"),
        "rejected": Cell("trouble", "已驳回", "查明后重新触发“审批与发布”", "approval"),
    }.get(state, Cell("done", "已批准", "", "approval"))
    if state == "publishing":
        return built, answered, Cell("waiting", "正在发布", "中断时清除发布任务即续发，不会重付", "approval"), nothing, nothing
    if state != "published":
        return built, answered, Cell("none", "未发送"), nothing, nothing
    counted = tally.of_period(conn, settings, centre, settlement["period"])
    return built, answered, Cell("done", "已发送", "", "payments"), *_answered(conn, centre, settlement, counted)


def _answered(conn: Connection, centre: str, settlement: Any, counted: tally.Tally) -> tuple[Cell, Cell]:
    f, b = tables.bank_file, tables.batch
    here = sa.select(b.c.batch_no).where(b.c.centre == centre, b.c.period == settlement["period"])
    of_period = sa.or_(f.c.batch_no.in_(here), f.c.batch_no.is_(None))
    blocked = conn.execute(
        sa.select(sa.func.count()).where(f.c.centre == centre, f.c.state == "blocked", of_period, ~_booked_later(f))
    ).scalar_one()
    states = counted.states
    waiting = sum(n for name, (n, _) in states.items() if name in ("sent", "open", "reserved"))
    dead = states.get("failed", (0, 0))[0] + states.get("returned", (0, 0))[0]
    number, fen = states.get("confirmed", (0, 0))
    text = f"已付 {number:,} 笔 {yuan(fen)} 元"
    text += (f"，失败或退汇 {dead:,} 笔" if dead else "") + (f"，未决 {waiting:,} 笔" if waiting else "")
    if blocked:
        answer = Cell("trouble", f"{blocked} 个银行文件有差异，没有入账", "看异常，请银行更正重送", "payments")
    elif waiting:
        answer = Cell("waiting", text, "等回盘；逾期向银行查询，不要重发", "payments")
    else:
        answer = Cell("done", text, "", "payments")
    if counted.ties:
        return answer, Cell("waiting" if waiting else "done", "相符，尚有未决" if waiting else "三方相符", "", "ties")
    return answer, Cell("trouble", f"差异 {counted.unexplained} 项", "看勾稽，逐项查明", "ties")


def _booked_later(f: sa.Table) -> sa.ColumnElement[bool]:
    """A blocked file whose corrected delivery of the same name was booked is settled."""
    later = f.alias("later")
    return sa.exists().where(
        later.c.centre == f.c.centre, later.c.name == f.c.name, later.c.state == "booked", later.c.bank_file_no > f.c.bank_file_no
    )


def yuan(fen: int) -> str:
    """Yuan with two decimals and thousands separators."""
    return f"{'-' if fen < 0 else ''}{abs(fen) // 100:,}.{abs(fen) % 100:02d}"


def night(settings: Settings, centre: str, business_date: date) -> dict[str, Any] | None:
    """One night: its run, steps, files and findings, with those of recomputes on that day; None when it was never opened."""
    r, f, t = tables.run, tables.file, tables.finding
    with open_database(settings).read() as conn:
        run = conn.execute(
            sa.select(r).where(r.c.centre == centre, r.c.business_date == business_date, r.c.mode == "night")
        ).mappings().one_or_none()  # fmt: skip
        if run is None:
            return None
        own = sa.and_(f.c.centre == centre, f.c.run_no == run["run_no"])
        runs = sa.select(r.c.run_no).where(r.c.centre == centre, r.c.business_date == business_date)
        findings = conn.execute(
            sa.select(t).where(t.c.centre == centre, t.c.run_no.in_(runs)).order_by(t.c.finding_no).limit(LISTED)
        ).mappings().all()  # fmt: skip
        about = sorted({x["file_no"] for x in findings})
        return {
            "run": dict(run),
            "steps": {name: results[-1] for name, results in _steps(conn, centre, [run["run_no"]]).items()},
            "files": [dict(x) for x in conn.execute(sa.select(f).where(own).order_by(f.c.file_no)).mappings()],
            "findings": [dict(x) | {"safe": safe_of(x["stage"], x["severity"], x["line_no"])} for x in findings],
            "names": {
                int(n): str(name)
                for n, name in conn.execute(sa.select(f.c.file_no, f.c.name).where(f.c.centre == centre, f.c.file_no.in_(about)))
            },
        }


def period(settings: Settings, centre: str, month: str) -> dict[str, Any]:
    """One period: its settlement, payment states, differences, twelve months of sums, the files that may be downloaded (`earlier`: old
    versions of its workbooks), and whether the ledger has left the workbook behind."""
    s, p, b = tables.settlement, tables.published_file, tables.batch
    with open_database(settings).read() as conn:
        settlement = conn.execute(sa.select(s).where(s.c.centre == centre, s.c.period == month)).mappings().one_or_none()
        history = conn.execute(
            sa.select(s.c.period, s.c.sent_fen).where(s.c.centre == centre, s.c.period <= month).order_by(s.c.period.desc()).limit(12)
        ).all()
        batches = conn.execute(
            sa.select(b.c.batch_no, b.c.direction, b.c.bank_code, b.c.send_no, b.c.payment_count, b.c.amount_fen)
            .where(b.c.centre == centre, b.c.period == month)
            .order_by(b.c.batch_no)
        ).mappings().all()  # fmt: skip
        named = sa.or_(
            sa.and_(p.c.kind == "workbook", p.c.path.contains(f"-{month}-", autoescape=True)),
            sa.and_(p.c.kind == "voucher", p.c.path.contains(f"_{month.replace('-', '')}_", autoescape=True)),
        )
        files = conn.execute(
            sa.select(p.c.path, p.c.kind, p.c.bytes, p.c.sha256, p.c.business_date)
            .where(
                p.c.centre == centre, p.c.state == "published",
                sa.or_(named, p.c.batch_no.in_([x["batch_no"] for x in batches if x["batch_no"]])),
            )
            .order_by(p.c.kind.desc(), p.c.path)
        ).mappings().all()  # fmt: skip
        counted = None if settlement is None or settlement["state"] != "published" else tally.of_period(conn, settings, centre, month)
        offered, earlier = _by_version([dict(x) for x in files])
        return {
            "settlement": None if settlement is None else dict(settlement) | {"detail": json.loads(settlement["detail"])},
            "reasons": [] if settlement is None else json.loads(settlement["reasons"]),
            "tally": counted,
            "batches": [dict(x) for x in batches],
            "history": [(x.period, int(x.sent_fen)) for x in reversed(history)],
            "files": offered,
            "earlier": earlier,
            "periods": periods(conn, centre),
            "behind": month in _behind(conn, centre),
        }


def _behind(conn: Connection, centre: str) -> set[str]:
    """Periods for which something was booked since their workbooks were written; the next bank files or night write them again."""
    written = moved.mark(conn, centre)
    return set() if written is None else moved.booked(conn, centre, written, moved.now(conn, centre))


def periods(conn: Connection, centre: str) -> list[str]:
    """The periods of a centre, newest first."""
    s = tables.settlement
    return list(conn.execute(sa.select(s.c.period).where(s.c.centre == centre).order_by(s.c.period.desc()).limit(60)).scalars())


def clearing(settings: Settings, month: str) -> dict[str, Any]:
    """The clearing over all centres of a month: its versions, newest first, the files that may be downloaded, and the centres with payments
    that were answered or sent after the newest version."""
    c, p = tables.clearing, tables.published_file
    with open_database(settings).read() as conn:
        versions = conn.execute(sa.select(c).where(c.c.period == month).order_by(c.c.version.desc())).mappings().all()
        files = conn.execute(
            sa.select(p.c.path, p.c.kind, p.c.bytes, p.c.sha256, p.c.business_date)
            .where(
                p.c.centre == CLEARING, p.c.state == "published",
                sa.or_(p.c.path.contains(f"-{month}-", autoescape=True), p.c.path.contains(f"_{month.replace('-', '')}_", autoescape=True)),
            )
            .order_by(p.c.kind.desc(), p.c.path.desc())
        ).mappings().all()  # fmt: skip
        months = sorted(overall.cleared(conn), reverse=True)
        read = [dict(v) | {name: json.loads(v[name]) for name in ("complete", "missing", "detail")} for v in versions]
        since = _since(conn, settings, month, read[0]) if read else []
    return {"versions": read, "files": [dict(x) for x in files], "months": months, "since": since}


def _since(conn: Connection, settings: Settings, month: str, version: dict[str, Any]) -> list[str]:
    """Centres whose payments of the month stand otherwise now than in a version of the clearing."""
    s = tables.settlement
    known = {p["centre"]: tuple(p[f"{name}_fen"] for name in ANSWERS) for p in version["detail"]["positions"] if p["state"] == "published"}
    published = conn.execute(sa.select(s.c.centre).where(s.c.period == month, s.c.state == "published").order_by(s.c.centre)).scalars()
    return [centre for centre in published if known.get(centre) != _answers(tally.of_period(conn, settings, centre, month))]


#: What the clearing shows of answers, and the states that make each.
ANSWERS = {"confirmed": ("confirmed", "returned"), "failed": ("failed",), "open": ("sent", "open", "reserved"), "returned": ("returned",)}


def _answers(counted: tally.Tally) -> tuple[int, ...]:
    return tuple(sum(counted.states.get(state, (0, 0))[1] for state in states) for states in ANSWERS.values())


def last_cleared(settings: Settings) -> str:
    """The newest month that was cleared over all centres; "" when none was."""
    with open_database(settings).read() as conn:
        return max(overall.cleared(conn), default="")


def downloadable(settings: Settings, centre: str, sha256: str) -> dict[str, Any] | None:
    """The published file of a centre with this SHA-256; None when the centre never published it."""
    p = tables.published_file
    with open_database(settings).read() as conn:
        row = conn.execute(
            sa.select(p).where(p.c.centre == centre, p.c.sha256 == sha256, p.c.state == "published", p.c.kind.in_(OFFERED))
            .order_by(p.c.path).limit(1)
        ).mappings().one_or_none()  # fmt: skip
    return None if row is None else dict(row)


def months(settings: Settings, centres: Sequence[str]) -> list[str]:
    """Months in which any of `centres` ran, newest first."""
    r = tables.run
    with open_database(settings).read() as conn:
        days = conn.execute(sa.select(r.c.business_date).where(r.c.centre.in_(centres)).distinct()).scalars()
        return sorted({f"{d:%Y-%m}" for d in days}, reverse=True)


def newest(settings: Settings, centre: str) -> tuple[str, str]:
    """Business date of the newest night and the newest period of a centre; "" where there is none."""
    r = tables.run
    with open_database(settings).read() as conn:
        day = conn.execute(sa.select(sa.func.max(r.c.business_date)).where(r.c.centre == centre, r.c.mode == "night")).scalar_one()
        known = periods(conn, centre)
    return str(day) if day else "", known[0] if known else ""


def newest_books(settings: Settings, centre: str, month: str) -> list[dict[str, Any]]:
    """The newest version of a period's workbook and of each of its part files."""
    return [found for found in period(settings, centre, month)["files"] if found["kind"] == "workbook"]


def _by_version(files: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Files as they are offered: only the newest version of each workbook; and the earlier versions, newest first."""
    newest = {found["path"].rpartition("-V")[0]: found["path"] for found in sorted(files, key=lambda f: f["path"])}
    earlier = [f for f in files if f["kind"] == "workbook" and newest[f["path"].rpartition("-V")[0]] != f["path"]]
    return [f for f in files if f not in earlier], sorted(earlier, key=lambda f: f["path"], reverse=True)


def vouchers(settings: Settings, centre: str, month: str) -> bytes:
    """The voucher file of a calendar month as the journal stands now, in the centre's encoding; nothing is stored."""
    outbound = profiles.load(settings.rules, centre)
    with open_database(settings).read() as conn:
        return voucher_file.text(voucher_file.rows(conn, centre, month)).encode(outbound.voucher_encoding)
