"""Writing off takes two people: one asks, another answers. Every answer is recorded, also one that does not count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.errors import TerminalError, refuse_control
from subsidy.ledger import audit, chain, tables
from subsidy.ledger.database import next_numbers
from subsidy.ledger.journal import RunRef
from subsidy.ledger.receivables import refuse_amount, write_off
from subsidy.policy.model import ChartOfAccounts


@dataclass(frozen=True, slots=True)
class WriteOffAnswer:
    """What became of an answer: `state` is written_off, rejected or waiting (the answer was refused; `message` says why)."""

    state: Literal["written_off", "rejected", "waiting"]
    message: str
    write_off_no: int = 0


def subject_of(request_no: int) -> str:
    """The subject under which answers on a request are recorded."""
    return f"write_off_request:{request_no}"


def request(conn: Connection, centre: str, agreement_no: str, amount_fen: int, *, person: str, reason: str, at: str) -> int:
    """Ask that part of an agreement's receivable be written off; returns the number of the request.

    TerminalError ``WRITE-OFF-REASON`` without a reason, ``WRITE-OFF-AGREEMENT`` when nothing was ever posted for the agreement,
    ``WRITE-OFF-MUCH`` when the amount is not open now. `at`: wall clock, ISO 8601."""
    refuse_control(agreement_no, reason)
    if not reason.strip():
        raise TerminalError("WRITE-OFF-REASON", "核销没有写明原因。", "没有提交申请。", "填写原因后重新提交。")
    p = tables.posting
    if conn.execute(sa.select(p.c.posting_no).where(p.c.centre == centre, p.c.agreement_no == agreement_no).limit(1)).first() is None:
        what = f"没有这个协议：{agreement_no}（{centre} 的账簿中没有它的贴息明细）。"
        raise TerminalError("WRITE-OFF-AGREEMENT", what, "没有提交申请。", "核对中心和协议编号后重新提交。")
    refuse_amount(conn, centre, agreement_no, amount_fen)
    number = next_numbers(conn, centre, "write_off_request")
    conn.execute(
        sa.insert(tables.write_off_request).values(
            centre=centre, request_no=number, agreement_no=agreement_no, amount_fen=amount_fen, person=person, reason=reason, at=at
        )
    )
    audit.record(conn, centre, person, "write_off", subject_of(number), reason, at)
    return number


def waiting(conn: Connection, centre: str) -> list[dict[str, Any]]:
    """Requests without a valid answer, oldest first: request_no, agreement_no, amount_fen, person, reason, at, content_hash."""
    r, a = tables.write_off_request, tables.approval
    answered = sa.exists().where(
        a.c.centre == r.c.centre,
        a.c.subject == sa.literal("write_off_request:") + sa.cast(r.c.request_no, sa.Text),
        a.c.answer.in_(("approve", "reject")),
    )
    query = sa.select(r).where(r.c.centre == centre, sa.not_(answered)).order_by(r.c.request_no)
    return [dict(row) | {"content_hash": content_hash(row)} for row in conn.execute(query).mappings()]


def content_hash(row: Any) -> str:
    """What an approval of a request approves."""
    return chain.hash_of(row["centre"], row["request_no"], row["agreement_no"], row["amount_fen"], row["person"], row["reason"])


def answer(
    conn: Connection,
    run: RunRef,
    chart: ChartOfAccounts,
    request_no: int,
    *,
    person: str,
    answer: Literal["approve", "reject"],
    content_hash: str,
    at: str,
) -> WriteOffAnswer:
    """Answer a request; an approval writes off at once, in the caller's transaction under the centre's lease.

    `content_hash` is what the person was shown. Refused and recorded, the request keeps waiting: by the person who asked, or of other
    content. TerminalError ``WRITE-OFF-UNKNOWN`` when no such request waits, ``WRITE-OFF-MUCH`` when the amount is no longer open."""
    refuse_control(content_hash)
    found = [row for row in waiting(conn, run.centre) if row["request_no"] == request_no]
    if not found:
        raise TerminalError("WRITE-OFF-UNKNOWN", f"没有待答复的核销申请 {request_no}。", "没有核销。", "刷新页面，查看待答复的申请。")
    row = found[0]
    refusal = ""
    if person == row["person"]:
        refusal = "申请人不能批准或驳回自己的核销申请；由另一名有权限的人答复。"
    elif content_hash != row["content_hash"]:
        refusal = "申请内容与所见不同；刷新页面后重新答复。"
    elif answer == "approve":
        # Before anything is recorded: an approval that cannot be carried out must leave the request waiting.
        refuse_amount(conn, run.centre, row["agreement_no"], row["amount_fen"])
    conn.execute(
        sa.insert(tables.approval).values(
            centre=run.centre, approval_no=next_numbers(conn, run.centre, "approval"), subject=subject_of(request_no),
            content_hash=content_hash, person=person, answer="refused" if refusal else answer, message=refusal, answered_at=at,
        )
    )  # fmt: skip
    if refusal:
        audit.record(conn, run.centre, person, "refused", subject_of(request_no), refusal, at)
        return WriteOffAnswer("waiting", refusal)
    if answer == "reject":
        audit.record(conn, run.centre, person, "reject", subject_of(request_no), "", at)
        return WriteOffAnswer("rejected", f"{person} 驳回了核销申请 {request_no}，应收保留。")
    number = write_off(
        conn,
        run,
        chart,
        row["agreement_no"],
        row["amount_fen"],
        requested_by=row["person"],
        approved_by=person,
        reason=row["reason"],
        at=at,
    )
    return WriteOffAnswer("written_off", f"核销申请 {request_no} 已批准并记账，核销号 {number}。", number)
