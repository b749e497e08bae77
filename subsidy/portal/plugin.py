"""What Airflow loads of us: timetable, partition mapper and window, and the two middlewares before its pages and API."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from subsidy.portal.completion import CentresDue, MonthOfEvent
from subsidy.portal.timetable import BusinessDateTimetable


def _lazy(module: str, name: str) -> Any:
    """A middleware class that is imported when the API server starts, not in every task."""

    def build(app: Any) -> Any:
        from importlib import import_module

        return getattr(import_module(module), name)(app)

    return build


class SubsidyPlugin(AirflowPlugin):  # type: ignore[misc]
    """Registered as an entry point of the package (setup.cfg, `airflow.plugins`)."""

    name = "subsidy"
    timetables: ClassVar[list[Any]] = [BusinessDateTimetable]
    partition_mappers: ClassVar[list[Any]] = [MonthOfEvent]
    windows: ClassVar[list[Any]] = [CentresDue]
    fastapi_root_middlewares: ClassVar[list[Any]] = [
        {"middleware": _lazy("subsidy.portal.chinese", "ChineseFirst"), "name": "中文界面"},
        {"middleware": _lazy("subsidy.portal.guard", "Guard"), "name": "操作留痕"},
    ]
