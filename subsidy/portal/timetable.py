"""When a centre's runs start and which business date they are for.

Airflow's own partition timetable dates a scheduled run 01:30 and a typed key 00:00 of the same day, so that a backfill repeats nights
that a person ran, and leaves out the last day of its range. Here every run of a business date is dated 00:00 of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from typing import Any

from airflow.exceptions import InvalidPartitionKeyError
from airflow.timetables.base import DagRunInfo
from airflow.timetables.trigger import CronPartitionTimetable
from pendulum import DateTime, instance

from subsidy.portal.config import TIME_ZONE


class BusinessDateTimetable(CronPartitionTimetable):  # type: ignore[misc]
    """Runs at `cron` (Asia/Shanghai) for the business date `days_before` days earlier. Partition key: the date, 2026-10-20.

    `automatic` False: nothing starts by the clock, but runs can be triggered with a key and backfilled as usual.
    """

    def __init__(self, cron: str, days_before: int = 1, automatic: bool = True) -> None:
        super().__init__(cron, timezone=TIME_ZONE, run_offset=0, key_format="%Y-%m-%d")
        self._days_before = days_before
        self._automatic = automatic
        self.description = f"{cron}（北京时间），业务日期为{'当日' if days_before == 0 else f'前 {days_before} 日'}"

    def serialize(self) -> dict[str, Any]:
        return {"cron": self._expression, "days_before": self._days_before, "automatic": self._automatic}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> BusinessDateTimetable:
        return cls(data["cron"], data["days_before"], data["automatic"])

    @property
    def summary(self) -> str:
        return f"{self._expression} 北京时间" if self._automatic else "不自动启动"

    def next_dagrun_info_v2(self, *, last_dagrun_info: Any, restriction: Any) -> DagRunInfo | None:
        if not self._automatic:
            return None
        return super().next_dagrun_info_v2(last_dagrun_info=last_dagrun_info, restriction=restriction)

    def _midnight(self, day: date) -> DateTime:
        return instance(datetime.combine(day, time()), tz=self._timezone).in_timezone("UTC")

    def _get_partition_date(self, *, run_date: DateTime) -> DateTime:
        return self._midnight(run_date.in_timezone(self._timezone).date() - timedelta(days=self._days_before))

    def iter_partition_dagrun_infos(self, *, earliest: datetime, latest: datetime) -> Iterable[DagRunInfo]:
        """One run per business date in [`earliest`, `latest`], both ends included, in order."""
        first, last = earliest.date(), latest.date()
        for offset in range((last - first).days + 1):
            midnight = self._midnight(first + timedelta(days=offset))
            yield DagRunInfo(
                run_after=midnight, data_interval=None, partition_date=midnight, partition_key=str(first + timedelta(days=offset))
            )

    def _decode_partition_date(self, partition_key: str) -> datetime:
        try:
            day = date.fromisoformat(partition_key)
        except ValueError as error:
            raise InvalidPartitionKeyError(f"业务日期 {partition_key!r} 不是 2026-10-20 这样的日期。") from error
        if str(day) != partition_key:
            raise InvalidPartitionKeyError(f"业务日期 {partition_key!r} 不是 2026-10-20 这样的日期。")
        return self._midnight(day)
