"""The write-once store: content is the name, nothing half-written shows, the same rows give the same bytes anywhere."""

from __future__ import annotations

import hashlib
import pickle
import random
import zlib
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subsidy.facts import Segment, Store, bucket_of, load, view
from subsidy.facts.hashing import Places, crc32, hash64
from subsidy.facts.schema import TABLES
from subsidy.facts.view import Asked, latest, sort_key

STATUS = TABLES["status"]
D = date


def status(rows: list[tuple[str, date, int, int, bool]], known_on: date, file_no: int) -> pa.Table:
    """Rows of (account, as_of, balance, bucket, withdrawn)."""
    data = [
        {
            "account_no": account, "as_of": as_of, "balance_fen": balance, "overdue_run": 0, "overdue_total": 0,
            "contribution_status": "01", "loan_status": "normal",
            "bucket": bucket, "known_on": known_on, "file_no": file_no, "line_no": line, "occurrence": 0,
            "withdrawn": withdrawn,
        }
        for line, (account, as_of, balance, bucket, withdrawn) in enumerate(rows, 1)
    ]
    return pa.Table.from_pylist(data, schema=STATUS.arrow)


def put(store: Store, rows: list[tuple[str, date, int, int, bool]], known_on: date, file_no: int) -> Segment:
    written = store.write_segment("facts/x/status", STATUS.arrow, [status(rows, known_on, file_no)], sort_key(STATUS))
    return Segment("status", known_on, file_no, written.path, written.rows, written.sha256)


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path) if request.param == "file" else f"memory://facts-{tmp_path.name}")


