"""贷款合同核定: is the contract what the agreement says it is (handbook sections 1 and 5, `subsidy.policy.model.Verification`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from subsidy.calendar import day_number
from subsidy.entitlement import frame
from subsidy.entitlement.book import Book
from subsidy.entitlement.changes import Changes, changes_of
from subsidy.entitlement.columns import NO_DAY, Bool, Index, Int32, Int64, array_of, integers
from subsidy.entitlement.versions import Version, in_force
from subsidy.facts.schema import Facts
from subsidy.policy.model import CentrePolicy, Payee, Verification

#: Reasons in the order in which they are listed, with their Chinese sentences.
REASONS: dict[str, str] = {
    "CONTRACT-MISSING": "没有借款合同资料",
    "ACCOUNT-MISSING": "没有贷款账户资料",
    "ACCOUNT-AMBIGUOUS": "借款合同有多个贷款账户",
    "CENTRE-DIFFERS": "协议的中心编号不是本中心",
    "LOAN-KIND": "贷款类型不是贴息贷款",
    "REPAYMENT-METHOD": "还款方式不在允许范围内",
    "PRINCIPAL-ABOVE-CONTRACT": "贴息本金大于合同贷款金额",
    "DISBURSED-ABOVE-CONTRACT": "贷款发放额大于合同贷款金额",
    "TERM-DIFFERS": "账户的贷款期数与合同不同",
    "RATE-DIFFERS": "账户利率与合同利率不同",
    "AMOUNT-ABOVE-MAXIMUM": "合同贷款金额超过最高限额",
    "PAYEE-KIND": "收款人类型与结算约定不同",
}

VERIFICATIONS = pa.schema([("agreement_no", pa.string()), ("verified", pa.bool_()), ("reasons", pa.list_(pa.string()))])

_PAYEE_KIND: dict[Payee, int] = {"borrower": 1, "bank": 2}


@dataclass(frozen=True, slots=True)
class Checks:
    """Columns of contract and account that verification reads, one row per loan; and which reasons hold whatever the rules say."""

    kind: pa.Array
    method: pa.Array
    contract_fen: Int64
    contract_rate: Int64
    account_rate: Int64
    new_contract: Bool  # signed on or after go_live
    always: dict[str, Bool]


def verify_contracts(facts: Facts, policy: CentrePolicy) -> pa.Table:
    """Check every agreement's contract. Returns a table `VERIFICATIONS` sorted by agreement_no; `reasons` are codes of `REASONS`.

    The rules are those in force on the start of the loan's last accrual period, or on the start of the subsidy while there is none (the
    first version when that day is before all). Lines are gated by the rules of their own day, see `assess`.
    """
    book = frame.build(facts, policy)
    changes = changes_of(facts, book.loans)
    checks = checks_of(book, changes)
    day = np.maximum(book.loans.start_on, book.loans.disbursed_on)
    np.maximum.at(day, book.rows.loan, book.rows.accrual_from)
    rules = policy.rules
    combination = combination_of(book, day, in_force([r.effective_from for r in rules], [r.effective_to for r in rules], day))
    failed = {code: np.zeros(len(book.loans), bool) for code in REASONS}
    for number in np.unique(combination).tolist():
        at = combination == number
        for code, where in failures(book, checks, *terms_of(policy, number)).items():
            failed[code][at] = where[at]
    verified = ~np.logical_or.reduce(list(failed.values())) if len(book.loans) else np.zeros(0, bool)
    names = np.array(list(REASONS), object)
    table = np.stack([failed[code] for code in REASONS], axis=1)
    reasons = pa.ListArray.from_arrays(
        np.concatenate([[0], np.cumsum(table.sum(axis=1))]).astype(np.int32), pa.array(names[np.nonzero(table)[1]], pa.string())
    )
    return pa.Table.from_arrays([book.loans.agreement_no, pa.array(verified), reasons], schema=VERIFICATIONS)


def checks_of(book: Book, changes: Changes) -> Checks:
    """Gather what verification reads."""
    facts, loans = book.facts, book.loans
    contracts, accounts = facts["contract"], facts["account"]
    no_contract, no_account = loans.contract < 0, loans.account < 0
    contract = pa.array(loans.contract, mask=no_contract)
    contract_fen = _far(contracts, "amount_fen", loans.contract, np.int64)
    account_term = _far(accounts, "term_months", loans.account, np.int32)
    same_term = account_term == loans.term
    at = changes.of("term")
    at = at[changes.new_term[at] == account_term[changes.loan[at]]]
    same_term[changes.loan[at]] |= changes.new_term[at] > 0
    signed_on = _far(contracts, "signed_on", loans.contract, np.int32, NO_DAY)
    centre = array_of(facts["agreement"], "centre_code").take(pa.array(loans.agreement))
    other_centre = ~np.asarray(pc.fill_null(pc.equal(centre, book.policy.code), False).to_numpy(zero_copy_only=False), bool)
    always = {
        "CONTRACT-MISSING": no_contract,
        "ACCOUNT-MISSING": loans.account == -1,
        "ACCOUNT-AMBIGUOUS": loans.account == -2,
        "CENTRE-DIFFERS": other_centre,
        "PRINCIPAL-ABOVE-CONTRACT": ~no_contract & (loans.subsidised_fen > contract_fen),
        "DISBURSED-ABOVE-CONTRACT": ~no_contract & ~no_account & (loans.disbursed_fen > contract_fen),
        "TERM-DIFFERS": ~no_contract & ~no_account & ~same_term,
    }
    return Checks(
        kind=array_of(contracts, "loan_kind").take(contract),
        method=array_of(contracts, "repayment_method").take(contract),
        contract_fen=contract_fen,
        contract_rate=_far(contracts, "rate_ppm", loans.contract, np.int64),
        account_rate=_first_rate(book, _far(accounts, "rate_ppm", loans.account, np.int64)),
        new_contract=signed_on >= day_number(book.policy.go_live),
        always=always,
    )


def _first_rate(book: Book, now: Int64) -> Int64:
    """Per loan the rate first charged: that of its first row; the account's rate `now` while there is none. A later repricing of the
    account is no difference from the contract (docs/interpretations.md, point 25)."""
    rows = book.rows
    at = np.flatnonzero((rows.kind >= 2) & (rows.kind <= 6) & ~rows.reversal & (rows.rate > 0))
    rate = now.copy()
    if not len(at):
        return rate
    # Rows of a loan stand by (accrual_to, serial number): among those with the earliest accrual_from, the first one is first.
    began = rows.accrual_from[at]
    starts = _firsts(rows.loan[at])
    earliest = np.minimum.reduceat(began, starts)
    at = at[began == np.repeat(earliest, np.diff(np.append(starts, len(at))))]
    first = at[_firsts(rows.loan[at])]
    rate[rows.loan[first]] = rows.rate[first]
    return rate


def _firsts(loan: Index) -> Index:
    """First place of each loan in a column sorted by loan."""
    new = np.ones(len(loan), bool)
    new[1:] = loan[1:] != loan[:-1]
    return np.flatnonzero(new)


def combination_of(book: Book, day: Int32, version: Version) -> Int64:
    """Number of the (rule version, settlement terms) in force on each day; see `terms_of`. `version` are the rule versions of the days."""
    policy = book.policy
    rule = np.maximum(version, 0).astype(np.int64)
    if len(policy.settlement) < 2:
        return rule
    terms = in_force([t.effective_from for t in policy.settlement], [t.effective_to for t in policy.settlement], day)
    return rule * len(policy.settlement) + np.maximum(terms, 0)


def terms_of(policy: CentrePolicy, combination: int) -> tuple[Verification, Payee]:
    """What a combination number stands for."""
    rule, terms = divmod(combination, max(len(policy.settlement), 1))
    return policy.rules[rule].verification, policy.settlement[terms].payee if policy.settlement else "borrower"


def failures(book: Book, checks: Checks, rule: Verification, payee: Payee) -> dict[str, Bool]:
    """Per reason, the loans whose contract fails it under `rule`."""
    loans = book.loans
    have = (loans.contract >= 0) & (loans.account >= 0)
    apart = np.abs(checks.account_rate - checks.contract_rate) > rule.rate_tolerance_ppm
    maximum = rule.maximum_amount_fen
    return {
        **checks.always,
        "LOAN-KIND": (loans.contract >= 0) & ~_among(checks.kind, rule.loan_kinds),
        "REPAYMENT-METHOD": (loans.contract >= 0) & ~_among(checks.method, rule.repayment_methods),
        "RATE-DIFFERS": have & checks.new_contract & apart,
        "AMOUNT-ABOVE-MAXIMUM": np.zeros(len(loans), bool) if maximum is None else checks.contract_fen > maximum,
        "PAYEE-KIND": loans.payee_kind != _PAYEE_KIND[payee],
    }


def verified(book: Book, changes: Changes, version: Version) -> Bool:
    """Per row of the book: is its loan's contract verified under the rules of the row's accrual_from."""
    rows = book.rows
    checks = checks_of(book, changes)
    if len(book.policy.rules) == 1 and len(book.policy.settlement) <= 1:
        failed = np.logical_or.reduce(list(failures(book, checks, *terms_of(book.policy, 0)).values()))
        return np.asarray(~failed[rows.loan])
    combination = combination_of(book, rows.accrual_from, version)
    result = np.zeros(len(rows), bool)
    present = np.flatnonzero(np.bincount(combination)).tolist()
    for number in present:
        failed = np.logical_or.reduce(list(failures(book, checks, *terms_of(book.policy, number)).values()))
        if len(present) == 1:
            return np.asarray(~failed[rows.loan])
        at = combination == number
        result[at] = ~failed[rows.loan[at]]
    return result


def _far(table: pa.Table, name: str, at: Int32, dtype: type, fill: int = 0) -> npt.NDArray[Any]:
    values = integers(table, name, dtype, fill)
    return np.where(at >= 0, values[np.maximum(at, 0)], dtype(fill)) if len(values) else np.full(len(at), fill, dtype)


def _among(values: pa.Array, allowed: tuple[str, ...]) -> Bool:
    return np.asarray(pc.is_in(values, value_set=pa.array(allowed, pa.string())).to_numpy(zero_copy_only=False), bool)
