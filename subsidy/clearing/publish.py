"""Publishing an approved settlement: intent in the database, the files, the fact that they were sent (handbook section 7, step 3).

A crash anywhere and a rerun end in the same ledger and the same bytes. A file that left and is no longer in the outbox was taken by the
bank's machine; it is never written again by itself, the bank is asked instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from itertools import takewhile
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import approval, events, outbox, query, read_back
from subsidy.clearing.batches import (
    Batch,
    changed,
    data_bytes,
    funds_notice,
    load_batches,
    load_payments,
    message,
    recovery_notice,
    stored_content_hash,
    terms_of,
    values_of,
)
from subsidy.clearing.profiles import Layout, Outbound, fill, load, pattern
from subsidy.clearing.status import NEVER_CAME
from subsidy.errors import TerminalError
from subsidy.facts import memory
from subsidy.facts.store import Store
from subsidy.ledger import lease, postings, restore, tables, verify
from subsidy.ledger.database import Database
from subsidy.ledger.journal import RunRef
from subsidy.policy import load_centre
from subsidy.policy.model import CentrePolicy
from subsidy.settings import Settings

#: Code of the event that says that a file left before the books were finished.
TAKEN = "TAKEN"
#: Code of the event that says that a batch's files were put into the outbox again.
AGAIN = "AGAIN"


@dataclass(slots=True)
class Published:
    """What publishing did. `taken`: files that had left the outbox before the books were finished; the bank is asked about them."""

    period: str
    state: str
    files: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    payments: int = 0
    amount_fen: int = 0

    def counts(self) -> dict[str, Any]:
        """Counts and file names only."""
        return {
            "period": self.period, "state": self.state, "files": self.files, "taken": self.taken, "payments": self.payments,
            "amount_fen": self.amount_fen,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    kind: str
    batch: Batch
    sha256: str
    size: int
    pieces: Callable[[], Iterable[bytes | memoryview]]
    check: Callable[[Path], None]


def publish(
    db: Database, token: int, settings: Settings, policy: CentrePolicy, period: str, run_no: int, *, outbound: Outbound | None = None
) -> Published:
    """Publish the settlement of `period` under the centre's lease (`token`); publishing it again changes nothing.

    Refused (TerminalError) when the settlement is not approved (``PUBLISH-NOT-APPROVED``), its content is not what was approved
    (``PUBLISH-CHANGED``), publication is locked after a restore (``PUBLISH-LOCKED``) or the centre's ledger is broken (``PUBLISH-BROKEN``).
    After a restore, a batch that was matched as sent or asked about is not written again: its payments are open and the bank is asked.
    Events are dated with the open business date of the first attempt, the settlement day at the earliest.
    """
    outbound = outbound or load(settings.rules, policy.centre)
    store = Store(settings.store_url)
    folder = settings.outbox(policy.centre)
    with db.transaction(policy.centre, token) as conn:
        state = _state(conn, policy, period)
        result = Published(period, state["state"])
        published = state["state"] == "published"
        if not published:
            sizes = _refuse(db, conn, policy, outbound, state)
            memory.give_back()
        batches = load_batches(conn, policy.centre, period)
        if not published:
            files = [f for batch in batches if batch.leaves for f in _files(db, conn, policy, outbound, batch, sizes[batch.batch_no])]
            sent_on = _intend(conn, policy, state, files, run_no)
            left = {batch.batch_no for batch in batches if restore.left_the_house(conn, policy.centre, batch.batch_no)}
    if published:
        _ask(db, token, settings, policy, outbound, batches, run_no)
        with db.read() as conn:
            return _summary(conn, policy, result)
    outbox.room_for(folder, sum(file.size for file in files if not (folder / file.name).exists()))
    taken: set[int] = set()
    for file in files:
        outcome = outbox.release(
            folder / file.name,
            file.pieces,
            file.sha256,
            store,
            check=file.check,
            before_leaving=lambda: lease.refuse_if_lost(db, policy.centre, token),
            left=file.batch.batch_no in left,
        )
        if outcome == "taken":
            result.taken.append(file.name)
            taken.add(file.batch.batch_no)
        memory.give_back()
    with db.transaction(policy.centre, token) as conn:
        _finish(conn, policy, batches, period, sent_on, run_no, taken)
        result.state = "published"
        _summary(conn, policy, result)
    _ask(db, token, settings, policy, outbound, batches, run_no)
    return result


def _ask(db: Database, token: int, settings: Settings, policy: CentrePolicy, outbound: Outbound, batches: list[Batch], run_no: int) -> None:
    """Ask the bank about batches whose file had left before the books were finished; once."""
    e, p, f = tables.payment_event, tables.payment, tables.published_file
    numbers = [batch.batch_no for batch in batches]
    with db.read() as conn:
        rows = conn.execute(
            sa.select(p.c.batch_no, sa.func.max(e.c.event_on))
            .join(p, sa.and_(p.c.centre == e.c.centre, p.c.payment_no == e.c.payment_no))
            .where(e.c.centre == policy.centre, e.c.code == TAKEN, p.c.batch_no.in_(numbers))
            .group_by(p.c.batch_no)
        ).all()
        asked = set(
            conn.execute(
                sa.select(f.c.batch_no).where(f.c.centre == policy.centre, f.c.kind == "query", f.c.state == "published")
            ).scalars()
        )
    for batch_no, day in rows:
        if batch_no not in asked:
            query.write(db, token, settings, policy, business_date=day, run_no=run_no, batch_nos=[batch_no], outbound=outbound)


def republish(
    db: Database, token: int, settings: Settings, policy: CentrePolicy, batch_no: int, *, outbound: Outbound | None = None
) -> str:
    """Put the same bytes of a batch's files into the outbox again; returns the file's name.

    Allowed only when the bank's latest word on the batch is that it never received it (BDC107 status 9), nothing else was heard of it, and
    that word must be an answer to a question asked since the batch was published (again): once per such answer, which says nothing of
    what left after the question. TerminalError ``REPUBLISH-UNKNOWN`` when there is no such batch, ``REPUBLISH-REFUSED`` otherwise, and
    ``REPUBLISH-RESTORED`` when the ledger was restored since the batch was built: it may have been republished after the backup, and
    answers read again do not say which file they speak of. Then the bank must answer that the batch failed; its payments come again under
    new numbers.
    """
    outbound = outbound or load(settings.rules, policy.centre)
    store, folder = Store(settings.store_url), settings.outbox(policy.centre)
    with db.read() as conn:
        b = tables.batch
        period = conn.execute(sa.select(b.c.period).where(b.c.centre == policy.centre, b.c.batch_no == batch_no)).scalar_one_or_none()
        if period is None:
            raise TerminalError(
                "REPUBLISH-UNKNOWN",
                f"{policy.short_name} 没有批次 {batch_no}。",
                "没有写文件，不会重复付款。",
                "用 subsidy settlement show 查看批次号。",
            )
        found = [batch for batch in load_batches(conn, policy.centre, str(period)) if batch.batch_no == batch_no and batch.leaves]
        before = _repeated(conn, policy.centre, batch_no)
        answer_no = _never_received(conn, policy.centre, found[0], before) if found else 0
        if not answer_no:
            raise _not_again(batch_no)
        refuse_locked(conn, policy)
        if restore.older_than_a_restore(conn, policy.centre, batch_no):
            raise TerminalError(
                "REPUBLISH-RESTORED",
                f"批次 {batch_no} 不能重新发布：账簿曾从备份恢复，不知道出事前是否已经重新发布过。",
                "没有写文件，不会重复付款。",
                "向银行查明；确实没有收到的，请银行答复整批失败（BDC107 TxStatus=3），款项以新编号转入下一次清算。",
            )
        files = _files(db, conn, policy, outbound, found[0], 0)
        begun = before == answer_no
    absent = [file for file in files if not (folder / file.name).exists()]
    if not begun:
        for file in absent:
            with store.open(Store.raw_path(file.sha256)) as handle:
                outbox.lay_beside(folder / file.name, handle.read())
        with db.transaction(policy.centre, token) as conn:
            _record_again(conn, policy, found[0], answer_no)
        for file in absent:
            lease.refuse_if_lost(db, policy.centre, token)
            outbox.show(folder / file.name)
    elif found[0].file_name in {file.name for file in absent}:
        raise _not_again(batch_no)
    return found[0].file_name


def _not_again(batch_no: int) -> TerminalError:
    return TerminalError(
        "REPUBLISH-REFUSED",
        f"批次 {batch_no} 不能重新发布：银行没有答复“未收到该批次”，已有该批次的结果，按这一答复已经重新发布过一次，"
        "最近一次查询还没有答复，或这一答复可能是对上次发布之前的查询的答复。",
        "没有写文件，不会重复付款。",
        "发出 BDC107 / BDC110 查询，等银行答复；上次发布之前的查询还有没答复的，次日再查询一次。",
    )


def _never_received(conn: Connection, centre: str, batch: Batch, before: int) -> int:
    """The number of the bank's answer that it never received the batch as it was published last; 0 when that is not its latest word.

    `before`: the answer on which it was published again last. An answer names the batch, not the question. So there must be a question
    since, none that is younger than the answer, and more such answers since than questions from before it that are still unanswered.
    """
    if set(events.batch_states(conn, centre, batch.batch_no).values()) - set(events.UNANSWERED):
        return 0
    told = query.told(conn, centre, batch.batch_no)
    if not told or told[-1].status != NEVER_CAME:
        return 0
    last = told[-1]
    if last.bank_file_no == before:
        return before
    asked_before = next((t.asked for t in told if t.bank_file_no == before), 0)
    owed = max(asked_before - sum(t.status == NEVER_CAME for t in told if t.bank_file_no <= before), 0)
    since = sum(1 for _ in takewhile(lambda t: t.status == NEVER_CAME and t.bank_file_no > before, reversed(told)))
    answered = last.asked == query.asked(conn, centre, batch.batch_no) > asked_before and since > owed
    return last.bank_file_no if answered else 0


def _repeated(conn: Connection, centre: str, batch_no: int) -> int:
    """The answer on which the batch was published again last; 0 when it never was."""
    e, p = tables.payment_event, tables.payment
    last = (
        sa.select(sa.func.max(e.c.bank_file_no))
        .join(p, sa.and_(p.c.centre == e.c.centre, p.c.payment_no == e.c.payment_no))
        .where(e.c.centre == centre, e.c.code == AGAIN, p.c.batch_no == batch_no)
    )
    return int(conn.execute(last).scalar_one() or 0)


def _record_again(conn: Connection, policy: CentrePolicy, batch: Batch, answer_no: int) -> None:
    s, c = tables.settlement, tables.centre_state
    run_no = conn.execute(sa.select(s.c.run_no).where(s.c.centre == policy.centre, s.c.period == batch.period)).scalar_one()
    opened = conn.execute(sa.select(c.c.open_business_date).where(c.c.centre == policy.centre)).scalar_one()
    numbers = sorted(events.batch_states(conn, policy.centre, batch.batch_no))
    events.append(
        conn, policy.centre, numbers, "open", max(opened, batch.settlement_on), run_no=run_no, code=AGAIN,
        text="银行称没有收到，原样重新发布", bank_file_no=answer_no,
    )  # fmt: skip


def _state(conn: Connection, policy: CentrePolicy, period: str) -> dict[Any, Any]:
    s = tables.settlement
    row = conn.execute(
        sa.select(s).where(s.c.centre == policy.centre, s.c.period == period).with_for_update()
    ).mappings().one_or_none()  # fmt: skip
    if row is None:
        raise TerminalError(
            "PUBLISH-NONE", f"{policy.short_name} 没有 {period} 期的清算批次。", "没有发布任何文件。", "先运行该期的夜间处理。"
        )
    return dict(row)


def refuse_locked(conn: Connection, policy: CentrePolicy) -> None:
    """TerminalError ``PUBLISH-LOCKED`` while publication is locked after a restore."""
    c = tables.centre_state
    locked = conn.execute(sa.select(c.c.publication_locked).where(c.c.centre == policy.centre)).scalar_one_or_none()
    if locked:
        raise TerminalError(
            "PUBLISH-LOCKED",
            f"{policy.short_name} 的发布已锁定：{locked}",
            "没有发布任何文件。",
            "逐一核对备份时没有发布的和备份之后的批次号（待发归档、回盘、对账单或查询），由负责人解除锁定后重试。",
        )


def _refuse(db: Database, conn: Connection, policy: CentrePolicy, outbound: Outbound, row: dict[Any, Any]) -> dict[int, int]:
    """Raise unless the settlement may be published; the size of each batch's data file. The ledger is proved as it was before this
    transaction, which has written nothing yet, while the files are computed again."""
    period = row["period"]
    refuse_locked(conn, policy)
    if row["state"] not in ("approved", "publishing"):
        raise TerminalError(
            "PUBLISH-NOT-APPROVED",
            f"{policy.short_name} {period} 期批次的状态是 {row['state']}，没有获准发布。",
            "没有发布任何文件。",
            "由有审批权限、且没有参与本批次的人审批后再发布。",
        )
    approvals = approval.approvers(conn, policy.centre, period, row["content_hash"])
    # What has begun to leave is finished on the approvals it began with: half a settlement at the bank is worse.
    if row["state"] == "approved" and len(approvals) < row["approvals_needed"]:
        raise TerminalError(
            "PUBLISH-NOT-APPROVED",
            f"{policy.short_name} {period} 期批次需要 {row['approvals_needed']} 人批准，有效的批准只有 {len(approvals)} 人。",
            "没有发布任何文件。",
            "参与过本批次的人的批准不算数；由其他人补批后再发布。",
        )
    if events.given_back(conn, policy.centre, period):
        raise TerminalError(
            "PUBLISH-RELEASED",
            f"{policy.short_name} {period} 期批次的款项已退回待付，由后面的清算支付。",
            "没有发布任何文件，不会重复付款。",
            "不要再发布本期；到后面一期的批次中查看这些款项。",
        )
    with ThreadPoolExecutor(1) as beside:
        proof = beside.submit(verify.verify, db, policy.centre, run_no=row["run_no"])
        content_hash, sizes = stored_content_hash(conn, policy, outbound, period)
        if content_hash != row["content_hash"]:
            raise changed(policy, period)
        broken = proof.result()
    broken += verify.verify_audit(conn, verify.ROLLING_ACTS, row["settlement_on"].toordinal())
    if broken:
        raise TerminalError(
            "PUBLISH-BROKEN",
            f"{policy.short_name} 的账簿核验不通过 {len(broken)} 项，第一项：[{broken[0].code}] {broken[0].what}",
            "没有发布任何文件。",
            broken[0].todo,
        )
    return sizes


def _files(db: Database, conn: Connection, policy: CentrePolicy, outbound: Outbound, batch: Batch, size: int) -> list[_File]:
    """The files of a batch in the order in which they appear: notice, data, message body. `size`: bytes of the data file."""
    layout = outbound.layout(batch.profile)
    if batch.direction == "out":
        kind, notice = "payment", funds_notice(batch, policy, outbound)
    else:
        kind, notice = "recovery", recovery_notice(conn, batch, policy, outbound)
    files = [_plain(notice, "notice", batch)]

    def data() -> Iterable[bytes | memoryview]:
        with db.read() as reading:
            payments = load_payments(reading, policy.centre, batch.batch_no)
        return data_bytes(batch, payments, policy, layout)

    def check(path: Path) -> None:
        with db.read() as reading:
            _check(path, load_payments(reading, policy.centre, batch.batch_no), batch, policy, layout)

    files.append(_File(batch.file_name, kind, batch, batch.sha256, size, data, check))
    body = message(batch, policy, layout)
    if body is not None:
        files.append(_plain(body, "message", batch))
    return files


def _plain(named: tuple[str, bytes], kind: str, batch: Batch) -> _File:
    name, data = named
    sha256 = hashlib.sha256(data).hexdigest()

    def check(path: Path) -> None:
        if outbox.file_digest(path) != sha256:
            raise _unreadable(name, ("内容与写出的不一致",))

    return _File(name, kind, batch, sha256, len(data), lambda: [data], check)


def _check(path: Path, payments: Any, batch: Batch, policy: CentrePolicy, layout: Layout) -> None:
    values = values_of(batch, policy, layout)
    found = read_back.compare(
        path,
        payments,
        layout,
        batch.route,
        header=fill(layout.header, values),
        trailer=fill(layout.trailer, values),
        summary=values["summary"],
    )
    differences = found.differences
    if (found.count, found.total_fen) != (batch.payment_count, batch.amount_fen):
        differences = (*differences, "笔数或金额与批次不一致")
    if differences:
        raise _unreadable(batch.file_name, differences)


def _unreadable(name: str, differences: tuple[str, ...]) -> TerminalError:
    return TerminalError(
        "PUBLISH-READBACK",
        f"文件 {name} 读回后与账簿不一致：{'；'.join(differences)}。",
        "文件没有发布，银行看不到它。",
        "把此信息和批次编号交给维护人员；不要手工改文件。",
    )


def _intend(conn: Connection, policy: CentrePolicy, row: dict[Any, Any], files: list[_File], run_no: int) -> date:
    """Record what is about to leave, and the day it leaves on; a rerun finds the day of the first attempt."""
    f, s, c = tables.published_file, tables.settlement, tables.centre_state
    opened = conn.execute(sa.select(c.c.open_business_date).where(c.c.centre == policy.centre)).scalar_one_or_none()
    sent_on: date = max(row["settlement_on"], opened) if opened else row["settlement_on"]
    for file in files:
        path = path_of(policy.centre, file.name)
        known = conn.execute(sa.select(f.c.sha256, f.c.business_date).where(f.c.centre == policy.centre, f.c.path == path)).one_or_none()
        if known is not None:
            if known.sha256 != file.sha256:
                raise changed(policy, row["period"])
            sent_on = known.business_date
            continue
        conn.execute(
            sa.insert(f).values(
                centre=policy.centre,
                path=path,
                kind=file.kind,
                sha256=file.sha256,
                bytes=file.size,
                business_date=sent_on,
                run_no=run_no,
                batch_no=file.batch.batch_no,
                state="intent",
            )
        )
    if row["state"] == "approved":
        conn.execute(sa.update(s).where(s.c.centre == policy.centre, s.c.period == row["period"]).values(state="publishing"))
    return sent_on


def unknown_files(conn: Connection, settings: Settings, centre: str) -> list[str]:
    """Names of files in the centre's outbox that look like payment files and that no batch has: what a restored ledger does not know."""
    folder, b = settings.outbox(centre), tables.batch
    if not folder.is_dir():
        return []
    outbound, code = load(settings.rules, centre), load_centre(settings.rules, centre).code
    shapes = [pattern(route.file_name, {"unit_no": code}) for layout in outbound.layouts.values() for route in layout.routes]
    known = set(conn.execute(sa.select(b.c.file_name).where(b.c.centre == centre)).scalars())
    return sorted(path.name for path in folder.iterdir() if path.name not in known and any(shape.fullmatch(path.name) for shape in shapes))


