"""What was the state of a loan when a row fell due: overdue counts, contributions, suspensions (handbook section 5)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from operator import itemgetter
from typing import Any, NamedTuple

from subsidy.proof.balance import Fact
from subsidy.proof.rules import Test

AS_OF = itemgetter("as_of")
#: What holds where there is neither a status nor an opening.
REGULAR = {"overdue_run": 0, "overdue_total": 0, "contribution_status": "01", "loan_status": "normal"}


class History(NamedTuple):
    """TX02 rows of one loan by day, and its opening."""

    rows: Sequence[Fact]
    opening: Fact | None

    def on(self, day: date) -> Fact:
        """The latest status on or before `day`; ahead of the first, the counts of the opening."""
        place = bisect_right(self.rows, day, key=AS_OF)
        if place:
            return self.rows[place - 1]
        return REGULAR if self.opening is None else {**REGULAR, **{name: self.opening[name] for name in ("overdue_run", "overdue_total")}}

    def after(self, day: date) -> Sequence[Fact]:
        """All statuses after `day`."""
        return self.rows[bisect_right(self.rows, day, key=AS_OF) :]


def status_facts(status: Fact) -> dict[str, Any]:
    """The condition facts that come from a status."""
    contributions = status["contribution_status"]
    return {
        "overdue_run": status["overdue_run"],
        "overdue_total": status["overdue_total"],
        "contribution_status": contributions,
        "contributions_lapsed": contributions != "01",
        "loan_status": status["loan_status"],
    }


class Interval(NamedTuple):
    """A suspension: its first day, and the day of its cure once that is known."""

    begins_on: date
    cured_on: date | None

    def covers(self, row: Fact) -> bool:
        """True when the row fell due under this suspension and its period began before the cure."""
        return bool(row["due_on"] >= self.begins_on and (self.cured_on is None or row["accrual_from"] < self.cured_on))


class Asked(NamedTuple):
    """A row, the suspension condition of its version (None: never suspends), and its condition facts on its due date, not suspended."""

    row: Fact
    suspends: Test | None
    facts: Mapping[str, Any]


def by_status(asked: Iterable[Asked], history: History) -> list[Interval]:
    """Suspensions that the status rows bring about and cure (interpretation 5)."""
    ordered = sorted(asked, key=lambda a: (a.row["due_on"], a.row["accrual_to"], a.row["serial_no"]))
    found: list[Interval] = []
    resumed = date.min
    for entry in ordered:
        begins = entry.row["due_on"]
        if begins < resumed or entry.suspends is None or not entry.suspends(entry.facts):
            continue
        cured = _cure_day(ordered, history, begins)
        found.append(Interval(begins, cured))
        if cured is None:
            break
        resumed = cured
    return found


def _cure_day(ordered: Sequence[Asked], history: History, begins: date) -> date | None:
    for status in history.after(begins):
        last = [entry for entry in ordered if entry.row["due_on"] <= status["as_of"]][-1]
        if last.suspends is None or not last.suspends({**last.facts, **status_facts(status)}):
            return status["as_of"]  # type: ignore[no-any-return]
    return None


def by_change(changes: Iterable[Fact]) -> list[Interval]:
    """Suspensions ordered by TX03 and ended by it alone. `changes` in the order of their effective dates."""
    found: list[Interval] = []
    begun: date | None = None
    for change in changes:
        if change["kind"] == "suspend" and begun is None:
            begun = change["effective_on"]
        elif change["kind"] == "resume" and begun is not None:
            found.append(Interval(begun, change["effective_on"]))
            begun = None
    if begun is not None:
        found.append(Interval(begun, None))
    return found


def joined(intervals: Iterable[Interval]) -> list[Interval]:
    """Overlapping suspensions as one, from the first beginning to the last cure."""
    found: list[Interval] = []
    for interval in sorted(intervals, key=lambda i: i.begins_on):
        last = found[-1] if found else None
        if last is None or (last.cured_on is not None and last.cured_on <= interval.begins_on):
            found.append(interval)
        elif last.cured_on is not None:
            later = None if interval.cured_on is None else max(last.cured_on, interval.cured_on)
            found[-1] = Interval(last.begins_on, later)
    return found
