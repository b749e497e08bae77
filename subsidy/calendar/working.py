"""Working days with make-up days (调休). A year that no calendar covers is refused, never guessed (handbook section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import chinese_calendar

from subsidy.errors import TerminalError

_PACKAGE_DAYS: dict[date, bool] = {
    **dict.fromkeys(chinese_calendar.holidays, False),
    **dict.fromkeys(chinese_calendar.workdays, True),
}
#: Years whose notice the package knows: those in which it lists a holiday.
_PACKAGE_YEARS = frozenset(day.year for day in chinese_calendar.holidays)


@dataclass(frozen=True, slots=True)
class YearCalendar:
    """Holidays and make-up working days of one year, from an override file; every other day goes by its weekday.

    It replaces what the package knows of that year.
    """

    year: int
    holidays: frozenset[date]
    workdays: frozenset[date]


class WorkingDays:
    """Which days are working days: the package ``chinesecalendar``, and override calendars by year, which win."""

    def __init__(self, overrides: Mapping[int, YearCalendar] | None = None) -> None:
        self._overrides = dict(overrides or {})

    @property
    def horizon(self) -> int:
        """The last year of the unbroken run of covered years that begins with the first one."""
        year = min(_PACKAGE_YEARS | set(self._overrides))
        while self.covers(year + 1):
            year += 1
        return year

    def covers(self, year: int) -> bool:
        """Whether the calendar of `year` is known."""
        return year in self._overrides or year in _PACKAGE_YEARS

    def is_working(self, day: date) -> bool:
        """Whether banks and centres work on `day`. TerminalError ``CAL-YEAR`` when its year is not covered."""
        calendar = self._overrides.get(day.year)
        if calendar is not None:
            return day in calendar.workdays or (day not in calendar.holidays and day.weekday() < 5)
        if day.year not in _PACKAGE_YEARS:
            raise TerminalError(
                "CAL-YEAR",
                f"{day.year} 年的工作日历尚未提供（需要判断 {day.isoformat()} 是否工作日，现有日历到 {self.horizon} 年为止）。",
                "没有按猜测的日期清算，已记账的数据不受影响。",
                f"按国务院办公厅 {day.year} 年节假日安排的通知，在 rules/parameters/ 下新增 calendar-{day.year}.yaml"
                "（写明放假日、调休上班日和通知文号），检查通过后重跑。",
            )
        known = _PACKAGE_DAYS.get(day)
        return day.weekday() < 5 if known is None else known

    def roll(self, day: date, direction: Literal["next", "previous"]) -> date:
        """`day` itself when it is a working day, else the nearest working day in `direction`."""
        step = timedelta(days=1 if direction == "next" else -1)
        while not self.is_working(day):
            day += step
        return day
