"""Reason codes that the engine itself gives, each with its Chinese sentence. Gate reasons come from the centre's folder."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Problem(IntEnum):
    """Why a row is quarantined. NONE: it is not. The code people see is the name with hyphens."""

    NONE = 0
    FACT_MISSING = 1
    PARENT_MISSING = 2
    ACCOUNT_AMBIGUOUS = 3
    BAD_REVERSAL = 4
    ROW_KIND = 5
    DATE_DOMAIN = 6
    AMOUNT_DOMAIN = 7
    NEGATIVE_INTEREST = 8
    NO_DAYS = 9
    NO_PRINCIPAL = 10
    RATE_DOMAIN = 11
    TERM_DOMAIN = 12
    DUE_DAY_DOMAIN = 13
    LOAN_DOMAIN = 14
    RULE_MISSING = 15
    PART_DIFFERS = 16
    AFTER_SETTLEMENT = 17
    ABOVE_TERM = 18
    RATE_UNKNOWN = 19
    METHOD_UNKNOWN = 20

    @property
    def code(self) -> str:
        """Stable code, e.g. ``NO-DAYS``."""
        return self.name.replace("_", "-")


@dataclass(frozen=True, slots=True)
class Sentence:
    """What happened and what to do now, in Chinese."""

    what: str
    todo: str


PROBLEMS: dict[Problem, Sentence] = {
    Problem.FACT_MISSING: Sentence("该行缺少必填的日期、金额、利率或期次", "请银行补齐后重新报送该行"),
    Problem.PARENT_MISSING: Sentence("该行所属的借款合同或贷款账户没有资料", "请先报送借款合同和贷款账户，再重算"),
    Problem.ACCOUNT_AMBIGUOUS: Sentence(
        "协议对应的借款合同有多个贷款账户，无法确定贴息份额", "请核对借款合同与账户，一份协议只能对应一个账户"
    ),
    Problem.BAD_REVERSAL: Sentence(
        "冲正行与原业务流水不符：原行不存在、已被冲正、本身是冲正行，或金额不是原行的相反数", "请银行核对原业务流水号和金额后重新报送"
    ),
    Problem.ROW_KIND: Sentence("该业务明细类型不应带有利息", "请银行核对业务明细类型和利息"),
    Problem.DATE_DOMAIN: Sentence("日期不在 1990 至 2099 年之间", "请银行核对日期后重新报送"),
    Problem.AMOUNT_DOMAIN: Sentence("金额超出一千亿元", "请银行核对金额单位后重新报送"),
    Problem.NEGATIVE_INTEREST: Sentence("利息为负，但不是对原行的冲正", "请银行填写原业务流水号，或更正利息"),
    Problem.NO_DAYS: Sentence("有利息，但计息终止日不晚于计息起始日", "请银行核对计息起始日和终止日"),
    Problem.NO_PRINCIPAL: Sentence("有利息，但计息本金不大于零", "请银行核对计息本金"),
    Problem.RATE_DOMAIN: Sentence("有利息，但执行利率不大于零或高于 100%", "请银行核对执行利率及其单位"),
    Problem.TERM_DOMAIN: Sentence("贷款期数不在 1 至 1200 之间", "请核对借款合同的贷款期数"),
    Problem.DUE_DAY_DOMAIN: Sentence("约定还款日不在 1 至 31 之间", "请核对借款合同的约定还款日"),
    Problem.LOAN_DOMAIN: Sentence("贷款发放额、贴息本金或协议、放款日期不合理", "请核对协议和贷款账户"),
    Problem.RULE_MISSING: Sentence("计息起始日没有任何政策版本覆盖", "请在中心政策中补充该日期适用的版本"),
    Problem.PART_DIFFERS: Sentence("同一期次的分次还款，计息起止日或执行利率与第一笔不同", "请银行核对该期次各笔的计息起止日和利率"),
    Problem.AFTER_SETTLEMENT: Sentence("贷款已结清，该行的计息终止日在结清之后", "请银行核对结清业务和该行"),
    Problem.ABOVE_TERM: Sentence("期次大于贷款期数", "请银行核对当期期次；如有展期请报送期限变更"),
    Problem.RATE_UNKNOWN: Sentence("该期间的公积金利率或利率上限没有数据", "请在利率参数中补充该日期的利率"),
    Problem.METHOD_UNKNOWN: Sentence("还款方式不是等额本息或等额本金，无法推算影子贷款", "请核对借款合同的还款方式"),
}

#: Holds that the engine gives by itself: the figure needs something that is not known.
BALANCE_UNKNOWN = "BALANCE-UNKNOWN"
SHADOW_UNKNOWN = "SHADOW-UNKNOWN"

#: Every reason that no folder defines, as people read it on a line.
REASONS: dict[str, str] = {
    **{p.code: s.what for p, s in PROBLEMS.items()},
    BALANCE_UNKNOWN: "该行之前的剩余本金无法确定（前面缺少期次，某期只还了一部分，或期初后首期是否完整尚无印证，银行未报余额），搁置",
    SHADOW_UNKNOWN: "影子贷款无法确定（期初没有影子余额，期次不连贯，或影子已到期还清而贷款仍在还），搁置",
    "REVERSED": "该行已被冲正，或本身是冲正行，两行贴息均为零",
    "OPENING": "上线日之前的期间，已由原系统结清",
    "CLAWBACK": "在追回区间内，贴息清零，已付部分应追回",
    "SUSPENSION-FORFEIT": "暂停期间的贴息，恢复后按中心规定不再补发",
    "BACK-PAY": "暂停解除时，该行已超过补发期限，不再补发",
    "NO-INTEREST": "该行没有利息",
    "WINDOW": "该行没有一天在贴息期间内",
    "NO-SPREAD": "商业贷款利率不高于公积金贷款利率",
    "LIMIT-OTHER": "与其他贴息合计不得超过该行利息",
    "LIMIT-MONTH": "已达每月限额",
    "LIMIT-LIFE": "已达累计限额",
}
#: Reasons of a line that is paid but comes to nothing, because no subsidy arises.
NO_SUBSIDY = ("NO-INTEREST", "WINDOW", "NO-SPREAD")
