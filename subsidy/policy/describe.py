"""A policy in words for people: what applies on a day and why, and what differs between two policies."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import date
from difflib import SequenceMatcher
from typing import Any

from subsidy.calendar import settlements_due
from subsidy.errors import TerminalError
from subsidy.money import format_percent, format_yuan
from subsidy.policy.horizon import horizon_warnings
from subsidy.policy.load import working_days_of
from subsidy.policy.model import CentrePolicy, Gate, RateCapPiece, RuleVersion, SettlementTerms, Source

METHOD_NAMES = {
    "ratio": "实还利息 × 利差 ÷ 商贷利率",
    "spread": "计息本金 × 利差 × 年数",
    "points": "计息本金 × 固定百分点 × 年数",
    "share": "实还利息 × 固定比例",
    "shadow_interest": "实还利息 − 影子公积金贷款的利息",
    "payment_difference": "实还本息 − 影子公积金贷款的月还额",
}
DAY_COUNT_NAMES = {
    "monthly": "对年对月对日", "30/360": "每月按 30 天，÷ 360", "actual/360": "实际天数 ÷ 360", "actual/365": "实际天数 ÷ 365",
}  # fmt: skip
RESET_NAMES = {"next_january": "次年 1 月 1 日起用新利率", "immediate": "调整当日起用新利率", "frozen": "固定为签约日的利率"}
MID_PERIOD_NAMES = {"split": "按天数分段", "old": "全期用期初的利率", "new": "全期用期末的利率"}
PRINCIPAL_CAP_NAMES = {"pro_rata": "按贴息本金占发放额的比例", "on_balance": "余额在贴息本金以内的部分"}
OUTCOME_NAMES = {"pay": "支付", "hold": "暂缓", "forfeit": "不付", "stop": "终止"}
BASIS_NAMES = {"assumed": "假定", "document": "文件", "published": "公布", "derived": "推算"}
_AFTER_CURE_NAMES = {"pay": "补付", "forfeit": "不再支付"}
_PAYEE_NAMES = {"borrower": "借款人", "bank": "银行"}
_ROLL_NAMES = {"next": "遇非工作日顺延", "previous": "遇非工作日提前"}
_CUTOFF_NAMES = {"day_before": "清算日前一天", "previous_month_end": "清算日上月最后一天"}
_RECOVERY_NAMES = {"net": "从以后的贴息中抵扣", "collect": "批量收款"}
_FREQUENCY_NAMES = {"monthly": "每月", "quarterly": "每季最后一个月"}
_SERIES_NAMES = {
    "FIRST_LE5": "首套，60 个月以内", "FIRST_GT5": "首套，60 个月以上",
    "SECOND_LE5": "二套，60 个月以内", "SECOND_GT5": "二套，60 个月以上",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that applies: `group` and `label` name it, `value` says it, `why` names the place and the source it comes from."""

    group: str
    label: str
    value: str
    why: str


def source_text(source: Source | None) -> str:
    """Where a value comes from, in words."""
    if source is None:
        return ""
    parts = [BASIS_NAMES[source.basis], source.document, source.article, source.link]
    text = " ".join(p for p in parts if p)
    return f"{text}（{source.file} 第 {source.line} 行）" if source.file else text


def describe(policy: CentrePolicy, day: date) -> tuple[Statement, ...]:
    """Everything that applies to a period that begins on `day`, and to a settlement on `day`, each with its reason."""
    statements = [
        Statement("中心", "名称", f"{policy.name}（{policy.centre}，{policy.code}）", source_text(policy.sources.get("name"))),
        Statement("中心", "方案", policy.scheme, source_text(policy.sources.get("scheme"))),
        Statement("中心", "上线日", str(policy.go_live), source_text(policy.sources.get("go_live"))),
        Statement("中心", "规则存档", policy.version[:16], "文件夹和参数内容的指纹"),
    ]
    try:
        statements += _rule(policy, policy.rules_on(day), day)
    except KeyError:
        statements.append(Statement("规则", "版本", "无", f"{day} 没有规则版本覆盖"))
    statements += _rates(policy, day)
    try:
        statements += _settlement(policy, policy.settlement_on(day), day)
    except KeyError:
        statements.append(Statement("清算", "约定", "无", f"{day} 没有清算约定覆盖"))
    statements += [Statement("提示", f.code, f.what, f.todo) for f in horizon_warnings(policy, day)]
    statements += [Statement("提示", "检查", warning, "") for warning in policy.warnings]
    return tuple(statements)


