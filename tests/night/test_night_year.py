"""A generated year of nights: files late, files corrected, repayments reversed months later, banks that refuse, hesitate and give back.

In the end everybody was paid what an independent computation from the final facts says, as the ledger and as the bank see it.
"""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from playing import approve

from fixtures import bank
from fixtures.answers import LoanFacts, assess
from fixtures.centres import CENTRES, GO_LIVE
from fixtures.inbox import TABLES
from fixtures.loan import booked_again, reversal
from fixtures.portfolio import Wanted, dossier
from fixtures.writers import Delivery
from subsidy.calendar import settlements_due
from subsidy.clearing.reconcile import three_way
from subsidy.ledger import postings, tables, verify
from subsidy.ledger.database import open_database
from subsidy.night import api
from subsidy.policy import load_centre, working_days_of
from subsidy.settings import Settings

Row = dict[str, Any]
SEED, LOANS = 2027, 24
CALENDAR = """source: {document: 合成的日历, link: none}
year: 2027
holidays: [2027-01-01..2027-01-03, 2027-02-05..2027-02-11]
workdays: []
"""
LEAP = "两季之间只演几夜"
#: What the bank does to the batches of the year, counted as it receives them.
BANK = {
    "days": 1,
    "rules": [
        {"batch": 1, "account_hash": [0, 4], "do": "refuse", "code": "E1105", "text": "收款账户已销户"},
        {"batch": 2, "account_hash": [1, 4], "do": "return", "days": 3},
        {"batch": 3, "account_hash": [2, 4], "do": "pending", "days": 4},
        {"batch": 4, "account_hash": [3, 4], "do": "refuse", "code": "E1001", "text": "收款户名与账号不符"},
        {"batch": 6, "account_hash": [0, 3], "do": "return", "days": 2},
    ],
}


class Year:
    """What is sent on each delivery day, and what is true in the end."""

    def __init__(self, centre: str, days: tuple[date, ...], upset_before: int) -> None:
        self.centre, self.days, self.upset_before = CENTRES[centre], days, upset_before
        self.random = random.Random(SEED)
        self.files: dict[int, list[tuple[str, Row, Row]]] = defaultdict(list)  # delivery -> table, row as sent, row as it is
        self.corrected: dict[int, int] = {}  # delivery -> delivery that sends its file again, right this time
        self.upsets: dict[str, int] = defaultdict(int)
        self.facts = [self._loan(number) for number in range(1, LOANS + 1)]

    def _loan(self, number: int) -> LoanFacts:
        each = dossier(Wanted(self.centre, SEED, self.days), number)
        facts = each.facts
        assert facts is not None
        own = [(at, row) for at, table, row in each.sends if table == "GB305"]
        for at, table, row in each.sends:
            if table != "GB305":
                self.files[at].append((table, row, row))
        # Only rows that nothing else of the loan refers to are upset, so that the final facts are those of the portfolio.
        plain = each.title == "plain"
        for at, row in own:
            chance = self.random.random() if plain and 0 < at < self.upset_before and row["DKYWMXLX"] == "02" else 1.0
            if chance < 0.12:
                self.files[at + 1 + self.random.randrange(2)].append(("GB305", row, row))
                self.upsets["late"] += 1
            elif chance < 0.24:
                more = row["JXBJ"] // self.random.choice((-8, 7, 12))
                interest = row["LXJE"] + row["LXJE"] * more // row["JXBJ"]
                wrong = row | {"JXBJ": row["JXBJ"] + more, "SYBJ": row["SYBJ"] + more, "LXJE": interest, "FSE": row["BJJE"] + interest}
                self.files[at].append(("GB305", wrong, row))
                self.corrected[at] = at + 2
                self.upsets["corrected"] += 1
            elif chance < 0.30:
                again = min(at + 2, len(self.days) - 1)
                on = self.days[again] - timedelta(days=1)
                gone, anew = reversal(row, on), booked_again(row, on)
                self.files[at].append(("GB305", row, row))
                self.files[again] += [("GB305", gone, gone), ("GB305", anew, anew)]
                facts.rows += [gone, anew]
                self.upsets["reversed"] += 1
            else:
                self.files[at].append(("GB305", row, row))
        return facts

    def deliver(self, folder: Path, at: int) -> None:
        """Put the files of a delivery into the inbox: a corrected older file first, then the new one."""
        for older in [older for older, later in self.corrected.items() if later == at]:
            self._send(folder, older, "_更正", ((table, true) for table, _, true in self.files[older]))
        self._send(folder, at, "", ((table, sent) for table, sent, _ in self.files[at]))

    def _send(self, folder: Path, at: int, note: str, rows: Iterable[tuple[str, Row]]) -> None:
        delivery = Delivery(self.centre.name, self.centre.code, folder, self.days[at], 1, note, order=TABLES)
        for table, row in rows:
            delivery.add(table, row)
        delivery.close()

    def expected(self) -> dict[str, int]:
        """What each agreement is paid in all, fen: its payable lines, less what the old system left to be recovered."""
        found: dict[str, int] = {}
        for facts in self.facts:
            opening = facts.opening["YSZH"] if facts.opening else 0
            found[facts.agreement["TXXYBH"]] = sum(line.payable_fen for line in assess(self.centre, facts)) - opening
        return found


