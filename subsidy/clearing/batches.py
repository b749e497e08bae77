"""A batch as it is stored, the bytes of its files, and the hash of everything a settlement sends.

The bytes of a file follow from stored rows, the centre's outbound profile and its paying account alone; so whoever builds, approves,
publishes or checks a batch gets the same bytes, or finds out that they changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import payment_file
from subsidy.clearing.payment_file import PAYMENTS
from subsidy.clearing.profiles import Layout, Outbound, fill
from subsidy.errors import TerminalError
from subsidy.ledger import tables
from subsidy.ledger.database import read_arrow
from subsidy.money.amounts import format_yuan
from subsidy.policy.model import Account, CentrePolicy, SettlementTerms


@dataclass(frozen=True, slots=True)
class Batch:
    """One row of table `batch` with the settlement day of its period. `direction`: out, in or net; amounts in fen."""

    batch_no: int
    period: str
    settlement_on: date
    direction: str
    bank_code: str
    route: str
    profile: str
    send_no: str
    file_name: str
    sha256: str
    payment_count: int
    amount_fen: int
    bank_batch_no: str = ""

    @property
    def leaves(self) -> bool:
        """True when the batch has a file for a bank; a netting batch has none."""
        return self.direction != "net"


def terms_of(policy: CentrePolicy, settlement_on: date) -> SettlementTerms:
    """The settlement terms whose nominal day was rolled to `settlement_on`; failing that, those in force on that day."""
    best: tuple[int, SettlementTerms] | None = None
    for terms in policy.settlement:
        for shift in (-1, 0, 1):
            month = settlement_on.year * 12 + settlement_on.month - 1 + shift
            try:
                nominal = date(month // 12, month % 12 + 1, terms.day)
            except ValueError:
                continue
            if nominal < terms.effective_from or (terms.effective_to is not None and nominal >= terms.effective_to):
                continue
            rolled = (settlement_on - nominal).days if terms.roll == "next" else (nominal - settlement_on).days
            if 0 <= rolled <= 15 and (best is None or rolled < best[0]):
                best = (rolled, terms)
    return best[1] if best is not None else policy.settlement_on(settlement_on)


def load_batches(conn: Connection, centre: str, period: str) -> list[Batch]:
    """The batches of a period in the order of their numbers."""
    b, s = tables.batch, tables.settlement
    query = (
        sa.select(*(b.c[name] for name in BATCH_COLUMNS), s.c.settlement_on)
        .join(s, sa.and_(s.c.centre == b.c.centre, s.c.period == b.c.period))
        .where(b.c.centre == centre, b.c.period == period)
        .order_by(b.c.batch_no)
    )
    return [Batch(**row) for row in conn.execute(query).mappings()]


#: Columns of table `batch` that a `Batch` holds.
BATCH_COLUMNS = (
    "batch_no", "period", "direction", "bank_code", "route", "profile", "send_no", "file_name", "sha256", "payment_count", "amount_fen",
    "bank_batch_no",
)  # fmt: skip


def load_payments(conn: Connection, centre: str, batch_no: int) -> pa.Table:
    """The payments of a batch as `PAYMENTS`, by ordinal."""
    p = tables.payment
    query = (
        sa.select(p.c.ordinal, p.c.amount_fen, p.c.payee_account, p.c.payee_name, p.c.payee_bank_no, p.c.payment_no)
        .where(p.c.centre == centre, p.c.batch_no == batch_no)
        .order_by(p.c.ordinal)
    )
    return read_arrow(conn, query, PAYMENTS)


def values_of(batch: Batch, policy: CentrePolicy, layout: Layout) -> dict[str, str]:
    """What the templates of the batch's files may name. The day number of a name is read back from the stored name."""
    values = payment_file.template_values(
        unit_no=policy.code,
        send_no=batch.send_no,
        settlement_on=f"{batch.settlement_on:%Y%m%d}",
        period=batch.period,
        count=batch.payment_count,
        total_fen=batch.amount_fen,
        layout=layout,
    )
    account = terms_of(policy, batch.settlement_on).paying_account
    return values | {
        "account_no": account.number,
        "account_name": account.name,
        "account_class": account.account_class,
        "file_type": layout.route(batch.route).file_type,
        "file_name": batch.file_name,
    }


