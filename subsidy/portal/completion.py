"""When a month can be cleared: the event "this centre's period is complete", and which centres a month waits for.

The event's key is ``2026-10|hangzhou``. Airflow's scheduler maps it to the month and asks the window which keys make up that month. The
window answers from the centre folders as they are at that moment, so that a quarterly centre is waited for only in its months.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from airflow.partition_mappers.base import PartitionMapper
from airflow.partition_mappers.window import Window

from subsidy.calendar import read_period
from subsidy.portal.due import centres_due
from subsidy.settings import load_settings

ASSET = "subsidy_period_complete"


def event_key(period: str, centre: str) -> str:
    """Key of the event that `centre` is complete for `period` (2026-10)."""
    return f"{period}|{centre}"


class MonthOfEvent(PartitionMapper):  # type: ignore[misc]
    """``2026-10|hangzhou`` belongs to ``2026-10``."""

    def to_downstream(self, key: str) -> str:
        period, _, centre = key.partition("|")
        if not centre:
            raise ValueError(f"{key!r} is no completion event")
        return read_period(period)

    def to_partition_date(self, downstream_key: str) -> datetime:
        return datetime.strptime(downstream_key, "%Y-%m").replace(tzinfo=UTC)


class CentresDue(Window):  # type: ignore[misc]
    """All completion events that make up a month."""

    def to_upstream(self, decoded_downstream: str) -> Iterable[str]:
        rules: Path = load_settings().rules
        return [event_key(decoded_downstream, centre) for centre in centres_due(rules, decoded_downstream)]
