"""Due dates of a loan's instalments, and the principal that remains after a row (interpretations 1 and 11)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from subsidy.proof.dates import due_date, month_number
from subsidy.proof.rules import Unknown

Fact = Mapping[str, Any]
INSTALMENT_KINDS = ("02", "04", "05")


def is_part(row: Fact) -> bool:
    """True for a row that pays (a part of) a numbered instalment."""
    return row["kind"] in INSTALMENT_KINDS and row["instalment"] > 0


class Numbering:
    """Which instalment falls due when: a numbered row fixes it, else instalment 1 is due in the month after the disbursement."""

    def __init__(self, rows: Iterable[Fact], due_day: int, disbursed_on: date) -> None:
        self.due_day = due_day
        fixed = min((r for r in rows if is_part(r)), key=lambda r: (r["instalment"], r["serial_no"]), default=None)
        self._zero = month_number(disbursed_on) if fixed is None else month_number(fixed["due_on"]) - fixed["instalment"]

    def due(self, instalment: int) -> date:
        """The due date of an instalment; of 0: the due day before instalment 1."""
        return due_date(self._zero + instalment, self.due_day)

    def reached(self, day: date) -> int:
        """The last instalment due on or before `day`."""
        number = month_number(day) - self._zero
        return number if self.due(number) <= day else number - 1


class Balances:
    """Balances of one loan, from its live rows of kinds 02 to 06."""

    def __init__(self, rows: Iterable[Fact], disbursed_fen: int, statuses: Sequence[Fact], opened: bool, numbering: Numbering) -> None:
        ordered = sorted(rows, key=lambda r: (r["accrual_to"], r["kind"] not in INSTALMENT_KINDS, r["serial_no"]))
        numbers = sorted({r["instalment"] for r in ordered if is_part(r)})
        balance, expected = disbursed_fen, 1
        if opened and ordered:
            expected = numbers[0] if numbers else numbering.reached(ordered[0]["accrual_to"]) + 1
            known = [s for s in statuses if s["as_of"] <= ordered[0]["accrual_to"]]
            of_first = [r for r in ordered if is_part(r) and r["instalment"] == expected] or ordered[:1]
            balance = known[-1]["balance_fen"] if known else sum(r["base_principal_fen"] for r in of_first)
        self._before: dict[str, tuple[int, bool]] = {}  # running balance before a row, and whether every instalment before it is known
        seen: set[int] = set()
        for row in ordered:
            needed = row["instalment"] - 1 if is_part(row) else numbering.reached(row["accrual_to"])
            while expected in seen:
                expected += 1
            self._before[row["serial_no"]] = (balance, expected > needed)
            balance -= row["principal_repaid_fen"]
            if is_part(row):
                seen.add(row["instalment"])

    def after(self, row: Fact) -> int:
        """What remains after `row`. Held as ``BALANCE-UNKNOWN`` when an instalment before it is missing and the bank sent no balance."""
        if row["balance_after_fen"] is not None:
            return int(row["balance_after_fen"])
        running, certain = self._before[row["serial_no"]]
        if not certain:
            raise Unknown("BALANCE-UNKNOWN", "hold")
        return running - int(row["principal_repaid_fen"])

    def due_with(self, first: Fact, base_fen: int) -> int:
        """B_k: what remained before the first row of an instalment whose rows have `base_fen` together.

        With a gap before it, the balance is known all the same when the rows cover it whole."""
        if first["balance_after_fen"] is not None:
            return int(first["balance_after_fen"]) + int(first["principal_repaid_fen"])
        running, certain = self._before[first["serial_no"]]
        if not certain and running != base_fen:
            raise Unknown("BALANCE-UNKNOWN", "hold")
        return running
