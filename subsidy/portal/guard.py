"""Stands before Airflow's API: notes the route of a request for the auth manager, and records what people do to runs.

An act (trigger, clear, backfill, pause) of a person who may do it is written into our own audit **before** Airflow carries it out, so
that none can happen unrecorded; if the audit cannot be written, the act is refused. What Airflow then refuses for another
reason stays recorded as tried, which only makes the rule "nobody approves what they acted in" stricter.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from jwt import InvalidTokenError
from starlette.requests import Request
from starlette.responses import JSONResponse

from subsidy.errors import Message, SubsidyError, TerminalError
from subsidy.portal.auth import ROUTE, PortalUser
from subsidy.portal.dag_ids import read_dag_id
from subsidy.portal.roles import CLEARING
from subsidy.settings import load_settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_LIMIT = 1_000_000
BACKFILL_DAYS = 800
ONE_AT_A_TIME = Message(
    "BACKFILL-ORDER", "补跑的各个业务日必须由早到晚、一个接一个地跑。", "没有启动任何运行。",
    "把“活跃执行数上限”设为 1，不要勾选“反向执行”，再提交。",
)  # fmt: skip
RANGE = Message("BACKFILL-RANGE", f"补跑的起止日期无效，或超过 {BACKFILL_DAYS} 天。", "没有启动任何运行。", "改正起止日期后再提交。")
ONE_RUN = Message("CLEAR-ONE-RUN", "一次只能清除一个运行中的任务。", "没有清除任何任务。", "打开要重跑的那一次运行，在其中清除。")
_ROUTES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"POST /api/v2/dags/(?P<dag>[^/]+)/dagRuns"), "trigger"),
    (re.compile(r"POST /api/v2/dags/(?P<dag>[^/]+)/clearTaskInstances"), "clear"),
    (re.compile(r"POST /api/v2/dags/(?P<dag>[^/]+)/dagRuns/(?P<run>[^/]+)/clear"), "clear"),
    (re.compile(r"POST /api/v2/backfills"), "backfill"),
    (re.compile(r"PATCH /api/v2/dags/(?P<dag>[^/~]+)"), "pause"),
)


#: An answer is held back until its question has stood so long: one that comes while Airflow still parks the task would be lost.
PARKING_SECONDS = 4.0
_ANSWER = re.compile(r"PATCH /api/v2/dags/([^/]+)/dagRuns/([^/]+)/taskInstances/([^/]+)/-?\d+/hitlDetails")


@dataclass(frozen=True, slots=True)
class Act:
    """What a request wants to do: `dag_id` whose DAG, `subjects` which nights, settlement or period, `reason` as given."""

    act: str
    dag_id: str
    subjects: tuple[str, ...]
    reason: str


def read_act(route: str, body: dict[str, Any], date_of_run: Callable[[str, str], str]) -> Act | None:
    """The act that `route` ("METHOD /path") with JSON `body` stands for; None when it changes nothing.

    `date_of_run(dag_id, run_id)` gives the business date or period of an existing run, "" when unknown.
    """
    for pattern, act in _ROUTES:
        found = pattern.fullmatch(route)
        if found is None:
            continue
        groups = {name: unquote(value) for name, value in found.groupdict().items()}
        if act == "clear" and _looks_only(body):
            return None
        dag_id = groups.get("dag") or str(body.get("dag_id") or "")
        conf = body.get("conf") if isinstance(body.get("conf"), dict) else {}
        assert isinstance(conf, dict)
        days = [_when(dag_id, body.get("partition_key"), conf)]
        if act == "trigger" and conf.get("mode") == "preview" and kind_of(dag_id) == "night":
            act = "preview"  # changes nothing, so that whoever looks may still approve
        elif act == "clear":
            days = [date_of_run(dag_id, groups.get("run") or str(body.get("dag_run_id") or ""))]
        elif act == "backfill":
            days = _days_or_none(str(body.get("from_date")), str(body.get("to_date")))
        elif act == "pause":
            act, days = ("resume" if body.get("is_paused") is False else "pause"), ["*"]
        return Act(act, dag_id, tuple(_subject(dag_id, day) for day in days), str(conf.get("reason") or body.get("note") or ""))
    return None


def _looks_only(body: dict[str, Any]) -> bool:
    """Whether a clear is a dry run for certain. Airflow also takes words for truth values; what is not plainly a dry run is an act."""
    return body.get("dry_run", True) is True


def _when(dag_id: str, key: Any, form: dict[str, Any]) -> str:
    """Business date or period that a run of a DAG is for, read where its tasks read it (`request`): a date in the one way in which it is
    compared, however it was written."""
    of_month = kind_of(dag_id) in ("publish", "clearing")
    when = str(key or form.get("period" if of_month else "business_date") or "")
    try:
        return when if of_month else str(date.fromisoformat(when))
    except ValueError:
        return when  # its tasks refuse it


def kind_of(dag_id: str) -> str:
    """The kind of DAG, ``unknown`` for one that is not ours."""
    known = read_dag_id(dag_id)
    return known[1] if known else "unknown"


def days_between(first: str, last: str) -> list[str]:
    """All business dates of a backfill's range, both ends included. ValueError for no range or one of more than `BACKFILL_DAYS`."""
    start, end = datetime.fromisoformat(first).date(), datetime.fromisoformat(last).date()
    count = (end - start).days + 1
    if not 0 < count <= BACKFILL_DAYS:
        raise ValueError(f"{first}..{last}")
    return [str(start + timedelta(days=offset)) for offset in range(count)]


