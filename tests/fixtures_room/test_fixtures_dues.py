"""Plain gathering of the story's dues against the system's, and the bank's script over it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from fixtures import dues, story
from fixtures.centres import CENTRES
from subsidy.clearing.gather import DUE, PAYEES, gather
from subsidy.clearing.profiles import load as load_outbound
from subsidy.policy.load import load_centre

RULES = Path(__file__).resolve().parents[2] / "rules"


def compare(centre: str, number: int, live: dict[tuple[str, str], int]) -> dues.Gathered:
    """Assert that both gather the same; the plain result."""
    plain = dues.gather(centre, number, live)
    rows = [
        {"agreement_no": a.agreement_no, "account_no": a.account_no, "serial_no": a.serial_no, "bucket": 0, "accrual_to": a.accrual_to,
         "due_fen": a.payable_fen - live.get((a.agreement_no, a.serial_no), 0), "settled": False, "replaces": "", "attempt": 0}
        for a in story.expected(centre).settlements[number - 1].lines
    ]  # fmt: skip
    payees = [
        {"agreement_no": a, "payee_account": p[0], "payee_name": p[1], "payee_bank_no": p[2], "payee_kind": CENTRES[centre].payee}
        for a, p in dues.payees(centre, 2 if number == 1 else 4).items()
    ]
    policy = load_centre(RULES, centre)
    terms = policy.settlement_on(CENTRES[centre].settles[number - 1])
    outbound = load_outbound(RULES, centre)
    found = gather(
        pa.Table.from_pylist([r for r in rows if r["due_fen"]], schema=DUE), pa.Table.from_pylist(payees, schema=PAYEES),
        recovery=terms.recovery, minimum_fen=terms.minimum_fen, layout=outbound.layouts[terms.payment_profile],
        collect_layout=outbound.layouts[outbound.recovery],
    )
    sent = {(r["payee_account"], r["payee_name"], r["payee_bank_no"]): r["amount_fen"] for r in found.out.to_pylist() if r["amount_fen"]}
    assert sent == plain.payments
    assert (found.computed_fen, found.netted_fen, sum(found.carried_fen.values()), found.receivable_fen) == (
        plain.computed_fen, plain.netted_fen, plain.carried_fen, plain.receivable_fen,
    )  # fmt: skip
    assert sum(found.collect["amount_fen"].to_pylist()) == sum(plain.collections.values())
    return plain


@pytest.mark.parametrize("centre", sorted(CENTRES))
def test_first_settlement(centre: str) -> None:
    plain = compare(centre, 1, {})
    assert plain.computed_fen == story.expected(centre).settlements[0].payable_fen == plain.sent_fen + plain.carried_fen
    assert (plain.carried_fen > 0) == (centre not in ("zhoushan", "shaoxing", "wenzhou"))  # names outside GBK wait


@pytest.mark.parametrize("centre", sorted(CENTRES))
def test_second_settlement_with_everything_of_the_first_paid(centre: str) -> None:
    first = dues.gather(centre, 1)
    paid = {p for p, amount in first.payments.items() if amount}
    payee_of = dues.payees(centre, 2)
    live = {
        (a.agreement_no, a.serial_no): a.payable_fen
        for a in story.expected(centre).settlements[0].lines if payee_of[a.agreement_no] in paid and a.payable_fen
    }
    plain = compare(centre, 2, live)
    assert plain.sent_fen > 0
    assert plain.netted_fen + plain.receivable_fen + sum(plain.collections.values()) > 0
