"""Versions of a delivery: what a correction adds, changes, withdraws, releases; what is known on which day."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest
from intake_desk import CENTRES, Desk
from intake_samples import D, arrival, deliver, rows, stocked, take

from subsidy.facts.schema import TABLES
from subsidy.intake import Profiles
from subsidy.intake.lineage import KnownLineage
from subsidy.intake.release import release_by_person
from subsidy.intake.write import file_digest

N1, N2, N3 = D(2026, 9, 14), D(2026, 9, 15), D(2026, 9, 16)


def days(*numbers: int, **change: object) -> list[dict[str, object]]:
    return [{"as_of": D(2026, 8, n), **change} for n in numbers]


def seen(desk: Desk, table: str, known_on: object, *columns: str, **options: object) -> list[tuple[object, ...]]:
    found = desk.facts(table, known_on, **options)  # type: ignore[arg-type]
    return sorted(tuple(row.values()) for row in found.select(list(columns)).to_pylist())


@pytest.fixture
def increment(tmp_path: Path) -> Desk:
    """Hangzhou: TX02 is an increment there."""
    return stocked(Desk.open("hangzhou", tmp_path / "store"), tmp_path)


@pytest.fixture
def full(tmp_path: Path) -> Desk:
    """Zhejiang: a TX02 file replaces its earlier version."""
    return stocked(Desk.open("zhejiang-provincial", tmp_path / "store"), tmp_path)


def counts(intake: object) -> tuple[int, ...]:
    c = intake.counts  # type: ignore[attr-defined]
    return (c.rows_in, c.added, c.changed, c.unchanged, c.withdrawn, c.duplicates, c.quarantined)


def test_an_increment_adds_and_changes_and_leaves_the_rest(increment: Desk, tmp_path: Path) -> None:
    [one] = take(increment, tmp_path / "1", {"TX02": rows("TX02", *days(1, 2, 3))}, N1)
    assert (one.version, counts(one)) == (1, (3, 3, 0, 0, 0, 0, 0))
    changed = rows("TX02", *days(1), *days(2, balance_fen=7), *days(4))
    [two] = take(increment, tmp_path / "2", {"TX02": changed}, N2)
    assert (two.version, two.identity, counts(two)) == (2, one.identity, (3, 1, 1, 1, 0, 0, 0))
    assert seen(increment, "status", N2, "as_of", "balance_fen", "file_no") == [
        (D(2026, 8, 1), 49_921_311, one.file_no), (D(2026, 8, 2), 7, two.file_no), (D(2026, 8, 3), 49_921_311, one.file_no),
        (D(2026, 8, 4), 49_921_311, two.file_no),
    ]
    assert seen(increment, "status", N1, "as_of", "balance_fen") == [(D(2026, 8, n), 49_921_311) for n in (1, 2, 3)]
    assert seen(increment, "status", N2, "as_of", upto_file_no=one.file_no) == [(D(2026, 8, n),) for n in (1, 2, 3)]


def test_a_full_file_withdraws_what_its_new_version_no_longer_has(full: Desk, tmp_path: Path) -> None:
    take(full, tmp_path / "1", {"TX02": rows("TX02", *days(1, 2, 3))}, N1)
    [two] = take(full, tmp_path / "2", {"TX02": rows("TX02", *days(1, 2), *days(4))}, N2)
    assert counts(two) == (3, 1, 0, 2, 1, 0, 0)
    assert seen(full, "status", N1, "as_of") == [(D(2026, 8, n),) for n in (1, 2, 3)]
    assert seen(full, "status", N2, "as_of") == [(D(2026, 8, n),) for n in (1, 2, 4)]
    [three] = take(full, tmp_path / "3", {"TX02": rows("TX02", *days(1, 2, 3, 4))}, N3)
    assert counts(three) == (4, 1, 0, 3, 0, 0, 0)
    assert seen(full, "status", N3, "as_of") == [(D(2026, 8, n),) for n in (1, 2, 3, 4)]
    assert seen(full, "status", N2, "as_of") == [(D(2026, 8, n),) for n in (1, 2, 4)]


def test_a_full_file_does_not_touch_another_delivery(full: Desk, tmp_path: Path) -> None:
    take(full, tmp_path / "1", {"TX02": rows("TX02", *days(1, 2))}, N1)
    [other] = take(full, tmp_path / "2", {"TX02": rows("TX02", *days(2, 3))}, N1, sequence="002")
    assert counts(other) == (2, 1, 0, 1, 0, 0, 0)
    # Day 2 now belongs to the second delivery as well: a correction of the first must not take it away.
    [corrected] = take(full, tmp_path / "3", {"TX02": rows("TX02", *days(1))}, N2)
    assert counts(corrected) == (1, 0, 0, 1, 0, 0, 0)
    assert seen(full, "status", N2, "as_of") == [(D(2026, 8, n),) for n in (1, 2, 3)]
    [corrected] = take(full, tmp_path / "4", {"TX02": rows("TX02", *days(3))}, N3, sequence="002")
    assert counts(corrected) == (1, 0, 0, 1, 1, 0, 0)
    assert seen(full, "status", N3, "as_of") == [(D(2026, 8, n),) for n in (1, 3)]


def test_a_snapshot_of_the_whole_table(tmp_path: Path) -> None:
    desk = stocked(Desk.open("zhoushan", tmp_path / "store"), tmp_path)
    take(desk, tmp_path / "1", {"TX05": rows("TX05", {}, {"serial_no": "LS2"})}, N1)
    [next_day] = take(desk, tmp_path / "2", {"TX05": rows("TX05", {"serial_no": "LS3"}, {})}, N2, day=N2)
    assert counts(next_day) == (2, 1, 0, 1, 1, 0, 0)
    assert seen(desk, "other_subsidy", N2, "serial_no") == [("LS001",), ("LS3",)]


def test_more_withdrawals_than_allowed_wait_for_a_person(full: Desk, tmp_path: Path) -> None:
    take(full, tmp_path / "1", {"TX02": rows("TX02", *days(*range(1, 29)))}, N1)
    less = {"TX02": rows("TX02", *days(*range(1, 20)))}
    [held] = take(full, tmp_path / "2", less, N2)
    assert (held.state, held.version, counts(held)) == ("held", 2, (0,) * 7)
    assert len(seen(full, "status", N2, "as_of")) == 28
    # The same bytes again are known; with a person's word they are taken.
    path = next((tmp_path / "2").glob("SZ_TX02*.csv"))
    assert full.take(arrival(path, full.profiles), N2).state == "duplicate"
    released = full.take(arrival(path, full.profiles), N3, accept=frozenset({"FILE-WITHDRAWALS"}))
    assert (released.state, counts(released)) == ("booked", (19, 0, 0, 19, 9, 0, 0))
    assert len(seen(full, "status", N3, "as_of")) == 19


def test_a_few_withdrawals_do_not_wait(full: Desk, tmp_path: Path) -> None:
    take(full, tmp_path / "1", {"TX02": rows("TX02", *days(1, 2, 3, 4))}, N1)
    [two] = take(full, tmp_path / "2", {"TX02": rows("TX02", *days(1))}, N2)
    assert (two.state, two.counts.withdrawn) == ("booked", 3)


def test_rows_that_lie_in_quarantine_are_not_absent(full: Desk, tmp_path: Path) -> None:
    take(full, tmp_path / "1", {"TX02": rows("TX02", *days(1, 2))}, N1)
    [two] = take(full, tmp_path / "2", {"TX02": rows("TX02", *days(1), *days(2, overdue_run=3))}, N2)
    assert counts(two) == (2, 0, 0, 1, 0, 0, 1)
    assert seen(full, "status", N2, "as_of", "overdue_run") == [(D(2026, 8, 1), 0), (D(2026, 8, 2), 0)]


def test_tables_without_a_key_keep_identical_rows(increment: Desk, tmp_path: Path) -> None:
    [one] = take(increment, tmp_path / "1", {"GB306": rows("GB306", {}, {}, {"overdue_instalment": 3})}, N1)
    assert counts(one) == (3, 3, 0, 0, 0, 0, 0)
    assert seen(increment, "overdue", N1, "overdue_instalment", "occurrence") == [(2, 0), (2, 1), (3, 0)]
    [two] = take(increment, tmp_path / "2", {"GB306": rows("GB306", {}, {"overdue_instalment": 3})}, N2)
    assert counts(two) == (2, 0, 0, 2, 1, 0, 0)
    assert seen(increment, "overdue", N2, "overdue_instalment", "occurrence") == [(2, 0), (3, 0)]


def test_identical_rows_with_a_key_are_duplicates_and_differing_ones_wait(increment: Desk, tmp_path: Path) -> None:
    table = rows("TX02", *days(1, 1, 1), *days(2), *days(2, balance_fen=1), *days(3, 3, 3), *days(3, balance_fen=1))
    [one] = take(increment, tmp_path / "1", {"TX02": table}, N1)
    assert counts(one) == (9, 1, 0, 0, 0, 2, 6)
    assert [(q.code, q.line_no) for q in one.quarantined] == [("KEY-DIFFERS", n) for n in (5, 6, 7, 8, 9, 10)]
    assert seen(increment, "status", N1, "as_of") == [(D(2026, 8, 1),)]


def test_a_bad_row_takes_its_twin_with_it(increment: Desk, tmp_path: Path) -> None:
    """One of two rows with the same key is unreadable in another field: nobody knows which is right."""
    [one] = take(increment, tmp_path / "1", {"TX02": rows("TX02", *days(1), *days(1, overdue_run=5))}, N1)
    assert sorted(q.code for q in one.quarantined) == ["FIELD-BAND", "KEY-DIFFERS"]


def test_a_correction_releases_what_it_settles(increment: Desk, tmp_path: Path) -> None:
    bad = rows("GB305", {}, {"serial_no": "LS2", "interest_fen": 1_458_330, "amount_fen": 1_537_019}, {"serial_no": "LS3", "amount_fen": 1})
    [one] = take(increment, tmp_path / "1", {"GB305": bad}, N1)
    assert [q.code for q in one.quarantined] == ["ROW-INTEREST", "ROW-SUM"] and all(q.soft for q in one.quarantined)
    [two] = take(increment, tmp_path / "2", {"GB305": rows("GB305", {}, {"serial_no": "LS2"})}, N2)
    assert counts(two) == (2, 1, 0, 1, 0, 0, 0)
    assert [(r.quarantine_no, r.how, r.booked) for r in two.releases] == [(1, "correction", False)]
    # An increment need not repeat LS3: it stays, until a file names it.
    assert [r.quarantine_no for r in increment.open_rows] == [2]
    [three] = take(increment, tmp_path / "3", {"GB305": rows("GB305", {"serial_no": "LS3"})}, N3, sequence="002")
    assert [r.quarantine_no for r in three.releases] == [2]
    assert not increment.open_rows


def test_a_full_correction_settles_every_row_of_its_file(full: Desk, tmp_path: Path) -> None:
    [path] = deliver(full.profiles.profiles["main"], tmp_path / "1", {"TX02": rows("TX02", *days(1), *days(2, overdue_run=9))})
    one = full.take(arrival(path, full.profiles), N1)
    assert len(one.quarantined) == 1
    [two] = take(full, tmp_path / "2", {"TX02": rows("TX02", *days(1))}, N2)
    assert [r.reason for r in two.releases] == ["同一身份的新版本已替换原文件"]


def test_rows_wait_for_their_parents_and_come_by_themselves(tmp_path: Path) -> None:
    """Transactions before accounts before contracts: everything is booked in the end, with its own file and line."""
    desk = Desk.open("hangzhou", tmp_path / "store")
    [children] = take(desk, tmp_path / "1", {"GB305": rows("GB305", {}, {"serial_no": "LS2"})}, N1)
    [account] = take(desk, tmp_path / "2", {"GB304": rows("GB304")}, N1)
    assert [q.parent for q in children.quarantined] == ["account", "account"]
    assert [q.parent for q in account.quarantined] == ["contract"]
    [contract] = take(desk, tmp_path / "3", {"GB301": rows("GB301")}, N2)
    assert [(r.quarantine_no, r.booked) for r in contract.releases] == [(1, True), (2, True), (3, True)]
    assert contract.tables["account"].counts.released == 1 and contract.tables["transaction"].counts.released == 2
    assert contract.counts.rows_in == 1
    assert seen(desk, "transaction", N2, "serial_no", "file_no", "line_no", "known_on") == [("LS001", 1, 2, N2), ("LS2", 1, 3, N2)]
    assert seen(desk, "account", N2, "file_no", "line_no") == [(2, 2)]
    assert seen(desk, "transaction", N1, "serial_no") == []
    assert not desk.open_rows


def test_a_late_parent_does_not_bring_back_what_a_correction_replaced(tmp_path: Path) -> None:
    desk = Desk.open("hangzhou", tmp_path / "store")
    take(desk, tmp_path / "1", {"TX02": rows("TX02")}, N1)
    take(desk, tmp_path / "2", {"TX02": rows("TX02", {"balance_fen": 5})}, N1, sequence="002")
    intakes = take(desk, tmp_path / "3", {"GB301": rows("GB301"), "GB304": rows("GB304")}, N2)
    # The later of the two is the one that counts.
    assert seen(desk, "status", N2, "balance_fen", "file_no") == [(5, 2)]
    assert sorted(r.quarantine_no for i in intakes for r in i.releases) == [2]
    [again] = take(desk, tmp_path / "4", {"TX02": rows("TX02", {"balance_fen": 6})}, N3)
    assert [(r.quarantine_no, r.booked) for r in again.releases] == [(1, False)]
    assert seen(desk, "status", N3, "balance_fen") == [(6,)]


@pytest.mark.parametrize("centre", CENTRES)
def test_every_form_keeps_raw_bytes_that_can_be_read_again(centre: str, tmp_path: Path) -> None:
    desk = Desk.open(centre, tmp_path / "store")
    named = rows("TX03", {"reason": "停缴<&>，\"𬭎\""})
    take(desk, tmp_path / "1", {"TX03": named}, N1)
    assert len(desk.open_rows) == 1 and desk.open_rows[0].code == "PARENT-UNKNOWN"
    take(desk, tmp_path / "2", {"TX01": rows("TX01")}, N2)
    assert desk.facts("change", N2)["reason"].to_pylist() == ["停缴<&>，\"𬭎\""]
    assert not desk.open_rows


def test_csv_columns_in_another_order_survive_quarantine(tmp_path: Path) -> None:
    desk = Desk.open("zhejiang-provincial", tmp_path / "store")
    profile = desk.profiles.profiles["main"]
    spec = profile.tables["TX05"]
    turned = dataclasses.replace(profile, tables={**profile.tables, "TX05": dataclasses.replace(spec, columns=spec.columns[::-1])})
    [path] = deliver(turned, tmp_path / "1", {"TX05": rows("TX05")})
    intake = desk.take(arrival(path, desk.profiles), N1)
    assert intake.quarantined[0].raw.startswith(b"TXJE,FAMC,YWLSH,GRDKZH\n")
    take(desk, tmp_path / "2", {"GB301": rows("GB301"), "GB304": rows("GB304")}, N2)
    assert seen(desk, "other_subsidy", N2, "scheme_name", "amount_fen") == [("消费补贴", 10_000)]


def test_a_person_releases_what_only_looked_wrong(increment: Desk, tmp_path: Path) -> None:
    odd = {"interest_fen": 1_458_330, "amount_fen": 1_537_019}
    take(increment, tmp_path / "1", {"GB305": rows("GB305", odd, {**odd, "serial_no": "LS2", "kind": "99", "rate_ppm": 0})}, N1)
    context = increment.context(N2)
    outcome = release_by_person(
        increment.open_rows, TABLES["transaction"], increment.profiles, context, KnownLineage(context), N2, "银行已书面确认"
    )
    assert [(r.quarantine_no, r.how, r.reason) for r in outcome.releases] == [(1, "person", "银行已书面确认")]
    assert outcome.facts is not None and outcome.facts["interest_fen"].to_pylist() == [1_458_330]
    assert outcome.facts["line_no"].to_pylist() == [2]


def test_the_order_of_work_changes_nothing(tmp_path: Path) -> None:
    """One thread or several, one block or many, spilled or not: the same bytes of facts, the same quarantine, the same counts."""
    many = [{"account_no": f"DK{i % 50:03d}", "serial_no": f"LS{i:05d}", "amount_fen": 224_522 if i % 97 else 1} for i in range(3_000)]
    accounts = [{"account_no": f"DK{i:03d}", "contract_no": f"JK{i:03d}"} for i in range(50)]
    contracts = [{"contract_no": f"JK{i:03d}"} for i in range(50)]
    found = []
    for workers, block, spill in ((1, 1 << 22, 1 << 26), (3, 1 << 12, 20_000), (2, 1 << 14, 100_000)):
        desk = Desk.open("hangzhou", tmp_path / f"store{workers}")
        take(desk, tmp_path / f"stock{workers}", {"GB301": rows("GB301", *contracts), "GB304": rows("GB304", *accounts)}, N1)
        [path] = deliver(desk.profiles.profiles["main"], tmp_path / f"in{workers}", {"GB305": rows("GB305", *many)})
        intake = desk.take(arrival(path, desk.profiles), N1, workers=workers, block_bytes=block, range_bytes=spill, scratch=tmp_path)
        segment = desk.segments[-1]
        found.append((segment.sha256, segment.rows, counts(intake), [(q.line_no, q.raw, q.code) for q in intake.quarantined]))
    assert found[0] == found[1] == found[2]
    assert found[0][1] == 3_000 - len(found[0][3]) and len(found[0][3]) == 31


def test_profiles_of_a_centre_are_apart(tmp_path: Path) -> None:
    """A row in quarantine of a profile that is gone stays where it is."""
    desk = Desk.open("hangzhou", tmp_path / "store")
    take(desk, tmp_path / "1", {"TX05": rows("TX05")}, N1)
    renamed = dataclasses.replace(desk.profiles.profiles["main"], name="neu")
    desk.profiles = Profiles("hangzhou", {"neu": renamed})
    for code in ("GB301", "GB304"):
        [path] = deliver(renamed, tmp_path / "2", {code: rows(code)})
        assert desk.take(arrival(path, desk.profiles), N2).state == "booked"
    assert len(desk.open_rows) == 1
    assert isinstance(desk.facts("other_subsidy", N2), pa.Table)


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("declared", ["200.00", "999.00"])
def test_an_empty_line_hides_no_wrong_total(quoted: bool, declared: str, tmp_path: Path) -> None:
    """Quotes elsewhere in the file change nothing of what an empty line is: a row without fields, and without an amount."""
    desk = stocked(Desk.open("zhejiang-provincial", tmp_path / "store"), tmp_path)
    profile = desk.profiles.profiles["main"]
    [path] = deliver(profile, tmp_path / "in", {"TX05": rows("TX05", {}, {"serial_no": "LS002"})})
    data = path.read_bytes().replace(b"LS002", b'"LS002"') if quoted else path.read_bytes()
    head, first, *rest = data.split(b"\n")
    path.write_bytes(b"\n".join([head, first, b"", *rest]))
    assert profile.flag is not None and profile.flag.digest_key
    flag = path.with_name(path.name + profile.flag.suffix)
    said = flag.read_text().replace("rows=2", "rows=3").replace("200.00", declared).splitlines()
    said = [line for line in said if not line.startswith(f"{profile.flag.digest_key}=")]
    flag.write_text("\n".join([*said, f"{profile.flag.digest_key}={file_digest(path, profile.flag.algorithm)}"]) + "\n")
    intake = desk.take(arrival(path, desk.profiles), N1)
    if declared == "999.00":
        assert intake.state == "refused" and "FILE-TOTAL" in {f.code for f in intake.findings}
        return
    assert intake.state == "booked" and counts(intake) == (3, 2, 0, 0, 0, 0, 1)
    assert [(f.code, f.line_no) for f in intake.findings] == [("ROW-FIELDS", 3)]
