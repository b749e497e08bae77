"""A tampered row is found, wherever it is; an honest ledger proves itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from ledger_house import CENTRE, CHART, DAY, accounts, event, lines, night, opening, pay, run_of
from sqlalchemy.engine import Connection

from subsidy.ledger import audit, lease, payments, receivables, tables
from subsidy.ledger.bulk import bulk_insert
from subsidy.ledger.database import Database, next_numbers
from subsidy.ledger.verify import verify, verify_audit

LINES = [{"serial_no": f"S{i}", "payable_fen": 100 + i} for i in range(1, 5)]


def key(serial: str) -> tuple[str, str, str]:
    return ("X1", "A1", serial)


def history(db: Database) -> None:
    """Four nights: postings, a batch with a confirmed, a failed and an open payment, corrections, netting, a write-off, acts of people."""
    night(db, 1, lines(*LINES), openings=opening(30))
    with db.transaction_system() as conn:
        pay(conn, {"P1": {key("S1"): 101}, "P2": {key("S2"): 102}, "P3": {key("S3"): 103}}, 1)
        for number in ("P1", "P2", "P3"):
            event(conn, number, "sent", 2)
        event(conn, "P1", "confirmed", 2)
        event(conn, "P2", "failed", 2)
        event(conn, "P3", "open", 2)
        payments.book_confirmed(conn, run_of(1), CHART, ["P1"], DAY)
        payments.book_failed(conn, run_of(1), CHART, ["P2"])
    night(db, 2, lines({"serial_no": "S1", "payable_fen": 60}, *LINES[1:]))
    with db.transaction_system() as conn:
        pay(conn, {"P4": {key("S1"): -20, key("S2"): 102, key("S4"): 4}}, 2, replaces="P2")
        event(conn, "P4", "sent", 2)
        event(conn, "P4", "confirmed", 3)
        payments.book_confirmed(conn, run_of(2), CHART, ["P4"], DAY)
        receivables.write_off(
            conn, run_of(2), CHART, "X1", 25, requested_by="张三", approved_by="李四", reason="查无此人", at="2026-09-03T02:00:00+08:00"
        )
    night(db, 3, lines({"serial_no": "S1", "payable_fen": 60}, *LINES[1:]))
    night(db, 4, lines({"serial_no": "S1", "payable_fen": 90}, *LINES[1:]))
    with db.transaction_system() as conn:
        conn.execute(sa.insert(tables.lease).values(centre=CENTRE, token=0, holder="", since="", expires=0))
        audit.record(conn, CENTRE, "张三", "trigger", "run:4", "", "2026-09-05T01:30:00+08:00")
        row = {
            "centre": CENTRE,
            "run_no": 1,
            "stage": "proof",
            "code": "C",
            "severity": "note",
            "what": "w",
            "todo": "t",
            "file_no": 0,
            "line_no": 0,
        }
        row |= {"field": "", "value": "", "agreement_no": "", "serial_no": ""}
        bulk_insert(conn, tables.finding, [row | {"finding_no": next_numbers(conn, CENTRE, "finding")}])
    with db.transaction(CENTRE, lease.acquire(db, CENTRE, "night", 0.0, 60)):
        pass  # seals what the steps above appended


def codes(db: Database) -> set[str]:
    """Codes of everything that is found in full."""
    return {finding.code for finding in verify(db, CENTRE)}


def test_an_honest_ledger_proves_itself(database: Database) -> None:
    history(database)
    assert verify(database, CENTRE) == []
    assert verify(database, CENTRE, touched=["X1"]) == []
    assert verify(database, CENTRE, run_no=4) == []
    assert verify_audit(database) == []
    assert verify(database, "wenzhou") == []
    with database.read() as conn:
        assert accounts(conn)["receivable"] > 0


def tamper(db: Database, statement: str) -> None:
    """Change a row by hand, as somebody with the database's password could: guards taken away first."""
    with db.raw() as conn:
        if db.postgres:
            conn.execute(sa.text("SET session_replication_role = replica"))
        else:
            for name in conn.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all():
                conn.execute(sa.text(f"DROP TRIGGER {name}"))
        assert conn.execute(sa.text(statement)).rowcount != 0
        if db.postgres:
            conn.execute(sa.text("SET session_replication_role = DEFAULT"))


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE posting SET amount_fen = 1000, due_fen = 1000 WHERE posting_no = 2", "INV-2-LINE"),
        ("UPDATE posting SET rule_version = 'other' WHERE posting_no = 2", "INV-5-CHAIN"),
        ("UPDATE posting SET rule_version = '' WHERE posting_no = 2", "INV-4-SOURCE"),
        ("UPDATE posting SET file_no = 77 WHERE posting_no = 2", "INV-4-SOURCE"),
        ("UPDATE posting SET accrual_to = '2026-10-11' WHERE posting_no = 2", "INV-5-CHAIN"),
        ("UPDATE posting SET business_date = '2027-10-11' WHERE posting_no = (SELECT max(posting_no) FROM posting)", "INV-9-DATE"),
        ("DELETE FROM posting WHERE posting_no = 4", "INV-5-POSTING"),
        ("DELETE FROM posting WHERE posting_no = (SELECT max(posting_no) FROM posting)", "INV-5-CHAIN"),
        ("UPDATE posting_cause SET amount_fen = amount_fen + 1", "INV-4-CAUSE"),
        ("UPDATE posting_cause SET text = '别的原因'", "INV-5-CHAIN"),
        ("UPDATE journal SET amount_fen = amount_fen + 1 WHERE entry_no = 2", "INV-5-POSTING"),
        ("UPDATE journal SET amount_fen = amount_fen + 1 WHERE reason = 'pay'", "INV-5-BALANCE"),
        ("UPDATE journal SET entry_on = '2026-09-09' WHERE entry_no = 2", "INV-5-CHAIN"),
        ("UPDATE journal SET debit_account = '999' WHERE entry_no = 2", "INV-5-CHAIN"),
        ("UPDATE journal SET reason = 'gift' WHERE entry_no = 2", "INV-5-REASON"),
        ("DELETE FROM journal WHERE entry_no = (SELECT max(entry_no) FROM journal)", "INV-5-CHAIN"),
        ("DELETE FROM journal WHERE reason = 'pay'", "INV-5-BOOKED"),
        ("UPDATE journal_block SET previous_hash = 'x' WHERE block_no = 2", "INV-5-CHAIN"),
        ("UPDATE journal_block SET hash = 'x' WHERE block_no = 2", "INV-5-CHAIN"),
        ("DELETE FROM journal_block WHERE block_no = 2", "INV-5-CHAIN"),
        ("UPDATE counter SET next_no = next_no + 1 WHERE name = 'entry'", "INV-5-CHAIN"),
        ("UPDATE payment SET amount_fen = 1 WHERE payment_no = 'P1'", "INV-6-PAYMENT"),
        ("UPDATE payment SET payee_account = '6228' WHERE payment_no = 'P1'", "INV-4-SEAL"),
        ("DELETE FROM payment WHERE payment_no = 'P3'", "INV-8-BATCH"),
        ("UPDATE payment_item SET amount_fen = 1 WHERE payment_no = 'P1'", "INV-6-PAYMENT"),
        ("UPDATE payment_item SET amount_fen = 900 WHERE payment_no = 'P3'", "INV-5-BALANCE"),
        ("UPDATE payment_item SET serial_no = 'S77' WHERE payment_no = 'P1'", "INV-3-ITEM"),
        ("UPDATE payment_item SET kind = 'top_up' WHERE payment_no = 'P1'", "INV-4-SEAL"),
        ("UPDATE payment_event SET state = 'confirmed' WHERE state = 'open'", "INV-5-BOOKED"),
        ("UPDATE payment_event SET state = 'open' WHERE payment_no = 'P1' AND state = 'confirmed'", "INV-5-BOOKED"),
        ("UPDATE payment_event SET state = 'failed' WHERE payment_no = 'P1' AND state = 'sent'", "INV-8-STATE"),
        ("UPDATE payment_event SET event_on = '2026-01-01' WHERE payment_no = 'P1'", "INV-4-SEAL"),
        ("DELETE FROM payment_event WHERE payment_no = 'P3'", "INV-8-STATE"),
        ("UPDATE batch SET amount_fen = amount_fen + 1 WHERE batch_no = 1", "INV-8-BATCH"),
        ("UPDATE batch SET payment_count = 9 WHERE batch_no = 1", "INV-8-BATCH"),
        ("DELETE FROM batch WHERE batch_no = 1", "INV-8-BATCH"),
        ("UPDATE finding SET what = 'nothing'", "INV-4-SEAL"),
        ("DELETE FROM finding", "INV-4-SEAL"),
        ("UPDATE write_off SET amount_fen = 1", "INV-4-SEAL"),
        ("UPDATE seal SET ranges = '{}'", "INV-4-SEAL"),
        ("UPDATE centre_state SET open_business_date = '2026-01-01'", "INV-9-DATE"),
        ("UPDATE run SET business_date = '2026-01-01' WHERE run_no = 2", "INV-9-DATE"),
        ("UPDATE file SET rows_quarantined = 5, rows_in = 5", "INV-1-ROWS"),
    ],
)  # fmt: skip
def test_a_tampered_row_is_found(database: Database, statement: str, code: str) -> None:
    history(database)
    tamper(database, statement)
    assert code in codes(database)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET person = '王五' WHERE audit_no = 2",
        "UPDATE audit SET reason = '' WHERE audit_no = 1",
        "DELETE FROM audit WHERE audit_no = 2",
        "DELETE FROM audit WHERE audit_no = 3",
    ],
)
def test_a_tampered_act_is_found(database: Database, statement: str) -> None:
    history(database)
    tamper(database, statement)
    assert {f.code for f in verify_audit(database)} == {"INV-4-AUDIT"}
    assert {f.code for f in verify_audit(database, rolling=100)} == {"INV-4-AUDIT"}


