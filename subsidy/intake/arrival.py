"""Which files of an inbox may be read now, and which are missing. The clock is passed in; file names only select, they identify nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from subsidy.intake.faults import FileRefused
from subsidy.intake.identity import read_day
from subsidy.intake.profile import Profile, Profiles
from subsidy.settings import shown

#: Names of uploads in progress that transfer programs use, and hidden files.
_PARTIAL = re.compile(r"^\.|^~|\.(tmp|part|partial|filepart|crdownload|swp|temp|uploading)$", re.IGNORECASE)
_TAIL = 1 << 16


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file in the inbox. `name`: as people see it; `profile` is "" when its name follows none; `companions` by suffix. `size` and
    `mtime_ns` as looked at."""

    path: Path
    name: str
    profile: str
    companions: Mapping[str, Path] = field(default_factory=dict)
    size: int = 0
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file that is not complete yet, and what it waits for (Chinese)."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Inbox:
    """An inbox at one moment: files to read in the order of their names' dates, files that wait, and files of days to come."""

    ready: tuple[Arrival, ...]
    waiting: tuple[Waiting, ...]
    early: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Expected:
    """A delivery that should have come: a file of `table` with a business date in [`since`, `until`], due on `deadline`."""

    profile: str
    table: str
    label: str
    file_name: str
    since: date
    until: date
    deadline: date


def arrived(inbox: Path, profiles: Profiles, quiet_seconds: int, clock: float) -> list[Arrival]:
    """The complete files of `inbox`, in the order in which they are to be taken. See `survey`."""
    return list(survey(inbox, profiles, quiet_seconds, clock).ready)


def survey(inbox: Path, profiles: Profiles, quiet_seconds: int, clock: float, until: date | None = None) -> Inbox:
    """Look at an inbox. `clock`: seconds since the epoch, only compared with the files' times. `until`: files whose names say a later day
    are left for the night of that day.

    A file is complete when its flag or digest file is there, its trailer or archive directory stands at its end, or, where the profile
    declares neither, when it has not changed for the profile's quiet time. A file whose name follows no profile, or is no UTF-8, is handed
    on after `quiet_seconds`, to be refused by name. Companions and uploads in progress are no files of their own.
    """
    ready: list[tuple[tuple[str, str, int, str], Arrival]] = []
    waiting: list[Waiting] = []
    early: list[tuple[str, str]] = []
    if not inbox.is_dir():
        return Inbox((), ())
    names = sorted(p.name for p in inbox.iterdir() if p.is_file() and not p.is_symlink())
    for name in names:
        if _PARTIAL.search(name):
            waiting.append(Waiting(shown(name), "正在上传"))
            continue
        data = _data_of(name, names, profiles)
        if data is not None:
            if data not in names:
                waiting.append(Waiting(shown(name), f"等 {shown(data)}"))
            continue
        path = inbox / name
        stat = path.stat()
        profile = profiles.for_name(name) if shown(name) == name else None
        if until is not None and (day := _day_of(name, profile)) is not None and day > until:
            early.append((day.isoformat(), name))
            continue
        arrival = Arrival(path, shown(name), profile.name if profile else "", _companions(path, profile), stat.st_size, stat.st_mtime_ns)
        age = clock - max(stat.st_mtime, 0.0)
        reason = ("未知文件，等它不再变化" if age < quiet_seconds else "") if profile is None else _lacks(arrival, profile, age)
        if reason:
            waiting.append(Waiting(shown(name), reason))
        else:
            ready.append((_order(name, profile), arrival))
    return Inbox(tuple(a for _, a in sorted(ready, key=lambda r: r[0])), tuple(waiting), tuple(name for _, name in sorted(early)))


def _day_of(name: str, profile: Profile | None) -> date | None:
    """The business date that a name says; None when it says none, or no day of the calendar."""
    said = profile.match(name) if profile is not None else None
    try:
        return read_day(said["date"]) if said is not None else None
    except FileRefused:
        return None


def _order(name: str, profile: Profile | None) -> tuple[str, str, int, str]:
    """By business date, sequence, then parents before children. Only an order of work; identity comes from content."""
    said = profile.match(name) if profile is not None else None
    if profile is None or said is None:
        return ("99999999", "", 0, name)
    tables = list(profile.tables)
    order = tables.index(said["table"]) if said.get("table") in tables else 0
    return (said["date"], said["sequence"], order, name)


def _companions(path: Path, profile: Profile | None) -> dict[str, Path]:
    if profile is None:
        return {}
    found = {suffix: path.with_name(path.name + suffix) for suffix in profile.suffixes}
    return {suffix: p for suffix, p in found.items() if p.is_file() and not p.is_symlink()}


def _data_of(name: str, names: list[str], profiles: Profiles) -> str | None:
    """Name of the data file, there or still to come, whose flag or digest file `name` is; None when it is none."""
    for profile in profiles:
        for suffix in profile.suffixes:
            data = name.removesuffix(suffix)
            if name.endswith(suffix) and (data in names or profile.match(data) is not None):
                return data
    return None


def _lacks(arrival: Arrival, profile: Profile, age: float) -> str:
    """What the file still lacks, "" when it is complete."""
    missing = [s for s in profile.suffixes if s not in arrival.companions]
    if missing:
        return f"等 {arrival.name}{missing[0]}"
    if any(p.stat().st_size == 0 for p in arrival.companions.values()):
        return "标志文件还是空的"
    if profile.complete == "quiet":
        return "" if age >= profile.quiet_seconds else f"等它 {profile.quiet_seconds} 秒不再变化"
    if profile.complete == "trailer":
        # A file that never gets its trailer is refused by name once it stops growing.
        return "" if _has_trailer(arrival.path, profile) or age >= profile.quiet_seconds else "尾行还没有到"
    if profile.complete == "container":
        return "" if _has_directory(arrival.path) or age >= profile.quiet_seconds else "压缩包还没有写完"
    return ""


def _has_trailer(path: Path, profile: Profile) -> bool:
    with path.open("rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(max(0, size - _TAIL))
        tail = handle.read()
    if not tail.endswith(b"\n"):
        return False
    last = tail.rstrip(b"\r\n").rpartition(b"\n")[2]
    return last.startswith(profile.trailer[0].text.encode())


def _has_directory(path: Path) -> bool:
    with path.open("rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(max(0, size - 22))
        return handle.read().startswith(b"PK\x05\x06")


def expected(profiles: Profiles, business_date: date) -> list[Expected]:
    """Deliveries whose latest deadline on or before `business_date` has passed: what must have been booked by now.

    A table is due every month on its declared day; the delivery may have any business date after the deadline before.
    """
    wanted: list[Expected] = []
    for profile in profiles:
        if profile.expected is None:
            continue
        for code, day in profile.expected.by_day.items():
            deadline = business_date.replace(day=day)
            if deadline > business_date:
                deadline = (deadline.replace(day=1) - timedelta(days=1)).replace(day=day)
            if deadline < profile.expected.since:
                continue
            before = (deadline.replace(day=1) - timedelta(days=1)).replace(day=day)
            wanted.append(
                Expected(
                    profile.name, code, profile.tables[code].table.label, profile.file_name(code, f"{deadline:%Y%m%d}", "001"),
                    before + timedelta(days=1), business_date, deadline,
                )
            )
    return wanted


def missing(wanted: Iterable[Expected], received: Iterable[tuple[str, date]]) -> list[Expected]:
    """Those of `wanted` for which no booked delivery of (table code, business date) is among `received`."""
    got = list(received)
    return [e for e in wanted if not any(table == e.table and e.since <= day <= e.until for table, day in got)]
