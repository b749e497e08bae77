"""The nine fact tables: columns, types, keys, and the dictionary field each column comes from (JGJ/T 320-2014 and extensions).

Column names are English and end in their unit: ``_fen`` integer fen, ``_ppm`` millionths a year, ``_on``/``_from``/``_to`` dates
(a ``_to`` is the first day not accrued). Every stored fact also carries `META`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Kind = Literal["text", "code", "fen", "ppm", "date", "int"]

ARROW: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "code": pa.string(),
    "fen": pa.int64(),
    "ppm": pa.int64(),
    "date": pa.date32(),
    "int": pa.int32(),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a fact table. `code` is the dictionary field, `label` its Chinese name, `length` the dictionary's C(n)."""

    name: str
    code: str
    label: str
    kind: Kind
    required: bool = True
    length: int = 0
    personal: Literal["", "name", "id", "account", "address"] = ""


@dataclass(frozen=True, slots=True)
class FactTable:
    """One fact table. `key` is empty where identical rows are kept; `parent` names (column, table, column) it depends on."""

    name: str
    code: str
    label: str
    key: tuple[str, ...]
    parent: tuple[str, str, str] | None
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """The column called `name`; KeyError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def arrow(self) -> pa.Schema:
        """Arrow schema of stored facts: the table's columns, then `META`."""
        return pa.schema([pa.field(c.name, ARROW[c.kind]) for c in self.columns] + list(META))


#: Carried by every fact: shard bucket 0..255 of the contract number, known-on business date, register number and 1-based
#: line of the source file, how often the same row stood before it in that file (tables without a key), withdrawn flag.
META = pa.schema(
    [
        ("bucket", pa.int16()),
        ("known_on", pa.date32()),
        ("file_no", pa.int32()),
        ("line_no", pa.int32()),
        ("occurrence", pa.int32()),
        ("withdrawn", pa.bool_()),
    ]
)

BUCKETS = 256

