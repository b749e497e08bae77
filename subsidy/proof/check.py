"""Compares lines of the engine with recomputed ones; any difference blocks the settlement (handbook section 8, invariant 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

COMPARED = ("figure_fen", "entitled_fen", "payable_fen", "outcome", "shadow_balance_fen", "shadow_interest_fen", "shadow_principal_fen")


@dataclass(frozen=True, slots=True)
class Difference:
    """One column of one line on which the two computations differ. None: that computation has no such line."""

    agreement_no: str
    account_no: str
    serial_no: str
    column: str
    line: int | str | None
    recomputed: int | str | None

    @property
    def text(self) -> str:
        """The difference in Chinese, without the account number."""
        return f"协议 {self.agreement_no} 流水 {self.serial_no}：{self.column} 引擎 {_show(self.line)}，复算 {_show(self.recomputed)}"


def _show(value: int | str | None) -> str:
    return "无此行" if value is None else str(value)


_VALUES = itemgetter(*COMPARED)


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["agreement_no"], row["account_no"], row["serial_no"]


def check(lines: Iterable[Mapping[str, Any]], recomputed: Iterable[Mapping[str, Any]], complete: bool = True) -> list[Difference]:
    """Differences between `lines` (dicts with the columns of the line schema) and what `recompute` gave, by line and column.

    With `complete`, a line that only one side has is a difference too (column ``line``); without it, `lines` may be a part of
    what was recomputed, e.g. only the lines that a night changed. Sorted by line and column.
    """
    mine = {_key(row): row for row in recomputed}
    found: list[Difference] = []
    seen: set[tuple[str, str, str]] = set()
    for line in lines:
        key = _key(line)
        seen.add(key)
        other = mine.get(key)
        if other is None:
            found.append(Difference(*key, "line", str(line["outcome"]), None))
            continue
        if _VALUES(line) != _VALUES(other):
            found += [Difference(*key, name, line[name], other[name]) for name in COMPARED if line[name] != other[name]]
    if complete:
        found += [Difference(*key, "line", None, str(row["outcome"])) for key, row in mine.items() if key not in seen]
    return sorted(found, key=lambda d: (d.agreement_no, d.account_no, d.serial_no, d.column))
