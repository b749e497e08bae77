"""People decide whether a settlement may be sent (handbook section 7, step 2). Every answer is recorded, also one that does not count.

Nobody approves a batch in which they acted; above the limit two different persons must approve; what is approved is named by its hash.
A rejected settlement can be approved after all until a later settlement has taken its lines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import events
from subsidy.errors import TerminalError
from subsidy.ledger import audit, restore, tables
from subsidy.ledger.database import Database, next_numbers

#: States in which a settlement may be answered.
ANSWERABLE = ("waiting", "held", "approved", "rejected")


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an answer. Not `accepted`: it was recorded as refused, `message` says why, and the question must be asked again.

    `approvals` valid approvals of `needed` are there now."""

    accepted: bool
    state: str
    message: str
    approvals: int
    needed: int


@dataclass(frozen=True, slots=True)
class Pending:
    """A settlement that waits for people: what the question needs."""

    period: str
    state: str
    settlement_on: date
    content_hash: str
    reasons: tuple[str, ...]
    approvals: int
    needed: int


def subject_of(period: str) -> str:
    """The subject under which answers and acts on a settlement are recorded."""
    return f"settlement:{period}"


def answer(db: Database, centre: str, period: str, person: str, answer: Literal["approve", "reject"], content_hash: str, at: str) -> Answer:
    """Record a person's answer about the settlement of `period`.

    `content_hash` is what the person was shown; `at` is wall clock, ISO 8601 with offset, recorded only. TerminalError ``SETTLE-UNKNOWN``
    when there is no settlement. Runs without the centre's lease: an answer delays no night.
    """
    if answer not in ("approve", "reject"):
        raise ValueError(answer)
    with db.transaction_system() as conn:
        s = tables.settlement
        row = conn.execute(sa.select(s).where(s.c.centre == centre, s.c.period == period).with_for_update()).mappings().one_or_none()
        if row is None:
            raise TerminalError("SETTLE-UNKNOWN", f"{centre} 没有 {period} 期的清算批次。", "没有记录答复。", "先运行该期的夜间流程。")
        refusal = _refusal(conn, centre, row, person, answer, content_hash)
        outcome = "refused" if refusal else answer
        _record(conn, centre, period, person, outcome, content_hash, refusal or "", at)
        state = row["state"]
        approvals = len(approvers(conn, centre, period, row["content_hash"]))
        if refusal:
            return Answer(False, state, refusal, approvals, row["approvals_needed"])
        if answer == "reject":
            state, text = "rejected", f"{person} 驳回了 {period} 期批次，不会付款；可再次提请，否则款项转入下一次清算。"
        elif approvals >= row["approvals_needed"]:
            state, text = "approved", f"{period} 期批次已获批准（{approvals} 人），可以发布。"
        else:
            state = "waiting" if state in ("rejected", "approved") else state
            text = f"{person} 已批准，还需另外 {row['approvals_needed'] - approvals} 人批准。"
        conn.execute(sa.update(s).where(s.c.centre == centre, s.c.period == period).values(state=state))
        return Answer(True, state, text, approvals, row["approvals_needed"])


def pending(conn: Connection, centre: str, period: str) -> Pending | None:
    """The settlement of `period` when it may still be answered and is not approved (any more); None otherwise."""
    s = tables.settlement
    row = conn.execute(sa.select(s).where(s.c.centre == centre, s.c.period == period)).mappings().one_or_none()
    state = "" if row is None else standing(conn, row)
    if row is None or state not in ("waiting", "held", "rejected") or events.given_back(conn, centre, period):
        return None
    count = len(approvers(conn, centre, period, row["content_hash"]))
    return Pending(
        period, state, row["settlement_on"], row["content_hash"], tuple(json.loads(row["reasons"])), count, row["approvals_needed"]
    )


def standing(conn: Connection, row: Mapping[Any, Any]) -> str:
    """The state of a row of table `settlement` as it stands now: one whose approvals no longer suffice, because who gave them acted
    since, waits again."""
    if row["state"] != "approved":
        return str(row["state"])
    count = len(approvers(conn, row["centre"], row["period"], row["content_hash"]))
    return "approved" if count >= row["approvals_needed"] else "waiting"


