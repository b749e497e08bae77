"""What the pages show: read-only views over the register and the ledger, counted by the database, never row by row."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.policy import PolicyError, load_centre
from subsidy.settings import Settings

#: Rows of findings and quarantine that one page lists; the workbook has them all.
LISTED = 200


@dataclass(frozen=True)
class Cell:
    """One square of the board. `state`: done | waiting | trouble | none; `text` says it in a few words; `todo` what to do next."""

    state: str
    text: str
    todo: str = ""


@dataclass(frozen=True)
class Row:
    """One centre in one month: its name, or why its folder cannot be loaded; the cells in the order of `STAGES`."""

    centre: str
    name: str
    fault: str
    cells: tuple[Cell, ...]
    nights: tuple[str, ...]
    period: str


STAGES = ("文件", "隔离与异常", "计算与复算", "清算批次", "审批", "发送", "回盘", "对账")


def board(settings: Settings, centres: list[str], month: str) -> list[Row]:
    """The board of a month over `centres` (those the reader may see)."""
    with open_database(settings).read() as conn:
        return [_row(conn, settings, centre, month) for centre in centres]


def _row(conn: Connection, settings: Settings, centre: str, month: str) -> Row:
    name, fault = centre, ""
    try:
        name = load_centre(settings.rules, centre).short_name
    except PolicyError as error:
        fault = str(error.message.what)
    first, after = _month(month)
    r, f, s = tables.run, tables.file, tables.settlement
    runs = conn.execute(
        sa.select(r.c.run_no, r.c.business_date, r.c.state)
        .where(r.c.centre == centre, r.c.mode == "night", r.c.business_date >= first, r.c.business_date < after)
        .order_by(r.c.run_no)
    ).all()
    numbers = [x.run_no for x in runs]
    files = conn.execute(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(f.c.rows_in), 0), sa.func.coalesce(sa.func.sum(f.c.rows_quarantined), 0))
        .where(f.c.centre == centre, f.c.run_no.in_(numbers))
    ).one()  # fmt: skip
    refused = conn.execute(
        sa.select(sa.func.count()).where(f.c.centre == centre, f.c.run_no.in_(numbers), f.c.state.in_(("refused", "held")))
    ).scalar_one()
    steps = _steps(conn, centre, numbers)
    settlement = conn.execute(sa.select(s).where(s.c.centre == centre, s.c.period == month)).mappings().one_or_none()
    cells = (
        _files(steps, int(files[0]), int(files[1]), int(refused)),
        _findings(conn, centre, numbers, int(files[2])),
        _computed(steps, [x.state for x in runs]),
        *_settled(conn, centre, settlement),
    )
    return Row(centre, name, fault, cells, tuple(str(x.business_date) for x in runs), month if settlement is not None else "")


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


def _files(steps: dict[str, list[dict[str, Any]]], count: int, rows: int, refused: int) -> Cell:
    missing = steps["take_in"][-1]["missing"] if steps["take_in"] else []
    if refused:
        return Cell("trouble", f"{refused} 个文件被拒或搁置", "查看原因，请对方更正后重送")
    if missing:
        return Cell("trouble", f"缺 {len(missing)} 个文件", "缺：" + "、".join(missing))
    return Cell("done", f"{count} 个文件 {rows} 行") if count else Cell("none", "无文件")


def _findings(conn: Connection, centre: str, numbers: list[int], quarantined: int) -> Cell:
    t = tables.finding
    serious = conn.execute(
        sa.select(sa.func.count()).where(t.c.centre == centre, t.c.run_no.in_(numbers), t.c.severity == "error", t.c.stage != "intake")
    ).scalar_one()
    if serious:
        return Cell("trouble", f"异常 {serious} 项，隔离 {quarantined} 行", "打开当夜页面逐项查明")
    if quarantined:
        return Cell("waiting", f"隔离 {quarantined} 行", "请对方更正，或确认无误后放行")
    return Cell("done", "无") if numbers else Cell("none", "")


def _computed(steps: dict[str, list[dict[str, Any]]], states: list[str]) -> Cell:
    if not states:
        return Cell("none", "未运行")
    if "running" in states:
        return Cell("trouble", "有一夜没有完成", "打开流程，清除并重跑失败的任务")
    differing = sum(x.get("differences", 0) for x in steps["check"])
    if differing:
        return Cell("trouble", f"复算不一致 {differing} 行", "不要付款；交系统维护人员查明")
    return Cell("done", f"{len(states)} 夜，{sum(x.get('lines_new', 0) for x in steps['compute'])} 行新明细，复算一致")


def _settled(conn: Connection, centre: str, settlement: Any) -> tuple[Cell, ...]:
    if settlement is None:
        return tuple(Cell("none", "本月无清算") if i == 0 else Cell("none", "") for i in range(5))
    state = settlement["state"]
    if state == "empty":
        return (Cell("done", "无应付，已宣布为空"), *(Cell("none", "") for _ in range(4)))
    built = Cell("done", f"应发 {yuan(settlement['sent_fen'])} 元")
    answered = {
        "waiting": Cell("waiting", "等待审批", "在“待办事项”中由另一人审批"),
        "held": Cell("trouble", "异常，等待审批", "核对异常原因后由另一人审批"),
        "rejected": Cell("trouble", "已驳回", "查明后重新触发审批"),
    }.get(state, Cell("done", "已批准"))
    sent = Cell("done", "已发送") if state == "published" else Cell("waiting", "未发送")
    if state != "published":
        return built, answered, sent, Cell("none", ""), Cell("none", "")
    counted = payment_states(conn, centre, settlement["period"])
    open_count = sum(n for name, (n, _) in counted.items() if name in ("sent", "open", "reserved"))
    failed = counted.get("failed", (0, 0))[0] + counted.get("returned", (0, 0))[0]
    confirmed = counted.get("confirmed", (0, 0))
    text = f"已付 {confirmed[0]} 笔 {yuan(confirmed[1])} 元"
    if failed:
        text += f"，失败或退汇 {failed} 笔"
    if open_count:
        return (
            built,
            answered,
            sent,
            Cell("waiting", f"{text}，未决 {open_count} 笔", "等待回盘；逾期则查询银行，不要重发"),
            Cell("waiting", "未完"),
        )
    return built, answered, sent, Cell("done", text), Cell("done", "已勾稽")


_COUNTED: dict[tuple[str, str, str], tuple[int, dict[str, tuple[int, int]]]] = {}


def payment_states(conn: Connection, centre: str, period: str) -> dict[str, tuple[int, int]]:
    """Number and fen of a period's payments by state. Counted again only when an event was added since."""
    c, p, b, e = tables.counter, tables.payment, tables.batch, tables.payment_event
    newest = int(conn.execute(sa.select(c.c.next_no).where(c.c.centre == centre, c.c.name == "event")).scalar_one_or_none() or 0)
    key = (str(conn.engine.url), centre, period)
    kept = _COUNTED.get(key)
    if kept is not None and kept[0] == newest:
        return kept[1]
    last = (
        sa.select(e.c.payment_no, sa.func.max(e.c.event_no).label("event_no"))
        .join(p, sa.and_(p.c.centre == e.c.centre, p.c.payment_no == e.c.payment_no))
        .join(b, sa.and_(b.c.centre == p.c.centre, b.c.batch_no == p.c.batch_no))
        .where(e.c.centre == centre, b.c.period == period, b.c.direction == "out")
        .group_by(e.c.payment_no)
        .subquery()
    )
    rows = conn.execute(
        sa.select(e.c.state, sa.func.count(), sa.func.sum(p.c.amount_fen))
        .join(last, last.c.event_no == e.c.event_no)
        .join(p, sa.and_(p.c.centre == e.c.centre, p.c.payment_no == e.c.payment_no))
        .where(e.c.centre == centre)
        .group_by(e.c.state)
    )
    counted = {str(state): (int(n), int(fen)) for state, n, fen in rows}
    _COUNTED[key] = (newest, counted)
    return counted


