"""Building settlements, on both databases: numbers, routes, retries, rejected batches, reasons why a person must look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa
from clearing_house import APPROVAL, NOVEMBER, OCTOBER, OTHER, OWN, SEPTEMBER, House

from subsidy.clearing import approval, settle
from subsidy.clearing.payees import payees_on
from subsidy.errors import TerminalError
from subsidy.facts.schema import TABLES, Facts
from subsidy.ledger import tables, verify

NewHouse = Callable[..., House]
NIGHT = date(2026, 9, 20)


def proved(house: House) -> None:
    assert verify.verify(house.db, house.centre) == []


def test_first_batch_waits_and_identity_holds(house: House) -> None:
    house.night(NIGHT, {"X1": {"S1": 30025}, "X2": {"S1": 5}})
    built = house.settle(SEPTEMBER, held={"GATE-OVERDUE": 700, "EMPTY": 0})
    assert (built.state, built.reasons, built.approvals_needed) == ("waiting", ("FIRST-BATCH",), 1)
    assert (built.computed_fen, built.sent_fen, built.netted_fen, built.carried_fen, built.held_fen) == (30730, 30030, 0, 0, 700)
    assert built.held == {"GATE-OVERDUE": 700}
    assert house.settle(SEPTEMBER) == replace(built, findings=())
    assert house.states() == ["reserved", "reserved"]
    proved(house)


def test_numbers_follow_each_other_over_routes_and_periods(house: House) -> None:
    house.payees["X2"] = ("622202", "李四", OTHER)
    house.night(NIGHT, {"X1": {"S1": 30025}, "X2": {"S1": 20000}, "X3": {"S1": 100}})
    house.send(SEPTEMBER)
    house.night(OCTOBER.night, {"X1": {"S2": 30000}, "X2": {"S2": 20000}})
    house.send(OCTOBER)
    assert [p["payment_no"] for p in house.payments()] == [
        "TX2026090000000001", "TX2026090000000002", "TX2026090000000003", "TX2026100000000004", "TX2026100000000005",
    ]  # fmt: skip
    batches = house.batches("2026-09") + house.batches("2026-10")
    assert [(b.batch_no, b.route, b.send_no, b.payment_count) for b in batches] == [
        (1, "own", "20260921000000000001", 2), (2, "other", "20260921000000000002", 1), (3, "own", "20261020000000000003", 1),
        (4, "other", "20261020000000000004", 1),
    ]  # fmt: skip
    assert [p["ordinal"] for p in house.payments()] == [1, 2, 1, 1, 1]
    proved(house)


def test_day_numbers_of_file_names_do_not_repeat(new_house: NewHouse) -> None:
    house = new_house("wenzhou")
    house.night(NIGHT, {"X1": {"S1": 30025}})
    house.send(SEPTEMBER)
    house.night(OCTOBER.night, {"X1": {"S2": 30000}})
    house.settle(replace(OCTOBER, settlement_on=SEPTEMBER.settlement_on))
    names = [b.file_name for period in ("2026-09", "2026-10") for b in house.batches(period)]
    assert names == ["req_outer_20260921_001.txt", "req_outer_20260921_002.txt"]


def test_nothing_due_is_declared_empty(house: House) -> None:
    house.night(NIGHT, {"X1": {"S1": 0}})
    built = house.settle(SEPTEMBER)
    assert (built.state, built.batches, built.content_hash, built.approvals_needed) == ("empty", (), "", 0)
    with house.db.read() as conn:
        assert conn.execute(sa.select(sa.func.count()).select_from(tables.batch)).scalar_one() == 0
    proved(house)


def test_minimum_is_carried_until_it_is_enough(new_house: NewHouse) -> None:
    house = new_house(minimum_fen=100)
    house.night(NIGHT, {"X1": {"S1": 60}})
    assert house.send(SEPTEMBER).carried == {"MINIMUM": 60}
    house.night(OCTOBER.night, {"X1": {"S2": 60}})
    built = house.send(OCTOBER)
    assert (built.sent_fen, built.carried_fen) == (120, 0)
    proved(house)


def test_unencodable_payee_is_paid_after_the_change(house: House) -> None:
    house.payees["X1"] = ("62", "李䶮", OWN)
    house.night(NIGHT, {"X1": {"S1": 60}})
    built = house.send(SEPTEMBER)
    assert (built.state, built.carried) == ("empty", {"PAYEE-NAME": 60})
    assert "“䶮”" in built.findings[0].what
    house.payees["X1"] = ("62", "李岩", OWN)
    house.night(OCTOBER.night, {"X1": {"S2": 60}})
    assert house.send(OCTOBER).sent_fen == 120


def test_cut_off_leaves_later_bookings(house: House) -> None:
    house.night(NIGHT, {"X1": {"S1": 60}})
    house.days["X1/S2"] = date(2026, 9, 21)
    house.night(date(2026, 9, 21), {"X1": {"S2": 60}})
    assert house.settle(SEPTEMBER).sent_fen == 60


def test_lowered_after_payment_is_netted_against_the_next(house: House) -> None:
    house.night(NIGHT, {"X1": {"S1": 300}})
    house.send(SEPTEMBER)
    house.answer(house.batches("2026-09")[0])
    house.read(date(2026, 9, 22))
    house.night(OCTOBER.night, {"X1": {"S1": 200, "S2": 150}})
    built = house.send(OCTOBER)
    assert (built.computed_fen, built.sent_fen, built.netted_fen) == (150, 50, 100)
    house.answer(house.batches("2026-10")[0])
    house.read(date(2026, 10, 21))
    assert house.accounts() == {"expense": 350, "cash": -350}
    proved(house)


def test_netting_alone_needs_no_bank_and_is_booked_on_publication(house: House) -> None:
    house.night(NIGHT, {"X1": {"S1": 300}})
    house.send(SEPTEMBER)
    house.answer(house.batches("2026-09")[0])
    house.read(date(2026, 9, 22))
    house.night(OCTOBER.night, {"X1": {"S1": 0, "S2": 150}})
    built = house.send(OCTOBER)
    (batch,) = built.batches
    assert (batch.direction, batch.amount_fen, batch.file_name, batch.send_no) == ("net", 0, "", "NET00000000000000002")
    assert (built.sent_fen, built.netted_fen, built.receivable_fen) == (0, 150, 150)
    assert house.states() == ["confirmed", "confirmed"]
    assert house.accounts() == {"expense": 150, "receivable": 150, "cash": -300}
    house.night(NOVEMBER.night, {"X1": {"S3": 400}})
    assert (house.send(NOVEMBER).sent_fen, house.accounts()) == (250, {"expense": 550, "receivable": 150, "cash": -300, "payable": -400})
    # The number of the netting batch is never a send number: those stay without gaps.
    assert house.batches("2026-11")[0].send_no.endswith("2")
    proved(house)


def test_collecting_centre(new_house: NewHouse) -> None:
    house = new_house("zhoushan", recovery="collect")
    house.night(NIGHT, {"X1": {"S1": 300}})
    house.send(SEPTEMBER)
    house.answer(house.batches("2026-09")[0])
    house.read(date(2026, 9, 22))
    house.night(OCTOBER.night, {"X1": {"S1": 200, "S2": 150}})
    built = house.send(OCTOBER)
    assert [(b.direction, b.profile, b.route, b.amount_fen) for b in built.batches] == [
        ("out", "header_total_fen", "single", 150),
        ("in", "bdc104", "own", 100),
    ]
    assert (built.sent_fen, built.netted_fen, built.collected_fen) == (150, 0, 100)
    notice = next(house.outbox.glob("TX_RECOVERY_*")).read_text(encoding="utf-8")
    assert "1.00" in notice
    assert house.payee_of("X1")[0] not in notice
    house.answer(house.batches("2026-10")[1])
    house.read(date(2026, 10, 21))
    assert house.accounts() == {"expense": 350, "payable": -150, "cash": -200}
    # Collected: nothing is left to collect, and nothing comes again.
    house.night(NOVEMBER.night, {"X1": {"S3": 1}})
    assert [b.direction for b in house.send(NOVEMBER).batches] == ["out"]
    proved(house)


def test_failed_payment_comes_again_under_a_new_number(house: House) -> None:
    house.night(NIGHT, {"X1": {"S1": 300}, "X2": {"S1": 400}})
    house.send(SEPTEMBER)
    house.answer(house.batches("2026-09")[0], {1: "failed"})
    house.read(date(2026, 9, 22))
    for attempt, dates in ((2, OCTOBER), (3, NOVEMBER)):
        house.night(dates.night, {"X2": {f"S{attempt}": 5}})
        house.send(dates)
        last = house.payments()[-2]
        assert (last["amount_fen"], last["attempt"]) == (300, attempt)
        assert last["replaces"] == house.payments()[0 if attempt == 2 else -4]["payment_no"]
        house.answer(house.batches(dates.period)[0], {1: "failed"})
        house.read(dates.settlement_on)
    proved(house)


def test_rejected_batch_gives_its_lines_to_the_next(house: House) -> None:
    house.night(NIGHT, {"X1": {"S1": 300}})
    built = house.settle(SEPTEMBER)
    said = approval.answer(house.db, house.centre, "2026-09", "审批甲", "reject", built.content_hash, "t")
    assert (said.accepted, said.state) == (True, "rejected")
    house.night(OCTOBER.night, {"X1": {"S1": 250, "S2": 100}})
    again = house.send(OCTOBER)
    assert again.sent_fen == 350
    assert house.states() == ["released", "sent"]
    second = house.payments()[1]
    assert (second["replaces"], second["attempt"]) == (house.payments()[0]["payment_no"], 1)
    late = approval.answer(house.db, house.centre, "2026-09", "审批乙", "approve", built.content_hash, "t")
    assert not late.accepted
    assert "已转入后面的清算" in late.message
    assert house.accounts() == {"expense": 350, "payable": -350}
    proved(house)


def test_waiting_batch_keeps_its_lines(house: House) -> None:
    house.night(NIGHT, {"X1": {"S1": 300}})
    house.settle(SEPTEMBER)
    house.night(OCTOBER.night, {"X1": {"S1": 200, "S2": 150}})
    built = house.settle(OCTOBER)
    assert (built.sent_fen, built.netted_fen) == (50, 100)
    proved(house)


@pytest.mark.parametrize(
    ("terms", "amounts", "state", "reasons", "needed"),
    [
        ({}, (100, 100), "approved", (), 0),
        ({"auto_below_fen": None}, (100, 100), "waiting", ("ALWAYS-WAITS",), 1),
        ({"auto_below_fen": 100}, (100, 100), "waiting", ("AMOUNT",), 1),
        ({"auto_below_fen": 101}, (100, 100), "approved", (), 0),
        ({"two_above_fen": 100}, (100, 100), "approved", (), 0),
        ({"two_above_fen": 99}, (100, 100), "waiting", ("TWO-PERSONS",), 2),
        ({"growth_limit_percent": 1000}, (100, 1000), "approved", (), 0),
        ({"growth_limit_percent": 1000}, (100, 1001), "held", ("GROWTH",), 1),
    ],
)
def test_reasons(
    new_house: NewHouse, terms: dict[str, Any], amounts: tuple[int, int], state: str, reasons: tuple[str, ...], needed: int
) -> None:
    house = new_house(approval=replace(APPROVAL, **terms))
    house.night(NIGHT, {"X1": {"S1": amounts[0]}})
    house.send(SEPTEMBER)
    house.night(OCTOBER.night, {"X1": {"S2": amounts[1]}})
    built = house.settle(OCTOBER)
    assert (built.state, built.reasons, built.approvals_needed) == (state, reasons, needed)


def test_what_the_caller_finds_unusual_holds_whatever_the_limits_say(new_house: NewHouse) -> None:
    house = new_house(approval=APPROVAL)
    house.night(NIGHT, {"X1": {"S1": 100}})
    house.send(SEPTEMBER)
    house.night(OCTOBER.night, {"X1": {"S2": 100}})
    with house.db.transaction(house.centre, house.token) as conn:
        built = settle.build(
            conn, house.policy, house.run_no, OCTOBER, payees=house.payee_table(), outbound=house.outbound, unusual=("POLICY-CHANGED",)
        )
    assert (built.state, built.reasons, built.approvals_needed) == ("held", ("POLICY-CHANGED",), 1)
    with pytest.raises(TerminalError, match="PUBLISH-NOT-APPROVED"):
        house.publish("2026-10")


def test_many_new_payees_hold_the_batch(new_house: NewHouse) -> None:
    house = new_house(approval=replace(APPROVAL, new_payee_limit_percent=50))
    house.night(NIGHT, {"X1": {"S1": 100}})
    house.send(SEPTEMBER)
    house.night(OCTOBER.night, {"X1": {"S2": 100}, "X2": {"S1": 1}})
    assert house.send(OCTOBER).reasons == ()
    house.night(NOVEMBER.night, {"X1": {"S3": 100}, "X3": {"S1": 1}, "X4": {"S1": 1}})
    assert (house.settle(NOVEMBER).state, house.settle(NOVEMBER).reasons) == ("held", ("NEW-PAYEES",))


def test_both_databases_build_the_same_bytes(new_house: NewHouse) -> None:
    house = new_house()
    house.payees |= {"b": ("622202", "李四", OTHER), "X10": ("33", "乙", OWN)}
    house.night(NIGHT, {name: {"S1": 100 + i, "s2": 7} for i, name in enumerate(("X2", "X10", "X1", "b", "a", "B", "X·1"))})
    built = house.settle(SEPTEMBER)
    assert [p["payee_name"] for p in house.payments()] == ["测试甲", "测试甲", "乙", "测试甲", "测试甲", "测试甲", "李四"]
    assert built.content_hash == "4b7cceed9153f72c4ae1b66279305e246dec7546821f7ed7687612ca7ffea2b0"


def test_summary_says_everything_without_persons(new_house: NewHouse) -> None:
    house = new_house(minimum_fen=10)
    house.night(NIGHT, {"X1": {"S1": 300}, "X2": {"S1": 3}})
    text = settle.summary(house.settle(SEPTEMBER, held={"GATE-OVERDUE": 5}))
    assert "应付 3.08 = 发送 3.00 + 抵扣 0.00 + 转入下期 0.03 + 暂缓 0.05" in text
    assert "低于最低支付额 0.03 元" in text
    assert "测试甲" not in text
    assert house.payee_of("X1")[0] not in text


def test_payee_changes_count_from_their_day() -> None:
    def table(name: str, rows: list[dict[str, Any]]) -> Any:
        import pyarrow as pa

        schema = TABLES[name].arrow
        return pa.Table.from_pylist([{field: row.get(field) for field in schema.names} for row in rows], schema=schema)

    agreements = [
        {"agreement_no": a, "payee_account": "62", "payee_name": "甲", "payee_bank_no": OWN, "payee_kind": "01"} for a in ("X1", "X2", "X3")
    ]
    change = {"kind": "payee", "agreement_no": "X1", "known_on": date(2026, 9, 2)}
    changes = [
        change | {"change_no": "2", "effective_on": date(2026, 9, 5), "new_payee_account": "64", "new_payee_name": "乙"},
        change | {"change_no": "1", "effective_on": date(2026, 9, 1), "new_payee_account": "63"},
        change | {"change_no": "3", "effective_on": date(2026, 9, 30), "new_payee_account": "65"},
        change | {"change_no": "4", "effective_on": date(2026, 9, 1), "kind": "suspend", "agreement_no": "X2", "new_payee_account": "66"},
        change
        | {"change_no": "5", "effective_on": date(2026, 9, 1), "agreement_no": "X3", "new_payee_bank_no": OTHER, "new_payee_name": ""},
    ]
    facts = Facts({"agreement": table("agreement", agreements), "change": table("change", changes)})
    found = [tuple(row.values()) for row in payees_on(facts, date(2026, 9, 20)).to_pylist()]
    assert found == [("X1", "64", "乙", OWN, "01"), ("X2", "62", "甲", OWN, "01"), ("X3", "62", "甲", OTHER, "01")]
