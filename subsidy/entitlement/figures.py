"""The six methods: one exact rational per row, rounded once (handbook section 4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from subsidy.entitlement.balance import Balance
from subsidy.entitlement.book import Book
from subsidy.entitlement.codes import Problem
from subsidy.entitlement.columns import Bool, Index, Int32, Int64, UInt8
from subsidy.entitlement.dates import monthly_360ths
from subsidy.entitlement.frame import PREPAYMENT
from subsidy.entitlement.parts import Parts
from subsidy.entitlement.rates import FundRates, Whose
from subsidy.entitlement.segments import Periods, cap_of, first_rate, spread_days, weight_of
from subsidy.entitlement.shadow import KNOWN, NO_BALANCE, NO_RATE
from subsidy.entitlement.shadows import NONE, Shadows, whose_of
from subsidy.entitlement.trace import Trace
from subsidy.entitlement.versions import Version, each
from subsidy.entitlement.window import Window
from subsidy.money import fits, muldiv_round
from subsidy.policy.model import METHODS, SHADOW_METHODS, RuleVersion

MILLION = 1_000_000
RATIO = METHODS.index("ratio")

#: Why a figure is not known although the row itself is sound.
HOLD_NONE, HOLD_BALANCE, HOLD_SHADOW = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Figures:
    """Per row: rounded figure of the row in fen, the method applied (position in `METHODS`), the fund rate of the first segment (-1: none),
    whether the row or its instalment so far has no spread, and why the figure is not known (`HOLD_...`)."""

    figure: Int64
    method: UInt8
    fund_rate: Int64
    no_spread: Bool
    hold: UInt8


@dataclass(frozen=True, slots=True)
class Share:
    """w as an exact fraction of two columns. `subsidised` is w·P where that is whole (on_balance), else None."""

    numerator: Int64
    denominator: Int64
    subsidised: Int64 | None


class Inputs:
    """The rows `at` of one rule version as columns; sums so far where a row is part of an instalment."""

    def __init__(self, book: Book, parts: Parts, window: Window, rule: RuleVersion, at: Index) -> None:
        rows = book.rows
        self.book, self.rule, self.at = book, rule, at
        # The positions ascend: as many as rows are all rows, which need no gathering.
        self.pick = pick = slice(None) if len(at) == len(rows) else at
        self.loan = rows.loan[pick]
        self.interest, self.principal, self.base = parts.interest[pick], parts.principal[pick], parts.base[pick]
        self.rate = rows.rate[pick]
        start, end = rows.accrual_from[pick], rows.accrual_to[pick]
        inside_from, inside_to = window.inside_from[pick], window.inside_to[pick]
        self.days = (end - start).astype(np.int64)
        self.inside = (inside_to - inside_from).astype(np.int64)
        self.periods = Periods(start, end, inside_from, inside_to, self.rate, whose_of(book, self.loan))

    def due_day(self) -> Int32:
        """Due day of each row's contract."""
        return self.book.loans.due_day[self.loan]


def figures_of(
    book: Book,
    parts: Parts,
    window: Window,
    balance: Balance | None,
    shadows: Shadows | None,
    rates: FundRates,
    version: Version,
    among: Bool,
    trace: Trace | None = None,
) -> Figures:
    """Figures of the rows `among`, before gates and limits. Rows whose rate is not known become quarantined (`Problem.RATE_UNKNOWN`).

    `balance` is needed for on_balance and shadow methods, `shadows` for shadow methods.
    """
    rows = book.rows
    count = len(rows)
    sums = np.zeros(count, np.int64)
    out = Figures(sums, np.zeros(count, np.uint8), np.full(count, -1, np.int64), np.zeros(count, bool), np.zeros(count, np.uint8))
    share_top, share_bottom = book.loans.share_top, book.loans.share_bottom
    for rule, at in each(book, version, among):
        out.method[at] = METHODS.index(rule.method)
        if rule.method in SHADOW_METHODS:
            grouped = parts.group_of[at] >= 0
            out.method[at[~grouped]] = RATIO
            at = _worth(book, parts, window, at)
            grouped = parts.group_of[at] >= 0
            if shadows is not None:
                _shadow_rows(out, Inputs(book, parts, window, rule, at[grouped]), shadows, rates, parts, share_top, share_bottom, trace)
            at = at[~grouped]
        else:
            at = _worth(book, parts, window, at)
        if not len(at):
            continue
        given = Inputs(book, parts, window, rule, at)
        share = Share(share_top[given.loan], share_bottom[given.loan], None)
        if rule.principal_cap == "on_balance" and balance is not None:
            share, known = _on_balance(given, balance)
            out.hold[at[~known]] = HOLD_BALANCE
        _plain_rows(out, given, share, rates, trace)
    return out


