"""Receivables: aged, partly recovered, written off by two people, shown until they are zero."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
import sqlalchemy as sa
from ledger_house import CENTRE, CHART, DAY, accounts, event, journal, lines, night, opening, pay, run_of

from subsidy.errors import TerminalError
from subsidy.ledger import payments, postings, tables
from subsidy.ledger import write_off_desk as desk
from subsidy.ledger.database import Database
from subsidy.ledger.receivables import receivables, write_off
from subsidy.ledger.verify import verify

KEY = ("X1", "A1", "S1")
AT = "2026-09-20T10:00:00+08:00"


def paid(db: Database, fen: int = 1_000) -> None:
    """A line of 1,000 fen that is paid."""
    night(db, 1, lines({"payable_fen": fen}))
    with db.transaction_system() as conn:
        pay(conn, {"P1": {KEY: fen}}, 1)
        event(conn, "P1", "confirmed", 1)
        payments.book_confirmed(conn, run_of(1), CHART, ["P1"], DAY)


def collect(db: Database, number: str, fen: int, day: int, state: str) -> None:
    with db.transaction_system() as conn:
        pay(conn, {number: {KEY: -fen}}, day, "in")
        if state:
            event(conn, number, state, day)
        if state == "confirmed":
            payments.book_collected(conn, run_of(day), CHART, [number], DAY + timedelta(days=day))


def shown(db: Database, as_of: date) -> list[dict[str, object]]:
    with db.read() as conn:
        return receivables(conn, CENTRE, as_of).to_pylist()


def test_a_receivable_is_shown_with_its_age_until_it_is_zero(database: Database) -> None:
    paid(database)
    assert shown(database, DAY + timedelta(days=400)) == []
    night(database, 2, lines({"payable_fen": 700}))
    night(database, 100, lines({"payable_fen": 600}), openings=opening(50))
    collect(database, "P2", 120, 110, "confirmed")
    collect(database, "P3", 30, 111, "")
    (row,) = shown(database, DAY + timedelta(days=120))
    assert row == {
        "agreement_no": "X1", "receivable_fen": 330, "in_process_fen": 30, "since_on": DAY + timedelta(days=2), "age_days": 118,
        "raised_fen": 450, "restored_fen": 0, "recovered_fen": 120, "written_off_fen": 0,
        "age_to_30_fen": 150, "age_to_90_fen": 0, "age_to_180_fen": 180, "age_to_365_fen": 0, "age_over_365_fen": 0,
    }  # fmt: skip
    (then,) = shown(database, DAY + timedelta(days=50))
    assert (then["receivable_fen"], then["age_to_90_fen"]) == (300, 300)
    collect(database, "P4", 150, 112, "confirmed")
    (last,) = shown(database, DAY + timedelta(days=120))
    assert (last["receivable_fen"], last["since_on"], last["age_to_30_fen"]) == (180, DAY + timedelta(days=2), 150)
    night(database, 113, lines({"payable_fen": 700}), openings=opening(0))
    (left,) = shown(database, DAY + timedelta(days=120))
    assert (left["receivable_fen"], left["restored_fen"], left["in_process_fen"]) == (30, 150, 30)
    with database.transaction_system() as conn:
        event(conn, "P3", "confirmed", 114)
        payments.book_collected(conn, run_of(114), CHART, ["P3"], DAY + timedelta(days=114))
    assert shown(database, DAY + timedelta(days=120)) == []
    with database.read() as conn:
        (settled,) = receivables(conn, CENTRE, DAY + timedelta(days=120), include_settled=True).to_pylist()
        assert settled["recovered_fen"] == 300 and settled["receivable_fen"] == 0
        assert accounts(conn)["receivable"] == 0


def test_a_write_off_needs_two_people_a_reason_and_an_open_amount(database: Database) -> None:
    paid(database)
    night(database, 2, lines({"payable_fen": 700}))
    collect(database, "P2", 100, 2, "")

    def attempt(fen: int, first: str = "张三", second: str = "李四", reason: str = "查无此人") -> str:
        with pytest.raises(TerminalError) as caught, database.transaction_system() as conn:
            write_off(conn, run_of(2), CHART, "X1", fen, requested_by=first, approved_by=second, reason=reason, at=AT)
        return caught.value.message.code

    assert attempt(100, second="张三") == "WRITE-OFF-ONE"
    assert attempt(100, second="") == "WRITE-OFF-ONE"
    assert attempt(100, reason=" ") == "WRITE-OFF-REASON"
    assert attempt(0) == attempt(-5) == attempt(201) == "WRITE-OFF-MUCH"
    with database.transaction_system() as conn:
        assert write_off(conn, run_of(2), CHART, "X1", 150, requested_by="张三", approved_by="李四", reason="查无此人", at=AT) == 1
    assert attempt(51) == "WRITE-OFF-MUCH"
    (row,) = shown(database, DAY + timedelta(days=3))
    assert (row["receivable_fen"], row["written_off_fen"], row["in_process_fen"]) == (150, 150, 100)
    with database.read() as conn:
        assert journal(conn)[-1] == ("write_off", 150)
        acts = conn.execute(
            sa.select(tables.audit.c.person, tables.audit.c.act, tables.audit.c.subject).order_by(tables.audit.c.audit_no)
        ).all()
        assert [tuple(a) for a in acts] == [("张三", "write_off", "write_off:1"), ("李四", "approve", "write_off:1")]
        assert postings.due_lines(conn, CENTRE)["due_fen"].to_pylist() == [-50]
    assert verify(database, CENTRE) == []


def test_a_write_off_gives_way_when_the_line_rises_so_that_nothing_is_paid_twice(database: Database) -> None:
    paid(database)
    night(database, 2, lines({"payable_fen": 700}))
    with database.transaction_system() as conn:
        write_off(conn, run_of(2), CHART, "X1", 300, requested_by="张三", approved_by="李四", reason="r", at=AT)
    night(database, 3, lines({"payable_fen": 900}))
    with database.read() as conn:
        assert postings.due_lines(conn, CENTRE).num_rows == 0, "the borrower kept the 300; 200 of it are his again"
        assert accounts(conn) == {"expense": 900, "payable": 0, "receivable": 0, "cash": -1_000, "write_off": 100, "opening": 0}
    night(database, 4, lines({"payable_fen": 1_050}))
    with database.read() as conn:
        assert postings.due_lines(conn, CENTRE)["due_fen"].to_pylist() == [50]
        assert accounts(conn) == {"expense": 1_050, "payable": -50, "receivable": 0, "cash": -1_000, "write_off": 0, "opening": 0}
        assert journal(conn)[-3:] == [("unwrite", 100), ("accrue", 50), ("restore", 100)]
    assert verify(database, CENTRE) == []


def test_a_write_off_of_what_was_never_paid_gives_way_when_the_payment_fails(database: Database) -> None:
    night(database, 1, lines({"payable_fen": 1_000}))
    with database.transaction_system() as conn:
        pay(conn, {"P1": {KEY: 1_000}}, 1)
    night(database, 2, lines({"payable_fen": 0}))
    with database.transaction_system() as conn:
        write_off(conn, run_of(2), CHART, "X1", 400, requested_by="张三", approved_by="李四", reason="r", at=AT)
        event(conn, "P1", "failed", 2)
        payments.book_failed(conn, run_of(2), CHART, ["P1"])
    with database.read() as conn:
        assert postings.due_lines(conn, CENTRE).num_rows == 0
        assert set(accounts(conn).values()) == {0}
    assert verify(database, CENTRE) == []


def test_a_write_off_is_asked_for_by_one_and_answered_by_another(database: Database) -> None:
    paid(database)
    night(database, 2, lines({"payable_fen": 700}))
    run = run_of(2)
    with database.transaction_system() as conn:
        with pytest.raises(TerminalError):
            desk.request(conn, CENTRE, "X1", 301, person="张三", reason="查无此人", at=AT)
        with pytest.raises(TerminalError):
            desk.request(conn, CENTRE, "X1", 300, person="张三", reason="", at=AT)
        with pytest.raises(TerminalError, match="没有这个协议：X9"):
            desk.request(conn, CENTRE, "X9", 300, person="张三", reason="查无此人", at=AT)
        first = desk.request(conn, CENTRE, "X1", 200, person="张三", reason="查无此人", at=AT)
        second = desk.request(conn, CENTRE, "X1", 150, person="张三", reason="查无此人", at=AT)
        shown_hash = {row["request_no"]: row["content_hash"] for row in desk.waiting(conn, CENTRE)}
        assert list(shown_hash) == [first, second]

        def say(number: int, person: str, said: str = "approve", content_hash: str = "") -> desk.WriteOffAnswer:
            seen = content_hash or shown_hash[number]
            return desk.answer(conn, run, CHART, number, person=person, answer=said, content_hash=seen, at=AT)  # type: ignore[arg-type]

        assert say(first, "张三").state == say(first, "李四", content_hash="other").state == "waiting"
        done = say(first, "李四")
        assert (done.state, done.write_off_no) == ("written_off", 1)
        with pytest.raises(TerminalError) as caught:
            say(first, "李四")
        assert caught.value.message.code == "WRITE-OFF-UNKNOWN"
        with pytest.raises(TerminalError) as caught:
            say(second, "李四")
        assert caught.value.message.code == "WRITE-OFF-MUCH"
    with database.transaction_system() as conn:
        assert (
            desk.answer(conn, run, CHART, second, person="李四", answer="reject", content_hash=shown_hash[second], at=AT).state
            == "rejected"
        )
        assert desk.waiting(conn, CENTRE) == []
        answers = conn.execute(sa.select(tables.approval.c.person, tables.approval.c.answer).order_by(tables.approval.c.approval_no)).all()
        assert [tuple(a) for a in answers] == [("张三", "refused"), ("李四", "refused"), ("李四", "approve"), ("李四", "reject")]
        assert accounts(conn)["write_off"] == 200
    assert verify(database, CENTRE) == []
