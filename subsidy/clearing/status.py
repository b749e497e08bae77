"""Answers to questions: batch status (BDC107) and single payments (BDC110). Both may be given at any time, also unasked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import bank_text, events, outcome
from subsidy.clearing.bank_text import Refused
from subsidy.clearing.batches import Batch, load_batches, terms_of
from subsidy.clearing.outcome import VERDICTS, Applied
from subsidy.clearing.profiles import Outbound, fill, pattern
from subsidy.ledger import tables
from subsidy.ledger.bulk import among
from subsidy.ledger.database import read_arrow
from subsidy.ledger.journal import RunRef
from subsidy.policy.model import CentrePolicy

#: BDC107: processing, done, partly done, failed; 9 is this project's own: the bank never received the batch.
NEVER_CAME = "9"
BATCH_STATUSES = ("0", "1", "2", "3", NEVER_CAME)
#: BDC110: succeeded, failed, processing or unknown.
PAYMENT_VERDICTS = {"0": "confirmed", "1": "failed", "2": "pending"}
ANSWER_FIELDS = ("ordinal", "payment_no", "amount", "status", "code", "text", "host_date", "host_serial")


@dataclass(frozen=True, slots=True)
class Answered:
    """What an answer changed; `batch_no` when it speaks of one batch. `unpaid`: batches that it calls failed, wholly or in part."""

    applied: Applied
    batch_no: int | None = None
    unpaid: tuple[int, ...] = ()
    detail: dict[str, Any] = field(default_factory=dict)


def book(
    conn: Connection, run: RunRef, policy: CentrePolicy, outbound: Outbound, name: str, data: bytes, *, bank_file_no: int, latest: date
) -> Answered:
    """Book a status answer. Raises Incomplete without its end line, Refused when it does not agree with what was sent."""
    queries = outbound.queries
    known = {"unit_no": policy.code}
    body = bank_text.lines_of(data, queries.end, queries.encoding)
    match = pattern(queries.batch_answer, known).fullmatch(name)
    if match is not None:
        return _batch(conn, run, policy, match.group("send_no"), bank_text.decode(body, queries.encoding), bank_file_no)
    match = pattern(queries.payment_answer, known).fullmatch(name)
    if match is None:
        raise Refused("STATUS-NAME", "文件名不是状态回执")
    asked = f"outbox/{policy.centre}/{fill(queries.payment_name, known | match.groupdict())}"
    f = tables.published_file
    if conn.execute(sa.select(f.c.path).where(f.c.centre == policy.centre, f.c.path == asked)).one_or_none() is None:
        raise Refused("STATUS-NOT-OURS", "回答的查询不是本中心发出的")
    return _payments(conn, run, policy, body, queries.encoding, bank_file_no, latest)


def _batch(conn: Connection, run: RunRef, policy: CentrePolicy, send_no: str, text: str, bank_file_no: int) -> Answered:
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if not equals or key in values:
            raise Refused("STATUS-FIELDS", f"不认识或重复的行：{key[:20]}")
        values[key] = value.strip()
    if values.get("TxUnitNo") != policy.code or values.get("SendSeqNo") != send_no:
        raise Refused("STATUS-NOT-OURS", "中心编号或发送流水号与文件名不一致")
    status = values.get("TxStatus", "")
    if status not in BATCH_STATUSES:
        raise Refused("STATUS-UNKNOWN", f"不认识的批次状态 {status[:5]}")
    batch = _find(conn, policy, send_no)
    given = values.get("BatchNo", "")
    if given and batch.bank_batch_no not in ("", given):
        raise Refused("STATUS-CONTRADICTS", "银行批次号与此前给出的不同")
    b = tables.batch
    if given and not batch.bank_batch_no:
        other = conn.execute(sa.select(b.c.batch_no).where(b.c.centre == policy.centre, b.c.bank_batch_no == given)).first()
        if other is not None:
            raise Refused("STATUS-CONTRADICTS", "银行批次号已用于另一批次")
        conn.execute(sa.update(b).where(b.c.centre == policy.centre, b.c.batch_no == batch.batch_no).values(bank_batch_no=given))
        batch = replace(batch, bank_batch_no=given)
    states = events.batch_states(conn, policy.centre, batch.batch_no)
    if set(states.values()) & {"reserved", "released"}:
        raise Refused("RESULT-NOT-SENT", "该批次没有发出，或已作废")
    applied = Applied()
    unpaid: tuple[int, ...] = ()
    if status == NEVER_CAME and set(states.values()) & {"confirmed", "returned", "failed"}:
        raise Refused("STATUS-CONTRADICTS", "银行称没有收到该批次，但已有该批次的结果")
    if status == "3":
        numbers = pa.array(sorted(states), pa.string())
        size = len(numbers)
        day = bank_text.days(pa.array([values.get("TxDate", "")]))[0].as_py()
        verdicts = pa.table(
            {
                "payment_no": numbers,
                "verdict": pa.repeat("failed", size),
                "day": pa.array([day] * size, pa.date32()),
                "host_serial": pa.repeat("", size),
                "code": pa.repeat(values.get("RtnCode", ""), size),
                "text": pa.repeat(values.get("RtnMessage", "") or "整批失败", size),
            },
            schema=VERDICTS,
        )
        chart = terms_of(policy, batch.settlement_on).accounts
        applied = outcome.apply(conn, run, chart, verdicts, bank_file_no=bank_file_no, batch_no=batch.batch_no)
        unpaid = (batch.batch_no,)
    return Answered(applied, batch.batch_no, unpaid, {"batch_status": status})


def _find(conn: Connection, policy: CentrePolicy, send_no: str) -> Batch:
    b = tables.batch
    row = conn.execute(
        sa.select(b.c.batch_no, b.c.period).where(b.c.centre == policy.centre, b.c.send_no == send_no, b.c.direction != "net")
    ).one_or_none()
    if row is None:
        raise Refused("STATUS-NOT-OURS", "没有这个发送流水号的批次")
    return next(batch for batch in load_batches(conn, policy.centre, row.period) if batch.batch_no == row.batch_no)


_SENT = pa.schema([("payment_no", pa.string()), ("batch_no", pa.int64()), ("amount_fen", pa.int64()), ("settlement_on", pa.date32())])


def _payments(conn: Connection, run: RunRef, policy: CentrePolicy, body: bytes, encoding: str, bank_file_no: int, latest: date) -> Answered:
    table = bank_text.columns_of(body, encoding, "|", True, ANSWER_FIELDS, 1)
    numbers = table["payment_no"].combine_chunks()
    p, b, s = tables.payment, tables.batch, tables.settlement
    query = (
        sa.select(p.c.payment_no, p.c.batch_no, p.c.amount_fen, s.c.settlement_on)
        .join(b, sa.and_(b.c.centre == p.c.centre, b.c.batch_no == p.c.batch_no))
        .join(s, sa.and_(s.c.centre == b.c.centre, s.c.period == b.c.period))
        .where(p.c.centre == policy.centre, among(conn, p.c.payment_no, numbers))
    )
    sent = read_arrow(conn, query, _SENT)
    at = pc.index_in(numbers, sent["payment_no"].combine_chunks())
    wrong: list[str] = []
    if at.null_count:
        wrong.append(f"{at.null_count} 笔付款编号不是本中心发出的")
    if len(pc.unique(numbers)) != len(numbers):
        wrong.append("付款编号重复")
    amount = bank_text.amounts(table["amount"], "yuan", "金额")
    if pc.any(pc.not_equal(amount, sent["amount_fen"].combine_chunks().take(at))).as_py():
        wrong.append("有金额与发出的不一致")
    status = table["status"].combine_chunks()
    if not pc.all(pc.is_in(status, pa.array(list(PAYMENT_VERDICTS)))).as_py():
        wrong.append("有不认识的状态")
    good = pc.equal(status, "0")
    day = bank_text.days(table["host_date"])
    plausible = pc.fill_null(
        pc.and_(
            pc.less_equal(day, pa.scalar(latest, pa.date32())),
            pc.less_equal(pc.subtract(sent["settlement_on"].combine_chunks().take(at).cast(pa.int32()), day.cast(pa.int32())), 1),
        ),
        False,
    )
    if pc.any(pc.and_(good, pc.or_(pc.invert(plausible), pc.equal(table["host_serial"].combine_chunks(), "")))).as_py():
        wrong.append("有成功的笔缺主机日期或流水号，或主机日期不可能")
    if wrong:
        raise Refused("STATUS-MISMATCH", *wrong)
    verdict = pc.if_else(good, "confirmed", pc.if_else(pc.equal(status, "1"), "failed", "pending"))
    verdicts = pa.table(
        {
            "payment_no": numbers,
            "verdict": verdict,
            "day": pc.if_else(plausible, day, pa.scalar(None, pa.date32())),
            "host_serial": table["host_serial"],
            "code": table["code"],
            "text": table["text"],
        },
        schema=VERDICTS,
    )
    chart = policy.settlement_on(run.business_date).accounts
    applied = outcome.apply(conn, run, chart, verdicts, bank_file_no=bank_file_no)
    unpaid = pc.unique(sent["batch_no"].combine_chunks().take(at).filter(pc.equal(verdict, "failed")))
    return Answered(applied, None, tuple(sorted(unpaid.to_pylist())), {"rows": table.num_rows, "changed": applied.total})
