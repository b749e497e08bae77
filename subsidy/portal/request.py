"""What a run was asked to do: business date, mode, reason and who asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from subsidy import calendar
from subsidy.errors import TerminalError

MODES = {
    "night": "重跑（按当夜的数据与规则补齐）",
    "preview": "预演（只看会改什么，不写入）",
    "recompute": "重算（按今天的数据与规则，改钱要另一人批准）",
}
CLOCK = "schedule"  # who started a run that nobody started


@dataclass(frozen=True, slots=True)
class Request:
    """`actor` is a login, or `CLOCK`."""

    business_date: date
    mode: str
    reason: str
    actor: str


def read_request(context: Mapping[str, Any]) -> Request:
    """From a task's context. Raises TerminalError ``RUN-DATE``, ``RUN-MODE`` or ``RUN-REASON`` when the form makes no sense."""
    dag_run = context["dag_run"]
    params = context["params"]
    key, typed = dag_run.partition_key or "", str(params.get("business_date") or "")
    if key and typed and key != typed:
        raise _unclear("RUN-DATE", f"分区键是 {key}，表单上的业务日期是 {typed}，两者不一致。", "重新触发，只填业务日期。")
    try:
        day = date.fromisoformat(key or typed)
    except ValueError as error:
        raise _unclear("RUN-DATE", f"没有业务日期，或 {key or typed!r} 不是日期。", "重新触发，填写业务日期，例如 2026-10-20。") from error
    mode = str(params.get("mode") or "night")
    if mode not in MODES:
        raise _unclear("RUN-MODE", f"没有 {mode!r} 这种方式。", f"可选：{'、'.join(MODES)}。")
    reason = str(params.get("reason") or "").strip()
    if mode == "recompute" and not reason:
        raise _unclear("RUN-REASON", "重算没有写原因。", "重新触发，写明为什么重算。")
    return Request(day, mode, reason, actor_of(dag_run))


def actor_of(dag_run: Any) -> str:
    """Login of whoever started the run, or `CLOCK`."""
    return str(dag_run.triggering_user_name or CLOCK)


def read_recompute(context: Mapping[str, Any]) -> Request:
    """What a run of the recompute DAG is for. Whoever started that run counts as asking, whatever the form says."""
    asked = read_request({"dag_run": context["dag_run"], "params": {**context["params"], "mode": "recompute"}})
    started_by = context["dag_run"].triggering_user_name
    return asked if started_by else replace(asked, actor=str(context["params"].get("asked_by") or CLOCK))


def read_period(context: Mapping[str, Any]) -> str:
    """The period (2026-10) that a run of publication or clearing is for: its key, or what its form said."""
    text = str(context["dag_run"].partition_key or context["params"].get("period") or "")
    try:
        return calendar.read_period(text)
    except ValueError as error:
        raise _unclear("RUN-PERIOD", f"没有期间，或 {text!r} 不是 2026-10 这样的月份。", "重新触发，填写期间，例如 2026-10。") from error


def _unclear(code: str, what: str, todo: str) -> TerminalError:
    return TerminalError(code, what, "没有读写任何数据。", todo)
