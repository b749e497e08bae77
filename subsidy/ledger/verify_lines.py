"""Invariants 2, 3, 4 and 5 per line, posting and agreement."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from subsidy.errors import Finding
from subsidy.ledger import tables
from subsidy.ledger.balances import line_balances
from subsidy.ledger.journal import ROLES
from subsidy.ledger.verify_scope import NAMED, Scope, broken

_LIMIT = NAMED + 1


def check(scope: Scope) -> list[Finding]:
    """All of them for the agreements of the scope."""
    return _sequence(scope) + _sources(scope) + _causes(scope) + _entries(scope) + _balances(scope) + _strangers(scope)


def _postings(scope: Scope) -> list[sa.ColumnElement[bool]]:
    return [tables.posting.c.centre == scope.centre, *scope.postings(tables.posting)]


def _where(row: Any) -> dict[str, Any]:
    return {"agreement_no": row.agreement_no, "serial_no": getattr(row, "serial_no", "")}


def _first(scope: Scope, query: sa.Select[Any]) -> list[Any]:
    """The first rows of a query that is not ordered by the database, lest it walks all of history in that order to find the few."""
    return sorted(scope.conn.execute(query.limit(_LIMIT)).all(), key=lambda row: row[0])


def _sequence(scope: Scope) -> list[Finding]:
    """2: a correction takes up where the posting that it corrects left off, on the same line; a first posting corrects nothing."""
    p, before = tables.posting, tables.posting.alias()
    same = sa.and_(*(p.c[name] == before.c[name] for name in ("scheme", "agreement_no", "account_no", "serial_no")))
    follows = sa.and_(same, p.c.seq == before.c.seq + 1, p.c.due_fen == before.c.due_fen + p.c.amount_fen)
    linked = sa.or_(
        sa.and_(p.c.seq == 0, p.c.corrects.is_(None), p.c.due_fen == p.c.amount_fen),
        sa.and_(p.c.seq > 0, before.c.posting_no.is_not(None), follows),
    )
    query = (
        sa.select(p.c.posting_no, p.c.agreement_no, p.c.serial_no)
        .outerjoin(before, sa.and_(before.c.centre == p.c.centre, before.c.posting_no == p.c.corrects))
        .where(*_postings(scope), sa.not_(sa.func.coalesce(linked, sa.false())))
    )
    found = _first(scope, query)
    return broken(
        "INV-2-LINE", "2", [(f"分录 {row.posting_no} 与同一明细的前一分录不衔接（次序、金额或关联不符）。", _where(row)) for row in found]
    )


def _sources(scope: Scope) -> list[Finding]:
    """4: a posting names its rule version, its run with the policy it pinned, and a file of the register."""
    p, f, r = tables.posting, tables.file, tables.run
    in_register = sa.exists().where(f.c.centre == p.c.centre, f.c.file_no == p.c.file_no)
    of_run = sa.exists().where(
        r.c.centre == p.c.centre, r.c.run_no == p.c.run_no, r.c.business_date == p.c.business_date, r.c.policy_version == p.c.policy_version
    )
    wrong = sa.or_(p.c.rule_version == "", p.c.line_no < 1, sa.not_(in_register), sa.not_(of_run))
    query = sa.select(p.c.posting_no, p.c.agreement_no, p.c.serial_no).where(*_postings(scope), wrong)
    found = scope.conn.execute(query.limit(_LIMIT)).all()
    return broken("INV-4-SOURCE", "4", [(f"分录 {row.posting_no} 的规则版本、运行或来源文件行查不到。", _where(row)) for row in found])


def _causes(scope: Scope) -> list[Finding]:
    """4: a correction names its causes, and they add up."""
    p, c = tables.posting, tables.posting_cause
    summed = sa.select(sa.func.sum(c.c.amount_fen)).where(c.c.centre == p.c.centre, c.c.posting_no == p.c.posting_no).scalar_subquery()
    query = sa.select(p.c.posting_no, p.c.agreement_no, p.c.serial_no).where(
        *_postings(scope), p.c.seq > 0, sa.or_(summed.is_(None), summed != p.c.amount_fen)
    )
    found = _first(scope, query)
    return broken(
        "INV-4-CAUSE", "4", [(f"更正分录 {row.posting_no} 没有原因，或各原因金额之和与更正金额不符。", _where(row)) for row in found]
    )


def _effect(role_plus: str) -> sa.ColumnElement[Any]:
    """Signed amount of a journal row on one of the two accounts: payable grows by credit, receivable by debit."""
    j = tables.journal
    plus, minus = (1, 0) if role_plus == "payable" else (0, 1)
    return sa.case(
        (j.c.reason.in_([reason for reason, roles in ROLES.items() if roles[plus] == role_plus]), j.c.amount_fen),
        (j.c.reason.in_([reason for reason, roles in ROLES.items() if roles[minus] == role_plus]), -j.c.amount_fen),
        else_=0,
    )


def _entries(scope: Scope) -> list[Finding]:
    """5: the entries of a posting move payable less receivable by its amount, with known reasons."""
    p, j = tables.posting, tables.journal
    mine = (j.c.centre == scope.centre, j.c.posting_no > 0, *scope.entries(j))
    moved = sa.select(j.c.posting_no, j.c.agreement_no, (_effect("payable") - _effect("receivable")).label("fen")).where(*mine)
    posted = sa.select(p.c.posting_no, p.c.agreement_no, (-p.c.amount_fen).label("fen")).where(*_postings(scope))
    both = sa.union_all(moved, posted).subquery()
    query = (
        sa.select(both.c.posting_no, sa.func.min(both.c.agreement_no).label("agreement_no"))
        .group_by(both.c.posting_no).having(sa.func.sum(both.c.fen) != 0).order_by(both.c.posting_no).limit(_LIMIT)
    )  # fmt: skip
    found = broken(
        "INV-5-POSTING", "5", [(f"分录 {row.posting_no} 与其记账凭证金额不符。", _where(row)) for row in scope.conn.execute(query)]
    )
    unknown = sa.select(j.c.entry_no, j.c.agreement_no).where(
        j.c.centre == scope.centre, *scope.entries(j), j.c.reason.not_in(sorted(ROLES))
    )
    return found + broken(
        "INV-5-REASON", "5", [(f"凭证分录 {row.entry_no} 的事由不明。", _where(row)) for row in scope.conn.execute(unknown.limit(_LIMIT))]
    )


def _balances(scope: Scope) -> list[Finding]:
    """3 and 5: per agreement the accounts are what postings and payments say, and no more is paid than entitled plus receivable."""
    j = tables.journal
    b = line_balances(scope.centre, scope.of).c
    zero = sa.literal(0, sa.BigInteger)
    over = sa.case((b.live_fen > b.posted_fen, b.live_fen - b.posted_fen), else_=zero) + b.netting_fen
    names = ("agreement_no", "payable", "receivable", "posted", "live", "booked")
    said = sa.select(
        *(
            c.label(n)
            for c, n in zip(
                (b.agreement_no, b.posted_fen - b.confirmed_fen + over, over, b.posted_fen, b.live_fen, zero), names, strict=True
            )
        )
    )
    payable, receivable = _effect("payable"), _effect("receivable")
    kept = sa.select(
        *(c.label(n) for c, n in zip((j.c.agreement_no, -payable, -receivable, zero, zero, receivable), names, strict=True))
    ).where(j.c.centre == scope.centre, *scope.of(j.c.agreement_no))
    both = sa.union_all(said, kept).subquery()
    sums = {name: sa.cast(sa.func.sum(both.c[name]), sa.BigInteger) for name in names[1:]}
    query = sa.select(both.c.agreement_no, *(column.label(name) for name, column in sums.items())).group_by(both.c.agreement_no)
    query = query.having(sa.or_(sums["payable"] != 0, sums["receivable"] != 0, sums["live"] > sums["posted"] + sums["booked"]))
    rows = scope.conn.execute(query.order_by(both.c.agreement_no).limit(_LIMIT)).all()
    accounts = [
        (f"协议的应付或应收余额与明细、付款不符（应付差 {_yuan(r.payable)}，应收差 {_yuan(r.receivable)}）。", _where(r))
        for r in rows if r.payable or r.receivable
    ]  # fmt: skip
    much = [
        (f"协议已付和在途共 {_yuan(r.live)}，超过应享贴息与应收之和 {_yuan(r.posted + r.booked)}。", _where(r))
        for r in rows if r.live > r.posted + r.booked
    ]  # fmt: skip
    return broken("INV-5-BALANCE", "5", accounts) + broken("INV-3-OVERPAID", "3", much)


def _strangers(scope: Scope) -> list[Finding]:
    """3: every item of a payment belongs to a posted line."""
    i, p = tables.payment_item, tables.posting
    same = [p.c[name] == i.c[name] for name in ("centre", "agreement_no", "account_no", "serial_no")]
    query = sa.select(i.c.payment_no, i.c.agreement_no, i.c.serial_no).where(
        i.c.centre == scope.centre, *scope.of(i.c.agreement_no), sa.not_(sa.exists().where(*same))
    )
    found = _first(scope, query)
    return broken("INV-3-ITEM", "3", [(f"付款 {row.payment_no} 中有一条明细从未记账。", _where(row)) for row in found])


def _yuan(fen: int) -> str:
    return f"{'-' if fen < 0 else ''}{abs(fen) // 100}.{abs(fen) % 100:02d} 元"
