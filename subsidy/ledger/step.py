"""A step of a run: its effects and its row are committed together, so that done is done, whatever became of the process or the
connection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.errors import TransientError
from subsidy.ledger.database import Database
from subsidy.ledger.tables import step


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step returned. `fresh`: it was done now, not before; `input_hash`: of what went in when it was done."""

    result: dict[str, Any]
    input_hash: str
    fresh: bool


def hash_of_input(*parts: object) -> str:
    """The hash that names what goes into a step: of any JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()


def find(conn: Connection, centre: str, run_no: int, name: str) -> StepResult | None:
    """What a step returned when it was done; None while it is not."""
    where = (step.c.centre == centre, step.c.run_no == run_no, step.c.name == name)
    row = conn.execute(sa.select(step.c.result, step.c.input_hash).where(*where)).one_or_none()
    return None if row is None else StepResult(json.loads(row.result), row.input_hash, fresh=False)


def once(
    db: Database, centre: str, token: int, run_no: int, name: str, input_hash: str, work: Callable[[Connection], Mapping[str, Any]]
) -> StepResult:
    """Do `work` once, in one transaction under the lease `token`, and record what it returns (counts and ids only) as step `name` of the
    run.

    A step that is done returns what it returned then, whatever goes in now; the caller compares `input_hash`. When the connection breaks
    during the commit, the step's row tells whether it was committed: if so that is the answer, otherwise ``DB-COMMIT-UNKNOWN`` is raised
    and the step may be tried again."""
    try:
        with db.transaction(centre, token) as conn:
            done = find(conn, centre, run_no, name)
            if done is not None:
                return done
            result = dict(work(conn))
            text = json.dumps(result, ensure_ascii=False, sort_keys=True, default=str)
            conn.execute(sa.insert(step).values(centre=centre, run_no=run_no, name=name, input_hash=input_hash, result=text))
        return StepResult(json.loads(text), input_hash, fresh=True)
    except TransientError as error:
        if error.message.code != "DB-COMMIT-UNKNOWN":
            raise
        with db.read() as conn:
            done = find(conn, centre, run_no, name)
        if done is None:
            raise
        return StepResult(done.result, done.input_hash, fresh=True)
