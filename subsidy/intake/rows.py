"""A block of text rows to checked, typed rows: every cell by the dictionary, then the rules between the cells of a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from subsidy.errors import Finding
from subsidy.facts.hashing import bucket_of
from subsidy.facts.schema import ARROW, TABLES, Column, FactTable
from subsidy.intake import cells, checkdigits
from subsidy.intake.delivery import Block
from subsidy.intake.faults import FAULTS, finding
from subsidy.intake.lineage import Lineage
from subsidy.intake.masking import mask
from subsidy.intake.profile import Checks, Profile, TableSpec
from subsidy.intake.result import QuarantineRow
from subsidy.money import format_yuan, muldiv_floor

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]



_EPOCH = date(1970, 1, 1)
#: Rows that repay a loan: their amount is the sum of its parts.
REPAYMENTS = ("02", "03", "04", "05", "06")


@dataclass(slots=True)
class Checked:
    """`rows`: typed columns of the table and ``line_no``, good rows only. Totals and unread counts by dictionary code."""

    rows: pa.Table
    rows_in: int
    quarantined: list[QuarantineRow]
    findings: list[Finding]
    totals: dict[str, int]
    unread: dict[str, int]
    unlisted: int  # findings about rows that are not set aside, beyond what a file lists


@dataclass(slots=True)
class _Faults:
    """Faults of a block as they are found: (order, code, rows, dictionary code, words)."""

    found: list[tuple[str, Rows, str, dict[str, Any]]] = field(default_factory=list)

    def add(self, code: str, flags: Flags | Rows, column: str, **words: Any) -> None:
        rows: Rows = np.flatnonzero(flags) if flags.dtype == np.bool_ else flags.astype(np.int64)
        if len(rows):
            self.found.append((code, rows, column, words))


def check_block(
    block: Block, spec: TableSpec, profile: Profile, lineage: Lineage, business_date: date, file_name: str, file_no: int,
    accept: frozenset[str] = frozenset(),
) -> Checked:
    """Check one block. `business_date` is the file's; `accept` are soft fault codes that a person has released.

    The result's rows carry ``bucket``; a row whose parent is not known is set aside.
    """
    table = spec.table
    faults = _Faults()
    typed: dict[str, pa.Array] = {}
    totals: dict[str, int] = {}
    unread: dict[str, int] = {}
    for column in table.columns:
        text = block.columns.get(column.code)
        if text is None:
            typed[column.name] = pa.nulls(block.rows, ARROW[column.kind])
            continue
        parsed = cells.parse(column, text, profile)
        typed[column.name] = parsed.values
        if column.kind == "fen":
            totals[column.code], unread[column.code] = parsed.total, parsed.unread
        faults.found += [(code, at, column.code, words) for code, at, words in parsed.faults]
        refused = np.array([row for _, row, c in block.cells if c == column.code], np.int64)
        if len(refused):
            # Such a cell is empty here, which is not what was sent.
            faults.found = [
                (f[0], np.setdiff1d(f[1], refused), f[2], f[3]) if (f[0], f[2]) == ("FIELD-EMPTY", column.code) else f for f in faults.found
            ]
            unread[column.code] = unread.get(column.code, 0) + len(refused)
    for code, row, column_code in block.cells:
        faults.add(code, np.array([row]), column_code)
    if block.rows:
        _RULES[table.name](_Typed(typed, block.rows), faults, profile.checks, business_date, profile)
    typed["bucket"] = _buckets(table, typed, lineage, faults)
    return _judge(block, table, typed, faults, totals, unread, file_name, file_no, accept, profile.limits.findings_listed)


def _buckets(table: FactTable, typed: dict[str, pa.Array], lineage: Lineage, faults: _Faults) -> pa.Array:
    """Bucket of each row's contract; faults for rows whose parent is unknown or whose contract is another than before."""
    if table.parent is not None:
        column, parent, _ = table.parent
        code = table.column(column).code
        values = typed[column]
        if parent == "contract":
            buckets = bucket_of(values)
            unknown = lineage.parents(parent).find(values) < 0
        else:
            buckets = lineage.parents(parent).buckets(values)
            unknown = buckets < 0
        valid = values.is_valid().to_numpy(zero_copy_only=False)
        faults.add("PARENT-UNKNOWN", unknown & valid, code, parent=TABLES[parent].label)
    else:
        buckets = bucket_of(typed["contract_no"])
    if table.name in ("agreement", "account"):
        moved = lineage.parents(table.name).moved(typed[table.key[0]], typed["contract_no"])
        faults.add("PARENT-CHANGED", moved, "JKHTBH")
    return pa.array(buckets, pa.int16())


