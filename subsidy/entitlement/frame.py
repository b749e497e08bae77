"""From fact tables to the book: joins transactions with account, contract and agreement, and sorts them (handbook section 2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from subsidy.entitlement.book import AMOUNT_LIMIT_FEN, NO_BALANCE, TERM_LIMIT_MONTHS, Book, Loans, Rows
from subsidy.entitlement.codes import Problem
from subsidy.entitlement.columns import (
    NO_DAY,
    Bool,
    Index,
    Int32,
    Int64,
    UInt8,
    array_of,
    codes,
    in_text_order,
    integers,
    lookup,
    present,
    text_rank,
)
from subsidy.entitlement.dates import FIRST_DAY, LAST_DAY, next_january
from subsidy.entitlement.rates import Whose, series_of
from subsidy.entitlement.reversals import reversals_of
from subsidy.facts.schema import Facts
from subsidy.policy.model import CentrePolicy

KINDS = ("01", "02", "03", "04", "05", "06", "07", "08", "09", "99")
PREPAYMENT, SETTLEMENT = 3, 6

_REQUIRED = (
    "paid_on", "booked_on", "interest_fen", "principal_repaid_fen", "instalment", "accrual_from", "accrual_to", "base_principal_fen",
    "rate_ppm", "due_on",
)  # fmt: skip


def build(facts: Facts, policy: CentrePolicy) -> Book:
    """The book of all agreements in `facts`. Rows of loans without an agreement are left out: nobody subsidises them."""
    loans, loans_by_account = _loans(facts)
    rows, orphans = _rows(facts, loans, loans_by_account)
    return Book(facts, policy, loans, rows, orphans)


def _loans(facts: Facts) -> tuple[Loans, tuple[Int32, Int32, Int32]]:
    """Loans, and how to find those of an account: (loan numbers, first position per account, count per account)."""
    agreements, contracts, accounts, openings = facts["agreement"], facts["contract"], facts["account"], facts["opening"]
    order = _order(array_of(agreements, "agreement_no"))
    numbers = array_of(agreements, "agreement_no").take(pa.array(order))
    contract_of = array_of(agreements, "contract_no").take(pa.array(order))
    known = contract_of.unique()
    code = lookup(contract_of, known)  # 1-based; 0 for a missing number
    account_code = lookup(array_of(accounts, "contract_no"), known)
    per_code = np.bincount(account_code, minlength=len(known) + 1)
    first = np.full(len(known) + 1, -1, np.int32)
    first[account_code[::-1]] = np.arange(len(account_code) - 1, -1, -1, dtype=np.int32)
    account = np.where(code > 0, first[code], -1).astype(np.int32)
    several = (code > 0) & (per_code[code] > 1)
    contract = lookup(contract_of, array_of(contracts, "contract_no")) - 1
    opening = lookup(numbers, array_of(openings, "agreement_no")) - 1
    a, c = np.maximum(account, 0), np.maximum(contract, 0)

    def own(name: str, dtype: type = np.int32) -> Any:
        return integers(agreements, name, dtype, NO_DAY if dtype is np.int32 else -1)[order]

    def far(table: pa.Table, name: str, at: Int32, missing: Bool, dtype: type, fill: int) -> Any:
        values = integers(table, name, dtype, fill)
        return np.where(missing, dtype(fill), values[at]) if len(values) else np.full(len(at), fill, dtype)

    no_account, no_contract = account < 0, contract < 0
    none = np.empty(0, np.int64)
    methods = codes(contracts, "repayment_method", ("01", "02", "03", "04", "99"))
    loans = Loans(
        agreement_no=numbers,
        agreement=order.astype(np.int32),
        account=np.where(several, np.int32(-2), account),
        contract=contract,
        opening=opening,
        subsidised_fen=own("subsidised_principal_fen", np.int64),
        disbursed_fen=far(accounts, "disbursed_fen", a, no_account, np.int64, -1),
        disbursed_on=far(accounts, "disbursed_on", a, no_account, np.int32, NO_DAY),
        signed_on=own("signed_on"),
        start_on=own("subsidy_start_on"),
        subsidy_months=own("subsidy_months"),
        due_day=far(contracts, "due_day", c, no_contract, np.int32, 0),
        term=far(contracts, "term_months", c, no_contract, np.int32, 0),
        repayment_method=np.where(no_contract, np.uint8(0), methods[c]) if len(methods) else np.zeros(len(c), np.uint8),
        home_order=codes(agreements, "home_order", ("01", "02"))[order],
        payee_kind=codes(agreements, "payee_kind", ("01", "02"))[order],
        share_top=none,
        share_bottom=none,
        whose=_whose(),
        problem=np.zeros(len(order), np.uint8),
    )
    loans.share_top, loans.share_bottom = _reduced(np.minimum(loans.subsidised_fen, loans.disbursed_fen), loans.disbursed_fen)
    loans.whose = _whose(loans)
    loans.problem[:] = _loan_problems(loans, several, no_account | no_contract)
    by_code = np.argsort(code, kind="stable").astype(np.int32)
    start = np.searchsorted(code[by_code], account_code, "left").astype(np.int32)
    count = np.where(account_code > 0, np.bincount(code, minlength=len(known) + 1)[account_code], 0).astype(np.int32)
    return loans, (by_code, start, count)


def _whose(loans: Loans | None = None) -> Whose:
    if loans is None:
        none = np.empty(0, np.int32)
        return Whose(none.astype(np.uint8), none, none, none)
    series = series_of(loans.home_order, loans.term)
    return Whose(series, loans.disbursed_on, loans.signed_on, next_january(loans.disbursed_on))


def _reduced(top: Int64, bottom: Int64) -> tuple[Int64, Int64]:
    sound = (bottom > 0) & (top > 0)
    top, bottom = np.where(sound, top, 0), np.where(sound, bottom, 1)
    common = np.gcd(top, bottom)
    return top // common, bottom // common


def _loan_problems(loans: Loans, several: Bool, no_parent: Bool) -> UInt8:
    days = [loans.signed_on, loans.start_on, loans.disbursed_on]
    outside = np.zeros(len(loans), bool)
    for column in days:
        outside |= (column < FIRST_DAY) | (column > LAST_DAY)
    outside |= (loans.disbursed_fen <= 0) | (loans.disbursed_fen > AMOUNT_LIMIT_FEN)
    outside |= (loans.subsidised_fen < 0) | (loans.subsidised_fen > AMOUNT_LIMIT_FEN)
    outside |= (loans.home_order == 0) | (loans.subsidy_months == NO_DAY)
    problem = np.zeros(len(loans), np.uint8)
    problem[outside] = Problem.LOAN_DOMAIN
    problem[(loans.term < 1) | (loans.term > TERM_LIMIT_MONTHS)] = Problem.TERM_DOMAIN
    problem[several] = Problem.ACCOUNT_AMBIGUOUS
    problem[no_parent] = Problem.PARENT_MISSING
    return problem


def _order(values: pa.Array) -> Index:
    if len(values) < 2 or pc.all(pc.less(values.slice(0, len(values) - 1), values.slice(1))).as_py():
        return np.arange(len(values))
    return np.asarray(pc.sort_indices(values).to_numpy())


def _rows(facts: Facts, loans: Loans, loans_by_account: tuple[Int32, Int32, Int32]) -> tuple[Rows, Index]:
    table = facts["transaction"]
    by_code, start, count = loans_by_account
    account = lookup(array_of(table, "account_no"), array_of(facts["account"], "account_no"), in_runs=True) - 1
    kind = codes(table, "kind", KINDS)
    interest = integers(table, "interest_fen", np.int64)
    naming = present(table, "reverses")
    proper, undone = reversals_of(table, account, naming)
    carries = ((kind >= 2) & (kind <= 6)) | (interest != 0) | naming | undone
    if len(count) and count.max() > 1:
        source = np.flatnonzero(carries & (account >= 0) & (count[account] > 0))
        times = count[account[source]]
        source = np.repeat(source, times)
        offset = np.arange(len(source)) - np.repeat(np.cumsum(times) - times, times)
        loan = by_code[start[account[source]] + offset].astype(np.intp)
    else:
        # One more place at the end: account -1 finds no loan.
        only = np.full(len(count) + 1, -1, np.intp)
        only[:-1][count > 0] = by_code[start[count > 0]]
        loan = only[account]
        source = np.flatnonzero(carries & (loan >= 0))
        if len(source) < len(loan):
            loan = loan[source]
    accrual_to = integers(table, "accrual_to", np.int32, NO_DAY)[source]
    order = _sorted(table, source, loan, accrual_to)
    if order is not None:
        source, loan, accrual_to = source[order], loan[order], accrual_to[order]

    def col(name: str, dtype: type, fill: int) -> Any:
        return integers(table, name, dtype, fill)[source]

    instalment = col("instalment", np.int32, 0)
    rows = Rows(
        source=source,
        loan=loan,
        kind=kind[source],
        instalment=instalment,
        number=instalment,
        accrual_from=col("accrual_from", np.int32, NO_DAY),
        accrual_to=accrual_to,
        due_on=col("due_on", np.int32, NO_DAY),
        paid_on=col("paid_on", np.int32, NO_DAY),
        interest=interest[source],
        principal=col("principal_repaid_fen", np.int64, 0),
        base=col("base_principal_fen", np.int64, 0),
        rate=col("rate_ppm", np.int64, 0),
        balance_after=col("balance_after_fen", np.int64, NO_BALANCE),
        reversed=np.zeros(len(source), bool),
        reversal=np.zeros(len(source), bool),
        problem=np.zeros(len(source), np.uint8),
    )
    if naming.any():
        rows.reversed, rows.reversal = (proper | undone)[source], naming[source]
        rows.problem[rows.reversal & ~rows.reversed] = Problem.BAD_REVERSAL
    missing = np.zeros(len(account), bool)
    for name in _REQUIRED:
        if array_of(table, name).null_count:
            missing |= ~present(table, name)
    if missing.any():
        rows.problem[missing[source]] = Problem.FACT_MISSING
    return rows, np.flatnonzero(account < 0)


def _sorted(table: pa.Table, source: Index, loan: Index, accrual_to: Int32) -> Index | None:
    """Order by (loan, accrual_to, serial number as text, account); None when the rows are in it already."""
    key = (loan << 32) + accrual_to
    steps = np.diff(key)
    ordered = not (steps < 0).any()
    if ordered and steps.all():
        return None
    order = np.arange(len(key)) if ordered else _by_runs(loan, key)
    key = key[order]
    same = key[1:] == key[:-1]
    # The store hands out accounts by serial number, so neighbours are mostly in order; equal serial numbers are of several accounts.
    serials = array_of(table, "serial_no")
    if not same.any() or in_text_order(serials, source[order], same):
        return None if ordered else order
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    at = source[order[tied]]
    accounts = text_rank(array_of(table, "account_no"), at)
    order[tied] = order[tied][np.lexsort((accounts, text_rank(serials, at), key[tied]))]
    return order


def _by_runs(loan: Index, key: Int64) -> Index:
    """Stable order by `key`. Facts stand account by account in order of time, so it is mostly enough to put the runs of loans in order."""
    starts = np.flatnonzero(np.concatenate([[True], loan[1:] != loan[:-1]]))
    runs = np.argsort(loan[starts], kind="stable")
    lengths = np.diff(np.append(starts, len(loan)))[runs]
    order = np.arange(len(loan)) + np.repeat(starts[runs] - (np.cumsum(lengths) - lengths), lengths)
    sorted_key = key[order]
    if (sorted_key[1:] < sorted_key[:-1]).any():
        order = order[np.argsort(sorted_key, kind="stable")]
    return np.asarray(order)
