"""Columns of dates as int64 days since 1970-01-01 (negative before), and months as int64 months since 1970-01."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

IntColumn = npt.NDArray[np.int64]
Days = IntColumn | int

_EPOCH = date(1970, 1, 1).toordinal()


def day_number(day: date) -> int:
    """Days since 1970-01-01 of `day`."""
    return day.toordinal() - _EPOCH


def date_of(number: int) -> date:
    """The date of a day number."""
    return date.fromordinal(int(number) + _EPOCH)


def days_of(column: Any) -> IntColumn:
    """Day numbers of an Arrow date32 or a numpy datetime64[D] column; int64 columns pass unchanged. ValueError when a date is missing."""
    if isinstance(column, (pa.Array, pa.ChunkedArray)):
        if column.null_count:
            raise ValueError("a date is missing")
        column = column.cast(pa.date32()).cast(pa.int32()).to_numpy(zero_copy_only=False) if len(column) else np.empty(0, np.int64)
    array = np.asarray(column)
    if array.dtype.kind == "M":
        if np.isnat(array).any():
            raise ValueError("a date is missing")
        array = array.astype("datetime64[D]")
    elif array.dtype.kind not in "iu":
        raise TypeError(f"dates expected, got {array.dtype}")
    return np.asarray(array.astype(np.int64))


def month_number(days: Days) -> IntColumn:
    """Months since 1970-01 of each day."""
    return np.asarray(np.asarray(days, np.int64).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64))


def first_of_month(months: Days) -> IntColumn:
    """Day number of the first of each month."""
    return np.asarray(np.asarray(months, np.int64).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64))


def day_of_month(days: Days) -> IntColumn:
    """1..31 of each day."""
    return np.asarray(np.asarray(days, np.int64) - first_of_month(month_number(days)) + 1)


def days_in_month(months: Days) -> IntColumn:
    """28..31 of each month."""
    return first_of_month(np.asarray(months, np.int64) + 1) - first_of_month(months)


def on_day(months: Days, day: Days) -> IntColumn:
    """Day `day` (1..31) of each month, or the last day of a shorter month."""
    return first_of_month(months) + np.minimum(np.asarray(day, np.int64), days_in_month(months)) - 1


def add_months(days: Days, months: Days) -> IntColumn:
    """The same day `months` calendar months later (earlier when negative), or the last day of a shorter month (handbook section 4)."""
    month = month_number(days)
    day = np.asarray(days, np.int64) - first_of_month(month) + 1
    return on_day(month + np.asarray(months, np.int64), day)
