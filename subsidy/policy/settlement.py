"""Settlement terms: the list under ``settlement`` of policy.yaml (handbook section 7)."""

from __future__ import annotations

from datetime import date
from typing import Any, cast

from stdnum.iso7064 import mod_11_10

from subsidy.calendar import SettlementDates, WorkingDays, settlement_of
from subsidy.policy.model import Account, ApprovalTerms, ChartOfAccounts, SettlementTerms
from subsidy.policy.problems import nearest
from subsidy.policy.section import Section
from subsidy.policy.versions import Span, check_dates

_MONTHS_TRIED = 36


def read_settlement(top: Section, go_live: date | None, days: WorkingDays, profiles: list[str] | None) -> tuple[SettlementTerms, ...]:
    """All settlement terms in order. `profiles`: names of the outbound layouts of the centre, None when they are not known."""
    terms: list[SettlementTerms] = []
    spans: list[Span] = []
    sections = top.sections("settlement")
    for section in sections:
        one, span = _terms(section, profiles)
        spans.append(span)
        if one is not None:
            terms.append(one)
    check_dates(spans)
    if spans and spans[0][1] is not None and go_live is not None and spans[0][1] > go_live:
        what = f"上线日 {go_live} 到 {spans[0][1]} 没有清算约定。"
        sections[0].add("POL-GAP", "effective_from", what, value=str(spans[0][1]), todo=f"改为不晚于 {go_live}。")
    if go_live is not None and len(terms) == len(sections):
        _check_periods(sections, terms, go_live, days)
    return tuple(terms)


def _terms(s: Section, profiles: list[str] | None) -> tuple[SettlementTerms | None, Span]:
    before = len(s.problems)
    start, end = s.day("effective_from"), s.day("effective_to", optional=True)
    frequency = s.choice("frequency", ("monthly", "quarterly"))
    day = s.integer("day", 1, 31)
    values: dict[str, Any] = {
        "roll": s.choice("roll", ("next", "previous")),
        "cutoff": s.choice("cutoff", ("day_before", "previous_month_end")),
        "payee": s.choice("payee", ("borrower", "bank")),
        "minimum_fen": s.amount("minimum"),
        "recovery": s.choice("recovery", ("net", "collect")),
        "paying_account": _account(s),
        "payment_profile": s.text("payment_profile"),
        "approval": _approval(s),
        "accounts": _accounts(s),
    }
    s.finish()
    if frequency == "monthly" and day is not None and day > 28:
        s.add("POL-SETTLEMENT", "day", f"二月没有 {day} 日，按月清算无法做到。", value=str(day), allowed="1 到 28")
    if frequency == "quarterly" and day is not None and day > 30:
        s.add("POL-SETTLEMENT", "day", f"六月、九月没有 {day} 日，按季清算无法做到。", value=str(day), allowed="1 到 30")
    profile = values["payment_profile"]
    if profiles is not None and profile is not None and profile not in profiles:
        s.add("POL-SETTLEMENT", "payment_profile", "outbound.yaml 中没有这个付款格式。", value=profile, allowed="、".join(profiles),
              near=nearest(profile, profiles))  # fmt: skip
    span = (s, start, end)
    if len(s.problems) > before or start is None or day is None:
        return None, span
    return SettlementTerms(start, end, cast(Any, frequency), day, **values, sources=dict(s.sources)), span


def _merge(s: Section, child: Section, name: str) -> None:
    s.sources.update({f"{name}.{key}": source for key, source in child.sources.items()})


def _account(s: Section) -> Account | None:
    child = s.section("paying_account")
    if child is None:
        return None
    number = child.text("number", r"[0-9]{6,30}", "6 到 30 位数字")
    name = child.text("name")
    bank_no = child.text("bank_no", r"[0-9]{12}", "12 位联行号")
    bank_code = child.text("bank_code", r"[0-9]{3}", "3 位银行代码")
    account_class = child.choice("account_class", ("1", "2"))
    child.finish()
    _merge(s, child, "paying_account")
    if bank_no is not None and not mod_11_10.is_valid(bank_no):
        child.add("POL-BANK-NO", "bank_no", "联行号的校验位不对（ISO 7064 MOD 11,10）。", value=bank_no, todo="核对联行号。")
    if bank_no is not None and bank_code is not None and not bank_no.startswith(bank_code):
        child.add("POL-BANK-NO", "bank_code", f"与联行号 {bank_no} 的前三位不一致。", value=bank_code, allowed=bank_no[:3])
    if number is None or name is None or bank_no is None or bank_code is None or account_class is None:
        return None
    return Account(number, name, bank_no, bank_code, account_class)


def _approval(s: Section) -> ApprovalTerms | None:
    child = s.section("approval")
    if child is None:
        return None
    below = child.amount("auto_below", optional=True)
    two = child.amount("two_above")
    growth = child.integer("growth_limit_percent", 100, 10_000)
    payees = child.integer("new_payee_limit_percent", 0, 100)
    child.finish()
    _merge(s, child, "approval")
    if below is not None and two is not None and below > two:
        child.add("POL-SETTLEMENT", "auto_below", "自动放行的限额高于双人审批的起点，两者不能同时做到。", value=f"{below // 100}元",
                  allowed=f"不超过 {two // 100}元")  # fmt: skip
    if two is None or growth is None or payees is None:
        return None
    return ApprovalTerms(below, two, growth, payees)


def _accounts(s: Section) -> ChartOfAccounts | None:
    child = s.section("accounts")
    if child is None:
        return None
    names = ("expense", "payable", "receivable", "cash", "write_off", "opening")
    numbers = {name: child.text(name, r"[0-9]{3,19}", "3 到 19 位数字的科目编号") for name in names}
    child.finish()
    _merge(s, child, "accounts")
    seen: dict[str, str] = {}
    for name, number in numbers.items():
        if number is not None and number in seen:
            child.add("POL-SETTLEMENT", name, f"与 {seen[number]} 是同一科目，借贷会抵销。", value=number, todo="分设科目。")
        elif number is not None:
            seen[number] = name
    return ChartOfAccounts(**cast(Any, numbers)) if all(numbers.values()) else None


def _check_periods(sections: list[Section], terms: list[SettlementTerms], go_live: date, days: WorkingDays) -> None:
    """Every period is settled once: two settlements of one period cannot both be met."""
    periods: dict[str, SettlementDates] = {}
    year, month = go_live.year, go_live.month
    for _ in range(_MONTHS_TRIED):
        if not days.covers(year) or not days.covers(year + (month == 12)):
            return
        for section, one in zip(sections, terms, strict=True):
            dates = settlement_of(one, year, month, days)
            nominal = date(year, month, one.day) if dates is not None else None
            if dates is None or nominal is None or nominal < one.effective_from or (one.effective_to and nominal >= one.effective_to):
                continue
            if dates.cutoff_on < go_live:
                continue
            other = periods.setdefault(dates.period, dates)
            if other is not dates:
                what = f"期间 {dates.period} 会清算两次：{other.settlement_on} 和 {dates.settlement_on}。"
                section.add("POL-SETTLEMENT", "day", what, value=str(one.day), todo="调整清算日或顺延方向。")
                return
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
