"""Postings by difference: examples of every kind of change, their causes and their journal."""

from __future__ import annotations

from datetime import date, timedelta

import pyarrow as pa
import pytest
import sqlalchemy as sa
from ledger_house import CENTRE, CHART, DAY, SCHEME, accounts, event, journal, lines, night, open_run, opening, pay, run_of

from subsidy.errors import TerminalError
from subsidy.ledger import payments, postings, tables
from subsidy.ledger.database import Database
from subsidy.ledger.postings import CAUSES, Part

KEY = ("X1", "A1", "S1")


def stored(db: Database) -> list[tuple[object, ...]]:
    """(serial, seq, kind, amount, due, corrects) of all postings."""
    p = tables.posting
    with db.read() as conn:
        rows = conn.execute(sa.select(p.c.serial_no, p.c.seq, p.c.kind, p.c.amount_fen, p.c.due_fen, p.c.corrects).order_by(p.c.posting_no))
        return [tuple(row) for row in rows]


def test_first_posting_and_nothing_again(database: Database) -> None:
    given = lines({"payable_fen": 37_500}, {"serial_no": "S2", "payable_fen": 0, "outcome": "hold"})
    result = night(database, 1, given)
    assert (result.accruals, result.postings, result.raised_fen, result.entries) == (1, 1, 37_500, 1)
    again = night(database, 2, given)
    assert again.postings == 0 and again.hash == "" and again.block_no == 0
    assert stored(database) == [("S1", 0, "accrual", 37_500, 37_500, None)]
    with database.read() as conn:
        assert journal(conn) == [("accrue", 37_500)]
        p = conn.execute(sa.select(tables.posting)).mappings().one()
    assert (p["rule_version"], p["policy_version"], p["run_no"], p["file_no"], p["line_no"]) == ("hangzhou@1", "policy-1", 1, 1, 2)


def test_corrections_are_linked_and_a_missing_line_goes_to_zero(database: Database) -> None:
    night(database, 1, lines({"payable_fen": 300}, {"serial_no": "S2", "payable_fen": 50}))
    night(database, 2, lines({"payable_fen": 400}, {"serial_no": "S2", "payable_fen": 50}))
    night(database, 3, lines({"serial_no": "S2", "payable_fen": 20}))
    result = night(database, 4, lines({"payable_fen": 300, "line_no": 9}, {"serial_no": "S2", "payable_fen": 20}))
    assert (result.top_ups, result.raised_fen) == (1, 300)
    assert stored(database) == [
        ("S1", 0, "accrual", 300, 300, None),
        ("S2", 0, "accrual", 50, 50, None),
        ("S1", 1, "top_up", 100, 400, 1),
        ("S1", 2, "recovery", -400, 0, 3),
        ("S2", 1, "recovery", -30, 20, 2),
        ("S1", 3, "top_up", 300, 300, 4),
    ]
    with database.read() as conn:
        assert journal(conn) == [("accrue", 300), ("accrue", 50), ("accrue", 100), ("reduce", 400), ("reduce", 30), ("accrue", 300)]
        assert accounts(conn)["payable"] == -320


def test_an_agreement_without_lines_goes_to_zero_and_others_are_left_alone(database: Database) -> None:
    night(database, 1, lines({"payable_fen": 300}, {"agreement_no": "X2", "payable_fen": 50}), ("X1", "X2"))
    result = night(database, 2, lines(), ("X2",))
    assert (result.recoveries, result.lowered_fen) == (1, 50)
    with database.read() as conn:
        due = postings.due_lines(conn, CENTRE)
    assert due.select(["agreement_no", "due_fen"]).to_pylist() == [{"agreement_no": "X1", "due_fen": 300}]


