"""Any sequence of restatements, batches, answers of banks, returns, collections and write-offs keeps the books right.

A model in plain dictionaries follows along; after every step the ledger must say what the model says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_house import CENTRE, CHART, DAY, SCHEME, accounts, event, lines, open_run, opening, pay
from sqlalchemy.engine import Connection

from subsidy.ledger import postings, receivables, tables
from subsidy.ledger.database import Database
from subsidy.ledger.postings import OPENING, Part
from subsidy.ledger.verify import verify

AGREEMENTS = ("X1", "X2")
KEYS = [(agreement, "A1", f"S{i}") for agreement in AGREEMENTS for i in range(3)]

amounts = st.sampled_from([0, 0, 1, 40, 100, 100, 250])
steps = st.one_of(
    st.tuples(st.just("restate"), st.lists(amounts, min_size=len(KEYS), max_size=len(KEYS))),
    st.tuples(st.just("opening"), st.sampled_from([0, 30, 70])),
    st.tuples(st.just("batch"), st.sampled_from(["agreement", "line", "all", "collect"])),
    st.tuples(st.just("confirm"), st.integers(0, 9)),
    st.tuples(st.just("fail"), st.integers(0, 9)),
    st.tuples(st.just("return"), st.integers(0, 9)),
    st.tuples(st.just("write_off"), st.sampled_from([1, 30, 60, 1000])),
)


class Undo(Exception):
    """Ends an example without keeping it."""


@contextmanager
def example(db: Database) -> Iterator[Connection]:
    """A transaction that is undone at the end."""
    try:
        with db.transaction_system() as conn:
            yield conn
            raise Undo
    except Undo:
        pass


class Books:
    """The model: what each line is entitled to, what each payment takes and what became of it."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.day = 0
        self.entitled: dict[tuple[str, str, str], int] = defaultdict(int)
        self.items: dict[str, dict[tuple[str, str, str], int]] = {}
        self.state: dict[str, str] = {}
        self.open_night()

    def open_night(self) -> None:
        self.day += 1
        self.run = open_run(self.conn, self.day)

    def due(self) -> dict[tuple[str, str, str], int]:
        """What the ledger says is due."""
        table = postings.due_lines(self.conn, CENTRE)
        return {(r["agreement_no"], r["account_no"], r["serial_no"]): r["due_fen"] for r in table.to_pylist()}

    def restate(self, payables: list[int]) -> None:
        self.open_night()
        rows = [
            {"agreement_no": k[0], "account_no": k[1], "serial_no": k[2], "payable_fen": fen}
            for k, fen in zip(KEYS, payables, strict=True) if fen != 1
        ]  # fmt: skip
        postings.post(self.conn, self.run, SCHEME, CHART, Part(lines(*rows), AGREEMENTS))
        for key, fen in zip(KEYS, payables, strict=True):
            self.entitled[key] = 0 if fen == 1 else fen

    def opening(self, fen: int) -> None:
        self.open_night()
        part = Part(lines(*self.as_lines()), AGREEMENTS, opening(fen))
        postings.post(self.conn, self.run, SCHEME, CHART, part)
        self.entitled[("X1", "A1", OPENING)] = -fen

    def as_lines(self) -> list[dict[str, Any]]:
        return [
            {"agreement_no": k[0], "account_no": k[1], "serial_no": k[2], "payable_fen": fen}
            for k, fen in self.entitled.items() if k[2] != OPENING
        ]  # fmt: skip

    def batch(self, how: str) -> None:
        """Put what is due into payments: per agreement, per line, all in one, or collect what is receivable."""
        groups: dict[str, dict[tuple[str, str, str], int]] = defaultdict(dict)
        for key, fen in self.due().items():
            if how == "collect" and fen < 0:
                groups[key[0]][key] = fen
            elif how == "line" and fen > 0:
                groups[str(key)][key] = fen
            elif how in ("agreement", "all"):
                groups[key[0] if how == "agreement" else ""][key] = fen
        chosen = {}
        for group in groups.values():
            if sum(group.values()) < 0 and how != "collect":
                continue
            chosen[f"P{len(self.items) + len(chosen)}"] = group
        if chosen:
            pay(self.conn, chosen, self.day, "in" if how == "collect" else "out")
            for number in chosen:
                event(self.conn, number, "sent", self.day)
                self.state[number] = "sent"
            self.items |= chosen

    def pick(self, state: str, which: int) -> list[str]:
        found = [number for number, now in self.state.items() if now == state]
        return found[which % len(found) :][: 1 + which % 2] if found else []

    def confirm(self, which: int) -> None:
        numbers = self.pick("sent", which)
        for number in numbers:
            event(self.conn, number, "confirmed", self.day)
            self.state[number] = "confirmed"
        assert postings.book_confirmed(self.conn, self.run, CHART, numbers, DAY) == len(numbers)
        assert postings.book_confirmed(self.conn, self.run, CHART, numbers, DAY) == 0

    def fail(self, which: int) -> None:
        numbers = self.pick("sent", which)
        early = which % 2 == 0
        if early:
            postings.book_failed(self.conn, self.run, CHART, numbers)
        for number in numbers:
            event(self.conn, number, "failed", self.day)
            self.state[number] = "failed"
        if not early:
            postings.book_failed(self.conn, self.run, CHART, numbers)

    def come_back(self, which: int) -> None:
        numbers = self.pick("confirmed", which)
        for number in numbers:
            event(self.conn, number, "returned", self.day)
            self.state[number] = "returned"
        assert postings.book_returned(self.conn, self.run, CHART, numbers, DAY) == len(numbers)
        assert postings.book_returned(self.conn, self.run, CHART, numbers, DAY) == 0

    def write_off(self, fen: int) -> None:
        open_fen = -sum(due for key, due in self.due().items() if key[0] == "X1" and due < 0)
        if min(fen, open_fen):
            receivables.write_off(
                self.conn, self.run, CHART, "X1", min(fen, open_fen), requested_by="张三", approved_by="李四", reason="r", at="t"
            )

    def check(self) -> None:
        """What must hold at any time."""
        assert verify(self.conn, CENTRE) == []
        taken: dict[tuple[str, str, str], int] = defaultdict(int)
        cash: dict[tuple[str, str, str], int] = defaultdict(int)
        under_way: dict[tuple[str, str, str], int] = defaultdict(int)
        for number, items in self.items.items():
            for key, fen in items.items():
                if self.state[number] in ("sent", "confirmed"):
                    taken[key] += fen
                if self.state[number] == "confirmed":
                    cash[key] += fen
                elif self.state[number] == "sent":
                    under_way[key] += max(0, -fen)
        forgiven, due = self.forgiven(), self.due()
        for key in set(KEYS) | {("X1", "A1", OPENING)}:
            # What is written off counts only as far as the line is still overpaid.
            expected = self.entitled[key] - taken[key] + forgiven.get(key, 0)
            assert due.get(key, 0) == expected
            assert forgiven.get(key, 0) == 0 or expected <= 0
            # Paid is never more than entitled plus what is to be recovered, under way included, or was forgiven.
            assert cash[key] <= max(0, self.entitled[key]) + max(0, -expected) + under_way[key] + forgiven.get(key, 0)
        books = accounts(self.conn)
        assert -books["cash"] == sum(cash.values())
        assert books["write_off"] == sum(forgiven.values())
        said = sum(self.entitled.values()) - sum(cash.values()) + sum(forgiven.values())
        assert -books["payable"] - books["receivable"] == said
        table = receivables.receivables(self.conn, CENTRE, DAY.replace(year=2030))
        assert sum(table["receivable_fen"].to_pylist()) == books["receivable"]
        for row in table.to_pylist():
            assert row["receivable_fen"] == sum(fen for name, fen in row.items() if name.startswith("age_") and name.endswith("_fen"))

    def forgiven(self) -> dict[tuple[str, str, str], int]:
        """Live write-offs per line, from the tables alone."""
        i, e = tables.payment_item, tables.payment_event
        ended = sa.select(e.c.payment_no).where(e.c.state == "returned")
        query = sa.select(i).where(i.c.payment_no.like("WO%"), i.c.payment_no.not_in(ended))
        found: dict[tuple[str, str, str], int] = defaultdict(int)
        for row in self.conn.execute(query):
            found[(row.agreement_no, row.account_no, row.serial_no)] -= row.amount_fen
        return found


