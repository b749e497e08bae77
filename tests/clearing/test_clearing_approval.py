"""Who may approve: nobody who acted in the batch, two persons above the limit, only what they saw; every answer is recorded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa
from clearing_house import APPROVAL, OCTOBER, SEPTEMBER, STAMP, House

from subsidy.clearing import approval, events, outbox
from subsidy.errors import TerminalError, TransientError
from subsidy.ledger import audit, tables, verify
from subsidy.night import api

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


def test_what_an_act_made_worthless_can_be_approved_by_somebody_else(waiting: House) -> None:
    waiting.approve("2026-09", "甲", "乙")
    acted(waiting, "甲", "clear", "run:1")
    with waiting.db.read() as conn:
        asked = approval.pending(conn, waiting.centre, "2026-09")
    assert asked is not None
    assert (asked.state, asked.approvals, asked.needed) == ("waiting", 1, 2)
    assert not said(waiting, "甲").accepted
    assert said(waiting, "丙").state == "approved"
    assert waiting.publish("2026-09").state == "published"


def test_publication_that_began_is_finished_whoever_acts_meanwhile(waiting: House, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting.approve("2026-09", "甲", "乙")
    with monkeypatch.context() as patched:
        patched.setattr(outbox, "sync_folder", lambda _: (_ for _ in ()).throw(OSError(5, "io")))
        with pytest.raises(TransientError, match="PUBLISH-DISK"):
            waiting.publish("2026-09")
    left = {path.name for path in waiting.outbox.iterdir() if not path.name.startswith(".")}
    assert left
    # Who approved runs the failed task again: that is an act, and the first file has left.
    acted(waiting, "甲", "clear", "settlement:2026-09")
    assert waiting.publish("2026-09").state == "published"
    assert waiting.states() == ["sent"]
    assert left < {path.name for path in waiting.outbox.iterdir()}


def test_approving_what_the_next_settlement_takes_back_is_too_late(new_house: NewHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    house = new_house(approval=replace(APPROVAL, auto_below_fen=None))
    house.night(NIGHT, {"X1": {"S1": 300}})
    house.settle(SEPTEMBER)
    assert said(house, "甲", "reject").state == "rejected"
    house.night(OCTOBER.night, {"X1": {"S2": 200}})
    answered: list[approval.Answer] = []
    late = threading.Thread(target=lambda: answered.append(said(house, "乙")))
    states = events.states

    def while_the_night_gives_back(*args: Any) -> dict[str, str]:
        found = states(*args)
        if late.ident is None:
            late.start()
            late.join(1.0)
        return found

    monkeypatch.setattr(events, "states", while_the_night_gives_back)
    built = house.settle(OCTOBER)
    late.join()
    assert built.sent_fen == 500
    assert [(a.accepted, a.state) for a in answered] == [(False, "rejected")]
    with pytest.raises(TerminalError, match="PUBLISH-NOT-APPROVED"):
        house.publish("2026-09")


def test_payments_that_were_given_back_never_leave(waiting: House) -> None:
    waiting.approve("2026-09", "甲", "乙")
    with waiting.db.transaction(waiting.centre, waiting.token) as conn:
        events.append(conn, waiting.centre, ["TX2026090000000001"], "released", NIGHT, run_no=1)
    with pytest.raises(TerminalError, match="PUBLISH-RELEASED"):
        waiting.publish("2026-09")
    assert not list(waiting.outbox.glob("*"))


def test_every_settlement_that_waits_is_told_of_until_it_is_published_or_rejected(new_house: NewHouse) -> None:
    house = new_house(approval=replace(APPROVAL, auto_below_fen=None))
    house.night(NIGHT, {"X1": {"S1": 300}})
    house.settle(SEPTEMBER)
    house.night(OCTOBER.night, {"X1": {"S2": 70}})
    house.settle(OCTOBER)

    def told() -> list[tuple[str, str, int]]:
        return [(w["period"], w["state"], w["amount_fen"]) for w in api.pending_settlements(house.settings, house.centre)]

    # The money of an unanswered settlement stays in it: the later one pays only what is new.
    assert [(period, fen) for period, _, fen in told()] == [("2026-09", 300), ("2026-10", 70)]
    house.approve("2026-09")
    assert [(period, state) for period, state, _ in told()] == [("2026-09", "approved"), ("2026-10", told()[1][1])]
    house.publish("2026-09")
    assert [period for period, _, _ in told()] == ["2026-10"]