def _judge(
    block: Block, table: FactTable, typed: dict[str, pa.Array], faults: _Faults, totals: dict[str, int], unread: dict[str, int],
    file_name: str, file_no: int, accept: frozenset[str], listed: int,
) -> Checked:
    rows = pa.table({**typed, "line_no": pa.array(block.line_nos.astype(np.int32))})
    quarantined: list[QuarantineRow] = []
    findings: list[Finding] = []
    first: dict[int, Finding] = {}
    unlisted = 0
    for code, at, column_code, words in faults.found:
        if code in accept:
            continue
        column = next((c for c in table.columns if c.code == column_code), None)
        rows_named = at.tolist()
        if FAULTS[code].severity != "error":
            unlisted += max(0, len(rows_named) - listed)
            rows_named = rows_named[:listed]
        for row in rows_named:
            found = finding(
                code, file_no=file_no, file_name=file_name, table=table.code, line_no=int(block.line_nos[row]), field=column_code,
                value=shown(block, column, row), **{k: v[row] if isinstance(v, dict) else v for k, v in words.items()},
            )
            findings.append(found)
            if found.severity == "error":
                first.setdefault(row, found)
    for row in sorted(first):
        found = first[row]
        quarantined.append(
            QuarantineRow(
                table.name, found.line_no, block.raw(row), found.code, found.field, found.value, found.what, found.todo,
                _key(table, typed, row), FAULTS[found.code].soft and _only_soft(row, faults),
                table.parent[1] if found.code == "PARENT-UNKNOWN" and table.parent is not None else "",
            )
        )
    if first:
        keep = np.ones(block.rows, np.bool_)
        keep[list(first)] = False
        rows = rows.filter(pa.array(keep))
    for broken in block.broken:
        found = finding(broken.code, file_no=file_no, file_name=file_name, table=table.code, line_no=broken.line_no)
        findings.append(found)
        quarantined.append(
            QuarantineRow(table.name, broken.line_no, broken.raw, broken.code, "", "", found.what, found.todo, None)
        )
    for c in table.columns:
        if c.kind == "fen" and c.code in block.columns:
            unread[c.code] += sum(not broken.empty for broken in block.broken)
    return Checked(rows, block.rows + len(block.broken), quarantined, findings, totals, unread, unlisted)


def _only_soft(row: int, faults: _Faults) -> bool:
    return all(FAULTS[code].soft for code, at, _, _ in faults.found if FAULTS[code].severity == "error" and row in at)


def shown(block: Block, column: Column | None, row: int) -> str:
    """The cell as a finding may show it: masked where personal. "" for a row as a whole."""
    if column is None or column.code not in block.columns:
        return ""
    return mask(column.personal, block.columns[column.code].text(row))


def _key(table: FactTable, typed: dict[str, pa.Array], row: int) -> tuple[str, ...] | None:
    if not table.key:
        return None
    values = [typed[name][row].as_py() for name in table.key]
    return None if any(v is None for v in values) else tuple(str(v) for v in values)


class _Typed:
    """Typed columns as numpy: `ints` with 0 for null, `has` where not null."""

    def __init__(self, columns: dict[str, pa.Array], rows: int) -> None:
        self.columns = columns
        self.rows = rows
        self._ints: dict[str, NDArray[np.int64]] = {}

    def ints(self, name: str) -> NDArray[np.int64]:
        if name not in self._ints:
            self._ints[name] = self._numbers(name)
        return self._ints[name]

    def _numbers(self, name: str) -> NDArray[np.int64]:
        column = self.columns[name]
        if pa.types.is_date32(column.type):
            column = column.cast(pa.int32())
        column = column.cast(pa.int64())
        values: NDArray[np.int64] = (column.fill_null(0) if column.null_count else column).to_numpy()
        return values

    def has(self, *names: str) -> Flags:
        flags: Flags = np.ones(self.rows, np.bool_)
        for name in names:
            if self.columns[name].null_count:
                flags &= self.columns[name].is_valid().to_numpy(zero_copy_only=False)
        return flags

    def equal(self, name: str, *values: str) -> Flags:
        column = self.columns[name]
        test = pc.equal(column, values[0]) if len(values) == 1 else pc.is_in(column, value_set=pa.array(values))
        flags: Flags = test.fill_null(False).to_numpy(zero_copy_only=False)
        return flags


def _day(day: date) -> int:
    return (day - _EPOCH).days


