"""Voucher rows (记账凭证信息, 表8.0.5): the journal of a calendar month as finance systems take it in.

One voucher per booking (journal block), day and reason, with a debit row and a credit row. Journal rows never change, so a voucher that
was written never changes either. Every night that books writes a file with what is new since the file before (`write_new`); a month is
written whole on demand (`write`), as a new version when later bookings added vouchers.
"""

from __future__ import annotations

import hashlib
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import outbox
from subsidy.clearing.profiles import Outbound, fill, load
from subsidy.facts.store import Store
from subsidy.ledger import tables
from subsidy.ledger.database import Database, next_numbers
from subsidy.money.amounts import format_yuan
from subsidy.policy.model import CentrePolicy
from subsidy.settings import Settings

#: Reason of a journal row → (code inside the voucher number, summary). Codes never change.
SUMMARIES = {
    "accrue": ("01", "计提应付贴息"),
    "restore": ("02", "冲减应收追回"),
    "reduce": ("03", "调减应付贴息"),
    "overpaid": ("04", "确认应收追回"),
    "opening": ("05", "期初应收追回"),
    "opening_less": ("06", "调减期初应收"),
    "opening_payable": ("07", "期初多追应退"),
    "opening_reduce": ("08", "冲减期初应退"),
    "pay": ("09", "支付贴息"),
    "net": ("10", "追回抵扣贴息"),
    "collect": ("11", "收回追回款"),
    "write_off": ("12", "核销应收追回"),
    "return": ("13", "贴息退汇"),
    "return_net": ("14", "退汇恢复应收追回"),
    "return_collect": ("15", "退汇冲回追回款"),
    "reclass": ("16", "付款作废冲减应收"),
    "unwrite": ("17", "恢复已核销应收"),
}

#: One row of the table: number, summary, account, debit fen, credit fen, attachments, booking day.
Row = tuple[str, str, str, int, int, int, date]


def rows(conn: Connection, centre: str, period: str) -> list[Row]:
    """The voucher rows of the calendar month `period` (2026-10), in order of their numbers, debit before credit.

    Debits equal credits per voucher, and their sum equals the sum of the journal rows dated in the month. `attachments` is the number of
    bookings behind a voucher, which is one.
    """
    first, after = month_of(period)
    j = tables.journal
    return _rows(conn, centre, j.c.entry_on >= first, j.c.entry_on < after)


def rows_of_blocks(conn: Connection, centre: str, first: int, last: int) -> list[Row]:
    """The voucher rows of the journal blocks `first` to `last`, in order of their numbers, debit before credit; they add up to the blocks'
    own sums."""
    found = _rows(conn, centre, tables.journal.c.block_no.between(first, last))
    b = tables.journal_block
    booked = conn.execute(
        sa.select(sa.func.sum(b.c.amount_fen)).where(b.c.centre == centre, b.c.block_no.between(first, last))
    ).scalar_one()
    assert sum(r[3] for r in found) == int(booked or 0), "vouchers tie to the journal"
    return found


def _rows(conn: Connection, centre: str, *where: sa.ColumnElement[bool]) -> list[Row]:
    j = tables.journal
    query = (
        sa.select(
            j.c.entry_on,
            j.c.block_no,
            j.c.reason,
            j.c.debit_account,
            j.c.credit_account,
            sa.cast(sa.func.sum(j.c.amount_fen), sa.BigInteger).label("fen"),
        )
        .where(j.c.centre == centre, *where)
        .group_by(j.c.entry_on, j.c.block_no, j.c.reason, j.c.debit_account, j.c.credit_account)
        .order_by(j.c.entry_on, j.c.block_no, j.c.reason, j.c.debit_account, j.c.credit_account)
    )
    found: list[Row] = []
    for row in conn.execute(query):
        code, summary = SUMMARIES[row.reason]
        number = f"JZ{row.entry_on:%Y%m%d}{row.block_no:07d}{code}"
        text = f"{summary}（记账批 {row.block_no}）"
        found.append((number, text, row.debit_account, int(row.fen), 0, 1, row.entry_on))
        found.append((number, text, row.credit_account, 0, int(row.fen), 1, row.entry_on))
    found.sort(key=lambda r: r[0])
    assert sum(r[3] for r in found) == sum(r[4] for r in found), "debits equal credits"
    return found


