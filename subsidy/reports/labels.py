"""Chinese words for codes that stand in workbooks."""

from __future__ import annotations

from subsidy.entitlement.codes import REASONS
from subsidy.entitlement.wording import METHOD_NAMES as METHODS
from subsidy.policy import CentrePolicy

__all__ = ["BANKS", "DIRECTIONS", "METHODS", "OUTCOMES", "SETTLEMENT_STATES", "SEVERITIES", "STATES", "reasons", "safe_of"]

OUTCOMES = {
    "pay": "应付",
    "stop": "应付后终止",
    "hold": "暂缓",
    "forfeit": "不付",
    "reversed": "已冲正",
    "quarantined": "隔离",
    "opening": "上线前",
    "clawback": "追回",
    "withdrawn": "记录已撤回",
}
STATES = {
    "reserved": "待发送",
    "sent": "未决",
    "open": "未决",
    "confirmed": "已付",
    "failed": "失败",
    "returned": "退汇",
    "released": "已释放",
}
DIRECTIONS = {"out": "付款", "in": "收款", "net": "抵扣"}
SETTLEMENT_STATES = {
    "empty": "本期无可发送",
    "waiting": "等待审批",
    "held": "异常，等待审批",
    "approved": "已批准",
    "rejected": "已驳回",
    "publishing": "发送中",
    "published": "已发送",
    "missing": "尚未清算",
    "none": "本月不清算",
}
SEVERITIES = {"error": "错误", "warning": "警告", "note": "提示"}
BANKS = {
    "102": "中国工商银行", "103": "中国农业银行", "104": "中国银行", "105": "中国建设银行", "301": "交通银行", "302": "中信银行",
    "303": "中国光大银行", "304": "华夏银行", "305": "中国民生银行", "306": "广发银行", "307": "平安银行", "308": "招商银行",
    "309": "兴业银行", "310": "上海浦东发展银行", "313": "城市商业银行", "314": "农村商业银行", "402": "农村信用社", "403":
    "中国邮政储蓄银行",
}  # fmt: skip


def safe_of(stage: str, severity: str, line_no: int) -> str:
    """What is safe about a finding of the register: `stage` as stored there, `line_no` 0 for a whole file. The third part of every
    message; findings keep only the other three, because stage and severity decide this one."""
    if severity == "note":
        return "入账和付款不受影响。"
    if severity == "warning":
        return "已入账的内容不受影响，没有错付。"
    if stage == "intake":
        return "该行没有入账，原始内容已保存。" if line_no else "整份文件没有入账；收到的原件已保存，其他文件照常。"
    return {
        "assess": "这笔贷款的有关各行不付款；其他贷款照常。",
        "proof": "本中心不生成清算批次，没有付款。",
        "verify": "本中心不生成清算批次，没有付款。",
        "settle": "没有付款；已记账的内容保留。",
        "post": "有关各行没有自动记账；其他照常。",
        "clearing": "有关各笔没有发送；其他照常。",
    }.get(stage, "没有付款。")


def reasons(policy: CentrePolicy) -> dict[str, str]:
    """Reason code of a line → Chinese: the engine's own codes, then those of the centre's gates. Plain pay has no reason."""
    own = {gate.reason: gate.reason_text for rule in policy.rules for gate in rule.gates}
    return {"": ""} | own | REASONS
