"""Rows on their way: whatever is added, read and added again, in whatever pieces, comes back whole and in order."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from intake_desk import Desk
from intake_samples import D, arrival, deliver, rows, take

from subsidy.facts.schema import BUCKETS
from subsidy.intake.spool import Spool

SCHEMA = pa.schema([("number", pa.int64()), ("bucket", pa.int16())])
#: Add so many rows, or read everything (0).
STEPS = st.lists(st.integers(0, 40), max_size=12)


@given(STEPS, st.sampled_from([1, 2, 16, 256]), st.integers(0, 600), st.randoms(use_true_random=False))
@example([30, 0, 30, 0, 30], 4, 100, Random(0))
def test_what_is_added_comes_back(steps: list[int], ranges: int, held: int, random: Random) -> None:
    spool = Spool(SCHEMA, None, ranges, held)
    added: list[tuple[int, int]] = []
    try:
        for step in [*steps, 0]:
            if step:
                new = [(len(added) + i, random.randrange(BUCKETS)) for i in range(step)]
                added += new
                spool.add(pa.table([[n for n, _ in new], pa.array([b for _, b in new], pa.int16())], SCHEMA))
                continue
            assert spool.rows == len(added)
            found = [list(zip(*(c.to_pylist() for c in part.columns), strict=True)) for part in spool.parts()]
            span = spool.span
            assert [row for part in found for row in part] == sorted(added, key=lambda row: row[1] // span)
            assert all(len({b // span for _, b in part}) == 1 for part in found)
        files = [path for paths in spool._paths for path in paths]
    finally:
        spool.close()
    assert not any(path.exists() for path in files)


def test_few_rows_of_a_large_file_stay_in_one_range() -> None:
    spool = Spool(SCHEMA, None, 16, 1 << 20)
    spool.add(pa.table([np.arange(1000), np.arange(1000, dtype=np.int16) % BUCKETS], SCHEMA))
    assert spool.ranges == 1 and [part.num_rows for part in spool.parts()] == [1000]


@pytest.mark.parametrize("range_bytes", [128 << 20, 4_000, 300])
def test_rows_that_a_spilled_file_releases_are_booked_beside_its_own(range_bytes: int, tmp_path: Path) -> None:
    desk = Desk.open("quzhou", tmp_path / "store")
    early = rows("GB304", *({"account_no": f"DKW{i:02}", "contract_no": "JK002"} for i in range(30)))
    [before] = take(desk, tmp_path / "1", {"GB304": early}, sequence="001")
    assert before.counts.quarantined == 30
    contracts = rows("GB301", {"contract_no": "JK001"}, {"contract_no": "JK002"})
    accounts = rows("GB304", *({"account_no": f"DK{i:03}", "contract_no": f"JK00{1 + i % 2}"} for i in range(60)))
    [path] = deliver(desk.profiles.profiles["main"], tmp_path / "2", {"GB301": contracts, "GB304": accounts}, sequence="002")
    intake = desk.take(arrival(path, desk.profiles), D(2026, 9, 14), range_bytes=range_bytes)
    counts = intake.tables["account"].counts
    assert (intake.state, counts.booked, counts.released) == ("booked", 60, 30)
    assert desk.facts("account", D(2026, 9, 14)).num_rows == 90
