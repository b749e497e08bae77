"""What a loaded centre folder is: frozen types, no behaviour beyond looking up what applies on a day.

`subsidy.policy.load` builds them and is the only reader of ``rules/``. Rates are ppm (millionths a year), money is fen,
dates are `datetime.date`; an ``effective_to`` is exclusive and None while open.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from subsidy.calendar import YearCalendar

Method = Literal["ratio", "spread", "points", "share", "shadow_interest", "payment_difference"]
DayCount = Literal["monthly", "30/360", "actual/360", "actual/365"]
Reset = Literal["next_january", "immediate", "frozen"]
MidPeriod = Literal["split", "old", "new"]
PrincipalCap = Literal["pro_rata", "on_balance"]
Outcome = Literal["pay", "hold", "forfeit", "stop"]
Payee = Literal["borrower", "bank"]

METHODS: tuple[Method, ...] = ("ratio", "spread", "points", "share", "shadow_interest", "payment_difference")
SHADOW_METHODS: tuple[Method, ...] = ("shadow_interest", "payment_difference")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value comes from: a document, or `assumed`. `article` and `link` may be empty; `file`:`line` is the YAML place."""

    basis: Literal["published", "derived", "document", "assumed"]
    document: str = ""
    article: str = ""
    link: str = ""
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """A dated rate series: `ppm[i]` holds from `effective_on[i]` until the next. Refuses a day before the first value."""

    name: str
    effective_on: tuple[date, ...]
    ppm: tuple[int, ...]
    basis: tuple[str, ...]
    announced_on: tuple[date, ...]

    def on(self, day: date) -> int:
        """The rate in ppm on `day`. KeyError when the series begins later."""
        i = bisect_right(self.effective_on, day)
        if i == 0:
            raise KeyError(day)
        return self.ppm[i - 1]


@dataclass(frozen=True, slots=True)
class Parameters:
    """All shared dated parameters: rate series by name and the date through which they are confirmed.

    Fund rate series are named FIRST_LE5, FIRST_GT5, SECOND_LE5, SECOND_GT5 (home order, tier: term <= 60 months is LE5)."""

    series: dict[str, Series]
    confirmed_through: date
    version: str
    calendars: dict[int, YearCalendar] = field(default_factory=dict)  # override files, by year


@dataclass(frozen=True, slots=True)
class RateCapPiece:
    """From policy date `effective_from` the cap is `fixed_ppm`, or the value of `series` on the row's first day."""

    effective_from: date
    fixed_ppm: int | None = None
    series: str | None = None


# A condition is a tree of tuples, produced by subsidy.policy.conditions.parse:
#   ("and", c, c, ...) ("or", c, c, ...) ("not", c) ("true",)
#   ("compare", op, fact_name, literal)   op in == != < <= > >=
#   ("in", fact_name, (literal, ...))
#   ("fact", fact_name)                   a boolean fact
# Literals are int, bool, str or date; amounts are converted to fen by the parser.
Condition = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Gate:
    """One row of the gate table, first match wins. `text` is the condition as written."""

    condition: Condition
    text: str
    outcome: Outcome
    reason: str  # code, e.g. GATE-OVERDUE
    reason_text: str  # Chinese
    source: Source


@dataclass(frozen=True, slots=True)
class Suspension:
    """When a subsidy is suspended and what becomes of its held lines after the cure.

    `condition` is over the same facts as gates. Resumption: the first period whose accrual_from is on or after the cure day.
    """

    condition: Condition
    text: str
    after_cure: Literal["pay", "forfeit"]
    source: Source


#: Facts a condition may name: name -> (type, Chinese meaning). Types: int, bool, date, fen, or a tuple of allowed codes.
#: status facts are those of the latest TX02 on or before the row's due date (0 / "01" / "normal" when there is none).
GATE_FACTS: dict[str, tuple[object, str]] = {
    "verified": ("bool", "合同已与协议核对一致"),
    "duplicate_claim": ("bool", "同一合同或同一购房合同在另一协议下享受贴息"),
    "opening_missing": ("bool", "上线前发放的贷款没有期初"),
    "days_late": ("int", "逾期天数（业务发生日期 − 应还款日）"),
    "overdue_run": ("int", "连续逾期期数"),
    "overdue_total": ("int", "累计逾期期数"),
    "contribution_status": (("01", "02", "03", "04", "05", "06", "99"), "缴存状态（A.6）"),
    "contributions_lapsed": ("bool", "缴存状态不是正常"),
    "loan_status": (("normal", "overdue", "settled", "converted", "written_off"), "贷款状态"),
    "suspended": ("bool", "该期处于暂停期间，尚未解除"),
    "cured": ("bool", "暂停已解除（已知）"),
    "suspension_count": ("int", "截至该期的暂停次数"),
    "instalment": ("int", "期次"),
    "transaction_kind": (("01", "02", "03", "04", "05", "06", "07", "08", "09", "99"), "业务明细类型（A.15）"),
    "home_order": (("01", "02"), "房屋套数"),
    "payee_kind": (("01", "02"), "收款人类型"),
    "repayment_method": (("01", "02", "03", "04", "99"), "还款方式"),
    "term_months": ("int", "贷款期数"),
    "disbursed_amount": ("fen", "贷款发放额"),
    "interest": ("fen", "实还利息"),
    "accrual_from": ("date", "计息起始日"),
    "accrual_to": ("date", "计息终止日"),
    "due_on": ("date", "应还款日"),
    "paid_on": ("date", "业务发生日期"),
    "signed_on": ("date", "协议签约日期"),
    "disbursed_on": ("date", "贷款发放日期"),
    "commercial_rate": ("ppm", "执行利率"),
}


