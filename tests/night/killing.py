"""Kill the process at every commit, file sync and rename of a night, its publication and its results; run again; end the same.

The kill points are found, not listed: a first run looks, before every event, at all that a process that dies there would leave behind,
and then one process dies at the first event of each such state. Where nothing durable changed between two events (a commit after reading,
the sync of what is already written), what comes after a kill cannot differ, and one kill stands for both. The work runs in forked
processes, so a kill is a real SIGKILL: nothing is unwound, nothing is flushed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from playing import play, send, state, visible_files
from sqlalchemy.engine.default import DefaultDialect

from fixtures import bank, story
from subsidy.night import api
from subsidy.settings import Settings

CENTRE = "zhoushan"


class Killer:
    """Counts the events of the main thread (another one only proves, and writes nothing); at number `at` the process dies. With `look` it
    notes in `points` the events before which something durable had changed."""

    def __init__(self, at: int, look: Callable[[], str] | None = None) -> None:
        self.at, self.look = at, look
        self.seen, self.last, self.points = 0, "", list[int]()

    def __call__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self.seen += 1
        if self.seen == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.look is not None and (now := self.look()) != self.last:
            self.last = now
            self.points.append(self.seen)

    def around(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self()  # after one event and before the next nothing durable happens: one kill point stands for both
            return work(*args, **kwargs)

        return wrapped


@contextmanager
def watched(killer: Killer) -> Iterator[None]:
    """Every commit, sync, rename and unlink goes through `killer`."""
    places: list[tuple[Any, str]] = [(DefaultDialect, "do_commit"), *((os, n) for n in ("fsync", "replace", "rename"))]
    before = [(place, name, getattr(place, name)) for place, name in places]
    for place, name, original in before:
        setattr(place, name, killer.around(original))
    try:
        yield
    finally:
        for place, name, original in before:
            setattr(place, name, original)


def _night(settings: Settings, *names: str) -> None:
    run_no = api.open_night(settings, CENTRE, _day(2), "夜间")["run_no"]
    for name in names:
        api.step(settings, CENTRE, run_no, name)


def _day(number: int) -> date:
    return next(n.business_date for n in story.nights() if n.centre == CENTRE and n.number == number)


def _reports(settings: Settings) -> None:
    # Airflow does not run this task again once it succeeded: half of the results would be a version of their own.
    succeeded = settings.home / "report.succeeded"
    if not succeeded.exists():
        api.refresh_reports(settings, CENTRE)
        succeeded.touch()


def _bank(settings: Settings) -> None:
    for today in (_day(2) + timedelta(days=1), _day(3)):  # takes the files, then answers
        bank.run(settings.home, CENTRE, "story", today)


#: A night that settles, its publication, its results, and the workbooks after both, in the order in which it happens.
STAGES: tuple[Callable[[Settings], Any], ...] = (
    lambda settings: _night(settings, "take_in", "compute"),
    lambda settings: _night(settings, "check", "post", "verify"),
    lambda settings: _night(settings, "settle", "report", "close_night"),
    lambda settings: send(settings, CENTRE),
    _reports,
    _bank,
    lambda settings: api.read_results(settings, CENTRE, _day(3), "夜间"),
    lambda settings: api.refresh_reports(settings, CENTRE),
)


def work(settings: Settings) -> None:
    """All stages, one after the other."""
    for stage in STAGES:
        stage(settings)


def prepare(settings: Settings) -> None:
    """Night 1 whole, and the files of night 2 delivered."""
    play(settings, CENTRE, (1,))
    story.deliver(settings.home, CENTRE, 2)


def left_behind(settings: Settings) -> str:
    """A digest of every byte under the home and, on PostgreSQL, of every row that others can see: what a kill right now would leave."""
    seen = hashlib.sha256()
    for path in sorted(settings.home.rglob("*")):
        if path.name.endswith("-shm"):
            continue  # SQLite's index of its log, made anew by whoever opens the database after a kill
        seen.update(str(path).encode() + b"\0")
        if path.is_file():
            seen.update(hashlib.sha256(path.read_bytes()).digest())
    url = sa.make_url(settings.database_url)
    if url.drivername.startswith("postgresql"):
        with psycopg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True) as c:
            names = [name for (name,) in c.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")]
            for name in names:
                with c.cursor().copy(f'COPY "{name}" TO STDOUT') as rows:
                    for row in rows:
                        seen.update(row)
            seen.update(repr(c.execute("SELECT * FROM pg_sequences ORDER BY sequencename").fetchall()).encode())
    return seen.hexdigest()


def in_a_process(settings: Settings, at: int, work: Callable[[Settings], None] = work, look: bool = False) -> list[int] | None:
    """Do `work` in a forked process that dies at event `at` (0: never). Returns None when it was killed, else the events before which
    something durable had changed (only with `look`)."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            killer = Killer(at, partial(left_behind, settings) if look else None)
            with watched(killer):
                work(settings)
                killer()
            os.write(write, json.dumps(killer.points).encode())
            code = 0
        finally:
            if code:
                traceback.print_exc()
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert os.WEXITSTATUS(status) == 0
    return list(json.loads(said))