def _rule(policy: CentrePolicy, rule: RuleVersion, day: date) -> list[Statement]:
    def one(label: str, key: str, value: str) -> Statement:
        return Statement("规则", label, value, source_text(rule.sources.get(key)))

    until = f"到 {rule.effective_to} 前" if rule.effective_to else "至今"
    said = [
        Statement("规则", "版本", f"{rule.version_id}（{rule.effective_from} 起，{until}）", "计息起始日落在此区间"),
        one("方法", "method", f"{rule.method} {METHOD_NAMES[rule.method]}"),
    ]
    if rule.method == "points":
        said.append(one("百分点", "points", _percent(rule.points_ppm)))
    if rule.method == "share":
        said.append(one("比例", "share", _percent(rule.share_ppm)))
    if rule.method in ("spread", "points"):
        said.append(one("计日方法", "day_count", f"{rule.day_count} {DAY_COUNT_NAMES[rule.day_count]}"))
    if rule.method not in ("points", "share"):
        said.append(one("利率调整", "fund_rate_reset", f"{rule.fund_rate_reset} {RESET_NAMES[rule.fund_rate_reset]}"))
        said.append(one("期内变化", "mid_period", f"{rule.mid_period} {MID_PERIOD_NAMES[rule.mid_period]}"))
    said += [
        one("贴息本金", "principal_cap", f"{rule.principal_cap} {PRINCIPAL_CAP_NAMES[rule.principal_cap]}"),
        one("利率上限", "rate_cap", _cap_on(policy, rule.rate_cap, day)),
        one("每月限额", "monthly_limit", _yuan(rule.monthly_limit_fen)),
        one("累计限额", "lifetime_limit", _yuan(rule.lifetime_limit_fen)),
        one("最多月数", "months_limit", "不限" if rule.months_limit is None else f"{rule.months_limit} 个月"),
        one("补付期限", "back_pay_months", "不限" if rule.back_pay_months is None else f"{rule.back_pay_months} 个月"),
    ]
    if rule.suspension is None:
        said.append(one("暂停", "suspension", "不因贷款状态暂停"))
    else:
        value = f"{rule.suspension.text}；解除后{_AFTER_CURE_NAMES[rule.suspension.after_cure]}"
        said.append(Statement("规则", "暂停", value, source_text(rule.suspension.source)))
    said += [Statement("关口", f"第 {k} 行", gate_text(gate), source_text(gate.source)) for k, gate in enumerate(rule.gates, 1)]
    check = rule.verification
    checks = (
        ("贷款类型", "loan_kinds", "、".join(check.loan_kinds)),
        ("还款方式", "repayment_methods", "、".join(check.repayment_methods)),
        ("利率容差", "rate_tolerance", format_percent(check.rate_tolerance_ppm)),
        ("合同最高额", "maximum_amount", _yuan(check.maximum_amount_fen)),
    )
    return said + [Statement("核定", label, value, source_text(rule.sources.get(f"verification.{key}"))) for label, key, value in checks]


def gate_text(gate: Gate) -> str:
    """A gate in one line: ``days_late > 15 → 不付 GATE-LATE …``; one that always applies says 无条件."""
    text = "无条件" if gate.text == "true" else gate.text
    return f"{text} → {OUTCOME_NAMES[gate.outcome]} {gate.reason} {gate.reason_text}".replace("  ", " ")


def _cap_on(policy: CentrePolicy, pieces: tuple[RateCapPiece, ...], day: date) -> str:
    current = next((p for p in reversed(pieces) if p.effective_from <= day), None)
    if current is None:
        return "不设上限"
    if current.series is None:
        return f"固定 {_percent(current.fixed_ppm)}（{current.effective_from} 起）"
    return f"{current.series}（{current.effective_from} 起用此序列），当日 {_rate_on(policy, current.series, day)}"


def _rate_on(policy: CentrePolicy, name: str, day: date) -> str:
    series = policy.parameters.series[name]
    place = bisect_right(series.effective_on, day) - 1
    if place < 0:
        return f"无（序列从 {series.effective_on[0]} 开始）"
    basis = f"{series.announced_on[place]} {BASIS_NAMES[series.basis[place]]}"
    return f"{format_percent(series.ppm[place])}（{series.effective_on[place]} 起，{basis}）"


def _rates(policy: CentrePolicy, day: date) -> list[Statement]:
    names = _SERIES_NAMES.items()
    return [Statement("公积金利率", label, _rate_on(policy, name, day), f"parameters/rates.csv 的 {name}") for name, label in names]