def _days_or_none(first: str, last: str) -> list[str]:
    try:
        return days_between(first, last)
    except ValueError:
        return []  # `objection` refuses it


def _subject(dag_id: str, when: str) -> str:
    kind = kind_of(dag_id)
    return f"{ {'publish': 'settlement', 'recompute': 'night'}.get(kind, kind) }:{when}"


def objection(route: str, body: dict[str, Any]) -> Message | None:
    """Why a request that Airflow would carry out is refused here; None for all others.

    Airflow runs the nights of a backfill side by side unless told otherwise, and can clear tasks of many runs at once, which the audit
    could not tie to a night.
    """
    if route == "POST /api/v2/backfills":
        if body.get("max_active_runs", 10) != 1 or body.get("run_backwards"):
            return ONE_AT_A_TIME
        try:
            days_between(str(body.get("from_date")), str(body.get("to_date")))
        except ValueError:
            return RANGE
    if route.endswith("/clearTaskInstances") and not _looks_only(body) and not body.get("dag_run_id"):
        return ONE_RUN
    return None


class Guard:
    """ASGI middleware; see the module."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = str(scope["path"])
        root = str(scope.get("root_path") or "")
        route = f"{scope['method']} {path.removeprefix(root) if root else path}"
        ROUTE.set(route)
        answer = _ANSWER.fullmatch(route)
        if answer is not None:
            age = await asyncio.to_thread(seconds_asked, *(unquote(part) for part in answer.groups()))
            await asyncio.sleep(max(0.0, PARKING_SECONDS - age))
        if any(pattern.fullmatch(route) for pattern, _ in _ROUTES):
            request = Request(scope, receive)
            raw = await _read(request)
            if raw is None:
                await _refuse(413, "ACT-BODY", "请求太大。")(scope, receive, send)
                return
            refusal = await self._record(request, route, raw)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
            receive = _replay(raw, receive)
        await self.app(scope, receive, send)

    async def _record(self, request: Request, route: str, raw: bytes) -> JSONResponse | None:
        try:
            body = json.loads(raw or b"{}")
        except ValueError:
            return None  # Airflow answers 422
        user = await _user(request)
        if user is None or not isinstance(body, dict):
            return None  # Airflow answers 401 or 422
        message = objection(route, body)
        act = await asyncio.to_thread(read_act, route, body, date_of_run)
        if act is None or not _allowed(act, user):
            return None  # nothing to record, or Airflow answers 403
        if message is not None:
            return _refuse(422, message.code, str(message))
        try:
            await asyncio.to_thread(record, user.get_id(), act)
        except SubsidyError as error:
            return _refuse(503, error.message.code, str(error.message))
        return None


def _allowed(act: Act, user: PortalUser) -> bool:
    entity = {"clear": DagAccessEntity.TASK_INSTANCE, "pause": None, "resume": None}.get(act.act, DagAccessEntity.RUN)
    method = "POST" if act.act in ("trigger", "backfill") else "PUT"
    return bool(get_auth_manager().is_authorized_dag(method=method, access_entity=entity, details=DagDetails(id=act.dag_id), user=user))


def record(person: str, act: Act) -> None:
    """Write `act` of `person` into our audit."""
    from subsidy.night import api

    known = read_dag_id(act.dag_id)
    if known is None:
        raise TerminalError("ACT-DAG", "没有这个流程。", "没有执行。", "检查流程名称。")
    centre = "" if known[0] == CLEARING else known[0]
    for subject in act.subjects:
        api.record_act(load_settings(), centre, person, act.act, subject, act.reason)


def date_of_run(dag_id: str, run_id: str) -> str:
    """Business date or period of an existing run: its partition key, or what its form said."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        row = session.execute(select(DagRun.partition_key, DagRun.conf).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).first()
    if row is None:
        return ""
    return _when(dag_id, row[0], row[1] or {})


def seconds_asked(dag_id: str, run_id: str, task_id: str) -> float:
    """How long a question has stood; a long time when there is none."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    asked = select(HITLDetail.created_at).join(TaskInstance, TaskInstance.id == HITLDetail.ti_id)
    with create_session() as session:
        created_at = session.scalar(
            asked.where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id, TaskInstance.task_id == task_id)
        )
    return PARKING_SECONDS if created_at is None else max(0.0, (datetime.now(UTC) - created_at).total_seconds())


async def _user(request: Request) -> PortalUser | None:
    header = request.headers.get("authorization", "")
    token = header[7:] if header.lower().startswith("bearer ") else request.cookies.get(COOKIE_NAME_JWT_TOKEN)
    if not token:
        return None
    try:
        user: PortalUser = await get_auth_manager().get_user_from_token(token)
    except InvalidTokenError:
        return None
    return user


async def _read(request: Request) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_LIMIT:
            return None
        parts.append(chunk)
    return b"".join(parts)


def _replay(raw: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": raw, "more_body": False}

    return again


def _refuse(status: int, code: str, text: str) -> JSONResponse:
    return JSONResponse({"detail": text, "code": code}, status_code=status)