def path_of(centre: str, name: str) -> str:
    """Path of an outbox file relative to the home folder."""
    return f"outbox/{centre}/{name}"


def _finish(
    conn: Connection, policy: CentrePolicy, batches: list[Batch], period: str, sent_on: date, run_no: int, taken: set[int]
) -> None:
    """Close the books. `taken`: batches of which a file, whichever, had left and is no longer there."""
    f, s = tables.published_file, tables.settlement
    numbers = [batch.batch_no for batch in batches]
    conn.execute(
        sa.update(f)
        .where(f.c.centre == policy.centre, f.c.batch_no.in_(numbers), f.c.state == "intent", f.c.kind != "query")
        .values(state="published")
    )
    for batch in batches:
        waiting = events.of_batch_in(conn, policy.centre, batch.batch_no, "reserved")
        if batch.leaves:
            events.append(conn, policy.centre, waiting, "sent", sent_on, run_no=run_no)
            if batch.batch_no in taken:
                events.append(conn, policy.centre, waiting, "open", sent_on, run_no=run_no, code=TAKEN, text="文件已被取走，向银行查询")
        elif len(waiting):
            events.append(conn, policy.centre, waiting, "confirmed", sent_on, run_no=run_no, text="抵扣")
            terms = terms_of(policy, batch.settlement_on)
            postings.book_net(conn, RunRef(policy.centre, run_no, sent_on, policy.version), terms.accounts, waiting.to_pylist(), sent_on)
    conn.execute(sa.update(s).where(s.c.centre == policy.centre, s.c.period == period).values(state="published"))


def _summary(conn: Connection, policy: CentrePolicy, result: Published) -> Published:
    f = tables.published_file
    batches = load_batches(conn, policy.centre, result.period)
    result.files = list(
        conn.execute(
            sa.select(f.c.path)
            .where(f.c.centre == policy.centre, f.c.batch_no.in_([b.batch_no for b in batches]), f.c.kind != "query")
            .order_by(f.c.path)
        ).scalars()
    )
    result.payments = sum(batch.payment_count for batch in batches if batch.leaves)
    result.amount_fen = sum(batch.amount_fen for batch in batches if batch.direction == "out")
    return result
