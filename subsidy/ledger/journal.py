"""The double-entry journal: what may be booked, which account is which, and the block that one booking writes.

A row names a debit and a credit account and one amount above zero, so debits equal credits by construction. The reason of a row
says what role each account plays; the account numbers come from the centre's chart and may change over the years.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from datetime import date
from typing import Literal

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.ledger import chain, tables
from subsidy.ledger.bulk import bulk_insert
from subsidy.ledger.database import next_numbers
from subsidy.policy.model import ChartOfAccounts

Role = Literal["expense", "payable", "receivable", "cash", "write_off", "opening"]

#: Reason of an entry -> (role of the debit account, role of the credit account). Handbook section 7, accounting.
ROLES: dict[str, tuple[Role, Role]] = {
    "accrue": ("expense", "payable"),  # a line becomes payable, or more is
    "restore": ("expense", "receivable"),  # raised while it was overpaid
    "reduce": ("payable", "expense"),  # lowered before it was paid
    "overpaid": ("receivable", "expense"),  # lowered below what lies in payments
    "opening": ("receivable", "opening"),  # receivable left by the old system (TX04)
    "opening_less": ("opening", "receivable"),  # the opening was corrected downwards
    "opening_payable": ("opening", "payable"),  # … below what was recovered of it by then
    "opening_reduce": ("payable", "opening"),  # … and up again before that was paid back
    "pay": ("payable", "cash"),  # confirmed by the bank
    "net": ("payable", "receivable"),  # a receivable taken from a payment
    "collect": ("cash", "receivable"),  # a receivable paid in, or taken from the payment of another agreement
    "write_off": ("write_off", "receivable"),
    "unwrite": ("receivable", "write_off"),  # the line rose again: the write-off gives way
    "return": ("cash", "payable"),  # the reverse of pay
    "return_net": ("receivable", "payable"),
    "return_collect": ("receivable", "cash"),
    "reclass": ("payable", "receivable"),  # a payment fell away whose line had been lowered meanwhile
}
REVERSED = {"pay": "return", "net": "return_net", "collect": "return_collect"}

#: What `Block.add_entries` takes. `posting_no` 0 and `payment_no` "" when the entry has none.
ENTRIES = pa.schema(
    [
        ("entry_on", pa.date32()),
        ("reason", pa.string()),
        ("amount_fen", pa.int64()),
        ("agreement_no", pa.string()),
        ("posting_no", pa.int64()),
        ("payment_no", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class RunRef:
    """The run on whose behalf something is booked."""

    centre: str
    run_no: int
    business_date: date
    policy_version: str


class Block:
    """One booking of a centre: numbers its rows, writes them and closes with a hash over all of them. Nothing is written, and no number is
    taken, for a booking without rows. How the rows are cut into calls changes nothing."""

    def __init__(self, conn: Connection, run: RunRef, chart: ChartOfAccounts) -> None:
        self._conn = conn
        self._run = run
        self._accounts = {field.name: getattr(chart, field.name) for field in fields(chart)}
        self._digests = {name: hashlib.sha256() for name in ("posting", "posting_cause", "journal")}
        self._range = {"posting": (0, 0), "journal": (0, 0)}
        self._amount_fen = 0
        self.block_no = 0
        self.hash = ""

    def add_postings(self, postings: pa.Table) -> None:
        """Postings with all columns of the table, numbered by `number_postings`."""
        self._open()
        self._write(tables.posting, postings)
        self._stretch("posting", postings["posting_no"][0].as_py(), postings["posting_no"][-1].as_py())

    def number_postings(self, count: int) -> int:
        """Take `count` posting numbers; returns the first."""
        return next_numbers(self._conn, self._run.centre, "posting", count)

    def add_causes(self, causes: pa.Table) -> None:
        """Causes of postings added before, in order of (posting_no, ordinal)."""
        if causes.num_rows:
            self._write(tables.posting_cause, causes)

    def add_entries(self, entries: pa.Table) -> None:
        """Entries of schema `ENTRIES` in the order in which they are numbered."""
        if entries.num_rows == 0:
            return
        self._open()
        rows = entries.num_rows
        first = next_numbers(self._conn, self._run.centre, "entry", rows)
        reasons = entries["reason"].combine_chunks().dictionary_encode()
        roles = [ROLES[reason] for reason in reasons.dictionary.to_pylist()]
        debit = pa.array([self._accounts[role[0]] for role in roles], pa.string()).take(reasons.indices)
        credit = pa.array([self._accounts[role[1]] for role in roles], pa.string()).take(reasons.indices)
        self._write(
            tables.journal,
            pa.table(
                {
                    "centre": pa.repeat(self._run.centre, rows),
                    "entry_no": pa.array(np.arange(first, first + rows)),
                    "block_no": pa.repeat(pa.scalar(self.block_no, pa.int64()), rows),
                    "entry_on": entries["entry_on"],
                    "debit_account": debit,
                    "credit_account": credit,
                    "amount_fen": entries["amount_fen"],
                    "reason": entries["reason"],
                    "agreement_no": entries["agreement_no"],
                    "posting_no": entries["posting_no"],
                    "payment_no": entries["payment_no"],
                }
            ),
        )
        self._stretch("journal", first, first + rows - 1)
        self._amount_fen += int(entries["amount_fen"].to_numpy().sum())

    def close(self) -> None:
        """Write the block; nothing when nothing was added."""
        if not self.block_no:
            return
        row = {
            "centre": self._run.centre,
            "block_no": self.block_no,
            "run_no": self._run.run_no,
            "first_entry": self._range["journal"][0],
            "last_entry": self._range["journal"][1],
            "first_posting": self._range["posting"][0],
            "last_posting": self._range["posting"][1],
            "amount_fen": self._amount_fen,
            "previous_hash": chain.journal_head(self._conn, self._run.centre),
        }
        self.hash = chain.block_hash(row, *(self._digests[name].hexdigest() for name in ("posting", "posting_cause", "journal")))
        bulk_insert(self._conn, tables.journal_block, [row | {"hash": self.hash}])

    def _open(self) -> None:
        if not self.block_no:
            self.block_no = next_numbers(self._conn, self._run.centre, "block")

    def _write(self, table: sa.Table, rows: pa.Table) -> None:
        ordered = rows.select([column.name for column in table.columns])
        bulk_insert(self._conn, table, ordered)
        chain.feed(self._digests[table.name], ordered)

    def _stretch(self, name: str, first: int, last: int) -> None:
        low, high = self._range[name]
        assert low == 0 or first == high + 1, "numbers of a block follow each other"
        self._range[name] = (low or first, last)
