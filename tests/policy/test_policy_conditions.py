"""The condition language: what it accepts, what it refuses and says, and that columns are judged row by row as one would by hand."""

from __future__ import annotations

import itertools
import operator
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subsidy.calendar import day_number
from subsidy.policy import symbolic
from subsidy.policy.conditions import CODE_ALIASES, FACT_ALIASES, ConditionError, evaluate, facts_of, parse
from subsidy.policy.model import GATE_FACTS, Condition
from subsidy.policy.symbolic import satisfiable, shadowed


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("true", ("true",)),
        ("suspended", ("fact", "suspended")),
        ("verified == false", ("not", ("fact", "verified"))),
        ("verified != false", ("fact", "verified")),
        ("overdue_run >= 3", ("compare", ">=", "overdue_run", 3)),
        ("days_late<-1", ("compare", "<", "days_late", -1)),
        ("interest > 500.00元", ("compare", ">", "interest", 50000)),
        ("commercial_rate > 4.90%", ("compare", ">", "commercial_rate", 49000)),
        ("due_on >= 2026-10-01", ("compare", ">=", "due_on", date(2026, 10, 1))),
        ('loan_status == "written_off"', ("compare", "==", "loan_status", "written_off")),
        ("contribution_status in ('02', '06')", ("in", "contribution_status", ("02", "06"))),
        ('home_order not in ("01")', ("not", ("in", "home_order", ("01",)))),
        (
            "overdue_run >= 3 or suspended and not verified",
            ("or", ("compare", ">=", "overdue_run", 3), ("and", ("fact", "suspended"), ("not", ("fact", "verified")))),
        ),
        (
            "(overdue_run >= 3 or suspended) and verified",
            ("and", ("or", ("compare", ">=", "overdue_run", 3), ("fact", "suspended")), ("fact", "verified")),
        ),
        ("not not suspended", ("not", ("not", ("fact", "suspended")))),
        ("连续逾期期数 >= 3 或 停缴", ("or", ("compare", ">=", "overdue_run", 3), ("fact", "contributions_lapsed"))),
        ('非 暂停中 且 贷款状态 属于 ("核销", "结清")',
         ("and", ("not", ("fact", "suspended")), ("in", "loan_status", ("written_off", "settled")))),
        ('房屋套数 == "二套"', ("compare", "==", "home_order", "02")),
    ],
)  # fmt: skip
def test_what_is_accepted(text: str, tree: Condition) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", "POL-CONDITION", ["末尾"]),
        ("overdue_run >=", "POL-CONDITION", ["末尾", "整数"]),
        ("overdue_run >= 3 and", "POL-CONDITION", ["末尾", "事实名"]),
        ("(suspended", "POL-CONDITION", ["右括号"]),
        ("suspended)", "POL-CONDITION", ["第 10 个字符"]),
        ("suspended verified", "POL-CONDITION", ["and、or"]),
        ("overdue_run ＞= 3", "POL-CONDITION", ["第 13 个字符", "半角"]),
        ("overdue_run = 3", "POL-CONDITION", ["="]),
        ("overdue_run not 3", "POL-CONDITION", ["in"]),
        ("overdue_run in 3", "POL-CONDITION", ["左括号"]),
        ("overdue_run in (3", "POL-CONDITION", ["右括号"]),
        ("3 < overdue_run", "POL-CONDITION", ["事实名"]),
        ("overdue_run >= 1.5", "POL-CONDITION", ["第 16 个字符"]),
        ("overdue_run >= 9999999999999999999", "POL-CONDITION", ["数值"]),
        ("due_on > 2026-02-30", "POL-CONDITION", ["2026-02-30"]),
        ("due_on > 0001-01-01", "POL-CONDITION", ["0001-01-01"]),
        ("interest > 500.005元", "POL-CONDITION", ["500.005元"]),
        ("commercial_rate > 4.90005%", "POL-CONDITION", ["4.90005%"]),
        ("overdue_runs >= 3", "POL-FACT-UNKNOWN", ["overdue_runs", "overdue_run"]),
        ("连续逾期数 >= 3", "POL-FACT-UNKNOWN", ["连续逾期期数"]),
        ("xyzzy", "POL-FACT-UNKNOWN", ["xyzzy", "verified"]),
        ("overdue_run", "POL-FACT-TYPE", ["不是“是/否”事实"]),
        ("suspended > 1", "POL-FACT-TYPE", ["没有大小"]),
        ("suspended == 1", "POL-FACT-TYPE", ["true、false"]),
        ("suspended in (true)", "POL-FACT-TYPE", ["in"]),
        ("interest > 500", "POL-FACT-TYPE", ["500.00元"]),
        ("overdue_run > 3元", "POL-FACT-TYPE", ["整数"]),
        ("due_on > 3", "POL-FACT-TYPE", ["2026-09-01"]),
        ('loan_status < "normal"', "POL-FACT-TYPE", ["没有大小"]),
        ('loan_status == "writen_off"', "POL-FACT-TYPE", ["written_off"]),
        ("contribution_status == 2", "POL-FACT-TYPE", ['"02"']),
        ("home_order == 02", "POL-FACT-TYPE", ["“home_order”的代码要写在引号内，02 不是代码。"]),
        ("__import__('os').system('x')", "POL-CONDITION", ["."]),
        ("lambda: 1", "POL-CONDITION", [":"]),
        ("[].__class__", "POL-CONDITION", ["["]),
        ("(" * 60 + "true" + ")" * 60, "POL-CONDITION", ["层"]),
        ("not " * 60 + "true", "POL-CONDITION", ["层"]),
        ("suspended or " * 400 + "true", "POL-CONDITION", ["过长"]),
    ],
)
def test_what_is_refused_and_how(text: str, code: str, words: list[str]) -> None:
    with pytest.raises(ConditionError) as caught:
        parse(text)
    problems = caught.value.problems
    assert {p.code for p in problems} == {code}
    told = "".join(part for p in problems for part in (p.what, p.value, p.allowed, p.nearest))
    for word in words:
        assert word in told, told


