"""Random months: lines that change in flight, batches that are rejected or wait, banks that confirm, fail, stay silent and give back.

After every step the ledger proves its invariants; in the end every agreement has what it is entitled to, or owes the difference.
"""

from __future__ import annotations

import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from clearing_house import OTHER, RULES, STAMP, House, policy_of
from hypothesis import HealthCheck, given
from hypothesis import settings as trying
from hypothesis import strategies as st

from subsidy.calendar.settlement import SettlementDates
from subsidy.clearing import approval
from subsidy.clearing.reconcile import three_way
from subsidy.ledger import postings, tables, verify
from subsidy.ledger.database import Database
from subsidy.settings import Settings

AGREEMENTS = ("X1", "X2", "X3")


def dates_of(month: int) -> SettlementDates:
    day = date(2026 + (8 + month) // 12, (8 + month) % 12 + 1, 20)
    return SettlementDates(f"{day:%Y-%m}", day, day - timedelta(days=1), day - timedelta(days=1))


def invariants(house: House) -> None:
    assert verify.verify(house.db, house.centre) == []
    with house.db.read() as conn:
        found = three_way(conn, house.centre)
        due = {(r["agreement_no"], r["serial_no"]): r["due_fen"] for r in postings.due_lines(conn, house.centre).to_pylist()}
        i, p, e = tables.payment_item, tables.payment, tables.payment_event
        last = sa.select(sa.func.max(e.c.event_no)).where(e.c.payment_no == i.c.payment_no).correlate(i).scalar_subquery()
        live = conn.execute(
            sa.select(i.c.agreement_no, i.c.serial_no, sa.func.sum(i.c.amount_fen))
            .select_from(i)
            .join(p, p.c.payment_no == i.c.payment_no)
            .join(e, e.c.event_no == last)
            .where(e.c.state.not_in(("failed", "returned", "released")))
            .group_by(i.c.agreement_no, i.c.serial_no)
        ).all()
        twice = conn.execute(
            sa.select(i.c.agreement_no, i.c.serial_no)
            .join(e, e.c.event_no == last)
            .where(e.c.state.not_in(("failed", "returned", "released")), i.c.kind == "normal")
            .group_by(i.c.agreement_no, i.c.serial_no)
            .having(sa.func.count() > 1)
        ).all()
    assert found.computed_ties
    assert all(b.sent_ties for b in found.batches)
    assert twice == []  # one line is never in two live payments as a first payment
    in_payments = {(a, s): int(fen) for a, s, fen in live}
    for agreement, serials in house.lines.items():
        for serial, fen in serials.items():
            assert fen == in_payments.get((agreement, serial), 0) + due.get((agreement, serial), 0)


def month(house: House, n: int, data: Any, calm: bool) -> None:
    """One month: lines change, the batch is built, people answer, the bank answers, some money comes back."""
    dates = dates_of(n)
    changes: dict[str, dict[str, int]] = {}
    for agreement in AGREEMENTS:
        known = sorted(house.lines.get(agreement, {}))
        serials = {} if calm else {f"S{n}": data.draw(st.integers(0, 500))}
        if known and not calm and data.draw(st.booleans()):
            serials[data.draw(st.sampled_from(known))] = data.draw(st.integers(0, 500))
        changes[agreement] = serials or {"S0": house.lines[agreement]["S0"]}
    house.night(dates.night, changes)
    invariants(house)
    built = house.settle(dates)
    if built.state == "empty":
        return
    answer = "approve" if calm else data.draw(st.sampled_from(["approve", "approve", "reject", "wait"]))
    if answer != "wait":
        approval.answer(house.db, house.centre, dates.period, "甲", answer, built.content_hash, STAMP)
    if answer == "reject" or (answer == "wait" and built.state != "approved"):
        invariants(house)
        return
    house.publish(dates.period)
    for batch in [b for b in house.batches(dates.period) if b.leaves]:
        said = "ok" if calm else data.draw(st.sampled_from(["ok", "mixed", "mixed", "silent", "status 3"]))
        if said == "status 3":
            house.accept(batch, "", "3", message="整批失败")
        elif said != "silent":
            verdicts = {} if said == "ok" else {k: data.draw(st.sampled_from(["ok", "failed", "pending"])) for k in range(1, 4)}
            house.answer(batch, verdicts)
    house.read(dates.settlement_on)
    invariants(house)
    confirmed = [p for p in house.payments() if p["state"] == "confirmed" and p["amount_fen"] and p["event_on"] == dates.settlement_on]
    rows = [
        {"host_serial": f"R{p['payment_no']}", "account": p["payee_account"], "amount": p["amount_fen"], "summary": p["payment_no"]}
        for p in confirmed
        if not calm and data.draw(st.integers(0, 4)) == 0
    ]
    if rows:
        house.statement(rows, dates.settlement_on + timedelta(days=3))
        assert house.read(dates.settlement_on + timedelta(days=3)).applied.returned == len(rows)
        invariants(house)


@pytest.mark.slow
@trying(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_everybody_ends_with_what_they_are_entitled_to(data: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        url = f"sqlite:///{home / 'ledger.db'}"
        db = Database(url, busy_seconds=10)
        db.migrate()
        settings = Settings(home=home, rules=RULES, database_url=url, store_url=f"file://{home / 'store'}", key="k" * 40)
        house = House(db, settings, policy_of("hangzhou", minimum_fen=data.draw(st.sampled_from([1, 100]))))
        house.payees["X3"] = ("622202", "李四", OTHER)
        house.night(date(2026, 9, 1), {a: {"S0": data.draw(st.integers(0, 500))} for a in AGREEMENTS})
        months = data.draw(st.integers(2, 4))
        for n in range(months):
            month(house, n, data, calm=False)
        # Everything that is still open is answered: what nobody heard of was paid.
        for batch in [b for n in range(months) for b in house.batches(dates_of(n).period) if b.leaves]:
            states = {p["ordinal"]: p["state"] for p in house.payments(batch.batch_no)}
            if set(states.values()) & {"sent", "open"}:
                house.answer(batch, {k: "failed" for k, state in states.items() if state in ("failed",)}, day=batch.settlement_on)
                house.read(dates_of(months).night)
        for n in range(months, months + 2):
            month(house, n, data, calm=True)
        settle_waiting(house, months)
        month(house, months + 2, data, calm=True)
        paid = dict.fromkeys(AGREEMENTS, 0)
        i = tables.payment_item
        alive = {p["payment_no"] for p in house.payments() if p["state"] == "confirmed"}
        with db.read() as conn:
            for row in conn.execute(sa.select(i.c.payment_no, i.c.agreement_no, i.c.amount_fen)):
                if row.payment_no in alive:
                    paid[row.agreement_no] += int(row.amount_fen)
            due = postings.due_lines(conn, house.centre).to_pylist()
        for agreement in AGREEMENTS:
            entitled = sum(house.lines[agreement].values())
            left = sum(r["due_fen"] for r in due if r["agreement_no"] == agreement)
            assert paid[agreement] + left == entitled
            assert left <= 0 or left < house.policy.settlement[0].minimum_fen
        invariants(house)
        db.dispose()


def settle_waiting(house: House, months: int) -> None:
    """Approve and publish what was left waiting, and let the bank pay it."""
    for n in range(months):
        period = dates_of(n).period
        with house.db.read() as conn:
            waiting = approval.pending(conn, house.centre, period)
        if waiting is None:
            continue
        house.approve(period, "审批丙")
        house.publish(period)
        for batch in [b for b in house.batches(period) if b.leaves]:
            house.answer(batch)
        house.read(dates_of(months + 1).settlement_on)
    invariants(house)
