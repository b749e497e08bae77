"""Account movements (SBDC100 / BDC113): debits confirm what left the account, credits are returns or collections.

A return is the opposite amount from the same counterparty within the profile's days; it is matched by the host serial of the payment
first, then by our number in summary or remark. What carries our number or serial and does not fit is kept as `unknown` with a finding;
what has nothing to do with us is skipped and counted. Statements may overlap: a movement that is known is not booked again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import bank_text, events, outcome
from subsidy.clearing.bank_text import Refused
from subsidy.clearing.outcome import VERDICTS, Applied
from subsidy.clearing.profiles import MovementLayout
from subsidy.errors import Finding
from subsidy.ledger import postings, tables
from subsidy.ledger.bulk import among
from subsidy.ledger.database import bulk_insert, next_numbers, read_arrow
from subsidy.ledger.journal import RunRef
from subsidy.policy.model import CentrePolicy

_PAYMENTS = pa.schema(
    [
        ("payment_no", pa.string()),
        ("amount_fen", pa.int64()),
        ("account", pa.string()),
        ("direction", pa.string()),
        ("state", pa.string()),
        ("state_on", pa.date32()),
        ("host_serial", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Moved:
    """What a movement file held: movements by class, rows skipped as not ours, rows known before."""

    applied: Applied
    classes: dict[str, int]
    skipped: int
    repeated: int
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class _Row:
    line: int
    host_serial: str
    account: str
    amount_fen: int
    day: date
    payment_no: str
    send_no: str
    text: str
    kind: str = ""
    batch_no: int = 0

    @property
    def key(self) -> tuple[str, int, date]:
        """What makes it one movement: a bank may use a serial again on another day."""
        return self.host_serial, self.amount_fen, self.day


@dataclass(slots=True)
class _Known:
    amount_fen: int
    account: str
    direction: str
    state: str
    state_on: date
    host_serial: str


@dataclass(slots=True)
class _Work:
    rows: list[_Row]
    payments: dict[str, _Known]
    by_serial: dict[str, str]
    batches: dict[str, tuple[int, str]]
    return_days: int
    findings: list[Finding] = field(default_factory=list)


def book(
    conn: Connection, run: RunRef, policy: CentrePolicy, layout: MovementLayout, data: bytes, *, bank_file_no: int, latest: date
) -> Moved:
    """Book a movement file of the centre's paying account. Raises Incomplete without its end line, Refused when it cannot be read or is of
    another account."""
    body = bank_text.lines_of(data, layout.end, layout.encoding)
    table = bank_text.columns_of(body, layout.encoding, layout.separator, layout.terminated, layout.fields, 1)
    own = {terms.paying_account.number for terms in policy.settlement}
    if "own_account" in table.column_names and not pc.all(pc.is_in(table["own_account"], pa.array(sorted(own)))).as_py() and table.num_rows:
        raise Refused("MOVE-NOT-OURS", "有不属于本中心付款账户的行")
    amount = bank_text.amounts(table["amount"], layout.unit, "金额")
    day = bank_text.days(table["date"])
    if pc.any(pc.or_kleene(pc.is_null(day), pc.greater(day, pa.scalar(latest, pa.date32())))).as_py():
        raise Refused("MOVE-DATE", "有交易日期缺失或不可能的行")
    remark = table["remark"].combine_chunks() if "remark" in table.column_names else pa.repeat("", table.num_rows)
    text = pc.binary_join_element_wise(table["summary"].combine_chunks(), remark, " ")
    rows = _ours(conn, policy.centre, table, amount, day, text)
    skipped = table.num_rows - len(rows)
    rows, repeated = _fresh(conn, policy.centre, rows)
    work = _work(conn, policy.centre, rows, layout.return_days)
    # Debits first: a statement may hold a payment and its return.
    applied = _debits(conn, run, policy, work, bank_file_no)
    applied += _returns(conn, run, policy, work, bank_file_no)
    kept = [row for row in work.rows if row.kind]
    _store(conn, run.centre, kept, bank_file_no)
    classes: dict[str, int] = {}
    for row in kept:
        classes[row.kind] = classes.get(row.kind, 0) + 1
    return Moved(applied, dict(sorted(classes.items())), skipped + len(work.rows) - len(kept), repeated, tuple(work.findings))


def _ours(conn: Connection, centre: str, table: pa.Table, amount: pa.Array, day: pa.Array, text: pa.Array) -> list[_Row]:
    """Rows that carry our number, a batch's number, a host serial we know, or come from somebody we paid."""
    p, e, b = tables.payment, tables.payment_event, tables.batch
    number = pc.fill_null(pc.extract_regex(text, r"(?P<no>TX\d{16})").field("no"), "")
    serial = pc.utf8_trim_whitespace(table["host_serial"].combine_chunks())
    account = pc.utf8_trim_whitespace(table["account"].combine_chunks())
    known_serials = _column(conn, sa.select(e.c.host_serial).where(e.c.centre == centre, among(conn, e.c.host_serial, pc.unique(serial))))
    refunds = pc.greater(amount, 0)
    paid = _column(
        conn,
        sa.select(p.c.payee_account).where(p.c.centre == centre, among(conn, p.c.payee_account, pc.unique(account.filter(refunds)))),
    )
    names = {}
    for row in conn.execute(sa.select(b.c.send_no, b.c.bank_batch_no, b.c.file_name).where(b.c.centre == centre, b.c.direction != "net")):
        for name in (row.send_no, row.bank_batch_no, row.file_name.rsplit(".", 1)[0]):
            if name:
                names[name] = row.send_no
    tokens = pc.extract_regex(text, r"(?:^|[^0-9A-Za-z])(?P<no>\d{20})(?:$|[^0-9A-Za-z])").field("no")
    sends = pc.fill_null(tokens, "").to_pylist()
    short = sorted((name for name, send in names.items() if name != send), key=len, reverse=True)
    if short:
        pattern = r"(?:^|[^0-9A-Za-z])(?P<no>" + "|".join(map(_escape, short)) + r")(?:$|[^0-9A-Za-z])"
        given = pc.fill_null(pc.extract_regex(text, pattern).field("no"), "").to_pylist()
        sends = [send if send in names else names.get(other, "") for send, other in zip(sends, given, strict=True)]
    sends = [send if send in names else "" for send in sends]
    mine = pc.or_(
        pc.or_(pc.not_equal(number, ""), pc.not_equal(pa.array(sends, pa.string()), "")),
        pc.or_(
            pc.and_(pc.not_equal(serial, ""), pc.is_in(serial, known_serials)),
            pc.and_(refunds, pc.is_in(account, paid)),
        ),
    )
    at = [i for i, ours in enumerate(mine.to_pylist()) if ours]
    pick: Callable[[pa.Array], list[object]] = lambda column: column.take(pa.array(at, pa.int64())).to_pylist()  # noqa: E731
    rows = []
    for i, s, a, f, d, n, x in zip(at, pick(serial), pick(account), pick(amount), pick(day), pick(number), pick(text), strict=True):
        assert isinstance(f, int) and isinstance(d, date)
        rows.append(_Row(i + 1, str(s), str(a), f, d, str(n), sends[i], str(x)))
    missing = [row.line for row in rows if not row.host_serial]
    if missing:
        raise Refused("MOVE-SERIAL", f"第 {missing[0]} 行没有主机流水号")
    keys = [row.key for row in rows]
    if len(set(keys)) != len(keys):
        twice = next(row for row in rows if keys.count(row.key) > 1)
        raise Refused("MOVE-TWICE", f"第 {twice.line} 行的主机流水号、金额和日期在文件中出现两次")
    return rows


