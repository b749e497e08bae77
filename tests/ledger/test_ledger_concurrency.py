"""Two at once, a hundred times: exactly one works. A stopped process that wakes up later cannot write."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.synchronize import Barrier, Event
from typing import Any

import pytest
import sqlalchemy as sa
from ledger_house import CENTRE

from subsidy.errors import BusyError, SubsidyError
from subsidy.ledger import lease, tables
from subsidy.ledger.database import Database, next_numbers

ROUNDS = 100
PROCESSES = multiprocessing.get_context("fork")


def operator(url: str, name: str, barrier: Barrier, answers: Any) -> None:
    """Try to work on the centre in every round; tell what came of it."""
    db = Database(url, busy_seconds=30)
    for number in range(ROUNDS):
        barrier.wait(60)
        try:
            token = lease.acquire(db, CENTRE, f"{name}:{number}", time.time(), 600)
        except BusyError as error:
            answers.put((number, name, error.message.code, error.message.what))
        else:
            with db.transaction(CENTRE, token) as conn:
                next_numbers(conn, CENTRE, "run")
            answers.put((number, name, "WORKED", token))
        barrier.wait(60)
        with db.transaction_system() as conn:
            conn.execute(sa.update(tables.lease).where(tables.lease.c.holder.like(f"{name}:%")).values(holder=""))
    db.dispose()


@pytest.mark.slow
def test_two_operators_a_hundred_times(database: Database, database_url: str) -> None:
    barrier, answers = PROCESSES.Barrier(2), PROCESSES.Queue()
    people = [PROCESSES.Process(target=operator, args=(database_url, name, barrier, answers)) for name in ("张三", "李四")]
    for person in people:
        person.start()
    given = [answers.get(timeout=120) for _ in range(2 * ROUNDS)]
    for person in people:
        person.join(60)
        assert person.exitcode == 0
    by_round: dict[int, list[tuple[Any, ...]]] = {}
    for number, *rest in given:
        by_round.setdefault(number, []).append(tuple(rest))
    for number, answers_of_round in by_round.items():
        worked = [a for a in answers_of_round if a[1] == "WORKED"]
        told = [a for a in answers_of_round if a[1] == "LEASE-BUSY"]
        assert len(worked) == len(told) == 1
        assert f"{worked[0][0]}:{number}" in told[0][2] and "自 20" in told[0][2]
    tokens = [a[2] for answers_of_round in by_round.values() for a in answers_of_round if a[1] == "WORKED"]
    assert len(set(tokens)) == ROUNDS
    with database.transaction_system() as conn:
        assert next_numbers(conn, CENTRE, "run") == ROUNDS + 1


def sleeper(url: str, in_transaction: bool, ready: Event, answers: Any) -> None:
    """Take the lease and stop, before or within a transaction; when woken, try to finish as if nothing had happened."""
    db = Database(url, busy_seconds=30)
    token = lease.acquire(db, CENTRE, "first", 1000.0, 60)
    try:
        if in_transaction:
            with db.transaction(CENTRE, token) as conn:
                next_numbers(conn, "zombie", "run")
                ready.set()
                os.kill(os.getpid(), signal.SIGSTOP)
        else:
            ready.set()
            os.kill(os.getpid(), signal.SIGSTOP)
            with db.transaction(CENTRE, token) as conn:
                next_numbers(conn, "zombie", "run")
        answers.put(("COMMITTED", ""))
    except SubsidyError as error:
        answers.put((error.message.code, error.message.what))
    db.dispose()


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_zombie_is_refused(database: Database, database_url: str, in_transaction: bool) -> None:
    ready, answers = PROCESSES.Event(), PROCESSES.Queue()
    process = PROCESSES.Process(target=sleeper, args=(database_url, in_transaction, ready, answers))
    process.start()
    assert ready.wait(60) and process.pid is not None
    while "T" not in _state(process.pid):
        time.sleep(0.01)
    if in_transaction and not database.postgres:
        # A stopped writer holds the one write lock of SQLite: nobody can take over, and nobody does.
        impatient = Database(database_url, busy_seconds=0.2)
        with pytest.raises(SubsidyError) as caught:
            lease.acquire(impatient, CENTRE, "second", 2000.0, 60)
        assert caught.value.message.code == "DB-LOCKED"
        expected = "COMMITTED"
    else:
        token = lease.acquire(database, CENTRE, "second", 2000.0, 60)
        with database.transaction(CENTRE, token) as conn:
            next_numbers(conn, CENTRE, "run")
        expected = "LEASE-LOST"
    os.kill(process.pid, signal.SIGCONT)
    code, what = answers.get(timeout=60)
    process.join(60)
    assert code == expected
    with database.read() as conn:
        written = conn.execute(
            sa.select(sa.func.count()).select_from(tables.counter).where(tables.counter.c.centre == "zombie")
        ).scalar_one()
    assert written == (1 if expected == "COMMITTED" else 0)
    assert expected == "COMMITTED" or CENTRE in what


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as handle:
        return handle.read().rsplit(")", 1)[1].split()[0]