def test_paid_then_lowered_is_a_receivable_and_raised_again_restores(database: Database) -> None:
    night(database, 1, lines({"payable_fen": 300}))
    with database.transaction_system() as conn:
        pay(conn, {"P1": {KEY: 300}}, 1)
        event(conn, "P1", "confirmed", 1)
        assert payments.book_confirmed(conn, run_of(1), CHART, ["P1"], DAY) == 1
        assert payments.book_confirmed(conn, run_of(1), CHART, ["P1"], DAY) == 0
    night(database, 2, lines({"payable_fen": 200}))
    night(database, 3, lines({"payable_fen": 350}))
    with database.read() as conn:
        assert journal(conn) == [("accrue", 300), ("pay", 300), ("overpaid", 100), ("accrue", 50), ("restore", 100)]
        assert accounts(conn) == {"expense": 350, "payable": -50, "receivable": 0, "cash": -300, "write_off": 0, "opening": 0}
        due = postings.due_lines(conn, CENTRE)
    assert due.select(["due_fen", "kind", "live_fen"]).to_pylist() == [{"due_fen": 50, "kind": "top_up", "live_fen": 300}]


def test_partly_paid_is_reduced_first_and_then_overpaid(database: Database) -> None:
    night(database, 1, lines({"payable_fen": 300}))
    with database.transaction_system() as conn:
        pay(conn, {"P1": {KEY: 250}}, 1)
    night(database, 2, lines({"payable_fen": 100}))
    with database.read() as conn:
        assert journal(conn) == [("accrue", 300), ("reduce", 50), ("overpaid", 150)]
        assert postings.due_lines(conn, CENTRE).select(["due_fen", "kind"]).to_pylist() == [{"due_fen": -150, "kind": "recovery"}]


def test_a_failed_payment_of_a_lowered_line_leaves_no_receivable(database: Database) -> None:
    night(database, 1, lines({"payable_fen": 300}))
    with database.transaction_system() as conn:
        pay(conn, {"P1": {KEY: 300}}, 1)
    night(database, 2, lines({"payable_fen": 100}))
    with database.transaction_system() as conn:
        event(conn, "P1", "failed", 3)
        assert payments.book_failed(conn, run_of(3), CHART, ["P1"]) == 1
    with database.read() as conn:
        assert journal(conn) == [("accrue", 300), ("overpaid", 200), ("reclass", 200)]
        assert accounts(conn)["payable"] == -100
        assert postings.due_lines(conn, CENTRE)["due_fen"].to_pylist() == [100]


def test_a_failed_payment_of_an_unchanged_line_books_nothing(database: Database) -> None:
    night(database, 1, lines({"payable_fen": 300}))
    with database.transaction_system() as conn:
        pay(conn, {"P1": {KEY: 300}}, 1)
        assert payments.book_failed(conn, run_of(1), CHART, ["P1"]) == 0
        event(conn, "P1", "failed", 1)
    with database.read() as conn:
        assert journal(conn) == [("accrue", 300)]


def test_a_return_reverses_the_payment_and_its_netting(database: Database) -> None:
    night(database, 1, lines({"payable_fen": 300}))
    with database.transaction_system() as conn:
        pay(conn, {"P1": {KEY: 300}}, 1)
        event(conn, "P1", "confirmed", 1)
        payments.book_confirmed(conn, run_of(1), CHART, ["P1"], DAY)
    night(database, 2, lines({"payable_fen": 200}, {"serial_no": "S2", "payable_fen": 500}))
    with database.transaction_system() as conn:
        pay(conn, {"P2": {KEY: -100, ("X1", "A1", "S2"): 500}}, 2)
        event(conn, "P2", "confirmed", 2)
        payments.book_confirmed(conn, run_of(2), CHART, ["P2"], {"P2": DAY + timedelta(days=9)})
        assert accounts(conn) == {"expense": 700, "payable": 0, "receivable": 0, "cash": -700, "write_off": 0, "opening": 0}
        event(conn, "P2", "returned", 3)
        assert payments.book_returned(conn, run_of(3), CHART, ["P2"], DAY) == 1
        assert payments.book_returned(conn, run_of(3), CHART, ["P2"], DAY) == 0
        assert accounts(conn) == {"expense": 700, "payable": -500, "receivable": 100, "cash": -300, "write_off": 0, "opening": 0}
        with pytest.raises(TerminalError) as caught:
            payments.book_returned(conn, run_of(3), CHART, ["P9"], DAY)
        assert caught.value.message.code == "BOOK-UNCONFIRMED"
    with database.read() as conn:
        assert journal(conn)[-4:] == [("pay", 400), ("net", 100), ("return_net", 100), ("return", 400)]
        j = tables.journal
        assert conn.execute(sa.select(j.c.entry_on).where(j.c.reason == "net")).scalar_one() == DAY + timedelta(days=9)