def test_all_unknown_names_are_told_at_once() -> None:
    with pytest.raises(ConditionError) as caught:
        parse("overdu_run >= 3 and suspendd or term_month > 5.00元")
    assert [(p.value, p.nearest) for p in caught.value.problems] == [
        ("overdu_run", "overdue_run"), ("suspendd", "suspended"), ("term_month", "term_months"),
    ]  # fmt: skip


def test_every_fact_has_a_chinese_name() -> None:
    assert set(FACT_ALIASES.values()) == set(GATE_FACTS)
    for name, aliases in CODE_ALIASES.items():
        assert set(aliases.values()) <= set(GATE_FACTS[name][0])  # type: ignore[call-overload]


def test_facts_of_a_condition() -> None:
    condition = parse('not (suspended or loan_status in ("normal")) and overdue_run > 1')
    assert facts_of(condition) == {"suspended", "loan_status", "overdue_run"}


def test_columns_may_be_numpy_or_arrow() -> None:
    days = [date(2026, 9, 30), date(2026, 10, 1)]
    condition = parse('due_on >= 2026-10-01 and loan_status == "normal"')
    for due in (np.array(days, "datetime64[D]"), np.array([day_number(d) for d in days]), pa.array(days), pa.chunked_array([days])):
        for status in (np.array(["normal", "normal"]), np.array(["normal", "normal"], object), pa.array(["normal", "normal"])):
            assert evaluate(condition, {"due_on": due, "loan_status": status}).tolist() == [False, True]
    assert evaluate(parse("true"), {"due_on": np.zeros(3, np.int64)}).tolist() == [True] * 3
    assert evaluate(parse("suspended"), {"suspended": pa.array([True, False])}).tolist() == [True, False]
    with pytest.raises(KeyError):
        evaluate(condition, {"due_on": np.zeros(1, np.int64)})


# --- properties: random conditions over three facts of three types, against plain Python -------------------------------------------

FACTS: dict[str, list[Any]] = {
    "overdue_run": [0, 1, 2, 3, 4, 5],  # the last one is no literal: something always lies above all literals
    "suspended": [True, False],
    "loan_status": ["normal", "overdue", "settled", "converted", "written_off"],
    "due_on": [date(2026, 9, 29) + timedelta(days=k) for k in range(5)],
}
LITERALS = {"overdue_run": FACTS["overdue_run"][:-1], "loan_status": FACTS["loan_status"]}
SIGNS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def _leaf() -> st.SearchStrategy[Condition]:
    ordered = st.sampled_from(["overdue_run", "due_on"]).flatmap(
        lambda n: st.tuples(st.just("compare"), st.sampled_from(list(SIGNS)), st.just(n), st.sampled_from(FACTS[n][1:4]))
    )
    member = st.sampled_from(["overdue_run", "loan_status"]).flatmap(
        lambda n: st.tuples(st.just("in"), st.just(n), st.lists(st.sampled_from(LITERALS[n]), min_size=1, max_size=3).map(tuple))
    )
    return st.one_of(st.just(("true",)), st.just(("fact", "suspended")), ordered, member)


