"""The condition language of gates and suspensions: parse and evaluate. Grammar: docs/规则语言.md. No access to Python.

    condition  = and_part { "or" and_part }
    and_part   = not_part { "and" not_part }
    not_part   = "not" not_part | "(" condition ")" | "true" | test
    test       = fact [ operator literal | [ "not" ] "in" "(" literal { "," literal } ")" ]
    operator   = "==" | "!=" | "<" | "<=" | ">" | ">="
    literal    = integer | amount | rate | date | code | "true" | "false"

Amounts are yuan with their unit (``500.00元``) and become fen, rates are percent (``4.90%``) and become ppm, dates are ISO dates, codes
stand in quotation marks. Facts are those of `GATE_FACTS`, by their English or Chinese names. The Chinese words 且, 或, 非, 属于 work too.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsidy.calendar import day_number, days_of
from subsidy.money import parse_yuan, ppm_from_percent
from subsidy.policy.model import GATE_FACTS, Condition

#: Chinese names of the facts, as they may be written in a condition.
FACT_ALIASES: dict[str, str] = {
    "合同已核定": "verified",
    "重复享受": "duplicate_claim",
    "缺少期初": "opening_missing",
    "逾期天数": "days_late",
    "连续逾期期数": "overdue_run",
    "累计逾期期数": "overdue_total",
    "缴存状态": "contribution_status",
    "停缴": "contributions_lapsed",
    "贷款状态": "loan_status",
    "暂停中": "suspended",
    "已解除暂停": "cured",
    "暂停次数": "suspension_count",
    "期次": "instalment",
    "业务明细类型": "transaction_kind",
    "房屋套数": "home_order",
    "收款人类型": "payee_kind",
    "还款方式": "repayment_method",
    "贷款期数": "term_months",
    "贷款发放额": "disbursed_amount",
    "实还利息": "interest",
    "计息起始日": "accrual_from",
    "计息终止日": "accrual_to",
    "应还款日": "due_on",
    "业务发生日期": "paid_on",
    "协议签约日期": "signed_on",
    "贷款发放日期": "disbursed_on",
    "执行利率": "commercial_rate",
}
#: Chinese words for codes, per fact.
CODE_ALIASES: dict[str, dict[str, str]] = {
    "loan_status": {"正常": "normal", "逾期": "overdue", "结清": "settled", "转公积金": "converted", "核销": "written_off"},
    "home_order": {"首套": "01", "二套": "02"},
    "payee_kind": {"借款人": "01", "银行": "02"},
    "repayment_method": {"等额本息": "01", "等额本金": "02"},
}

ALWAYS: Condition = ("true",)

#: Dates that a condition may name.
FIRST_DATE, LAST_DATE = date(1900, 1, 1), date(2199, 12, 31)

_MAX_LENGTH = 2000
_MAX_DEPTH = 40
_MAX_INTEGER = 10**15
_WORDS = {"且": "and", "或": "or", "非": "not", "属于": "in"}
_KEYWORDS = ("and", "or", "not", "in", "true", "false")
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_TOKEN = re.compile(
    r"""(?P<blank>[ \t\n]+)
      | (?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9]))
      | (?P<amount>-?[0-9]+(?:\.[0-9]+)?元)
      | (?P<rate>-?[0-9]+(?:\.[0-9]+)?%)
      | (?P<integer>-?[0-9]+(?![0-9.A-Za-z_]))
      | (?P<code>"[^"\n]{0,40}"|'[^'\n]{0,40}')
      | (?P<operator>==|!=|<=|>=|<|>)
      | (?P<mark>[(),])
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*|[\u4e00-\u9fff]+)""",
    re.VERBOSE,
)
_TYPE_NAMES = {
    "bool": "是/否（true、false）", "int": "整数", "fen": "金额（如 500.00元）", "ppm": "利率（如 4.90%）", "date": "日期（如 2026-09-01）",
}  # fmt: skip

ProblemCode = Literal["POL-CONDITION", "POL-FACT-UNKNOWN", "POL-FACT-TYPE"]


@dataclass(frozen=True, slots=True)
class ConditionProblem:
    """One fault of a condition: what it is (Chinese), the offending piece, what is allowed there, and the nearest valid name or ""."""

    code: ProblemCode
    what: str
    value: str
    allowed: str
    nearest: str = ""


class ConditionError(ValueError):
    """A condition that cannot be used; `problems` has all that was found."""

    def __init__(self, problems: tuple[ConditionProblem, ...]) -> None:
        self.problems = problems
        super().__init__("；".join(p.what for p in problems))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: int


class _Stop(Exception):
    """The rest of the text cannot be read."""


def parse(text: str) -> Condition:
    """The condition tree of `text` (`Condition` of `subsidy.policy.model`). ConditionError carries every fault that could be told apart."""
    if len(text) > _MAX_LENGTH:
        problem = ConditionProblem("POL-CONDITION", f"条件过长：{len(text)} 个字符。", text[:20] + "…", f"最多 {_MAX_LENGTH} 个字符")
        raise ConditionError((problem,))
    parser = _Parser(text)
    try:
        condition = parser.whole()
    except _Stop:
        raise ConditionError(tuple(parser.problems)) from None
    if parser.problems:
        raise ConditionError(tuple(parser.problems))
    return condition


class _Parser:
    def __init__(self, text: str) -> None:
        self.problems: list[ConditionProblem] = []
        self._tokens = self._read(text)
        self._next = 0
        self._depth = 0

    def _read(self, text: str) -> list[_Token]:
        tokens: list[_Token] = []
        place = 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                self._syntax(place, text[place : place + 10], "事实名、数值、比较符、括号；符号须为半角")
                break
            kind = str(match.lastgroup)
            if kind != "blank":
                word = _WORDS.get(match.group(), match.group())
                tokens.append(_Token("keyword" if kind == "word" and word in _KEYWORDS else kind, word, place))
            place = match.end()
        tokens.append(_Token("end", "", len(text)))
        return tokens

    def _syntax(self, place: int, value: str, allowed: str) -> None:
        where = f"第 {place + 1} 个字符" if value else "末尾"
        self.problems.append(ConditionProblem("POL-CONDITION", f"条件写法有误（{where}）。", value, allowed))

    def whole(self) -> Condition:
        if self.problems:
            raise _Stop
        condition = self._any()
        if self._peek().kind != "end":
            self._refuse("and、or，或条件到此为止")
        return condition

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _accept(self, kind: str, text: str) -> bool:
        token = self._peek()
        if (token.kind, token.text) == (kind, text):
            self._take()
            return True
        return False

    def _refuse(self, allowed: str) -> None:
        token = self._peek()
        self._syntax(token.place, token.text, allowed)
        raise _Stop

    def _any(self) -> Condition:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._refuse(f"括号和 not 最多 {_MAX_DEPTH} 层")
        parts = [self._all()]
        while self._accept("keyword", "or"):
            parts.append(self._all())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else ("or", *parts)

    def _all(self) -> Condition:
        parts = [self._one()]
        while self._accept("keyword", "and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else ("and", *parts)

    def _one(self) -> Condition:
        if self._accept("keyword", "not"):
            self._depth += 1
            if self._depth > _MAX_DEPTH:
                self._refuse(f"括号和 not 最多 {_MAX_DEPTH} 层")
            inner = self._one()
            self._depth -= 1
            return ("not", inner)
        if self._accept("mark", "("):
            inner = self._any()
            if not self._accept("mark", ")"):
                self._refuse("右括号 )")
            return inner
        if self._accept("keyword", "true"):
            return ALWAYS
        if self._peek().kind != "word":
            self._refuse("事实名、not、true 或左括号")
        return self._test()

    def _test(self) -> Condition:
        written = self._take().text
        name = FACT_ALIASES.get(written, written)
        known = name in GATE_FACTS
        if not known:
            self._unknown(written)
        kind = GATE_FACTS[name][0] if known else None
        token = self._peek()
        if token.kind == "operator":
            self._take()
            literal = self._literal(name, kind)
            return self._compare(token.text, name, kind, literal)
        negated = self._accept("keyword", "not")
        if self._accept("keyword", "in"):
            member = self._member(name, kind)
            return ("not", member) if negated else member
        if negated:
            self._refuse("in")
        if known and kind != "bool":
            what = f"“{written}”不是“是/否”事实，不能单独作条件。"
            self.problems.append(ConditionProblem("POL-FACT-TYPE", what, written, f"与{_type_name(kind)}比较，或用 in"))
        return ("fact", name)

    def _unknown(self, written: str) -> None:
        names = [*GATE_FACTS, *FACT_ALIASES]
        nearest = get_close_matches(written, names, 1, 0.5)
        self.problems.append(
            ConditionProblem(
                "POL-FACT-UNKNOWN", f"没有名为“{written}”的事实。", written, "、".join(GATE_FACTS), nearest[0] if nearest else ""
            )
        )

    def _compare(self, sign: str, name: str, kind: object, literal: Any) -> Condition:
        ordered = kind in ("int", "fen", "ppm", "date")
        if kind is not None and not ordered and sign not in ("==", "!="):
            self.problems.append(ConditionProblem("POL-FACT-TYPE", f"“{name}”没有大小之分，不能用 {sign}。", sign, "==、!=、in"))
        if isinstance(literal, bool):
            return ("fact", name) if literal == (sign == "==") else ("not", ("fact", name))
        return ("compare", sign, name, literal)

    def _member(self, name: str, kind: object) -> Condition:
        if not self._accept("mark", "("):
            self._refuse("左括号 (，列出各值")
        literals = [self._literal(name, kind)]
        while self._accept("mark", ","):
            literals.append(self._literal(name, kind))
        if not self._accept("mark", ")"):
            self._refuse("逗号或右括号 )")
        if kind == "bool":
            self.problems.append(ConditionProblem("POL-FACT-TYPE", f"“{name}”是“是/否”事实，不能用 in。", "in", "直接写事实名，或 not"))
        return ("in", name, tuple(literals))

    def _literal(self, name: str, kind: object) -> Any:
        token = self._peek()
        if token.kind not in ("integer", "amount", "rate", "date", "code") and token.text not in ("true", "false"):
            self._refuse(_type_name(kind) if kind is not None else "数值、金额、利率、日期或引号内的代码")
        self._take()
        try:
            value, found = _value(token)
        except ValueError:
            self.problems.append(ConditionProblem("POL-CONDITION", "数值写法有误。", token.text, _type_name(kind)))
            return 0
        if kind is None:
            return value
        if isinstance(kind, tuple):
            return self._code(name, kind, token, value)
        if found != kind:
            self.problems.append(ConditionProblem("POL-FACT-TYPE", f"“{name}”不能与“{token.text}”比较。", token.text, _type_name(kind)))
        return value

    def _code(self, name: str, codes: tuple[str, ...], token: _Token, value: Any) -> Any:
        aliases = CODE_ALIASES.get(name, {})
        code = aliases.get(value, value) if token.kind == "code" else None
        if code not in codes:
            allowed = "、".join(f'"{c}"' for c in (*codes, *aliases))
            bare = token.kind != "code"
            nearest = get_close_matches(token.text if bare else str(value), [*codes, *aliases], 1, 0.5)
            near = "" if not nearest else f'"{nearest[0]}"' if bare else nearest[0]
            what = f"“{name}”的代码要写在引号内，{token.text} 不是代码。" if bare else f"“{name}”没有代码 {token.text}。"
            self.problems.append(ConditionProblem("POL-FACT-TYPE", what, token.text, allowed, near))
        return code


def _type_name(kind: object) -> str:
    if isinstance(kind, tuple):
        return "引号内的代码：" + "、".join(f'"{c}"' for c in kind)
    return _TYPE_NAMES.get(str(kind), "")


def _value(token: _Token) -> tuple[Any, str]:
    text = token.text
    if token.kind == "integer":
        if abs(int(text)) > _MAX_INTEGER:
            raise ValueError
        return int(text), "int"
    if token.kind == "amount":
        return parse_yuan(text[:-1]), "fen"
    if token.kind == "rate":
        return ppm_from_percent(text[:-1]), "ppm"
    if token.kind == "date":
        day = date.fromisoformat(text)
        if not FIRST_DATE <= day <= LAST_DATE:
            raise ValueError
        return day, "date"
    if token.kind == "code":
        return text[1:-1], "code"
    return text == "true", "bool"


def facts_of(condition: Condition) -> frozenset[str]:
    """Names of the facts that `condition` reads."""
    return frozenset(_names(condition))


def _names(condition: Condition) -> Iterator[str]:
    head = condition[0]
    if head in ("and", "or", "not"):
        for part in condition[1:]:
            yield from _names(part)
    elif head == "compare":
        yield condition[2]
    elif head in ("in", "fact"):
        yield condition[1]


def evaluate(condition: Condition, columns: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """True for each row for which `condition` holds.

    `columns` has one column of equal length per fact the condition reads (at least one column in all, for the number of rows), without
    nulls: booleans; int64 for numbers, fen and ppm; dates as int64 days since 1970-01-01, datetime64[D] or Arrow date32; codes as
    arrays of strings (numpy or Arrow). KeyError when a fact is missing.
    """
    head = condition[0]
    if head == "true":
        return np.ones(_rows(columns), np.bool_)
    if head == "not":
        return ~evaluate(condition[1], columns)
    if head in ("and", "or"):
        result = evaluate(condition[1], columns)
        for part in condition[2:]:
            other = evaluate(part, columns)
            result = result & other if head == "and" else result | other
        return result
    if head == "fact":
        return np.asarray(_numpy(columns[condition[1]])).astype(np.bool_)
    if head == "compare":
        _, sign, name, literal = condition
        column, value = _comparable(columns[name], literal)
        return np.asarray(OPERATORS[sign](column, value), np.bool_)
    if head == "in":
        _, name, literals = condition
        result = np.zeros(_rows(columns), np.bool_)
        for literal in literals:
            column, value = _comparable(columns[name], literal)
            result |= np.asarray(column == value, np.bool_)
        return result
    raise ValueError(f"unknown condition {head!r}")


def _rows(columns: Mapping[str, Any]) -> int:
    for column in columns.values():
        return len(column)
    raise ValueError("the number of rows is unknown without a column")


def _numpy(column: Any) -> Any:
    return column.to_numpy(zero_copy_only=False) if isinstance(column, (pa.Array, pa.ChunkedArray)) else column


def _comparable(column: Any, literal: Any) -> tuple[Any, Any]:
    if isinstance(literal, date):
        return days_of(column), day_number(literal)
    return np.asarray(_numpy(column)), literal
