"""A home in which a centre's whole story was played once, and workbooks of it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from subsidy.ledger.database import open_database
from subsidy.settings import Settings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "night"))
from playing import play
from reports_samples import CENTRE

#: LibreOffice is asked for like a browser: without it these tests are not collected, unless its absence is a failure.
collect_ignore = [] if shutil.which("soffice") or os.environ.get("SUBSIDY_REQUIRE_BROWSER") == "1" else ["test_reports_office.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out, before the closing line."""
    if collect_ignore:
        terminalreporter.write_line("LibreOffice (soffice) is not installed: tests/reports/test_reports_office.py was not collected.")


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a home in which the story of one centre was played. Tests may write files into it, never change its ledger."""
    home = tmp_path_factory.mktemp("reports") / "home"
    home.mkdir()
    rules = Path(__file__).resolve().parents[2] / "rules"
    settings = Settings(home, rules, f"sqlite:///{home / 'ledger.db'}", f"file://{home / 'store'}", "test-key-" + "0" * 40)
    play(settings, CENTRE)
    yield settings
    open_database(settings).dispose()
