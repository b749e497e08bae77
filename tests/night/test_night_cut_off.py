"""The connection to PostgreSQL breaks around every commit that writes, before the server did it and after; what was being done fails, is
done again, and ends as if nothing had happened."""

from __future__ import annotations

import dataclasses
import os
import pickle
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from killing import Homes, different, in_a_process, prepare, work
from playing import state, visible_files
from sqlalchemy.engine.default import DefaultDialect

from subsidy.errors import TransientError
from subsidy.settings import Settings


class Cutter:
    """Cuts the connection once before and once after the commit of every way that leads to one."""

    def __init__(self, url: str, cuts: dict[tuple[str, ...], list[str]]) -> None:
        self.url = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self.cuts = cuts
        self.original = DefaultDialect.do_commit

    def commit(self, dialect: Any, connection: Any) -> None:
        """In place of the driver's commit."""
        driver = connection.driver_connection
        written = driver.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL").fetchone()[0]
        left = self.cuts.setdefault(_way(), ["after", "before"]) if written else []
        if left:
            when = left.pop()
            if when == "after":
                driver.execute("COMMIT")
            with psycopg.connect(self.url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 10000)", (driver.info.backend_pid,))
        self.original(dialect, connection)


def attempt(notes: Path, settings: Settings) -> None:
    """The work in a process of its own, as Airflow tries a task again; `notes` holds what was cut so far and what it said."""
    cuts, told = pickle.loads(notes.read_bytes())
    cutter, said = Cutter(settings.database_url, cuts), "done"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(DefaultDialect, "do_commit", lambda dialect, connection: cutter.commit(dialect, connection))
        try:
            work(settings)
        except TransientError as error:
            said = error.message.code
    notes.write_bytes(pickle.dumps((cuts, [*told, said])))


def _way() -> tuple[str, ...]:
    """The functions of the package that are at work, from the outermost to the one that commits."""
    names, frame = [], sys._getframe(2)
    while frame is not None:
        if f"{os.sep}subsidy{os.sep}" in frame.f_code.co_filename:
            names.append(f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return tuple(reversed(names))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_cut_off_at_every_commit(settings: Settings, tmp_path: Path, postgres_url: str, new_postgres: Callable[..., str]) -> None:
    settings = dataclasses.replace(settings, database_url=postgres_url)
    in_a_process(settings, 0, prepare)
    homes = Homes(settings, tmp_path, new_postgres)
    unbroken, broken = homes.fresh("unbroken"), homes.fresh("broken")
    in_a_process(unbroken, 0)
    notes = tmp_path / "notes"
    notes.write_bytes(pickle.dumps(({}, [])))
    cuts, told = {}, [""]
    while told[-1:] != ["done"] and len(told) < 400:
        in_a_process(broken, 0, partial(attempt, notes))
        cuts, told = pickle.loads(notes.read_bytes())
    assert set(told[:-1]) == {"DB-COMMIT-UNKNOWN"} and told[-1] == "done"
    assert len(cuts) > 30 and not any(cuts.values()), cuts
    assert not different(state(broken), state(unbroken)) + different(visible_files(broken), visible_files(unbroken))
