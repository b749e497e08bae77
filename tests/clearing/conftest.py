"""A house on each database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clearing_house import RULES, House, policy_of

from subsidy.ledger.database import Database
from subsidy.settings import Settings


def _maker(database: Database, tmp_path: Path) -> Callable[..., House]:

    def make(centre: str = "hangzhou", **terms: Any) -> House:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        settings = Settings(
            home=home,
            rules=RULES,
            database_url=database.url.render_as_string(hide_password=False),
            store_url=f"file://{home / 'store'}",
            key="k" * 40,
        )
        return House(database, settings, policy_of(centre, **terms))

    return make


@pytest.fixture
def new_house(database: Database, tmp_path: Path) -> Callable[..., House]:
    """A function that makes a house of a centre on the test's database."""
    return _maker(database, tmp_path)


@pytest.fixture
def small_house(tmp_path: Path) -> Iterator[House]:
    """杭州 on SQLite alone, for what the database has no part in."""
    database = Database(f"sqlite:///{tmp_path / 'small.db'}", busy_seconds=10)
    database.migrate()
    yield _maker(database, tmp_path)()
    database.dispose()


@pytest.fixture
def house(new_house: Callable[..., House]) -> House:
    """杭州 with one day behind it and nothing due."""
    return new_house()
