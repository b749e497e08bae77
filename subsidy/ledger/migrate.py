"""The schema and its versions.

Every change of a table, or of the meaning of a column, is a migration; its revision is the epoch of the code that may write.
New revision: ``python -m subsidy.ledger.migrations NAME`` writes the difference between tables.py and the migrations.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from subsidy.errors import TerminalError

if TYPE_CHECKING:
    from subsidy.ledger.database import Database

SCRIPTS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 7_205_530


def configuration(conn: Connection | None = None) -> Config:
    """Alembic's configuration, working on `conn` when one is given."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["connection"] = conn
    return config


@lru_cache(maxsize=1)
def _revisions() -> tuple[str, frozenset[str]]:
    scripts = ScriptDirectory.from_config(configuration())
    head = scripts.get_current_head()
    assert head is not None
    return head, frozenset(script.revision for script in scripts.walk_revisions())


def head() -> str:
    """The newest revision that this code knows."""
    return _revisions()[0]


def knows(revision: str) -> bool:
    """True for a revision that this code can bring up to `head()`."""
    return revision in _revisions()[1]


def revision_of(conn: Connection) -> str | None:
    """The revision of the database; None when it is empty."""
    if not sa.inspect(conn).has_table("alembic_version"):
        return None
    found = conn.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if found is None else str(found)


def to_head(db: Database) -> None:
    """Bring `db` to `head()`; several processes at once are let in one after the other."""
    with db.raw(write=False) as conn:
        if revision_of(conn) == head():
            return  # as nearly always, and nobody who writes is waited for
    with db.raw() as conn:
        if db.postgres:
            conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        found = revision_of(conn)
        if found == head():
            return
        if found is not None and found not in _revisions()[1]:
            raise _newer(found)
        command.upgrade(configuration(conn), "head")


def refuse_foreign(conn: Connection) -> None:
    """Refuse to work on a schema that is not the one this code was written for."""
    try:
        found = conn.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    except (sa.exc.OperationalError, sa.exc.ProgrammingError) as error:
        if "alembic_version" not in str(error.orig):
            raise
        found = None
    if found == head():
        return
    if found is None or found in _revisions()[1]:
        raise TerminalError(
            "DB-OLDER",
            f"数据库结构版本是 {found or '空'}，程序需要 {head()}。",
            "没有改动任何数据。",
            "先升级数据库结构：运行任一 subsidy 命令，或 open_database。",
        )
    raise _newer(str(found))


def _newer(found: str) -> TerminalError:
    return TerminalError(
        "DB-NEWER",
        f"数据库结构版本 {found} 比程序认识的（{head()}）新：程序是旧版本。",
        "没有改动任何数据；旧程序不会写入新结构。",
        "停止旧版本程序，部署与数据库一致的版本后重跑。",
    )
