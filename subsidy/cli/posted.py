"""What the ledger has posted for the lines of one contract, and why it was corrected; read for explanations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.money import format_yuan
from subsidy.reports.ledger_rows import Key
from subsidy.settings import Settings

KINDS = {"accrual": "首次入账", "top_up": "补差", "recovery": "追回", "opening": "期初应收"}


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason of a correction: Chinese text, its part of the amount in fen, and the input file and line that told it (0: none)."""

    text: str
    amount_fen: int
    file_no: int
    line_no: int


@dataclass(frozen=True, slots=True)
class Posted:
    """One posting of a line: `kind` as in the ledger, signed change and amount of the line after it, in fen."""

    kind: str
    business_date: date
    amount_fen: int
    due_fen: int
    causes: tuple[Cause, ...]

    def text(self, files: Mapping[int, str]) -> str:
        """The posting in one Chinese line, the causes with file name (by register number) and line."""
        amount, total = format_yuan(self.amount_fen), format_yuan(self.due_fen)
        said = f"{self.business_date} {KINDS.get(self.kind, self.kind)} {amount} 元，该行累计入账 {total} 元"
        told = []
        for cause in self.causes:
            part = f"{format_yuan(cause.amount_fen)} 元" if len(self.causes) > 1 else ""
            name = files.get(cause.file_no, f"登记号 {cause.file_no}")
            told.append(f"{cause.text}{part}" + (f"（{name} 第 {cause.line_no} 行）" if cause.file_no else ""))
        return said + (f"；原因：{'、'.join(told)}" if told else "")

    def data(self, files: Mapping[int, str]) -> dict[str, Any]:
        """The posting as plain data for JSON."""
        return {
            "kind": self.kind,
            "business_date": self.business_date.isoformat(),
            "amount_fen": self.amount_fen,
            "due_fen": self.due_fen,
            "causes": [
                {"text": c.text, "amount_fen": c.amount_fen, "file_name": files.get(c.file_no, ""), "line_no": c.line_no}
                for c in self.causes
            ],
        }


def posted_lines(settings: Settings, centre: str, agreements: Collection[str]) -> dict[Key, tuple[Posted, ...]]:
    """All postings of the lines of some agreements, in the order in which they were made."""
    p, c = tables.posting, tables.posting_cause
    mine = (p.c.centre == centre, p.c.agreement_no.in_(sorted(agreements)))
    with open_database(settings).read() as conn:
        rows = conn.execute(sa.select(p).where(*mine).order_by(p.c.posting_no)).all()
        told = conn.execute(
            sa.select(c).where(c.c.centre == centre, c.c.posting_no.in_([r.posting_no for r in rows])).order_by(c.c.ordinal)
        ).all()
    causes: dict[int, list[Cause]] = defaultdict(list)
    for t in told:
        causes[t.posting_no].append(Cause(t.text, t.amount_fen, t.file_no, t.line_no))
    found: dict[Key, list[Posted]] = defaultdict(list)
    for r in rows:
        found[r.agreement_no, r.account_no, r.serial_no].append(
            Posted(r.kind, r.business_date, r.amount_fen, r.due_fen, tuple(causes[r.posting_no]))
        )
    return {key: tuple(postings) for key, postings in found.items()}