@pytest.fixture
def year_settings(settings: Settings, tmp_path: Path) -> Settings:
    """Settings whose rules know the working days of the next year."""
    rules = tmp_path / "rules"
    shutil.copytree(settings.rules, rules)
    (rules / "parameters" / "calendar-2027.yaml").write_text(CALENDAR, encoding="utf-8")
    return dataclasses.replace(settings, rules=rules)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("centre", ["wenzhou", "quzhou"])
def test_a_year_pays_what_the_final_facts_say(year_settings: Settings, centre: str) -> None:
    settings = year_settings
    policy = load_centre(settings.rules, centre)
    every = [d.night for d in settlements_due(policy, working_days_of(policy), policy.go_live, date(2027, 12, 31))]
    nights, calm = (every[:12], every[12:14]) if len(every) > 12 else (every[:4], every[4:])
    between = {n + timedelta(days=40) for n in nights[:-1]} if len(nights) < 12 else set()
    days = tuple(sorted({GO_LIVE, *nights, *between}))
    year = Year(centre, days, len(days) - 4)
    assert all(year.upsets[what] >= 3 for what in ("late", "corrected", "reversed")), dict(year.upsets)
    for at, day in enumerate(days):
        year.deliver(settings.inbox(centre), at)
        night = api.run_night(settings, centre, day, "夜间", reason=LEAP)
        assert (night["check"]["differences"], night["verify"]["broken"], night["take_in"]["rows_quarantined"]) == (0, 0, 0)
        pay(settings, centre, day, BANK)
    for day in calm:  # what came back from the bank after the last settlement of the year is due again
        api.run_night(settings, centre, day, "夜间", reason=LEAP)
        pay(settings, centre, day, {})
    expected = year.expected()
    paid, due, states = books(settings, centre)
    assert {"confirmed", "failed", "returned"} <= states.keys()
    for agreement_no, fen in expected.items():
        assert paid[agreement_no] + due[agreement_no] == fen, agreement_no
        assert due[agreement_no] < policy.settlement[0].minimum_fen, agreement_no
    assert sum(paid.values()) == at_the_bank(settings, centre) == sum(expected.values()) - sum(due.values())
    assert sum(fen for fen in due.values() if fen < 0) > -sum(expected.values()) // 50
    assert corrections(settings, centre) >= {"top_up", "recovery"}
    db = open_database(settings)
    assert verify.verify(db, centre) == [] and verify.verify_audit(db) == []
    with db.read() as conn:
        assert three_way(conn, centre).unexplained == ()


def pay(settings: Settings, centre: str, night: date, script: dict[str, Any]) -> None:
    """Approve and publish what the night built, if anything, and read what the bank says in the next days."""
    if approve(settings, centre) is not None:
        for later in (3, 6, 9):
            bank.run(settings.home, centre, script, night + timedelta(days=later))
            told = api.read_results(settings, centre, night + timedelta(days=later), "夜间")
            assert (told["blocked"], told["incomplete"]) == (0, 0), told


def books(settings: Settings, centre: str) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """As the ledger sees it: paid and still due per agreement, and how many payments ended in each state."""
    paid, due, states = defaultdict(int), defaultdict(int), defaultdict(int)
    e, i, b, p = tables.payment_event, tables.payment_item, tables.batch, tables.payment
    with open_database(settings).read() as conn:
        last: dict[str, str] = {}
        for number, state in conn.execute(sa.select(e.c.payment_no, e.c.state).where(e.c.centre == centre).order_by(e.c.event_no)):
            last[number] = state
        for state in last.values():
            states[state] += 1
        for row in conn.execute(
            sa.select(i.c.payment_no, i.c.agreement_no, i.c.amount_fen)
            .join(p, sa.and_(p.c.centre == i.c.centre, p.c.payment_no == i.c.payment_no))
            .join(b, sa.and_(b.c.centre == p.c.centre, b.c.batch_no == p.c.batch_no))
            .where(i.c.centre == centre)
        ):
            if last[row.payment_no] == "confirmed":
                paid[row.agreement_no] += int(row.amount_fen)
        for line in postings.due_lines(conn, centre).to_pylist():
            due[line["agreement_no"]] += line["due_fen"]
    return paid, due, states


def at_the_bank(settings: Settings, centre: str) -> int:
    """As the bank remembers it: what it paid and did not give back, fen."""
    memory = json.loads((settings.home / "bank" / f"{centre}.json").read_text(encoding="utf-8"))
    payments = [p for batch in memory["batches"] for p in batch["payments"]]
    return sum(p["amount_fen"] for p in payments if p["done"] == "accepted" and not p["return_on"])


def corrections(settings: Settings, centre: str) -> set[str]:
    """Kinds of postings."""
    p = tables.posting
    with open_database(settings).read() as conn:
        return set(conn.execute(sa.select(p.c.kind).where(p.c.centre == centre)).scalars())