C = Column
AGREEMENT = FactTable(
    "agreement", "TX01", "贴息协议", ("agreement_no",), None,
    (
        C("agreement_no", "TXXYBH", "协议编号", "text", length=30),
        C("contract_no", "JKHTBH", "借款合同编号", "text", length=30),
        C("centre_code", "ZXBH", "中心编号", "text", length=15),
        C("subsidised_principal_fen", "TXBJ", "贴息本金", "fen"),
        C("home_order", "FWTS", "房屋套数", "code", length=2),  # 01 first, 02 second
        C("signed_on", "QYRQ", "签约日期", "date"),
        C("subsidy_start_on", "TXQSRQ", "贴息起始日", "date"),
        C("subsidy_months", "TXQS", "贴息期数", "int"),
        C("payee_account", "SKZHHM", "收款账号", "text", length=30, personal="account"),
        C("payee_name", "SKZHMC", "收款户名", "text", length=120, personal="name"),
        C("payee_bank_no", "SKHLHH", "收款行联行号", "text", length=12),
        C("payee_kind", "SKRLX", "收款人类型", "code", length=2),  # 01 borrower, 02 bank
    ),
)
CONTRACT = FactTable(
    "contract", "GB301", "借款合同", ("contract_no",), None,
    (
        C("contract_no", "JKHTBH", "借款合同编号", "text", length=30),
        C("house_contract_no", "GFHTBH", "购房合同编号", "text", length=30),
        C("bank_name", "SWTYHMC", "受委托银行名称", "text", length=255),
        C("bank_code", "SWTYHDM", "受委托银行代码", "code", length=3),
        C("due_day", "YDHKR", "约定还款日", "int"),
        C("repayment_method", "DKHKFS", "还款方式", "code", length=2),  # 01 equal instalment, 02 equal principal
        C("amount_fen", "HTDKJE", "合同贷款金额", "fen"),
        C("loan_kind", "DKLX", "贷款类型", "code", length=2),
        C("term_months", "DKQS", "贷款期数", "int"),
        C("rate_ppm", "JKHTLL", "借款合同利率", "ppm"),
        C("agreed_disbursement_on", "YDFKRQ", "约定放款日期", "date"),
        C("maturity_on", "YDDQRQ", "约定到期日期", "date"),
        C("borrower_name", "JKRXM", "借款人姓名", "text", length=120, personal="name"),
        C("borrower_id_kind", "JKRZJLX", "借款人证件类型", "code", length=2),
        C("borrower_id_no", "JKRZJH", "借款人证件号", "text", length=18, personal="id"),
        C("signed_on", "JKHTQDRQ", "借款合同签订日期", "date"),
    ),
)
ACCOUNT = FactTable(
    "account", "GB304", "贷款账户", ("account_no",), ("contract_no", "contract", "contract_no"),
    (
        C("account_no", "DKZH", "贷款账号", "text", length=30, personal="account"),
        C("contract_no", "JKHTBH", "借款合同编号", "text", length=30),
        C("disbursed_fen", "DKFFE", "贷款发放额", "fen"),
        C("disbursed_on", "DKFFRQ", "贷款发放日期", "date"),
        C("balance_fen", "DKYE", "贷款余额", "fen"),
        C("rate_ppm", "DKLL", "贷款利率", "ppm"),
        C("term_months", "DKQS", "贷款期数", "int"),
        C("settled_on", "DKJQRQ", "贷款结清日期", "date", required=False),
        C("overdue_total", "LJYQQS", "累计逾期期数", "int"),
    ),
)
TRANSACTION = FactTable(
    "transaction", "GB305", "贷款业务明细", ("account_no", "serial_no"), ("account_no", "account", "account_no"),
    (
        C("account_no", "DKZH", "贷款账号", "text", length=30, personal="account"),
        C("serial_no", "YWLSH", "业务流水号", "text", length=20),
        C("kind", "DKYWMXLX", "贷款业务明细类型", "code", length=2),  # A.15
        C("paid_on", "YWFSRQ", "业务发生日期", "date"),
        C("bank_code", "DKYHDM", "贷款银行代码", "code", length=3),
        C("amount_fen", "FSE", "发生额", "fen"),
        C("principal_repaid_fen", "BJJE", "本金金额", "fen"),
        C("interest_fen", "LXJE", "利息金额", "fen"),
        C("penalty_fen", "FXJE", "罚息金额", "fen"),
        C("instalment", "DQQC", "当期期次", "int"),
        C("booked_on", "JZRQ", "记账日期", "date"),
        C("accrual_from", "JXQSRQ", "计息起始日", "date"),
        C("accrual_to", "JXZZRQ", "计息终止日", "date"),
        C("base_principal_fen", "JXBJ", "计息本金", "fen"),
        C("rate_ppm", "ZXLL", "执行利率", "ppm"),
        C("due_on", "YHKRQ", "应还款日", "date"),
        C("reverses", "YYWLSH", "原业务流水号", "text", required=False, length=20),
        # Extension of this project: principal not yet due that remains after the row; derived from the rows when absent.
        C("balance_after_fen", "SYBJ", "剩余本金", "fen", required=False),
    ),
)
OVERDUE = FactTable(
    "overdue", "GB306", "逾期登记", (), ("account_no", "account", "account_no"),
    (
        C("account_no", "DKZH", "贷款账号", "text", length=30, personal="account"),
        C("overdue_instalment", "YQQC", "逾期期次", "int"),
        C("overdue_principal_fen", "YQBJ", "逾期本金", "fen"),
        C("overdue_interest_fen", "YQLX", "逾期利息", "fen"),
        C("overdue_penalty_fen", "YQFX", "逾期罚息", "fen"),
        C("received_on", "SSRQ", "实收日期", "date", required=False),
        C("repaid_instalment", "HKQC", "还款期次", "int", required=False),
        C("received_principal_fen", "SSYQBJJE", "实收逾期本金金额", "fen"),
        C("received_interest_fen", "SSYQLXJE", "实收逾期利息金额", "fen"),
        C("received_penalty_fen", "SSYQFXJE", "实收逾期罚息金额", "fen"),
    ),
)
STATUS = FactTable(
    "status", "TX02", "贷款状态", ("account_no", "as_of"), ("account_no", "account", "account_no"),
    (
        C("account_no", "DKZH", "贷款账号", "text", length=30, personal="account"),
        C("as_of", "RIQI", "状态日期", "date"),
        C("balance_fen", "DKYE", "贷款余额", "fen"),
        C("overdue_run", "LXYQQS", "连续逾期期数", "int"),
        C("overdue_total", "LJYQQS", "累计逾期期数", "int"),
        C("contribution_status", "GJJZHZT", "缴存状态", "code", length=2),  # A.6
        C("loan_status", "DKZT", "贷款状态", "code", length=20),  # LOAN_STATUSES
    ),
)
CHANGE = FactTable(
    "change", "TX03", "贴息变更", ("change_no",), ("agreement_no", "agreement", "agreement_no"),
    (
        C("change_no", "BGLSH", "变更流水号", "text", length=20),
        C("agreement_no", "TXXYBH", "协议编号", "text", length=30),
        C("effective_on", "SXRQ", "生效日期", "date"),
        C("kind", "BGLX", "变更类型", "code", length=20),  # CHANGE_KINDS
        C("range_from", "QSRQ", "起始日期", "date", required=False),
        C("range_to", "ZZRQ", "终止日期", "date", required=False),
        C("new_payee_account", "XSKZHHM", "新收款账号", "text", required=False, length=30, personal="account"),
        C("new_payee_name", "XSKZHMC", "新收款户名", "text", required=False, length=120, personal="name"),
        C("new_payee_bank_no", "XSKHLHH", "新收款行联行号", "text", required=False, length=12),
        C("new_term_months", "XDKQS", "新贷款期数", "int", required=False),
        C("new_repayment_method", "XDKHKFS", "新还款方式", "code", required=False, length=2),
        C("reason", "BGYY", "变更原因", "text", length=255),
    ),
)
OPENING = FactTable(
    "opening", "TX04", "期初", ("agreement_no",), ("agreement_no", "agreement", "agreement_no"),
    (
        C("agreement_no", "TXXYBH", "协议编号", "text", length=30),
        C("account_no", "DKZH", "贷款账号", "text", length=30, personal="account"),
        C("paid_fen", "YTJE", "已贴金额", "fen"),
        C("months_used", "YTQS", "已贴期数", "int"),
        C("shadow_balance_fen", "YZYE", "影子余额", "fen", required=False),
        C("shadow_instalment_fen", "YZYHE", "影子月还额", "fen", required=False),
        C("overdue_run", "LXYQQS", "连续逾期期数", "int"),
        C("overdue_total", "LJYQQS", "累计逾期期数", "int"),
        C("receivable_fen", "YSZH", "未收追回", "fen"),
    ),
)
OTHER_SUBSIDY = FactTable(
    "other_subsidy", "TX05", "其他贴息", ("account_no", "serial_no", "scheme_name"), ("account_no", "account", "account_no"),
    (
        C("account_no", "DKZH", "贷款账号", "text", length=30, personal="account"),
        C("serial_no", "YWLSH", "业务流水号", "text", length=20),
        C("scheme_name", "FAMC", "方案名称", "text", length=120),
        C("amount_fen", "TXJE", "贴息金额", "fen"),
    ),
)