def data_bytes(batch: Batch, payments: pa.Table, policy: CentrePolicy, layout: Layout) -> Iterator[bytes | memoryview]:
    """The bytes of the batch's data file, in pieces."""
    return payment_file.render(payments, layout, batch.route, values_of(batch, policy, layout))


def message(batch: Batch, policy: CentrePolicy, layout: Layout) -> tuple[str, bytes] | None:
    """Name and bytes of the message body that goes with the data file; None when the layout has none."""
    if layout.message is None:
        return None
    values = values_of(batch, policy, layout) | {"sha256": batch.sha256}
    lines = [f"{name}={fill(template, values)}\n" for name, template in layout.message.fields]
    return fill(layout.message.file_name, values), "".join(lines).encode(layout.message.encoding)


def funds_notice(batch: Batch, policy: CentrePolicy, outbound: Outbound) -> tuple[str, bytes]:
    """Name and bytes of the notice of funds to call (请款通知) of a payment batch."""
    account: Account = terms_of(policy, batch.settlement_on).paying_account
    route = {"own": "同行", "other": "跨行"}.get(batch.route, "不分行")
    text = (
        "贴息资金请款通知\n"
        f"中心：{policy.name}（{policy.code}）\n期间：{batch.period}\n清算日：{batch.settlement_on:%Y-%m-%d}\n"
        f"批次：{batch.batch_no}（发送流水号 {batch.send_no}，{route}）\n付款文件：{batch.file_name}\n"
        f"付款账户：{account.name}，{mask_account(account.number)}，付款行代码 {account.bank_code}\n"
        f"笔数：{batch.payment_count}\n金额：{format_yuan(batch.amount_fen)} 元\n请在清算日前将上述资金调入付款账户。\n"
    )
    return fill(outbound.funds_notice, {"unit_no": policy.code, "send_no": batch.send_no}), text.encode()


def mask_account(number: str) -> str:
    """An account number with its first six and last four characters only."""
    return number if len(number) <= 4 else f"{number[:6]}****{number[-4:]}" if len(number) > 10 else f"****{number[-4:]}"


def mask_name(name: str) -> str:
    """A name with its first character only."""
    return name[:1] + "**" if name else ""


def recovery_notice(conn: Connection, batch: Batch, policy: CentrePolicy, outbound: Outbound) -> tuple[str, bytes]:
    """Name and bytes of the notice that goes with a collection: per payment the agreements and amounts, names and accounts masked."""
    p, i = tables.payment, tables.payment_item
    query = (
        sa.select(
            p.c.ordinal, p.c.payment_no, p.c.payee_account, p.c.payee_name, i.c.agreement_no, sa.func.sum(-i.c.amount_fen).label("fen")
        )
        .join(i, sa.and_(i.c.centre == p.c.centre, i.c.payment_no == p.c.payment_no))
        .where(p.c.centre == policy.centre, p.c.batch_no == batch.batch_no)
        .group_by(p.c.ordinal, p.c.payment_no, p.c.payee_account, p.c.payee_name, i.c.agreement_no)
        .order_by(p.c.ordinal, i.c.agreement_no)
    )
    lines = [
        "贴息追回通知",
        f"中心：{policy.name}（{policy.code}）",
        f"期间：{batch.period}，收款日：{batch.settlement_on:%Y-%m-%d}，批次：{batch.batch_no}（发送流水号 {batch.send_no}）",
        f"笔数：{batch.payment_count}，金额：{format_yuan(batch.amount_fen)} 元",
        "序号 | 业务流水号 | 协议编号 | 付款人 | 付款账号 | 金额（元）",
    ]
    for row in conn.execute(query):
        lines.append(
            f"{row.ordinal} | {row.payment_no} | {row.agreement_no} | {mask_name(row.payee_name)} | {mask_account(row.payee_account)} | "
            f"{format_yuan(int(row.fen))}"
        )
    lines.append("如有异议，请在收款日前与中心联系。")
    return fill(outbound.recovery_notice, {"unit_no": policy.code, "send_no": batch.send_no}), ("\n".join(lines) + "\n").encode()


def digest(pieces: Iterator[bytes | memoryview]) -> tuple[str, int]:
    """SHA-256 (hex) and length of bytes that come in pieces."""
    total, size = hashlib.sha256(), 0
    for piece in pieces:
        total.update(piece)
        size += len(piece)
    return total.hexdigest(), size