class Homes:
    """Copies of a home folder and its database, as they were after night 1."""

    def __init__(self, settings: Settings, tmp_path: Path, new_postgres: Callable[..., str] | None) -> None:
        self.settings, self.tmp_path, self.new_postgres = settings, tmp_path, new_postgres
        self.template = ""
        if new_postgres is not None:
            self.template = str(sa.make_url(settings.database_url).database)

    def fresh(self, name: str) -> Settings:
        home = self.tmp_path / name
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self.settings.home, home)
        url = f"sqlite:///{home / 'ledger.db'}" if self.new_postgres is None else self.new_postgres(self.template)
        return dataclasses.replace(self.settings, home=home, database_url=url, store_url=f"file://{home / 'store'}")

    def drop(self, used: Settings) -> None:
        shutil.rmtree(used.home)
        if self.new_postgres is not None:
            url = sa.make_url(used.database_url)
            server = url.set(database="postgres", drivername="postgresql").render_as_string(hide_password=False)
            with psycopg.connect(server, autocommit=True) as c:
                c.execute(f'DROP DATABASE "{url.database}" WITH (FORCE)')


def different(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """What of the tables or files `found` is not as `expected`."""
    return [
        f"{name}: {found.get(name)!r:.600} instead of {expected.get(name)!r:.600}"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]


def killed_anywhere_ends_the_same(settings: Settings, tmp_path: Path, new_postgres: Callable[..., str] | None) -> None:
    """Night 1 whole, then night 2 to the results of its payments: killed at each event and run again from its beginning, it ends as the
    unbroken one did. What dies is a process that begins with its stage, as a task of Airflow does."""
    in_a_process(settings, 0, prepare)  # whose connections end with it: PostgreSQL copies only a database that nobody uses
    before = Homes(settings, tmp_path, new_postgres)
    unbroken = before.fresh("unbroken")
    starts, points = [], list[list[int]]()
    for i, stage in enumerate(STAGES):
        starts.append(Homes(Homes(unbroken, tmp_path, new_postgres).fresh(f"stage {i}"), tmp_path, new_postgres))
        points.append(in_a_process(unbroken, 0, stage, look=True) or [])
    expected, files = state(unbroken), visible_files(unbroken)
    assert sum(map(len, points)) > 40 and all(points)
    for i, homes in enumerate(starts):
        for at in points[i]:
            broken = homes.fresh("broken")
            assert in_a_process(broken, at, STAGES[i]) is None, f"event {at} of stage {i} was not reached"
            assert in_a_process(broken, 0) is not None
            differing = different(state(broken), expected) + different(visible_files(broken), files)
            assert not differing, f"killed at event {at} of stage {i}: " + "; ".join(differing)
            homes.drop(broken)
