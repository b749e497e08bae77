"""Killed, or cut off from the database, at any statement and around every commit: a rerun ends in the same ledger.

The test finds its own kill points: it counts the statements of an unbroken posting and breaks each of them in turn.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from ledger_house import CENTRE, CHART, DAY, SCHEME, event, lines, open_run, pay, run_of
from sqlalchemy.engine import Connection

from subsidy.errors import TransientError
from subsidy.ledger import lease, payments, postings, tables
from subsidy.ledger.backup import database_hash
from subsidy.ledger.database import Database
from subsidy.ledger.postings import CAUSES, Part
from subsidy.ledger.verify import verify

CAUSE = pa.Table.from_pylist(
    [
        {
            "agreement_no": "X1",
            "account_no": "A1",
            "serial_no": "S1",
            "ordinal": 1,
            "cause": "correction",
            "file_no": 1,
            "line_no": 2,
            "text": "更正",
        }
    ],
    schema=CAUSES,
)


def work(conn: Connection) -> dict[str, Any]:
    """A posting with everything in it: a first posting, a correction of a paid line, one that goes away, and a payment confirmed."""
    now = lines({"payable_fen": 200}, {"serial_no": "S3", "payable_fen": 70})
    result = postings.post(conn, run_of(2), SCHEME, CHART, Part(now, ["X1"], causes=CAUSE))
    event(conn, "P2", "confirmed", 2)
    payments.book_confirmed(conn, run_of(2), CHART, ["P2"], DAY)
    return result.as_counts()


def prepare(db: Database) -> None:
    """What was there before: two lines, one paid, one in flight."""
    with db.transaction_system() as conn:
        first = lines({"payable_fen": 300}, {"serial_no": "S2", "payable_fen": 50})
        postings.post(conn, open_run(conn, 1), SCHEME, CHART, Part(first, ["X1"]))
        pay(conn, {"P1": {("X1", "A1", "S1"): 300}, "P2": {("X1", "A1", "S2"): 50}}, 1)
        event(conn, "P1", "confirmed", 1)
        payments.book_confirmed(conn, run_of(1), CHART, ["P1"], DAY)
        open_run(conn, 2)


def do(db: Database) -> None:
    """The step, as a night does it and does it again: its row is committed with what it did, and done is done."""
    token = lease.acquire(db, CENTRE, "night", 1e9, 60)
    t = tables.step
    with db.transaction(CENTRE, token) as conn:
        if conn.execute(sa.select(t.c.name).where(t.c.centre == CENTRE, t.c.run_no == 2)).one_or_none() is None:
            result = json.dumps(work(conn), sort_keys=True)
            conn.execute(sa.insert(t).values(centre=CENTRE, run_no=2, name="post", input_hash="", result=result))


@contextmanager
def breaking(db: Database, at: int, how: Callable[[Connection], None]) -> Iterator[list[int]]:
    """Call `how` instead of going on at the statement (or commit) number `at`; yields the count of what came by."""
    seen = [0]

    def reached(conn: Connection) -> None:
        seen[0] += 1
        if seen[0] == at:
            how(conn)

    def statement(conn: Connection, *_: Any) -> None:
        reached(conn)

    engine = db.engine()
    sa.event.listen(engine, "before_cursor_execute", statement)
    sa.event.listen(engine, "commit", reached)
    try:
        yield seen
    finally:
        sa.event.remove(engine, "before_cursor_execute", statement)
        sa.event.remove(engine, "commit", reached)


def state_of(db: Database) -> str:
    """Content of all tables but the lease, whose token counts the attempts."""
    with db.read() as conn:
        return database_hash(conn)


def unbroken(make: Callable[[], Database]) -> tuple[str, int]:
    """The state after an unbroken run, and how many places there are to break it."""
    db = make()
    prepare(db)
    with breaking(db, 0, lambda conn: None) as seen:
        do(db)
    assert verify(db, CENTRE) == []
    state = state_of(db)
    db.dispose()
    return state, seen[0]


def kill(_: Connection) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_killed_anywhere(kind: str, request: pytest.FixtureRequest, tmp_path: object) -> None:
    numbers = iter(range(1000))

    def make() -> Database:
        if kind == "sqlite":
            db = Database(f"sqlite:///{tmp_path}/{next(numbers)}.db")
            db.migrate()
            return db
        return Database(request.getfixturevalue("new_postgres")(request.getfixturevalue("postgres_template")))

    expected, places = unbroken(make)
    assert places > 20
    for at in range(1, places + 1):
        db = make()
        prepare(db)
        db.dispose()
        child = os.fork()
        if child == 0:
            with breaking(db, at, kill):
                do(db)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"place {at} of {places} was reached"
        do(db)
        assert state_of(db) == expected, f"killed at place {at} of {places}"
        db.dispose()


def test_cut_off_anywhere(request: pytest.FixtureRequest) -> None:
    def make() -> Database:
        return Database(request.getfixturevalue("new_postgres")(request.getfixturevalue("postgres_template")))

    expected, places = unbroken(make)
    for at in range(1, places + 1, 3):
        db = make()
        prepare(db)
        other = Database(db.url.render_as_string(hide_password=False))

        def cut(conn: Connection, other: Database = other) -> None:
            driver = conn.connection.driver_connection
            assert driver is not None
            with other.raw() as killer:
                killer.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": driver.info.backend_pid})

        with breaking(db, at, cut):
            try:
                do(db)
            except TransientError as error:
                assert error.message.code in ("DB-AWAY", "DB-COMMIT-UNKNOWN")
        do(db)
        assert state_of(db) == expected, f"cut at place {at} of {places}"
        with db.read() as conn:
            assert conn.execute(sa.select(sa.func.count()).select_from(tables.step)).scalar_one() == 1
        db.dispose()
        other.dispose()
