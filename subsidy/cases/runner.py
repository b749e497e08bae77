"""Runs a worked case through the engine and the second computation, as known on each of its settlement days."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from subsidy.calendar import SettlementDates, WorkingDays, settlement_of
from subsidy.cases.model import Case, Expected, Settlement
from subsidy.entitlement.engine import assess
from subsidy.entitlement.lines import Assessment
from subsidy.errors import TerminalError
from subsidy.facts.schema import TABLES, Facts
from subsidy.policy import policy_as_data
from subsidy.policy.model import CentrePolicy
from subsidy.proof import Difference, check, recompute

ONE_DAY = timedelta(days=1)
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a settlement: what was expected, what the engine computed, and the columns that differ.

    `amount_fen` is what the settlement adds. `line` is None when the row has no line. `expected` is None for a row that the case does
    not name: it must add nothing."""

    serial_no: str
    amount_fen: int
    line: Line | None
    expected: Expected | None
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One settlement of a case as computed. `problem` says why the day cannot be a settlement day; empty when it can."""

    settlement: Settlement
    dates: SettlementDates
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    facts: Facts
    problem: str = ""

    @property
    def ok(self) -> bool:
        """True when everything is as expected and both computations agree."""
        return not self.problem and not self.differences and not any(row.wrong for row in self.rows)


@dataclass(frozen=True, slots=True)
class Result:
    """A case with all its settlements. `policy` is the one it ran under."""

    case: Case
    policy: CentrePolicy
    outcomes: tuple[Outcome, ...]

    @property
    def ok(self) -> bool:
        """True when every settlement is as expected."""
        return all(outcome.ok for outcome in self.outcomes)


def facts_known(case: Case, known_on: date) -> Facts:
    """The facts of `case` as known on a day: the last version of each row, nothing withdrawn."""
    latest: dict[tuple[Any, ...], Any] = {}
    for fact in sorted(case.facts, key=lambda f: (f.known_on, f.line_no)):
        if fact.known_on <= known_on:
            key = TABLES[fact.table].key
            latest[(fact.table, *(fact.row[c] for c in key)) if key else (fact.table, fact.line_no)] = fact
    tables = {}
    for name, table in TABLES.items():
        rows = [
            {
                **{c.name: fact.row.get(c.name) for c in table.columns},
                "bucket": 0, "known_on": fact.known_on, "file_no": 1, "line_no": fact.line_no, "occurrence": 0, "withdrawn": False,
            }
            for fact in latest.values()
            if fact.table == name and not fact.withdrawn
        ]  # fmt: skip
        tables[name] = pa.Table.from_pylist(rows, schema=table.arrow)
    claimed = case.claimed_on is not None and case.claimed_on <= known_on and (case.cleared_on is None or known_on < case.cleared_on)
    agreements = tables["agreement"]["agreement_no"].to_pylist() if claimed else []
    return Facts(tables, frozenset(agreements))


def run_case(
    case: Case, policy: CentrePolicy, working_days: WorkingDays, engine: Callable[[Facts, CentrePolicy], Assessment] = assess
) -> Result:
    """Compute `case` under `policy`; its own go-live day, if it has one, replaces the policy's.

    On each settlement day the engine sees what was known in the night before it. The settlement adds, for every row booked by the cut-off
    or paid before, what is payable now less what earlier settlements added (handbook sections 2 and 6)."""
    if case.go_live is not None:
        policy = replace(policy, go_live=case.go_live)
    plain = policy_as_data(policy)
    posted: dict[str, int] = {}
    outcomes = []
    for settlement in case.settlements:
        dates, problem = settlement_dates(policy, settlement.settlement_on, working_days)
        facts = facts_known(case, dates.night)
        lines = engine(facts, policy).lines.to_pylist()
        rows = {name: table.to_pylist() for name, table in facts.tables.items()}
        differences = check(lines, recompute({**rows, "claims": facts.claims}, plain))
        outcomes.append(Outcome(settlement, dates, _rows(settlement, lines, posted, dates.cutoff_on), tuple(differences), facts, problem))
    return Result(case, policy, tuple(outcomes))


def settlement_dates(policy: CentrePolicy, day: date, working_days: WorkingDays) -> tuple[SettlementDates, str]:
    """Night and cut-off of the settlement on `day`, and why the centre's terms have none on that day (empty when they do).

    Days before the first terms (cases of the past) are taken as they are, under the first terms."""
    try:
        terms, lawful = policy.settlement_on(day), True
    except KeyError:
        terms, lawful = policy.settlement[0], False
    cutoff_on = day - ONE_DAY if terms.cutoff == "day_before" else day.replace(day=1) - ONE_DAY
    dates = SettlementDates(f"{cutoff_on:%Y-%m}", day, cutoff_on, day - ONE_DAY)
    if not lawful or day < policy.go_live:
        return dates, ""
    months = [day.year * 12 + day.month - 1 + step for step in (-1, 0, 1)]
    try:
        around = [settlement_of(terms, month // 12, month % 12 + 1, working_days) for month in months]
    except TerminalError as error:
        return dates, error.message.what
    days = [found.settlement_on for found in around if found is not None]
    if day in days:
        return dates, ""
    near = "、".join(found.isoformat() for found in days) or "无"
    return dates, f"{day.isoformat()} 不是结算日（前后各一月的结算日：{near}）"


def _rows(settlement: Settlement, lines: list[Line], posted: dict[str, int], cutoff_on: date) -> tuple[Row, ...]:
    by_serial = {line["serial_no"]: line for line in lines}
    expected = {row.serial_no: row for row in settlement.rows}
    rows = []
    for serial in sorted(by_serial.keys() | posted.keys() | expected.keys(), key=lambda s: _order(by_serial.get(s), s)):
        line = by_serial.get(serial)
        before = posted.get(serial, 0)
        taken = line is not None and (line["booked_on"] <= cutoff_on or before)
        amount = (line["payable_fen"] if taken and line is not None else 0) - before
        posted[serial] = before + amount
        wanted = expected.get(serial)
        if wanted is not None or amount:
            rows.append(Row(serial, amount, line, wanted, _wrong(wanted, amount, line)))
    return tuple(rows)


def _order(line: Line | None, serial: str) -> tuple[date, str]:
    return (line["accrual_to"] if line else date.max, serial)


def _wrong(wanted: Expected | None, amount: int, line: Line | None) -> tuple[str, ...]:
    wrong = []
    if amount != (wanted.amount_fen or 0 if wanted is not None else 0):
        wrong.append("amount_fen")
    if wanted is not None:
        for name in ("figure_fen", "entitled_fen", "outcome", "reason"):
            value = getattr(wanted, name)
            if value is not None and (line is None or line[name] != value):
                wrong.append(name)
    return tuple(wrong)
