"""Whether a condition can hold at all, decided without data.

Every fact is an independent variable, and a condition compares facts with literals only. Between two neighbouring literals a fact may take
any value without changing the outcome, so one representative per piece of its domain decides. The search branches over the pieces of one
fact after another; it is exact, and gives up (None) beyond a fixed number of steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from subsidy.policy.conditions import ALWAYS, FIRST_DATE, LAST_DATE, OPERATORS
from subsidy.policy.model import GATE_FACTS, Condition

_MAX_STEPS = 50_000
#: Facts that count something or are amounts: never negative. Days late may be: a borrower can pay early.
_NOT_NEGATIVE = frozenset(
    name for name, (kind, _) in GATE_FACTS.items() if kind in ("int", "fen", "ppm") and name != "days_late"
)
_NEVER: Condition = ("not", ALWAYS)


def satisfiable(condition: Condition) -> bool | None:
    """Whether some values of the facts make `condition` true; None when that was not decided within the limit of steps."""
    search = _Search()
    return search.run(_expand(condition))


def shadowed(condition: Condition, earlier: Sequence[Condition]) -> bool | None:
    """Whether every row for which `condition` holds meets one of `earlier` first; None when undecided."""
    found = satisfiable(("and", condition, *(("not", c) for c in earlier)))
    return None if found is None else not found


class _Search:
    def __init__(self) -> None:
        self.steps = 0

    def run(self, condition: Condition) -> bool | None:
        condition = _fold(condition)
        if condition in (ALWAYS, _NEVER):
            return condition == ALWAYS
        fact = _first_fact(condition)
        undecided = False
        for value in _representatives(fact, _literals(condition, fact)):
            self.steps += 1
            if self.steps > _MAX_STEPS:
                return None
            found = self.run(_assign(condition, fact, value))
            if found:
                return True
            undecided |= found is None
        return None if undecided else False


def _expand(condition: Condition) -> Condition:
    """The one fact that another one decides: contributions have lapsed when the status is not 01."""
    head = condition[0]
    if head in ("and", "or", "not"):
        return (head, *(_expand(part) for part in condition[1:]))
    if condition == ("fact", "contributions_lapsed"):
        return ("compare", "!=", "contribution_status", "01")
    return condition


def _first_fact(condition: Condition) -> str:
    while condition[0] in ("and", "or", "not"):
        condition = condition[1]
    return str(condition[2] if condition[0] == "compare" else condition[1])


def _literals(condition: Condition, fact: str) -> set[Any]:
    head = condition[0]
    if head in ("and", "or", "not"):
        return set().union(*(_literals(part, fact) for part in condition[1:]))
    if head == "compare" and condition[2] == fact:
        return {condition[3]}
    if head == "in" and condition[1] == fact:
        return set(condition[2])
    return set()


def _representatives(fact: str, literals: set[Any]) -> list[Any]:
    kind = GATE_FACTS[fact][0]
    if kind == "bool":
        return [True, False]
    if isinstance(kind, tuple):
        return list(kind)
    step: Any = timedelta(days=1) if kind == "date" else 1
    points = {p for v in literals for p in (v - step, v, v + step)}
    if kind == "date":
        return [p for p in sorted(points | {FIRST_DATE, LAST_DATE}) if FIRST_DATE <= p <= LAST_DATE]
    return [p for p in sorted(points | {0}) if p >= 0 or fact not in _NOT_NEGATIVE]


def _assign(condition: Condition, fact: str, value: Any) -> Condition:
    head = condition[0]
    if head in ("and", "or", "not"):
        return (head, *(_assign(part, fact, value) for part in condition[1:]))
    if head == "compare" and condition[2] == fact:
        return _constant(OPERATORS[condition[1]](value, condition[3]))
    if head == "in" and condition[1] == fact:
        return _constant(value in condition[2])
    if head == "fact" and condition[1] == fact:
        return _constant(bool(value))
    return condition


def _constant(holds: bool) -> Condition:
    return ALWAYS if holds else _NEVER


def _fold(condition: Condition) -> Condition:
    head = condition[0]
    if head == "not":
        inner = _fold(condition[1])
        return inner[1] if inner[0] == "not" else ("not", inner)
    if head not in ("and", "or"):
        return condition
    neutral, decisive = (ALWAYS, _NEVER) if head == "and" else (_NEVER, ALWAYS)
    parts = []
    for part in condition[1:]:
        folded = _fold(part)
        if folded == decisive:
            return decisive
        if folded != neutral:
            parts.append(folded)
    if not parts:
        return neutral
    return parts[0] if len(parts) == 1 else (head, *parts)
