"""How a line came about, as data and in Chinese. Every number is one that the engine kept on the way (`Trace`, `Working`).

Only names, dates of rate changes and sentences are added here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from subsidy.calendar import date_of, day_number
from subsidy.entitlement.codes import NO_SUBSIDY, REASONS
from subsidy.entitlement.columns import FAR, NO_DAY, array_of
from subsidy.entitlement.engine import Working, lines_of, work
from subsidy.entitlement.gates import GateFacts, gate_value
from subsidy.entitlement.rates import SERIES
from subsidy.entitlement.segments import weight_of
from subsidy.entitlement.shadows import whose_of
from subsidy.entitlement.trace import Trace
from subsidy.entitlement.wording import (
    KIND_NAMES,
    METHOD_FORMULAS,
    METHOD_NAMES,
    NOTHING,
    OUTCOME_NAMES,
    fact_value,
    fraction_text,
    masked,
    ordinal,
    percent,
    quotient,
    yuan,
)
from subsidy.facts.schema import CHANGE_KINDS, Facts
from subsidy.policy.conditions import facts_of as facts_read
from subsidy.policy.describe import gate_text, source_text
from subsidy.policy.model import GATE_FACTS, METHODS, SHADOW_METHODS, CentrePolicy, RuleVersion


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was used: what it is called, its value in words, where it comes from; `file_no` is the input file of `source` or 0."""

    label: str
    value: str
    source: str = ""
    file_no: int = 0

    def source_in(self, files: Mapping[int, str]) -> str:
        """Where it comes from, with the name of the input file where `files` (name by register number) knows it."""
        name = files.get(self.file_no, "")
        return self.source.replace(f"登记号 {self.file_no} ", f"文件 {name}（登记号 {self.file_no}）") if name else self.source


