"""The database, SQLite or PostgreSQL: who may write, what a transaction promises, and the numbers that have no gaps.

A transaction of a centre carries the fencing token of its lease and checks it once more before it commits: a process that was thought
dead and wakes up cannot write. Code that does not know the schema it finds is refused, so two versions never write at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from subsidy.errors import TerminalError
from subsidy.ledger import chain, faults, migrate, tables
from subsidy.ledger.bulk import bulk_insert, read_arrow
from subsidy.settings import Settings

#: How long a statement waits for another writer before it gives up (``DB-LOCKED``).
BUSY_SECONDS = 60.0
#: A session that sits in an open transaction longer than this is ended by PostgreSQL: a stopped process cannot hold its locks for ever.
IDLE_SECONDS = 900


class Database:
    """One ledger. `url` is an SQLAlchemy URL of SQLite or PostgreSQL (``postgresql://`` takes psycopg). Cheap to make, safe after a
    fork."""

    def __init__(self, url: str, busy_seconds: float = BUSY_SECONDS) -> None:
        try:
            made = sa.make_url(url)
        except (sa.exc.ArgumentError, ValueError):  # it may hold a password, so it is not quoted
            raise TerminalError(
                "DB-URL",
                "设置 SUBSIDY_DATABASE_URL 不是数据库地址。",
                "没有读写任何数据。",
                "写成 sqlite:////路径/ledger.db 或 postgresql://用户@主机/库名。",
            ) from None
        if made.drivername in ("postgresql", "postgres"):
            made = made.set(drivername="postgresql+psycopg")
        if made.get_backend_name() not in ("sqlite", "postgresql"):
            raise TerminalError(
                "DB-KIND",
                f"不支持数据库 {made.get_backend_name()}。",
                "没有读写任何数据。",
                "SUBSIDY_DATABASE_URL 只能是 sqlite:/// 或 postgresql://。",
            )
        self.url = made
        self.postgres = made.get_backend_name() == "postgresql"
        self._busy_seconds = busy_seconds
        self._engine: tuple[int, Engine] | None = None  # and the process that it belongs to

    def engine(self) -> Engine:
        """The engine of this process."""
        mine = self._engine
        if mine is not None and mine[0] == os.getpid():
            return mine[1]
        if mine is not None:
            mine[1].dispose(close=False)
        made = self._connect_postgres() if self.postgres else self._connect_sqlite()
        self._engine = (os.getpid(), made)
        return made

    def dispose(self) -> None:
        """Close all connections of this process."""
        mine, self._engine = self._engine, None
        if mine is not None and mine[0] == os.getpid():
            mine[1].dispose()

    def migrate(self) -> None:
        """Bring the schema to the newest version this code knows. Refuses (``DB-NEWER``) a schema made by newer code."""
        migrate.to_head(self)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view that writes nothing and blocks nobody."""
        with self._transaction(write=False) as (conn, _):
            migrate.refuse_foreign(conn)
            yield conn

    @contextmanager
    def transaction(self, centre: str, token: int) -> Iterator[Connection]:
        """Write for one centre under its lease; commits when the block ends, undoes everything when it raises.

        `token` is what `lease.acquire` gave. TerminalError ``LEASE-LOST`` when somebody else holds the lease by now; TransientError
        ``DB-…`` for what may pass, ``DB-COMMIT-UNKNOWN`` when the connection broke during the commit (ask the step row)."""
        with self._transaction(write=True) as (conn, progress):
            migrate.refuse_foreign(conn)
            _fence(conn, centre, token, hold=False)
            yield conn
            chain.seal(conn, centre)
            _fence(conn, centre, token, hold=True)
            progress.append("committing")

    @contextmanager
    def transaction_system(self) -> Iterator[Connection]:
        """Write what belongs to no centre, or to all: leases, audit, clearing over centres. No lease is asked."""
        with self._transaction(write=True) as (conn, progress):
            migrate.refuse_foreign(conn)
            yield conn
            progress.append("committing")

    def bulk_insert(self, conn: Connection, table: sa.Table, data: Any) -> int:
        """See `bulk.bulk_insert`."""
        return bulk_insert(conn, table, data)

    def next_numbers(self, conn: Connection, centre: str, name: str, count: int = 1) -> int:
        """See `next_numbers`."""
        return next_numbers(conn, centre, name, count)

    @contextmanager
    def raw(self, write: bool = True) -> Iterator[Connection]:
        """A transaction without any check of schema or lease; for migrations, backup and restore only."""
        with self._transaction(write) as (conn, progress):
            yield conn
            progress.append("committing")

    @contextmanager
    def _transaction(self, write: bool) -> Iterator[tuple[Connection, list[str]]]:
        progress: list[str] = []
        options: dict[str, Any] = {"subsidy_write": write}
        if self.postgres and not write:
            options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        try:
            with self.engine().connect().execution_options(**options) as conn, conn.begin():
                yield conn, progress
        except sa.exc.TimeoutError:
            raise faults.pool_exhausted() from None
        except faults.DRIVER_ERRORS as error:
            said = faults.translate(error, bool(progress))
            if said is None:
                raise
            raise said from None

    def _connect_sqlite(self) -> Engine:
        if self.url.database and self.url.database != ":memory:":
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(
            self.url,
            poolclass=sa.pool.NullPool,
            hide_parameters=True,
            connect_args={"timeout": self._busy_seconds, "isolation_level": None, "check_same_thread": False},
        )

        @sa.event.listens_for(engine, "connect")
        def _settings(connection: Any, _: Any) -> None:
            cursor = connection.cursor()
            # Sorts beyond the cache go to files, as by default: memory does not grow with history.
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "cache_size = -65536"):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

        @sa.event.listens_for(engine, "begin")
        def _begin(conn: Connection) -> None:
            # A transaction that begins as a reader and then writes may find its snapshot outdated; a writer says so from the start.
            conn.exec_driver_sql("BEGIN IMMEDIATE" if conn.get_execution_options().get("subsidy_write") else "BEGIN")

        return engine

    def _connect_postgres(self) -> Engine:
        options = (
            f"-c lock_timeout={int(self._busy_seconds * 1000)} -c idle_in_transaction_session_timeout={IDLE_SECONDS * 1000} -c timezone=UTC"
        )
        return sa.create_engine(
            self.url,
            pool_size=4,
            max_overflow=8,
            pool_timeout=self._busy_seconds,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={"options": options, "connect_timeout": 10, "application_name": "subsidy"},
        )


