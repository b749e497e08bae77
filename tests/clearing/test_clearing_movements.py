"""Account movements: debits confirm, returns are found, strangers are skipped, what does not fit is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa
from clearing_house import NOVEMBER, OCTOBER, SEPTEMBER, House

from subsidy.clearing import reconcile
from subsidy.clearing.reconcile import CLASSES, three_way
from subsidy.ledger import tables, verify

NewHouse = Callable[..., House]
NIGHT, DAY = date(2026, 9, 20), date(2026, 9, 21)
FEN = {1: 30000, 2: 30100}
NUMBER = {1: "TX2026090000000001", 2: "TX2026090000000002"}


def sent(house: House) -> House:
    house.night(NIGHT, {f"X{i}": {"S1": fen} for i, fen in FEN.items()})
    house.send(SEPTEMBER)
    return house


def row(house: House, n: int = 1, sign: int = -1, **changed: Any) -> dict[str, Any]:
    """The movement of payment `n`: its debit, or with sign 1 its return."""
    base = {
        "host_serial": f"H0001{n:08d}", "account": house.payee_of(f"X{n}")[0], "amount": sign * FEN[n], "summary": f"贷款贴息 {NUMBER[n]}",
        "remark": "",
    }  # fmt: skip
    return base | changed


def moved(house: House) -> list[tuple[str, int, str]]:
    m = tables.movement
    with house.db.read() as conn:
        return [(r["class"], r["amount_fen"], r["payment_no"]) for r in conn.execute(sa.select(m).order_by(m.c.movement_no)).mappings()]


def codes(house: House) -> list[str]:
    f = tables.finding
    with house.db.read() as conn:
        return list(conn.execute(sa.select(f.c.code).where(f.c.stage == "result").order_by(f.c.finding_no)).scalars())


def classes(house: House) -> list[str]:
    with house.db.read() as conn:
        return sorted(d.kind for d in three_way(conn, house.centre).differences)


def test_debits_of_confirmed_payments_reconcile(house: House) -> None:
    sent(house)
    house.answer(house.batches("2026-09")[0])
    house.read(DAY)
    assert classes(house) == ["timing", "timing"]
    house.statement([row(house, 1), row(house, 2), {"host_serial": "Z1", "account": "1", "amount": -5, "summary": "手续费"}], DAY)
    found = house.read(DAY)
    assert (found.movements, found.applied.total) == ({"debit": 2}, 0)
    assert classes(house) == []
    assert verify.verify(house.db, house.centre) == []


def test_debit_confirms_an_open_payment(house: House) -> None:
    """The result file was lost; the statement is proof enough."""
    sent(house)
    house.statement([row(house, 1, date=date(2026, 9, 22))], date(2026, 9, 22))
    assert house.read(date(2026, 9, 22)).applied.confirmed == 1
    assert house.states() == ["confirmed", "sent"]
    assert house.payments()[0]["event_on"] == date(2026, 9, 22)
    assert house.accounts()["cash"] == -FEN[1]
    # The result file turns up after all and agrees.
    house.answer(house.batches("2026-09")[0], {2: "failed"})
    assert house.read(DAY).applied.failed == 1
    assert house.states() == ["confirmed", "failed"]
    assert verify.verify(house.db, house.centre) == []


@pytest.mark.parametrize("how", ["serial", "number in summary", "number in remark"])
def test_return_is_found_and_paid_again(house: House, how: str) -> None:
    sent(house)
    house.answer(house.batches("2026-09")[0])
    house.statement([row(house, 1), row(house, 2)], DAY)
    house.read(DAY)
    by = {
        "serial": row(house, 1, 1, summary="退汇"),
        "number in summary": row(house, 1, 1, host_serial="R1"),
        "number in remark": row(house, 1, 1, host_serial="R1", summary="退汇", remark=f"原{NUMBER[1]}"),
    }[how]
    house.statement([by], date(2026, 9, 28), 2)
    found = house.read(date(2026, 9, 28))
    assert (found.applied.returned, found.movements) == (1, {"return": 1})
    assert house.states() == ["returned", "confirmed"]
    assert house.accounts() == {"expense": 60100, "payable": -30000, "cash": -30100}
    assert classes(house) == ["return"]
    house.night(OCTOBER.night, {"X1": {"S2": 1}})
    house.send(OCTOBER)
    last = house.payments()[-1]
    assert (last["amount_fen"], last["replaces"], last["attempt"]) == (30001, NUMBER[1], 2)
    assert verify.verify(house.db, house.centre) == []


def test_serial_that_a_bank_uses_again_on_another_day_is_another_movement(house: House) -> None:
    house.night(NIGHT, {"X1": {"S1": 30000}, "X2": {"S1": 30000}})
    house.send(SEPTEMBER)
    house.answer(house.batches("2026-09")[0])
    house.read(DAY)
    back = {n: row(house, n, 1, amount=30000, host_serial="R1", date=date(2026, 9, 21 + n)) for n in (1, 2)}
    house.statement([back[1]], date(2026, 9, 22))
    house.read(date(2026, 9, 22))
    house.statement([back[1], back[2]], date(2026, 9, 23))  # the next statement begins with the day before
    found = house.read(date(2026, 9, 23))
    assert (found.applied.returned, found.movements) == (1, {"return": 1})
    assert house.states() == ["returned", "returned"]
    assert verify.verify(house.db, house.centre) == []


def test_payment_and_return_in_one_statement_without_a_result(house: House) -> None:
    sent(house)
    house.statement([row(house, 1), row(house, 1, 1, host_serial="R1")], DAY)
    found = house.read(DAY)
    assert (found.applied.confirmed, found.applied.returned) == (1, 1)
    assert house.states() == ["returned", "sent"]
    assert house.accounts() == {"expense": 60100, "payable": -60100}
    # Whatever the result file says of it now, the money is back.
    house.answer(house.batches("2026-09")[0], {1: "failed"})
    assert house.read(DAY).blocked == 0
    assert house.states() == ["returned", "confirmed"]


def test_failed_payment_that_was_debited_and_given_back(house: House) -> None:
    sent(house)
    house.answer(house.batches("2026-09")[0], {1: "failed"})
    house.read(DAY)
    house.statement([row(house, 1, host_serial="D1"), row(house, 2)], DAY)
    house.read(DAY)
    assert classes(house) == ["missing"]
    house.statement([row(house, 1, 1, host_serial="R1")], date(2026, 9, 22), 2)
    assert house.read(date(2026, 9, 22)).applied.total == 0
    assert house.states() == ["failed", "confirmed"]
    assert classes(house) == []
    with house.db.read() as conn:
        (batch,) = three_way(conn, house.centre).batches
    assert (batch.debit_fen, batch.bank_return_fen, batch.bank_difference_fen) == (60100, 30000, 0)


ODD: dict[str, tuple[Callable[[House], dict[str, Any]], str, str]] = {
    "return of another amount": (lambda h: row(h, 1, 1, amount=29999, host_serial="R1"), "MOVE-MISMATCH", "amount"),
    "return from another account": (lambda h: row(h, 1, 1, account="1", host_serial="R1"), "MOVE-MISMATCH", "return"),
    "return too late": (lambda h: row(h, 1, 1, host_serial="R1", date=date(2026, 10, 2)), "MOVE-RETURN-LATE", "return"),
    "return without number": (
        lambda h: row(h, 1, 1, host_serial="R1", summary="退汇", date=date(2026, 9, 30)),
        "MOVE-RETURN-UNMATCHED",
        "unknown",
    ),
    "debit of another amount": (lambda h: row(h, 1, amount=-30001, host_serial="D9"), "MOVE-MISMATCH", "amount"),
    "debit to another account": (lambda h: row(h, 1, account="1", host_serial="D9"), "MOVE-MISMATCH", "twice"),
    "debit again": (lambda h: row(h, 1, host_serial="D9"), "MOVE-PAID-TWICE", "twice"),
    "number of nobody": (lambda h: row(h, 1, summary="TX2026099999999999", host_serial="D9"), "MOVE-UNKNOWN-NUMBER", "unknown"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_does_not_fit_is_named_and_changes_nothing(small_house: House, case: str) -> None:
    make, code, kind = ODD[case]
    house = sent(small_house)
    house.answer(house.batches("2026-09")[0])
    house.statement([row(house, 1), row(house, 2)], DAY)
    house.read(DAY)
    states, accounts = house.states(), house.accounts()
    house.statement([make(house)], date(2026, 10, 2), 2)
    found = house.read(date(2026, 10, 2))
    assert (found.movements, found.applied.total, found.blocked) == ({"unknown": 1}, 0, 0)
    assert codes(house) == [code]
    assert (house.states(), house.accounts()) == (states, accounts)
    assert classes(house) == [kind]


def _nothing(house: House) -> None:
    sent(house)


def _silent(house: House) -> None:
    sent(house)
    house.night(date(2026, 10, 2), {})


def _returned(house: House) -> None:
    sent(house)
    house.answer(house.batches("2026-09")[0])
    house.statement([row(house, 1), row(house, 2), row(house, 1, 1, host_serial="R1")], DAY)


def _odd(case: str) -> Callable[[House], None]:
    def play(house: House) -> None:
        sent(house)
        house.answer(house.batches("2026-09")[0])
        house.statement([row(house, 1), row(house, 2), ODD[case][0](house)], date(2026, 10, 2))

    return play


#: How each class of difference comes about, and whether it explains itself.
SEEN: list[tuple[str, Callable[[House], None], bool]] = [
    ("timing", _nothing, True),
    ("missing", _silent, False),
    ("return", _returned, True),
    ("return", _odd("return too late"), False),
    ("amount", _odd("debit of another amount"), False),
    ("twice", _odd("debit again"), False),
    ("unknown", _odd("number of nobody"), False),
]


@pytest.mark.parametrize(("kind", "play", "explained"), SEEN)
def test_every_class_of_difference_is_seen(small_house: House, kind: str, play: Callable[[House], None], explained: bool) -> None:
    assert {name for name, _, _ in SEEN} == set(CLASSES)
    play(small_house)
    assert small_house.read(date(2026, 10, 2)).blocked == 0
    with small_house.db.read() as conn:
        found = three_way(conn, small_house.centre)
    assert {(d.kind, d.explained) for d in found.differences} == {(kind, explained)}
    assert found.ties == explained
    assert (found.unexplained == ()) == explained == (found.unexplained_count == 0)


def test_the_first_differences_are_named_and_the_rest_is_one_sum(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "NAMED", 1)
    sent(house)
    with house.db.read() as conn:
        found = three_way(conn, house.centre)
    assert [(d.kind, d.payment_no, d.amount_fen, d.count) for d in found.differences] == [
        ("timing", NUMBER[1], FEN[1], 1),
        ("timing", "", FEN[2], 1),
    ]


def test_return_of_a_payment_that_was_never_confirmed(house: House) -> None:
    sent(house)
    house.statement([row(house, 1, 1, host_serial="R1")], DAY)
    house.read(DAY)
    assert codes(house) == ["MOVE-RETURN-UNCONFIRMED"]
    assert house.states() == ["sent", "sent"]


def test_movement_of_a_batch_that_was_never_sent(house: House) -> None:
    house.night(NIGHT, {"X1": {"S1": FEN[1]}})
    house.settle(SEPTEMBER)
    house.statement([row(house, 1)], DAY)
    house.read(DAY)
    assert codes(house) == ["MOVE-NOT-SENT"]
    assert house.states() == ["reserved"]


def test_overlapping_statements_book_once(house: House) -> None:
    sent(house)
    house.answer(house.batches("2026-09")[0])
    paid, back = [row(house, n, date=DAY) for n in (1, 2)], row(house, 1, 1, host_serial="R1", date=date(2026, 9, 23))
    house.statement(paid[:1], DAY)
    house.read(DAY)
    house.statement([*paid, back], date(2026, 9, 23), 2)
    house.read(date(2026, 9, 23))
    house.statement([paid[1], back], date(2026, 9, 24), 3)
    found = house.read(date(2026, 9, 24))
    assert (found.movements, found.applied.total) == ({}, 0)
    assert moved(house) == [("debit", -30000, NUMBER[1]), ("debit", -30100, NUMBER[2]), ("return", 30000, NUMBER[1])]


@pytest.mark.parametrize("by", ["send number", "bank batch number", "file name"])
def test_batch_moved_as_one_sum(house: House, by: str) -> None:
    sent(house)
    (batch,) = house.batches("2026-09")
    house.answer(batch)
    house.read(DAY)
    name = {"send number": batch.send_no, "bank batch number": "B000001", "file name": batch.file_name[:-4]}[by]
    house.statement([{"host_serial": "D1", "account": "内部户", "amount": -60100, "summary": f"批量付款 {name}"}], DAY)
    assert house.read(DAY).movements == {"debit": 1}
    assert classes(house) == []
    with house.db.read() as conn:
        (view,) = three_way(conn, house.centre, "2026-09").batches
    assert (view.debit_fen, view.bank_difference_fen) == (60100, 0)


def test_batch_sum_that_is_wrong(house: House) -> None:
    sent(house)
    (batch,) = house.batches("2026-09")
    house.answer(batch)
    house.statement([{"host_serial": "D1", "account": "x", "amount": -60000, "remark": batch.send_no}], DAY)
    house.read(DAY)
    assert classes(house) == ["amount"]


def test_collections(new_house: NewHouse) -> None:
    house = sent(new_house(recovery="collect"))
    house.answer(house.batches("2026-09")[0])
    house.read(DAY)
    house.night(OCTOBER.night, {"X1": {"S1": 0}, "X2": {"S1": 0}})
    house.send(OCTOBER)
    numbers = [p["payment_no"] for p in house.payments()[2:]]
    rows = [row(house, i, 1, host_serial=f"C{i}", summary=numbers[i - 1]) for i in (1, 2)]
    house.statement([rows[0]], OCTOBER.settlement_on)
    found = house.read(OCTOBER.settlement_on)
    assert (found.movements, found.applied.confirmed) == ({"collection": 1}, 1)
    assert house.states()[2:] == ["confirmed", "sent"]
    assert house.accounts() == {"receivable": 30100, "cash": -30100}
    house.statement([rows[1]], NOVEMBER.settlement_on, 2)
    house.read(NOVEMBER.settlement_on)
    assert house.accounts() == {}
    assert verify.verify(house.db, house.centre) == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"own_account": "999"}, "MOVE-NOT-OURS"),
        ({"date": date(2027, 1, 1)}, "MOVE-DATE"),
        ({"host_serial": ""}, "MOVE-SERIAL"),
    ],
)
def test_statement_that_is_refused(small_house: House, changed: dict[str, Any], code: str) -> None:
    house = sent(small_house)
    house.statement([row(house, 2), row(house, 1, **changed)], DAY)
    assert house.read(DAY).blocked == 1
    assert codes(house) == [code]
    assert moved(house) == []


def test_same_row_twice_in_a_file_is_refused(small_house: House) -> None:
    house = sent(small_house)
    house.statement([row(house, 1), row(house, 1)], DAY)
    assert house.read(DAY).blocked == 1
    assert codes(house) == ["MOVE-TWICE"]


def test_cut_statement_is_not_booked(small_house: House) -> None:
    house = sent(small_house)
    path = house.statement([row(house, 1), row(house, 2)], DAY)
    data = path.read_bytes()
    for at in range(0, len(data) - 1, 7):
        path.write_bytes(data[:at])
        assert house.read(DAY).booked == 0
    path.write_bytes(data)
    assert house.read(DAY).booked == 1


def test_failed_payment_whose_debit_did_not_come_back_is_not_paid_again_unseen(house: House) -> None:
    sent(house)
    house.answer(house.batches("2026-09")[0], {1: "failed", 2: "failed"})
    house.read(DAY)
    house.statement([row(house, 1, host_serial="D1")], DAY)
    house.read(DAY)
    house.night(OCTOBER.night, {"X3": {"S1": 100}})
    built = house.settle(OCTOBER)
    assert (built.state, built.reasons, built.sent_fen) == ("held", ("FAILED-DEBITED",), 60200)
    # The lines wait for the decision; when the money has come back, nothing is unusual any more.
    assert house.approve("2026-10", "审批甲").state == "approved"
    house.publish("2026-10")
    house.answer(house.batches("2026-10")[0], lambda n: "failed")
    house.read(OCTOBER.settlement_on)
    house.statement([row(house, 1, 1, host_serial="R1", date=date(2026, 9, 29))], OCTOBER.settlement_on)
    house.read(OCTOBER.settlement_on)
    house.night(NOVEMBER.night, {"X3": {"S2": 100}})
    built = house.settle(NOVEMBER)
    assert (built.state, built.reasons) == ("approved", ())
