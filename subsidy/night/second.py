"""Between the columns of the engine and the plain rows of the second computation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from subsidy import proof
from subsidy.entitlement.lines import LINE_KEY
from subsidy.errors import Finding
from subsidy.facts.schema import Facts
from subsidy.policy import CentrePolicy, policy_as_data
from subsidy.proof.check import COMPARED


def plain_rows(table: pa.Table, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Some columns of a table as plain Python rows."""
    values = [_plain(table[name]) for name in columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def _plain(column: pa.ChunkedArray) -> list[Any]:
    if not pa.types.is_date32(column.type):
        return column.to_pylist()  # type: ignore[no-any-return]
    # To make a date costs a hundred times as much as to find it, and a portfolio has few different ones.
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    days = encoded.dictionary.to_pylist()
    return [days[place] for place in encoded.indices.to_pylist()]


def compare(facts: Facts, lines: pa.Table, policy: CentrePolicy) -> list[Finding]:
    """Compute the loans of `facts` a second time and compare with `lines` (schema `LINES`, all of these loans).

    One finding per line and column that differs, and per line that only one of the two knows."""
    rows: dict[str, Any] = {name: plain_rows(facts[name], columns) for name, columns in proof.READS.items()}
    again = proof.recompute({**rows, "claims": facts.claims}, policy_as_data(policy))
    differences = proof.check(plain_rows(lines, [*LINE_KEY, *COMPARED]), again)
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
