"""Names and values as finance people write them in ``cases.yaml``, and the facts they stand for."""

from __future__ import annotations

import re
from datetime import date

from subsidy.facts.schema import CHANGE_KINDS, LOAN_STATUSES, TABLES, TRANSACTION_KINDS, Column
from subsidy.money import parse_yuan, ppm_from_fraction, ppm_from_percent

#: Short names besides a column's own, per table: what people call it -> column.
SHORT: dict[str, dict[str, str]] = {
    "transaction": {
        "期次": "instalment",
        "利息": "interest_fen",
        "本金": "principal_repaid_fen",
        "罚息": "penalty_fen",
        "流水号": "serial_no",
        "类型": "kind",
        "起": "accrual_from",
        "止": "accrual_to",
        "利率": "rate_ppm",
        "冲正": "reverses",
    },
    "status": {"日期": "as_of"},
    "change": {"类型": "kind", "原因": "reason", "起": "range_from", "止": "range_to"},
    "other_subsidy": {"流水号": "serial_no", "方案": "scheme_name", "金额": "amount_fen"},
}

#: What people write for a code: column -> label -> code.
CODES: dict[str, dict[str, str]] = {
    "home_order": {"首套": "01", "二套": "02"},
    "payee_kind": {"借款人": "01", "银行": "02"},
    "repayment_method": {"等额本息": "01", "等额本金": "02", "一次还款付息": "03", "自由还款方式": "04", "其他": "99"},
    "loan_kind": {"公积金贷款": "01", "组合贷款": "02", "贴息贷款": "03", "其他": "99"},
    "contribution_status": {
        "正常": "01", "封存": "02", "合并销户": "03", "外部转出销户": "04", "提取销户": "05", "冻结": "06", "其他": "99",
    },
    "loan_status": {label: code for code, label in LOAN_STATUSES.items()},
}
CODES["new_repayment_method"] = CODES["repayment_method"]
#: ``kind`` is a column of two tables.
KINDS = {
    "transaction": {label: code for code, label in TRANSACTION_KINDS.items()},
    "change": {label: code for code, label in CHANGE_KINDS.items()},
}

#: What a loan says in short: name -> (English name, table, column, further table.column places that take the same value unless given).
LOAN: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "金额": ("amount", (("contract", "amount_fen"), ("account", "disbursed_fen"), ("agreement", "subsidised_principal_fen"))),
    "发放额": ("disbursed", (("account", "disbursed_fen"),)),
    "贴息本金": ("subsidised", (("agreement", "subsidised_principal_fen"),)),
    "期数": ("term", (("contract", "term_months"), ("account", "term_months"), ("agreement", "subsidy_months"))),
    "贴息期数": ("subsidy_months", (("agreement", "subsidy_months"),)),
    "还款方式": ("method", (("contract", "repayment_method"),)),
    "还款日": ("due_day", (("contract", "due_day"),)),
    "放款日": (
        "disbursed_on",
        (
            ("account", "disbursed_on"), ("contract", "agreed_disbursement_on"), ("contract", "signed_on"),
            ("agreement", "subsidy_start_on"), ("agreement", "signed_on"),
        ),
    ),
    "贴息起始日": ("subsidy_start", (("agreement", "subsidy_start_on"),)),
    "签约日": ("signed", (("agreement", "signed_on"),)),
    "利率": ("rate", (("contract", "rate_ppm"), ("account", "rate_ppm"))),
    "套数": ("home_order", (("agreement", "home_order"),)),
    "收款人": ("payee", (("agreement", "payee_kind"),)),
}  # fmt: skip

#: Sections of a case: Chinese name -> English name.
SECTIONS = {
    "名称": "name",
    "说明": "note",
    "上线日": "go_live",
    "贷款": "loan",
    "还款": "repayments",
    "重复享受": "duplicate_claim",
    "预期": "expected",
}
CLAIM = {"知悉日": "known_on", "解除日": "cleared_on"}
EXPECTED = {"本次": "amount", "测算": "figure", "应贴": "entitled", "结果": "outcome", "原因": "reason"}

OUTCOMES = {
    "支付": "pay",
    "暂缓": "hold",
    "不补": "forfeit",
    "终止": "stop",
    "冲正": "reversed",
    "隔离": "quarantined",
    "期初": "opening",
    "追回": "clawback",
}

_GROUPED = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")


def column_names(table_name: str) -> dict[str, str]:
    """Every accepted name of the table's columns (English, dictionary code in any case, Chinese, short) -> column name."""
    names = {}
    for column in TABLES[table_name].columns:
        for name in (column.name, column.code, column.code.lower(), column.label):
            names[name] = column.name
    return {**names, **SHORT.get(table_name, {})}


def labels_of(table_name: str, column: str) -> dict[str, str]:
    """Chinese words for the codes of a column; empty when it has none."""
    return KINDS[table_name] if column == "kind" else CODES.get(column, {})


def read_fen(text: str) -> int:
    """Fen of an amount in yuan, with or without separators of thousands. ValueError says what is allowed."""
    plain = text.replace(",", "") if _GROUPED.fullmatch(text) else text
    try:
        return parse_yuan(plain)
    except ValueError:
        raise ValueError("应为以元为单位、最多两位小数的金额，例如 1458.33") from None


def read_ppm(text: str) -> int:
    """Ppm of an annual rate: ``3.50%`` or the fraction ``0.0350``."""
    try:
        return ppm_from_percent(text[:-1].strip()) if text.endswith("%") else ppm_from_fraction(text)
    except ValueError:
        raise ValueError("应为年利率，例如 3.50% 或 0.0350") from None


def read_date(text: str) -> date:
    """A date written as 2026-09-10."""
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError("应为日期，例如 2026-09-10")


def read_int(text: str) -> int:
    """A whole number."""
    if not re.fullmatch(r"-?\d{1,9}", text):
        raise ValueError("应为整数")
    return int(text)


def read_value(table_name: str, column: Column, text: str) -> int | str | date:
    """The value of `column` written as `text`. ValueError says what is allowed."""
    if column.kind == "fen":
        return read_fen(text)
    if column.kind == "ppm":
        return read_ppm(text)
    if column.kind == "date":
        return read_date(text)
    if column.kind == "int":
        return read_int(text)
    labels = labels_of(table_name, column.name)
    if column.kind == "code" and labels:
        if text not in labels and text not in labels.values():
            raise ValueError("应为 " + "、".join(labels))
        return labels.get(text, text)
    return text
