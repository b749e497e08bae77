"""A small rules folder in memory, to be broken one value at a time."""

from __future__ import annotations

from subsidy.errors import Finding
from subsidy.policy import CentrePolicy, PolicyError, load_files

POLICY = """\
centre:
  basis: assumed
  code: "330100000000000"
  name: 测试住房公积金管理中心
  short_name: 测试
  scheme: 公转商贴息
  go_live: 2026-09-01
  withdrawal_limit_percent: 10
  deadline_hour: 6
rules:
  - version_id: A
    basis: assumed
    effective_from: 2015-01-01
    effective_to: 2026-01-01
    method: ratio
    fund_rate_reset: next_january
    mid_period: split
    principal_cap: pro_rata
    rate_cap:
      - {effective_from: 2015-01-01, series: BENCHMARK_GT5Y}
      - {effective_from: 2020-01-01, series: LPR_5Y}
    monthly_limit: none
    lifetime_limit: 60000.00元
    months_limit: 240
    back_pay_months: none
    suspension: {when: overdue_run >= 3, after_cure: pay}
    gates:
      - duplicate_claim
      - not_verified
      - {when: opening_missing, outcome: hold, reason: GATE-OPENING, text: 缺少期初}
      - {when: suspended, outcome: hold, reason: GATE-SUSPENDED, text: 暂停}
      - otherwise
    verification:
      loan_kinds: ["02", "03"]
      repayment_methods: ["01", "02"]
      rate_tolerance: 0.01%
      maximum_amount: 1000000.00元
  - version_id: B
    basis: assumed
    effective_from: 2026-01-01
    effective_to: none
    method: points
    points: {value: 0.80%, source: {document: 测公积金〔2026〕1号, article: 第三条, link: "https://example.org/1"}}
    day_count: actual/365
    principal_cap: on_balance
    rate_cap: none
    monthly_limit: 500.00元
    lifetime_limit: none
    months_limit: none
    back_pay_months: 12
    suspension: none
    gates:
      - duplicate_claim
      - not_verified
      - {when: opening_missing, outcome: hold, reason: GATE-OPENING, text: 缺少期初}
      - otherwise
    verification:
      loan_kinds: ["03"]
      repayment_methods: ["01"]
      rate_tolerance: 0%
      maximum_amount: none
settlement:
  - basis: assumed
    effective_from: 2015-01-01
    effective_to: none
    frequency: monthly
    day: 20
    roll: next
    cutoff: day_before
    payee: borrower
    minimum: 1.00元
    recovery: net
    payment_profile: bdc103
    paying_account: {number: "33050161000000000001", name: 专户, bank_no: "105331000018", bank_code: "105", account_class: "2"}
    approval: {auto_below: 1000.00元, two_above: 5000.00元, growth_limit_percent: 150, new_payee_limit_percent: 50}
    accounts: {expense: "411", payable: "219", receivable: "119", cash: "102", write_off: "41199", opening: "299"}
"""

RATES = """\
series,effective_date,rate_percent,basis,announced_on
BENCHMARK_GT5Y,2010-12-26,6.4,published,2010-12-25
FIRST_LE5,2010-12-26,3.75,published,2010-12-25
FIRST_GT5,2010-12-26,4.3,published,2010-12-25
FIRST_GT5,2025-05-08,2.6,published,2025-05-07
LPR_5Y,2019-08-20,4.85,published,2019-08-20
SECOND_LE5,2010-12-26,4.125,derived,2010-12-25
SECOND_GT5,2010-12-26,4.73,derived,2010-12-25
"""

PARAMETERS = "basis: assumed\nconfirmed_through: 2026-10-09\n"

GATES = """\
basis: assumed
gates:
  duplicate_claim: {when: duplicate_claim, outcome: hold, reason: GATE-DUPLICATE, text: 重复}
  not_verified: {when: not verified, outcome: hold, reason: GATE-UNVERIFIED, text: 未核定}
  otherwise: {when: true, outcome: pay}
"""

OUTBOUND = """\
layouts:
  bdc103: {direction: out}
  po_fen: {direction: out}
  bdc104: {direction: in}
"""

CALENDAR = """\
source: {document: 国办发明电〔2026〕0号}
year: 2027
holidays: [2027-01-01, 2027-02-05..2027-02-11]
workdays: [2027-02-14]
"""

FILES = {
    "test/policy.yaml": POLICY,
    "test/outbound.yaml": OUTBOUND,
    "parameters/rates.csv": RATES,
    "parameters/parameters.yaml": PARAMETERS,
    "parameters/gates.yaml": GATES,
    "parameters/calendar-2027.yaml": CALENDAR,
}


def files(*edits: tuple[str, str], file: str = "test/policy.yaml") -> dict[str, bytes]:
    """The folder after replacing, in `file`, the first occurrence of each old text by the new one."""
    texts = dict(FILES)
    for old, new in edits:
        assert old in texts[file], old
        texts[file] = texts[file].replace(old, new, 1)
    return {name: text.encode() for name, text in texts.items()}


def load(*edits: tuple[str, str], file: str = "test/policy.yaml") -> CentrePolicy:
    """The edited folder, loaded."""
    return load_files(files(*edits, file=file), "test")


def faults(given: dict[str, bytes]) -> tuple[Finding, ...]:
    """All findings of a folder; none when it loads."""
    try:
        load_files(given, "test")
    except PolicyError as error:
        return error.findings
    return ()
