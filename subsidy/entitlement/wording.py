"""Words and figures of explanations, in Chinese."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from subsidy.calendar import date_of
from subsidy.entitlement.columns import FAR
from subsidy.facts.schema import LOAN_STATUSES, TRANSACTION_KINDS
from subsidy.money import format_percent, format_yuan
from subsidy.policy.model import GATE_FACTS

KIND_NAMES = TRANSACTION_KINDS

OUTCOME_NAMES = {
    "pay": "支付",
    "hold": "暂缓",
    "forfeit": "不付",
    "stop": "支付并终止",
    "reversed": "已冲正",
    "quarantined": "已隔离",
    "opening": "期初已结清",
    "clawback": "追回",
}

#: Instead of the outcome of a line that is paid but comes to nothing (`codes.NO_SUBSIDY`).
NOTHING = "无贴息"

METHOD_NAMES = {
    "ratio": "利率比例",
    "spread": "利差",
    "points": "固定点数",
    "share": "利息比例",
    "shadow_interest": "影子利息差",
    "payment_difference": "月供差",
}

METHOD_FORMULAS = {
    "ratio": "w × 利息 × Σ(天数 ÷ 全期天数 × 利差) ÷ 执行利率",
    "spread": "w × 计息本金 × Σ(利差 × 年数)",
    "points": "w × 计息本金 × 固定百分点 × 年数",
    "share": "w × 利息 × 固定比例 × 期间内天数 ÷ 全期天数",
    "shadow_interest": "max(0, w × 利息 − q × 影子利息) × 期间内天数 ÷ 全期天数",
    "payment_difference": "max(0, w × (本金 + 利息) − q × 影子月还额) × 期间内天数 ÷ 全期天数",
}


def yuan(fen: int) -> str:
    """Fen as yuan: ``375.00 元``."""
    return f"{format_yuan(fen)} 元"


def percent(ppm: int) -> str:
    """Millionths a year as percent: ``3.50%``."""
    return format_percent(ppm)


def quotient(value: Fraction) -> str:
    """An exact fraction, with its value to six places when it is not whole."""
    if value.denominator == 1:
        return str(value.numerator)
    scaled = value.numerator * 10**6 // value.denominator
    whole, rest = divmod(abs(scaled), 10**6)
    return f"{value.numerator}/{value.denominator} ≈ {'-' if scaled < 0 else ''}{whole}.{rest:06d}"


def fraction_text(value: Fraction) -> str:
    """An exact fraction as it stands in a formula: ``3/4``, ``1``."""
    return str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"


def ordinal(day: int) -> str:
    """A day number as a date; a day that never comes has no date."""
    return "未定" if day >= FAR else str(date_of(day))


def masked(account_no: str) -> str:
    """An account number with its first six and last four characters."""
    return account_no if len(account_no) <= 10 else f"{account_no[:6]}****{account_no[-4:]}"


def fact_value(name: str, value: Any) -> str:
    """The value of a gate fact in words."""
    kind = GATE_FACTS[name][0]
    if kind == "bool":
        return "是" if value else "否"
    if kind == "fen":
        return yuan(int(value))
    if kind == "ppm":
        return percent(int(value))
    if kind == "date":
        return ordinal(int(value))
    if name == "loan_status":
        return LOAN_STATUSES.get(str(value), str(value))
    return str(value)
