"""Due dates of a loan's instalments, and the principal that remains after a row (interpretations 1 and 11)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from subsidy.proof.dates import due_date, month_number, next_due, nominal_month
from subsidy.proof.rules import Unknown

Fact = Mapping[str, Any]
#: On one day prepayments come after instalments, settlements after both.
_LATER = {"03": 1, "06": 2}
_UNREADABLE = ("DATE-DOMAIN", "AMOUNT-DOMAIN")
INSTALMENT_KINDS = ("02", "04", "05")


def is_part(row: Fact) -> bool:
    """True for a row that pays (a part of) a numbered instalment."""
    return row["kind"] in INSTALMENT_KINDS and row["instalment"] > 0


class Numbering:
    """Which instalment falls due when: the nearest numbered row before it fixes that, else the first one; without any, instalment 1 is due
    in the month after the disbursement. `parts`: a numbered row of each instalment."""

    def __init__(self, parts: Mapping[int, Fact], due_day: int, disbursed_on: date) -> None:
        self.due_day = due_day
        self._numbers = sorted(parts)
        self._zero = [nominal_month(parts[number]["due_on"], due_day) - number for number in self._numbers] or [month_number(disbursed_on)]

    def due(self, instalment: int) -> date:
        """The due date of an instalment; of 0: the due day before instalment 1."""
        place = bisect_right(self._numbers, instalment) - 1
        return due_date(self._zero[max(place, 0)] + instalment, self.due_day)

    def first_from(self, day: date) -> int:
        """The first instalment due on or after `day` by the first numbered row, at least 1."""
        instalment = month_number(day) - self._zero[0]
        return max(1, instalment if due_date(self._zero[0] + instalment, self.due_day) >= day else instalment + 1)


class Start(NamedTuple):
    """Where a running balance begins: its amount (None: not known), the first instalment that must have a row, the day of the TX02 that
    gave the amount (None: not a TX02), and whether it is only what the known rows of the first instalment bear."""

    balance_fen: int | None
    first: int
    status_on: date | None
    assumed: bool = False


class Balances:
    """Balances of one loan, from its live rows of kinds 02 to 06."""

    def __init__(
        self,
        rows: Iterable[Fact],
        disbursed_fen: int,
        statuses: Sequence[Fact],
        opened: bool,
        numbering: Numbering,
        set_aside: Mapping[str, str],
    ) -> None:
        """`set_aside`: why rows are quarantined by themselves; their principal counts, unless it cannot be read."""
        ordered = sorted(rows, key=lambda r: (r["accrual_to"], _LATER.get(r["kind"], 0), r["serial_no"]))
        start = _opening(ordered, statuses, set_aside) if opened and ordered else Start(disbursed_fen, 1, None)
        self._started = not start.assumed or self._borne_out(ordered, start, set_aside)
        readable = start.balance_fen is not None and self._started
        balance, expected = start.balance_fen or 0, start.first
        self._before: dict[str, tuple[int, bool]] = {}  # running balance before a row, and whether every instalment before it is known
        seen: set[int] = set()
        short: dict[int, int] = {}  # instalment paid in part -> what its rows so far bear less than was due with the first of them
        last: Fact | None = None  # the numbered row before
        late = False  # an instalment fell due between the TX02 of the start and the first numbered row (interpretation 26)
        for row in ordered:
            problem = set_aside.get(row["serial_no"])
            readable = readable and problem not in _UNREADABLE
            numbered = is_part(row) and problem != "ABOVE-TERM"
            if numbered:
                if not seen and start.status_on is not None:
                    late = due_date(nominal_month(row["due_on"], numbering.due_day) - 1, numbering.due_day) > start.status_on
                left = short.pop(row["instalment"], 0) if row["instalment"] in seen else balance
                left -= row["base_principal_fen"] if problem not in _UNREADABLE else 0
                if left > 0:
                    short[row["instalment"]] = left
                seen.add(row["instalment"])
                last = row
            while expected in seen:
                expected += 1
            complete = expected > max(seen, default=0) and start.first <= min(seen, default=start.first) and not late
            complete = complete and not short.keys() - ({row["instalment"]} if numbered else set())
            if row["kind"] == "03":
                complete = complete and self._nothing_due(row, last, start, numbering, opened)
            self._before[row["serial_no"]] = (balance, complete and readable)
            if problem not in _UNREADABLE:
                balance -= row["principal_repaid_fen"]

    @staticmethod
    def _borne_out(ordered: Sequence[Fact], start: Start, set_aside: Mapping[str, str]) -> bool:
        """The rows of a later instalment bear together just what the rows before them leave of the start, so nothing of it is missing."""
        balance = start.balance_fen or 0
        due: dict[int, int] = {}  # instalment -> what its rows so far leave of the balance before them
        for row in ordered:
            problem = set_aside.get(row["serial_no"])
            readable = problem not in _UNREADABLE
            if is_part(row) and problem != "ABOVE-TERM" and row["instalment"] > start.first:
                due[row["instalment"]] = due.get(row["instalment"], balance) - (row["base_principal_fen"] if readable else 0)
            balance -= row["principal_repaid_fen"] if readable else 0
        return 0 in due.values()

    @staticmethod
    def _nothing_due(row: Fact, last: Fact | None, start: Start, numbering: Numbering, opened: bool) -> bool:
        """No instalment without a row fell due on or before the end of a prepayment's period (interpretation 20)."""
        if last is not None:
            return due_date(nominal_month(last["due_on"], numbering.due_day) + 1, numbering.due_day) > row["accrual_to"]  # type: ignore[no-any-return]
        if not opened:
            return numbering.due(1) > row["accrual_to"]  # type: ignore[no-any-return]
        if start.status_on is None:
            return True
        after = date.fromordinal(start.status_on.toordinal() + 1)
        return next_due(after, numbering.due_day) > row["accrual_to"]  # type: ignore[no-any-return]

    def after(self, row: Fact) -> int:
        """What remains after `row`. Held as ``BALANCE-UNKNOWN`` when an instalment before it is missing and the bank sent no balance."""
        if row["balance_after_fen"] is not None:
            return int(row["balance_after_fen"])
        running, certain = self._before[row["serial_no"]]
        if not certain or running < row["principal_repaid_fen"]:
            raise Unknown("BALANCE-UNKNOWN", "hold")
        return running - int(row["principal_repaid_fen"])

    def due_with(self, first: Fact, base_fen: int) -> int:
        """B_k: what remained before the first row of an instalment whose rows have `base_fen` together.

        With a gap before it, the balance is known all the same when the rows cover it whole, if not the start was taken from these rows."""
        running, certain = self._before[first["serial_no"]]
        if first["balance_after_fen"] is not None:
            running, certain = first["balance_after_fen"] + first["principal_repaid_fen"], True
        if running <= 0 or not (certain or (running == base_fen and self._started)):
            raise Unknown("BALANCE-UNKNOWN", "hold")
        return running


def _opening(ordered: Sequence[Fact], statuses: Sequence[Fact], set_aside: Mapping[str, str]) -> Start:
    """After an opening: the latest TX02 before the day on which the first row's period ends, if nothing was overdue then, else the first
    known instalment, counted back. What is overdue is in a balance, and a row may be in that of its own day."""
    parts = [row for row in ordered if is_part(row) and set_aside.get(row["serial_no"]) != "ABOVE-TERM"]
    first = parts[0]["instalment"] if parts else 1
    known = [status for status in statuses if status["as_of"] < ordered[0]["accrual_to"]]
    if known and known[-1]["overdue_run"] == 0:
        return Start(known[-1]["balance_fen"], first, known[-1]["as_of"])
    if not parts:
        return Start(None, first, None)
    earlier = [row for row in ordered[: ordered.index(parts[0])] if set_aside.get(row["serial_no"]) not in _UNREADABLE]
    base = sum(row["base_principal_fen"] for row in parts if row["instalment"] == first)
    return Start(base + sum(row["principal_repaid_fen"] for row in earlier), first, None, assumed=True)
