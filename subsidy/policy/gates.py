"""Gate tables: rows read from a centre's folder or named from the shared ones, and the checks over the whole table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from subsidy.policy.conditions import ALWAYS, ConditionError, facts_of, parse
from subsidy.policy.document import Scalar
from subsidy.policy.model import Condition, Gate, Outcome, Suspension
from subsidy.policy.problems import nearest
from subsidy.policy.section import NONE, Section
from subsidy.policy.symbolic import satisfiable, shadowed

OUTCOMES: tuple[Outcome, ...] = ("pay", "hold", "forfeit", "stop")
#: Facts that tell about suspension itself; its condition cannot read them.
_SUSPENSION_FACTS = frozenset({"suspended", "cured", "suspension_count"})
#: Facts on which the handbook always holds a line; a table that asks none of them is lawful but worth a look.
_EXPECTED = ("duplicate_claim", "verified", "opening_missing")


class GateRow(NamedTuple):
    """A gate and where its row stands in the centre's table."""

    gate: Gate
    line: int
    key: str


def read_condition(section: Section, name: str) -> tuple[Condition, str] | None:
    """The condition under `name` and its text; every fault of it goes to the problems."""
    text = section.text(name)
    if text is None:
        return None
    try:
        return parse(text), text
    except ConditionError as error:
        for p in error.problems:
            section.add(p.code, name, f"{p.what}条件：{text}。", value=p.value, allowed=p.allowed, near=p.nearest)
        return None


def read_gate(section: Section) -> GateRow | None:
    """One row: ``when``, ``outcome``, ``reason`` (code, not needed for pay), ``text`` (Chinese)."""
    condition = read_condition(section, "when")
    outcome = section.choice("outcome", OUTCOMES)
    pays = outcome == "pay"
    pattern, allowed = r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)*", "大写字母、数字和连字符，如 GATE-LATE"
    reason = section.text("reason", pattern, allowed, default="" if pays else None)
    text = section.text("text", default="正常支付" if pays else None)
    section.finish()
    source = section.own_source()
    if condition is None or outcome is None or reason is None or text is None or source is None:
        return None
    return GateRow(Gate(condition[0], condition[1], cast(Outcome, outcome), reason, text, source), section.node.line, section.path)


def read_gates(section: Section, shared: Mapping[str, GateRow | None]) -> tuple[Gate, ...]:
    """The table under ``gates``: names of shared rows and rows of its own, in order, checked as a whole; empty when one is faulty."""
    rows: list[GateRow] = []
    complete = True
    for place, node in enumerate(section.nodes("gates"), 1):
        key = f"{section.key('gates')}[{place}]"
        row: GateRow | None
        if isinstance(node, Scalar):
            common = shared.get(node.text)
            if node.text not in shared:
                section.problems.add(
                    "POL-GATE-UNKNOWN", section.file, node.line, key, "没有这个公共关口。", value=node.text,
                    allowed="、".join(shared), near=nearest(node.text, shared),
                )  # fmt: skip
            row = GateRow(common.gate, node.line, key) if common else None
        else:
            row = read_gate(node)
        complete &= row is not None
        if row is not None:
            rows.append(row)
    if not rows or not complete:
        return ()
    _check_table(section, rows)
    return tuple(row.gate for row in rows)


def _check_table(section: Section, rows: list[GateRow]) -> None:
    def add(code: str, row: GateRow, what: str, todo: str) -> None:
        section.problems.add(code, section.file, row.line, row.key, what, value=row.gate.text, todo=todo)

    last = rows[-1]
    if last.gate.condition != ALWAYS:
        add("POL-GATE-LAST", last, "最后一行必须无条件（when: true）。", "在表末加一行 when: true。")
    for place, row in enumerate(rows):
        condition, earlier = row.gate.condition, rows[:place]
        possible = satisfiable(condition)
        if possible is False:
            add("POL-GATE-NEVER", row, "条件永远不会成立。", "改正条件或删去这一行。")
            continue
        hidden = shadowed(condition, [r.gate.condition for r in earlier])
        if hidden:
            by = [r.key for r in earlier if shadowed(condition, [r.gate.condition])]
            names = "、".join(by) if by else "、".join(r.key for r in earlier)
            add("POL-GATE-SHADOWED", row, f"永远轮不到这一行：凡符合的都已被 {names} 先行匹配。", "调整顺序，或删去这一行。")
        elif possible is None or hidden is None:
            section.problems.warn(f"{row.key}：条件过于复杂，未能判定是否会被前面的行遮住。")
    read = frozenset().union(*(facts_of(r.gate.condition) for r in rows))
    for name in _EXPECTED:
        if name not in read:
            section.problems.warn(f"{section.key('gates')}：没有一行判断 {name}，默认规则要求先搁置这类行。")


def read_suspension(section: Section, gates: tuple[Gate, ...]) -> Suspension | None:
    """The mapping under ``suspension`` (``when``, ``after_cure``), or ``none``."""
    child = section.section("suspension", optional=True)
    if child is None:
        return None
    condition = read_condition(child, "when")
    after = child.choice("after_cure", ("pay", "forfeit"))
    child.finish()
    source = child.own_source()
    if condition is None or after is None or source is None:
        return None
    own = sorted(facts_of(condition[0]) & _SUSPENSION_FACTS)
    if own:
        what = f"暂停条件不能引用暂停本身的事实：{'、'.join(own)}。"
        child.add("POL-SUSPENSION", "when", what, value=condition[1], todo="改用其他事实。")
    elif satisfiable(condition[0]) is False:
        child.add("POL-GATE-NEVER", "when", "条件永远不会成立。", value=condition[1], todo=f"改正条件，或写 suspension: {NONE}。")
    if gates and not any("suspended" in facts_of(g.condition) for g in gates):
        what = "有暂停条件，但关口表没有一行判断 suspended，暂停不起作用。"
        child.add("POL-SUSPENSION", "when", what, todo="在 gates 中加入 suspended。")
    return Suspension(condition[0], condition[1], "pay" if after == "pay" else "forfeit", source)