def month_of(period: str) -> tuple[date, date]:
    """First day of the month and of the next."""
    year, month = map(int, period.split("-"))
    return date(year, month, 1), date(year + month // 12, month % 12 + 1, 1)


def journal_total(conn: Connection, centre: str, period: str) -> int:
    """Sum in fen of the journal rows dated in the month: what the voucher rows must add up to, on each side."""
    first, after = month_of(period)
    j = tables.journal
    query = sa.select(sa.func.coalesce(sa.func.sum(j.c.amount_fen), 0)).where(
        j.c.centre == centre, j.c.entry_on >= first, j.c.entry_on < after
    )
    return int(conn.execute(query).scalar_one())


def text(found: list[Row]) -> str:
    """The voucher file: field names, rows, a closing line with count and sums."""
    lines = ["JZPZH|ZhaiYao|KMBH|JFFSE|DFFSE|FJDJS|JZRQ|"]
    lines += [
        f"{number}|{summary}|{account}|{format_yuan(debit)}|{format_yuan(credit)}|{attachments}|{day:%Y%m%d}|"
        for number, summary, account, debit, credit, attachments, day in found
    ]
    lines.append(f"#END|{len(found)}|{format_yuan(sum(r[3] for r in found))}|{format_yuan(sum(r[4] for r in found))}|")
    return "\n".join(lines) + "\n"


#: A day or month never has more versions of its voucher file.
MOST_VERSIONS = 999
#: Counter of the journal block that no voucher file of a night holds yet.
COVERED = "voucher_block"


def write_new(
    db: Database,
    token: int,
    settings: Settings,
    policy: CentrePolicy,
    *,
    business_date: date,
    run_no: int,
    outbound: Outbound | None = None,
) -> list[str]:
    """Write the vouchers of all bookings since the last file of this kind into one file of `business_date`; nothing new, no file. Also
    finishes what was begun before a crash. Returns the names of the files written now.

    TransientError ``PUBLISH-DISK`` when a file cannot be written; the next call writes it."""
    outbound = outbound or load(settings.rules, policy.centre)
    store, f, b = Store(settings.store_url), tables.published_file, tables.journal_block
    centre = policy.centre
    with db.transaction(centre, token) as conn:
        newest = int(conn.execute(sa.select(sa.func.max(b.c.block_no)).where(b.c.centre == centre)).scalar_one() or 0)
        c = tables.counter
        first = conn.execute(sa.select(c.c.next_no).where(c.c.centre == centre, c.c.name == COVERED)).scalar_one_or_none() or 1
        if newest >= first:
            data = text(rows_of_blocks(conn, centre, int(first), newest)).encode(outbound.voucher_encoding)
            store.put_bytes(data)
            _intend(conn, settings, policy, outbound, f"{business_date:%Y%m%d}", data, business_date, run_no)
            next_numbers(conn, centre, COVERED, newest + 1 - int(first))
        todo = conn.execute(
            sa.select(f.c.path, f.c.sha256).where(f.c.centre == centre, f.c.kind == "voucher", f.c.state == "intent").order_by(f.c.path)
        ).all()
    for path, sha256 in todo:
        with store.open(Store.raw_path(sha256)) as handle:
            outbox.write_whole(settings.home / path, handle.read())
    if todo:
        with db.transaction(centre, token) as conn:
            paths = [path for path, _ in todo]
            conn.execute(sa.update(f).where(f.c.centre == centre, f.c.path.in_(paths)).values(state="published"))
    return [path.rsplit("/", 1)[1] for path, _ in todo]


def _path(policy: CentrePolicy, outbound: Outbound, when: str, version: int) -> str:
    known = {"unit_no": policy.code, "month": when, "version": f"{version:03d}"}
    return f"outbox/{policy.centre}/{fill(outbound.voucher_name, known)}"


def _last(conn: Connection, policy: CentrePolicy, outbound: Outbound, when: str) -> tuple[int, Any]:
    """The newest version of the voucher file of a day or month, and its row (path, sha256, state); 0 and None when there is none."""
    f = tables.published_file
    numbers = {_path(policy, outbound, when, version): version for version in range(1, MOST_VERSIONS + 1)}
    query = sa.select(f.c.path, f.c.sha256, f.c.state).where(f.c.centre == policy.centre, f.c.path.in_(list(numbers)))
    last = max(conn.execute(query).all(), key=lambda row: numbers[row.path], default=None)
    return (0, None) if last is None else (numbers[last.path], last)


def _intend(
    conn: Connection,
    settings: Settings,
    policy: CentrePolicy,
    outbound: Outbound,
    when: str,
    data: bytes,
    business_date: date,
    run_no: int,
) -> str:
    """Record that the next version of the voucher file of a day or month is about to appear; returns its path. A number whose file is there
    with other bytes, given out after a backup that was restored, is left out."""
    version = _last(conn, policy, outbound, when)[0] + 1
    digest = hashlib.sha256(data).hexdigest()
    while outbox.holds_other(settings.home / _path(policy, outbound, when, version), digest):
        version += 1
    path = _path(policy, outbound, when, version)
    conn.execute(
        sa.insert(tables.published_file).values(
            centre=policy.centre,
            path=path,
            kind="voucher",
            sha256=digest,
            bytes=len(data),
            business_date=business_date,
            run_no=run_no,
            state="intent",
        )
    )
    return path


def write(
    db: Database,
    token: int,
    settings: Settings,
    policy: CentrePolicy,
    period: str,
    *,
    business_date: date,
    run_no: int,
    outbound: Outbound | None = None,
) -> str:
    """Write the voucher file of a month into the outbox; returns its name. The same content is not written twice; other content is a new
    version. TransientError ``PUBLISH-DISK`` when it cannot be written."""
    outbound = outbound or load(settings.rules, policy.centre)
    store = Store(settings.store_url)
    f = tables.published_file
    with db.transaction(policy.centre, token) as conn:
        found = rows(conn, policy.centre, period)
        assert sum(r[3] for r in found) == journal_total(conn, policy.centre, period), "vouchers tie to the journal"
        data = text(found).encode(outbound.voucher_encoding)
        _, last = _last(conn, policy, outbound, period.replace("-", ""))
        if last is None or last.sha256 != hashlib.sha256(data).hexdigest():
            store.put_bytes(data)
            path = _intend(conn, settings, policy, outbound, period.replace("-", ""), data, business_date, run_no)
        elif last.state == "published":
            return str(last.path).rsplit("/", 1)[1]
        else:
            path = str(last.path)
    outbox.write_whole(settings.home / path, data)
    with db.transaction(policy.centre, token) as conn:
        conn.execute(sa.update(f).where(f.c.centre == policy.centre, f.c.path == path).values(state="published"))
    return path.rsplit("/", 1)[1]
