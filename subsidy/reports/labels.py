"""Chinese words for codes that stand in workbooks."""

from __future__ import annotations

from subsidy.entitlement.codes import REASONS
from subsidy.policy import CentrePolicy

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
METHODS = {
    "ratio": "利率比例",
    "spread": "利差",
    "points": "固定点数",
    "share": "利息比例",
    "shadow_interest": "影子利息差",
    "payment_difference": "月供差",
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
SEVERITIES = {"error": "错误", "warning": "警告", "info": "提示"}
BANKS = {
    "102": "中国工商银行", "103": "中国农业银行", "104": "中国银行", "105": "中国建设银行", "301": "交通银行", "302": "中信银行",
    "303": "中国光大银行", "304": "华夏银行", "305": "中国民生银行", "306": "广发银行", "307": "平安银行", "308": "招商银行",
    "309": "兴业银行", "310": "上海浦东发展银行", "313": "城市商业银行", "314": "农村商业银行", "402": "农村信用社", "403":
    "中国邮政储蓄银行",
}  # fmt: skip


def reasons(policy: CentrePolicy) -> dict[str, str]:
    """Reason code of a line → Chinese: the engine's own codes, then those of the centre's gates. Plain pay has no reason."""
    own = {gate.reason: gate.reason_text for rule in policy.rules for gate in rule.gates}
    return {"": ""} | own | REASONS
