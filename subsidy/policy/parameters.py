"""Shared parameters under ``rules/parameters/``: rate series, override calendars, the common gate rows.

Dated series have no gaps by construction: a value holds until the next. Two values on one date overlap and are refused.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping as Files
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

from subsidy.calendar import YearCalendar
from subsidy.money import ppm_from_percent
from subsidy.policy.archive import PARAMETERS, version_of
from subsidy.policy.document import read_document
from subsidy.policy.gates import GateRow, read_gate
from subsidy.policy.model import Parameters, Series
from subsidy.policy.problems import Problems, nearest
from subsidy.policy.section import BASES, Section, read_date

#: Fund rates by home order and tier (term <= 60 months: LE5, else GT5); every policy needs them.
FUND_SERIES = ("FIRST_LE5", "FIRST_GT5", "SECOND_LE5", "SECOND_GT5")

_RATES = f"{PARAMETERS}/rates.csv"
_COLUMNS = ["series", "effective_date", "rate_percent", "basis", "announced_on"]
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_CALENDAR = re.compile(PARAMETERS + r"/calendar-([0-9]{4})\.yaml")


@dataclass(frozen=True, slots=True)
class Shared:
    """What all centres share: `parameters`, and gate rows that a centre names in its table (None for a faulty row)."""

    parameters: Parameters
    gates: dict[str, GateRow | None]


def read_parameters(files: Files[str, bytes], problems: Problems) -> Shared | None:
    """Read everything under ``parameters/``; None when the rates or their horizon cannot be read."""
    series = _rates(files.get(_RATES), problems)
    confirmed = _confirmed(files.get(f"{PARAMETERS}/parameters.yaml"), problems)
    gates = _gates(files.get(f"{PARAMETERS}/gates.yaml"), problems)
    calendars = {}
    for name in sorted(files):
        match = _CALENDAR.fullmatch(name)
        if match:
            calendar = _calendar(name, files[name], int(match.group(1)), problems)
            if calendar is not None:
                calendars[calendar.year] = calendar
    if series is None or confirmed is None:
        return None
    for one in series.values():
        late = max(one.announced_on)
        if late > confirmed:
            problems.add(
                "POL-RATE-HORIZON", f"{PARAMETERS}/parameters.yaml", 0, "confirmed_through",
                f"早于序列 {one.name} 最近一次公布的日期 {late}。", value=str(confirmed), todo="核对全部序列后更新 confirmed_through。",
            )  # fmt: skip
    version = version_of({n: d for n, d in files.items() if n.startswith(PARAMETERS + "/")})
    return Shared(Parameters(series, confirmed, version, calendars), gates)


def _rates(data: bytes | None, problems: Problems) -> dict[str, Series] | None:
    if data is None:
        problems.add("POL-FILE", _RATES, 0, "", "缺少利率文件。", todo="恢复 rules/parameters/rates.csv。")
        return None
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig")), strict=True))
    except (UnicodeDecodeError, csv.Error):
        problems.add("POL-FILE", _RATES, 0, "", "不是 UTF-8 编码的 CSV 文件。", todo="用 UTF-8 编码的 CSV 另存。")
        return None
    if not rows or rows[0] != _COLUMNS:
        value = ",".join(rows[0]) if rows else ""
        problems.add("POL-FILE", _RATES, 1, "", "首行列名不符。", value=value, allowed=",".join(_COLUMNS))
        return None
    found: dict[str, list[tuple[date, int, str, date, int]]] = {}
    for line, row in enumerate(rows[1:], 2):
        entry = _rate_row(row, line, problems) if row else None
        if entry is not None:
            found.setdefault(row[0], []).append(entry)
    for name in FUND_SERIES:
        if name not in found:
            near = nearest(name, found)
            problems.add("POL-RATE-GAP", _RATES, 1, name, "缺少公积金利率序列。", near=near, todo="补上该序列，或更正拼写。")
    series = {}
    for name, entries in found.items():
        entries.sort(key=lambda e: e[0])
        for before, after in pairwise(entries):
            if before[0] == after[0]:
                first, second = sorted((before[4], after[4]))
                what = f"{after[0]} 有两个利率，另一个在第 {first} 行。"
                problems.add("POL-OVERLAP", _RATES, second, name, what, todo="同一序列同一生效日只留一行。")
        days, ppm, basis, announced, _ = zip(*entries, strict=True)
        series[name] = Series(name, days, ppm, basis, announced)
    return series if all(name in series for name in FUND_SERIES) else None


def _rate_row(row: list[str], line: int, problems: Problems) -> tuple[date, int, str, date, int] | None:
    def wrong(key: str, value: str, allowed: str, near: str = "") -> None:
        problems.add("POL-TYPE", _RATES, line, key, "不可用的值。", value=value, allowed=allowed, near=near)

    if len(row) != len(_COLUMNS):
        problems.add("POL-TYPE", _RATES, line, "", f"应有 {len(_COLUMNS)} 栏，实有 {len(row)} 栏。", todo="补齐或删去多余的栏。")
        return None
    name, effective_text, rate_text, basis, announced_text = row
    effective, announced = read_date(effective_text), read_date(announced_text)
    try:
        ppm = ppm_from_percent(rate_text)
    except ValueError:
        ppm = -1
    if not _NAME.fullmatch(name):
        wrong("series", name, "大写字母、数字和下划线", nearest(name, FUND_SERIES))
    if effective is None:
        wrong("effective_date", effective_text, "存在的日期，如 2026-09-01")
    if not 0 <= ppm <= 500_000:
        wrong("rate_percent", rate_text, "0 到 50 之间的百分数，最多四位小数，如 3.075")
    if basis not in BASES:
        wrong("basis", basis, "、".join(BASES), nearest(basis, BASES))
    if announced is None:
        wrong("announced_on", announced_text, "存在的日期，如 2026-09-01")
    if effective is None or announced is None or not 0 <= ppm <= 500_000:
        return None
    return effective, ppm, basis, announced, line


def _confirmed(data: bytes | None, problems: Problems) -> date | None:
    file = f"{PARAMETERS}/parameters.yaml"
    if data is None:
        problems.add("POL-FILE", file, 0, "", "缺少参数文件。", todo="恢复 rules/parameters/parameters.yaml。")
        return None
    node = read_document(file, data, problems)
    if node is None:
        return None
    section = Section(problems, file, node)
    confirmed = section.day("confirmed_through")
    section.finish()
    return confirmed


def _gates(data: bytes | None, problems: Problems) -> dict[str, GateRow | None]:
    file = f"{PARAMETERS}/gates.yaml"
    node = read_document(file, data, problems) if data is not None else None
    if node is None:
        return {}
    top = Section(problems, file, node)
    gates = top.section("gates")
    top.finish()
    if gates is None:
        return {}
    rows: dict[str, GateRow | None] = {}
    for name in gates.node.entries:
        child = gates.section(name)
        rows[name] = read_gate(child) if child is not None else None
    gates.finish()
    return rows


def _calendar(file: str, data: bytes, year: int, problems: Problems) -> YearCalendar | None:
    node = read_document(file, data, problems)
    if node is None:
        return None
    section = Section(problems, file, node)
    section.own_source()
    written = section.integer("year", 2000, 2199)
    if written is not None and written != year:
        section.add("POL-CALENDAR", "year", f"与文件名 {file.rpartition('/')[2]} 不一致。", value=str(written))
    holidays = _days(section, "holidays", year)
    workdays = _days(section, "workdays", year)
    section.finish()
    for day in sorted(holidays & workdays):
        section.add("POL-CALENDAR", "workdays", f"{day} 既是放假日又是上班日。", todo="只保留一处。")
    for day in sorted(workdays):
        if day.weekday() < 5:
            section.add("POL-CALENDAR", "workdays", f"{day} 本来就是工作日，不是调休上班日。", todo="核对通知中的日期。")
    if not holidays:
        section.add("POL-CALENDAR", "holidays", "没有放假日，全年日历不完整。", todo="按国务院办公厅通知写全放假日。")
    return YearCalendar(year, frozenset(holidays), frozenset(workdays))


def _days(section: Section, name: str, year: int) -> set[date]:
    """Dates and ranges ``2027-02-05..2027-02-11`` (both ends included)."""
    days: set[date] = set()
    for item in section.texts(name):
        text = item.text
        first_text, _, last_text = text.partition("..")
        first, last = read_date(first_text), read_date(last_text or first_text)
        if first is None or last is None or last < first or {first.year, last.year} != {year}:
            section.problems.add(
                "POL-CALENDAR", section.file, item.line, section.key(name), "不可用的日期。", value=text,
                allowed=f"{year} 年的日期或区间，如 {year}-10-01..{year}-10-07",
            )  # fmt: skip
            continue
        while first <= last:
            if first in days:
                section.problems.add("POL-CALENDAR", section.file, item.line, section.key(name), f"{first} 写了两次。", todo="只保留一处。")
            days.add(first)
            first += timedelta(days=1)
    return days
