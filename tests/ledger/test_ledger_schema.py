"""Migrations from empty give exactly the tables that the code describes, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from subsidy.errors import TerminalError
from subsidy.ledger import migrate, tables
from subsidy.ledger.database import Database

PostgresUrl = Callable[..., str]


def test_migrations_give_the_described_tables(database: Database) -> None:
    with database.read() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": False})
        assert compare_metadata(context, tables.metadata) == []


def test_migrations_give_the_described_constraints_sqlite(tmp_path: object) -> None:
    migrated, described = Database(f"sqlite:///{tmp_path}/a.db"), Database(f"sqlite:///{tmp_path}/b.db")
    migrated.migrate()
    with described.raw() as conn:
        tables.metadata.create_all(conn)
    query = sa.text(
        "SELECT name, sql FROM sqlite_master WHERE type IN ('index', 'table') AND name <> 'alembic_version' AND sql IS NOT NULL"
    )
    found = []
    for db in (migrated, described):
        with db.raw() as conn:
            found.append({row.name: _parts(row.sql) for row in conn.execute(query)})
        db.dispose()
    assert found[0] == found[1] and len(found[0]) > 40


def _parts(sql: str) -> list[str]:
    """The parts of a CREATE statement, whatever their order and white space: columns added later stand at the end."""
    text = " ".join(sql.replace('"', "").split()).replace("( ", "(").replace(" )", ")")
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if (c == "," and depth == 1) or (c == "(" and depth == 1):
            parts.append(text[start:i].strip())
            start = i + 1
    return sorted([*parts, text[start:].strip().removesuffix(")").strip()])


CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND conrelid::regclass::text <> 'alembic_version'
UNION ALL SELECT tablename::text, indexname::text, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
UNION ALL SELECT table_name, column_name, data_type || is_nullable || coalesce(column_default, '') FROM information_schema.columns
WHERE table_schema = 'public' AND table_name <> 'alembic_version'
"""


def test_migrations_give_the_described_constraints_postgresql(new_postgres: PostgresUrl) -> None:
    migrated, described = Database(new_postgres()), Database(new_postgres())
    migrated.migrate()
    with described.raw() as conn:
        tables.metadata.create_all(conn)
    found = []
    for db in (migrated, described):
        with db.raw() as conn:
            found.append(sorted(tuple(row) for row in conn.execute(sa.text(CONSTRAINTS))))
        db.dispose()
    assert found[0] == found[1] and len(found[0]) > 300


def test_every_append_only_table_is_guarded(database: Database) -> None:
    query = "SELECT tgname FROM pg_trigger" if database.postgres else "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    with database.read() as conn:
        names = set(conn.execute(sa.text(query)).scalars())
    for table in tables.APPEND_ONLY:
        wanted = {f"{table}_append_only"} if database.postgres else {f"{table}_no_update", f"{table}_no_delete"}
        assert wanted <= names
    assert set(tables.APPEND_ONLY) <= set(tables.metadata.tables)


def test_revisions_are_one_line() -> None:
    scripts = list(ScriptDirectory.from_config(migrate.configuration()).walk_revisions())
    assert [s.revision for s in scripts] == sorted((s.revision for s in scripts), reverse=True)
    assert scripts[-1].down_revision is None and scripts[0].revision == migrate.head()


def test_movements_of_before_keep_their_rows_and_their_guard(database_url: str) -> None:
    db = Database(database_url)
    if db.postgres:
        with db.raw() as conn:
            conn.execute(sa.text("DROP SCHEMA public CASCADE"))
            conn.execute(sa.text("CREATE SCHEMA public"))
    with db.raw() as conn:
        command.upgrade(migrate.configuration(conn), "0008")
        values = {"centre": "c", "movement_no": 1, "bank_file_no": 1, "host_serial": "R1", "amount_fen": 5, "class": "return"}
        conn.execute(sa.insert(tables.movement).values(**values, moved_on=date(2026, 9, 22)))
    db.migrate()
    with db.raw() as conn:
        assert conn.execute(sa.select(tables.movement.c.host_serial, tables.movement.c.payment_no)).all() == [("R1", "")]
        conn.execute(sa.insert(tables.movement).values(**values | {"movement_no": 2}, moved_on=date(2026, 9, 23)))
    for broken in (
        sa.insert(tables.movement).values(**values | {"movement_no": 3}, moved_on=date(2026, 9, 23)),
        sa.delete(tables.movement),
        sa.update(tables.movement).values(amount_fen=6),
    ):
        with pytest.raises(TerminalError, match="DB-REFUSED"), db.raw() as conn:
            conn.execute(broken)
    db.dispose()
