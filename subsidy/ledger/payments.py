"""Journal of payments: what the bank's answer does to the accounts. Clearing keeps the states of payments; this books their money.

Per payment and agreement the positive items are what is paid and the negative ones what is recovered. What both have in common is netted
(debit payable, credit receivable), the rest is paid or collected in cash. Where a payment nets the receivable of one agreement against the
payment of another, the two cash rows of the payment together are what the bank moved. A payment is booked once; asked again, it is left
out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.entitlement.lines import LINE_KEY
from subsidy.errors import TerminalError
from subsidy.ledger import tables
from subsidy.ledger.balances import live_items, posted_lines
from subsidy.ledger.bulk import among, read_arrow
from subsidy.ledger.journal import ENTRIES, REVERSED, Block, RunRef
from subsidy.ledger.write_offs import give_way, take_again
from subsidy.policy.model import ChartOfAccounts

_ITEMS = pa.schema([("payment_no", pa.string()), *((name, pa.string()) for name in LINE_KEY), ("amount_fen", pa.int64())])
_BOOKED = pa.schema([("payment_no", pa.string()), ("agreement_no", pa.string()), ("reason", pa.string()), ("amount_fen", pa.int64())])

#: One day for all, or the day of each payment by its number.
Days = date | Mapping[str, date]


def book_confirmed(conn: Connection, run: RunRef, chart: ChartOfAccounts, payment_nos: Sequence[str], host_date: Days) -> int:
    """Book payments that the bank confirmed, dated by its host date. Returns how many were booked now; one that is booked stays so."""
    return _settle(conn, run, chart, payment_nos, host_date)


def book_collected(conn: Connection, run: RunRef, chart: ChartOfAccounts, payment_nos: Sequence[str], host_date: Days) -> int:
    """Book collections (direction ``in``) that the bank confirmed: debit cash, credit receivable."""
    return _settle(conn, run, chart, payment_nos, host_date)


def book_net(conn: Connection, run: RunRef, chart: ChartOfAccounts, payment_nos: Sequence[str], on: Days) -> int:
    """Book payments of amount 0 that only net a receivable against a subsidy: debit payable, credit receivable."""
    return _settle(conn, run, chart, payment_nos, on)


def book_failed(conn: Connection, run: RunRef, chart: ChartOfAccounts, payment_nos: Sequence[str]) -> int:
    """Book what the failure (or withdrawal before sending) of payments means: nothing, unless a line was lowered while it was in flight.

    Call once, in the transaction that records the failure, before or after its event. Returns the number of entries."""
    block = Block(conn, run, chart)
    entries = _fall_away(conn, run, block, payment_nos, run.business_date)
    block.close()
    return entries


def book_returned(conn: Connection, run: RunRef, chart: ChartOfAccounts, payment_nos: Sequence[str], host_date: Days) -> int:
    """Book confirmed payments that came back: the reverse of their confirmation, dated by the bank's host date. Returns how many were
    booked now. TerminalError ``BOOK-UNCONFIRMED`` for one that was never booked as confirmed."""
    booked = _booked(conn, run.centre, payment_nos)
    again = booked.filter(pc.is_in(booked["reason"], value_set=pa.array(sorted(REVERSED.values()))))
    wanted = _others(payment_nos, again)
    paid = booked.filter(
        pc.and_(pc.is_in(booked["payment_no"], value_set=wanted), pc.is_in(booked["reason"], value_set=pa.array(sorted(REVERSED))))
    )
    if set(wanted.to_pylist()) - set(paid["payment_no"].to_pylist()):
        raise TerminalError(
            "BOOK-UNCONFIRMED", "要登记退汇的付款从未登记为成功。", "没有记账。", "先读入该批次的回盘文件，再登记退汇；仍不符时与银行核对。"
        )
    if len(wanted) == 0:
        return 0
    ordered = paid.sort_by([("payment_no", "ascending"), ("agreement_no", "ascending"), ("reason", "ascending")])
    reasons = pa.array([REVERSED[reason] for reason in ordered["reason"].to_pylist()], pa.string())
    block = Block(conn, run, chart)
    block.add_entries(_payment_entries(ordered["payment_no"], ordered["agreement_no"], reasons, ordered["amount_fen"], host_date))
    _fall_away(conn, run, block, wanted.to_pylist(), host_date)
    block.close()
    return len(wanted)


def _settle(conn: Connection, run: RunRef, chart: ChartOfAccounts, payment_nos: Sequence[str], on: Days) -> int:
    booked = _booked(conn, run.centre, payment_nos)
    wanted = _others(payment_nos, booked.filter(pc.not_equal(booked["reason"], "reclass")))
    items = _items(conn, run.centre, wanted.to_pylist())
    if items.num_rows == 0:
        return 0
    amounts = items["amount_fen"]
    items = items.append_column("paid", pc.max_element_wise(amounts, 0)).append_column("taken", pc.max_element_wise(pc.negate(amounts), 0))
    per = items.group_by(["payment_no", "agreement_no"]).aggregate([("paid", "sum"), ("taken", "sum")])
    per = per.sort_by([("payment_no", "ascending"), ("agreement_no", "ascending")])
    paid, taken = per["paid_sum"].to_numpy(), per["taken_sum"].to_numpy()
    both = np.minimum(paid, taken)
    parts = [("pay", paid - both), ("net", both), ("collect", taken - both)]
    rows = np.concatenate([np.flatnonzero(amount) for _, amount in parts])
    order = np.argsort(rows, kind="stable")
    reasons = np.concatenate([np.full(np.count_nonzero(amount), reason, object) for reason, amount in parts])[order]
    amount = np.concatenate([amount[amount != 0] for _, amount in parts])[order]
    chosen = per.take(pa.array(rows[order]))
    block = Block(conn, run, chart)
    block.add_entries(_payment_entries(chosen["payment_no"], chosen["agreement_no"], pa.array(reasons, pa.string()), amount, on))
    block.close()
    return len(pc.unique(per["payment_no"]))


def _payment_entries(payment_no: Any, agreement_no: Any, reason: Any, amount_fen: Any, on: Days) -> pa.Table:
    rows = len(payment_no)
    if isinstance(on, Mapping):
        days = pa.array([on[number] for number in payment_no.to_pylist()], pa.date32())
    else:
        days = pa.repeat(pa.scalar(on, pa.date32()), rows)
    return pa.table(
        {
            "entry_on": days,
            "reason": reason,
            "amount_fen": amount_fen,
            "agreement_no": agreement_no,
            "posting_no": pa.repeat(pa.scalar(0, pa.int64()), rows),
            "payment_no": payment_no,
        }
    ).cast(ENTRIES)


def _fall_away(conn: Connection, run: RunRef, block: Block, payment_nos: Sequence[str], on: Days) -> int:
    """Book what follows for lines whose payments fall away; write-offs of them give way first. Returns the number of entries."""
    items = _items(conn, run.centre, payment_nos)
    ended = give_way(conn, run, block, items) if items.num_rows else []
    entries = _reclass(conn, run, items, on)
    block.add_entries(entries)
    take_again(conn, run, block, ended, payment_nos)
    return int(entries.num_rows)


def _reclass(conn: Connection, run: RunRef, items: pa.Table, on: Days) -> pa.Table:
    """Where payments fall away whose lines were lowered meanwhile, the receivable that stood against them is none.

    Per line the receivable account must hold ``max(0, live - posted) + netting under way``; before, these payments counted as live."""
    keys = list(LINE_KEY)
    if items.num_rows == 0:
        return ENTRIES.empty_table()
    mine = items.append_column("taken", pc.max_element_wise(pc.negate(items["amount_fen"]), 0))
    mine = mine.group_by(keys).aggregate([("amount_fen", "sum"), ("taken", "sum"), ("payment_no", "max")])
    agreements = pc.unique(items["agreement_no"])
    others = live_items(conn, run.centre, agreements, without=pc.unique(items["payment_no"]).to_pylist())
    lines = mine.join(others, keys, join_type="left outer").join(posted_lines(conn, run.centre, agreements), keys, join_type="left outer")
    lines = lines.sort_by([("payment_no_max", "ascending"), *((name, "ascending") for name in keys)])
    posted, live = (pc.fill_null(lines[name], 0).to_numpy() for name in ("posted_fen", "live_fen"))
    held = np.maximum(live + lines["amount_fen_sum"].to_numpy() - posted, 0) + lines["taken_sum"].to_numpy()
    excess = held - np.maximum(live - posted, 0)
    assert (excess >= 0).all()
    lines = lines.append_column("excess", pa.array(excess)).filter(pa.array(excess > 0))
    per = lines.group_by(["payment_no_max", "agreement_no"], use_threads=False).aggregate([("excess", "sum")])
    reason = pa.repeat("reclass", per.num_rows)
    return _payment_entries(per["payment_no_max"], per["agreement_no"], reason, per["excess_sum"], on)


def _items(conn: Connection, centre: str, payment_nos: Sequence[str]) -> pa.Table:
    i = tables.payment_item
    query = sa.select(*(i.c[name] for name in _ITEMS.names)).where(i.c.centre == centre, among(conn, i.c.payment_no, payment_nos))
    return read_arrow(conn, query, _ITEMS)


def _booked(conn: Connection, centre: str, payment_nos: Sequence[str]) -> pa.Table:
    j = tables.journal
    query = sa.select(*(j.c[name] for name in _BOOKED.names)).where(
        j.c.centre == centre, j.c.payment_no != "", among(conn, j.c.payment_no, payment_nos)
    )
    return read_arrow(conn, query, _BOOKED)


def _others(payment_nos: Sequence[str], booked: pa.Table) -> pa.Array:
    done = set(booked["payment_no"].to_pylist())
    return pa.array(sorted({number for number in payment_nos if number not in done}), pa.string())
