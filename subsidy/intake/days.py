"""Days written YYYYMMDD, looked up by column: every day of 1900 to 2099."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FIRST = 19_000_101
#: Where there is no such day.
NONE = np.int32(-(2**31))


def _table() -> NDArray[np.int32]:
    table = np.full(20_991_231 - FIRST + 1, NONE, np.int32)
    days = np.arange(np.datetime64("1900-01-01"), np.datetime64("2100-01-01"))
    years = days.astype("M8[Y]")
    months = days.astype("M8[M]")
    month = (months - years.astype("M8[M]")).astype(int) + 1
    number = (years.astype(int) + 1970) * 10_000 + month * 100 + (days - months.astype("M8[D]")).astype(int) + 1
    table[number - FIRST] = (days - np.datetime64("1970-01-01", "D")).astype(np.int32)
    return table


_DAYS = _table()


def days_of(numbers: NDArray[np.signedinteger[Any]]) -> NDArray[np.int32]:
    """Days since 1970 of each yyyymmdd, `NONE` where there is no such day."""
    index = numbers - FIRST
    if len(index) and int(index.min()) >= 0 and int(index.max()) < len(_DAYS):
        found: NDArray[np.int32] = _DAYS.take(index)
        return found
    inside = (index >= 0) & (index < len(_DAYS))
    return np.where(inside, _DAYS[np.where(inside, index, 0)], NONE)
