"""The result of an assessment: one line per loan transaction that carries interest, and what was found on the way."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from subsidy.errors import Finding

#: One row per transaction of kinds 02-06 (and of reversals) of a loan with an agreement. Sorted by (agreement_no, accrual_to,
#: serial_no as text). Amounts in fen.
LINES = pa.schema(
    [
        ("agreement_no", pa.string()),
        ("account_no", pa.string()),
        ("serial_no", pa.string()),
        ("bucket", pa.int16()),
        ("kind", pa.string()),  # A.15
        ("instalment", pa.int32()),
        ("accrual_from", pa.date32()),
        ("accrual_to", pa.date32()),
        ("due_on", pa.date32()),
        ("paid_on", pa.date32()),
        ("booked_on", pa.date32()),
        ("interest_fen", pa.int64()),
        ("base_principal_fen", pa.int64()),
        ("rate_ppm", pa.int64()),  # commercial rate of the row
        ("fund_rate_ppm", pa.int64()),  # of the first segment; -1 when the method uses none
        ("days", pa.int32()),
        ("days_inside", pa.int32()),
        ("method", pa.string()),  # the method that was applied to this row (shadow methods: ratio for odd rows)
        ("figure_fen", pa.int64()),  # rounded figure of the row before gates and limits
        ("entitled_fen", pa.int64()),  # after the other-subsidy, monthly and lifetime limits; 0 when forfeited
        ("payable_fen", pa.int64()),  # what may be paid now: entitled when outcome is pay or stop, else 0
        ("outcome", pa.string()),  # pay hold forfeit stop | reversed quarantined opening clawback
        ("reason", pa.string()),  # gate reason code, or the code of what set the row to zero or limited it; "" when plain pay
        ("rule_version", pa.string()),  # RuleVersion.version_id of the row's accrual_from
        ("shadow_balance_fen", pa.int64()),  # shadow balance before the instalment; -1 when no shadow applies
        ("shadow_interest_fen", pa.int64()),  # shadow interest of the whole instalment; -1 likewise
        ("shadow_principal_fen", pa.int64()),
        ("file_no", pa.int32()),  # where the transaction came from
        ("line_no", pa.int32()),
    ]
)

LINE_KEY = ("agreement_no", "account_no", "serial_no")


@dataclass(frozen=True, slots=True)
class Assessment:
    """Lines of all agreements given (schema `LINES`) and findings. `shadow` holds the shadow state after each assessed
    instalment (agreement_no, instalment, balance_fen, instalment_fen, rate_ppm) for the second computation; empty table
    when no shadow method applies."""

    lines: pa.Table
    findings: tuple[Finding, ...]
    shadow: pa.Table


SHADOW = pa.schema(
    [
        ("agreement_no", pa.string()),
        ("instalment", pa.int32()),
        ("period_from", pa.date32()),
        ("period_to", pa.date32()),
        ("balance_before_fen", pa.int64()),  # S after scaling by prepayments, before the instalment
        ("annuity_fen", pa.int64()),  # A, or the principal part for equal principal
        ("interest_fen", pa.int64()),
        ("principal_fen", pa.int64()),
        ("rate_ppm", pa.int64()),  # rho
        ("months_left", pa.int32()),
    ]
)
