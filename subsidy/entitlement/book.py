"""The working columns of one assessment: loans (one row per agreement) and rows (one row per future line).

Loans are sorted by agreement number as text; rows by (loan, accrual_to, serial number as text). All amounts are int64 fen, rates int64 ppm,
dates int32 days since 1970-01-01.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from subsidy.entitlement.columns import Bool, Index, Int32, Int64, UInt8
from subsidy.entitlement.rates import Whose
from subsidy.facts.schema import Facts
from subsidy.policy.model import CentrePolicy

#: Bounds of a domain. With at most 2**15 rows a loan, no sum over a loan leaves 2**59 (10**13 < 2**44).
AMOUNT_LIMIT_FEN = 10**13
RATE_LIMIT_PPM = 10**6
TERM_LIMIT_MONTHS = 1200

#: `balance_after` of a row for which the bank sent none; far outside the domain.
NO_BALANCE = -(2**62)


@dataclass(slots=True)
class Loans:
    """One row per agreement. `account` and `contract` are positions in their fact tables, -1 when missing, -2 when several."""

    agreement_no: pa.Array
    agreement: Int32  # position in the agreement table
    account: Int32
    contract: Int32
    opening: Int32
    subsidised_fen: Int64
    disbursed_fen: Int64
    disbursed_on: Int32
    signed_on: Int32
    start_on: Int32  # agreement start, not yet the later of it and the disbursement
    subsidy_months: Int32
    due_day: Int32
    term: Int32
    repayment_method: UInt8  # 1 equal instalment, 2 equal principal, 3, 4, 5 = 99, 0 unknown
    home_order: UInt8  # 1 first, 2 second, 0 unknown
    payee_kind: UInt8  # 1 borrower, 2 bank, 0 unknown
    share_top: Int64  # min(Q, disbursed) / disbursed in lowest terms, so that products stay small; 0/1 where it has no meaning
    share_bottom: Int64
    whose: Whose
    problem: UInt8  # Problem of every row of the loan

    def __len__(self) -> int:
        return len(self.agreement)


@dataclass(slots=True)
class Rows:
    """One row per future line. `source` is the position in the transaction table. Positions are machine integers: gathers by them are twice
    as fast."""

    source: Index
    loan: Index
    kind: UInt8  # 1..9, 10 = 99, 0 unknown
    instalment: Int32  # DQQC, as the bank numbers it
    number: Int32  # of the instalment that the row pays; 0 for odd first days whatever their DQQC
    accrual_from: Int32
    accrual_to: Int32
    due_on: Int32
    paid_on: Int32
    interest: Int64
    principal: Int64  # repaid
    base: Int64
    rate: Int64
    balance_after: Int64  # NO_BALANCE when the bank sent none
    reversed: Bool  # the row is a proper reversal or properly reversed
    reversal: Bool  # names another row, properly or not
    problem: UInt8

    def __len__(self) -> int:
        return len(self.loan)


@dataclass(slots=True)
class Book:
    """What all steps of an assessment share."""

    facts: Facts
    policy: CentrePolicy
    loans: Loans
    rows: Rows
    orphans: Index  # positions of transactions without a loan account
