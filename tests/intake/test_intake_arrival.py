"""What may be read now, what waits, what is missing. The clock is a number that the test passes in."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from datetime import date
from pathlib import Path

import pytest
from intake_desk import CENTRES, RULES
from intake_samples import D, deliver, rows

from subsidy.errors import TransientError
from subsidy.intake import Profiles, arrived, expected, load_profiles, missing, snapshot, survey


def profiles(centre: str) -> Profiles:
    return load_profiles(RULES, centre)


def names(inbox: Path, centre: str, clock: float | None = None) -> list[str]:
    return [a.name for a in arrived(inbox, profiles(centre), 60, time.time() if clock is None else clock)]


@pytest.mark.parametrize("centre", CENTRES)
def test_a_complete_delivery_is_taken_at_once(centre: str, tmp_path: Path) -> None:
    deliver(profiles(centre).profiles["main"], tmp_path, {"TX05": rows("TX05"), "TX01": rows("TX01")})
    found = arrived(tmp_path, profiles(centre), 60, time.time())
    assert [a.profile for a in found] == ["main"] * len(found)
    if len(found) == 2:  # parents before children
        assert ["TX01" in found[0].name, "TX05" in found[1].name] == [True, True]


@pytest.mark.parametrize("centre", [c for c in CENTRES if profiles(c).profiles["main"].suffixes])
def test_without_its_companion_a_file_waits(centre: str, tmp_path: Path) -> None:
    [path] = deliver(profiles(centre).profiles["main"], tmp_path, {"TX05": rows("TX05")})
    companion = next(p for p in tmp_path.iterdir() if p != path)
    data = companion.read_bytes()
    companion.unlink()
    assert names(tmp_path, centre, time.time() + 10_000) == []
    companion.write_bytes(b"")
    assert names(tmp_path, centre, time.time() + 10_000) == []
    companion.write_bytes(data)
    assert names(tmp_path, centre) == [path.name]
    path.unlink()  # a companion alone is no file, however long it lies
    assert names(tmp_path, centre, time.time() + 10_000) == []


@pytest.mark.parametrize("centre", ["hangzhou", "wenzhou", "quzhou"])
def test_a_file_that_is_still_being_written(centre: str, tmp_path: Path) -> None:
    """A writer appends piece by piece while the inbox is looked at: never taken half-way."""
    many = rows("TX05", *({"serial_no": f"L{i}"} for i in range(99)))
    [path] = deliver(profiles(centre).profiles["main"], tmp_path / "whole", {"TX05": many})
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    data = path.read_bytes()
    seen: list[int] = []
    done = threading.Event()

    def upload() -> None:
        with (inbox / path.name).open("wb", buffering=0) as handle:
            for at in range(0, len(data), max(1, len(data) // 40)):
                handle.write(data[at : at + max(1, len(data) // 40)])
                time.sleep(0.002)
        done.set()

    writer = threading.Thread(target=upload)
    writer.start()
    while not done.is_set():
        seen += [a.size for a in arrived(inbox, profiles(centre), 60, time.time())]
    writer.join()
    assert all(size == len(data) for size in seen)
    assert names(inbox, centre) == [path.name]


def test_a_file_that_never_ends_is_refused_in_the_end(tmp_path: Path) -> None:
    [path] = deliver(profiles("hangzhou").profiles["main"], tmp_path, {"TX05": rows("TX05")})
    path.write_bytes(path.read_bytes()[:-30])
    assert names(tmp_path, "hangzhou") == []
    assert names(tmp_path, "hangzhou", time.time() + 301) == [path.name]


def test_quiet_time(tmp_path: Path) -> None:
    profile = dataclasses.replace(profiles("hangzhou").profiles["main"], complete="quiet", quiet_seconds=120)
    quiet = Profiles("hangzhou", {"main": profile})
    [path] = deliver(profile, tmp_path, {"TX05": rows("TX05")})
    os.utime(path, (1_000_000, 1_000_000))
    assert arrived(tmp_path, quiet, 60, 1_000_119.0) == []
    assert [a.name for a in arrived(tmp_path, quiet, 60, 1_000_120.0)] == [path.name]


def test_uploads_in_progress_links_and_folders_are_no_files(tmp_path: Path) -> None:
    for name in (".HZ_TX05_20260914_001.txt.part", "HZ_TX05_20260914_001.txt.filepart", "~x", "a.tmp"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "HZ_TX05_20260914_002.txt").symlink_to("/etc/passwd")
    (tmp_path / "HZ_TX05_20260914_003.txt").mkdir()
    found = survey(tmp_path, profiles("hangzhou"), 60, time.time() + 10_000)
    assert found.ready == () and len(found.waiting) == 4
    assert survey(tmp_path / "none", profiles("hangzhou"), 60, 0.0).ready == ()


def test_a_flag_that_is_a_link_is_none(tmp_path: Path) -> None:
    profile = profiles("huzhou").profiles["main"]
    [path] = deliver(profile, tmp_path, {"TX05": rows("TX05")})
    [suffix] = profile.suffixes
    flag = path.with_name(path.name + suffix)
    flag.rename(tmp_path / ".elsewhere")
    flag.symlink_to(tmp_path / ".elsewhere")
    found = survey(tmp_path, profiles("huzhou"), 60, time.time() + 10_000)
    assert found.ready == () and path.name in [waiting.name for waiting in found.waiting]


def test_an_unknown_name_is_handed_on_when_it_is_quiet(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_bytes(b"x")
    assert names(tmp_path, "hangzhou") == []
    [found] = arrived(tmp_path, profiles("hangzhou"), 60, time.time() + 61)
    assert (found.name, found.profile) == ("readme.txt", "")


@pytest.mark.parametrize("centre", CENTRES)
def test_a_file_of_a_day_to_come_is_left_for_its_night(centre: str, tmp_path: Path) -> None:
    days = [D(2026, 9, n) for n in (13, 14, 15, 16)]
    files = [path.name for day in days for path in deliver(profiles(centre).profiles["main"], tmp_path, {"TX05": rows("TX05")}, day=day)]
    for at, day in enumerate(days):
        found = survey(tmp_path, profiles(centre), 60, time.time() + 10_000, day)
        assert ([a.name for a in found.ready], found.waiting, list(found.early)) == (files[: at + 1], (), files[at + 1 :])


def test_a_name_whose_date_is_no_day_is_handed_on_to_be_refused(tmp_path: Path) -> None:
    [path] = deliver(profiles("hangzhou").profiles["main"], tmp_path, {"TX05": rows("TX05")})
    path.rename(tmp_path / "HZ_TX05_20261340_001.txt")
    found = survey(tmp_path, profiles("hangzhou"), 60, time.time() + 10_000, D(2026, 9, 14))
    assert [a.name for a in found.ready] == ["HZ_TX05_20261340_001.txt"] and not found.early


def test_a_snapshot_is_private_and_notices_change(tmp_path: Path) -> None:
    [path] = deliver(profiles("huzhou").profiles["main"], tmp_path / "in", {"TX05": rows("TX05")})
    [looked_at] = arrived(tmp_path / "in", profiles("huzhou"), 60, time.time())
    with snapshot(looked_at, tmp_path) as copy:
        path.write_bytes(b"changed")
        assert copy.path.read_bytes() != b"changed" and copy.companions[".sm3"].exists()
        folder = copy.path.parent
    assert not folder.exists()
    with pytest.raises(TransientError, match="FILE-CHANGED"), snapshot(looked_at, tmp_path):
        pass


def test_a_correction_comes_after_what_it_corrects(tmp_path: Path) -> None:
    profile = profiles("hangzhou").profiles["main"]
    deliver(profile, tmp_path, {"TX05": rows("TX05", {"amount_fen": 1})}, note="_更正")
    deliver(profile, tmp_path, {"TX05": rows("TX05")})
    deliver(profile, tmp_path, {"TX05": rows("TX05")}, day=D(2026, 9, 1), sequence="009")
    assert names(tmp_path, "hangzhou") == ["HZ_TX05_20260901_009.txt", "HZ_TX05_20260914_001.txt", "HZ_TX05_20260914_001_更正.txt"]


@pytest.mark.parametrize(
    ("day", "deadline", "since"),
    [
        (D(2026, 9, 19), D(2026, 9, 19), D(2026, 8, 20)), (D(2026, 10, 18), D(2026, 9, 19), D(2026, 8, 20)),
        (D(2026, 12, 31), D(2026, 12, 19), D(2026, 11, 20)), (D(2027, 1, 5), D(2026, 12, 19), D(2026, 11, 20)),
    ],
)
def test_what_must_have_come_by_now(day: date, deadline: date, since: date) -> None:
    wanted = expected(profiles("hangzhou"), day)
    assert {(e.table, e.deadline, e.since, e.until) for e in wanted} == {(t, deadline, since, day) for t in ("GB305", "TX02")}


def test_a_missing_file_is_named() -> None:
    wanted = expected(profiles("hangzhou"), D(2026, 9, 25))
    got = missing(wanted, [("GB305", D(2026, 9, 10)), ("TX02", D(2026, 8, 19)), ("TX01", D(2026, 9, 10))])
    assert [(e.table, e.label, e.file_name) for e in got] == [("TX02", "贷款状态", "HZ_TX02_20260919_001.txt")]
    assert expected(profiles("hangzhou"), D(2026, 9, 18)) == []  # nothing was due before the first deadline
