"""What every step of a run needs: settings, database, store, and the policy that the run pinned."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.errors import TerminalError, TransientError
from subsidy.facts.store import Store
from subsidy.ledger import lease, tables
from subsidy.ledger.database import Database, open_database
from subsidy.night import clock, secret
from subsidy.policy import CentrePolicy, load_packed, unpack
from subsidy.settings import Settings

LEASE_SECONDS = 120.0
#: The steps of a night in order, with what people call them.
STEPS = {
    "take_in": "接收文件",
    "compute": "计算贴息",
    "check": "独立复算",
    "post": "记账",
    "verify": "核验账簿",
    "settle": "生成清算批次",
    "report": "出具报表",
    "close_night": "关闭当日",
}
HOST = socket.gethostname()


@dataclass(frozen=True)
class Run:
    """One row of table `run`, as pinned when it was opened."""

    centre: str
    run_no: int
    business_date: date
    mode: str
    policy_version: str
    engine_version: str
    knowledge_file_no: int
    state: str

    @property
    def closed(self) -> bool:
        """True when the run was closed; its steps only verify from then on."""
        return self.state == "closed"


@dataclass(frozen=True)
class Context:
    """Everything a step works with. `policy` is the pinned one, `rules` a folder that holds the files it was pinned with."""

    settings: Settings
    db: Database
    store: Store
    run: Run
    policy: CentrePolicy
    rules: Path

    @property
    def centre(self) -> str:
        return self.run.centre


def find_run(conn: Connection, centre: str, run_no: int) -> Run:
    """The run `run_no` of a centre. TerminalError ``RUN-UNKNOWN`` when there is none."""
    t = tables.run
    row = conn.execute(sa.select(t).where(t.c.centre == centre, t.c.run_no == run_no)).mappings().one_or_none()
    if row is None:
        raise _no_run(centre, run_no)
    return run_of(row)


def with_run(conn: Connection, centres: Sequence[str], run_no: int) -> list[str]:
    """Those of `centres` that have a run `run_no`. TerminalError ``RUN-UNKNOWN`` when none has."""
    t = tables.run
    found = set(conn.execute(sa.select(t.c.centre).where(t.c.run_no == run_no)).scalars())
    if not found.intersection(centres):
        raise _no_run("、".join(centres) or "账簿中", run_no)
    return [centre for centre in centres if centre in found]


def _no_run(centre: str, run_no: int) -> TerminalError:
    todo = "核对中心和运行编号；夜间流程的任务从该夜第一步重新开始。"
    return TerminalError("RUN-UNKNOWN", f"{centre} 没有编号为 {run_no} 的运行。", "没有改动任何数据。", todo)


def run_of(row: Mapping[Any, Any]) -> Run:
    """A `Run` from a row of table `run`."""
    return Run(
        row["centre"],
        int(row["run_no"]),
        row["business_date"],
        row["mode"],
        row["policy_version"],
        row["engine_version"],
        int(row["knowledge_file_no"]),
        row["state"],
    )


def load(settings: Settings, centre: str, run_no: int) -> Context:
    """The context of an opened run, with the policy it pinned. TerminalError ``SET-KEY-DIFFERS`` with another key than the ledger's."""
    db = open_database(settings)
    secret.hold(db, settings.key)
    store = Store(settings.store_url)
    with db.read() as conn:
        run = find_run(conn, centre, run_no)
        opened = step_result(conn, run, "open")
    assert opened is not None
    with store.open(store.raw_path(opened["policy_sha256"])) as handle:
        archive = handle.read()
    return Context(settings, db, store, run, load_packed(archive), _laid_out(settings, centre, opened["policy_sha256"], archive))


def _laid_out(settings: Settings, centre: str, sha256: str, archive: bytes) -> Path:
    """The pinned files as a folder in the work space, for what reads files; renamed into place, so never half there."""
    folder = settings.work(centre) / "rules" / sha256
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix="."))
    for name, data in unpack(archive).items():
        target = beside / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    try:
        beside.rename(folder)
    except OSError:
        shutil.rmtree(beside)
        if not folder.is_dir():
            raise
    return folder