ACTS = {
    "restate": Books.restate, "opening": Books.opening, "batch": Books.batch, "confirm": Books.confirm, "fail": Books.fail,
    "return": Books.come_back, "write_off": Books.write_off,
}  # fmt: skip


def run_example(db: Database, sequence: list[tuple[str, Any]]) -> None:
    with example(db) as conn:
        books = Books(conn)
        for name, value in sequence:
            ACTS[name](books, value)
            books.check()


STEADY = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow], "derandomize": True}


@pytest.mark.slow
@settings(max_examples=60, **STEADY)
@given(sequence=st.lists(steps, min_size=3, max_size=22))
def test_any_sequence_keeps_the_books(tmp_path_factory: pytest.TempPathFactory, sequence: list[tuple[str, Any]]) -> None:
    run_example(_sqlite(tmp_path_factory), sequence)


_made: list[Database] = []


def _sqlite(factory: pytest.TempPathFactory) -> Database:
    if not _made:
        db = Database(f"sqlite:///{factory.mktemp('sequences')}/ledger.db")
        db.migrate()
        _made.append(db)
    return _made[0]


@pytest.mark.parametrize(
    "sequence",
    [
        [("restate", [100] * 6), ("batch", "agreement"), ("restate", [40] * 6), ("fail", 0), ("batch", "all"), ("confirm", 0)],
        [("restate", [100] * 6), ("batch", "all"), ("confirm", 0), ("restate", [0] * 6), ("write_off", 60), ("restate", [100] * 6)],
        [("restate", [100] * 6), ("batch", "line"), ("restate", [0] * 6), ("write_off", 1000), ("fail", 0), ("fail", 1), ("fail", 2)],
        [("opening", 70), ("restate", [40] * 6), ("batch", "agreement"), ("confirm", 0), ("opening", 30), ("batch", "all"), ("return", 0)],
        [("restate", [250] * 6), ("batch", "all"), ("confirm", 0), ("restate", [40] * 6), ("batch", "collect"), ("restate", [100] * 6),
         ("confirm", 1), ("return", 1), ("batch", "agreement"), ("confirm", 0), ("return", 0)],
    ],
)  # fmt: skip
def test_chosen_sequences_keep_the_books(database: Database, sequence: list[tuple[str, Any]]) -> None:
    run_example(database, sequence)