@dataclass(frozen=True, slots=True)
class Section:
    """One step of a derivation. `key` is stable: input, rule, window, share, segments, shadow, parts, amount, gate, limits, result."""

    key: str
    title: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """Days [start, end) inside the window with one fund rate; `rate_since` is the day since when the series has that rate."""

    start: date
    end: date
    fund_rate_ppm: int
    spread_ppm: int
    rate_since: date | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The derivation of one line.

    `line` is the line itself (schema `LINES`, plain values). `exact` is the exact amount in fen before rounding (of the instalment so far,
    when it is paid in parts), `limit` the interest it may not exceed, `rounded_fen` the smaller of both rounded, `earlier_fen` what earlier
    parts have of it; `figure_fen` of the line is `rounded_fen - earlier_fen`, never below 0. They are None where the row has no figure.
    """

    agreement_no: str
    contract_no: str
    account_no: str
    serial_no: str
    file_no: int
    line_no: int
    line: Mapping[str, Any]
    rule_version: str
    share: Fraction | None
    segments: tuple[Segment, ...]
    exact: Fraction | None
    limit: Fraction | None
    rounded_fen: int | None
    earlier_fen: int
    gate: str
    sections: tuple[Section, ...]

    def text(self, files: Mapping[int, str] | None = None) -> str:
        """The derivation in Chinese. `files` names the files of the register by number."""
        named = files or {}
        name = named.get(self.file_no, "")
        out = [
            f"协议 {self.agreement_no}　借款合同 {self.contract_no}　业务流水 {self.serial_no}",
            f"　来源：{f'文件 {name}' if name else '文件'}（登记号 {self.file_no}）第 {self.line_no} 行",
        ]
        for section in self.sections:
            out.append(f"【{section.title}】")
            for item in section.items:
                source = item.source_in(named)
                out.append(f"　{item.label}：{item.value}" + (f"　〔{source}〕" if source else ""))
        return "\n".join(out)

    def data(self, files: Mapping[int, str] | None = None) -> dict[str, Any]:
        """The derivation as plain data for JSON: fractions as ``"numerator/denominator"``, dates as ISO text, the account masked.

        `files` names the files of the register by number.
        """
        named = files or {}
        line = {k: v.isoformat() if isinstance(v, date) else v for k, v in self.line.items()}
        line["account_no"] = masked(self.account_no)
        return {
            "agreement_no": self.agreement_no,
            "contract_no": self.contract_no,
            "account_no": masked(self.account_no),
            "serial_no": self.serial_no,
            "file_no": self.file_no,
            "line_no": self.line_no,
            "line": line,
            "rule_version": self.rule_version,
            "share": _plain(self.share),
            "segments": [
                {
                    "from": s.start.isoformat(),
                    "to": s.end.isoformat(),
                    "days": (s.end - s.start).days,
                    "fund_rate_ppm": s.fund_rate_ppm,
                    "spread_ppm": s.spread_ppm,
                    "rate_since": s.rate_since.isoformat() if s.rate_since else None,
                }
                for s in self.segments
            ],
            "exact": _plain(self.exact),
            "limit": _plain(self.limit),
            "rounded_fen": self.rounded_fen,
            "earlier_fen": self.earlier_fen,
            "gate": self.gate,
            "sections": [
                {
                    "key": s.key,
                    "title": s.title,
                    "items": [{"label": i.label, "value": i.value, "source": i.source_in(named)} for i in s.items],
                }
                for s in self.sections
            ],
        }


def explain(facts: Facts, policy: CentrePolicy, agreement_no: str, serial_no: str, account_no: str = "") -> Explanation:
    """The derivation of the line of one transaction; `account_no` only where an agreement has several accounts. KeyError without a line."""
    for explanation in explain_agreement(facts, policy, agreement_no):
        if explanation.serial_no == serial_no and account_no in ("", explanation.account_no):
            return explanation
    raise KeyError((agreement_no, serial_no))


def explain_agreement(facts: Facts, policy: CentrePolicy, agreement_no: str) -> tuple[Explanation, ...]:
    """The derivations of all lines of one agreement, in the order of its lines; empty when there is no such agreement."""
    return explain_agreements(facts_of(facts, [agreement_no]), policy)


def explain_agreements(facts: Facts, policy: CentrePolicy) -> tuple[Explanation, ...]:
    """The derivations of all lines of `facts`, in the order of the lines; at once, which is much quicker than one by one."""
    trace = Trace()
    working = work(facts, policy, trace)
    lines = lines_of(working).to_pylist()
    states = [] if working.shadows is None else working.shadows.table.to_pylist()
    shadows = {(s["agreement_no"], s["instalment"]): s for s in states}
    return tuple(_Row(working, trace, shadows, row, line).explanation() for row, line in enumerate(lines))


def facts_of(facts: Facts, agreement_nos: Sequence[str]) -> Facts:
    """The facts that decide the lines of some agreements; they are the same as among all others."""

    def keep(name: str, column: str, values: pa.Array) -> pa.Table:
        table = facts[name]
        return table.filter(pc.is_in(array_of(table, column), value_set=values))

    agreement = keep("agreement", "agreement_no", pa.array(agreement_nos, pa.string()))
    numbers = array_of(agreement, "agreement_no")
    contracts = array_of(agreement, "contract_no")
    account = keep("account", "contract_no", contracts)
    accounts = array_of(account, "account_no")
    tables = {"agreement": agreement, "contract": keep("contract", "contract_no", contracts), "account": account}
    for name in ("change", "opening"):
        tables[name] = keep(name, "agreement_no", numbers)
    for name in ("transaction", "status", "other_subsidy", "overdue"):
        tables[name] = keep(name, "account_no", accounts)
    return Facts(tables, facts.claims)


class _Row:
    """Reads one row of an assessment."""

    def __init__(
        self, working: Working, trace: Trace, shadows: Mapping[tuple[str, int], Mapping[str, Any]], row: int, line: dict[str, Any]
    ) -> None:
        self.working, self.trace, self.shadows, self.row, self.line = working, trace, shadows, row, line
        self.book = working.book
        self.loan = int(self.book.rows.loan[row])
        number = int(working.version[row])
        self.rule: RuleVersion | None = self.book.policy.rules[number] if number >= 0 else None
        self.group = int(working.parts.group_of[row])

    def explanation(self) -> Explanation:
        sections = [self._input()]
        if self.rule is not None:
            sections.append(self._rule(self.rule))
        figured = self.line["outcome"] not in ("quarantined", "reversed")
        known = figured and not self.working.figures.hold[self.row]
        exact = self.trace.fractions.get(self.row) if known else None
        limit = self.trace.limits.get(self.row) if known else None
        segments = self._segments() if exact is not None else ()
        rounded = int(self.working.figures.figure[self.row]) if exact is not None else None
        earlier = self._earlier()
        if figured:
            sections.append(self._window())
            sections += [
                s for s in (self._share() if known else None, self._rates(segments), self._shadow(), self._parts()) if s and s.items
            ]
            sections.append(self._amount(exact, limit, rounded, earlier))
        gate, section = self._gate()
        if figured and section.items:
            sections.append(section)
        if figured:
            sections.append(self._limits())
        sections.append(self._result())
        return Explanation(
            agreement_no=self.line["agreement_no"],
            contract_no=str(self._agreement("contract_no")),
            account_no=self.line["account_no"],
            serial_no=self.line["serial_no"],
            file_no=self.line["file_no"] or 0,
            line_no=self.line["line_no"] or 0,
            line=self.line,
            rule_version=self.line["rule_version"],
            share=self.trace.shares.get(self.row) if known else None,
            segments=segments,
            exact=exact,
            limit=limit,
            rounded_fen=rounded,
            earlier_fen=earlier if rounded is not None else 0,
            gate=gate,
            sections=tuple(sections),
        )

    def _fact(self, table: str, at: int, name: str) -> Any:
        return self.book.facts[table].column(name)[at].as_py() if at >= 0 else None

    def _agreement(self, name: str) -> Any:
        return self._fact("agreement", int(self.book.loans.agreement[self.loan]), name)

    def _item(self, label: str, value: str, table: str, at: int) -> Item:
        """Something read from row `at` of a fact table, with the file and line it came from."""
        if at < 0:
            return Item(label, value, "没有资料")
        file_no = self._fact(table, at, "file_no") or 0
        return Item(label, value, f"{_LABELS[table]}，登记号 {file_no} 第 {self._fact(table, at, 'line_no')} 行", file_no)

    def _rows_of(self, table: str, column: str, value: str) -> list[int]:
        """Rows of a fact table of this agreement whose `column` has `value`."""
        return [int(at) for at in np.flatnonzero(np.array([v == value for v in self.book.facts[table].column(column).to_pylist()], bool))]

    def _instalment(self) -> str:
        sent, taken = int(self.line["instalment"]), int(self.book.rows.number[self.row])
        if sent == taken:
            return f"，第 {sent} 期" if sent else ""
        return f"，银行编为第 {sent} 期，首段不还本、不算一期，" + (f"按第 {taken} 期计算" if taken else "按零头天数计算")

    def _input(self) -> Section:
        line, loans = self.line, self.book.loans
        contract, account = int(loans.contract[self.loan]), int(loans.account[self.loan])
        first, last = line["accrual_from"], line["accrual_to"]
        items = [
            Item("业务", f"{KIND_NAMES.get(line['kind'], line['kind'])}" + self._instalment()),
            Item("计息期间", f"{first} 至 {last}（不含），{line['days']} 天"),
            Item("应还款日／业务发生日／记账日", f"{line['due_on']}／{line['paid_on']}／{line['booked_on']}"),
            Item("利息", yuan(line["interest_fen"])),
            Item("计息本金", yuan(line["base_principal_fen"])),
            Item("执行利率", percent(line["rate_ppm"])),
            self._item("贴息本金", yuan(self._agreement("subsidised_principal_fen")), "agreement", int(loans.agreement[self.loan])),
        ]
        if account >= 0:
            value = f"{yuan(self._fact('account', account, 'disbursed_fen'))}，{self._fact('account', account, 'disbursed_on')} 发放"
            items.append(self._item("贷款发放", value, "account", account))
        if contract >= 0:
            value = f"{self._fact('contract', contract, 'term_months')} 期，每月 {self._fact('contract', contract, 'due_day')} 日还款"
            items.append(self._item("借款合同", value, "contract", contract))
        if loans.opening[self.loan] >= 0:
            at = int(loans.opening[self.loan])
            items.append(self._item("期初", f"已贴 {yuan(self._fact('opening', at, 'paid_fen'))}", "opening", at))
        return Section("input", "依据的事实", tuple(items))

    def _rule(self, rule: RuleVersion) -> Section:
        method = self.line["method"]
        applied = METHOD_FORMULAS[method]
        if method != rule.method:
            applied += f"（该行不是分期还款，{METHOD_NAMES[rule.method]}按利率比例计算）"
        span = f"{rule.effective_from} 起" + (f"，至 {rule.effective_to}（不含）" if rule.effective_to else "")
        items = [
            Item("版本", f"{rule.version_id}（{span}；计息起始日 {self.line['accrual_from']} 适用）"),
            Item("方法", f"{METHOD_NAMES[method]}（{method}）：{applied}", source_text(rule.sources.get("method"))),
        ]
        if method in ("spread", "points"):
            items.append(Item("计日方法", rule.day_count, source_text(rule.sources.get("day_count"))))
        if method == "points":
            items.append(Item("固定百分点", percent(rule.points_ppm or 0), source_text(rule.sources.get("points"))))
        if method == "share":
            items.append(Item("固定比例", percent(rule.share_ppm or 0), source_text(rule.sources.get("share"))))
        if rule.rate_cap and method in ("ratio", "spread"):
            value = self.trace.notes.get(self.row, {}).get("cap_ppm")
            if value is not None:
                items.append(Item("利率上限", percent(value) + self._cap_since(rule), source_text(rule.sources.get("rate_cap"))))
        return Section("rule", "适用的规则", tuple(items))

    def _cap_since(self, rule: RuleVersion) -> str:
        """Which cap holds on the row's first day, and since when."""
        first = self.line["accrual_from"]
        piece = max((p for p in rule.rate_cap if p.effective_from <= first), key=lambda p: p.effective_from, default=None)
        if piece is None or piece.series is None:
            return "" if piece is None else f"（固定，{piece.effective_from} 起）"
        since = max((d for d in self.book.policy.parameters.series[piece.series].effective_on if d <= first), default=None)
        return f"（{piece.series}，{since} 起的值）"

    def _window(self) -> Section:
        window, row = self.working.window, self.row
        inside = int(window.days[row])
        items = [Item("贴息期间", f"{date_of(window.start[row])} 起，首个不贴息日 {_end(int(window.end[row]))}")]
        if inside > 0:
            items.append(Item("期间内天数", f"{inside} 天（{date_of(window.inside_from[row])} 至 {date_of(window.inside_to[row])}，不含）"))
        else:
            items.append(Item("期间内天数", "0 天"))
        return Section("window", "贴息期间", (*items, *self._window_ends(date_or_none(int(window.end[row])))))

    def _window_ends(self, end: date | None) -> list[Item]:
        """Why the window ends on that day; several reasons may name the same day."""
        if end is None or self.rule is None:
            return []
        label, items = "首个不贴息日的由来", []
        for at in self._rows_of("change", "agreement_no", self.line["agreement_no"]):
            kind = self._fact("change", at, "kind")
            if kind in ("convert", "stop") and self._fact("change", at, "effective_on") == end:
                items.append(self._item(label, CHANGE_KINDS[kind], "change", at))
        for at in self._rows_of("status", "account_no", self.line["account_no"]):
            if self._fact("status", at, "loan_status") == "converted" and self._fact("status", at, "as_of") == end:
                items.append(self._item(label, "贷款状态为转公积金", "status", at))
        rows, serials = self.book.rows, self.book.facts["transaction"].column("serial_no")
        for other in np.flatnonzero(self.working.decisions.stops & (rows.loan == self.loan)).tolist():
            if date_of(rows.due_on[other]) == end:
                items.append(Item(label, f"流水 {serials[int(rows.source[other])].as_py()} 应还款日触发终止"))
        if not items:
            months, limit = self._agreement("subsidy_months"), self.rule.months_limit
            shorter = limit is not None and limit < months
            value = f"规则最多 {limit} 个月" if shorter else f"贴息期数 {months} 个月"
            source = source_text(self.rule.sources.get("months_limit")) if shorter else ""
            at = int(self.book.loans.agreement[self.loan])
            items.append(Item(label, value, source) if shorter else self._item(label, value, "agreement", at))
        return items

    def _share(self) -> Section:
        share = self.trace.shares.get(self.row)
        if share is None:
            return Section("share", "贴息比例", ())
        source = source_text(self.rule.sources.get("principal_cap")) if self.rule else ""
        return Section("share", "贴息比例", (Item("w", quotient(share), source),))

    def _segments(self) -> tuple[Segment, ...]:
        found = []
        for start, end, rate, spread in self.trace.segments(self.row):
            found.append(Segment(date_of(start), date_of(end), rate, spread, self._since(start, rate)))
        return tuple(found)

    def _since(self, day: int, rate: int) -> date | None:
        """Since when the series has had the rate that the loan has on `day`."""
        if self.rule is None:
            return None
        loans = self.book.loans
        series = self.book.policy.parameters.series.get(SERIES[int(whose_of(self.book, np.array([self.loan])).series[0])])
        if series is None:
            return None
        if self.rule.mid_period == "old":
            day = int(self.book.rows.accrual_from[self.row])
        elif self.rule.mid_period == "new":
            day = int(self.book.rows.accrual_to[self.row]) - 1
        disbursed, signed = date_of(loans.disbursed_on[self.loan]), date_of(loans.signed_on[self.loan])
        seen = max(date_of(day), disbursed)
        if self.rule.fund_rate_reset == "frozen":
            seen = signed
        elif self.rule.fund_rate_reset == "next_january":
            seen = disbursed if seen.year == disbursed.year else date(seen.year - 1, 12, 31)
        known = [d for d, ppm in zip(series.effective_on, series.ppm, strict=True) if d <= seen and ppm == rate]
        return max(known, default=None)

    def _rates(self, segments: tuple[Segment, ...]) -> Section:
        if not segments or self.rule is None:
            return Section("segments", "公积金利率分段", ())
        source = source_text(self.rule.sources.get("fund_rate_reset"))
        items = []
        for s in segments:
            since = f"，{s.rate_since} 起的利率" if s.rate_since else ""
            items.append(
                Item(
                    f"{s.start} 至 {s.end}（不含）",
                    f"{(s.end - s.start).days} 天，公积金利率 {percent(s.fund_rate_ppm)}{since}，利差 {percent(s.spread_ppm)}",
                    source,
                )
            )
        part = self.trace.notes.get(self.row, {}).get("monthly_360ths")
        if part is not None:
            items.append(Item("全期年数（对年对月对日）", f"{part}/360"))
        return Section("segments", "公积金利率分段", tuple(items))

    def _shadow(self) -> Section:
        if self.working.shadows is None or self.group < 0 or self.line["method"] not in SHADOW_METHODS:
            return Section("shadow", "影子贷款", ())
        items = []
        s = self.shadows.get((self.line["agreement_no"], int(self.working.book.rows.number[self.row])))
        if self.line["shadow_balance_fen"] >= 0 and s is not None:
            items = [
                Item("期次与期间", f"第 {s['instalment']} 期，{s['period_from']} 至 {s['period_to']}（不含），剩余 {s['months_left']} 期"),
                Item("期前影子余额", yuan(s["balance_before_fen"])),
                Item("期首公积金利率", percent(s["rate_ppm"])),
                Item("月还额（等额本金为每期本金）", yuan(s["annuity_fen"])),
                Item("影子利息／影子本金", f"{yuan(s['interest_fen'])}／{yuan(s['principal_fen'])}"),
            ]
            note = self.trace.notes.get(self.row, {})
            if "shadow_q_numerator" in note:
                q = Fraction(note["shadow_q_numerator"], note["shadow_q_denominator"])
                items.append(Item("本次所占份额 q", f"{quotient(q)}（该期应还本金基数 {yuan(note['first_balance_fen'])}）"))
        else:
            items.append(Item("状态", REASONS.get(self.line["reason"], "影子贷款不适用于该行")))
        return Section("shadow", "影子贷款", tuple(items))

    def _members(self) -> list[int]:
        if self.group < 0:
            return []
        parts = self.working.parts
        return [int(r) for r in parts.rows[parts.start[self.group] : parts.start[self.group + 1]]]

    def _earlier(self) -> int:
        members = self._members()
        before = members[: members.index(self.row)] if self.row in members else []
        return max((int(self.working.figures.figure[r]) for r in before), default=0)

    def _parts(self) -> Section:
        members = self._members()
        if len(members) < 2:
            return Section("parts", "分次还款", ())
        rows, parts = self.book.rows, self.working.parts
        serials = self.book.facts["transaction"].column("serial_no")
        items = []
        for r in members:
            here = "（本行）" if r == self.row else ""
            value = f"利息 {yuan(int(rows.interest[r]))}，计息本金 {yuan(int(rows.base[r]))}"
            value += f"；累计测算 {yuan(int(self.working.figures.figure[r]))}"
            items.append(Item(f"流水 {serials[int(rows.source[r])].as_py()}{here}", value))
        total = f"利息 {yuan(int(parts.interest[self.row]))}，计息本金 {yuan(int(parts.base[self.row]))}"
        items.append(Item("累计至本行", total))
        return Section("parts", "分次还款", tuple(items))

    def _amount(self, exact: Fraction | None, limit: Fraction | None, rounded: int | None, earlier: int) -> Section:
        if exact is None or rounded is None:
            why = self.line["reason"] if self.line["reason"] in REASONS else ""
            if not why:
                why = "NO-INTEREST" if self.line["interest_fen"] == 0 else "WINDOW" if self.line["days_inside"] == 0 else ""
            return Section("amount", "测算金额", (Item("测算", yuan(0) + (f"（{REASONS[why]}）" if why in REASONS else "")),))
        items = [Item("代入", f"{self._substituted()} 分"), Item("精确值", f"{quotient(exact)} 分")]
        if limit is not None and limit < exact:
            items.append(Item("不超过期内利息", f"{quotient(limit)} 分"))
        items.append(Item("四舍五入到分", yuan(rounded)))
        if earlier:
            items.append(Item("减去该期前几笔", yuan(earlier)))
        items.append(Item("本行测算", yuan(self.line["figure_fen"])))
        return Section("amount", "测算金额", tuple(items))

    def _substituted(self) -> str:
        """The formula with the numbers of this row (of the instalment so far); amounts in fen."""
        rule, method, row = self.rule, self.line["method"], self.row
        assert rule is not None
        parts, note = self.working.parts, self.trace.notes.get(row, {})
        share = fraction_text(self.trace.shares[row])
        interest, base, principal = (int(column[row]) for column in (parts.interest, parts.base, parts.principal))
        days, inside = self.line["days"], self.line["days_inside"]
        if method == "share":
            return f"{share} × {interest} × {percent(rule.share_ppm or 0)} × {inside}/{days}"
        if method in SHADOW_METHODS:
            own, beside = str(interest), self.line["shadow_interest_fen"]
            if method == "payment_difference":
                own, beside = f"({principal} + {interest})", beside + self.line["shadow_principal_fen"]
            part = fraction_text(Fraction(note["shadow_q_numerator"], note["shadow_q_denominator"]))
            return f"max(0, {share} × {own} − {part} × {beside}) × {inside}/{days}"
        pieces = [(s.start, s.end, s.spread_ppm) for s in self._segments()]
        if method == "points":
            window = self.working.window
            pieces = [(date_of(window.inside_from[row]), date_of(window.inside_to[row]), rule.points_ppm or 0)]
        if method == "ratio":
            terms = [f"{(b - a).days}/{days} × {percent(rate)}" for a, b, rate in pieces]
            return f"{share} × {interest} × ({' + '.join(terms)}) ÷ {percent(self.line['rate_ppm'])}"
        if rule.day_count == "monthly":
            terms = [f"{percent(rate)} × {(b - a).days}/{days} × {note['monthly_360ths']}/360" for a, b, rate in pieces]
        else:
            year = 365 if rule.day_count == "actual/365" else 360
            length = weight_of(rule)
            days_of = [int(length(np.array([day_number(a)]), np.array([day_number(b)]))[0]) for a, b, _ in pieces]
            terms = [f"{percent(rate)} × {count}/{year}" for (_, _, rate), count in zip(pieces, days_of, strict=True)]
        return f"{share} × {base} × ({' + '.join(terms)})"

    def _gate(self) -> tuple[str, Section]:
        decisions = self.working.decisions
        number = int(decisions.gate[self.row])
        if self.rule is None or not decisions.asked[self.row]:
            return "", Section("gate", "关口", ())
        if number < 0:
            return "", Section("gate", "关口", (Item("没有命中", REASONS.get(self.line["reason"], self.line["reason"])),))
        gate = self.rule.gates[number]
        facts = GateFacts(self.working.sight, np.array([self.row]))
        items = [Item(f"第 {number + 1} 条命中", gate_text(gate), source_text(gate.source))]
        read = dict.fromkeys(name for g in self.rule.gates[: number + 1] for name in sorted(facts_read(g.condition)))
        for name in read:
            items.append(Item(GATE_FACTS[name][1], fact_value(name, gate_value(name, facts[name][0]))))
        status = int(self.working.sight.status[self.row])
        if status >= 0:
            at = int(self.working.sight.statuses.source[status])
            items.append(self._item("状态日期", str(self._fact("status", at, "as_of")), "status", at))
        day, suspension = int(decisions.cured_on[self.row]), self.rule.suspension
        if day == FAR:
            begun = [b for b in self._begun() if b <= self.line["due_on"]]
            items.append(Item("暂停", f"{max(begun, default='')} 起，尚未解除", source_text(suspension.source) if suspension else ""))
        elif day != NO_DAY:
            after = "" if suspension is None else "，暂停期间的贴息按规定" + ("补付" if suspension.after_cure == "pay" else "不再补付")
            items.append(Item("暂停已解除", f"{date_of(day)} 恢复{after}", source_text(suspension.source) if suspension else ""))
        return gate.text, Section("gate", "关口", tuple(items))

    def _begun(self) -> list[date]:
        """First days of the loan's suspensions."""
        episodes = self.working.decisions.episodes
        return [date_of(day) for day in episodes.begin[episodes.loan == self.loan]]

    def _limits(self) -> Section:
        limited, row, rule = self.working.limited, self.row, self.rule
        figure, other = int(self.working.figure[row]), int(limited.after_other[row])
        month, life = int(limited.after_month[row]), int(limited.after_life[row])
        if self.line["outcome"] not in ("pay", "hold", "stop") or rule is None:
            return Section("limits", "限额", (Item("限额", "该行不占用限额"),))
        items = []
        if limited.other[row]:
            for at in self._rows_of("other_subsidy", "serial_no", self.line["serial_no"]):
                if self._fact("other_subsidy", at, "account_no") == self.line["account_no"]:
                    name, amount = self._fact("other_subsidy", at, "scheme_name"), self._fact("other_subsidy", at, "amount_fen")
                    items.append(self._item("其他贴息", f"{name} {yuan(amount)}", "other_subsidy", at))
            items.append(Item("其他贴息合计", f"{yuan(int(limited.other[row]))}，各项贴息合计不超过利息：{yuan(figure)} → {yuan(other)}"))
        elif other < figure:
            items.append(Item("其他贴息合计", f"该期前几笔另有其他贴息，各项贴息合计不超过利息：{yuan(figure)} → {yuan(other)}"))
        spent, life_spent = self._spent()
        if rule.monthly_limit_fen is not None:
            value = f"{yuan(rule.monthly_limit_fen)}，{self.line['accrual_to']:%Y-%m} 此前已用 {yuan(spent)}：{yuan(other)} → {yuan(month)}"
            items.append(Item("每月限额", value, source_text(rule.sources.get("monthly_limit"))))
        if rule.lifetime_limit_fen is not None:
            value = f"{yuan(rule.lifetime_limit_fen)}，此前已用 {yuan(life_spent)}：{yuan(month)} → {yuan(life)}"
            items.append(Item("累计限额", value, source_text(rule.sources.get("lifetime_limit"))))
        if not items:
            items.append(Item("限额", "没有限额适用"))
        return Section("limits", "限额", tuple(items))

    def _spent(self) -> tuple[int, int]:
        """What earlier rows of the loan, and the opening, have used up of the month's and of the lifetime limit."""
        rows, life = self.book.rows, self.working.limited.after_life
        earlier = [r for r in np.flatnonzero(rows.loan == self.loan).tolist() if r < self.row]
        month = (self.line["accrual_to"].year, self.line["accrual_to"].month)
        days = {r: date_of(rows.accrual_to[r]) for r in earlier}
        opening = int(self.book.loans.opening[self.loan])
        opened = self._fact("opening", opening, "paid_fen") or 0
        return sum(int(life[r]) for r in earlier if (days[r].year, days[r].month) == month), opened + sum(int(life[r]) for r in earlier)

    def _result(self) -> Section:
        line = self.line
        reason = line["reason"]
        said = REASONS.get(reason, "")
        if not said and self.rule is not None:
            said = next((g.reason_text for g in self.rule.gates if g.reason == reason), "")
        items = [
            Item("结果", _outcome_name(line) + (f"（{reason} {said}）".replace(" ）", "）") if reason else "")),
            Item("应贴", yuan(line["entitled_fen"])),
            Item("现可支付", yuan(line["payable_fen"])),
        ]
        return Section("result", "结果", tuple(items))


