"""A night on PostgreSQL that dies anywhere and is run again ends in the same database and the same files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from killing import killed_anywhere_ends_the_same

from subsidy.settings import Settings


@pytest.mark.slow
@pytest.mark.timeout(4500)
def test_killed_anywhere_on_postgresql(settings: Settings, tmp_path: Path, postgres_url: str, new_postgres: Callable[..., str]) -> None:
    killed_anywhere_ends_the_same(dataclasses.replace(settings, database_url=postgres_url), tmp_path, new_postgres)
