"""A night on SQLite that dies anywhere and is run again ends in the same database and the same files."""

from __future__ import annotations

from pathlib import Path

import pytest
from killing import killed_anywhere_ends_the_same

from subsidy.settings import Settings


@pytest.mark.slow
@pytest.mark.timeout(4500)
def test_killed_anywhere_on_sqlite(settings: Settings, tmp_path: Path) -> None:
    killed_anywhere_ends_the_same(settings, tmp_path, None)
