"""Gathering: dues per payee, recoveries netted within an agreement or collected, nothing lost between computed and sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Any, Literal

import pyarrow as pa
import pytest
from clearing_house import OTHER, OWN, RULES
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from subsidy.clearing import profiles
from subsidy.clearing.gather import DUE, PAYEES, Gathering, bank_no_valid, gather

LAYOUT = profiles.load(RULES, "hangzhou").layouts["bdc103"]
COLLECT = profiles.load(RULES, "hangzhou").layouts["bdc104"]
Line = tuple[str, str, int]


def run(
    lines: Sequence[Line],
    payees: dict[str, tuple[str, str, str]] | None = None,
    recovery: Literal["net", "collect"] = "net",
    minimum_fen: int = 1,
    extra: dict[str, Any] | None = None,
    stopped: Sequence[str] = (),
) -> Gathering:
    """Lines are (agreement, serial, due fen); an agreement's payee is an account of its own unless given."""
    rows = [
        {
            "agreement_no": a, "account_no": f"A{a}", "serial_no": s, "bucket": 1, "accrual_to": date(2026, 9, 1 + i % 28), "due_fen": fen,
            "settled": False, "replaces": "", "attempt": 0,
        } | (extra or {})
        for i, (a, s, fen) in enumerate(lines)
    ]  # fmt: skip
    who = {a: (f"62{a}", f"户{a}", OWN) for a, _, _ in lines} | (payees or {})
    table = pa.Table.from_pylist(
        [
            {"agreement_no": a, "payee_account": p[0], "payee_name": p[1], "payee_bank_no": p[2], "payee_kind": "01"}
            for a, p in who.items() if p is not None
        ],
        schema=PAYEES,
    )  # fmt: skip
    dues = pa.Table.from_pylist(rows, schema=DUE)
    layouts = {"layout": LAYOUT, "collect_layout": COLLECT}
    return gather(dues, table, recovery=recovery, minimum_fen=minimum_fen, stopped=stopped, **layouts)


def payments(table: pa.Table) -> list[tuple[str, int]]:
    return [(row["payee_account"], row["amount_fen"]) for row in table.to_pylist()]


def items(table: pa.Table) -> list[tuple[str, str, int, str]]:
    return [(row["agreement_no"], row["serial_no"], row["amount_fen"], row["kind"]) for row in table.to_pylist()]


def test_lines_of_one_payee_become_one_payment() -> None:
    bank = ("33", "某银行", OWN)
    found = run([("X1", "S1", 10), ("X2", "S1", 20), ("X1", "S2", 5)], {"X1": bank, "X2": bank})
    assert payments(found.out) == [("33", 35)]
    assert items(found.out_items) == [("X1", "S1", 10, "normal"), ("X1", "S2", 5, "normal"), ("X2", "S1", 20, "normal")]


def test_same_account_under_another_name_is_another_payee() -> None:
    found = run([("X1", "S1", 10), ("X2", "S1", 20)], {"X1": ("33", "甲", OWN), "X2": ("33", "乙", OWN)})
    assert payments(found.out) == [("33", 10), ("33", 20)]


def test_recovery_is_netted_oldest_first_and_partly() -> None:
    found = run([("X1", "S1", -30), ("X1", "S2", -50), ("X1", "S3", 60)])
    assert items(found.out_items) == [("X1", "S1", -30, "recovery"), ("X1", "S2", -30, "recovery"), ("X1", "S3", 60, "normal")]
    assert payments(found.out) == [("62X1", 0)]
    assert (found.computed_fen, found.netted_fen, found.receivable_fen) == (60, 60, 20)


def test_recovery_is_never_netted_against_another_agreement_of_the_same_payee() -> None:
    bank = ("33", "某银行", OWN)
    found = run([("X1", "S1", -30), ("X2", "S1", 100)], {"X1": bank, "X2": bank})
    assert payments(found.out) == [("33", 100)]
    assert (found.netted_fen, found.receivable_fen) == (0, 30)


def test_collecting_centre_pays_in_full_and_collects_in_full() -> None:
    found = run([("X1", "S1", -30), ("X1", "S2", 100), ("X2", "S1", -5)], recovery="collect")
    assert payments(found.out) == [("62X1", 100)]
    assert payments(found.collect) == [("62X1", 30), ("62X2", 5)]
    assert items(found.collect_items) == [("X1", "S1", -30, "recovery"), ("X2", "S1", -5, "recovery")]
    assert (found.netted_fen, found.receivable_fen) == (0, 0)


def test_below_the_minimum_is_carried_whole() -> None:
    found = run([("X1", "S1", 120), ("X1", "S2", -30), ("X2", "S1", 100), ("X3", "S1", 30), ("X3", "S2", -30)], minimum_fen=100)
    assert payments(found.out) == [("62X2", 100), ("62X3", 0)]
    assert found.carried_fen == {"MINIMUM": 120}
    assert found.receivable_fen == 30


