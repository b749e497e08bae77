"""Asking the bank what became of what was sent and not answered (BDC107 for the batch, BDC110 for each payment). Asking moves no money."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import events, outbox
from subsidy.clearing.profiles import Outbound, fill, load
from subsidy.facts.store import Store
from subsidy.ledger import tables
from subsidy.ledger.database import Database, next_numbers
from subsidy.money.amounts import format_yuan
from subsidy.policy.model import CentrePolicy
from subsidy.settings import Settings


@dataclass(frozen=True, slots=True)
class OpenPayment:
    """A payment that was sent and not answered. `age_days` counts from the day it was sent to the business date asked for."""

    payment_no: str
    batch_no: int
    send_no: str
    bank_batch_no: str
    ordinal: int
    direction: str
    amount_fen: int
    payee_account: str
    state: str
    sent_on: date
    batch_count: int
    batch_fen: int
    age_days: int


@dataclass(frozen=True, slots=True)
class Told:
    """A BDC107 status of a batch, as given by bank file `bank_file_no`. `asked`: how often the bank had been asked when it was read."""

    bank_file_no: int
    status: str
    asked: int


@dataclass(frozen=True, slots=True)
class Queries:
    """What was asked: file names, and how many batches and payments they ask about."""

    files: tuple[str, ...]
    batches: int
    payments: int


def open_payments(conn: Connection, centre: str, on: date, batch_nos: Sequence[int] | None = None) -> list[OpenPayment]:
    """Payments that were sent and neither confirmed nor failed, the oldest first."""
    e, p, b = tables.payment_event, tables.payment, tables.batch
    limit = [p.c.batch_no.in_(list(batch_nos))] if batch_nos is not None else []
    last = events.last_event(centre, *limit)
    sent = (
        sa.select(e.c.payment_no, sa.func.min(e.c.event_on).label("sent_on"))
        .where(e.c.centre == centre, e.c.state == "sent")
        .group_by(e.c.payment_no)
        .subquery()
    )
    query = (
        sa.select(
            p.c.payment_no, p.c.batch_no, b.c.send_no, b.c.bank_batch_no, p.c.ordinal, b.c.direction, p.c.amount_fen, p.c.payee_account,
            e.c.state, sa.func.coalesce(sent.c.sent_on, e.c.event_on).label("sent_on"),
            b.c.payment_count.label("batch_count"), b.c.amount_fen.label("batch_fen"),
        )
        .join(last, last.c.payment_no == p.c.payment_no)
        .join(e, sa.and_(e.c.centre == p.c.centre, e.c.event_no == last.c.event_no))
        .join(b, sa.and_(b.c.centre == p.c.centre, b.c.batch_no == p.c.batch_no))
        .outerjoin(sent, sent.c.payment_no == p.c.payment_no)
        .where(p.c.centre == centre, e.c.state.in_(events.UNANSWERED), *limit)
        .order_by(sa.text("sent_on"), p.c.batch_no, p.c.ordinal)
    )  # fmt: skip
    return [OpenPayment(**row, age_days=max(0, (on - row["sent_on"]).days)) for row in conn.execute(query).mappings()]


def asked(conn: Connection, centre: str, batch_no: int) -> int:
    """How often the bank was asked about a batch (at most once per business date)."""
    f = tables.published_file
    days = sa.select(sa.func.count(f.c.business_date.distinct()))
    return int(conn.execute(days.where(f.c.centre == centre, f.c.kind == "query", f.c.batch_no == batch_no)).scalar_one())


def told(conn: Connection, centre: str, batch_no: int) -> list[Told]:
    """Every BDC107 status that the bank gave of a batch, in the order of arrival."""
    f = tables.bank_file
    rows = conn.execute(
        sa.select(f.c.detail, f.c.bank_file_no)
        .where(f.c.centre == centre, f.c.batch_no == batch_no, f.c.kind == "status", f.c.state == "booked")
        .order_by(f.c.bank_file_no)
    )
    found = [(int(number), json.loads(detail)) for detail, number in rows]
    return [Told(number, detail["batch_status"], detail.get("asked", 0)) for number, detail in found if "batch_status" in detail]


def write(
    db: Database,
    token: int,
    settings: Settings,
    policy: CentrePolicy,
    *,
    business_date: date,
    run_no: int,
    batch_nos: Sequence[int] | None = None,
    outbound: Outbound | None = None,
) -> Queries:
    """Write a BDC107 and a BDC110 query file per batch that has unanswered payments (all such batches, or those given).

    Once per batch and business date: writing again on the same date finishes what was begun and asks nothing new.
    """
    outbound = outbound or load(settings.rules, policy.centre)
    store, folder = Store(settings.store_url), settings.outbox(policy.centre)
    with db.transaction(policy.centre, token) as conn:
        waiting: dict[int, list[OpenPayment]] = {}
        for payment in open_payments(conn, policy.centre, business_date, batch_nos):
            waiting.setdefault(payment.batch_no, []).append(payment)
        f = tables.published_file
        asked = set(
            conn.execute(
                sa.select(f.c.batch_no).where(f.c.centre == policy.centre, f.c.kind == "query", f.c.business_date == business_date)
            ).scalars()
        )
        for batch_no, payments in sorted(waiting.items()):
            if batch_no in asked:
                continue
            while True:
                send_no = f"{business_date:%Y%m%d}{next_numbers(conn, policy.centre, 'send'):012d}"
                texts = _texts(policy, outbound, send_no, payments)
                if not any(outbox.holds_other(folder / name, hashlib.sha256(data).hexdigest()) for name, data in texts):
                    break  # else the number was given out after a backup that was restored
            for name, data in texts:
                store.put_bytes(data)
                conn.execute(
                    sa.insert(f).values(
                        centre=policy.centre,
                        path=f"outbox/{policy.centre}/{name}",
                        kind="query",
                        sha256=hashlib.sha256(data).hexdigest(),
                        bytes=len(data),
                        business_date=business_date,
                        run_no=run_no,
                        batch_no=batch_no,
                        state="intent",
                    )
                )
        todo = conn.execute(
            sa.select(f.c.path, f.c.sha256, f.c.state).where(
                f.c.centre == policy.centre,
                f.c.kind == "query",
                f.c.business_date == business_date,
                *([f.c.batch_no.in_(list(batch_nos))] if batch_nos is not None else []),
            ).order_by(f.c.path)
        ).all()  # fmt: skip
    for path, sha256, state in todo:
        if state == "intent":
            with store.open(Store.raw_path(sha256)) as handle:
                outbox.write_whole(settings.home / path, handle.read())
    with db.transaction(policy.centre, token) as conn:
        paths = [row.path for row in todo]
        conn.execute(sa.update(f).where(f.c.centre == policy.centre, f.c.path.in_(paths), f.c.state == "intent").values(state="published"))
    return Queries(tuple(path.rsplit("/", 1)[1] for path in paths), len(waiting), sum(map(len, waiting.values())))


def _texts(policy: CentrePolicy, outbound: Outbound, send_no: str, payments: list[OpenPayment]) -> list[tuple[str, bytes]]:
    """Name and bytes of the batch query and of the payment query about one batch."""
    q, first = outbound.queries, payments[0]
    values = {"unit_no": policy.code, "send_no": send_no}
    batch = f"1|{first.send_no}|{first.bank_batch_no}|{first.batch_count}|{format_yuan(first.batch_fen)}|\n{q.end}\n"
    rows = [
        f"{i}|{p.send_no}|{p.bank_batch_no}|{p.ordinal}|{p.payment_no}|{format_yuan(p.amount_fen)}|{p.payee_account}|\n"
        for i, p in enumerate(payments, 1)
    ]
    return [
        (fill(q.batch_name, values), batch.encode(q.encoding)),
        (fill(q.payment_name, values), ("".join(rows) + f"{q.end}\n").encode(q.encoding)),
    ]
