"""Another centre's night runs late and claims a contract of ours: this run keeps to what it saw, and the next one misses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from playing import by_hand, claimed_elsewhere, play, state

from fixtures import story
from subsidy.errors import TerminalError
from subsidy.ledger import tables
from subsidy.ledger.backup import backup
from subsidy.ledger.database import Database, open_database
from subsidy.ledger.restore import restore
from subsidy.night import api
from subsidy.settings import Settings

CENTRE, SECOND = "wenzhou", date(2026, 9, 14)  # the night in which wenzhou settles
NEXT = SECOND + timedelta(days=1)


@pytest.fixture
def agreement_no(settings: Settings) -> Iterator[str]:
    """An agreement that is paid in night SECOND, whose files are delivered."""
    play(settings, CENTRE, (1,))
    story.deliver(settings.home, CENTRE, 2)
    yield next(line.agreement_no for line in story.expected(CENTRE).settlements[0].lines if line.payable_fen > 0)
    open_database(settings).dispose()


def due_of(settings: Settings, agreement_no: str) -> int:
    """What the ledger owes an agreement by its newest postings, in fen."""
    p = tables.posting
    with open_database(settings).read() as conn:
        rows = conn.execute(sa.select(p.c.serial_no, p.c.due_fen).where(p.c.agreement_no == agreement_no).order_by(p.c.seq))
        return sum(dict(rows.tuples().all()).values())


def causes(settings: Settings) -> set[str]:
    c = tables.posting_cause
    with open_database(settings).read() as conn:
        return set(conn.execute(sa.select(c.c.cause)).scalars())


def test_a_claim_of_a_night_that_another_centre_ran_late_is_found_by_our_next_night(settings: Settings, agreement_no: str) -> None:
    api.run_night(settings, CENTRE, SECOND, "夜间")
    assert due_of(settings, agreement_no) > 0
    claimed_elsewhere(settings, CENTRE, agreement_no, SECOND - timedelta(days=1))
    night = api.run_night(settings, CENTRE, NEXT, "夜间")
    assert night["post"]["recoveries"] > 0 and night["check"]["differences"] == 0
    assert due_of(settings, agreement_no) == 0
    assert "claim" in causes(settings)
    assert api.preview(settings, CENTRE, NEXT)["lines"] == 0
    assert api.run_night(settings, CENTRE, NEXT + timedelta(days=1), "夜间")["post"]["postings"] == 0


@pytest.mark.parametrize("after", ["take_in", "compute", "check", "post"])
def test_a_claim_that_comes_while_a_night_runs_is_for_the_next_one(settings: Settings, agreement_no: str, after: str) -> None:
    """It comes after the step `after`: only a night that has not computed yet sees it."""
    opened = api.open_night(settings, CENTRE, SECOND, "夜间")
    results = {}
    for name, _, _ in api.STEPS:
        results[name] = api.step(settings, CENTRE, opened["run_no"], name)
        if name == after:
            claimed_elsewhere(settings, CENTRE, agreement_no, SECOND - timedelta(days=2))
    assert results["check"]["differences"] == 0
    assert results["settle"]["settlements"][0]["period"] == "2026-09"
    assert (due_of(settings, agreement_no) > 0) == (after != "take_in")
    assert api.run_night(settings, CENTRE, SECOND, "夜间")["compute"]["rerun_differences"] == 0
    api.run_night(settings, CENTRE, NEXT, "夜间")
    assert due_of(settings, agreement_no) == 0


def test_fingerprints_of_another_key_are_never_mixed_with_those_of_the_ledger(
    settings: Settings, database_url: str, tmp_path: Path
) -> None:
    settings = replace(settings, database_url=database_url)
    other = replace(settings, key="another-" + settings.key)
    play(settings, CENTRE, (1,))
    story.deliver(settings.home, CENTRE, 2)
    before = state(settings)
    for act in (
        lambda: api.open_night(other, CENTRE, SECOND, "夜间"),
        lambda: api.take_in(other, CENTRE, 1),
        lambda: api.read_results(other, CENTRE, SECOND, "夜间"),
        lambda: api.record_act(other, CENTRE, "甲", "trigger", f"night:{SECOND}", "补跑"),
    ):
        with pytest.raises(TerminalError, match="SET-KEY-DIFFERS"):
            act()
        assert state(settings) == before
    backup(open_database(settings), settings.store_url, tmp_path / "backup", "2026-09-14T10:00:00+08:00")
    back = [replace(one, database_url=f"sqlite:///{tmp_path / 'back.db'}") for one in (settings, other)]
    restore(Database(back[0].database_url), settings.store_url, tmp_path / "backup", person="管理员", at="2026-09-14T11:00:00+08:00")
    with pytest.raises(TerminalError, match="SET-KEY-DIFFERS"):
        api.open_night(back[1], CENTRE, SECOND, "夜间")
    assert api.open_night(back[0], CENTRE, SECOND, "夜间")["run_no"] == 2
    # A ledger that holds no check value yet, because an older program made it, takes the key that it is next used with.
    by_hand(open_database(settings), "DELETE FROM step WHERE centre = ''")
    assert api.open_night(settings, CENTRE, SECOND, "夜间")["run_no"] == 2
    with pytest.raises(TerminalError, match="SET-KEY-DIFFERS"):
        api.take_in(other, CENTRE, 2)
    for one in (settings, back[0]):
        open_database(one).dispose()
