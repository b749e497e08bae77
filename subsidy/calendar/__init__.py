"""Dates as whole days since 1970-01-01: day counts, due dates, working days, settlement dates. No clock."""

from subsidy.calendar.daycount import DAY_COUNTS, DayCount, due_date, due_dates, first_due_on_or_after, last_due_on_or_before, year_fraction
from subsidy.calendar.days import add_months, date_of, day_number, day_of_month, days_in_month, days_of, month_number
from subsidy.calendar.period import PERIOD, read_period
from subsidy.calendar.settlement import SettlementDates, settlement_of, settlements_due
from subsidy.calendar.working import WorkingDays, YearCalendar

__all__ = [
    "DAY_COUNTS",
    "PERIOD",
    "DayCount",
    "SettlementDates",
    "WorkingDays",
    "YearCalendar",
    "add_months",
    "date_of",
    "day_number",
    "day_of_month",
    "days_in_month",
    "days_of",
    "due_date",
    "due_dates",
    "first_due_on_or_after",
    "last_due_on_or_before",
    "month_number",
    "read_period",
    "settlement_of",
    "settlements_due",
    "year_fraction",
]