def test_a_receivable_of_one_agreement_taken_from_another(database: Database) -> None:
    other = ("X2", "A2", "S1")
    night(database, 1, lines({"payable_fen": 300}))
    with database.transaction_system() as conn:
        pay(conn, {"P1": {KEY: 300}}, 1)
        event(conn, "P1", "confirmed", 1)
        payments.book_confirmed(conn, run_of(1), CHART, ["P1"], DAY)
    night(database, 2, lines({"payable_fen": 0}, {"agreement_no": "X2", "account_no": "A2", "payable_fen": 500}), ("X1", "X2"))
    with database.transaction_system() as conn:
        pay(conn, {"P2": {KEY: -300, other: 500}}, 2)
        event(conn, "P2", "confirmed", 2)
        payments.book_confirmed(conn, run_of(2), CHART, ["P2"], DAY)
        assert accounts(conn) == {"expense": 500, "payable": 0, "receivable": 0, "cash": -500, "write_off": 0, "opening": 0}
        assert postings.due_lines(conn, CENTRE).num_rows == 0


def test_the_opening_receivable_is_posted_once_and_corrected(database: Database) -> None:
    result = night(database, 1, lines(), openings=opening(8_000))
    assert (result.openings, result.lowered_fen) == (1, 8_000)
    night(database, 2, lines(), openings=opening(8_000))
    night(database, 3, lines())
    night(database, 4, lines(), openings=opening(5_000))
    assert stored(database) == [("OPENING", 0, "opening", -8_000, -8_000, None), ("OPENING", 1, "opening", 3_000, -5_000, 1)]
    with database.read() as conn:
        assert journal(conn) == [("opening", 8_000), ("opening_less", 3_000)]
        assert accounts(conn)["receivable"] == 5_000
        assert postings.due_lines(conn, CENTRE).select(["due_fen", "kind", "serial_no"]).to_pylist() == [
            {"due_fen": -5_000, "kind": "recovery", "serial_no": "OPENING"}
        ]


def test_lines_settled_by_the_old_system_are_never_posted(database: Database) -> None:
    settled = {"serial_no": "S0", "outcome": "opening", "payable_fen": 999}
    night(database, 1, lines(settled, {"payable_fen": 300}))
    assert [row[0] for row in stored(database)] == ["S1"]
    result = night(database, 2, lines(settled, {"payable_fen": 300, "outcome": "opening"}))
    assert [f.code for f in result.findings] == ["OPENING-POSTED"]
    assert len(stored(database)) == 1


def test_changed_opening_lines_are_findings() -> None:
    old = lines({"outcome": "opening", "payable_fen": 100}, {"serial_no": "S2", "outcome": "opening", "payable_fen": 5})
    new = lines(
        {"outcome": "opening", "payable_fen": 90}, {"serial_no": "S2", "outcome": "opening", "payable_fen": 5},
        {"serial_no": "S3", "outcome": "opening", "payable_fen": 7}, {"agreement_no": "X2", "outcome": "opening", "payable_fen": 7},
    )  # fmt: skip
    found = postings.opening_findings(old, new)
    assert [(f.code, f.serial_no) for f in found] == [("OPENING-CHANGED", "S1"), ("OPENING-CHANGED", "S3")]
    assert "1.00 元" in found[0].what and "0.90 元" in found[0].what and "无" in found[1].what
    assert postings.opening_findings(new, new) == []


