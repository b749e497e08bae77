"""Working days with make-up days, and the settlement dates of the story of 2026."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from subsidy.calendar import SettlementDates, WorkingDays, YearCalendar, settlement_of, settlements_due
from subsidy.errors import TerminalError

DAYS = WorkingDays()
GO_LIVE = date(2026, 9, 1)
#: 2027 as a test invents it: New Year's Day and the Saturday before are swapped, nothing else.
NEXT_YEAR = YearCalendar(2027, frozenset({date(2027, 1, 1), date(2027, 1, 4)}), frozenset({date(2027, 1, 2)}))


@dataclass(frozen=True)
class Terms:
    frequency: str
    day: int
    roll: str
    cutoff: str = "day_before"
    effective_from: date = GO_LIVE
    effective_to: date | None = None


@dataclass(frozen=True)
class Centre:
    settlement: tuple[Terms, ...]
    go_live: date = GO_LIVE


CENTRES = {
    "hangzhou": Terms("monthly", 20, "next"),
    "wenzhou": Terms("monthly", 15, "next"),
    "zhoushan": Terms("quarterly", 21, "next"),
    "quzhou": Terms("quarterly", 20, "next"),
    "shaoxing": Terms("monthly", 25, "previous"),
    "huzhou": Terms("monthly", 10, "next", "previous_month_end"),
}


@pytest.mark.parametrize("day", ["01-04", "02-14", "02-28", "05-09", "09-20", "10-10"])
def test_make_up_working_days_of_2026(day: str) -> None:
    assert DAYS.is_working(date.fromisoformat(f"2026-{day}"))


@pytest.mark.parametrize(
    "first_last", ["01-01 01-03", "02-15 02-23", "04-04 04-06", "05-01 05-05", "06-19 06-21", "09-25 09-27", "10-01 10-07"]
)
def test_holidays_of_2026(first_last: str) -> None:
    first, last = (date.fromisoformat(f"2026-{d}") for d in first_last.split())
    while first <= last:
        assert not DAYS.is_working(first)
        first += timedelta(days=1)


def dates(period: str, settlement_on: str, cutoff_on: str, night: str) -> SettlementDates:
    return SettlementDates(period, *(date.fromisoformat(f"2026-{d}") for d in (settlement_on, cutoff_on, night)))


@pytest.mark.parametrize(
    ("centre", "expected"),
    [
        ("wenzhou", [dates("2026-09", "09-15", "09-14", "09-14"), dates("2026-10", "10-15", "10-14", "10-14")]),
        ("hangzhou", [dates("2026-09", "09-20", "09-19", "09-19"), dates("2026-10", "10-20", "10-19", "10-19")]),
        ("quzhou", [dates("2026-09", "09-20", "09-19", "09-19"), dates("2026-12", "12-21", "12-20", "12-20")]),
        ("zhoushan", [dates("2026-09", "09-21", "09-20", "09-20"), dates("2026-12", "12-21", "12-20", "12-20")]),
        ("shaoxing", [dates("2026-09", "09-24", "09-23", "09-23"), dates("2026-10", "10-23", "10-22", "10-22")]),
        # 10 September would have taken what was booked by 31 August: that is the old system's.
        ("huzhou", [dates("2026-09", "10-10", "09-30", "10-09"), dates("2026-10", "11-10", "10-31", "11-09")]),
    ],
)
def test_the_story(centre: str, expected: list[SettlementDates]) -> None:
    found = settlements_due(Centre((CENTRES[centre],)), DAYS, GO_LIVE, date(2026, 12, 30))
    assert found[: len(expected)] == expected


@pytest.mark.parametrize("terms", CENTRES.values())
def test_a_settlement_is_due_from_its_own_night_on(terms: Terms) -> None:
    centre = Centre((terms,))
    everything = settlements_due(centre, DAYS, GO_LIVE, date(2026, 12, 29))
    for one in everything:
        assert one in settlements_due(centre, DAYS, GO_LIVE, one.night)
        assert one not in settlements_due(centre, DAYS, GO_LIVE, one.night - timedelta(days=1))
        assert settlements_due(centre, DAYS, one.night, one.night) == [one]
    assert [d.period for d in everything] == sorted({d.period for d in everything})


def test_quarterly_only_in_the_last_month_of_a_quarter() -> None:
    assert settlement_of(CENTRES["quzhou"], 2026, 10, DAYS) is None
    assert settlement_of(CENTRES["quzhou"], 2026, 12, DAYS) is not None


def test_the_period_of_a_quarterly_centre_is_the_last_month_of_its_quarter() -> None:
    september = settlement_of(Terms("quarterly", 21, "next", "previous_month_end"), 2026, 9, DAYS)
    assert september == dates("2026-09", "09-21", "08-31", "09-20")


def test_new_terms_take_over_on_their_day() -> None:
    old = Terms("monthly", 20, "next", effective_to=date(2026, 10, 10))
    new = Terms("monthly", 25, "next", effective_from=date(2026, 10, 10))
    found = settlements_due(Centre((old, new)), DAYS, GO_LIVE, date(2026, 11, 30))
    assert [d.settlement_on.isoformat() for d in found] == ["2026-09-20", "2026-10-26", "2026-11-25"]


def test_a_year_without_calendar_is_refused_with_what_to_add() -> None:
    with pytest.raises(TerminalError) as caught:
        DAYS.is_working(date(2027, 1, 4))
    message = caught.value.message
    assert message.code == "CAL-YEAR"
    assert "2027" in message.what
    assert "2026 年为止" in message.what
    assert "calendar-2027.yaml" in message.todo


def test_nights_before_the_horizon_do_not_need_the_next_year() -> None:
    beginning = Centre((Terms("monthly", 5, "next"),))
    assert settlements_due(beginning, DAYS, date(2026, 12, 1), date(2026, 12, 31))[-1].period == "2026-12"
    with pytest.raises(TerminalError):
        settlements_due(beginning, DAYS, date(2026, 12, 1), date(2027, 1, 4))
    backwards = Centre((Terms("monthly", 2, "previous"),))
    assert settlements_due(backwards, DAYS, date(2026, 12, 1), date(2026, 12, 29))[-1].period == "2026-12"
    with pytest.raises(TerminalError):  # 2027-01-01 and 01-02 decide whether 2026-12-31 is the settlement day
        settlements_due(backwards, DAYS, date(2026, 12, 1), date(2026, 12, 30))


def test_an_override_year_extends_the_horizon() -> None:
    days = WorkingDays({2027: NEXT_YEAR})
    assert (DAYS.horizon, days.horizon) == (2026, 2027)
    assert not days.is_working(date(2027, 1, 1))
    assert days.is_working(date(2027, 1, 2))
    assert days.roll(date(2027, 1, 3), "next") == date(2027, 1, 5)
    assert days.roll(date(2027, 1, 3), "previous") == date(2027, 1, 2)
    with pytest.raises(TerminalError):
        days.is_working(date(2028, 1, 3))


def test_an_override_replaces_what_the_package_knows() -> None:
    days = WorkingDays({2026: YearCalendar(2026, frozenset({date(2026, 12, 31)}), frozenset())})
    assert not days.is_working(date(2026, 12, 31))
    assert not days.is_working(date(2026, 10, 10))


# A holiday that reaches over the end of the known years cannot be decided, in either direction: days well inside them only.
@given(st.dates(date(2004, 1, 10), date(2026, 11, 30)), st.sampled_from(["next", "previous"]))
def test_rolling_stops_at_the_nearest_working_day(day: date, direction: str) -> None:
    rolled = DAYS.roll(day, direction)  # type: ignore[arg-type]
    assert DAYS.is_working(rolled)
    step = timedelta(days=1 if direction == "next" else -1)
    while day != rolled:
        assert not DAYS.is_working(day)
        day += step


def test_no_holiday_is_longer_than_what_looking_ahead_assumes() -> None:
    run = longest = 0
    day = date(2004, 1, 1)
    while day.year < 2027:
        run = 0 if DAYS.is_working(day) else run + 1
        longest = max(longest, run)
        day += timedelta(days=1)
    assert longest == 10


@st.composite
def calendars(draw: st.DrawFn) -> WorkingDays:
    """Three invented years: in each month at most one holiday of up to eight days, and Saturdays that are worked."""
    years = []
    for year in (2027, 2028, 2029):
        off: set[date] = set()
        worked: set[date] = set()
        for month in range(1, 13):
            first = date(year, month, draw(st.integers(1, 20)))
            off |= {first + timedelta(days=n) for n in range(draw(st.sampled_from([0, 0, 1, 3, 8])))}
            if draw(st.booleans()):
                saturday = date(year, month, 1) + timedelta(days=(5 - date(year, month, 1).weekday()) % 7)
                worked |= {saturday} - off
        years.append(YearCalendar(year, frozenset(off), frozenset(worked)))
    return WorkingDays({calendar.year: calendar for calendar in years})


@given(
    calendars(),
    st.builds(
        Terms,
        st.sampled_from(["monthly", "quarterly"]), st.integers(1, 28), st.sampled_from(["next", "previous"]),
        st.sampled_from(["day_before", "previous_month_end"]), st.just(date(2027, 2, 1)),
    ),
    st.lists(st.sampled_from([1, 1, 1, 1, 2, 5, 30, 70]), min_size=1, max_size=60),
)  # fmt: skip
def test_whatever_nights_run_every_settlement_is_built_once_in_order_by_the_first_night_that_can(
    days: WorkingDays, terms: Terms, gaps: list[int]
) -> None:
    """As the step `settle` asks: all that are due and not stored. A night that never ran is made up for by the next one."""
    centre = Centre((terms,), go_live=terms.effective_from)
    night, built = centre.go_live - timedelta(days=1), list[SettlementDates]()
    for gap in gaps:
        before, night = night, night + timedelta(days=gap)
        if night > date(2029, 10, 31):
            break
        stored = {d.period for d in built}
        due = [d for d in settlements_due(centre, days, centre.go_live, night) if d.period not in stored]
        assert all(before < d.night <= night for d in due)
        built += due
        whole = settlements_due(centre, days, centre.go_live, night)
        assume(len({d.period for d in whole}) == len(whole))  # a policy that settles a period twice is refused when it is loaded
        assert built == whole and [d.night for d in built] == sorted(d.night for d in built)
