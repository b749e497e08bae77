"""What a task has to say becomes its note in Airflow, beside the task, where people look first: done in words, or the failure's message.

A task hands its sentence to Airflow as a result (XCom) under `NOTE`. Tasks cannot write notes themselves; the API server, through which
every result passes, can: `Notes` copies the sentence when Airflow has accepted it.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, ParamSpec, TypeVar
from urllib.parse import parse_qs, unquote

from subsidy.errors import SubsidyError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

NOTE = "note"
#: Airflow keeps so many characters of a note.
LONGEST = 1000
_RESULT = re.compile(rf"/execution/xcoms/([^/]+)/([^/]+)/([^/]+)/{NOTE}")
_log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")


def say(operator: Any, context: Any, text: str) -> None:
    """Make `text` the note of the running task, and a line of its log."""
    operator.log.info("%s", text)
    context["ti"].xcom_push(key=NOTE, value=text[:LONGEST])


def telling(method: Callable[P, R]) -> Callable[P, R]:
    """Around a method of an operator whose last argument is the context: a failure of ours becomes the note of its task."""

    @functools.wraps(method)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except SubsidyError as error:
            context: Any = kwargs.get("context", args[-1] if args else None)
            context["ti"].xcom_push(key=NOTE, value=str(error.message)[:LONGEST])
            raise

    return told


class Notes:
    """ASGI middleware before Airflow's API server."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = _RESULT.fullmatch(str(scope.get("path", ""))) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None:
            await self.app(scope, receive, send)
            return
        parts: list[bytes] = []
        status = 0

        async def listen() -> MutableMapping[str, Any]:
            message = await receive()
            parts.append(message.get("body", b""))
            return message

        async def watch(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = int(message.get("status", status))
            await send(message)

        await self.app(scope, listen, watch)
        if status == 201:
            index = parse_qs(scope.get("query_string", b"").decode()).get("map_index", ["-1"])[0]
            dag_id, run_id, task_id = (unquote(part) for part in found.groups())
            await asyncio.to_thread(_write, dag_id, run_id, task_id, int(index), _text(b"".join(parts)))


def _text(body: bytes) -> str:
    """The sentence in a result's body: JSON, or JSON in a JSON string."""
    value = json.loads(body)
    if isinstance(value, str) and value.startswith('"'):
        value = json.loads(value)
    return str(value)[:LONGEST]


def _write(dag_id: str, run_id: str, task_id: str, map_index: int, text: str) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.exc import SQLAlchemyError

    ti = TaskInstance
    which = (ti.dag_id == dag_id, ti.run_id == run_id, ti.task_id == task_id, ti.map_index == map_index)
    try:
        with create_session() as session:
            task = session.scalar(select(ti).where(*which))
            if task is not None:
                task.note = text
    except SQLAlchemyError as error:  # the sentence stays in the task's log and results; a missing note must not fail the task
        _log.warning("任务 %s %s %s 的备注没有写成：%s", dag_id, run_id, task_id, type(error).__name__)