@pytest.mark.parametrize(
    ("payee", "code", "words"),
    [
        (("62", "李䶮", OWN), "PAYEE-NAME", "“䶮”（U+4DAE）"),
        (("62", "李𬭎", OWN), "PAYEE-NAME", "“𬭎”（U+2CB4E）"),
        (("62", "甲@|$乙", OWN), "PAYEE-NAME", "分隔符"),
        (("62", "甲\n乙", OWN), "PAYEE-NAME", "换行或控制字符"),
        (("62", "甲\t乙", OWN), "PAYEE-NAME", "换行或控制字符"),
        (("62", " ", OWN), "PAYEE-NAME", "户名为空"),
        (("", "甲", OWN), "PAYEE-ACCOUNT", "收款账号"),
        (("62 22", "甲", OWN), "PAYEE-ACCOUNT", "收款账号"),
        (("６２", "甲", OWN), "PAYEE-ACCOUNT", "收款账号"),
        (("62", "甲", "105331000019"), "PAYEE-BANK", "联行号"),
        (("62", "甲", "105"), "PAYEE-BANK", "联行号"),
        (("62", "甲", ""), "PAYEE-BANK", "联行号"),
    ],
)
def test_payee_that_no_file_can_hold_is_carried_with_a_finding(payee: tuple[str, str, str], code: str, words: str) -> None:
    found = run([("X1", "S1", 10), ("X2", "S1", 7)], {"X1": payee})
    assert payments(found.out) == [("62X2", 7)]
    assert found.carried_fen == {code: 10}
    (finding,) = found.findings
    assert (finding.code, finding.agreement_no) == (code, "X1")
    assert words in finding.what
    assert payee[1] not in finding.what or len(payee[1].strip()) == 0


def test_agreement_without_payee_is_carried() -> None:
    found = run([("X1", "S1", 10), ("X1", "S2", -3)], {"X1": None})  # type: ignore[dict-item]
    assert found.carried_fen == {"PAYEE-UNKNOWN": 10}
    assert (found.out.num_rows, found.receivable_fen, found.findings[0].code) == (0, 3, "PAYEE-UNKNOWN")


@pytest.mark.parametrize("recovery", ["net", "collect"])
def test_no_money_moves_for_an_agreement_that_was_stopped(recovery: Literal["net", "collect"]) -> None:
    """Its dues do not help the payee they share over the minimum, nor are they netted or collected."""
    bank, lines = ("33", "某银行", OWN), [("X1", "S1", 10), ("X1", "S2", -3), ("X2", "S1", 7)]
    found = run(lines, {"X1": bank, "X2": bank}, recovery, stopped=["X1"])
    assert (payments(found.out), found.carried_fen, found.netted_fen) == ([("33", 7)], {"LOAN-FAILED": 10}, 0)
    assert (found.collect.num_rows, found.receivable_fen, found.findings) == (0, 3, ())
    assert run(lines, {"X1": bank, "X2": bank}, recovery, 8, stopped=["X1"]).carried_fen == {"LOAN-FAILED": 10, "MINIMUM": 7}
    assert run([("X1", "S1", 10)], {"X1": None}, recovery, stopped=["X1"]).carried_fen == {"LOAN-FAILED": 10}  # type: ignore[dict-item]


def test_payer_that_no_file_can_hold_stays_receivable() -> None:
    found = run([("X1", "S1", -10)], {"X1": ("62", "李䶮", OWN)}, recovery="collect")
    assert (found.collect.num_rows, found.receivable_fen, found.findings[0].code) == (0, 10, "PAYEE-NAME")


def test_next_attempt_names_the_newest_payment_it_replaces() -> None:
    found = run([("X1", "S1", 10), ("X1", "S2", 5)], extra={"replaces": "TX2", "attempt": 3})
    assert [(p["replaces"], p["attempt"]) for p in found.out.to_pylist()] == [("TX2", 4)]


def test_kind_of_items() -> None:
    found = run([("X1", "S1", 10)], extra={"settled": True})
    assert items(found.out_items) == [("X1", "S1", 10, "top_up")]


def test_nothing_due() -> None:
    found = run([])
    assert (found.out.num_rows, found.collect.num_rows, found.computed_fen, found.carried_fen) == (0, 0, 0, {})


def test_amounts_beyond_the_limit_are_refused() -> None:
    with pytest.raises(OverflowError):
        run([("X1", "S1", 10**16)] * 11)


def test_bank_numbers() -> None:
    assert bank_no_valid(OWN)
    assert bank_no_valid(OTHER)
    assert not any(map(bank_no_valid, ("105331000010", "１05331000018", "10533100001", "1053310000180", "10533100001X")))


