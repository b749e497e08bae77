"""Board, download and desk pages read as much of the database for 50,000 loans as for 2,500. Counted in the database's own steps, not
in seconds; `python -m benchmarks pages` measures the seconds for a million."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from benchmarks import pages
from subsidy.clearing import events
from subsidy.ledger.database import open_database

FEW, MANY = 2_500, 50_000


@contextmanager
def counted() -> Iterator[list[int]]:
    """Instructions of SQLite's machine, and statements, that run in the block: [instructions, statements]."""
    work = [0, 0]

    def tick() -> int:
        work[0] += 1
        return 0

    def watch(connection: object, *_: object) -> None:
        connection.set_progress_handler(tick, 1)  # type: ignore[attr-defined]

    def statement(*_: object) -> None:
        work[1] += 1

    sa.event.listen(sa.pool.Pool, "checkout", watch)
    sa.event.listen(sa.engine.Engine, "before_cursor_execute", statement)
    try:
        yield work
    finally:
        sa.event.remove(sa.pool.Pool, "checkout", watch)
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", statement)


@pytest.mark.slow
def test_pages_touch_no_more_rows_with_more_loans() -> None:
    seen: dict[str, list[tuple[int, int, int]]] = {}
    for loans in (FEW, MANY):
        with pages.ledger_of(loans, workbook=False) as settings:
            for name, page in pages.pages(settings).items():
                page()  # what is kept between calls is kept now
                with counted() as work:
                    text = page().decode()
                assert f"{loans - 1:,}" in text or name not in ("board", "period")
                seen.setdefault(name, []).append((*work, len(text)))
    assert set(seen) == {"board", "period", "night", "quarantine", "receivables"}
    for name, ((few, statements, size), (many, more_statements, more_size)) in seen.items():
        assert few and many <= 1.5 * few, (name, few, many)
        assert more_statements == statements, name
        assert more_size <= 1.5 * size, name


def test_the_page_says_when_the_ledger_has_left_the_workbook_behind() -> None:
    with pages.ledger_of(10, workbook=False) as settings:
        page = pages.pages(settings)["period"]
        assert "账簿又有本期的新记录" not in page().decode()
        with open_database(settings).transaction_system() as conn:
            events.append(conn, pages.CENTRE, ["TX2026090000000001"], "confirmed", pages.DAY, run_no=1)
        assert "账簿又有本期的新记录" in page().decode()