@contextmanager
def working(db: Database, centre: str, what: str) -> Iterator[int]:
    """Hold the centre's lease while the block runs; yields the fencing token. `what` says for people what is being done.

    The lease is short and renewed by a heartbeat, so a killed process is replaced soon, at once when it ran on this host.
    BusyError names who works and since when."""
    me = f"{what}〔{HOST}:{os.getpid()}:{threading.get_ident()}〕"
    token = lease.acquire(db, centre, me, _time_past_the_dead(db, centre), LEASE_SECONDS)
    done = threading.Event()
    heart = threading.Thread(target=_beat, args=(db, centre, token, done), daemon=True)
    heart.start()
    try:
        yield token
    finally:
        done.set()
        heart.join()
        lease.release(db, centre, token)


def _beat(db: Database, centre: str, token: int, done: threading.Event) -> None:
    while not done.wait(LEASE_SECONDS / 4):
        try:
            lease.renew(db, centre, token, clock.seconds(), LEASE_SECONDS)
        except TransientError:
            continue  # the step itself holds the database; the next beat tries again
        except TerminalError:
            return  # somebody took over; the step's own commit is refused


def _time_past_the_dead(db: Database, centre: str) -> float:
    """Now, or a moment past the lease's expiry when its holder was a process of this host that no longer lives."""
    now = clock.seconds()
    with db.read() as conn:
        row = conn.execute(sa.select(tables.lease.c.holder, tables.lease.c.expires).where(tables.lease.c.centre == centre)).one_or_none()
    if row is None or not row.holder.endswith("〕"):
        return now
    host, pid, _ = row.holder.rpartition("〔")[2].removesuffix("〕").rsplit(":", 2)
    if host != HOST or _alive(int(pid)):
        return now
    return max(now, float(row.expires) + 1)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def step_result(conn: Connection, run: Run, name: str) -> dict[str, Any] | None:
    """What a finished step returned; None while it is not done."""
    t = tables.step
    found = conn.execute(
        sa.select(t.c.result).where(t.c.centre == run.centre, t.c.run_no == run.run_no, t.c.name == name)
    ).scalar_one_or_none()
    return None if found is None else json.loads(found)


def finished(conn: Connection, run: Run, *names: str) -> list[dict[str, Any]]:
    """What these steps returned. TerminalError ``NIGHT-INCOMPLETE`` while one of them is not done: what was not looked at is not proved."""
    results = {name: step_result(conn, run, name) for name in names}
    missing = [STEPS[name] for name, result in results.items() if result is None]
    if missing:
        raise TerminalError(
            "NIGHT-INCOMPLETE",
            f"{run.centre} {run.business_date} 还有步骤没有完成：{'、'.join(missing)}。",
            "后面的步骤没有运行；已完成的步骤都已保存。",
            "先运行没有完成的步骤：在 Airflow 中清除并重跑未完成的任务，或用 subsidy night 运行整夜（不带 --step）。",
        )
    return [result for result in results.values() if result is not None]


def finish_step(conn: Connection, run: Run, name: str, result: Mapping[str, Any], inputs: object = "") -> dict[str, Any]:
    """Record a step as done in the transaction of its effects; returns `result` as a dict."""
    conn.execute(
        sa.insert(tables.step).values(
            centre=run.centre,
            run_no=run.run_no,
            name=name,
            input_hash=hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest(),
            result=json.dumps(result, ensure_ascii=False, sort_keys=True, default=str),
        )
    )
    return dict(result)


def replace_step(conn: Connection, run: Run, name: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Record a new result of a check that failed before: what is broken may have been mended since."""
    t = tables.step
    conn.execute(
        sa.update(t)
        .where(t.c.centre == run.centre, t.c.run_no == run.run_no, t.c.name == name)
        .values(result=json.dumps(result, ensure_ascii=False, sort_keys=True, default=str))
    )
    return dict(result)
