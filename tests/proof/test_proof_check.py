"""Comparing the engine's lines with recomputed ones."""

from __future__ import annotations

from proof_world import World, policy

from subsidy.proof import Difference, check, recompute


def test_equal_lines_differ_in_nothing() -> None:
    lines = recompute(World().loan_a(1, 2, 3).rows, policy())
    assert check(lines, lines) == []


def test_a_changed_figure_is_named_with_both_amounts() -> None:
    lines = recompute(World().loan_a(1).rows, policy())
    changed = [{**lines[0], "figure_fen": 37499}]
    assert check(changed, lines) == [Difference("A1", "L1", "1", "figure_fen", 37499, 37500)]
    assert check(changed, lines)[0].text == "协议 A1 流水 1：figure_fen 引擎 37499，复算 37500"


def test_a_line_that_only_one_side_has() -> None:
    lines = recompute(World().loan_a(1, 2).rows, policy())
    assert [d.serial_no for d in check(lines[:1], lines)] == ["2"]
    assert check(lines[:1], lines, complete=False) == []
    assert [(d.serial_no, d.line, d.recomputed) for d in check(lines, lines[:1])] == [("2", "pay", None)]


def test_only_some_agreements() -> None:
    assert recompute(World().loan_a(1).rows, policy(), only={"A2"}) == []
