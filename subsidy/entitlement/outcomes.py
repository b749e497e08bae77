"""Outcome and reason of every row: precedence, gates, suspension, clawback (handbook section 5; interpretations, points 14 to 16)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from subsidy.calendar import add_months, day_number
from subsidy.entitlement.book import Book
from subsidy.entitlement.changes import Changes
from subsidy.entitlement.columns import FAR, NO_DAY, Bool, Index, Int32, UInt8
from subsidy.entitlement.gates import GateFacts, Sight, first_match
from subsidy.entitlement.suspension import Episodes, suspend
from subsidy.entitlement.versions import Version, each
from subsidy.policy.model import RuleVersion

OUTCOMES = ("pay", "hold", "forfeit", "stop", "reversed", "quarantined", "opening", "clawback")
PAY, HOLD, FORFEIT, STOP, REVERSED, QUARANTINED, OPENING, CLAWBACK = range(8)


class ReasonTable:
    """Reason codes as small numbers; 0 is the empty reason."""

    def __init__(self) -> None:
        self.names = [""]
        self._number = {"": 0}

    def number(self, name: str) -> int:
        """Number of a reason code, new if it was not met before."""
        if name not in self._number:
            self._number[name] = len(self.names)
            self.names.append(name)
        return self._number[name]


@dataclass(frozen=True, slots=True)
class Decisions:
    """Per row: what gates and suspension decide, its reason (number in `reasons`), the position of the gate that matched (-1: none was
    asked), and the day of cure that released it (NO_DAY, or FAR). `clawed` rows are in a clawback range; `asked` were asked of gates;
    `stops` met a stop gate, also those that a cure forfeits."""

    outcome: UInt8
    reason: npt.NDArray[np.int16]
    gate: npt.NDArray[np.int16]
    cured_on: Int32
    clawed: Bool
    asked: Bool
    opening: Bool
    stops: Bool
    reasons: ReasonTable
    episodes: Episodes


def decide(book: Book, sight: Sight, changes: Changes, version: Version) -> Decisions:
    """Ask the gates of every row that is neither reversed, quarantined nor of the opening."""
    rows = book.rows
    opening = rows.accrual_to < day_number(book.policy.go_live)
    asked = ~rows.reversed & (rows.problem == 0) & ~opening
    episodes, cured_on = suspend(book, sight, changes, version, asked)
    outcome, stops = np.full(len(rows), HOLD, np.uint8), np.zeros(len(rows), bool)
    reason, gate = np.zeros(len(rows), np.int16), np.full(len(rows), -1, np.int16)
    reasons = ReasonTable()
    for rule, at in each(book, version, asked):
        if not len(at):
            continue
        released = at[:0]
        if rule.suspension is not None:
            released = at[sight.cured[at]]
            sight.suspended[released] = False  # the gate of the suspension has cleared, the others have not
        match = first_match(rule.gates, GateFacts(sight, at), len(at))
        # A table whose last row is conditional is refused when it is loaded; a row that no gate takes is held.
        of_gate = np.array([*(OUTCOMES.index(g.outcome) for g in rule.gates), HOLD], np.uint8)
        why = np.array(
            [*(0 if g.outcome == "pay" else reasons.number(g.reason) for g in rule.gates), reasons.number("GATE-NONE")], np.int16
        )
        to: Index | slice = slice(None) if len(at) == len(rows) else at
        gate[to], outcome[to], reason[to] = match, of_gate[match], why[match]
        if STOP in of_gate:
            stops[to] = outcome[to] == STOP
        if len(released):
            lost, reason_code = _lost_by_cure(rule, released, rows.accrual_to[released], cured_on[released], outcome[released])
            outcome[lost], reason[lost] = FORFEIT, reasons.number(reason_code)
    return Decisions(outcome, reason, gate, cured_on, _clawed(book, changes), asked, opening, stops, reasons, episodes)


def _lost_by_cure(rule: RuleVersion, at: Index, accrual_to: Int32, cured_on: Int32, outcome: UInt8) -> tuple[Index, str]:
    """Rows of a suspended period that its cure forfeits: all of them where the centre says so, else those too old to be paid later."""
    assert rule.suspension is not None
    if rule.suspension.after_cure == "forfeit":
        return at[outcome != FORFEIT], "SUSPENSION-FORFEIT"
    if rule.back_pay_months is None:
        return at[:0], "BACK-PAY"
    late = add_months(accrual_to.astype(np.int64), rule.back_pay_months) < cured_on
    return at[late & ((outcome == PAY) | (outcome == STOP))], "BACK-PAY"


def _clawed(book: Book, changes: Changes) -> Bool:
    """Rows whose accrual end lies in a clawback range, both ends included."""
    rows = book.rows
    at = changes.of("clawback")
    at = at[(changes.range_from[at] != NO_DAY) & (changes.range_to[at] != NO_DAY) & (changes.range_from[at] <= changes.range_to[at])]
    if not len(at):
        return np.zeros(len(rows), bool)
    clawed = np.zeros(len(rows), bool)
    first, end = np.searchsorted(rows.loan, changes.loan[at], "left"), np.searchsorted(rows.loan, changes.loan[at], "right")
    for begin, stop, low, high in zip(first, end, changes.range_from[at], changes.range_to[at], strict=True):
        accrual_to = rows.accrual_to[begin:stop]
        clawed[begin:stop] |= (accrual_to >= low) & (accrual_to <= high)
    return clawed


__all__ = ["CLAWBACK", "FAR", "FORFEIT", "HOLD", "OPENING", "OUTCOMES", "PAY", "QUARANTINED", "REVERSED", "STOP", "Decisions", "decide"]