@pytest.mark.parametrize("fact", [{"interest_fen": 7}, {"base_principal_fen": 7}, {"rate_ppm": 7}, {"accrual_from": date(2026, 7, 1)}])
def test_a_corrected_opening_line_without_a_figure_is_a_finding(fact: dict[str, object]) -> None:
    """Beside a shadow that the opening gives, lines before it have no figure: what was corrected tells that they changed."""
    settled = {"outcome": "opening", "payable_fen": 0}
    found = postings.opening_findings(lines(settled), lines(settled | fact))
    assert [(f.code, f.serial_no) for f in found] == [("OPENING-CHANGED", "S1")]


def causes(*rows: tuple[str, int, str, int | None]) -> pa.Table:
    """Causes (serial, ordinal, cause, amount)."""
    return pa.Table.from_pylist(
        [
            dict(
                zip(("agreement_no", "account_no"), KEY, strict=False),
                serial_no=s,
                ordinal=o,
                cause=c,
                amount_fen=a,
                file_no=3,
                line_no=4,
                text=c,
            )
            for s, o, c, a in rows
        ],
        schema=CAUSES,
    )


def test_causes_split_the_amount_in_their_order(database: Database) -> None:
    night(database, 1, lines({"payable_fen": 300}, {"serial_no": "S2", "payable_fen": 80}, {"serial_no": "S3", "payable_fen": 10}))
    now = lines({"payable_fen": 100}, {"serial_no": "S2", "payable_fen": 90}, {"serial_no": "S3", "payable_fen": 12})
    given = causes(("S1", 2, "policy", 50), ("S1", 1, "prepayment", -250), ("S2", 1, "correction", None), ("S9", 1, "status", 7))
    with database.read() as conn:
        shown = postings.preview(conn, CENTRE, SCHEME, now, ["X1"], causes=given)
    assert shown.select(["serial_no", "old_fen", "new_fen", "delta_fen", "ordinal", "cause", "cause_fen"]).to_pylist() == [
        {"serial_no": "S1", "old_fen": 300, "new_fen": 100, "delta_fen": -200, "ordinal": 1, "cause": "prepayment", "cause_fen": -250},
        {"serial_no": "S1", "old_fen": 300, "new_fen": 100, "delta_fen": -200, "ordinal": 2, "cause": "policy", "cause_fen": 50},
        {"serial_no": "S2", "old_fen": 80, "new_fen": 90, "delta_fen": 10, "ordinal": 1, "cause": "correction", "cause_fen": 10},
        {"serial_no": "S3", "old_fen": 10, "new_fen": 12, "delta_fen": 2, "ordinal": 0, "cause": "", "cause_fen": 2},
    ]
    assert len(stored(database)) == 3, "a preview writes nothing"
    night(database, 2, now, causes=given)
    c = tables.posting_cause
    with database.read() as conn:
        query = sa.select(c.c.posting_no, c.c.ordinal, c.c.cause, c.c.amount_fen).order_by(c.c.posting_no, c.c.ordinal)
        rows = [tuple(row) for row in conn.execute(query)]
    assert rows == [(4, 1, "prepayment", -250), (4, 2, "policy", 50), (5, 1, "correction", 10), (6, 1, "recomputed", 2)]


@pytest.mark.parametrize("amounts", [(-250, 49), (None, 50)])
def test_causes_that_do_not_add_up_are_refused(database: Database, amounts: tuple[int | None, int]) -> None:
    night(database, 1, lines({"payable_fen": 300}))
    with pytest.raises(TerminalError) as caught:
        night(database, 2, lines({"payable_fen": 100}), causes=causes(("S1", 1, "prepayment", amounts[0]), ("S1", 2, "policy", amounts[1])))
    assert caught.value.message.code == "POST-CAUSE"
    assert len(stored(database)) == 1


def test_a_line_that_comes_twice_is_refused(database: Database) -> None:
    with pytest.raises(TerminalError) as caught:
        night(database, 1, lines({"payable_fen": 300}, {"payable_fen": 300}))
    assert caught.value.message.code == "POST-TWICE"