def _escape(name: str) -> str:
    return "".join(c if c.isalnum() else f"\\{c}" for c in name)


def _column(conn: Connection, query: sa.Select[tuple[str]]) -> pa.Array:
    return pa.array(sorted({row[0] for row in conn.execute(query) if row[0]}), pa.string())


def _fresh(conn: Connection, centre: str, rows: list[_Row]) -> tuple[list[_Row], int]:
    m = tables.movement
    serials = [row.host_serial for row in rows]
    known = {
        (row.host_serial, int(row.amount_fen), row.moved_on)
        for row in conn.execute(
            sa.select(m.c.host_serial, m.c.amount_fen, m.c.moved_on).where(m.c.centre == centre, among(conn, m.c.host_serial, serials))
        )
    }
    kept = [row for row in rows if row.key not in known]
    return kept, len(rows) - len(kept)


def _work(conn: Connection, centre: str, rows: list[_Row], return_days: int) -> _Work:
    p, e, b = tables.payment, tables.payment_event, tables.batch
    serials = sorted({row.host_serial for row in rows})
    by_serial = {
        row.host_serial: row.payment_no
        for row in conn.execute(
            sa.select(e.c.host_serial, e.c.payment_no)
            .where(e.c.centre == centre, e.c.state == "confirmed", among(conn, e.c.host_serial, serials))
            .order_by(e.c.event_no)
        )
    }
    numbers = sorted({row.payment_no for row in rows if row.payment_no} | set(by_serial.values()))
    last = events.last_event(centre, among(conn, p.c.payment_no, numbers))
    query = (
        sa.select(p.c.payment_no, p.c.amount_fen, p.c.payee_account, b.c.direction, e.c.state, e.c.event_on, e.c.host_serial)
        .join(last, last.c.payment_no == p.c.payment_no)
        .join(e, sa.and_(e.c.centre == p.c.centre, e.c.event_no == last.c.event_no))
        .join(b, sa.and_(b.c.centre == p.c.centre, b.c.batch_no == p.c.batch_no))
        .where(p.c.centre == centre)
    )
    payments = {row.pop("payment_no"): _Known(**row) for row in read_arrow(conn, query, _PAYMENTS).to_pylist()}
    batches = {
        row.send_no: (int(row.batch_no), row.direction)
        for row in conn.execute(sa.select(b.c.send_no, b.c.batch_no, b.c.direction).where(b.c.centre == centre, b.c.direction != "net"))
    }
    return _Work(rows, payments, by_serial, batches, return_days)


