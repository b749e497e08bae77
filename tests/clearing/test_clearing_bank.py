"""Clearing and the demo's bank, which share no code: what one writes the other reads, whatever the bank does."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from clearing_house import OTHER, RULES, SEPTEMBER, House, policy_of

from fixtures import bank
from subsidy.clearing import publish, query
from subsidy.clearing.reconcile import three_way
from subsidy.errors import TerminalError
from subsidy.ledger import verify
from subsidy.policy import load_centre

CENTRES = ("hangzhou", "zhoushan", "wenzhou", "quzhou")
S = SEPTEMBER.settlement_on


def sent(house: House) -> House:
    house.payees["X3"] = ("622202", "李四", OTHER)
    house.night(SEPTEMBER.night, {f"X{i}": {"S1": 30000 + 100 * i} for i in range(1, 7)})
    house.send(SEPTEMBER)
    return house


def account_of(centre: str) -> Any:
    """The paying account that the bank knows: that of the shipped policy."""
    return load_centre(RULES, centre).settlement[0].paying_account


def of(house: House, centre: str) -> House:
    """The centre on the database of `house`."""
    return House(house.db, house.settings, policy_of(centre, paying_account=account_of(centre)))


def days(house: House, script: Any, count: int, ask: bool = False) -> None:
    """Bank days after the settlement day, each followed by reading what came."""
    for n in range(count):
        day = S + timedelta(days=n)
        bank.run(house.settings.home, house.centre, script, day)
        house.read(day)
        if ask:
            query.write(house.db, house.token, house.settings, house.policy, business_date=day, run_no=house.run_no)


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("statement", ["per_payment", "per_batch", "none"])
def test_everything_is_accepted_and_reconciles(small_house: House, centre: str, statement: str) -> None:
    house = sent(of(small_house, centre))
    days(house, {"statement": statement}, 4)
    assert set(house.states()) == {"confirmed"}
    with house.db.read() as conn:
        found = three_way(conn, house.centre, on=S + timedelta(days=4))
    # A PO file carries no number by which this bank could name the whole batch.
    shown = statement == "per_payment" or (statement == "per_batch" and centre != "wenzhou")
    assert {d.kind for d in found.differences} == (set() if shown else {"timing"})
    assert all(b.bank_difference_fen == 0 for b in found.batches) == shown
    assert verify.verify(house.db, house.centre) == []


@pytest.mark.parametrize("centre", CENTRES)
def test_the_story(small_house: House, centre: str) -> None:
    house = sent(of(small_house, centre))
    days(house, "story", 6)
    states = house.states()
    assert {"confirmed", "failed"} <= set(states)
    days(house, "story", 12, ask=True)
    assert not set(house.states()) & {"sent", "open"}
    assert house.accounts().get("cash", 0) == -sum(p["amount_fen"] for p in house.payments() if p["state"] == "confirmed")
    assert verify.verify(house.db, house.centre) == []


def test_returns_are_found(small_house: House) -> None:
    house = sent(small_house)
    days(house, "return", 6)
    assert set(house.states()) == {"returned"}
    assert house.accounts() == {"expense": 182100, "payable": -182100}


def test_whole_batch_refused(small_house: House) -> None:
    house = sent(small_house)
    days(house, "refuse-batch", 3)
    assert house.states()[:5] == ["failed"] * 5


def test_answered_twice(small_house: House) -> None:
    house = sent(small_house)
    days(house, "twice", 4)
    assert set(house.states()) == {"confirmed"}


def test_lost_batch_is_asked_about_and_then_sent_once_more(small_house: House) -> None:
    house = sent(small_house)
    lost = {"batches": [{"batch": 1, "do": "lose"}]}
    days(house, lost, 2)
    (first, second) = house.batches("2026-09")
    assert {p["state"] for p in house.payments(first.batch_no)} == {"sent"}
    assert {p["state"] for p in house.payments(second.batch_no)} == {"confirmed"}
    days(house, lost, 5, ask=True)
    with pytest.raises(TerminalError, match="REPUBLISH-REFUSED"):  # the last question is not answered yet
        publish.republish(house.db, house.token, house.settings, house.policy, first.batch_no)
    days(house, lost, 6)
    with house.db.read() as conn:
        assert query.told(conn, house.centre, first.batch_no)[-1].status == "9"
    for path in house.outbox.glob("*"):
        path.unlink()
    assert publish.republish(house.db, house.token, house.settings, house.policy, first.batch_no) == first.file_name
    bank_memory = house.settings.home / "bank"
    assert bank_memory.exists()


SPOILS = ("missing_row", "extra_row", "row_twice", "amount", "account", "name", "summary", "no_end")


@pytest.mark.parametrize(("centre", "spoil"), [(c, s) for c in ("hangzhou", "wenzhou") for s in SPOILS] + [("hangzhou", "foreign_batch")])
def test_spoiled_results_book_nothing(small_house: House, centre: str, spoil: str) -> None:
    house = sent(of(small_house, centre))
    days(house, {"statement": "none", "batches": [{"spoil": spoil}]}, 3)
    assert not set(house.states()) - {"sent", "open"}
    assert "cash" not in house.accounts()


def test_silent_bank_leaves_everything_open(small_house: House) -> None:
    house = sent(small_house)
    days(house, {"batches": [{"do": "silent"}]}, 3)
    assert set(house.states()) == {"sent"}
    with house.db.read() as conn:
        ages = {p.age_days for p in query.open_payments(conn, house.centre, date(2026, 10, 1))}
    assert ages == {10}
