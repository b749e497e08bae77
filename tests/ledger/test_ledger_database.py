"""The database of both kinds: numbers without gaps, fenced commits, refusals said to people, schema and code of one version."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from subsidy.errors import BusyError, TerminalError, TransientError
from subsidy.ledger import lease, migrate, tables
from subsidy.ledger.bulk import among, bulk_insert, iter_arrow, read_arrow
from subsidy.ledger.database import Database, next_numbers, open_database
from subsidy.settings import Settings

NOW = 1_790_000_000.0


def test_numbers_begin_at_one_and_come_back_when_undone(database: Database) -> None:
    with database.transaction_system() as conn:
        assert next_numbers(conn, "hangzhou", "posting", 3) == 1
        assert next_numbers(conn, "hangzhou", "posting", 1) == 4
        assert next_numbers(conn, "wenzhou", "posting", 1) == 1
        assert next_numbers(conn, "wenzhou", "posting", 0) == 2
    with pytest.raises(ZeroDivisionError), database.transaction_system() as conn:
        next_numbers(conn, "hangzhou", "posting", 100)
        raise ZeroDivisionError
    with database.transaction_system() as conn:
        assert next_numbers(conn, "hangzhou", "posting", 1) == 5


def test_a_late_commit_is_refused(database: Database) -> None:
    old = lease.acquire(database, "hangzhou", "night-1", NOW, 60)
    with pytest.raises(TerminalError) as caught, database.transaction("hangzhou", old) as conn:
        next_numbers(conn, "hangzhou", "run", 1)
        # The lease changes hands while the first holder is still writing; only PostgreSQL lets that happen.
        if database.postgres:
            lease.acquire(database, "hangzhou", "night-2", NOW + 61, 60)
        else:
            conn.execute(sa.update(tables.lease).values(token=old + 1, holder="night-2"))
    assert caught.value.message.code == "LEASE-LOST"
    with database.read() as conn:
        assert conn.execute(sa.select(sa.func.count()).select_from(tables.counter)).scalar_one() == 0


def test_a_second_holder_is_told_who_and_since_when(database: Database) -> None:
    lease.acquire(database, "hangzhou", "张三:night:2026-09-19", NOW, 60)
    with pytest.raises(BusyError) as caught:
        lease.acquire(database, "hangzhou", "李四:night:2026-09-19", NOW + 1, 60)
    assert "张三" in caught.value.message.what
    assert "2026-09-21T22:13:20+08:00" in caught.value.message.what
    assert lease.acquire(database, "wenzhou", "李四", NOW, 60) == 1


def test_a_clock_that_was_ahead_keeps_nobody_out_for_long(database: Database) -> None:
    ahead = lease.acquire(database, "hangzhou", "主机一", NOW + 365 * 86400, 60)
    # The clock was set right; the holder died with the host whose clock was wrong.
    assert lease.acquire(database, "hangzhou", "主机二", NOW, 60) == ahead + 1
    with pytest.raises(TerminalError, match="LEASE-LOST"):
        lease.refuse_if_lost(database, "hangzhou", ahead)
    # Clocks that differ a little replace nobody who works.
    with pytest.raises(BusyError):
        lease.acquire(database, "hangzhou", "主机三", NOW - 600, 60)


def test_the_token_grows_and_a_silent_holder_is_replaced(database: Database) -> None:
    first = lease.acquire(database, "hangzhou", "a", NOW, 60)
    again = lease.acquire(database, "hangzhou", "a", NOW + 1, 60)
    assert again == first + 1
    lease.renew(database, "hangzhou", again, NOW + 50, 60)
    with pytest.raises(BusyError):
        lease.acquire(database, "hangzhou", "b", NOW + 100, 60)
    other = lease.acquire(database, "hangzhou", "b", NOW + 111, 60)
    assert other == again + 1
    with pytest.raises(TerminalError):
        lease.renew(database, "hangzhou", again, NOW + 112, 60)
    lease.release(database, "hangzhou", again)
    with pytest.raises(BusyError):
        lease.acquire(database, "hangzhou", "c", NOW + 112, 60)
    lease.release(database, "hangzhou", other)
    with pytest.raises(TerminalError), database.transaction("hangzhou", other):
        pass
    assert lease.acquire(database, "hangzhou", "c", NOW + 112, 60) == other + 1


def test_what_must_grow_cannot_go_back(database: Database) -> None:
    lease.acquire(database, "hangzhou", "a", NOW, 60)
    with database.transaction_system() as conn:
        conn.execute(sa.insert(tables.centre_state).values(centre="hangzhou", open_business_date=date(2026, 9, 20)))
        next_numbers(conn, "hangzhou", "run", 1)
    for table, values in (
        (tables.lease, {"token": 0}),
        (tables.counter, {"next_no": 1}),
        (tables.centre_state, {"open_business_date": date(2026, 9, 19)}),
    ):
        with pytest.raises(TerminalError) as caught, database.transaction_system() as conn:
            conn.execute(sa.update(table).values(**values))
        assert caught.value.message.code == "DB-REFUSED"
        with pytest.raises(TerminalError), database.transaction_system() as conn:
            conn.execute(sa.delete(table))


@pytest.mark.parametrize("name", tables.APPEND_ONLY)
def test_append_only_tables_refuse_update_and_delete(database: Database, name: str) -> None:
    table = tables.metadata.tables[name]
    with database.transaction_system() as conn:
        bulk_insert(conn, table, [{c.name: _any_value(c) for c in table.columns}])
    column = next(iter(table.columns))
    for statement in (sa.update(table).values({column.name: column}), sa.delete(table)):
        with pytest.raises(TerminalError) as caught, database.transaction_system() as conn:
            conn.execute(statement)
        assert caught.value.message.code == "DB-REFUSED"


def _any_value(column: sa.Column[object]) -> object:
    if isinstance(column.type, sa.Date):
        return date(2026, 9, 20)
    if isinstance(column.type, sa.LargeBinary):
        return b"\x00\xff"
    if column.name in ("corrects", "replaces"):
        return None
    if column.name == "seq":
        return 0
    if isinstance(column.type, (sa.Integer, sa.BigInteger)):
        return 1
    return column.name


ODD = ["", "a", 'q"uote', "逗,号", "两\n行", "\\N", "\\x41", "NULL", "䶮𬭎", " b "]


def test_bulk_insert_and_read_give_back_what_was_given(database: Database) -> None:
    rows = len(ODD)
    data = pa.table(
        {
            "centre": ["hangzhou"] * rows,
            "quarantine_no": list(range(1, rows + 1)),
            "file_no": [2**40] * rows,
            "table_name": ODD,
            "line_no": [7] * rows,
            "row_key": [""] * rows,
            "raw": [s.encode("gb18030") for s in ODD],
            "code": ODD,
            "field": ODD,
            "value": ODD,
            "what": ODD,
            "todo": ODD,
            "stage": ["intake"] * rows,
            "known_on": pa.array([date(2026, 2, 28)] * rows, pa.date32()),
        }
    )
    with database.transaction_system() as conn:
        assert bulk_insert(conn, tables.quarantine, data) == rows
    t = tables.quarantine
    schema = data.schema.append(pa.field("owner", pa.string()))
    with database.read() as conn:
        back = read_arrow(conn, sa.select(*(t.c[n] for n in schema.names)).order_by(t.c.quarantine_no), schema)
        some = read_arrow(
            conn,
            sa.select(t.c.code).where(among(conn, t.c.code, ODD[1:4]), t.c.known_on == date(2026, 2, 28)),
            pa.schema([("code", pa.string())]),
        )
        none = read_arrow(conn, sa.select(t.c.code).where(t.c.code == "100%"), pa.schema([("code", pa.string())]))
        sizes = [part.num_rows for part in iter_arrow(conn, sa.select(t.c.raw), pa.schema([("raw", pa.binary())]), rows=4)]
    assert back.drop_columns(["owner"]).to_pylist() == data.to_pylist()
    assert back["owner"].to_pylist() == [""] * rows
    assert sorted(some["code"].to_pylist()) == sorted(ODD[1:4])
    assert none.num_rows == 0
    assert sizes == [4, 4, 2]


@pytest.mark.parametrize("rows", [299, 300, 301, 600])
def test_rows_around_the_size_of_one_statement_all_arrive(database: Database, rows: int) -> None:
    data = pa.table({"centre": ["hangzhou"] * rows, "name": [f"n{i:04d}" for i in range(rows)], "next_no": list(range(rows))})
    with database.transaction_system() as conn:
        assert bulk_insert(conn, tables.counter, data) == rows
    t = tables.counter
    schema = pa.schema([("name", pa.string()), ("next_no", pa.int64())])
    with database.read() as conn:
        back = read_arrow(conn, sa.select(t.c.name, t.c.next_no).order_by(t.c.name), schema)
    assert back.equals(data.select(["name", "next_no"]))


def test_booleans_and_nulls_survive(database: Database) -> None:
    rows = [
        {"centre": "hangzhou", "agreement_no": str(i), "kind": "house", "known_on": date(2026, 9, 1), "fingerprint": "f", "live": i == 1}
        for i in range(3)
    ]
    files = [
        {
            "centre": "hangzhou",
            "bank_file_no": i,
            "sha256": str(i),
            "name": "n",
            "kind": "result",
            "batch_no": [None, 5][i],
            "known_on": date(2026, 9, 1),
            "state": "booked",
        }
        for i in range(2)
    ]
    with database.transaction_system() as conn:
        database.bulk_insert(conn, tables.claim, rows)
        database.bulk_insert(conn, tables.bank_file, files)
    with database.read() as conn:
        t, b = tables.claim, tables.bank_file
        live = read_arrow(
            conn, sa.select(t.c.agreement_no, t.c.live).order_by(t.c.agreement_no), pa.schema([("a", pa.string()), ("live", pa.bool_())])
        )
        batch = read_arrow(
            conn, sa.select(b.c.batch_no, b.c.message).order_by(b.c.bank_file_no), pa.schema([("n", pa.int64()), ("m", pa.string())])
        )
        assert [row.live for row in conn.execute(sa.select(t.c.live).order_by(t.c.agreement_no))] == [False, True, False]
    assert live["live"].to_pylist() == [False, True, False]
    assert batch.to_pylist() == [{"n": None, "m": ""}, {"n": 5, "m": ""}]


def test_a_message_never_quotes_the_row(database: Database) -> None:
    row = {
        "centre": "hangzhou",
        "agreement_no": "秘密协议",
        "kind": "house",
        "known_on": date(2026, 9, 1),
        "fingerprint": "f",
        "live": True,
    }
    with database.transaction_system() as conn:
        bulk_insert(conn, tables.claim, [row])
    for insert in (lambda c: bulk_insert(c, tables.claim, [row]), lambda c: c.execute(sa.insert(tables.claim).values(**row))):
        with pytest.raises(TerminalError) as caught, database.transaction_system() as conn:
            insert(conn)
        assert caught.value.message.code == "DB-REFUSED"
        assert "秘密" not in str(caught.value)
        assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_a_database_that_is_away_may_be_tried_again(tmp_path: Path) -> None:
    for url in ("postgresql://nobody@/nothing?host=/nonexistent", f"sqlite:///{tmp_path}"):
        with pytest.raises(TransientError) as caught, Database(url).read():
            pass
        assert caught.value.message.code == "DB-AWAY"


def test_a_locked_database_may_be_tried_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    first, second = Database(url), Database(url, busy_seconds=0.05)
    first.migrate()
    with first.transaction_system() as conn, pytest.raises(TransientError) as caught, second.transaction_system():
        conn.execute(sa.text("SELECT 1"))
    assert caught.value.message.code == "DB-LOCKED"


def test_a_cut_connection_may_be_tried_again(postgres_url: str) -> None:
    db = Database(postgres_url)
    with pytest.raises(TransientError) as caught, db.transaction_system() as conn:
        process = conn.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        with db.raw() as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": process})
        next_numbers(conn, "hangzhou", "run", 1)
    assert caught.value.message.code == "DB-AWAY"
    with pytest.raises(TransientError) as caught, db.transaction_system() as conn:
        process = conn.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        with db.raw() as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": process})
    assert caught.value.message.code == "DB-COMMIT-UNKNOWN"
    with db.transaction_system() as conn:
        assert next_numbers(conn, "hangzhou", "run", 1) == 1


def test_older_code_is_refused_by_a_newer_schema(database: Database) -> None:
    with database.raw() as conn:
        conn.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    for attempt in (lambda: database.read(), lambda: database.transaction_system(), lambda: database.transaction("hangzhou", 1)):
        with pytest.raises(TerminalError) as caught, attempt():
            pass
        assert caught.value.message.code == "DB-NEWER"
    with pytest.raises(TerminalError):
        database.migrate()


def test_opening_a_current_database_waits_for_nobody(database: Database) -> None:
    with database.raw() as conn:
        conn.execute(sa.text("UPDATE counter SET next_no = next_no"))
        if database.postgres:
            conn.execute(sa.select(sa.func.pg_advisory_xact_lock(migrate._ADVISORY_LOCK)))
        impatient = Database(database.url.render_as_string(hide_password=False), busy_seconds=0.2)
        impatient.migrate()
        with impatient.read() as other:
            assert migrate.revision_of(other) == migrate.head()
        impatient.dispose()


def test_a_process_opens_a_database_once_and_a_fork_anew(settings: Settings) -> None:
    first = open_database(settings)
    assert open_database(settings) is first
    engine = first.engine()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if open_database(settings).engine() is not engine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert first.engine() is engine
    first.dispose()


def test_an_empty_database_is_refused_until_it_is_migrated(tmp_path: Path, new_postgres: Callable[..., str]) -> None:
    for url in (f"sqlite:///{tmp_path / 'empty.db'}", new_postgres()):
        db = Database(url)
        with pytest.raises(TerminalError) as caught, db.read():
            pass
        assert caught.value.message.code == "DB-OLDER"
        db.migrate()
        db.migrate()
        with db.read() as conn:
            assert migrate.revision_of(conn) == migrate.head()
        db.dispose()


def test_of_two_that_wait_for_each_other_one_is_told_and_the_other_commits(postgres_url: str) -> None:
    db, both = Database(postgres_url, busy_seconds=30), threading.Barrier(2)
    with db.transaction_system() as conn:
        for name in ("a", "b"):
            next_numbers(conn, name, "posting", 10)

    def work(mine: str, other: str) -> str:
        try:
            with db.transaction_system() as conn:
                next_numbers(conn, mine, "posting", 1)
                both.wait(60)
                next_numbers(conn, other, "posting", 1)
        except TransientError as error:
            return error.message.code
        return "committed"

    with ThreadPoolExecutor(2) as beside:
        said = [running.result(60) for running in (beside.submit(work, "a", "b"), beside.submit(work, "b", "a"))]
    assert sorted(said) == ["DB-CONFLICT", "committed"]
    with db.read() as conn:  # what the refused one had written is gone, what the other wrote is there
        assert list(conn.execute(sa.select(tables.counter.c.next_no)).scalars()) == [12, 12]
    db.dispose()


def test_who_gets_no_connection_is_told_and_works_when_one_is_free(postgres_url: str) -> None:
    db = Database(postgres_url, busy_seconds=1)
    held = [db.engine().connect() for _ in range(db.engine().pool.size() + db.engine().pool._max_overflow)]  # type: ignore[attr-defined]
    for door in (db.read, db.transaction_system):
        with pytest.raises(TransientError, match="DB-POOL"), door():
            pass
    for conn in held:
        conn.close()
    with db.transaction_system() as conn:
        assert next_numbers(conn, "a", "posting", 1) == 1
    db.dispose()
