"""Stands in for `subsidy.night.api` where a test is about Airflow and not about money: a few JSON files in the home."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

from subsidy.errors import TerminalError, TransientError
from subsidy.settings import Settings


@contextmanager
def state(settings: Settings, centre: str) -> Iterator[dict[str, Any]]:
    path = settings.home / f"stub_{centre or 'all'}.json"
    with open(path.with_suffix(".lock"), "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        empty: dict[str, Any] = {"runs": [], "acts": [], "steps": [], "answers": [], "settlement": None, "later": []}
        value = json.loads(path.read_text(encoding="utf-8")) if path.exists() else empty
        try:
            yield value
        finally:
            beside = path.with_suffix(".part")
            beside.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
            beside.replace(path)


def plan(settings: Settings) -> dict[str, Any]:
    path = settings.home / "stub_plan.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def open_night(settings: Settings, centre: str, business_date: date, actor: str, mode: str = "night", reason: str = "") -> dict[str, Any]:
    if [centre, str(business_date)] in plan(settings).get("broken", []):
        raise TerminalError("POLICY-BROKEN", f"{centre} 的配置有误。", "没有计算。", "改正配置。")
    with state(settings, centre) as value:
        day = str(business_date)
        if day not in value["runs"]:
            value["runs"].append(day)
        value["acts"].append([actor, "open", day])
        return {"run_no": value["runs"].index(day) + 1, "business_date": day}


def _step(name: str) -> Any:
    def run(settings: Settings, centre: str, run_no: int) -> dict[str, Any]:
        with state(settings, centre) as value:
            value["steps"].append([run_no, name])
            tries = sum(1 for step in value["steps"] if step == [run_no, name])
            day = value["runs"][run_no - 1]
            if name == "settle" and day in plan(settings).get("settle", {}) and _found(value, day[:7]) is None:
                built = {"period": day[:7], "state": "held", "approved": [], "needed": plan(settings)["settle"][day]}
                if value["settlement"] is None:
                    value["settlement"] = built
                else:
                    value["later"].append(built)
            if name == "settle" and f"{centre} {day}" in plan(settings).get("empty", {}):
                return {"settlements": [{"period": plan(settings)["empty"][f"{centre} {day}"], "state": "empty"}]}
        if plan(settings).get("transient") == [centre, day, name] and tries == 1:
            raise TransientError("DB-AWAY", "数据库暂时连不上。", "没有写入。", "等待自动重试。")
        if plan(settings).get("terminal") == [centre, day, name]:
            raise TerminalError("FILE-BAD", "文件有误。", "没有写入。", "请中心重发。")
        return {"run_no": run_no, "name": name, "tries": tries}

    return run


take_in, compute, check, post, verify, settle, report, close_night = map(
    _step, ("take_in", "compute", "check", "post", "verify", "settle", "report", "close_night")
)


def refuse_blocked(settings: Settings, centre: str, run_no: int) -> None:
    raise AssertionError("no stub night is blocked")


def _found(value: dict[str, Any], period: str) -> Any:
    return next((found for found in [value["settlement"], *value["later"]] if found and found["period"] == period), None)


def pending_settlements(settings: Settings, centre: str) -> list[dict[str, Any]]:
    with state(settings, centre) as value:
        return [
            {
                "period": found["period"], "content_hash": "f" * 64, "amount_fen": 123456, "count": 3,
                "reasons": ["首个批次 <b>{{ 7*7 }}</b>"], "state": found["state"], "approvals_needed": found["needed"],
            }
            for found in [value["settlement"], *value["later"]]
            if found and found["state"] not in ("published", "rejected")
        ]


def pending_settlement(settings: Settings, centre: str, period: str | None = None) -> dict[str, Any] | None:
    return next((found for found in pending_settlements(settings, centre) if period in (None, found["period"])), None)


def answer_settlement(settings: Settings, centre: str, period: str, person: str, answer: str, content_hash: str) -> dict[str, Any]:
    with state(settings, centre) as value:
        found = _found(value, period)
        acted = {act[0] for act in value["acts"]}
        if person in acted or person in found["approved"]:
            value["answers"].append([person, "refused"])
            return {"accepted": False, "message": f"{person} 参与过本批次，不能批准。", "state": found["state"]}
        value["answers"].append([person, answer])
        if answer == "reject":
            found["state"] = "rejected"
        else:
            found["approved"].append(person)
            if len(found["approved"]) >= found["needed"]:
                found["state"] = "approved"
        return {"accepted": True, "message": f"{person} 已记录，还需另一人批准。", "state": found["state"]}


def publish(settings: Settings, centre: str, period: str) -> dict[str, Any]:
    with state(settings, centre) as value:
        found = _found(value, period)
        if found is None or found["state"] not in ("approved", "published"):
            raise TerminalError("NOT-APPROVED", "没有批准。", "没有发布。", "先审批。")
        found["state"] = "published"
    return {"period": period, "files": 1}


def read_results(settings: Settings, centre: str, business_date: date, actor: str) -> dict[str, Any]:
    return {"files": 0}


def refresh_reports(settings: Settings, centre: str) -> dict[str, Any]:
    with state(settings, centre) as value:
        value["steps"].append([0, "refresh"])
    return {"periods": [], "workbooks": [], "cleared": []}


def preview(settings: Settings, centre: str, business_date: date) -> dict[str, Any]:
    changed = int(plan(settings).get("recompute_fen", 0))
    return {"amount_fen": changed, "loans": 1, "lines": 1 if changed else 0, "causes": {"政策更正": changed}, "content_hash": "e" * 64}


def recompute(
    settings: Settings, centre: str, business_date: date, actor: str, reason: str, approvals: list[dict[str, str]]
) -> dict[str, Any]:
    if plan(settings).get("recompute_fen") and not [item for item in approvals if item["person"] != actor]:
        raise TerminalError("RECOMPUTE-ALONE", "没有另一人批准。", "没有记账。", "请另一人批准。")
    with state(settings, centre) as value:
        value["steps"].append([0, f"recompute {business_date} {actor} {reason} {approvals[0]['person'] if approvals else ''}"])
    return {"posted": 1}


def clear_month(settings: Settings, period: str) -> dict[str, Any]:
    with state(settings, "") as value:
        value["steps"].append([0, f"clear {period}"])
    return {"period": period, "missing": []}


def record_act(settings: Settings, centre: str, person: str, act: str, subject: str, reason: str) -> None:
    with state(settings, centre) as value:
        value["acts"].append([person, act, subject])
