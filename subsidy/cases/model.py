"""A worked case: facts with the day on which they became known, and what each settlement is expected to add."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from subsidy.errors import Finding, TerminalError

#: Findings listed in the text of the message; all are in `CasesError.findings`.
_LISTED = 50


class CasesError(TerminalError):
    """Cases files cannot be read; `findings` names every error with file, line and key."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        lines = [f"\n  {f.file_name} 第 {f.line_no} 行：{f.what}{f.todo}" for f in findings[:_LISTED]]
        if len(findings) > _LISTED:
            lines.append(f"\n  ……另有 {len(findings) - _LISTED} 处。")
        super().__init__(
            "CASES-INVALID",
            f"样例文件有 {len(findings)} 处错误：{''.join(lines)}\n",
            "没有计算任何样例，也没有改动任何数据。",
            "逐处改正后重跑 subsidy cases。",
        )

    def __reduce__(self) -> tuple[type, tuple[tuple[Finding, ...]]]:  # type: ignore[override]
        return type(self), (self.findings,)


@dataclass(frozen=True, slots=True)
class Fact:
    """One version of a fact row. `line_no` is its place in the cases file, which also orders facts known on the same day."""

    table: str
    row: dict[str, Any]
    known_on: date
    line_no: int
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """What one settlement should show for one row: the amount that it adds, and further columns of the line where given."""

    serial_no: str
    line_no: int
    amount_fen: int | None = None
    figure_fen: int | None = None
    entitled_fen: int | None = None
    outcome: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """The expectation for one settlement day."""

    settlement_on: date
    line_no: int
    rows: tuple[Expected, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One worked case. `claimed_on`: the day on which a duplicate claim became known, `cleared_on` the day on which it was settled.
    `go_live` replaces that of the policy."""

    name: str
    note: str
    path: str
    line_no: int
    facts: tuple[Fact, ...]
    settlements: tuple[Settlement, ...]
    go_live: date | None = None
    claimed_on: date | None = None
    cleared_on: date | None = None
