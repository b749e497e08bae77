"""Two start the same night at the same moment: at every step exactly one works; the other is told who works and since when, or finds the
step done. The ledger ends as if one had worked alone."""

from __future__ import annotations

import dataclasses
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

from playing import state

from fixtures import story
from subsidy.errors import BusyError
from subsidy.ledger.database import open_database
from subsidy.night import api
from subsidy.settings import Settings

NIGHTS = (date(2026, 9, 1), date(2026, 9, 14))


def test_two_run_the_same_nights(settings: Settings, database_url: str, tmp_path: Path) -> None:
    together = dataclasses.replace(settings, database_url=database_url)
    alone = dataclasses.replace(
        settings,
        home=tmp_path / "alone",
        database_url=f"sqlite:///{tmp_path / 'alone.db'}",
        store_url=f"file://{tmp_path / 'alone' / 'store'}",
    )
    told: list[str] = []
    for number, day in enumerate(NIGHTS, 1):
        for home in (together.home, alone.home):
            story.deliver(home, "wenzhou", number)
        api.run_night(alone, "wenzhou", day, "夜间")
        told += both(together, day)
    assert told, "at least once they met"
    for what in told:
        assert re.search(r"wenzhou 正由“.+〔.+〕”处理，自 20\d\d-\d\d-\d\dT[\d:]+\+08:00 开始", what), what
    assert state(together) == state(alone)
    for each in (together, alone):
        open_database(each).dispose()


def both(settings: Settings, day: date) -> list[str]:
    """Two threads go through the steps of a night side by side, each step again until it is done; what they were told when refused."""
    told: list[str] = []
    barrier = threading.Barrier(2, timeout=240)

    def person() -> None:
        opened = insist(lambda: api.open_night(settings, "wenzhou", day, "夜间"), told)
        for step, _, _ in api.STEPS:
            barrier.wait()
            insist(lambda step=step: api.step(settings, "wenzhou", opened["run_no"], step), told)

    with ThreadPoolExecutor(2) as people:
        for done in [people.submit(person), people.submit(person)]:
            done.result()
    return told


def insist(work: Any, told: list[str]) -> Any:
    """Do it; while somebody else works, remember what one is told and try again."""
    pause = threading.Event()
    while True:
        try:
            return work()
        except BusyError as busy:
            told.append(busy.message.what)
            pause.wait(0.05)
