"""What became of a period's payments, counted once per change: pages answer as fast for a million loans as for a thousand.

Counting reads every payment of the period. Whoever adds payments or answers counts (`refresh`, after publication, after bank files, when
a night closes), and keeps the result in the work folder under the numbers it was counted at. A page takes it while those numbers are
still the ledger's; otherwise it counts itself, so that a lost or old file costs time, never truth.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing.reconcile import CLASSES, three_way
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.settings import Settings

#: Periods that are counted again when a night closes, because answers may have become overdue.
RECENT = 3


@dataclass(frozen=True)
class Tally:
    """`states`: state → [payments, fen] of what was to be paid out. `ties`: whether computed, sent and answered agree and nothing is
    unexplained. `differences`: [Chinese class, how many, fen]."""

    states: dict[str, tuple[int, int]]
    ties: bool
    unexplained: int
    differences: tuple[tuple[str, int, int], ...]


def of_period(conn: Connection, settings: Settings, centre: str, period: str) -> Tally:
    """The tally of a period as the ledger is now."""
    return _kept(conn, settings, centre, period) or _counted(conn, settings, centre, period)


def _kept(conn: Connection, settings: Settings, centre: str, period: str) -> Tally | None:
    """The tally that was counted before, when nothing has happened since."""
    try:
        kept = json.loads(_path(settings, centre, period).read_text(encoding="utf-8"))
        if kept["numbers"] != _numbers(conn, centre, period):
            return None
        t = kept["tally"]
        states = {str(k): (int(n), int(fen)) for k, (n, fen) in t["states"].items()}
        return Tally(states, bool(t["ties"]), int(t["unexplained"]), tuple((str(k), int(n), int(f)) for k, n, f in t["differences"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there yet, or half a file of a killed process


def refresh(settings: Settings, centre: str, period: str | None = None) -> None:
    """Count `period` again, or the last `RECENT` ones, where something happened since or what is a matter of time may have become late."""
    s = tables.settlement
    with open_database(settings).read() as conn:
        query = sa.select(s.c.period).where(s.c.centre == centre).order_by(s.c.period.desc())
        chosen = query.limit(RECENT) if period is None else query.where(s.c.period == period)
        for found in conn.execute(chosen).scalars().all():
            kept = _kept(conn, settings, centre, found)
            if kept is None or any(kind == CLASSES["timing"] for kind, _, _ in kept.differences):
                _counted(conn, settings, centre, found)


def _counted(conn: Connection, settings: Settings, centre: str, period: str) -> Tally:
    numbers = _numbers(conn, centre, period)
    found = three_way(conn, centre, period)
    kinds: Counter[str] = Counter()
    amounts: Counter[str] = Counter()
    for difference in found.differences:
        kinds[CLASSES[difference.kind]] += difference.count
        amounts[CLASSES[difference.kind]] += difference.amount_fen
    by_class = tuple((kind, kinds[kind], amounts[kind]) for kind in sorted(kinds))
    tally = Tally(_states(conn, centre, period), found.ties, found.unexplained_count, by_class)
    _keep(_path(settings, centre, period), json.dumps({"numbers": numbers, "tally": asdict(tally)}, ensure_ascii=False))
    return tally


def _states(conn: Connection, centre: str, period: str) -> dict[str, tuple[int, int]]:
    p, b, e = tables.payment, tables.batch, tables.payment_event
    newest = sa.func.row_number().over(partition_by=p.c.payment_no, order_by=e.c.event_no.desc())
    events = (
        sa.select(e.c.state, p.c.amount_fen, newest.label("age"))
        .select_from(b)
        .join(p, sa.and_(p.c.centre == b.c.centre, p.c.batch_no == b.c.batch_no))
        .join(e, sa.and_(e.c.centre == p.c.centre, e.c.payment_no == p.c.payment_no))
        .where(b.c.centre == centre, b.c.period == period, b.c.direction == "out")
        .subquery()
    )
    rows = conn.execute(
        sa.select(events.c.state, sa.func.count(), sa.func.sum(events.c.amount_fen)).where(events.c.age == 1).group_by(events.c.state)
    )
    return {str(state): (int(n), int(fen)) for state, n, fen in rows}


def _numbers(conn: Connection, centre: str, period: str) -> list[str]:
    """What changes whenever the tally could: next event and movement, the settlement's content, restorations of a backup."""
    c, s, r = tables.counter, tables.settlement, tables.restoration
    counters = {
        str(name): int(number)
        for name, number in conn.execute(sa.select(c.c.name, c.c.next_no).where(c.c.centre == centre, c.c.name.in_(("event", "movement"))))
    }
    state = conn.execute(sa.select(s.c.state, s.c.content_hash).where(s.c.centre == centre, s.c.period == period)).one_or_none()
    restored = conn.execute(sa.select(sa.func.coalesce(sa.func.max(r.c.restoration_no), 0)).where(r.c.centre == centre)).scalar_one()
    said = (str(state.state), str(state.content_hash)) if state else ("", "")
    return [str(counters.get("event", 0)), str(counters.get("movement", 0)), *said, str(restored)]


def _path(settings: Settings, centre: str, period: str) -> Path:
    return settings.work(centre) / "tally" / f"{period}.json"


def _keep(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    except OSError:
        return  # a full or read-only disk makes the next page slower, not wrong