CONDITIONS = st.recursive(
    _leaf(),
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.builds(lambda head, parts: (head, *parts), st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)),
    ),
    max_leaves=6,
)


def written(condition: Condition) -> str:
    head = condition[0]
    if head in ("and", "or"):
        return "(" + f" {head} ".join(written(c) for c in condition[1:]) + ")"
    if head == "not":
        return f"not ({written(condition[1])})"
    if head == "compare":
        return f"{condition[2]} {condition[1]} {literal(condition[3])}"
    if head == "in":
        return f"{condition[1]} in ({', '.join(literal(v) for v in condition[2])})"
    return "true" if head == "true" else str(condition[1])


def literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def holds(condition: Condition, row: dict[str, Any]) -> bool:
    head, *rest = condition
    if head == "true":
        return True
    if head == "fact":
        return bool(row[rest[0]])
    if head == "not":
        return not holds(rest[0], row)
    if head in ("and", "or"):
        return (all if head == "and" else any)(holds(c, row) for c in rest)
    if head == "in":
        return row[rest[0]] in rest[1]
    return bool(SIGNS[rest[0]](row[rest[1]], rest[2]))


ROWS = [dict(zip(FACTS, values, strict=True)) for values in itertools.product(*FACTS.values())]
COLUMNS = {
    "overdue_run": np.array([r["overdue_run"] for r in ROWS]),
    "suspended": np.array([r["suspended"] for r in ROWS]),
    "loan_status": np.array([r["loan_status"] for r in ROWS]),
    "due_on": np.array([day_number(r["due_on"]) for r in ROWS]),
}


@settings(max_examples=200, deadline=None)
@given(CONDITIONS)
def test_columns_are_judged_like_single_rows(condition: Condition) -> None:
    parsed = parse(written(condition))
    assert evaluate(parsed, COLUMNS).tolist() == [holds(condition, row) for row in ROWS]


@settings(max_examples=300, deadline=None)
@given(CONDITIONS)
def test_never_is_said_exactly_when_no_row_can_match(condition: Condition) -> None:
    # The rows hold every literal and its neighbours, so trying them all decides.
    assert satisfiable(condition) == any(holds(condition, row) for row in ROWS)


@settings(max_examples=200, deadline=None)
@given(CONDITIONS, st.lists(CONDITIONS, max_size=3))
def test_shadowed_is_said_exactly_when_earlier_rows_take_everything(condition: Condition, earlier: list[Condition]) -> None:
    left = [r for r in ROWS if holds(condition, r) and not any(holds(c, r) for c in earlier)]
    assert shadowed(condition, earlier) == (not left)


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        ("overdue_run < 0", False),
        ("overdue_run > -5", True),
        ("days_late < 0", True),
        ("interest < 0元", False),
        ("overdue_run > 3 and overdue_run < 4", False),
        ("overdue_run > 3 and overdue_run < 5", True),
        ("contributions_lapsed and contribution_status == '01'", False),
        ("contributions_lapsed and contribution_status == '02'", True),
        ("due_on < 1900-01-01", False),
        ("due_on < 2199-12-31", True),
        ("loan_status not in ('normal', 'overdue', 'settled', 'converted', 'written_off')", False),
        ("suspended and not suspended", False),
    ],
)
def test_domains_of_facts_are_known(text: str, possible: bool) -> None:
    assert satisfiable(parse(text)) is possible


def test_a_condition_too_large_to_decide_is_said_to_be_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    condition = parse("overdue_run > 3 and overdue_total > 5 and instalment > 7 and instalment < 7")
    assert satisfiable(condition) is False
    monkeypatch.setattr(symbolic, "_MAX_STEPS", 3)
    assert satisfiable(condition) is None
    assert shadowed(condition, []) is None


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=40), st.text('()<>=!"0123456789andorti_e.元%- ', max_size=40)))
def test_any_text_is_parsed_or_refused_with_a_reason(text: str) -> None:
    try:
        parse(text)
    except ConditionError as error:
        assert error.problems
        assert all(p.what for p in error.problems)