def _settlement(policy: CentrePolicy, terms: SettlementTerms, day: date) -> list[Statement]:
    def one(label: str, key: str, value: str) -> Statement:
        return Statement("清算", label, value, source_text(terms.sources.get(key)))

    account, approval = terms.paying_account, terms.approval
    auto = "一律待审批" if approval.auto_below_fen is None else f"低于 {_yuan(approval.auto_below_fen)} 且无异常的自动放行"
    return [
        one("清算日", "day", f"{_FREQUENCY_NAMES[terms.frequency]} {terms.day} 日，{_ROLL_NAMES[terms.roll]}"),
        one("截止", "cutoff", _CUTOFF_NAMES[terms.cutoff]),
        Statement("清算", "下一次", _next_settlement(policy, day), "按工作日历推算"),
        one("收款人", "payee", _PAYEE_NAMES[terms.payee]),
        one("起付金额", "minimum", _yuan(terms.minimum_fen)),
        one("追回", "recovery", _RECOVERY_NAMES[terms.recovery]),
        one("付款账户", "paying_account.number", f"{account.name}，联行号 {account.bank_no}"),
        one("付款格式", "payment_profile", terms.payment_profile),
        one("自动放行", "approval.auto_below", auto),
        one("两人审批", "approval.two_above", f"高于 {_yuan(approval.two_above_fen)}"),
        one("总额增长", "approval.growth_limit_percent", f"超过上次的 {approval.growth_limit_percent}% 待审批"),
        one("新收款人", "approval.new_payee_limit_percent", f"超过 {approval.new_payee_limit_percent}% 待审批"),
    ]


def _next_settlement(policy: CentrePolicy, day: date) -> str:
    days = working_days_of(policy)
    # The night of 30 December is the last that the calendar of its own year can decide.
    last = max(day, min(date(day.year + 1, day.month, 1), date(days.horizon, 12, 30)))
    try:
        due = settlements_due(policy, days, day, last)
    except TerminalError as error:
        return error.message.what
    if not due:
        return f"{days.horizon} 年内已无清算；其后的工作日历尚未提供"
    first = due[0]
    return f"期间 {first.period}，清算日 {first.settlement_on}，截止 {first.cutoff_on}，{first.night} 夜间生成批次"


def _yuan(fen: int | None) -> str:
    return "不限" if fen is None else f"{format_yuan(fen)}元"


def _percent(ppm: int | None) -> str:
    return "" if ppm is None else format_percent(ppm)


@dataclass(frozen=True, slots=True)
class Difference:
    """One key that differs; None where a side does not have it."""

    key: str
    left: str | None
    right: str | None


def differences(left: CentrePolicy, right: CentrePolicy) -> tuple[Difference, ...]:
    """What differs between two policies, key by key, without sources and places in files. Versions are compared in their order."""
    a, b = _flat(left), _flat(right)
    found = []
    for key in dict.fromkeys([*a, *b]):
        before, after = a.get(key), b.get(key)
        if isinstance(before, list) and isinstance(after, list):
            found += _rows(key, before, after)
        elif before != after:
            found.append(Difference(key, _joined(before), _joined(after)))
    return tuple(found)


def _rows(key: str, before: list[str], after: list[str]) -> list[Difference]:
    """Rows of two tables that were removed, added or exchanged."""
    found = []
    for tag, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            found.append(Difference(key, _joined(before[a:b]) or None, _joined(after[c:d]) or None))
    return found


def _joined(value: str | list[str] | None) -> str | None:
    return "；".join(value) if isinstance(value, list) else value


Flat = dict[str, str | list[str]]


def _flat(policy: CentrePolicy) -> Flat:
    flat: Flat = {}
    for name in ("code", "name", "short_name", "scheme", "go_live", "withdrawal_limit_percent", "deadline_hour"):
        flat[f"centre.{name}"] = str(getattr(policy, name))
    for group, versions in (("rules", policy.rules), ("settlement", policy.settlement)):
        for place, version in enumerate(versions, 1):
            _flatten(f"{group}[{place}]", version, flat)
    for name, series in sorted(policy.parameters.series.items()):
        for day, ppm in zip(series.effective_on, series.ppm, strict=True):
            flat[f"rates.{name}.{day}"] = format_percent(ppm)
    flat["parameters.confirmed_through"] = str(policy.parameters.confirmed_through)
    for year, calendar in sorted(policy.parameters.calendars.items()):
        for label, days in (("holidays", calendar.holidays), ("workdays", calendar.workdays)):
            flat[f"calendar.{year}.{label}"] = "、".join(str(d) for d in sorted(days))
    return flat


_NOT_COMPARED = frozenset({"sources", "source", "condition"})


def _flatten(path: str, value: Any, flat: Flat) -> None:
    if hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            if name not in _NOT_COMPARED:
                _flatten(f"{path}.{name}", getattr(value, name), flat)
    elif path.endswith(".gates"):
        flat[path] = [gate_text(gate) for gate in value]
    elif path.endswith(".rate_cap"):
        flat[path] = [f"{p.effective_from} 起 {p.series or _percent(p.fixed_ppm)}" for p in value]
    elif isinstance(value, tuple) and value and not isinstance(value[0], str):
        for place, item in enumerate(value, 1):
            _flatten(f"{path}[{place}]", item, flat)
    else:
        flat[path] = "、".join(value) if isinstance(value, tuple) else _value_text(path, value)


def _value_text(path: str, value: Any) -> str:
    if value is None:
        return "none"
    if path.endswith("_fen"):
        return f"{format_yuan(value)}元"
    return format_percent(value) if path.endswith("_ppm") else str(value)