def _worth(book: Book, parts: Parts, window: Window, at: Index) -> Index:
    """The rows that can have a figure at all: interest so far, days, principal and rate above zero, a day inside the window."""
    rows = book.rows
    good = (parts.interest > 0) & (parts.base > 0) & (rows.rate > 0)
    good &= (window.inside_to > window.inside_from) & (rows.accrual_to > rows.accrual_from)
    if good.all():
        return at
    return np.flatnonzero(good) if len(at) == len(rows) else at[good[at]]


def _reduced(top: Int64, bottom: Int64) -> tuple[Int64, Int64]:
    """The fraction in lowest terms, so that products stay small; 0/1 where it has no meaning (such loans are quarantined)."""
    sound = (bottom > 0) & (top > 0)
    top, bottom = np.where(sound, top, 0), np.where(sound, bottom, 1)
    common = np.gcd(top, bottom)
    return top // common, bottom // common


def _on_balance(given: Inputs, balance: Balance) -> tuple[Share, Bool]:
    rows, subsidised = given.book.rows, given.book.loans.subsidised_fen[given.loan]
    remaining = np.zeros(len(given.at), np.int64)
    known = np.ones(len(given.at), bool)
    prepaid = np.flatnonzero((rows.kind[given.at] == PREPAYMENT) & (rows.principal[given.at] != 0))
    if len(prepaid):
        value, sure = balance.remaining(given.book)
        remaining[prepaid], known[prepaid] = np.maximum(value[given.at[prepaid]], 0), sure[given.at[prepaid]]
    share = np.minimum(remaining + given.base, subsidised) - np.minimum(remaining, subsidised)
    return Share(share, given.base, share), known


def _plain_rows(out: Figures, given: Inputs, share: Share, rates: FundRates, trace: Trace | None) -> None:
    """Methods ratio, spread, points and share; also the rows of shadow methods that are assessed with ratio."""
    rule, at = given.rule, given.at
    method = "ratio" if rule.method in SHADOW_METHODS else rule.method
    if method == "share":
        assert rule.share_ppm is not None
        numerators: Sequence[Int64 | int] = (share.numerator, given.interest, given.inside, rule.share_ppm)
        denominators: Sequence[Int64 | int] = (share.denominator, given.days, MILLION)
        _finish(out, given, share, numerators, denominators, True, trace)
        return
    if method == "points":
        assert rule.points_ppm is not None
        weighted = weight_of(rule)(given.periods.inside_from, given.periods.inside_to) * rule.points_ppm
        _by_principal(out, given, share, weighted, trace)
        return
    fund = first_rate(rule, rates, given.periods)
    capped, unknown = given.rate, fund < 0
    if rule.rate_cap and rule.method not in SHADOW_METHODS:
        cap = cap_of(rule.rate_cap, given.book.policy.parameters, given.periods.accrual_from)
        capped, unknown = np.minimum(given.rate, cap), unknown | (cap < 0)
        if trace is not None:
            trace.note(at, cap_ppm=cap)
    gaps = np.flatnonzero(unknown)
    _quarantine(given.book, at[gaps])
    out.fund_rate[given.pick] = fund
    weighted = spread_days(rule, rates, given.periods, capped, fund, None if trace is None else trace.pieces(at))
    weighted[gaps] = 0
    out.no_spread[given.pick] = weighted == 0
    if method == "ratio":
        # The spread never exceeds the commercial rate, so the limit w·I·(days inside / n) holds by itself.
        _finish(out, given, share, (share.numerator, given.interest, weighted), (share.denominator, given.days, given.rate), False, trace)
    else:
        _by_principal(out, given, share, weighted, trace)


def _by_principal(out: Figures, given: Inputs, share: Share, weighted: Int64, trace: Trace | None) -> None:
    """w · P · Σ rate_s · yf_s for `spread` and `points`."""
    rule = given.rule
    top: tuple[Int64 | int, ...]
    bottom: tuple[Int64 | int, ...]
    if share.subsidised is not None:
        top, bottom = (share.subsidised, weighted), ()
    else:
        top, bottom = (share.numerator, given.base, weighted), (share.denominator,)
    if rule.day_count != "monthly":
        per_year = 365 if rule.day_count == "actual/365" else 360
        _finish(out, given, share, top, (*bottom, per_year * MILLION), True, trace)
        return
    part = monthly_360ths(given.periods.accrual_from, given.periods.accrual_to, given.due_day()).astype(np.int64)
    if (part == 30).all():
        # One month is 30/360 = 1/12 of a year: smaller products, the same fraction.
        _finish(out, given, share, top, (*bottom, given.days, 12 * MILLION), True, trace)
    else:
        _finish(out, given, share, (*top, part), (*bottom, given.days, 360 * MILLION), True, trace)
    if trace is not None:
        trace.note(given.at, monthly_360ths=part)


