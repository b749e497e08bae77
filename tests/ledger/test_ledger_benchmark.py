"""The benchmark's promise at a size that a test run can afford: posting within three times the database's own bulk load."""

from __future__ import annotations

import pytest

from benchmarks import ledger


@pytest.mark.slow
def test_posting_keeps_up_with_the_bulk_load() -> None:
    found = ledger.run(60_000)
    assert [(row["database"], row["what"]) for row in found] == [
        ("sqlite", "first postings"), ("sqlite", "corrections"), ("postgresql", "first postings"), ("postgresql", "corrections"),
    ]  # fmt: skip
    assert [row["rows"] for row in found] == [120_000, 180_000, 120_000, 180_000]
    slow = {(row["database"], row["what"]): round(row["ratio"], 2) for row in found if row["ratio"] > ledger.LIMIT}
    assert slow == {}
