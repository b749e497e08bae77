"""What people read after their cases ran: one line a case; expected and computed side by side where they differ."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from subsidy.cases.names import OUTCOMES
from subsidy.cases.runner import Outcome, Result, Row
from subsidy.facts.schema import Facts
from subsidy.money import format_yuan
from subsidy.policy.model import CentrePolicy

LABELS = {"amount_fen": "本次", "figure_fen": "测算", "entitled_fen": "应贴", "outcome": "结果", "reason": "原因"}
WORDS = {code: word for word, code in OUTCOMES.items()}
Explain = Callable[[Facts, CentrePolicy, str, str], str]


def summary(results: Iterable[Result]) -> str:
    """The closing line."""
    found = list(results)
    bad = sum(not result.ok for result in found)
    return f"共 {len(found)} 个样例，{len(found) - bad} 个相符" + (f"，{bad} 个不符。" if bad else "。")


def lines_of(result: Result, explain: Explain, verbose: bool = False) -> Iterator[str]:
    """A case as text; with all its settlements when it is not as expected or `verbose`, with derivations where rows differ."""
    case = result.case
    yield f"{'相符' if result.ok else '不符'}  {case.path}:{case.line_no}  {case.name}"
    if result.ok and not verbose:
        return
    if case.note:
        yield from (f"      {line}" for line in case.note.splitlines())
    for outcome in result.outcomes:
        yield from _settlement(outcome, result.policy, explain)


def _settlement(outcome: Outcome, policy: CentrePolicy, explain: Explain) -> Iterator[str]:
    dates = outcome.dates
    yield f"    结算日 {dates.settlement_on}（截止 {dates.cutoff_on}，期间 {dates.period}）" + ("" if outcome.ok else "  ← 不符")
    if outcome.problem:
        yield f"      {outcome.problem}"
    if outcome.rows:
        yield "      " + _columns("流水号", "项目", "预期", "计算", "")
    for row in outcome.rows:
        for name, wanted, computed in _cells(row):
            yield "      " + _columns(row.serial_no, LABELS[name], wanted, computed, "←" if name in row.wrong else "")
    for difference in outcome.differences:
        yield f"      两套计算不一致：{difference.text}"
    for row in outcome.rows:
        if row.wrong and row.line is not None:
            yield f"      —— 流水号 {row.serial_no} 的推导 ——"
            text = explain(outcome.facts, policy, row.line["agreement_no"], row.serial_no)
            yield from (f"      {line}" for line in text.splitlines())


def _cells(row: Row) -> Iterator[tuple[str, str, str]]:
    wanted, line = row.expected, row.line
    amount = None if wanted is None else wanted.amount_fen
    yield "amount_fen", "未列" if wanted is None else format_yuan(amount or 0), format_yuan(row.amount_fen)
    for name in ("figure_fen", "entitled_fen", "outcome", "reason"):
        value = getattr(wanted, name) if wanted is not None else None
        if value is not None:
            yield name, _show(name, value), "无此行" if line is None else _show(name, line[name])


def _show(name: str, value: Any) -> str:
    if name.endswith("_fen"):
        return format_yuan(value)
    return WORDS.get(value, value) if name == "outcome" else str(value)


def _columns(*cells: str) -> str:
    widths = (16, 6, 14, 14, 2)
    return "".join(cell + " " * max(1, width - _width(cell)) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def as_data(result: Result) -> dict[str, Any]:
    """A result as plain data, for ``--json``."""
    return {
        "file": result.case.path,
        "line": result.case.line_no,
        "name": result.case.name,
        "ok": result.ok,
        "settlements": [
            {
                "settlement_on": outcome.dates.settlement_on.isoformat(),
                "ok": outcome.ok,
                "problem": outcome.problem,
                "differences": [difference.text for difference in outcome.differences],
                "rows": [
                    {
                        "serial_no": row.serial_no,
                        "wrong": list(row.wrong),
                        **{name: {"expected": wanted, "computed": computed} for name, wanted, computed in _cells(row)},
                    }
                    for row in outcome.rows
                ],
            }
            for outcome in result.outcomes
        ],
    }
