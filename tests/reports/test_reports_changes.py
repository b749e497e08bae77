"""Each loan falls into one class of 变动分析, and the classes add up."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subsidy.entitlement.lines import LINES
from subsidy.reports import changes


def lines(*rows: dict[str, Any]) -> pa.Table:
    """Lines with the given values; what is not given does not matter."""
    plain = {"string": "", "date32[day]": date(2026, 9, 10)}
    filled = [
        {f.name: plain.get(str(f.type), 0) for f in LINES}
        | {"account_no": "A", "serial_no": str(n), "kind": "02", "outcome": "pay", "rate_ppm": 35_000, "fund_rate_ppm": 26_000}
        | row
        for n, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(filled, LINES)


MONTH = {"payable_fen": 37_500, "entitled_fen": 37_500}
CASES = {
    "新增": (lines(MONTH), lines(), lines()),
    "结清": (lines(MONTH, {"kind": "06", "payable_fen": 100}), lines(MONTH), lines(MONTH)),
    "更正与冲正": (lines({"outcome": "clawback"}), lines(MONTH), lines(MONTH)),
    "终止": (lines({"outcome": "stop", "payable_fen": 1}), lines(MONTH), lines(MONTH)),
    "暂停": (lines({"outcome": "hold"}), lines(MONTH), lines(MONTH)),
    "恢复": (lines(MONTH), lines({"outcome": "hold", "entitled_fen": 37_500}), lines(MONTH)),
    "提前还款": (lines(MONTH, {"kind": "03"}), lines(MONTH), lines(MONTH)),
    "利率变动": (lines(MONTH | {"fund_rate_ppm": 25_000}), lines(MONTH), lines(MONTH)),
    "本期无还款": (lines(), lines(MONTH), lines(MONTH)),
    "正常变动": (lines({"payable_fen": 37_441}), lines(MONTH), lines(MONTH)),
}


@pytest.mark.parametrize("name", changes.CLASSES)
def test_each_class(name: str) -> None:
    now, before, before_known_now = CASES[name]
    (row,) = changes.classify(now, before, before_known_now).to_pylist()
    paid = [sum(t["payable_fen"].to_pylist()) for t in (before, now)]
    assert (row["class"], row["loans"], row["before_fen"], row["now_fen"]) == (name, 1, *paid)


def test_a_line_corrected_since_last_months_report_is_a_correction() -> None:
    (row,) = changes.classify(lines(MONTH), lines(MONTH), lines({"payable_fen": 30_000, "entitled_fen": 30_000})).to_pylist()
    assert (row["class"], row["before_fen"]) == ("更正与冲正", 37_500)


row_strategy = st.fixed_dictionaries(
    {
        "account_no": st.sampled_from("ABCDE"),
        "payable_fen": st.integers(0, 10**9),
        "kind": st.sampled_from(["02", "03", "04", "06"]),
        "outcome": st.sampled_from(["pay", "hold", "stop", "forfeit", "reversed", "clawback"]),
        "rate_ppm": st.sampled_from([30_500, 35_000]),
    }
)


@settings(deadline=None, max_examples=60)
@given(*(st.lists(row_strategy, max_size=8) for _ in range(3)))
def test_the_classes_add_up(now: list[dict[str, Any]], before: list[dict[str, Any]], corrected: list[dict[str, Any]]) -> None:
    found = changes.add([changes.classify(lines(*now), lines(*before), lines(*corrected))])
    assert sum(r[2] for r in found) == sum(r["payable_fen"] for r in before)
    assert sum(r[3] for r in found) == sum(r["payable_fen"] for r in now)
    assert sum(r[1] for r in found) >= len({r["account_no"] for r in now + before})
