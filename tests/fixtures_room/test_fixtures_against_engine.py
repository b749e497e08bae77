"""The plain answers against the engine: every line of the story after every night, and of a portfolio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fixtures import story
from fixtures.answers import LoanFacts, assess
from fixtures.centres import CENTRES
from fixtures.inbox import delivery_dates
from fixtures.portfolio import Wanted, dossier
from subsidy.entitlement.engine import assess as engine_assess
from subsidy.facts.schema import TABLES, Facts
from subsidy.policy.load import load_centre

RULES = Path(__file__).resolve().parents[2] / "rules"
META: dict[str, Any] = {"bucket": 0, "known_on": None, "file_no": 1, "line_no": 1, "occurrence": 0, "withdrawn": False}


def facts_of(centre: str, loans: list[LoanFacts]) -> Facts:
    """The facts of `loans` as the engine takes them."""
    by_code: dict[str, list[dict[str, Any]]] = {t.code: [] for t in TABLES.values()}
    for loan in loans:
        by_code["TX01"].append(loan.agreement)
        for code, row in (("GB301", loan.contract), ("GB304", loan.account), ("TX04", loan.opening)):
            if row is not None:
                by_code[code].append(row)
        by_code["GB305"] += loan.rows
        by_code["TX02"] += loan.statuses
        by_code["TX03"] += loan.changes
        by_code["TX05"] += loan.others
    tables = {}
    for name, table in TABLES.items():
        rows = []
        for source in by_code[table.code]:
            row = {c.name: source[c.code] for c in table.columns if c.code in source} | META
            if not CENTRES[centre].sends_balance:
                row.pop("balance_after_fen", None)
            rows.append(row)
        rows.sort(key=lambda r, key=table.key: [str(r[k]) for k in key])
        tables[name] = pa.Table.from_pylist(rows, schema=table.arrow)
    return Facts(tables, frozenset(loan.agreement["TXXYBH"] for loan in loans if loan.claimed))


def compare(centre: str, loans: list[LoanFacts]) -> int:
    """Assert that engine and answers agree on every line; the number of lines."""
    policy = load_centre(RULES, centre)
    found = {
        (r["agreement_no"], r["serial_no"]): (r["figure_fen"], r["entitled_fen"], r["payable_fen"], r["outcome"])
        for r in engine_assess(facts_of(centre, loans), policy).lines.to_pylist()
    }
    expected = {
        (a.agreement_no, a.serial_no): (a.figure_fen, a.entitled_fen, a.payable_fen, a.outcome)
        for loan in loans for a in assess(CENTRES[centre], loan)
    }
    assert found == expected
    return len(found)


@pytest.mark.parametrize("centre", sorted(CENTRES))
@pytest.mark.parametrize("night", [2, 3, 4])
def test_story(centre: str, night: int) -> None:
    assert compare(centre, story.facts(centre, night)) > 50


@pytest.mark.parametrize("centre", sorted(CENTRES))
def test_portfolio(centre: str) -> None:
    wanted = Wanted(CENTRES[centre], 11, delivery_dates(4), mishaps_per_million=5_000)
    loans = [d.facts for d in (dossier(wanted, n) for n in range(1, 301)) if d.facts]
    assert compare(centre, loans) > 1_000