def _number_of(work: _Work, row: _Row) -> str:
    """The payment a movement speaks of: by host serial first, then by our number."""
    return work.by_serial.get(row.host_serial) or (row.payment_no if row.payment_no in work.payments else "")


def _odd(work: _Work, row: _Row, code: str, what: str) -> None:
    row.kind = "unknown"
    work.findings.append(
        Finding(
            code, "warning", f"第 {row.line} 行：{what}", "与银行对账；查明前该行列为不明款项，不改变任何付款的状态。", line_no=row.line
        )
    )


def _debits(conn: Connection, run: RunRef, policy: CentrePolicy, work: _Work, bank_file_no: int) -> Applied:
    """Debits of payments and credits of collections; an open payment is confirmed by its own movement."""
    confirmed: list[_Row] = []
    taken: set[str] = set()
    for row in work.rows:
        number = _number_of(work, row)
        payment = work.payments.get(number)
        if payment is None:
            batch_no, direction = work.batches.get(row.send_no, (0, ""))
            if batch_no and (row.amount_fen < 0) == (direction == "out"):
                row.kind, row.batch_no = ("debit" if direction == "out" else "collection"), batch_no
            elif row.payment_no:
                _odd(work, row, "MOVE-UNKNOWN-NUMBER", "编号像是本中心的付款，但没有这笔付款")
            continue
        sign = -1 if payment.direction == "out" else 1
        if row.amount_fen * sign < 0:
            continue  # the opposite direction: a return, looked at later
        row.payment_no = number
        if row.amount_fen != sign * payment.amount_fen or row.account != payment.account:
            _odd(work, row, "MOVE-MISMATCH", f"付款 {number} 的金额或对方账号与发出的不一致")
        elif number in taken:
            _odd(work, row, "MOVE-PAID-TWICE", f"付款 {number} 在明细中出现两次")
        elif payment.state in ("reserved", "released"):
            _odd(work, row, "MOVE-NOT-SENT", f"付款 {number} 没有发出，账户却有变动")
        else:
            taken.add(number)
            row.kind = "debit" if payment.direction == "out" else "collection"
            if payment.state in events.UNANSWERED:
                confirmed.append(row)
                payment.state, payment.state_on = "confirmed", row.day
    _refuse_paid_before(conn, run.centre, work)
    confirmed = [row for row in confirmed if row.kind in ("debit", "collection")]
    if not confirmed:
        return Applied()
    verdicts = pa.table(
        {
            "payment_no": [row.payment_no for row in confirmed],
            "verdict": ["confirmed"] * len(confirmed),
            "day": pa.array([row.day for row in confirmed], pa.date32()),
            "host_serial": [row.host_serial for row in confirmed],
            "code": ["MOVE"] * len(confirmed),
            "text": ["账户明细"] * len(confirmed),
        },
        schema=VERDICTS,
    )
    chart = policy.settlement_on(run.business_date).accounts
    return outcome.apply(conn, run, chart, verdicts, bank_file_no=bank_file_no)


