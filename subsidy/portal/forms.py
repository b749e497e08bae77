"""The fields of the forms by which people trigger runs, in Chinese."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param

from subsidy.calendar import PERIOD

_TEXT = ("null", "string")


def field(default: Any, title: str, description: str, **schema: Any) -> Param:
    """One field; `schema` is JSON schema. No `section` of our own: Airflow shows such sections folded."""
    return Param(default, title=title, description=description, **schema)


def date_field(description: str) -> Param:
    """A business date with a date picker; empty when the run's key says it."""
    return field(None, "业务日期", description, type=list(_TEXT), format="date")


def period_field(description: str) -> Param:
    """A month like 2026-10; empty when the run's key says it."""
    return field(None, "期间", description, type=list(_TEXT), pattern=f"^{PERIOD}$")


def reason_field() -> Param:
    """Why; may be empty where no money can change."""
    about = "为什么要做。重算必须填写，重跑和预演可以不填，但业务日期比上一夜晚 45 天以上的重跑须填写；会写入审计记录。"
    return field(None, "原因", about, type=list(_TEXT), maxLength=500)