def open_database(settings: Settings) -> Database:
    """The database of the settings, its schema brought up to date. The same one for each call of a process: what its engine learned, and
    its connections, are used again."""
    db = _database(settings.database_url)
    db.migrate()
    return db


def refuse_missing(settings: Settings) -> None:
    """TerminalError ``LEDGER-NONE`` when the settings name no ledger. Only what begins work makes one; a slip in a setting must not."""
    db = _database(settings.database_url)
    if db.postgres or Path(db.url.database or "").is_file():
        with db.raw(write=False) as conn:
            if migrate.revision_of(conn) is not None:
                return
    raise TerminalError(
        "LEDGER-NONE",
        f"账簿不存在：{db.url.render_as_string() if db.postgres else db.url.database}。",
        "没有建立账簿，没有读写任何数据。",
        "核对设置 SUBSIDY_HOME、SUBSIDY_DATABASE_URL；新系统的账簿由第一次夜间处理（subsidy night）或恢复（subsidy restore）建立。",
    )


@lru_cache(maxsize=4)
def _database(url: str) -> Database:
    return Database(url)


def next_numbers(conn: Connection, centre: str, name: str, count: int = 1) -> int:
    """Take `count` numbers of a kind and return the first. Numbers begin at 1 per (centre, name) and have no gaps: they are
    taken in the transaction that uses them and come back when it is undone. With `count` 0 nothing is taken."""
    if count < 0:
        raise ValueError(count)
    statement = sa.text(
        "INSERT INTO counter (centre, name, next_no) VALUES (:centre, :name, 1 + :count) "
        "ON CONFLICT (centre, name) DO UPDATE SET next_no = counter.next_no + :count RETURNING next_no"
    )
    after = conn.execute(statement, {"centre": centre, "name": name, "count": count}).scalar_one()
    return int(after) - count


def _fence(conn: Connection, centre: str, token: int, hold: bool) -> None:
    query = sa.select(tables.lease.c.token, tables.lease.c.holder).where(tables.lease.c.centre == centre)
    row = conn.execute(query.with_for_update() if hold else query).one_or_none()
    if row is None or int(row.token) != token or row.holder == "":
        raise TerminalError(
            "LEASE-LOST",
            f"{centre} 已由另一处理接手，本处理迟到的提交被拒绝。",
            "这次写入已整体撤销；此前已完成的部分有效，由接手者从中断处继续。",
            "不必处理；如需补跑，确认接手者已结束后重跑。",
        )


__all__ = ["Database", "bulk_insert", "next_numbers", "open_database", "read_arrow"]
