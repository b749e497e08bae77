"""What is to be recovered, and writing it off by two people, for the page: one asks, another answers under the centre's lease."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa

from subsidy.errors import TerminalError
from subsidy.ledger import receivables, tables, write_off_desk
from subsidy.ledger.database import open_database
from subsidy.ledger.journal import RunRef
from subsidy.money import parse_yuan
from subsidy.night import clock, context, opening
from subsidy.settings import Settings

#: Rows of receivables that the page lists, the largest first; the workbook has them all.
LISTED = 200
#: What the page says after a form was sent.
SAID = {
    "asked": "核销申请已提交，等待另一名审批人答复。",
    "written_off": "核销已批准并记账。",
    "rejected": "核销申请已驳回，应收保留。",
}


def shown(settings: Settings, centre: str) -> dict[str, Any]:
    """`receivables` (the largest `LISTED`), `total` how many, `total_fen`, `waiting` requests to write off, and `as_of`."""
    with open_database(settings).read() as conn:
        as_of = opening.open_date(conn, centre)
        waiting = write_off_desk.waiting(conn, centre)
        if as_of is None:
            return {"receivables": [], "total": 0, "total_fen": 0, "waiting": waiting, "as_of": None}
        found = receivables.receivables(conn, centre, as_of)
    largest = found.sort_by([("receivable_fen", "descending"), ("agreement_no", "ascending")]).slice(0, LISTED)
    total_fen = sum(found["receivable_fen"].to_pylist())
    return {"receivables": largest.to_pylist(), "total": found.num_rows, "total_fen": total_fen, "waiting": waiting, "as_of": as_of}


def ask(settings: Settings, centre: str, agreement_no: str, amount_yuan: str, person: str, reason: str) -> int:
    """Ask that a part of an agreement's receivable be written off; returns the request's number. `amount_yuan` as typed: 1234.56.

    TerminalError ``WRITE-OFF-AMOUNT`` when that is no amount, and those of `write_off_desk.request`."""
    try:
        amount_fen = parse_yuan(amount_yuan)
    except ValueError:
        raise TerminalError("WRITE-OFF-AMOUNT", "核销金额不是金额。", "没有提交申请。", "写成 1234.56 这样：元，最多两位小数。") from None
    with open_database(settings).transaction_system() as conn:
        return write_off_desk.request(conn, centre, agreement_no, amount_fen, person=person, reason=reason, at=clock.stamp())


def answer(settings: Settings, centre: str, number: int, person: str, said: Literal["approve", "reject"], content_hash: str) -> str:
    """Answer a request: written_off or rejected. An approval is booked at once, on the open business date, by the rules of the last run.

    TerminalError ``WRITE-OFF-REFUSED`` (recorded all the same) when the person asked it or saw other content, ``WRITE-OFF-NO-RUN`` when the
    centre never ran, and those of `write_off_desk.answer`."""
    db = open_database(settings)
    t = tables.run
    with db.read() as conn:
        run_no = conn.execute(sa.select(sa.func.max(t.c.run_no)).where(t.c.centre == centre)).scalar_one_or_none()
        day = opening.open_date(conn, centre)
    if run_no is None or day is None:
        raise TerminalError("WRITE-OFF-NO-RUN", f"{centre} 还没有运行过。", "没有核销。", "先运行该中心的夜间处理。")
    ctx = context.load(settings, centre, int(run_no))
    run = RunRef(centre, ctx.run.run_no, day, ctx.policy.version)
    with context.working(db, centre, f"{person}：答复核销申请 {number}") as token, db.transaction(centre, token) as conn:
        chart = ctx.policy.settlement_on(day).accounts
        given = write_off_desk.answer(conn, run, chart, number, person=person, answer=said, content_hash=content_hash, at=clock.stamp())
    if given.state == "waiting":
        raise TerminalError("WRITE-OFF-REFUSED", given.message, "没有核销，申请继续等待；本次答复已记录。", "由另一名有审批权限的人答复。")
    return given.state
