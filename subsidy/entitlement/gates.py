"""Gates: what is asked of a row before it is paid (handbook section 5), and the named facts that conditions read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from subsidy.calendar import day_number
from subsidy.entitlement.book import Book
from subsidy.entitlement.columns import Bool, Index, Int32
from subsidy.entitlement.frame import KINDS
from subsidy.entitlement.status import CONTRIBUTION_CODES, STATUSES, Statuses
from subsidy.policy.conditions import evaluate
from subsidy.policy.model import Condition, Gate

#: Code facts are compared as numbers: 1 + position in these lists, 0 for any other code.
CODES: dict[str, tuple[str, ...]] = {
    "transaction_kind": KINDS,
    "contribution_status": CONTRIBUTION_CODES,
    "loan_status": STATUSES,
    "repayment_method": ("01", "02", "03", "04", "99"),
    "home_order": ("01", "02"),
    "payee_kind": ("01", "02"),
}


def gate_value(name: str, value: Any) -> Any:
    """A fact as people know it: codes as texts."""
    if name not in CODES:
        return value
    return CODES[name][int(value) - 1] if value else "未知代码"


def by_number(condition: Condition) -> Condition:
    """The condition with the codes of its literals as numbers (see `CODES`); a code that no list has is -1 and equals nothing."""
    head = condition[0]
    if head in ("and", "or", "not"):
        return (head, *(by_number(part) for part in condition[1:]))
    if head == "compare" and condition[2] in CODES:
        return (*condition[:3], _number(condition[2], condition[3]))
    if head == "in" and condition[1] in CODES:
        return ("in", condition[1], tuple(_number(condition[1], literal) for literal in condition[2]))
    return condition


def _number(name: str, code: object) -> int:
    return CODES[name].index(str(code)) + 1 if code in CODES[name] else -1


class Sight:
    """Per row of the book: everything gates can see that takes work to find out, found out once."""

    def __init__(self, book: Book, statuses: Statuses, verified: Bool) -> None:
        from subsidy.entitlement.columns import integers

        rows, loans = book.rows, book.loans
        self.book, self.statuses, self.verified = book, statuses, verified
        self.status = statuses.at(loans.account[rows.loan], rows.due_on)
        disbursed_before = loans.disbursed_on < day_number(book.policy.go_live)
        self.opening_missing = disbursed_before & (loans.opening < 0)
        self.duplicate = claimed(book)
        openings = book.facts["opening"]
        self.opening_run = integers(openings, "overdue_run", np.int32)
        self.opening_total = integers(openings, "overdue_total", np.int32)
        self.suspended = np.zeros(len(rows), bool)
        self.cured = np.zeros(len(rows), bool)
        self.suspension_count = np.zeros(len(rows), np.int32)


def claimed(book: Book) -> Bool:
    """Loans whose contract or house contract is live under another agreement."""
    if not book.facts.claims:
        return np.zeros(len(book.loans), bool)
    import pyarrow.compute as pc

    claims = pa.array(sorted(book.facts.claims), pa.string())
    return np.asarray(pc.is_in(book.loans.agreement_no, value_set=claims).to_numpy(zero_copy_only=False), bool)


class GateFacts(Mapping[str, Any]):
    """The facts of `GATE_FACTS` as columns for the rows `at`, each computed when a condition first reads it; codes as numbers.

    `status` are positions of the TX02 rows to use, -1 for none (default: the latest on or before each due date).
    """

    def __init__(self, sight: Sight, at: Index, status: Index | None = None, suspensions: bool = True) -> None:
        self._sight = sight
        self._at: Index | slice = slice(None) if len(at) == len(sight.book.rows) and status is None else at
        self._rows = len(at)
        self._loan = sight.book.rows.loan[self._at]
        self._status = sight.status[self._at] if status is None else status
        self._suspensions = suspensions
        self._known: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = _FACTS[name](self)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        # The number of rows is read from the first column: the cheapest one stands first.
        yield "verified"
        yield from (n for n in _FACTS if n != "verified")

    def __len__(self) -> int:
        return len(_FACTS)

    def row(self, name: str) -> Any:
        return getattr(self._sight.book.rows, name)[self._at]

    def loan(self, name: str) -> Any:
        return getattr(self._sight.book.loans, name)[self._loan]

    def status(self, name: str, default: int) -> Any:
        statuses = self._sight.statuses
        if not len(statuses):
            return np.full(self._rows, default)
        values = getattr(statuses, name)[self._status]  # position -1 takes the last one, which is replaced
        np.copyto(values, values.dtype.type(default), where=self._status < 0)
        return values

    def overdue(self, name: str, opening: Int32) -> Any:
        values = self.status(name, 0)
        at = self.loan("opening")
        if not len(opening) or not (at >= 0).any():
            return values
        return np.where((self._status < 0) & (at >= 0), opening[np.maximum(at, 0)], values)

    def suspension(self, name: str) -> Any:
        values = getattr(self._sight, name)
        return values[self._at] if self._suspensions else np.zeros(self._rows, values.dtype)


_FACTS: dict[str, Callable[[GateFacts], Any]] = {
    "verified": lambda f: f._sight.verified[f._at],
    "duplicate_claim": lambda f: f._sight.duplicate[f._loan],
    "opening_missing": lambda f: f._sight.opening_missing[f._loan],
    "days_late": lambda f: f.row("paid_on") - f.row("due_on"),
    "overdue_run": lambda f: f.overdue("overdue_run", f._sight.opening_run),
    "overdue_total": lambda f: f.overdue("overdue_total", f._sight.opening_total),
    "contribution_status": lambda f: f.status("contribution", 1),
    "contributions_lapsed": lambda f: f.status("contribution", 1) != 1,
    "loan_status": lambda f: f.status("status", 1),
    "suspended": lambda f: f.suspension("suspended"),
    "cured": lambda f: f.suspension("cured"),
    "suspension_count": lambda f: f.suspension("suspension_count"),
    "instalment": lambda f: f.row("instalment"),
    "transaction_kind": lambda f: f.row("kind"),
    "home_order": lambda f: f.loan("home_order"),
    "payee_kind": lambda f: f.loan("payee_kind"),
    "repayment_method": lambda f: f.loan("repayment_method"),
    "term_months": lambda f: f.loan("term"),
    "disbursed_amount": lambda f: f.loan("disbursed_fen"),
    "interest": lambda f: f.row("interest"),
    "accrual_from": lambda f: f.row("accrual_from"),
    "accrual_to": lambda f: f.row("accrual_to"),
    "due_on": lambda f: f.row("due_on"),
    "paid_on": lambda f: f.row("paid_on"),
    "signed_on": lambda f: f.loan("signed_on"),
    "disbursed_on": lambda f: f.loan("disbursed_on"),
    "commercial_rate": lambda f: f.row("rate"),
}


def holds(condition: Condition, facts: GateFacts) -> Bool:
    """True for each row of `facts` for which the condition holds."""
    return evaluate(by_number(condition), facts)


def first_match(gates: tuple[Gate, ...], facts: GateFacts, rows: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """Position of the first gate that each of the rows meets; the last gate of a table is unconditional."""
    match = np.full(rows, -1, np.int16)
    for number in range(len(gates) - 1, -1, -1):
        np.copyto(match, np.int16(number), where=holds(gates[number].condition, facts))
    return match
