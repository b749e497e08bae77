"""The benchmark runs on both databases and moves the rows it says; how fast is measured there, not asserted here."""

from __future__ import annotations

import pytest

from benchmarks import ledger


@pytest.mark.slow
def test_the_benchmark_moves_every_row() -> None:
    found = ledger.run(60_000)
    assert [(row["database"], row["what"]) for row in found] == [
        ("sqlite", "first postings"), ("sqlite", "corrections"), ("postgresql", "first postings"), ("postgresql", "corrections"),
    ]  # fmt: skip
    assert [row["rows"] for row in found] == [120_000, 180_000, 120_000, 180_000]
    assert all(row["ratio"] > 0 for row in found)