def test_a_line_outside_the_named_agreements_is_refused(database: Database) -> None:
    with pytest.raises(TerminalError) as caught:
        night(database, 1, lines({"payable_fen": 300}), ("X2",))
    assert caught.value.message.code == "POST-SCOPE"


def test_an_earlier_date_is_refused(database: Database) -> None:
    night(database, 1, lines())
    night(database, 2, lines())
    with pytest.raises(TerminalError) as caught, database.transaction_system() as conn:
        postings.post(conn, run_of(1), SCHEME, CHART, Part(lines({"payable_fen": 1}), ["X1"]))
    assert caught.value.message.code == "POST-PAST"


def test_how_a_centre_is_cut_into_parts_changes_nothing(database: Database) -> None:
    numbers = range(60)
    rows = [
        {"agreement_no": f"X{i}", "account_no": f"A{i}", "serial_no": f"S{j}", "bucket": i % 7, "payable_fen": 100 + i + j}
        for i in numbers for j in range(3)
    ]  # fmt: skip
    every = lines(*rows)
    results = []
    for cut in (1, 3, 7):
        parts = []
        for group in range(cut):
            buckets = [b for b in range(7) if b * cut // 7 == group]
            chosen = every.filter(pa.array([r["bucket"] in buckets for r in rows]))
            parts.append(Part(chosen, [f"X{i}" for i in numbers if i % 7 in buckets]))
        with pytest.raises(ZeroDivisionError), database.transaction_system() as conn:
            run = open_run(conn, 1)
            results.append(postings.post(conn, run, SCHEME, CHART, iter(parts)))
            raise ZeroDivisionError
    assert {r.hash for r in results} == {results[0].hash} and results[0].postings == 180


def test_both_databases_give_the_same_hash(tmp_path: object, postgres_url: str) -> None:
    hashes = []
    for url in (f"sqlite:///{tmp_path}/ledger.db", postgres_url):
        db = Database(url)
        db.migrate()
        night(db, 1, lines({"payable_fen": 300}, {"serial_no": "S2", "payable_fen": 80}), openings=opening(70))
        hashes.append(night(db, 2, lines({"payable_fen": 100}), causes=causes(("S1", 1, "prepayment", None))).hash)
        db.dispose()
    assert hashes[0] == hashes[1] != ""


def test_the_database_itself_refuses_a_second_entitlement_and_a_second_booking(database: Database) -> None:
    night(database, 1, lines({"payable_fen": 300}))
    p, j = tables.posting, tables.journal
    with database.read() as conn:
        posting = dict(conn.execute(sa.select(p)).mappings().one())
        entry = dict(conn.execute(sa.select(j)).mappings().one())
    for table, row in (
        (p, posting | {"posting_no": 2}),
        (p, posting | {"posting_no": 2, "seq": 1}),
        (p, posting | {"posting_no": 2, "serial_no": "S2", "amount_fen": 0, "due_fen": 0}),
        (p, posting | {"posting_no": 2, "serial_no": "S2", "due_fen": 299}),
        (p, posting | {"posting_no": 2, "serial_no": "S2", "due_fen": -300, "amount_fen": -300}),
        (j, entry | {"entry_no": 2, "amount_fen": 0}),
        (j, entry | {"entry_no": 2, "amount_fen": -5}),
        (j, entry | {"entry_no": 2, "credit_account": entry["debit_account"]}),
    ):
        with pytest.raises(TerminalError) as caught, database.transaction_system() as conn:
            conn.execute(sa.insert(table).values(**row))
        assert caught.value.message.code == "DB-REFUSED"
    with pytest.raises(TerminalError) as caught, database.transaction_system() as conn:
        for number in (2, 3):
            conn.execute(sa.insert(j).values(**(entry | {"entry_no": number, "reason": "pay", "payment_no": "P1"})))
    assert caught.value.message.code == "DB-REFUSED"
