"""Figures as centres publish them: this month, this year to date, and in all (年度口径)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing.vouchers import month_of
from subsidy.ledger import tables

#: Reasons of journal rows that move cash for payments, and their sign.
PAID = {"pay": 1, "return": -1}
RECOVERED = {"net": 1, "collect": 1, "return_net": -1, "return_collect": -1}


class Figure(NamedTuple):
    """One line: fen when `money`, otherwise a number of loans or agreements."""

    label: str
    month: int
    year: int
    in_all: int
    money: bool


def annual(conn: Connection, centre: str, period: str, of_loans: Sequence[Figure] = ()) -> list[Figure]:
    """Monthly, yearly and total figures of a centre up to the end of the month `period`.

    From the ledger: subsidies paid (less returns) and agreements paid, recovered and written off, by booking day. They follow `of_loans`,
    what `loans` found in the facts.
    """
    first, after = month_of(period)
    year = date(first.year, 1, 1)
    lows = (first, year, date.min)

    def money(label: str, reasons: dict[str, int]) -> Figure:
        month, this_year, in_all = (_sum(conn, centre, reasons, low, after) for low in lows)
        return Figure(label, month, this_year, in_all, True)

    month, this_year, in_all = (_agreements(conn, centre, low, after) for low in lows)
    return [
        *of_loans,
        Figure("支付贴息户数", month, this_year, in_all, False),
        money("支付贴息金额", PAID),
        money("追回金额", RECOVERED),
        money("核销金额", {"write_off": 1, "unwrite": -1}),
    ]


def added(parts: Sequence[Sequence[Figure]]) -> list[Figure]:
    """The figures of several shares of the loans as one: each is a sum or a count."""
    return [
        Figure(same[0].label, sum(f.month for f in same), sum(f.year for f in same), sum(f.in_all for f in same), same[0].money)
        for same in zip(*parts, strict=True)
    ]


def _sum(conn: Connection, centre: str, reasons: dict[str, int], low: date, after: date) -> int:
    j = tables.journal
    signed = sa.case(*((j.c.reason == reason, sign * j.c.amount_fen) for reason, sign in reasons.items()), else_=0)
    query = sa.select(sa.func.coalesce(sa.func.sum(signed), 0)).where(
        j.c.centre == centre, j.c.reason.in_(list(reasons)), j.c.entry_on >= low, j.c.entry_on < after
    )
    return int(conn.execute(query).scalar_one())


def _agreements(conn: Connection, centre: str, low: date, after: date) -> int:
    j = tables.journal
    query = sa.select(sa.func.count(sa.distinct(j.c.agreement_no))).where(
        j.c.centre == centre, j.c.reason == "pay", j.c.entry_on >= low, j.c.entry_on < after
    )
    return int(conn.execute(query).scalar_one())


def loans(accounts: pa.Table, statuses: pa.Table | None, period: str) -> list[Figure]:
    """From fact tables account and status as known: loans disbursed, balance and loans closed up to the end of the month
    `period`. A balance has no flow: all three columns hold it."""
    first, after = month_of(period)
    year = date(first.year, 1, 1)

    def between(column: str, low: date) -> pa.Table:
        day = accounts[column]
        inside = pc.and_(pc.greater_equal(day, pa.scalar(low, pa.date32())), pc.less(day, pa.scalar(after, pa.date32())))
        return accounts.filter(pc.fill_null(inside, False))

    paid_out = [between("disbursed_on", low) for low in (first, year, date(1900, 1, 1))]
    closed = [between("settled_on", low).num_rows for low in (first, year, date(1900, 1, 1))]
    amounts = [int(pc.sum(chosen["disbursed_fen"]).as_py() or 0) for chosen in paid_out]
    balance = _balance(accounts, statuses, after)
    return [
        Figure("发放贷款笔数", paid_out[0].num_rows, paid_out[1].num_rows, paid_out[2].num_rows, False),
        Figure("发放贷款金额", amounts[0], amounts[1], amounts[2], True),
        Figure("结清贷款笔数", closed[0], closed[1], closed[2], False),
        Figure("贷款余额", balance, balance, balance, True),
    ]


def _balance(accounts: pa.Table, statuses: pa.Table | None, after: date) -> int:
    """Sum over loans of the balance in the latest status before `after`; of the account row where there is none."""
    latest = accounts.select(["account_no", "balance_fen"])
    if statuses is not None and statuses.num_rows:
        known = statuses.filter(pc.less(statuses["as_of"], pa.scalar(after, pa.date32())))
        known = known.take(pc.sort_indices(known, [("account_no", "ascending"), ("as_of", "ascending")]))
        last = known.group_by("account_no", use_threads=False).aggregate([("balance_fen", "last")])
        at = pc.index_in(latest["account_no"].combine_chunks(), last["account_no"].combine_chunks())
        balance = pc.coalesce(last["balance_fen_last"].combine_chunks().take(at), latest["balance_fen"].combine_chunks())
        return int(pc.sum(balance).as_py() or 0)
    return int(pc.sum(latest["balance_fen"]).as_py() or 0)