def _agreement(t: _Typed, faults: _Faults, checks: Checks, day: date, profile: Profile) -> None:
    faults.add("ROW-FUTURE", t.has("signed_on") & (t.ints("signed_on") > _day(day)), "QYRQ")
    account = t.columns["payee_account"]
    cards = checkdigits.cards_ok(account.fill_null("") if account.null_count else account)
    # Only a person's account is a bank card.
    faults.add("CHECK-CARD", t.equal("payee_kind", "01") & ~cards, "SKZHHM")
    faults.add("ROW-CENTRE", t.has("centre_code") & ~t.equal("centre_code", profile.centre_code), "ZXBH")


def _contract(t: _Typed, faults: _Faults, checks: Checks, day: date, profile: Profile) -> None:
    both = t.has("agreed_disbursement_on", "maturity_on")
    late = t.ints("agreed_disbursement_on") >= t.ints("maturity_on")
    faults.add("ROW-DATES", both & late, "YDDQRQ", where="约定到期日期不晚于约定放款日期")
    both = t.has("signed_on", "maturity_on")
    faults.add("ROW-DATES", both & (t.ints("signed_on") >= t.ints("maturity_on")), "YDDQRQ", where="约定到期日期不晚于签订日期")
    numbers = t.columns["borrower_id_no"]
    resident = t.equal("borrower_id_kind", "01") & t.has("borrower_id_no")
    unsure = np.flatnonzero(resident & ~checkdigits.identity_numbers_ok(numbers.fill_null("") if numbers.null_count else numbers))
    verdicts = [checkdigits.identity_number(numbers[int(i)].as_py()) for i in unsure]
    for verdict, code in (("bad", "CHECK-ID"), ("old", "CHECK-ID-OLD"), ("region", "CHECK-ID-REGION")):
        faults.add(code, np.array([i for i, v in zip(unsure, verdicts, strict=True) if v == verdict], np.int64), "JKRZJH")


def _account(t: _Typed, faults: _Faults, checks: Checks, day: date, profile: Profile) -> None:
    faults.add("ROW-FUTURE", t.has("disbursed_on") & (t.ints("disbursed_on") > _day(day)), "DKFFRQ")
    both = t.has("settled_on", "disbursed_on")
    faults.add("ROW-DATES", both & (t.ints("settled_on") < t.ints("disbursed_on")), "DKJQRQ", where="结清日期早于放款日期")
    both = t.has("balance_fen", "disbursed_fen")
    faults.add("FIELD-BAND", both & (t.ints("balance_fen") > t.ints("disbursed_fen")), "DKYE", band="不超过发放额")


def _transaction(t: _Typed, faults: _Faults, checks: Checks, day: date, profile: Profile) -> None:
    interest, principal, rate = t.ints("interest_fen"), t.ints("base_principal_fen"), t.ints("rate_ppm")
    start, end = t.ints("accrual_from"), t.ints("accrual_to")
    days = end - start
    for name, code in (("paid_on", "YWFSRQ"), ("booked_on", "JZRQ")):
        faults.add("ROW-FUTURE", t.has(name) & (t.ints(name) > _day(day)), code)
    accrual = t.has("accrual_from", "accrual_to")
    faults.add("ROW-DATES", accrual & (days < 0), "JXZZRQ", where="计息终止日早于计息起始日")
    both = t.has("paid_on", "booked_on")
    faults.add("ROW-DATES", both & (t.ints("booked_on") < t.ints("paid_on")), "JZRQ", where="记账日期早于业务发生日期")
    reversal = t.has("reverses")
    faults.add("ROW-NEGATIVE", t.has("interest_fen") & (interest < 0) & ~reversal, "LXJE")
    complete = accrual & t.has("interest_fen", "base_principal_fen", "rate_ppm") & (interest != 0) & ~reversal
    lame = (days <= 0) | (principal <= 0) | (rate <= 0)
    faults.add("ROW-ACCRUAL", complete & lame, "LXJE")
    parts = t.has("amount_fen", "principal_repaid_fen", "interest_fen", "penalty_fen") & t.equal("kind", *REPAYMENTS)
    total = t.ints("principal_repaid_fen") + interest + t.ints("penalty_fen")
    faults.add("ROW-SUM", parts & (t.ints("amount_fen") != total), "FSE")
    _interest(np.flatnonzero(complete & ~lame & (interest > 0)), interest, principal, rate, start, end, faults, checks)


