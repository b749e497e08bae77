"""Who may approve: nobody who acted in the batch, two persons above the limit, only what they saw; every answer is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest
import sqlalchemy as sa
from clearing_house import APPROVAL, OCTOBER, SEPTEMBER, STAMP, House

from subsidy.clearing import approval
from subsidy.errors import TerminalError
from subsidy.ledger import audit, tables, verify

NewHouse = Callable[..., House]
NIGHT = date(2026, 9, 20)


@pytest.fixture
def waiting(new_house: NewHouse) -> House:
    """A settlement above the two-person limit that waits."""
    house = new_house(approval=replace(APPROVAL, two_above_fen=100))
    house.night(NIGHT, {"X1": {"S1": 300}})
    assert house.settle(SEPTEMBER).approvals_needed == 2
    return house


def said(house: House, person: str, answer: str = "approve", content_hash: str | None = None) -> approval.Answer:
    with house.db.read() as conn:
        hash_ = conn.execute(sa.select(tables.settlement.c.content_hash)).scalars().first()
    return approval.answer(house.db, house.centre, "2026-09", person, answer, content_hash or str(hash_), STAMP)  # type: ignore[arg-type]


def acted(house: House, person: str, act: str, subject: str) -> None:
    with house.db.transaction_system() as conn:
        audit.record(conn, house.centre, person, act, subject, "", STAMP)


def answers(house: House) -> list[tuple[str, str]]:
    a = tables.approval
    with house.db.read() as conn:
        return [(row.person, row.answer) for row in conn.execute(sa.select(a).order_by(a.c.approval_no))]


def test_two_different_persons(waiting: House) -> None:
    first = said(waiting, "甲")
    assert (first.accepted, first.state, first.approvals) == (True, "waiting", 1)
    assert "还需另外 1 人" in first.message
    same = said(waiting, "甲")
    assert (same.accepted, same.approvals) == (False, 1)
    assert "已经批准过" in same.message
    second = said(waiting, "乙")
    assert (second.accepted, second.state, second.approvals) == (True, "approved", 2)
    assert not said(waiting, "丙").accepted
    assert answers(waiting) == [("甲", "approve"), ("甲", "refused"), ("乙", "approve"), ("丙", "refused")]
    assert verify.verify_audit(waiting.db) == []


@pytest.mark.parametrize(
    ("act", "subject"),
    [
        ("trigger", "run:1"), ("clear", "run:1"), ("mark", "run:1"), ("backfill", "night:2026-09-20"), ("override", "run:1"),
        ("opening", "file:1"), ("recompute", "recompute:2026-09-20"), ("trigger", "settlement:2026-09"),
    ],
)  # fmt: skip
def test_nobody_approves_what_they_acted_in(waiting: House, act: str, subject: str) -> None:
    acted(waiting, "甲", act, subject)
    refused = said(waiting, "甲")
    assert (refused.accepted, refused.state, refused.approvals) == (False, "waiting", 0)
    assert "参与过本批次" in refused.message
    assert answers(waiting) == [("甲", "refused")]
    # Others may; and who acted may still stop it.
    assert said(waiting, "乙").accepted
    assert said(waiting, "甲", "reject").state == "rejected"


def test_released_row_counts_as_acting(waiting: House) -> None:
    with waiting.db.transaction(waiting.centre, waiting.token) as conn:
        row = {"centre": waiting.centre, "quarantine_no": 4, "how": "person", "person": "甲", "reason": "r", "business_date": NIGHT}
        conn.execute(sa.insert(tables.quarantine_release).values(**row))
    acted(waiting, "甲", "release", "quarantine:4")
    assert not said(waiting, "甲").accepted
    assert said(waiting, "乙").accepted


def test_who_started_a_run_acted_even_where_no_act_was_recorded(waiting: House) -> None:
    with waiting.db.transaction(waiting.centre, waiting.token) as conn:
        conn.execute(sa.update(tables.run).where(tables.run.c.centre == waiting.centre, tables.run.c.run_no == 1).values(started_by="甲"))
    assert not said(waiting, "甲").accepted
    assert said(waiting, "乙").accepted


def test_acts_in_other_things_do_not_count(waiting: House) -> None:
    for act, subject in (("trigger", "run:2"), ("approve", "run:1"), ("download", "settlement:2026-09"), ("trigger", "settlement:2026-08")):
        acted(waiting, "甲", act, subject)
    assert said(waiting, "甲").accepted


def test_acting_after_the_approval_makes_it_worthless(waiting: House) -> None:
    said(waiting, "甲")
    said(waiting, "乙")
    acted(waiting, "甲", "clear", "run:1")
    with pytest.raises(TerminalError, match="PUBLISH-NOT-APPROVED"):
        waiting.publish("2026-09")
    assert not list(waiting.outbox.glob("*"))


def test_earlier_runs_belong_to_the_earlier_settlement(waiting: House) -> None:
    acted(waiting, "甲", "trigger", "run:1")
    waiting.approve("2026-09", "乙", "丙")
    waiting.publish("2026-09")
    waiting.night(OCTOBER.night, {"X1": {"S2": 300}})
    built = waiting.settle(OCTOBER)
    assert approval.answer(waiting.db, waiting.centre, "2026-10", "甲", "approve", built.content_hash, STAMP).accepted


def test_what_was_seen_must_be_what_is_there(waiting: House) -> None:
    refused = said(waiting, "甲", content_hash="0" * 64)
    assert not refused.accepted
    assert "不一致" in refused.message


def test_rejected_can_be_put_again(waiting: House) -> None:
    said(waiting, "甲")
    assert said(waiting, "乙", "reject").state == "rejected"
    with pytest.raises(TerminalError, match="PUBLISH-NOT-APPROVED"):
        waiting.publish("2026-09")
    with waiting.db.read() as conn:
        asked = approval.pending(conn, waiting.centre, "2026-09")
    assert asked is not None
    assert (asked.state, asked.approvals, asked.needed) == ("rejected", 0, 2)
    # Approvals from before the rejection do not count any more.
    assert said(waiting, "甲").state == "waiting"
    assert said(waiting, "乙").state == "approved"
    assert waiting.publish("2026-09").state == "published"


def test_no_answer_counts_after_publication(waiting: House) -> None:
    waiting.approve("2026-09", "甲", "乙")
    waiting.publish("2026-09")
    late = said(waiting, "丙", "reject")
    assert (late.accepted, late.state) == (False, "published")
    assert waiting.states() == ["sent"]


def test_nobody_answers_nothing(waiting: House) -> None:
    assert not said(waiting, "").accepted
    with pytest.raises(TerminalError, match="SETTLE-UNKNOWN"):
        approval.answer(waiting.db, waiting.centre, "2026-08", "甲", "approve", "", STAMP)


def test_empty_settlement_needs_no_answer(house: House) -> None:
    house.night(NIGHT, {"X1": {"S1": 0}})
    house.settle(SEPTEMBER)
    assert not approval.answer(house.db, house.centre, "2026-09", "甲", "approve", "", STAMP).accepted