def approvers(conn: Connection, centre: str, period: str, content_hash: str) -> list[str]:
    """Persons whose approval of this content counts: given after the last rejection, and who did not act in the batch, not even later."""
    a = tables.approval
    rows = conn.execute(
        sa.select(a.c.person, a.c.answer, a.c.content_hash)
        .where(a.c.centre == centre, a.c.subject == subject_of(period))
        .order_by(a.c.approval_no)
    ).all()
    people: list[str] = []
    for person, given, hash_ in rows:
        if given == "reject":
            people = []
        elif given == "approve" and hash_ == content_hash and person not in people:
            people.append(person)
    acted = _acted(conn, centre, period)
    return [person for person in people if person not in acted]


def _acted(conn: Connection, centre: str, period: str) -> set[str]:
    """Who acted in the settlement: as the chain of acts says, and whoever started one of its runs."""
    r = tables.run
    low, high = _runs(conn, centre, period)
    started = sa.select(r.c.started_by).where(r.c.centre == centre, r.c.run_no > low, r.c.run_no <= high)
    return audit.acted(conn, centre, subjects(conn, centre, period)) | set(conn.execute(started).scalars())


def _runs(conn: Connection, centre: str, period: str) -> tuple[int, int]:
    """The runs of a settlement: after the first number, up to the second."""
    s = tables.settlement
    mine = int(conn.execute(sa.select(s.c.run_no).where(s.c.centre == centre, s.c.period == period)).scalar_one())
    before = conn.execute(
        sa.select(sa.func.max(s.c.run_no)).where(s.c.centre == centre, s.c.run_no < mine, s.c.state.not_in(("rejected", "empty")))
    ).scalar_one()
    return int(before or 0), mine


def subjects(conn: Connection, centre: str, period: str) -> list[str]:
    """Everything whose handling counts as acting in the settlement: its runs, their nights and files, and rows released for them."""
    r, f, q = tables.run, tables.file, tables.quarantine_release
    low, high = _runs(conn, centre, period)
    runs = conn.execute(sa.select(r.c.run_no, r.c.business_date).where(r.c.centre == centre, r.c.run_no > low, r.c.run_no <= high)).all()
    found = [subject_of(period), f"period:{period}"]
    found += [f"run:{run.run_no}" for run in runs]
    found += [f"{kind}:{day}" for day in sorted({run.business_date for run in runs}) for kind in ("night", "recompute")]
    found += [
        f"file:{number}"
        for (number,) in conn.execute(sa.select(f.c.file_no).where(f.c.centre == centre, f.c.run_no > low, f.c.run_no <= high))
    ]
    if runs:
        days = [run.business_date for run in runs]
        found += [
            f"quarantine:{number}"
            for (number,) in conn.execute(
                sa.select(q.c.quarantine_no).where(
                    q.c.centre == centre, q.c.how == "person", q.c.business_date.between(min(days), max(days))
                )
            )
        ]
    return found


def _refusal(conn: Connection, centre: str, row: Mapping[Any, Any], person: str, given: str, content_hash: str) -> str | None:
    period = row["period"]
    if not person:
        return "不知道答复人是谁，答复不算数。"
    if row["state"] in ("publishing", "published"):
        return f"{period} 期批次已经发布，答复不算数。"
    if row["state"] not in ANSWERABLE:
        return f"{period} 期没有需要支付的款项，不需要答复。"
    if content_hash != row["content_hash"]:
        return f"批次内容与您看到的不一致，答复不算数；请重新查看 {period} 期批次后再答复。"
    if given == "reject":
        if restore.period_left(conn, centre, period):
            return f"{period} 期批次在账簿恢复前已经发出或可能已经发出，不能驳回；批准后只补记账并向银行查询，不会再次付款。"
        return None
    if standing(conn, row) == "approved":
        return f"{period} 期批次已经批准，不需要再批。"
    if events.given_back(conn, centre, period):
        return f"{period} 期批次被驳回后，款项已转入后面的清算，不能再批准。"
    if person in _acted(conn, centre, period):
        return f"{person} 参与过本批次的运行（触发、清除、标记、补跑、放行、录入期初或改动），不能批准；请由其他人审批。"
    if person in approvers(conn, centre, period, content_hash):
        return f"{person} 已经批准过，双人审批须由另一人批准。"
    return None


def _record(conn: Connection, centre: str, period: str, person: str, outcome: str, content_hash: str, message: str, at: str) -> None:
    conn.execute(
        sa.insert(tables.approval).values(
            centre=centre,
            approval_no=next_numbers(conn, centre, "approval"),
            subject=subject_of(period),
            content_hash=content_hash,
            person=person,
            answer=outcome,
            message=message,
            answered_at=at,
        )
    )
    if person:
        audit.record(conn, centre, person, outcome, subject_of(period), message or f"答复：{outcome}", at)