def _finish(
    out: Figures,
    given: Inputs,
    share: Share,
    numerators: Sequence[Int64 | int],
    denominators: Sequence[Int64 | int],
    limited: bool,
    trace: Trace | None,
) -> None:
    """Round the one rational of each row; `limited`: to at most w·I·(days inside / n). Rounding keeps order, so the smaller of the rounded
    amounts is the rounded smaller amount."""
    figure = muldiv_round(numerators, denominators)
    limit = None
    if limited:
        limit = ((share.numerator, given.interest, given.inside), (share.denominator, given.days))
        figure = np.minimum(figure, muldiv_round(*limit))
    out.figure[given.pick] = figure
    if trace is not None:
        trace.share(given.at, share.numerator, share.denominator)
        trace.fraction(given.at, numerators, denominators)
        if limit is not None:
            trace.limit(given.at, *limit)


def _shadow_rows(
    out: Figures,
    given: Inputs,
    shadows: Shadows,
    rates: FundRates,
    parts: Parts,
    share_top: Int64,
    share_bottom: Int64,
    trace: Trace | None,
) -> None:
    """shadow_interest and payment_difference: max(0, w·X − q·shadow) · (days inside / n)."""
    at = given.at
    if not len(at):
        return
    group = parts.group_of[at]
    unknown = shadows.unknown[group]
    _quarantine(given.book, at[unknown == NO_RATE])
    out.hold[at[(unknown != KNOWN) & (unknown != NO_RATE)]] = HOLD_SHADOW
    out.hold[at[unknown == NO_BALANCE]] = HOLD_BALANCE
    out.fund_rate[at] = first_rate(given.rule, rates, given.periods)
    known = unknown == KNOWN
    top, bottom = share_top[given.loan], share_bottom[given.loan]
    whole = given.rule.method == "payment_difference"
    own = given.interest + given.principal if whole else given.interest
    shadow = np.where(known, shadows.interest[group] + (shadows.principal[group] if whole else 0), 0)
    q_bottom = np.where(known, shadows.first_balance[group], 1)
    q_top = np.minimum(given.base, q_bottom)
    q_top, q_bottom = _reduced(q_top, q_bottom)
    excess = _excess((top, own, q_bottom), (q_top, shadow, bottom))
    positive = known & np.array(excess > 0, bool)
    some = np.flatnonzero(positive)
    out.no_spread[at[known & ~positive]] = True
    figure = np.zeros(len(at), np.int64)
    figure[some] = _scaled(excess[some], given.inside[some], (bottom[some], q_bottom[some], given.days[some]))
    limit = ((top, given.interest, given.inside), (bottom, given.days))
    figure = np.minimum(figure, muldiv_round(*limit))
    out.figure[at] = figure
    if trace is not None:
        trace.share(at, top, bottom)
        trace.fraction(at, (np.where(positive, excess, 0), given.inside), (bottom, q_bottom, given.days))
        trace.limit(at, *limit)
        trace.note(
            at, shadow_q_numerator=q_top, shadow_q_denominator=q_bottom, first_balance_fen=np.where(known, shadows.first_balance[group], -1)
        )


def _excess(own: tuple[Int64, Int64, Int64], shadow: tuple[Int64, Int64, Int64]) -> Int64:
    """own product − shadow product, exact: 64 bits where proved, Python integers (object column) otherwise."""
    # Both products are proved to be at most 2**61, so their difference stays inside 64 bits.
    proved = fits(own, 2**61) & fits(shadow, 2**61)
    if proved.all():
        return own[0] * own[1] * own[2] - shadow[0] * shadow[1] * shadow[2]
    result = np.empty(len(proved), object)
    good = np.flatnonzero(proved)
    result[good] = (own[0][good] * own[1][good] * own[2][good] - shadow[0][good] * shadow[1][good] * shadow[2][good]).tolist()
    for row in np.flatnonzero(~proved).tolist():
        a, b = (int(f[row]) for f in own[:2]), (int(f[row]) for f in shadow[:2])
        result[row] = _product(a) * int(own[2][row]) - _product(b) * int(shadow[2][row])
    return result


def _product(values: Iterable[int]) -> int:
    total = 1
    for value in values:
        total *= value
    return total


def _scaled(excess: Int64, inside: Int64, denominators: tuple[Int64, Int64, Int64]) -> Int64:
    if excess.dtype != object:
        return muldiv_round((excess, inside), denominators)
    result = np.empty(len(excess), np.int64)
    for row, value in enumerate(excess.tolist()):
        bottom = _product(int(d[row]) for d in denominators)
        result[row] = (2 * value * int(inside[row]) + bottom) // (2 * bottom)
    return result


def _quarantine(book: Book, at: Index) -> None:
    book.rows.problem[at] = np.where(book.rows.problem[at] == 0, np.uint8(Problem.RATE_UNKNOWN), book.rows.problem[at])


__all__ = ["HOLD_BALANCE", "HOLD_NONE", "HOLD_SHADOW", "NONE", "Figures", "Whose", "figures_of"]
