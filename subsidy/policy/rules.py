"""Rule versions: the list under ``rules`` of policy.yaml, each value typed and sourced, each combination checked (handbook section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any, cast

from subsidy.policy.gates import GateRow, read_gates, read_suspension
from subsidy.policy.model import METHODS, SHADOW_METHODS, Parameters, RateCapPiece, RuleVersion, Verification
from subsidy.policy.parameters import FUND_SERIES
from subsidy.policy.problems import nearest
from subsidy.policy.section import NONE, Section
from subsidy.policy.versions import check_dates

DAY_COUNTS = ("monthly", "30/360", "actual/360", "actual/365")
RESETS = ("next_january", "immediate", "frozen")
MID_PERIODS = ("split", "old", "new")
PRINCIPAL_CAPS = ("pro_rata", "on_balance")
#: Methods in which a rate cap has a meaning.
CAPPED_METHODS = ("ratio", "spread")
#: Methods that count days by `day_count`.
COUNTED_METHODS = ("spread", "points")
#: Methods that read the fund rate.
FUND_METHODS = ("ratio", "spread", *SHADOW_METHODS)

_LOAN_KINDS = ("01", "02", "03", "99")
_REPAYMENT_METHODS = ("01", "02", "03", "04", "99")
_MAX_CAP_PPM = 300_000
_MAX_POINTS_PPM = 100_000


def read_rules(top: Section, shared: Mapping[str, GateRow | None], parameters: Parameters | None) -> tuple[RuleVersion, ...]:
    """All rule versions in order; faults go to the problems, and what is returned then is not to be used."""
    rules = []
    spans = []
    names: dict[str, int] = {}
    for section in top.sections("rules"):
        rule, span = _rule(section, shared, parameters)
        spans.append(span)
        if rule is not None:
            if rule.version_id in names:
                section.add("POL-OVERLAP", "version_id", f"版本名重复，已在第 {names[rule.version_id]} 行用过。", value=rule.version_id)
            names.setdefault(rule.version_id, section.line("version_id"))
            rules.append(rule)
    check_dates(spans)
    return tuple(rules)


def _rule(
    s: Section, shared: Mapping[str, GateRow | None], parameters: Parameters | None
) -> tuple[RuleVersion | None, tuple[Section, date | None, date | None]]:
    before = len(s.problems)
    version_id = s.text("version_id", r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", "字母、数字、点、横线，最多 40 个字符")
    start, end = s.day("effective_from"), s.day("effective_to", optional=True)
    method = s.choice("method", METHODS)
    points = _own_parameter(s, "points", method, _MAX_POINTS_PPM)
    share = _own_parameter(s, "share", method, 1_000_000)
    fund = method in FUND_METHODS
    values: dict[str, Any] = {
        "day_count": s.choice("day_count", DAY_COUNTS, default=None if method in COUNTED_METHODS else "monthly"),
        "fund_rate_reset": s.choice("fund_rate_reset", RESETS, default=None if fund else "next_january"),
        "mid_period": s.choice("mid_period", MID_PERIODS, default=None if fund else "split"),
        "principal_cap": s.choice("principal_cap", PRINCIPAL_CAPS),
        "rate_cap": _rate_cap(s, start, end, parameters),
        "points_ppm": points,
        "share_ppm": share,
        "monthly_limit_fen": s.amount("monthly_limit", optional=True),
        "lifetime_limit_fen": s.amount("lifetime_limit", optional=True),
        "months_limit": s.integer("months_limit", 1, 1200, optional=True),
        "back_pay_months": s.integer("back_pay_months", 0, 1200, optional=True),
        "gates": (gates := read_gates(s, shared)),
        "suspension": read_suspension(s, gates),
        "verification": _verification(s),
    }
    s.finish()
    _check_method(s, method, values["principal_cap"])
    _check_coverage(s, start, fund, parameters)
    span = (s, start, end)
    if len(s.problems) > before or version_id is None or start is None:
        return None, span
    sources = dict(s.sources)
    return RuleVersion(version_id, start, end, cast(Any, method), **values, sources=sources), span


def _own_parameter(s: Section, name: str, method: str | None, high_ppm: int) -> int | None:
    """The rate that the method of the same name needs; for any other method it is missing or ``none``."""
    if s.has(name) or method == name:
        return s.rate(name, high_ppm, low_ppm=1)
    s.text(name, default="")
    return None


def _rate_cap(s: Section, start: date | None, end: date | None, parameters: Parameters | None) -> tuple[RateCapPiece, ...]:
    if not s.has("rate_cap"):
        s.choice("rate_cap", (NONE,))
        return ()
    pieces: list[RateCapPiece] = []
    for child in s.sections("rate_cap"):
        since = child.day("effective_from")
        fixed = child.rate("fixed", _MAX_CAP_PPM) if child.has("fixed") else None
        series = child.text("series") if child.has("series") else None
        child.finish()
        if child.has("fixed") == child.has("series"):
            child.add("POL-CAP", "fixed", "fixed（固定利率）和 series（利率序列）必须且只能写一个。")
        if series is not None and since is not None and parameters is not None:
            _check_series(child, series, since, parameters)
        if pieces and since is not None and since <= pieces[-1].effective_from:
            what = f"上限各段须按日期先后排列，上一段从 {pieces[-1].effective_from} 起。"
            child.add("POL-OVERLAP", "effective_from", what, value=str(since))
        if since is not None:
            pieces.append(RateCapPiece(since, fixed, series))
            if pieces[0] is pieces[-1] and start is not None and since > start:
                what = f"从 {start} 到 {since} 没有利率上限的值。"
                child.add("POL-GAP", "effective_from", what, value=str(since), todo=f"第一段从 {start} 起写。")
            if end is not None and since >= end:
                child.add("POL-GATE-NEVER", "effective_from", f"该版本到 {end} 为止，这一段永远用不到。", value=str(since))
    if pieces and (source := s.own_source()) is not None:
        s.sources["rate_cap"] = replace(source, line=s.line("rate_cap"))
    return tuple(pieces)


def _check_series(child: Section, series: str, since: date, parameters: Parameters) -> None:
    known = parameters.series.get(series)
    if known is None:
        child.add("POL-CAP", "series", "没有这个利率序列。", value=series, allowed="、".join(sorted(parameters.series)),
                  near=nearest(series, parameters.series))  # fmt: skip
    elif known.effective_on[0] > since:
        child.add("POL-RATE-GAP", "effective_from", f"序列 {series} 从 {known.effective_on[0]} 才有值，此前需用另一个上限。",
                  value=str(since), todo=f"在前面另写一段，或改为不早于 {known.effective_on[0]}。")  # fmt: skip


def _verification(s: Section) -> Verification | None:
    child = s.section("verification")
    if child is None:
        return None
    kinds = child.items("loan_kinds", _LOAN_KINDS)
    methods = child.items("repayment_methods", _REPAYMENT_METHODS)
    tolerance = child.rate("rate_tolerance", 50_000)
    maximum = child.amount("maximum_amount", optional=True)
    child.finish()
    s.sources.update({f"verification.{name}": source for name, source in child.sources.items()})
    source = child.own_source()
    if kinds is None or methods is None or tolerance is None or source is None:
        return None
    return Verification(kinds, methods, tolerance, maximum, source)


def _check_method(s: Section, method: str | None, principal_cap: Any) -> None:
    if method is None:
        return
    for name, owner in (("points", "points"), ("share", "share")):
        if method != owner and s.has(name):
            s.add("POL-METHOD", name, f"方法 {method} 不使用 {name}。", todo=f"写 {name}: none，或改用方法 {owner}。")
    if s.has("rate_cap") and method not in CAPPED_METHODS:
        what = f"利率上限只能用于 {'、'.join(CAPPED_METHODS)}，方法 {method} 不能设上限。"
        s.add("POL-CAP", "rate_cap", what, todo="写 rate_cap: none。")
    if principal_cap == "on_balance" and method in SHADOW_METHODS:
        s.add("POL-METHOD", "principal_cap", f"方法 {method} 不能与 on_balance 同用。", value="on_balance", allowed="pro_rata")


def _check_coverage(s: Section, start: date | None, fund: bool, parameters: Parameters | None) -> None:
    if start is None or not fund or parameters is None:
        return
    for name in FUND_SERIES:
        first = parameters.series[name].effective_on[0]
        if first > start:
            s.add("POL-RATE-GAP", "effective_from", f"公积金利率 {name} 从 {first} 才有值，没有利率覆盖 {start} 起的日期。",
                  value=str(start), todo=f"在 rates.csv 补上更早的利率，或改为不早于 {first}。")  # fmt: skip