_LABELS = {
    "agreement": "TX01 贴息协议",
    "contract": "GB301 借款合同",
    "account": "GB304 贷款账户",
    "opening": "TX04 期初",
    "status": "TX02 贷款状态",
    "change": "TX03 贴息变更",
    "other_subsidy": "TX05 其他贴息",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not the same as in the line before: name, before, after."""

    label: str
    before: str
    after: str


def changed_since(before: Explanation, after: Explanation) -> tuple[Difference, ...]:
    """What changed from one line of a loan to a later one, in words; amounts, rates, rules, segments and outcome."""
    rows = (
        ("规则版本", before.rule_version, after.rule_version),
        ("方法", METHOD_NAMES.get(before.line["method"], ""), METHOD_NAMES.get(after.line["method"], "")),
        ("计息本金", yuan(before.line["base_principal_fen"]), yuan(after.line["base_principal_fen"])),
        ("利息", yuan(before.line["interest_fen"]), yuan(after.line["interest_fen"])),
        ("执行利率", percent(before.line["rate_ppm"]), percent(after.line["rate_ppm"])),
        ("公积金利率", _fund(before), _fund(after)),
        ("计息天数", str(before.line["days"]), str(after.line["days"])),
        ("贴息期间内天数", str(before.line["days_inside"]), str(after.line["days_inside"])),
        ("贴息比例", _share_text(before), _share_text(after)),
        ("测算", yuan(before.line["figure_fen"]), yuan(after.line["figure_fen"])),
        ("应贴", yuan(before.line["entitled_fen"]), yuan(after.line["entitled_fen"])),
        ("结果", _outcome(before), _outcome(after)),
    )
    return tuple(Difference(label, old, new) for label, old, new in rows if old != new)


def _fund(e: Explanation) -> str:
    if e.segments:
        return "、".join(dict.fromkeys(percent(s.fund_rate_ppm) for s in e.segments))
    return percent(e.line["fund_rate_ppm"]) if e.line["fund_rate_ppm"] >= 0 else "不使用"


def _share_text(e: Explanation) -> str:
    return "不使用" if e.share is None else quotient(e.share)


def _outcome_name(line: Mapping[str, Any]) -> str:
    return NOTHING if line["outcome"] == "pay" and line["reason"] in NO_SUBSIDY else OUTCOME_NAMES[line["outcome"]]


def _outcome(e: Explanation) -> str:
    return _outcome_name(e.line) + (f"（{e.line['reason']}）" if e.line["reason"] else "")


def _plain(value: Fraction | None) -> str | None:
    return None if value is None else f"{value.numerator}/{value.denominator}"


def _end(day: int) -> str:
    return ordinal(day)


def date_or_none(day: int) -> date | None:
    """A day number as a date; None for a day that never comes."""
    return None if day >= FAR else date_of(day)


__all__ = [
    "METHODS",
    "Difference",
    "Explanation",
    "Item",
    "Section",
    "Segment",
    "changed_since",
    "explain",
    "explain_agreement",
    "explain_agreements",
    "facts_of",
]