def _interest(
    at: Rows, interest: Rows, principal: Rows, rate: Rows, start: Rows, end: Rows, faults: _Faults, checks: Checks
) -> None:
    """Interest against principal × rate × days on the 360 basis, within the tolerance, under any usual day count.

    Actual/360, actual/365, 30/360 and whole months are all usual; the row must lie between the least and the greatest of them.
    """
    if not len(at):
        return
    interest, principal, rate, start, end = interest[at], principal[at], rate[at], start[at], end[at]
    days = end - start
    # Nearly every row passes by its actual days; the calendar is asked only for the others.
    low, high, _ = _band(principal, rate, days * 360, days * 365, checks)
    unsure = np.flatnonzero((interest < low) | (interest > high))
    if not len(unsure):
        return
    at, interest, principal, rate, days = at[unsure], interest[unsure], principal[unsure], rate[unsure], days[unsure]
    y1, m1, d1 = _calendar(start[unsure])
    y2, m2, d2 = _calendar(end[unsure])
    months = (y2 - y1) * 12 + m2 - m1
    thirty = months * 30 + np.minimum(d2, 30) - np.minimum(d1, 30)
    # Due days 29 to 31 make whole months of fewer days than 30/360 counts.
    whole = np.where(np.abs(d2 - d1) <= 3, months * 30, days)
    candidates = np.stack([days * 365, days * 360, thirty * 365, whole * 365])
    low, high, least = _band(principal, rate, candidates.min(axis=0), candidates.max(axis=0), checks)
    bad = np.flatnonzero((interest < low) | (interest > high))
    expect = {int(at[i]): format_yuan(int(least[i])) for i in bad}
    faults.add("ROW-INTEREST", at[bad], "LXJE", expect=expect)


def _band(principal: Rows, rate: Rows, least: Rows, most: Rows, checks: Checks) -> tuple[Rows, Rows, Rows]:
    """Lowest and highest interest accepted for year fractions of `least` to `most` parts of 1 / (360 · 365), and the least itself."""
    year = 360 * 365 * 1_000_000
    low = muldiv_floor((principal, rate, least), (year,))
    high = muldiv_floor((principal, rate, most), (year,)) + 1
    lowest = muldiv_floor((low, 1_000_000 - checks.interest_tolerance_ppm), (1_000_000,)) - checks.interest_tolerance_fen
    highest = muldiv_floor((high, 1_000_000 + checks.interest_tolerance_ppm), (1_000_000,)) + checks.interest_tolerance_fen
    return lowest, highest, low


def _calendar(days: Rows) -> tuple[Rows, Rows, Rows]:
    stamps = days.astype("M8[D]")
    months = stamps.astype("M8[M]")
    number = months.astype(np.int64)
    return number // 12, number % 12, (stamps - months.astype("M8[D]")).astype(np.int64) + 1


def _overdue(t: _Typed, faults: _Faults, checks: Checks, day: date, profile: Profile) -> None:
    faults.add("ROW-FUTURE", t.has("received_on") & (t.ints("received_on") > _day(day)), "SSRQ")


def _status(t: _Typed, faults: _Faults, checks: Checks, day: date, profile: Profile) -> None:
    faults.add("ROW-FUTURE", t.has("as_of") & (t.ints("as_of") > _day(day)), "RIQI")
    both = t.has("overdue_run", "overdue_total")
    faults.add("FIELD-BAND", both & (t.ints("overdue_run") > t.ints("overdue_total")), "LXYQQS", band="不超过累计逾期期数")


def _change(t: _Typed, faults: _Faults, checks: Checks, day: date, profile: Profile) -> None:
    clawback = t.equal("kind", "clawback")
    both = t.has("range_from", "range_to")
    faults.add("ROW-RANGE", (clawback & ~both) | (both & (t.ints("range_from") > t.ints("range_to"))), "QSRQ")
    payee = t.has("new_payee_account", "new_payee_name", "new_payee_bank_no")
    faults.add("ROW-CHANGE", t.equal("kind", "payee") & ~payee, "XSKZHHM", where="收款账户变更要有新账号、新户名、新联行号")
    term = t.has("new_term_months") | t.has("new_repayment_method")
    faults.add("ROW-CHANGE", t.equal("kind", "term") & ~term, "XDKQS", where="期限变更要有新期数或新还款方式")


def _nothing(t: _Typed, faults: _Faults, checks: Checks, day: date, profile: Profile) -> None:
    """Tables without rules between their cells."""


_RULES = {
    "agreement": _agreement, "contract": _contract, "account": _account, "transaction": _transaction, "overdue": _overdue,
    "status": _status, "change": _change, "opening": _nothing, "other_subsidy": _nothing,
}
