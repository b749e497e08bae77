"""Small books of synthetic rows."""

from __future__ import annotations

import zipfile
from datetime import date
from pathlib import Path

from subsidy.reports.sheet import Book, Column, Cover, Sheet, Term, Tie, of_rows

CENTRE, PERIODS = "hangzhou", ("2026-09", "2026-10")

COLUMNS = (
    Column("协议编号", width=20),
    Column("收款户名", width=14, wrap=True),
    Column("期次", "int", 6),
    Column("记账日期", "date", 11),
    Column("执行利率", "rate", 10),
    Column("应付金额", "money", 14, True),
    Column("状态", width=8),
)
#: Names that a spreadsheet would take for formulas, numbers, markup or control characters.
NASTY = (
    '=HYPERLINK("http://x","y")', "+1", "@SUM(A1)", "-2+3", "\tTab", "00123", "1e5", "<b>&amp;</b>", "  空 格  ",
    "行\n二", "䶮㛃𠮷", "\r\x07",
)  # fmt: skip
AMOUNTS = (0, 1, -1, 10, 99, 100, 123456789, -37500, 9_999_999_999_999, 1005, 2675, 30)


def rows(count: int = len(NASTY)) -> list[tuple[object, ...]]:
    """`count` rows; texts and amounts come round."""
    return [
        (
            f"{3301000000000000000000 + n}",
            NASTY[n % len(NASTY)],
            n,
            None if n % 5 == 4 else date(2026, 9, 1 + n % 28),
            None if n % 7 == 6 else 30_750 + n,
            AMOUNTS[n % len(AMOUNTS)],
            "已付" if n % 3 else "",
        )
        for n in range(count)
    ]


def book(count: int = len(NASTY), ledger_fen: int | None = None) -> Book:
    """A book of one sheet and its tie-out."""
    sheet: Sheet = of_rows("贴息明细", COLUMNS, rows(count), ("说明",))  # type: ignore[arg-type]
    total, paid = sheet.total("应付金额"), sheet.total("应付金额", (("状态", "已付"),))
    ties = (
        Tie("明细 = 账簿", total if ledger_fen is None else ledger_fen, (Term(1, "贴息明细", "应付金额"),), "账簿"),
        Tie("已付", paid, (Term(1, "贴息明细", "应付金额", (("状态", "已付"),)),), "账簿"),
    )
    cover = Cover("测试中心", (("期间", "2026-10"), ("规则版本", "v1")), (("本期应付", total),), ("利率只核对到 2026-10-09",))
    return Book(cover, (sheet,), ties)


def parts(path: Path) -> dict[str, str]:
    """The XML parts of a workbook."""
    with zipfile.ZipFile(path) as package:
        return {name: package.read(name).decode() for name in package.namelist()}
