"""What a loan is entitled to depends on its own facts alone: any grouping into calls gives the same lines."""

from __future__ import annotations

from random import Random

import pyarrow as pa
import pytest
from entitlement_facts import INSTALMENTS, facts, policy, rule
from entitlement_random import facts_of, portfolio, random_policy
from hypothesis import given, settings
from hypothesis import strategies as st

from subsidy.entitlement.engine import assess
from subsidy.entitlement.lines import LINES, SHADOW, Assessment
from subsidy.facts.schema import Facts


def merged(parts: list[Assessment]) -> Assessment:
    lines = pa.concat_tables([p.lines for p in parts]).sort_by([(n, "ascending") for n in ("agreement_no", "accrual_to", "serial_no")])
    shadow = pa.concat_tables([p.shadow for p in parts]).sort_by([("agreement_no", "ascending"), ("instalment", "ascending")])
    findings = sorted((f for p in parts for f in p.findings), key=lambda f: (f.agreement_no, f.serial_no, f.code, f.what))
    return Assessment(lines, tuple(findings), shadow)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 4), min_size=12, max_size=12))
def test_any_split_gives_the_same_lines(seed: int, cuts: list[int]) -> None:
    r = Random(seed)
    rules = random_policy(r)
    loans = portfolio(r, len(cuts), rules)
    whole = merged([assess(facts_of(loans), rules)])
    groups = [[loan for loan, cut in zip(loans, cuts, strict=True) if cut == n] for n in set(cuts)]
    parts = merged([assess(facts_of(group), rules) for group in groups])
    assert parts.lines.equals(whole.lines)
    assert parts.shadow.equals(whole.shadow)
    assert parts.findings == whole.findings


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_lines_are_sorted_and_do_not_depend_on_the_order_of_facts(seed: int) -> None:
    r = Random(seed)
    rules = random_policy(r)
    ordered = facts_of(portfolio(r, 8, rules))
    shuffled = Facts(
        {name: table.take(pa.array(r.sample(range(table.num_rows), table.num_rows), pa.int64())) for name, table in ordered.tables.items()},
        ordered.claims,
    )
    lines = assess(ordered, rules).lines
    assert lines.equals(assess(shuffled, rules).lines)
    keys = list(zip(*(lines[n].to_pylist() for n in ("agreement_no", "accrual_to", "serial_no")), strict=True))
    assert keys == sorted(keys)


def test_the_same_call_gives_the_same_answer() -> None:
    given_facts, rules = facts(*INSTALMENTS), policy(rule(method="shadow_interest"))
    one, two = assess(given_facts, rules), assess(given_facts, rules)
    assert one.lines.equals(two.lines)
    assert one.shadow.equals(two.shadow)


@pytest.mark.parametrize("method", ["ratio", "shadow_interest"])
def test_nothing_known_gives_nothing(method: str) -> None:
    empty = Facts({name: table.slice(0, 0) for name, table in facts().tables.items()})
    found = assess(empty, policy(rule(method=method)))
    assert found == Assessment(LINES.empty_table(), (), SHADOW.empty_table())
    assert assess(facts(), policy(rule(method=method))).lines.num_rows == 0


def test_two_agreements_of_one_contract_have_a_line_each() -> None:
    given_facts = facts(*INSTALMENTS, agreement=[{}, {"agreement_no": "XY0"}], claims=("XY0", "XY1"))
    lines = assess(given_facts, policy()).lines
    assert lines["agreement_no"].to_pylist() == ["XY0"] * 3 + ["XY1"] * 3
    assert lines["figure_fen"].to_pylist()[:3] == lines["figure_fen"].to_pylist()[3:]
