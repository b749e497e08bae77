"""Plays the story of a centre through the real night steps, without Airflow."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import sqlalchemy as sa

from fixtures import bank, story
from subsidy.entitlement.engine import assess
from subsidy.entitlement.lines import Assessment
from subsidy.facts.schema import Facts
from subsidy.ledger import tables
from subsidy.ledger.database import Database, open_database
from subsidy.night import api
from subsidy.policy import CentrePolicy
from subsidy.settings import Settings

PEOPLE = ("审批甲", "审批乙")


def approve(settings: Settings, centre: str) -> dict[str, Any] | None:
    """Approve and publish what waits, as people who did nothing else, and bring the workbooks up to it, as the DAG does."""
    published = send(settings, centre)
    if published is not None:
        api.refresh_reports(settings, centre)
    return published


def send(settings: Settings, centre: str) -> dict[str, Any] | None:
    """Approve and publish what waits."""
    waiting = api.pending_settlement(settings, centre)
    if waiting is None:
        return None
    for person in PEOPLE[: waiting["approvals_needed"]]:
        if (api.pending_settlement(settings, centre) or {}).get("state") in ("approved", "publishing"):
            break  # answered before the process died
        said = api.answer_settlement(settings, centre, waiting["period"], person, "approve", waiting["content_hash"])
        assert said["accepted"], said
    return api.publish(settings, centre, waiting["period"])


def read_results(settings: Settings, centre: str, day: date) -> dict[str, Any]:
    """Read what the bank said and bring the workbooks up to it, as the DAG does."""
    counts = api.read_results(settings, centre, day, "夜间")
    api.refresh_reports(settings, centre)
    return counts


def play(settings: Settings, centre: str, numbers: tuple[int, ...] = (1, 2, 3, 4), script: str = "story") -> dict[int, Any]:
    """Deliver and run nights of the story, let people approve and the bank answer in between. Returns the results per night."""
    results: dict[int, Any] = {}
    for night in [n for n in story.nights() if n.centre == centre and n.number in numbers]:
        story.deliver(settings.home, centre, night.number)
        if night.number == 3:
            bank.run(settings.home, centre, script, night.business_date)
            read_results(settings, centre, night.business_date)
        results[night.number] = api.run_night(settings, centre, night.business_date, "夜间", reason=story.REASON)
        if approve(settings, centre) is not None and night.number == 4:
            day = night.business_date + timedelta(days=3)
            bank.run(settings.home, centre, script, day)
            read_results(settings, centre, day)
    return results


def state(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """Everything the ledger remembers, but for wall-clock stamps and who held leases."""
    stamps = {"started_at", "closed_at", "at", "answered_at", "token", "since", "holder", "expires", "started_by"}
    found: dict[str, list[tuple[Any, ...]]] = {}
    with open_database(settings).read() as conn:
        for table in tables.metadata.sorted_tables:
            if table.name in ("lease", "audit", "seal"):
                continue
            columns = [c for c in table.c if c.name not in stamps]
            found[table.name] = sorted((tuple(r) for r in conn.execute(sa.select(*columns))), key=repr)
    return found


def visible_files(settings: Settings) -> dict[str, str]:
    """SHA-256 of every file that people or banks can see."""
    return {
        str(path.relative_to(settings.home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("inbox", "outbox", "results", "reports")
        for path in sorted((settings.home / folder).rglob("*"))
        if path.is_file()
    }


def folder(settings: Settings, centre: str) -> Path:
    """The centre's inbox."""
    return settings.inbox(centre)


def claimed_elsewhere(settings: Settings, centre: str, agreement_no: str, day: date) -> None:
    """What another centre's night of `day`, run late, books: a live agreement over the same contract."""
    c = tables.claim
    with open_database(settings).raw() as conn:
        mine = sa.select(c).where(c.c.centre == centre, c.c.agreement_no == agreement_no, c.c.kind == "contract").limit(1)
        row = dict(conn.execute(mine).mappings().one())
        conn.execute(sa.insert(c).values({**row, "centre": "elsewhere", "agreement_no": "E1", "known_on": day}))


def a_fen_too_much(facts: Facts, policy: CentrePolicy) -> Assessment:
    """A fault of the engine: every line that pays something pays a fen more."""
    right = assess(facts, policy)
    wrong = pc.if_else(pc.greater(right.lines["payable_fen"], 0), pc.add(right.lines["payable_fen"], 1), 0)
    at = right.lines.schema.get_field_index("payable_fen")
    return replace(right, lines=right.lines.set_column(at, "payable_fen", wrong))


def by_hand(db: Database, statement: str) -> None:
    """Change rows as somebody with the database's password could: guards away, statement, guards back."""
    with db.raw() as conn:
        if db.postgres:
            conn.execute(sa.text("SET session_replication_role = replica"))
            assert conn.execute(sa.text(statement)).rowcount > 0
            conn.execute(sa.text("SET session_replication_role = DEFAULT"))
            return
        guards = conn.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")).all()
        for name, _ in guards:
            conn.execute(sa.text(f"DROP TRIGGER {name}"))
        assert conn.execute(sa.text(statement)).rowcount > 0
        for _, sql in guards:
            conn.exec_driver_sql(sql)
