"""PostgreSQL hangs up at any commit of a night, before it is carried out or just after; run again, the night ends as the unbroken one.

The process lives on and is told that nobody knows what became of its commit (`DB-COMMIT-UNKNOWN`) or that the database is away.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

STOPPED, DONE, NOT_REACHED = 3, 0, 4


@contextmanager
def cutting(settings: Settings, at: int, after: bool) -> Iterator[list[int]]:
    """End the connection at commit number `at`: `after` the server carried it out, or before. Yields the count of commits."""
    seen = [0]
    server = sa.make_url(settings.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    commit = DefaultDialect.do_commit

    def cut(dialect: DefaultDialect, connection: Any) -> None:
        seen[0] += 1
        if seen[0] == at:
            driver = connection.driver_connection
            if after:
                driver.execute("COMMIT")
            with psycopg.connect(server, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", (driver.info.backend_pid,))
        commit(dialect, connection)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(DefaultDialect, "do_commit", cut)
        yield seen


def cut_off(settings: Settings, at: int, after: bool) -> int:
    """How the work ended in a process of its own."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with cutting(settings, at, after) as seen:
                work(settings)
            code = DONE if seen[0] >= at else NOT_REACHED
        except TransientError:
            code = STOPPED
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_cut_off_at_any_commit(
    after: bool, settings: Settings, tmp_path: Path, postgres_url: str, new_postgres: Callable[..., str]
) -> None:
    settings = dataclasses.replace(settings, database_url=postgres_url)
    in_a_process(settings, 0, prepare)
    homes = Homes(settings, tmp_path, new_postgres)
    unbroken = homes.fresh("unbroken")
    in_a_process(unbroken, 0)
    expected, files = state(unbroken), visible_files(unbroken)
    at, stopped = 0, 0
    while True:
        at += 1
        broken = homes.fresh("broken")
        ended = cut_off(broken, at, after)
        assert ended in (STOPPED, DONE, NOT_REACHED), f"cut off at commit {at}"
        stopped += ended == STOPPED
        in_a_process(broken, 0)
        differing = different(state(broken), expected) + different(visible_files(broken), files)
        assert not differing, f"cut off at commit {at}: " + "; ".join(differing)
        homes.drop(broken)
        if ended == NOT_REACHED:
            break
    assert stopped > 20
