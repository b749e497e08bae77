"""The engine: facts and policy in, entitlement lines and findings out (handbook sections 3 to 6). Pure and vectorised over a portfolio.

What a row is entitled to depends on its own loan alone, so the lines do not depend on which loans are assessed together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsidy.entitlement import domain, frame, numbering, parts, shadows, window
from subsidy.entitlement.balance import balances
from subsidy.entitlement.book import Book
from subsidy.entitlement.changes import Changes, changes_of
from subsidy.entitlement.codes import BALANCE_UNKNOWN, PROBLEMS, SHADOW_UNKNOWN, Problem
from subsidy.entitlement.columns import NO_DAY, Bool, Int64, UInt8, array_of
from subsidy.entitlement.figures import HOLD_BALANCE, HOLD_NONE, HOLD_SHADOW, Figures, figures_of
from subsidy.entitlement.findings import findings_of
from subsidy.entitlement.gates import Sight
from subsidy.entitlement.limits import Limited, limit
from subsidy.entitlement.lines import LINES, SHADOW, Assessment
from subsidy.entitlement.outcomes import (
    CLAWBACK,
    FORFEIT,
    HOLD,
    OPENING,
    OUTCOMES,
    PAY,
    QUARANTINED,
    REVERSED,
    STOP,
    Decisions,
    decide,
)
from subsidy.entitlement.parts import Parts
from subsidy.entitlement.rates import fund_rates
from subsidy.entitlement.shadow import KNOWN
from subsidy.entitlement.shadows import Shadows
from subsidy.entitlement.status import statuses_of
from subsidy.entitlement.trace import Trace
from subsidy.entitlement.verification import verified
from subsidy.entitlement.versions import Version, version_of
from subsidy.entitlement.window import Window
from subsidy.facts.schema import Facts
from subsidy.policy.model import METHODS, SHADOW_METHODS, CentrePolicy


@dataclass(frozen=True, slots=True)
class Working:
    """Everything an assessment computed, row by row; an explanation reads it."""

    book: Book
    changes: Changes
    parts: Parts
    version: Version
    sight: Sight
    decisions: Decisions
    window: Window
    figures: Figures
    figure: Int64  # of the row: sum so far less earlier parts; 0 where set aside
    limited: Limited
    shadows: Shadows | None
    outcome: UInt8
    reason: npt.NDArray[np.int16]
    entitled: Int64
    payable: Int64


def assess(facts: Facts, policy: CentrePolicy) -> Assessment:
    """Entitlement of all agreements in `facts` under `policy`.

    `facts` are Arrow tables as known on a day (`FactTable.arrow`), `policy` the centre whole: the version in force on a row's accrual_from
    decides it. Returns lines (schema `LINES`, sorted by agreement, accrual end, serial number as text), findings and shadow state. A row
    that cannot be assessed is a line with outcome ``quarantined`` and a finding; nothing that a loan contains stops the others. Raises
    nothing for data.
    """
    working = work(facts, policy)
    lines = lines_of(working)
    state = SHADOW.empty_table() if working.shadows is None else working.shadows.table
    return Assessment(lines, findings_of(working.book, working.changes, working.decisions.opening & working.decisions.clawed), state)


def work(facts: Facts, policy: CentrePolicy, trace: Trace | None = None) -> Working:
    """All steps of an assessment; `trace` collects what an explanation needs."""
    book = frame.build(facts, policy)
    rows = book.rows
    changes = changes_of(facts, book.loans)
    statuses = statuses_of(facts)
    numbering.number(book)
    domain.mark(book, changes)
    version = version_of(book)
    _check_contract_terms(book, version)
    grouped = parts.group(book)
    sight = Sight(book, statuses, verified(book, changes, version))
    decisions = decide(book, sight, changes, version)
    span = window.window_of(book, changes, statuses, version, decisions.stops)
    rates = fund_rates(policy.parameters)
    sound = (rows.problem == 0) & ~rows.reversed
    shadowing = _uses(book, version, [r.method in SHADOW_METHODS for r in policy.rules]) & sound & (grouped.group_of >= 0)
    by_balance = any(r.principal_cap == "on_balance" for r in policy.rules)
    balance = balances(book, statuses) if by_balance or shadowing.any() else None
    shadow = shadows.shadows_of(book, changes, grouped, balance, rates, shadowing) if balance is not None and shadowing.any() else None
    figures = figures_of(book, grouped, span, balance, shadow, rates, version, sound, trace)
    return _conclude(book, changes, grouped, version, sight, decisions, span, figures, shadow)


def _uses(book: Book, version: Version, rules: list[bool]) -> Bool:
    if all(rules) or not any(rules):
        return np.full(len(version), all(rules) and bool(rules))
    return np.asarray(np.array([*rules, False], bool)[version])


def _check_contract_terms(book: Book, version: Version) -> None:
    """Due day and repayment method matter only to some methods; where they do, nonsense is quarantined."""
    rows, loans, rules = book.rows, book.loans, book.policy.rules
    shadow = [r.method in SHADOW_METHODS for r in rules]
    monthly = [s or (r.method in ("spread", "points") and r.day_count == "monthly") for r, s in zip(rules, shadow, strict=True)]
    for loan, uses, problem in (
        (~((loans.repayment_method == 1) | (loans.repayment_method == 2)), shadow, Problem.METHOD_UNKNOWN),
        ((loans.due_day < 1) | (loans.due_day > 31), monthly, Problem.DUE_DAY_DOMAIN),
    ):
        if loan.any():
            rows.problem[loan[rows.loan] & _uses(book, version, uses) & (rows.problem == 0) & ~rows.reversed] = problem


def _conclude(
    book: Book,
    changes: Changes,
    grouped: Parts,
    version: Version,
    sight: Sight,
    decisions: Decisions,
    span: Window,
    figures: Figures,
    shadow: Shadows | None,
) -> Working:
    rows, reasons = book.rows, decisions.reasons
    outcome, reason = decisions.outcome.copy(), decisions.reason.copy()
    held = (figures.hold != HOLD_NONE) & (outcome != FORFEIT)
    outcome[held] = HOLD
    reason[held & (figures.hold == HOLD_BALANCE)] = reasons.number(BALANCE_UNKNOWN)
    reason[held & (figures.hold == HOLD_SHADOW)] = reasons.number(SHADOW_UNKNOWN)
    for where, what, why in (
        (decisions.clawed, CLAWBACK, "CLAWBACK"),
        (decisions.opening, OPENING, "OPENING"),
        (rows.reversed, REVERSED, "REVERSED"),
    ):
        if where.any():
            outcome[where], reason[where] = what, reasons.number(why)
    bad = np.flatnonzero(rows.problem > 0)
    if len(bad):
        names = np.array([0, *(reasons.number(p.code) for p in PROBLEMS)], np.int16)
        outcome[bad], reason[bad] = QUARANTINED, names[rows.problem[bad]]
    figure = parts.differences(grouped, figures.figure)
    np.copyto(figure, 0, where=(outcome == REVERSED) | (outcome == QUARANTINED) | (figures.hold != HOLD_NONE))
    pays = (outcome == PAY) | (outcome == STOP)
    limited = limit(book, grouped, version, figure, pays | (outcome == HOLD))
    entitled = limited.after_life
    payable = entitled * pays
    _say_why(book, span, figures, figure, limited, outcome == PAY, reason, decisions)
    return Working(
        book, changes, grouped, version, sight, decisions, span, figures, figure, limited, shadow, outcome, reason, entitled, payable
    )


def _say_why(
    book: Book,
    span: Window,
    figures: Figures,
    figure: Int64,
    limited: Limited,
    paid: Bool,
    reason: npt.NDArray[np.int16],
    decisions: Decisions,
) -> None:
    """Reason of a paid line that is zero, or smaller than its figure; the last limit that took something away is named."""
    reasons = decisions.reasons
    paid = paid & (reason == 0)
    for before, after, name in (
        (figure, limited.after_other, "LIMIT-OTHER"),
        (limited.after_other, limited.after_month, "LIMIT-MONTH"),
        (limited.after_month, limited.after_life, "LIMIT-LIFE"),
    ):
        if before is not after:
            np.copyto(reason, np.int16(reasons.number(name)), where=paid & (after < before))
    zero = paid & (limited.after_life == 0)
    np.copyto(reason, np.int16(reasons.number("NO-SPREAD")), where=zero & figures.no_spread & (figure == 0))
    np.copyto(reason, np.int16(reasons.number("WINDOW")), where=zero & (span.days <= 0) & (figure == 0))
    np.copyto(reason, np.int16(reasons.number("NO-INTEREST")), where=zero & (book.rows.interest == 0))


def lines_of(working: Working) -> pa.Table:
    """The lines of an assessment, schema `LINES`."""
    book, rows = working.book, working.book.rows
    facts = book.facts["transaction"]
    source = pa.array(rows.source)
    # Rows that stand in the order of their facts, none left out, need no gathering.
    same = len(rows) == facts.num_rows and bool((rows.source[1:] > rows.source[:-1]).all())

    def fact(name: str) -> pa.Array:
        values = array_of(facts, name)
        if same:
            return values
        if values.null_count or pa.types.is_string(values.type):
            return values.take(source)
        plain = values.view(pa.int32()) if pa.types.is_date32(values.type) else values
        return pa.array(plain.to_numpy()[rows.source]).view(values.type)

    def day(values: npt.NDArray[np.int32]) -> pa.Array:
        # A date that was not sent stays absent.
        missing = values == NO_DAY if len(values) and values.min() == NO_DAY else None
        return pa.array(values, mask=missing).view(pa.date32())

    days = rows.accrual_to.astype(np.int64) - rows.accrual_from
    balance, interest, principal = _shadow_columns(working)
    columns = {
        "agreement_no": book.loans.agreement_no.take(pa.array(rows.loan)),
        "account_no": fact("account_no"),
        "serial_no": fact("serial_no"),
        "bucket": fact("bucket"),
        "kind": fact("kind"),
        "instalment": pa.array(rows.instalment),
        "accrual_from": day(rows.accrual_from),
        "accrual_to": day(rows.accrual_to),
        "due_on": day(rows.due_on),
        "paid_on": day(rows.paid_on),
        "booked_on": fact("booked_on"),
        "interest_fen": pa.array(rows.interest),
        "base_principal_fen": pa.array(rows.base),
        "rate_ppm": pa.array(rows.rate),
        "fund_rate_ppm": pa.array(working.figures.fund_rate),
        "days": pa.array(np.clip(days, -(2**31), 2**31 - 1).astype(np.int32)),
        "days_inside": pa.array(working.window.days),
        "method": _names(working.figures.method, list(METHODS)),
        "figure_fen": pa.array(working.figure),
        "entitled_fen": pa.array(working.entitled),
        "payable_fen": pa.array(working.payable),
        "outcome": _names(working.outcome, list(OUTCOMES)),
        "reason": _names(working.reason, working.decisions.reasons.names),
        "rule_version": _names(working.version.astype(np.int32) + 1, ["", *(r.version_id for r in book.policy.rules)]),
        "shadow_balance_fen": pa.array(balance),
        "shadow_interest_fen": pa.array(interest),
        "shadow_principal_fen": pa.array(principal),
        "file_no": fact("file_no"),
        "line_no": fact("line_no"),
    }
    return pa.Table.from_arrays([columns[name] for name in LINES.names], schema=LINES)


def _shadow_columns(working: Working) -> tuple[Int64, Int64, Int64]:
    count = len(working.book.rows)
    none = np.full(count, -1, np.int64)
    if working.shadows is None:
        return none, none, none
    balance, interest, principal = none, none.copy(), none.copy()
    group = working.parts.group_of
    shadow_method = np.array([m in SHADOW_METHODS for m in METHODS])[working.figures.method]
    at = np.flatnonzero((group >= 0) & shadow_method)
    at = at[working.shadows.unknown[group[at]] == KNOWN]
    balance[at] = working.shadows.balance[group[at]]
    interest[at] = working.shadows.interest[group[at]]
    principal[at] = working.shadows.principal[group[at]]
    return balance, interest, principal


def _names(numbers: npt.NDArray[np.integer], names: list[str]) -> pa.Array:
    if not len(numbers) or numbers.min() == numbers.max():
        only = names[int(numbers[0])] if len(numbers) else ""
        return pa.repeat(pa.scalar(only, pa.string()), len(numbers))
    codes = pa.array(numbers.astype(np.int32))
    return pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string())).cast(pa.string())