def yuan(fen: int) -> str:
    """Yuan with two decimals and thousands separators."""
    return f"{'-' if fen < 0 else ''}{abs(fen) // 100:,}.{abs(fen) % 100:02d}"


def night(settings: Settings, centre: str, business_date: date) -> dict[str, Any] | None:
    """One night: its run, steps, files and findings; None when it was never opened."""
    r, f, t = tables.run, tables.file, tables.finding
    with open_database(settings).read() as conn:
        run = conn.execute(
            sa.select(r).where(r.c.centre == centre, r.c.business_date == business_date, r.c.mode == "night")
        ).mappings().one_or_none()  # fmt: skip
        if run is None:
            return None
        own = sa.and_(f.c.centre == centre, f.c.run_no == run["run_no"])
        return {
            "run": dict(run),
            "steps": {name: results[-1] for name, results in _steps(conn, centre, [run["run_no"]]).items()},
            "files": [dict(x) for x in conn.execute(sa.select(f).where(own).order_by(f.c.file_no)).mappings()],
            "findings": [
                dict(x)
                for x in conn.execute(
                    sa.select(t).where(t.c.centre == centre, t.c.run_no == run["run_no"]).order_by(t.c.finding_no).limit(LISTED)
                ).mappings()
            ],
        }


def period(settings: Settings, centre: str, month: str) -> dict[str, Any]:
    """One period: its settlement, payment states, twelve months of sums, and the files that may be downloaded."""
    s, p = tables.settlement, tables.published_file
    with open_database(settings).read() as conn:
        settlement = conn.execute(sa.select(s).where(s.c.centre == centre, s.c.period == month)).mappings().one_or_none()
        history = conn.execute(
            sa.select(s.c.period, s.c.sent_fen).where(s.c.centre == centre, s.c.period <= month).order_by(s.c.period.desc()).limit(12)
        ).all()
        runs = [] if settlement is None else [settlement["run_no"]]
        b = tables.batch
        batches = list(conn.execute(sa.select(b.c.batch_no).where(b.c.centre == centre, b.c.period == month)).scalars())
        files = conn.execute(
            sa.select(p.c.path, p.c.kind, p.c.bytes, p.c.sha256, p.c.business_date)
            .where(
                p.c.centre == centre, p.c.state == "published",
                sa.or_(sa.and_(p.c.kind == "workbook", p.c.path.contains(f"-{month}-", autoescape=True)), p.c.batch_no.in_(batches),
                       sa.and_(p.c.kind == "voucher", p.c.run_no.in_(runs))),
            )
            .order_by(p.c.kind.desc(), p.c.path)
        ).mappings().all()  # fmt: skip
        return {
            "settlement": None if settlement is None else dict(settlement),
            "states": payment_states(conn, centre, month),
            "history": [(x.period, int(x.sent_fen)) for x in reversed(history)],
            "files": [dict(x) for x in files],
        }


def downloadable(settings: Settings, centre: str, sha256: str) -> dict[str, Any] | None:
    """The published file of a centre with this SHA-256; None when the centre never published it."""
    p = tables.published_file
    with open_database(settings).read() as conn:
        row = conn.execute(
            sa.select(p).where(p.c.centre == centre, p.c.sha256 == sha256, p.c.state == "published").order_by(p.c.path).limit(1)
        ).mappings().one_or_none()  # fmt: skip
    return None if row is None else dict(row)


def months(settings: Settings) -> list[str]:
    """Months in which anything ran, newest first."""
    r = tables.run
    with open_database(settings).read() as conn:
        days = conn.execute(sa.select(r.c.business_date).distinct()).scalars()
        return sorted({f"{d:%Y-%m}" for d in days}, reverse=True)