def test_raw_files_lie_under_their_digest(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_bytes(b"abc" * 1000)
    sha256 = store.put_file(source)
    assert sha256 == hashlib.sha256(b"abc" * 1000).hexdigest() == store.put_bytes(b"abc" * 1000)
    with store.open(Store.raw_path(sha256)) as handle:
        assert handle.read() == b"abc" * 1000
    assert store.sha256_of(Store.raw_path(sha256)) == sha256
    assert store.exists(Store.raw_path(sha256)) and not store.exists("raw/00/none")


def test_what_lies_there_is_never_written_again(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    sha256 = store.put_bytes(b"abc")
    path = tmp_path / Store.raw_path(sha256)
    path.chmod(0o444)
    before = path.stat().st_mtime_ns
    store.put_bytes(b"abc")
    assert path.stat().st_mtime_ns == before
    assert [p.name for p in path.parent.iterdir()] == [sha256]  # nothing beside it


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "\\x"])
def test_paths_stay_inside(path: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leaves the store"):
        Store(str(tmp_path)).open(path)


def test_a_store_travels_to_another_process(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    sha256 = store.put_bytes(b"abc")
    assert pickle.loads(pickle.dumps(store)).exists(Store.raw_path(sha256))


def test_the_same_rows_are_the_same_segment(tmp_path: Path) -> None:
    """However they are split, shuffled or on whatever file system."""
    rows = status([(f"DK{i % 700:04d}", D(2026, 1, 1 + i // 700), i, i % 700 % 256, False) for i in range(2_100)], D(2026, 2, 1), 1)
    shuffled = list(range(rows.num_rows))
    random.Random(1).shuffle(shuffled)
    low = rows.filter(pa.compute.less(rows["bucket"], 100))
    high = rows.filter(pa.compute.greater_equal(rows["bucket"], 100))
    found = {
        Store(url).write_segment("facts", STATUS.arrow, parts, sort_key(STATUS)).path
        for url, parts in (
            (str(tmp_path / "a"), [rows]), (str(tmp_path / "b"), [rows.take(shuffled)]), (str(tmp_path / "c"), [low, high]),
            ("memory://same", [rows]),
        )
    }
    assert len(found) == 1
    with pytest.raises(ValueError, match="overlap"):
        Store(str(tmp_path / "d")).write_segment("facts", STATUS.arrow, [high, low], sort_key(STATUS))


def test_as_known_on_any_day(store: Store) -> None:
    first = put(store, [("1", D(2026, 1, 1), 10, 1, False), ("2", D(2026, 1, 1), 20, 2, False)], D(2026, 1, 2), 1)
    second = put(store, [("1", D(2026, 1, 1), 11, 1, False), ("2", D(2026, 1, 1), 20, 2, True)], D(2026, 1, 3), 2)
    third = put(store, [("2", D(2026, 1, 1), 22, 2, False)], D(2026, 1, 3), 3)
    segments = [third, first, second]

    def known(day: date, **options: object) -> list[tuple[str, int]]:
        found = view(store, segments, "status", day, **options)  # type: ignore[arg-type]
        return [(r["account_no"], r["balance_fen"]) for r in found.to_pylist()]

    assert known(D(2026, 1, 1)) == []
    assert known(D(2026, 1, 2)) == [("1", 10), ("2", 20)]
    assert known(D(2026, 1, 3), upto_file_no=2) == [("1", 11)]
    assert known(D(2026, 1, 3)) == [("1", 11), ("2", 22)]
    assert known(D(2026, 1, 3), buckets=[2]) == [("2", 22)]
    assert known(D(2026, 1, 3), buckets=[]) == []
    asked = pa.table({"account_no": ["2"], "as_of": pa.array([D(2026, 1, 1)])})
    assert known(D(2026, 1, 3), keys=asked) == [("2", 22)]
    assert view(store, segments, "change", D(2026, 1, 3)).num_rows == 0
    facts = load(store, segments, D(2026, 1, 3), range(256))
    assert set(facts.tables) == set(TABLES) and facts["status"].num_rows == 2


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.booleans()), max_size=30))
def test_the_latest_of_each_key_is_the_one_plain_code_finds(versions: list[tuple[int, int, int, int, bool]]) -> None:
    rows = pa.concat_tables(
        [STATUS.arrow.empty_table()]
        + [
            status([(f"DK{key}", D(2026, 1, 1), i, 0, gone)], D(2026, 2, known), file_no)
            .drop_columns(["line_no"])
            .append_column("line_no", pa.array([line], pa.int32()))
            .select(STATUS.arrow.names)
            for i, (key, known, file_no, line, gone) in enumerate(versions)
        ]
    )
    plain: dict[int, tuple[int, int, int, int]] = {}
    for i, (key, known, file_no, line, _) in enumerate(versions):
        if key not in plain or (known, file_no, line, i) >= plain[key]:
            plain[key] = (known, file_no, line, i)
    assert sorted(latest(rows, STATUS)["balance_fen"].to_pylist()) == sorted(v[3] for v in plain.values())


@given(st.lists(st.text(max_size=20), max_size=50))
def test_buckets_are_crc32(texts: list[str]) -> None:
    texts = [t.encode("utf-8", "ignore").decode() for t in texts]
    column = pa.array(texts, pa.string())
    assert crc32(column).tolist() == [zlib.crc32(t.encode()) for t in texts]
    assert bucket_of(column).tolist() == [zlib.crc32(t.encode()) % 256 for t in texts]


@given(st.lists(st.text(max_size=30), max_size=40), st.integers(0, 5))
def test_a_hash_depends_on_the_string_alone(texts: list[str], offset: int) -> None:
    texts = [t.encode("utf-8", "ignore").decode() for t in texts]
    column = pa.array(["x" * 9] * offset + texts, pa.string()).slice(offset)
    alone = [int(hash64(pa.array([t], pa.string()))[0]) for t in texts]
    assert hash64(column).tolist() == alone
    nothing = [None if t == "" else t for t in texts]
    assert hash64(pa.array(nothing, pa.string())).tolist() == alone
    assert len(set(alone)) == len(set(texts))


@given(st.sets(st.integers(1, 2**64 - 1), max_size=60), st.lists(st.integers(1, 2**64 - 1), max_size=20))
def test_places_finds_what_was_put(hashes: set[int], others: list[int]) -> None:
    import numpy as np

    put_in = np.array(sorted(hashes), np.uint64)
    places = Places(put_in)
    assert places.find(put_in).tolist() == list(range(len(put_in)))
    strangers = np.array([o for o in others if o not in hashes], np.uint64)
    assert (places.find(strangers) == -1).all()


def test_asked_compares_the_values_themselves() -> None:
    keys = (("1", D(2026, 1, 1)), ("1", D(2026, 1, 2)), ("2", D(2026, 1, 1)))
    rows = status([(account, day, 1, 0, False) for account, day in keys], D(2026, 1, 3), 1)
    asked = Asked(pa.table({"account_no": ["1", "2"], "as_of": pa.array([D(2026, 1, 2), D(2026, 1, 2)])}))
    assert asked.among(rows.select(["account_no", "as_of"])).tolist() == [False, True, False]
    assert not Asked(rows.select(["account_no"]).slice(0, 0)).among(rows.select(["account_no"])).any()
