"""Work side by side: the same results in the same order, whatever becomes of a helper, and a wrong line found by whoever looks."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from datetime import date

import pytest
import sqlalchemy as sa
from playing import a_fen_too_much, play
from sharing import PARENT, dies_in_a_helper, refuses, whose

from fixtures import story
from subsidy.errors import TerminalError
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import api, compute, helpers, manifest
from subsidy.settings import Settings


@pytest.fixture(autouse=True)
def three_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(helpers, "MOST", 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    monkeypatch.setenv(PARENT, str(os.getpid()))
    yield


def test_results_come_in_the_order_of_the_jobs() -> None:
    found = helpers.each(whose, range(8))
    assert [job for job, _ in found] == list(range(8))
    assert [mine for _, mine in found] == [True, False, False, True, False, False, True, False]


def test_one_job_or_one_processor_starts_no_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    assert helpers.each(whose, []) == []
    assert helpers.each(whose, [7]) == [(7, True)]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5})
    assert all(mine for _, mine in helpers.each(whose, range(8)))


def test_the_work_of_a_dead_helper_is_done_all_the_same() -> None:
    assert helpers.each(dies_in_a_helper, range(5)) == [0, -1, -2, -3, -4]


@pytest.mark.parametrize("missing", ["tempfile.TemporaryFile", "subprocess.Popen"])
def test_where_the_machine_has_no_room_for_a_helper_the_work_is_done_here(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"subsidy.night.helpers.{missing}", full)
    assert helpers.each(whose, range(5)) == [(job, True) for job in range(5)]


def test_a_helper_of_another_program_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helpers, "ENGINE_VERSION", "before the upgrade")
    assert all(mine for _, mine in helpers.each(whose, range(5)))


def test_an_error_in_a_helper_is_raised_here() -> None:
    with pytest.raises(TerminalError, match="TEST-REFUSED"):
        helpers.each(refuses, range(6))


@pytest.mark.parametrize("group_rows", [40, 1_000_000])
def test_a_wrong_line_is_found_in_whichever_process_it_is_looked_at(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, group_rows: int
) -> None:
    """With groups of few rows most loans are looked at by helpers, with large ones all of them here."""
    play(settings, "wenzhou", (1,))
    story.deliver(settings.home, "wenzhou", 2)
    monkeypatch.setattr(manifest, "GROUP_ROWS", group_rows)
    monkeypatch.setattr(compute, "assess", a_fen_too_much)
    opened = api.open_night(settings, "wenzhou", date(2026, 9, 14), "甲")
    for name in ("take_in", "compute"):
        api.step(settings, "wenzhou", opened["run_no"], name)
    checked = api.step(settings, "wenzhou", opened["run_no"], "check")
    with open_database(settings).read() as conn:
        f = tables.finding
        named = conn.execute(sa.select(f.c.agreement_no, f.c.serial_no, f.c.what).where(f.c.code == "PROOF-DIFFERS")).all()
    assert checked["differences"] == len(named) > 3
    assert all("payable_fen" in what for *_, what in named)
