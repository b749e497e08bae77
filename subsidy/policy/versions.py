"""Dated versions must follow each other without gap or overlap, the last one open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import pairwise

from subsidy.policy.section import Section

Span = tuple[Section, date | None, date | None]


def check_dates(spans: Sequence[Span]) -> None:
    """Faults of the order of versions in their own sections: [effective_from, effective_to), None an open end or an unreadable date."""
    for section, start, end in spans:
        if start is not None and end is not None and end <= start:
            section.add("POL-ORDER", "effective_to", f"须晚于 effective_from（{start}）。", value=str(end), todo="改正日期。")
    for (before, _, end), (after, start, _) in pairwise(spans):
        if not before.has("effective_to"):
            before.add("POL-OVERLAP", "effective_to", f"不是最后一个版本，却没有截止日，与 {after.path} 重叠。", todo="写上截止日。")
        elif start is None or end is None:
            continue
        elif start < end:
            after.add("POL-OVERLAP", "effective_from", f"与上一版本重叠：上一版本到 {end} 为止。", value=str(start), todo=f"改为 {end}。")
        elif start > end:
            what = f"与上一版本之间有空档：{end} 到 {start} 没有版本。"
            after.add("POL-GAP", "effective_from", what, value=str(start), todo=f"改为 {end}。")
    if spans and spans[-1][0].has("effective_to") and spans[-1][2] is not None:
        last, _, end = spans[-1]
        last.add("POL-GAP", "effective_to", f"{end} 起没有版本。", value=str(end), todo="最后一个版本写 effective_to: none。")
