"""A write-off as the sub-ledger sees it: a payment of nobody (batch 0) whose negative items cancel a receivable, so that nothing else
holds a balance.

When a line rises again that was written off, the borrower still has the money: the write-off gives way first, and only what is still
overpaid afterwards stays written off. Otherwise the same money would be paid twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.ledger import tables
from subsidy.ledger.balances import DEAD, has_event, live_items, posted_lines
from subsidy.ledger.bulk import among, bulk_insert
from subsidy.ledger.database import next_numbers
from subsidy.ledger.journal import ENTRIES, Block, RunRef

BATCH = 0


def write_off_lines(
    conn: Connection, run: RunRef, block: Block, payment_no: str, items: Sequence[dict[str, Any]], attempt: int, replaces: str | None
) -> None:
    """Record and journal one write-off of lines (agreement_no, account_no, serial_no, bucket, amount_fen below 0), all of one agreement."""
    amount = -sum(item["amount_fen"] for item in items)
    ordinal = next_numbers(conn, run.centre, "write_off_payment")
    bulk_insert(
        conn,
        tables.payment,
        [
            {
                "centre": run.centre, "payment_no": payment_no, "batch_no": BATCH, "ordinal": ordinal, "payee_account": "", "payee_name":
                "", "payee_bank_no": "", "payee_kind": "", "amount_fen": amount, "attempt": attempt, "replaces": replaces,
            }
        ],
    )  # fmt: skip
    bulk_insert(conn, tables.payment_item, [{"centre": run.centre, "payment_no": payment_no, "kind": "recovery"} | item for item in items])
    _event(conn, run, payment_no, "confirmed")
    block.add_entries(_entry(run, "write_off", amount, items[0]["agreement_no"], payment_no))


def give_way(conn: Connection, run: RunRef, block: Block, raised: pa.Table) -> list[dict[str, Any]]:
    """End the write-offs of lines that rise, or whose payments fall away (columns `LINE_KEY`); returns them for `take_again`."""
    p, i = tables.payment, tables.payment_item
    agreements = raised["agreement_no"].to_pylist()
    rows = conn.execute(
        sa.select(i, p.c.attempt)
        .join(p, sa.and_(p.c.centre == i.c.centre, p.c.payment_no == i.c.payment_no))
        .where(p.c.centre == run.centre, p.c.batch_no == BATCH, sa.not_(has_event(p.c.centre, p.c.payment_no, DEAD)))
        .where(among(conn, i.c.agreement_no, sorted(set(agreements))))
        .order_by(p.c.ordinal, i.c.account_no, i.c.serial_no)
    ).mappings().all()  # fmt: skip
    lines = set(zip(agreements, raised["account_no"].to_pylist(), raised["serial_no"].to_pylist(), strict=True))
    ended: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        ended.setdefault(row["payment_no"], []).append(dict(row))
    touched = [items for items in ended.values() if any((i["agreement_no"], i["account_no"], i["serial_no"]) in lines for i in items)]
    for items in touched:
        number = items[0]["payment_no"]
        _event(conn, run, number, "returned")
        block.add_entries(_entry(run, "unwrite", -sum(i["amount_fen"] for i in items), items[0]["agreement_no"], number))
    return [{"payment_no": items[0]["payment_no"], "attempt": items[0]["attempt"], "items": items} for items in touched]


def take_again(conn: Connection, run: RunRef, block: Block, ended: Sequence[dict[str, Any]], without: Sequence[str] = ()) -> None:
    """Write off again what is still overpaid of the write-offs that gave way, after what made the lines rise was booked.

    `without`: payments that fall away in this transaction."""
    for write_off in ended:
        items = write_off["items"]
        left = _overpaid(conn, run.centre, items[0]["agreement_no"], without)
        again = []
        for item in items:
            part = min(-item["amount_fen"], left.get((item["account_no"], item["serial_no"]), 0))
            if part:
                again.append({name: item[name] for name in ("agreement_no", "account_no", "serial_no", "bucket")} | {"amount_fen": -part})
        if again:
            attempt = write_off["attempt"] + 1
            number = f"{write_off['payment_no'].split('-')[0]}-{attempt}"
            write_off_lines(conn, run, block, number, again, attempt, write_off["payment_no"])


def _overpaid(conn: Connection, centre: str, agreement_no: str, without: Sequence[str]) -> dict[tuple[str, str], int]:
    live = live_items(conn, centre, [agreement_no], without)
    posted = {(r["account_no"], r["serial_no"]): r["posted_fen"] for r in posted_lines(conn, centre, [agreement_no]).to_pylist()}
    lines = ((r["account_no"], r["serial_no"], r["live_fen"]) for r in live.to_pylist())
    return {(a, s): live_fen - posted.get((a, s), 0) for a, s, live_fen in lines if live_fen > posted.get((a, s), 0)}


def _event(conn: Connection, run: RunRef, payment_no: str, state: str) -> None:
    conn.execute(
        sa.insert(tables.payment_event).values(
            centre=run.centre, event_no=next_numbers(conn, run.centre, "event"), payment_no=payment_no, state=state,
            event_on=run.business_date, text="核销", run_no=run.run_no,
        )
    )  # fmt: skip


def _entry(run: RunRef, reason: str, amount_fen: int, agreement_no: str, payment_no: str) -> pa.Table:
    row = {
        "entry_on": run.business_date, "reason": reason, "amount_fen": amount_fen, "agreement_no": agreement_no, "posting_no": 0,
        "payment_no": payment_no,
    }  # fmt: skip
    return pa.Table.from_pylist([row], schema=ENTRIES)