@dataclass(frozen=True, slots=True)
class Verification:
    """How a contract is checked against its agreement (合同核定). All hold for a verified contract:
    loan_kind in `loan_kinds`, repayment_method in `repayment_methods`, subsidised principal <= contract amount, disbursed
    amount <= contract amount, account term = contract term, agreement centre = this centre, payee kind = settlement payee,
    |account rate - contract rate| <= `rate_tolerance_ppm` for contracts signed on or after go_live, contract amount <=
    `maximum_amount_fen`."""

    loan_kinds: tuple[str, ...]
    repayment_methods: tuple[str, ...]
    rate_tolerance_ppm: int
    maximum_amount_fen: int | None
    source: Source


@dataclass(frozen=True, slots=True)
class RuleVersion:
    """The rules for accrual periods whose `from` lies in [effective_from, effective_to)."""

    version_id: str
    effective_from: date
    effective_to: date | None
    method: Method
    day_count: DayCount  # used by spread and points
    fund_rate_reset: Reset
    mid_period: MidPeriod
    principal_cap: PrincipalCap
    rate_cap: tuple[RateCapPiece, ...]  # empty: no cap
    points_ppm: int | None
    share_ppm: int | None
    monthly_limit_fen: int | None
    lifetime_limit_fen: int | None
    months_limit: int | None
    back_pay_months: int | None  # held lines older than this many months when released are forfeited; None: no limit
    suspension: Suspension | None
    gates: tuple[Gate, ...]
    verification: Verification
    sources: dict[str, Source]  # by key of policy.yaml


@dataclass(frozen=True, slots=True)
class Account:
    """A bank account of the centre. `account_class`: 1 private, 2 corporate."""

    number: str
    name: str
    bank_no: str
    bank_code: str
    account_class: str = "2"


@dataclass(frozen=True, slots=True)
class ChartOfAccounts:
    """Account numbers (科目编号) used by postings."""

    expense: str = "411"  # 业务支出-其他支出-贴息支出
    payable: str = "219"  # 其他应付款
    receivable: str = "119"  # 其他应收款
    cash: str = "102"  # 增值收益存款
    write_off: str = "41199"
    opening: str = "299"


@dataclass(frozen=True, slots=True)
class ApprovalTerms:
    """When a batch may go by itself. A centre's first batch always waits. `auto_below_fen` None: always waits;
    `two_above_fen`: two persons; held when total > last total x `growth_limit_percent`/100 or new payees exceed
    `new_payee_limit_percent` of the payees."""

    auto_below_fen: int | None
    two_above_fen: int
    growth_limit_percent: int
    new_payee_limit_percent: int


@dataclass(frozen=True, slots=True)
class SettlementTerms:
    """How a centre settles. `day` is the nominal day of the month (quarterly: of the last month of the quarter)."""

    effective_from: date
    effective_to: date | None
    frequency: Literal["monthly", "quarterly"]
    day: int
    roll: Literal["next", "previous"]
    cutoff: Literal["day_before", "previous_month_end"]
    payee: Payee
    minimum_fen: int
    recovery: Literal["net", "collect"]  # netted against later subsidies, or collected with BDC104
    paying_account: Account
    payment_profile: str  # name of an outbound profile in files.yaml
    approval: ApprovalTerms
    accounts: ChartOfAccounts
    sources: dict[str, Source]


@dataclass(frozen=True, slots=True)
class CentrePolicy:
    """One centre, whole. `version` is the hash of the folder's content and of the parameters; it is what a night pins."""

    centre: str  # folder name, e.g. hangzhou
    code: str  # 15 digits
    name: str  # 杭州住房公积金管理中心
    short_name: str  # 杭州
    scheme: str
    go_live: date
    rules: tuple[RuleVersion, ...]  # ascending, no gaps
    settlement: tuple[SettlementTerms, ...]
    parameters: Parameters
    withdrawal_limit_percent: int
    deadline_hour: int
    version: str
    warnings: tuple[str, ...] = ()
    sources: dict[str, Source] = field(default_factory=dict)  # of the centre's own values, by key of policy.yaml

    def rules_on(self, day: date) -> RuleVersion:
        """The rule version in force on `day`. KeyError when none covers it."""
        for rule in self.rules:
            if rule.effective_from <= day and (rule.effective_to is None or day < rule.effective_to):
                return rule
        raise KeyError(day)

    def settlement_on(self, day: date) -> SettlementTerms:
        """The settlement terms in force on `day`. KeyError when none covers it."""
        for terms in self.settlement:
            if terms.effective_from <= day and (terms.effective_to is None or day < terms.effective_to):
                return terms
        raise KeyError(day)