LINES = st.lists(st.tuples(st.sampled_from(["X1", "X2", "X3", "X4", "X5"]), st.integers(-500, 500).filter(bool)), max_size=24).map(
    lambda rows: [(a, f"S{i:02d}", fen) for i, (a, fen) in enumerate(rows)]
)
PAYEE = st.sampled_from([("33", "某银行", OWN), ("34", "甲", OTHER), ("35", "李䶮", OWN), ("36", "乙", "1"), None])


@trying(max_examples=300, deadline=None)
@given(
    LINES, st.dictionaries(st.sampled_from(["X1", "X2", "X3", "X4", "X5"]), PAYEE), st.sampled_from(["net", "collect"]), st.integers(1, 400)
)
def test_nothing_is_lost(lines: list[Line], payees: Any, recovery: Any, minimum_fen: int) -> None:
    found = run(lines, payees, recovery, minimum_fen)
    due = {(a, s): fen for a, s, fen in lines}
    out = {(r["agreement_no"], r["serial_no"]): r["amount_fen"] for r in found.out_items.to_pylist()}
    back = {(r["agreement_no"], r["serial_no"]): r["amount_fen"] for r in found.collect_items.to_pylist()}

    # computed = sent + netted + carried; what is receivable is netted, collected or left.
    sent = sum(fen for _, fen in payments(found.out))
    assert found.computed_fen == sum(fen for fen in due.values() if fen > 0) == sent + found.netted_fen + sum(found.carried_fen.values())
    assert -sum(fen for fen in due.values() if fen < 0) == found.netted_fen + found.receivable_fen - sum(back.values())

    # An item takes all of a due, or part of a recovery; never more, never in the other direction.
    for key, fen in out.items():
        assert fen == due[key] if due[key] > 0 else due[key] <= fen < 0
    for key, fen in back.items():
        assert fen == due[key] < 0
        assert key not in out

    # Per agreement nothing is netted beyond what it is due, and no receivable stands beside a payment to the same agreement.
    per: dict[str, int] = defaultdict(int)
    for (agreement, _), fen in out.items():
        per[agreement] += fen
    assert all(fen >= 0 for fen in per.values())
    if recovery == "net":
        for agreement in per:
            left = sum(-fen for (a, s), fen in due.items() if a == agreement and fen < 0) + sum(
                fen for (a, _), fen in out.items() if a == agreement and fen < 0
            )
            assert per[agreement] == 0 or left == 0

    # A payment is the sum of its items; only a netting payment is 0; a sent one is not below the minimum and has a payee a file can hold.
    for payment in found.out.to_pylist():
        mine = [r for r in found.out_items.to_pylist() if r["group"] == payment["group"]]
        assert payment["amount_fen"] == sum(r["amount_fen"] for r in mine)
        assert payment["amount_fen"] == 0 or payment["amount_fen"] >= minimum_fen
        if payment["amount_fen"]:
            assert bank_no_valid(payment["payee_bank_no"])
            assert payment["payee_name"].encode("gbk")
    for payment in found.collect.to_pylist():
        mine = [r for r in found.collect_items.to_pylist() if r["group"] == payment["group"]]
        assert payment["amount_fen"] == -sum(r["amount_fen"] for r in mine) > 0


@trying(max_examples=60, deadline=None)
@given(LINES, st.randoms(use_true_random=False))
def test_the_order_of_lines_changes_nothing(lines: list[Line], random: Any) -> None:
    dated = {line: i for i, line in enumerate(lines)}
    shuffled = list(lines)
    random.shuffle(shuffled)

    def result(rows: list[Line]) -> tuple[Any, ...]:
        table = pa.Table.from_pylist(
            [
                {
                    "agreement_no": a, "account_no": f"A{a}", "serial_no": s, "bucket": 1,
                    "accrual_to": date(2026, 9, 1 + dated[a, s, fen] % 28),
                    "due_fen": fen, "settled": False, "replaces": "", "attempt": 0,
                }
                for a, s, fen in rows
            ],
            schema=DUE,
        )  # fmt: skip
        payees = pa.Table.from_pylist(
            [
                {"agreement_no": a, "payee_account": f"62{a}", "payee_name": "甲", "payee_bank_no": OWN, "payee_kind": "01"}
                for a in ("X1", "X2", "X3", "X4", "X5")
            ],
            schema=PAYEES,
        )  # fmt: skip
        found = gather(table, payees, recovery="net", minimum_fen=1, layout=LAYOUT, collect_layout=COLLECT)
        return found.out.to_pylist(), found.out_items.to_pylist(), found.carried_fen

    assert result(lines) == result(shuffled)