#: In the order in which a night books them: parents before children.
TABLES: dict[str, FactTable] = {
    t.name: t for t in (AGREEMENT, CONTRACT, ACCOUNT, OPENING, TRANSACTION, OVERDUE, STATUS, CHANGE, OTHER_SUBSIDY)
}
BY_CODE: dict[str, FactTable] = {t.code: t for t in TABLES.values()}

#: Canonical values of status.loan_status; centres map their own codes to them in files.yaml.
LOAN_STATUSES = {"normal": "正常", "overdue": "逾期", "settled": "结清", "converted": "转公积金", "written_off": "核销"}

#: Canonical values of change.kind.
CHANGE_KINDS = {
    "suspend": "暂停",
    "resume": "恢复",
    "stop": "终止",
    "convert": "转公积金",
    "clawback": "追回",
    "payee": "收款账户变更",
    "term": "期限变更",  # also carries a change of repayment method
}

#: Transaction kinds (A.15).
TRANSACTION_KINDS = {
    "01": "发放", "02": "正常还款", "03": "提前还款", "04": "逾期还款", "05": "公积金提取还款",
    "06": "结清", "07": "展期", "08": "缩期", "09": "核销", "99": "其他",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of some loans as known on a day: one Arrow table per fact table (`FactTable.arrow`), the latest version of each
    row only, nothing withdrawn. `claims` are agreement numbers whose contract or house contract is live under another
    agreement, here or in another centre (found by keyed fingerprint)."""

    tables: dict[str, pa.Table]
    claims: frozenset[str] = frozenset()

    def __getitem__(self, name: str) -> pa.Table:
        return self.tables[name]