def digest_rows(table: pa.Table) -> str:
    """SHA-256 of a table's rows as text, independent of how the table is cut into chunks."""
    total = hashlib.sha256()
    for start in range(0, table.num_rows, 65_536):
        part = table.slice(start, 65_536)
        columns = [pc.fill_null(part[name].combine_chunks().cast(pa.string()), "") for name in table.column_names]
        text = pc.binary_join_element_wise(*columns, "\x1f")
        total.update("\n".join(text.to_pylist()).encode() + b"\n")
    return total.hexdigest()


ITEM_KEY = pa.schema(
    [
        ("payment_no", pa.string()),
        ("agreement_no", pa.string()),
        ("account_no", pa.string()),
        ("serial_no", pa.string()),
        ("amount_fen", pa.int64()),
    ]
)


def load_items(conn: Connection, centre: str, batch_no: int) -> pa.Table:
    """The items of a batch's payments as `ITEM_KEY`, in a fixed order on every database."""
    p, i = tables.payment, tables.payment_item
    query = (
        sa.select(i.c.payment_no, i.c.agreement_no, i.c.account_no, i.c.serial_no, i.c.amount_fen)
        .join(p, sa.and_(i.c.centre == p.c.centre, i.c.payment_no == p.c.payment_no))
        .where(p.c.centre == centre, p.c.batch_no == batch_no)
    )
    return in_order(read_arrow(conn, query, ITEM_KEY))


def in_order(items: pa.Table) -> pa.Table:
    """Items sorted by their key, as characters compare by code point."""
    return items.take(pc.sort_indices(items, [(name, "ascending") for name in ("payment_no", "agreement_no", "account_no", "serial_no")]))


def content_hash(policy: CentrePolicy, period: str, settlement_on: date, parts: Sequence[tuple[Batch, str, str]]) -> str:
    """Hash of everything a settlement sends: `parts` are batches with the digest of their message body ("" without) and of their items."""
    total = hashlib.sha256(f"{policy.centre}|{policy.code}|{period}|{settlement_on.isoformat()}\n".encode())
    for batch, message_digest, item_digest in parts:
        total.update(
            f"{batch.batch_no}|{batch.direction}|{batch.route}|{batch.bank_code}|{batch.profile}|{batch.send_no}|{batch.file_name}|{batch.sha256}|"
            f"{batch.payment_count}|{batch.amount_fen}|{message_digest}|{item_digest}\n".encode()
        )
    return total.hexdigest()


def stored_content_hash(conn: Connection, policy: CentrePolicy, outbound: Outbound, period: str) -> tuple[str, dict[int, int]]:
    """The content hash computed again from the database: payments and items as they are stored now, files as they would be written now; and
    the size of each data file in bytes by batch number.

    TerminalError ``PUBLISH-CHANGED`` when a file would no longer have the bytes that the batch recorded.
    """
    batches = load_batches(conn, policy.centre, period)
    parts = []
    sizes: dict[int, int] = {}
    for batch in batches:
        body = None
        if batch.leaves:
            layout = outbound.layout(batch.profile)
            sha256, sizes[batch.batch_no] = digest(data_bytes(batch, load_payments(conn, policy.centre, batch.batch_no), policy, layout))
            if sha256 != batch.sha256:
                raise changed(policy, period)
            body = message(batch, policy, layout)
        parts.append(
            (batch, hashlib.sha256(body[1]).hexdigest() if body else "", digest_rows(load_items(conn, policy.centre, batch.batch_no)))
        )
    return (content_hash(policy, period, batches[0].settlement_on, parts) if batches else ""), sizes


def changed(policy: CentrePolicy, period: str) -> TerminalError:
    """What was approved is not what would be sent."""
    return TerminalError(
        "PUBLISH-CHANGED",
        f"{policy.short_name} {period} 期：现在生成的付款内容与批次建立时不一致（付款格式、付款账户或账簿记录被改动）。",
        "没有发布任何文件；原批次仍在。",
        "恢复批次建立时的 outbound.yaml 和付款账户后重试；若确需更改，先驳回本批次，款项转入下一次清算。",
    )
