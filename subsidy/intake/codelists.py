"""Code lists of the dictionary (JGJ/T 320-2014, annex A). Codes 70-89 are each centre's own and are mapped in its folder."""

from __future__ import annotations

from subsidy.facts.schema import CHANGE_KINDS, LOAN_STATUSES, TRANSACTION_KINDS

ID_KINDS = {"01": "身份证", "02": "军官证", "03": "护照", "04": "外国人永久居留证", "99": "其他"}
CONTRIBUTION_STATUSES = {
    "01": "正常", "02": "封存", "03": "合并销户", "04": "外部转出销户", "05": "提取销户", "06": "冻结", "99": "其他",
}
REPAYMENT_METHODS = {"01": "等额本息", "02": "等额本金", "03": "一次还款付息", "04": "自由还款方式", "99": "其他"}
LOAN_KINDS = {"01": "公积金贷款", "02": "组合贷款", "03": "贴息贷款", "99": "其他"}
BANKS = {
    "102": "工商", "103": "农业", "104": "中国", "105": "建设", "301": "交通", "302": "中信", "303": "光大", "304": "华夏", "305": "民生",
    "306": "广发", "307": "平安", "308": "招商", "309": "兴业", "310": "浦发", "313": "城市商业", "314": "农村商业", "402": "农村信用",
    "403": "邮储",
}

#: Canonical values of each coded dictionary field.
CODE_LISTS: dict[str, dict[str, str]] = {
    "FWTS": {"01": "首套", "02": "二套"},
    "SKRLX": {"01": "借款人", "02": "银行"},
    "SWTYHDM": BANKS,
    "DKYHDM": BANKS,
    "DKHKFS": REPAYMENT_METHODS,
    "XDKHKFS": REPAYMENT_METHODS,
    "DKLX": LOAN_KINDS,
    "JKRZJLX": ID_KINDS,
    "DKYWMXLX": TRANSACTION_KINDS,
    "GJJZHZT": CONTRIBUTION_STATUSES,
    "DKZT": LOAN_STATUSES,
    "BGLX": CHANGE_KINDS,
}
