"""What a night cannot prove stops the money, not the nights, until a later run has proved it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from playing import a_fen_too_much, by_hand, play

from fixtures import story
from subsidy.cli.main import main
from subsidy.entitlement.engine import assess
from subsidy.errors import Finding, TerminalError
from subsidy.ledger import tables, verify
from subsidy.ledger.database import Database, open_database
from subsidy.night import api, board, second
from subsidy.settings import Settings

CENTRE, PERIOD, SECOND = "wenzhou", "2026-09", date(2026, 9, 14)  # the night in which wenzhou settles


@pytest.fixture
def run(settings: Settings) -> Iterator[Callable[[int], dict[str, Any]]]:
    """Runs the night so many days after SECOND, whose files are delivered."""
    play(settings, CENTRE, (1,))
    story.deliver(settings.home, CENTRE, 2)
    yield lambda later: api.run_night(settings, CENTRE, SECOND + timedelta(days=later), "夜间")
    open_database(settings).dispose()


def payable_fen() -> int:
    return story.expected(CENTRE).settlements[0].payable_fen


def built_fen(night: dict[str, Any]) -> int:
    """What the settlement of a night took up, in fen."""
    (built,) = night["settle"]["settlements"]
    assert built["period"] == PERIOD
    return int(built["sent_fen"] + built["netted_fen"] + built["carried_fen"])


def blocked_by(night: dict[str, Any]) -> tuple[bool, bool]:
    """Whether a blocked settlement is blocked by lines that differ, and by a broken ledger."""
    assert night["settle"]["settlements"] == [] and night["settle"]["blocked"]["periods"] == [PERIOD]
    return night["settle"]["blocked"]["differences"] > 0, night["settle"]["blocked"]["broken"] > 0


def states(settings: Settings) -> list[str]:
    t = tables.run
    with open_database(settings).read() as conn:
        return list(conn.execute(sa.select(t.c.state).order_by(t.c.run_no)).scalars())


def test_wrong_lines_of_a_faulty_engine_are_left_by_a_recompute(
    settings: Settings, run: Callable[[int], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("compute", "posting", "causes"):
        monkeypatch.setattr(f"subsidy.night.{module}.assess", a_fen_too_much)
    first = run(0)
    assert blocked_by(first) == (True, False)
    assert blocked_by(run(1)) == (True, False)
    assert states(settings) == ["closed"] * 3
    assert api.pending_settlement(settings, CENTRE) is None and not list(settings.outbox(CENTRE).glob("req_*"))
    f = tables.finding
    with open_database(settings).read() as conn:
        told = conn.execute(sa.select(f.c.severity, f.c.what).where(f.c.code == "SETTLE-BLOCKED")).all()
    assert [row.severity for row in told] == ["error", "error"] and PERIOD in told[0].what
    [row] = board.board(settings, [CENTRE], PERIOD)
    assert (row.cells[2].state, row.cells[3].state) == ("trouble", "trouble") and "没有生成" in row.cells[3].text
    with pytest.raises(TerminalError, match="SETTLE-BLOCKED"):
        api.refuse_blocked(settings, CENTRE, first["open_night"]["run_no"])
    monkeypatch.setattr("subsidy.cli.night.load_settings", lambda: settings)
    assert main(["night", "--centre", CENTRE, "--date", str(SECOND)]) == 3
    # The mended program.
    for module in ("compute", "posting", "causes"):
        monkeypatch.setattr(f"subsidy.night.{module}.assess", assess)
    for module in ("upgrade", "opening", "recompute", "compute"):
        monkeypatch.setattr(f"subsidy.night.{module}.ENGINE_VERSION", "mended")
    with pytest.raises(TerminalError, match="NIGHT-UPGRADE"):
        run(2)
    open_day = SECOND + timedelta(days=1)
    shown = api.preview(settings, CENTRE, open_day)
    approvals = [{"person": "乙", "answer": "approve", "content_hash": shown["content_hash"]}]
    done = api.recompute(settings, CENTRE, open_day, "甲", "程序有误", approvals)
    assert done["posted"] == shown["lines"] > 0
    night = run(2)
    assert night["check"]["differences"] == 0 and built_fen(night) == payable_fen()
    # That night, and the tasks of the nights before, say nothing any more.
    api.refuse_blocked(settings, CENTRE, night["open_night"]["run_no"])
    api.refuse_blocked(settings, CENTRE, first["open_night"]["run_no"])
    assert run(0)["settle"] == first["settle"], "a closed night builds nothing later"


def test_a_line_that_was_doubted_is_checked_by_every_night_until_both_agree(
    run: Callable[[int], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    agreement_no = next(line.agreement_no for line in story.expected(CENTRE).settlements[0].lines if line.payable_fen > 0)
    compare = second.compare

    def doubts_one(facts: Any, lines: Any, policy: Any) -> list[Finding]:
        doubt = Finding("PROOF-DIFFERS", "error", "不一致", "查明", agreement_no=agreement_no)
        return compare(facts, lines, policy) + [doubt] * (agreement_no in facts["agreement"]["agreement_no"].to_pylist())

    monkeypatch.setattr(second, "compare", doubts_one)
    assert run(0)["check"]["differences"] == 1
    later = run(1)  # nothing arrived
    assert later["check"]["differences"] == 1 and later["compute"]["agreements"] == 1
    assert blocked_by(later) == (True, False)
    monkeypatch.setattr(second, "compare", compare)
    night = run(2)
    assert night["check"]["differences"] == 0 and built_fen(night) == payable_fen()
    assert run(3)["compute"].get("agreements", 0) == 0


def test_a_broken_ledger_is_looked_at_whole_by_every_night_until_it_is_sound(
    settings: Settings, run: Callable[[int], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    db, prove = open_database(settings), verify.verify
    opened = api.open_night(settings, CENTRE, SECOND, "夜间")
    for name in ("take_in", "compute", "check", "post"):
        api.step(settings, CENTRE, opened["run_no"], name)
    by_hand(db, "UPDATE posting SET amount_fen = amount_fen + 1, due_fen = due_fen + 1 WHERE posting_no = 3")
    assert blocked_by(run(0)) == (False, True)
    # Nothing touches that posting any more; in a large ledger no rolling part need come to it for weeks.
    looked: list[int | None] = []

    def looking(db: Database, centre: str, *, run_no: int | None = None) -> list[Finding]:
        looked.append(run_no)
        return prove(db, centre, run_no=run_no)

    monkeypatch.setattr(verify, "verify", looking)
    assert [blocked_by(run(later)) for later in (1, 2)] == [(False, True)] * 2
    assert states(settings) == ["closed"] * 4
    by_hand(db, "UPDATE posting SET amount_fen = amount_fen - 1, due_fen = due_fen - 1 WHERE posting_no = 3")
    night = run(3)
    assert night["verify"]["broken"] == 0 and built_fen(night) == payable_fen()
    after = run(4)["open_night"]["run_no"]
    assert looked == [None, None, None, after]
