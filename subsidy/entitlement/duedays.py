"""Which month a due date belongs to when a weekend moved it (docs/interpretations.md, point 11)."""

from __future__ import annotations

import numpy as np

from subsidy.entitlement.columns import Int32
from subsidy.entitlement.dates import due_date, month_of


def nominal_month(due_on: Int32, due_day: Int32) -> Int32:
    """Month (since 1970-01) of the due day nearest to each `due_on`; of two equally near ones the one in the month of `due_on`.

    A due date of 31 January that the bank moved to 2 February is the one of January.
    """
    month = month_of(due_on)
    off = np.abs(due_date(month, due_day) - due_on)
    before = np.abs(due_date(month - np.int32(1), due_day) - due_on) < off
    after = np.abs(due_date(month + np.int32(1), due_day) - due_on) < off
    return np.asarray(month - before.astype(np.int32) + after.astype(np.int32))
