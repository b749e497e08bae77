"""Between the columns of the engine and the plain rows of the second computation."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from subsidy import proof
from subsidy.entitlement.lines import LINE_KEY
from subsidy.errors import Finding
from subsidy.facts.schema import TABLES, Facts
from subsidy.policy import CentrePolicy, policy_as_data
from subsidy.proof.check import COMPARED

#: What the second computation may read: no name, address or identity number, nothing of where a row came from.
READS = {name: [c.name for c in table.columns if c.personal in ("", "account")] for name, table in TABLES.items() if name != "overdue"}


def plain_rows(facts: Facts) -> dict[str, Any]:
    """Facts as plain Python rows per table, with the claims beside them."""
    rows: dict[str, Any] = {name: facts[name].select(columns).to_pylist() for name, columns in READS.items()}
    rows["claims"] = sorted(facts.claims)
    return rows


def compare(facts: Facts, lines: pa.Table, policy: CentrePolicy) -> list[Finding]:
    """Compute the loans of `facts` a second time and compare with `lines` (schema `LINES`, all of these loans).

    One finding per line and column that differs, and per line that only one of the two knows."""
    again = proof.recompute(plain_rows(facts), policy_as_data(policy))
    differences = proof.check(lines.select([*LINE_KEY, *COMPARED]).to_pylist(), again)
    return [
        Finding(
            code="PROOF-DIFFERS",
            severity="error",
            what=f"贴息与独立复算不一致：{d.text}（金额单位：分）。",
            todo="不要付款；把本行的计算说明交给系统维护人员，查明后重算。",
            agreement_no=d.agreement_no,
            serial_no=d.serial_no,
        )
        for d in differences
    ]
