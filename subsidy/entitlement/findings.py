"""What an assessment finds: quarantined rows, rows without a loan, changes without effect."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from subsidy.entitlement.book import Book
from subsidy.entitlement.changes import KINDS, Changes
from subsidy.entitlement.codes import PROBLEMS, Problem
from subsidy.entitlement.columns import NO_DAY, Bool, array_of, integers, lookup
from subsidy.errors import Finding
from subsidy.facts.schema import CHANGE_KINDS


def findings_of(book: Book, changes: Changes, clawed_opening: Bool) -> tuple[Finding, ...]:
    """All findings of one assessment, in the order of the lines they are about; those about no line come last."""
    found = [_quarantined(book, row) for row in np.flatnonzero(book.rows.problem > 0).tolist()]
    found += [
        _clawed_opening(book, row) for row in np.flatnonzero(clawed_opening & (book.rows.problem == 0) & ~book.rows.reversed).tolist()
    ]
    found += _orphans(book)
    found += _changes(book, changes)
    return tuple(found)


def _of_row(book: Book, row: int, code: str, severity: str, what: str, todo: str) -> Finding:
    table, source = book.facts["transaction"], int(book.rows.source[row])

    def fact(name: str) -> object:
        return table.column(name)[source].as_py()

    return Finding(
        code=code,
        severity=severity,  # type: ignore[arg-type]
        what=what,
        todo=todo,
        file_no=int(fact("file_no") or 0),  # type: ignore[call-overload]
        table="transaction",
        line_no=int(fact("line_no") or 0),  # type: ignore[call-overload]
        agreement_no=str(book.loans.agreement_no[int(book.rows.loan[row])]),
        account_no=str(fact("account_no")),
        serial_no=str(fact("serial_no")),
    )


def _quarantined(book: Book, row: int) -> Finding:
    problem = Problem(int(book.rows.problem[row]))
    sentence = PROBLEMS[problem]
    serial = book.facts["transaction"].column("serial_no")[int(book.rows.source[row])].as_py()
    what = f"业务流水 {serial}：{sentence.what}。该行不计贴息，已隔离，同一中心的其他贷款照常计算。"
    return _of_row(book, row, problem.code, "error", what, sentence.todo + "。")


def _clawed_opening(book: Book, row: int) -> Finding:
    return _of_row(
        book, row, "OPENING-CLAWBACK", "warning",
        "追回区间包含上线日之前的期间，这些期间由原系统结清，系统不会自动追回。", "请人工核对原系统已付金额，决定是否追回。",
    )  # fmt: skip


def _orphans(book: Book) -> list[Finding]:
    """Transactions without a loan account: no agreement is known that a line could belong to."""
    table = book.facts["transaction"]
    found = []
    for row in book.orphans.tolist():
        found.append(
            Finding(
                code=Problem.PARENT_MISSING.code, severity="error", what="该笔业务的贷款账户没有资料，无法归属到协议。",
                todo="请先报送贷款账户，再重算。", file_no=int(table.column("file_no")[row].as_py() or 0), table="transaction",
                line_no=int(table.column("line_no")[row].as_py() or 0), account_no=str(table.column("account_no")[row].as_py()),
                serial_no=str(table.column("serial_no")[row].as_py()),
            )
        )  # fmt: skip
    return found


def _changes(book: Book, changes: Changes) -> list[Finding]:
    """Changes that say too little to have an effect."""
    table = book.facts["change"]
    if not table.num_rows:
        return []
    found = []
    loan = lookup(array_of(table, "agreement_no"), book.loans.agreement_no)
    undated = integers(table, "effective_on", np.int32, NO_DAY) == NO_DAY
    unknown = ~np.isin(array_of(table, "kind").to_numpy(zero_copy_only=False), list(CHANGE_KINDS))
    for row in np.flatnonzero((loan > 0) & (undated | unknown)).tolist():
        found.append(_of_change(table, row, "缺少生效日期或变更类型不明"))
    claw, term = changes.kind == KINDS.index("clawback") + 1, changes.kind == KINDS.index("term") + 1
    no_range = (changes.range_from == NO_DAY) | (changes.range_to == NO_DAY) | (changes.range_from > changes.range_to)
    for row in changes.source[claw & no_range].tolist():
        found.append(_of_change(table, row, "追回没有完整的起始日期和终止日期"))
    for row in changes.source[term & (changes.new_term == 0) & (changes.new_method == 0)].tolist():
        found.append(_of_change(table, row, "期限变更没有新贷款期数或新还款方式"))
    return found


def _of_change(table: pa.Table, row: int, what: str) -> Finding:
    number = table.column("change_no")[row].as_py()
    return Finding(
        code="CHANGE-INCOMPLETE", severity="error", what=f"贴息变更 {number}：{what}，该变更没有生效。", todo="请补齐该变更后重新报送。",
        file_no=int(table.column("file_no")[row].as_py() or 0), table="change", line_no=int(table.column("line_no")[row].as_py() or 0),
        agreement_no=str(table.column("agreement_no")[row].as_py()),
    )  # fmt: skip