def test_a_night_finds_what_it_touches_and_comes_round_to_the_rest(database: Database) -> None:
    many = [{"agreement_no": f"X{i}", "account_no": f"A{i}", "payable_fen": 100, "bucket": i % 256} for i in range(300)]
    night(database, 1, lines(*many), [f"X{i}" for i in range(300)])
    night(database, 2, lines({"agreement_no": "X5", "account_no": "A5", "payable_fen": 90}), ["X5"])
    assert verify(database, CENTRE, run_no=2, rolling=40) == []
    victim = "(SELECT posting_no FROM posting WHERE agreement_no = 'X200')"
    tamper(database, f"UPDATE posting SET amount_fen = 7, due_fen = 7 WHERE posting_no = {victim}")
    found = {day: {f.agreement_no for f in verify(database, CENTRE, run_no=2, rolling=40, on=DAY.replace(day=day))} for day in range(1, 31)}
    named = [day for day, agreements in found.items() if "X200" in agreements]
    assert named, "within the time it takes to come round, the old breach is found"
    assert any("X200" not in agreements for agreements in found.values()), "one night does not read everything"
    assert "X200" in {f.agreement_no for f in verify(database, CENTRE, touched=["X200"], rolling=0)}


def test_the_cost_of_a_night_does_not_grow_with_history(tmp_path: object) -> None:
    db = Database(f"sqlite:///{tmp_path}/ledger.db")
    db.migrate()
    costs = []
    for day in range(1, 41):
        rows = [{"agreement_no": f"X{day}-{i}", "account_no": f"A{i}", "payable_fen": 100 + i} for i in range(100)]
        night(db, day, lines(*rows), [str(row["agreement_no"]) for row in rows])
        with db.transaction_system() as conn:
            items = {f"P{day}-{i}": {(str(row["agreement_no"]), str(row["account_no"]), "S1"): 100 + i} for i, row in enumerate(rows)}
            pay(conn, items, day)
            for number in items:
                event(conn, number, "confirmed", day)
            payments.book_confirmed(conn, run_of(day), CHART, list(items), DAY)
        if day in (10, 40):
            costs.append(steps_of(db, lambda conn, day=day: verify(conn, CENTRE, run_no=day, rolling=200)))
    assert costs[1] < 1.3 * costs[0]
    assert steps_of(db, lambda conn: verify(conn, CENTRE)) > 5 * costs[1]
    db.dispose()


def steps_of(db: Database, work: Callable[[Connection], object]) -> int:
    """Thousands of steps that SQLite's machine takes: a measure of work that no other load disturbs."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    with db.read() as conn:
        driver: Any = conn.connection.driver_connection
        driver.set_progress_handler(count, 1000)
        work(conn)
        driver.set_progress_handler(None, 0)
    return steps
