"""As known on any earlier day, to the byte: whatever becomes known later, in whatever order the manifest lists it."""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from subsidy.facts import Segment, Store, load, view
from subsidy.facts.schema import TABLES
from subsidy.facts.view import sort_key

STATUS = TABLES["status"]
FIRST = date(2026, 9, 14)

#: One file: (days after the file before, rows of (account, as-of day, balance, withdrawn)).
FILES = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.lists(
            st.tuples(st.integers(0, 4), st.integers(1, 3), st.integers(0, 9), st.booleans()), min_size=1, max_size=8,
            unique_by=lambda row: row[:2],  # a file holds a key once
        ),
    ),
    min_size=1, max_size=6,
)


def table(rows: list[tuple[int, int, int, bool]], known_on: date, file_no: int) -> pa.Table:
    data = [
        {
            "account_no": f"DK{account}", "as_of": date(2026, 8, day), "balance_fen": balance, "overdue_run": 0, "overdue_total": 0,
            "contribution_status": "01", "loan_status": "normal", "bucket": account * 50, "known_on": known_on, "file_no": file_no,
            "line_no": line, "occurrence": 0, "withdrawn": gone,
        }
        for line, (account, day, balance, gone) in enumerate(rows, 1)
    ]
    return pa.Table.from_pylist(data, schema=STATUS.arrow)


def bytes_of(found: pa.Table) -> bytes:
    """The table as it would be written: schema, values, order."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, found.schema) as writer:
        writer.write_table(found.combine_chunks())
    return hashlib.sha256(sink.getvalue()).digest()


@settings(deadline=None, max_examples=25)
@given(FILES, st.randoms(use_true_random=False))
def test_what_was_known_stays_what_was_known(files: list[tuple[int, list[tuple[int, int, int, bool]]]], random: object) -> None:
    with TemporaryDirectory() as folder:
        store = Store(str(Path(folder)))
        segments: list[Segment] = []
        remembered: list[tuple[date, int, bytes]] = []
        plain: dict[tuple[int, int], tuple[int, bool]] = {}
        day = FIRST
        for file_no, (later, rows) in enumerate(files, 1):
            day += timedelta(days=later)
            written = store.write_segment("facts/x/status", STATUS.arrow, [table(rows, day, file_no)], sort_key(STATUS))
            segments.append(Segment("status", day, file_no, written.path, written.rows, written.sha256))
            random.shuffle(segments)  # type: ignore[attr-defined]
            plain.update({(account, as_of): (balance, gone) for account, as_of, balance, gone in rows})
            found = view(store, segments, "status", day)
            assert sorted((r["account_no"], r["as_of"].day, r["balance_fen"]) for r in found.to_pylist()) == sorted(
                (f"DK{account}", as_of, balance) for (account, as_of), (balance, gone) in plain.items() if not gone
            )
            remembered.append((day, file_no, bytes_of(found)))
            for known_on, upto, digest in remembered:
                assert bytes_of(view(store, segments, "status", known_on, upto_file_no=upto)) == digest
                parts = [view(store, segments, "status", known_on, [b], upto_file_no=upto) for b in range(0, 250, 50)]
                assert sum(p.num_rows for p in parts) == view(store, segments, "status", known_on, upto_file_no=upto).num_rows
                whole = load(store, segments, known_on, upto_file_no=upto)["status"]
                assert bytes_of(whole) == digest