def _refuse_paid_before(conn: Connection, centre: str, work: _Work) -> None:
    """A second debit of the same payment, with another serial than the first, is money that left twice."""
    m = tables.movement
    mine = {row.payment_no: row for row in work.rows if row.kind in ("debit", "collection") and row.payment_no}
    query = sa.select(m.c.payment_no).where(
        m.c.centre == centre, m.c["class"].in_(("debit", "collection")), among(conn, m.c.payment_no, sorted(mine))
    )
    for (number,) in conn.execute(query):
        _odd(work, mine[number], "MOVE-PAID-TWICE", f"付款 {number} 此前已有一笔账户变动")


def _returns(conn: Connection, run: RunRef, policy: CentrePolicy, work: _Work, bank_file_no: int) -> Applied:
    returned: list[_Row] = []
    for row in work.rows:
        if row.kind or row.amount_fen <= 0:
            if not row.kind and row.amount_fen < 0 and _number_of(work, row):
                _odd(work, row, "MOVE-MISMATCH", "收款后又转出")
            continue
        number = _number_of(work, row)
        payment = work.payments.get(number)
        if payment is None:
            if row.send_no:
                _odd(work, row, "MOVE-MISMATCH", "整批贷记，不能对应到单笔付款")
            elif _looks_like_return(conn, run.centre, row, work.return_days):
                _odd(work, row, "MOVE-RETURN-UNMATCHED", "像是退汇，但没有可以对应的流水号或编号")
            continue
        row.payment_no = number
        if row.amount_fen != payment.amount_fen or row.account != payment.account:
            _odd(work, row, "MOVE-MISMATCH", f"付款 {number} 的退回金额或对方账号不一致")
        elif payment.state == "failed":
            row.kind = "return"  # debited and given back the same day: nothing was booked, nothing is to reverse
        elif payment.state == "returned":
            _odd(work, row, "MOVE-RETURN-TWICE", f"付款 {number} 已退汇，又有一笔退回")
        elif payment.state != "confirmed":
            _odd(work, row, "MOVE-RETURN-UNCONFIRMED", f"付款 {number} 尚未确认成功，却有退回")
        elif not 0 <= (row.day - payment.state_on).days <= work.return_days:
            _odd(work, row, "MOVE-RETURN-LATE", f"付款 {number} 的退回超过 {work.return_days} 天")
        else:
            row.kind = "return"
            payment.state = "returned"
            returned.append(row)
    if not returned:
        return Applied()
    returned.sort(key=lambda row: row.payment_no)
    rows = pa.table(
        {
            "payment_no": [row.payment_no for row in returned],
            "state": ["returned"] * len(returned),
            "event_on": pa.array([row.day for row in returned], pa.date32()),
            "host_serial": [row.host_serial for row in returned],
            "code": ["RETURN"] * len(returned),
            "text": [row.text.strip() or "退汇" for row in returned],
        },
        schema=events.EVENTS,
    )
    events.append_table(conn, run.centre, rows, run_no=run.run_no, bank_file_no=bank_file_no)
    days = {row.payment_no: row.day for row in returned}
    postings.book_returned(conn, run, policy.settlement_on(run.business_date).accounts, list(days), days)
    return Applied(returned=len(returned))


def _looks_like_return(conn: Connection, centre: str, row: _Row, days: int) -> bool:
    p, e = tables.payment, tables.payment_event
    query = (
        sa.select(e.c.event_on)
        .join(p, sa.and_(p.c.centre == e.c.centre, p.c.payment_no == e.c.payment_no))
        .where(p.c.centre == centre, p.c.payee_account == row.account, p.c.amount_fen == row.amount_fen, e.c.state == "confirmed")
    )
    return any(0 <= (row.day - day).days <= days for (day,) in conn.execute(query))


def _store(conn: Connection, centre: str, rows: list[_Row], bank_file_no: int) -> None:
    if not rows:
        return
    first = next_numbers(conn, centre, "movement", len(rows))
    bulk_insert(
        conn,
        tables.movement,
        [
            {
                "centre": centre,
                "movement_no": first + i,
                "bank_file_no": bank_file_no,
                "host_serial": row.host_serial,
                "amount_fen": row.amount_fen,
                "moved_on": row.day,
                "payment_no": row.payment_no,
                "batch_no": row.batch_no,
                "class": row.kind,
            }
            for i, row in enumerate(rows)
        ],
    )
