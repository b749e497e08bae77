"""Which centres have a settlement in a period. A folder that cannot be loaded counts as due: it is waited for and named, not forgotten."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from subsidy.calendar import settlement_of
from subsidy.errors import SubsidyError
from subsidy.policy import centre_names, load_centre, working_days_of


def centres_due(rules: Path, period: str) -> list[str]:
    """Folder names, sorted, of the centres whose settlement has the cut-off month `period` (2026-10)."""
    year, month = int(period[:4]), int(period[5:7])
    return [centre for centre in sorted(centre_names(rules)) if _due(rules, centre, period, year, month)]


def _due(rules: Path, centre: str, period: str, year: int, month: int) -> bool:
    try:
        policy = load_centre(rules, centre)
        working_days = working_days_of(policy)
        for ahead in range(2):  # the settlement of a cut-off month lies in it or in the next month
            total = year * 12 + month - 1 + ahead
            at = date(total // 12, total % 12 + 1, 1)
            dates = settlement_of(policy.settlement_on(at), at.year, at.month, working_days)
            if dates is not None and dates.period == period:
                return True
    except (SubsidyError, KeyError):
        return True
    return False
