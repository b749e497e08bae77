"""A step is done once, also when nobody knows whether it was."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.errors import TransientError
from subsidy.ledger import lease, step
from subsidy.ledger.database import Database, next_numbers


def count(conn: Connection) -> dict[str, int]:
    return {"number": next_numbers(conn, "hangzhou", "thing")}


def test_done_is_done(database: Database) -> None:
    token = lease.acquire(database, "hangzhou", "night", 0.0, 60)
    first = step.once(database, "hangzhou", token, 1, "post", "a", count)
    again = step.once(database, "hangzhou", token, 1, "post", "b", count)
    other = step.once(database, "hangzhou", token, 2, "post", step.hash_of_input("x", 1), count)
    assert (first.result, first.fresh) == ({"number": 1}, True)
    assert (again.result, again.fresh, again.input_hash) == ({"number": 1}, False, "a")
    assert other.result == {"number": 2}
    with database.read() as conn:
        assert step.find(conn, "hangzhou", 3, "post") is None


def test_an_unknown_commit_is_asked_about(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    db = Database(postgres_url)
    token = lease.acquire(db, "hangzhou", "night", 0.0, 60)
    cut = {"when": "after"}

    @sa.event.listens_for(db.engine(), "commit")
    def lose_connection(conn: Connection) -> None:
        """The network breaks around the commit, before or after the server did it."""
        if not cut["when"]:
            return
        when, cut["when"] = cut["when"], ""
        driver = conn.connection.driver_connection
        assert driver is not None
        if when == "after":
            driver.execute("COMMIT")
        process = driver.info.backend_pid
        with Database(postgres_url).raw() as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": process})

    found = step.once(db, "hangzhou", token, 1, "post", "a", count)
    assert found.result == {"number": 1} and found.fresh
    cut["when"] = "before"
    with pytest.raises(TransientError) as caught:
        step.once(db, "hangzhou", token, 2, "post", "a", count)
    assert caught.value.message.code == "DB-COMMIT-UNKNOWN"
    assert step.once(db, "hangzhou", token, 2, "post", "a", count).result == {"number": 2}
    db.dispose()
