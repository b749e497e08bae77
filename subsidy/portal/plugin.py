"""What Airflow loads of us: timetable, partition mapper and window, our pages, and the three middlewares before its pages and API."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from subsidy.portal.completion import CentresDue, MonthOfEvent
from subsidy.portal.links import PREFIX
from subsidy.portal.timetable import BusinessDateTimetable


class _Pages:
    """The pages' application, imported at the first request or route listing: tasks load this plugin too and need none of it."""

    def __init__(self) -> None:
        self._app: Any = None

    def _loaded(self) -> Any:
        if self._app is None:
            from subsidy.portal.pages import app

            self._app = app
        return self._app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._loaded()(scope, receive, send)

    @property
    def routes(self) -> Any:
        return self._loaded().routes


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
    fastapi_apps: ClassVar[list[Any]] = [{"app": _Pages(), "url_prefix": PREFIX, "name": "贴息"}]
    external_views: ClassVar[list[Any]] = [
        {"name": "贴息看板", "href": f"{PREFIX}/board", "url_route": "subsidy_board", "destination": "nav", "nav_top_level": True},
        {"name": "文件、发现与报表", "href": f"{PREFIX}/dags/{{DAG_ID}}", "url_route": "subsidy_dag", "destination": "dag"},
    ]
    fastapi_root_middlewares: ClassVar[list[Any]] = [
        {"middleware": _lazy("subsidy.portal.chinese", "ChineseFirst"), "name": "中文界面"},
        {"middleware": _lazy("subsidy.portal.guard", "Guard"), "name": "操作留痕"},
        {"middleware": _lazy("subsidy.portal.notes", "Notes"), "name": "任务备注"},
    ]
