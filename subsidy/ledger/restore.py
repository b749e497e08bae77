"""After a loss: load a backup into an empty database, lock publication, and let it go only when nothing can be sent twice.

What left the house after the backup is unknown to the restored ledger: batches built since, and batches that the backup holds but had not
published. Nights are replayed from the raw files and take the same numbers; until each such batch is matched with what became of it, and a
person has released the centre, nothing is published.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from alembic import command
from sqlalchemy.engine import Connection

from subsidy.errors import TerminalError
from subsidy.ledger import audit, chain, migrate, tables
from subsidy.ledger.backup import FORMAT, MANIFEST, Backup, centres, store_objects, summary
from subsidy.ledger.bulk import bulk_insert
from subsidy.ledger.database import Database, next_numbers

#: Added to the tokens of leases, so that a process that survived from after the backup never holds a valid one.
TOKEN_GAP = 1_000_000
#: How a pending batch number may be matched. `unused`: it never leaves the house (netting), or the bank never received it.
HOW = ("outbox", "result", "statement", "asked", "unused")
#: Matches after which the batch must not be written again: it left, or it may have left and the bank is being asked.
LEFT = ("outbox", "result", "statement", "asked")
#: What is on record of a batch that was used, for people.
RECORDS = {"outbox": "待发目录或存档中有它的文件", "result": "已读入银行回盘", "statement": "账户明细上有流水", "asked": "已有查询或答复"}
_BEFORE_ALL = date(1900, 1, 1)


def restore(db: Database, store_url: str, folder: Path, *, person: str, at: str, known_centres: Iterable[str] = ()) -> Backup:
    """Load the backup in `folder` into the empty database `db` and lock the publication of every centre, also of `known_centres` that it
    does not know. All or nothing. `at`: wall clock time in ISO 8601.

    TerminalError ``RESTORE-…``: the backup is not whole, is newer than this code, the database is not empty, or the store lacks or has
    changed an object that the backup lists."""
    manifest = _manifest(folder)
    _check_store(store_url, manifest["store"])
    with db.raw() as conn:
        found = migrate.revision_of(conn)
        if found is not None and (found != manifest["revision"] or _holds_rows(conn)):
            raise TerminalError(
                "RESTORE-NOT-EMPTY", "要恢复到的数据库不是空的。", "没有改动任何数据。", "把旧数据库改名保存，用一个新的空数据库恢复。"
            )
        command.upgrade(migrate.configuration(conn), manifest["revision"])
        for name, about in manifest["tables"].items():
            _load(conn, tables.metadata.tables[name], folder / "tables" / f"{name}.parquet", about["digest"])
        command.upgrade(migrate.configuration(conn), "head")
        for centre, head in manifest["journal_heads"].items():
            if chain.journal_head(conn, centre) != head:
                raise _broken(f"{centre} 的凭证链头与备份清单不符")
        lease = tables.lease
        conn.execute(sa.update(lease).values(token=lease.c.token + TOKEN_GAP, holder="", since="", expires=0.0))
        audit.record(conn, "", person, "restore", f"backup:{manifest['content_hash'][:16]}", f"恢复 {manifest['made_at']} 的备份", at)
        for centre in sorted({*centres(conn), *known_centres}):
            _lock(conn, centre, manifest, person, at)
    return summary(folder, manifest)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise _broken("目录中没有备份清单")
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("format") != FORMAT or not migrate.knows(manifest["revision"]):
        raise TerminalError("RESTORE-NEWER", "备份由更新的程序版本写成。", "没有改动任何数据。", "用写备份时的程序版本或更新的版本恢复。")
    for name, about in manifest["tables"].items():
        file = folder / "tables" / f"{name}.parquet"
        if not file.is_file():
            raise _broken(f"缺少表 {name} 的文件")
        with file.open("rb") as handle:
            if hashlib.file_digest(handle, "sha256").hexdigest() != about["sha256"]:
                raise _broken(f"表 {name} 的文件与清单不符")
    return manifest


def _broken(what: str) -> TerminalError:
    return TerminalError("RESTORE-BROKEN", f"备份不完整：{what}。", "没有改动任何数据。", "换用另一份备份，或从副本重新取得这一份。")


def _check_store(store_url: str, listed: dict[str, int]) -> None:
    """Every object that the backup lists is there and, where its name is its digest, unchanged."""
    present = store_objects(store_url)
    filesystem, root = fsspec.core.url_to_fs(store_url)
    wrong = [path for path, size in listed.items() if present.get(path) != size]
    for path in listed.keys() - set(wrong):
        named = re.fullmatch(r"(?:.*/)?([0-9a-f]{64})(?:\.parquet)?", path)
        if named:
            with filesystem.open(f"{str(root).rstrip('/')}/{path}", "rb") as handle:
                if hashlib.file_digest(handle, "sha256").hexdigest() != named[1]:
                    wrong.append(path)
    if wrong:
        raise TerminalError(
            "RESTORE-STORE",
            f"存储中有 {len(wrong)} 个对象缺失或与备份清单不符，例如 {min(wrong)}。",
            "没有改动任何数据。",
            "先恢复存储（原始文件和数据段），再恢复账簿。",
        )


def _holds_rows(conn: Connection) -> bool:
    return any(conn.execute(sa.select(sa.exists().select_from(table))).scalar_one() for table in tables.metadata.sorted_tables)


def _load(conn: Connection, table: sa.Table, path: Path, digest: str) -> None:
    read = hashlib.sha256()
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            part = pa.Table.from_batches([batch])
            chain.feed(read, part)
            bulk_insert(conn, table, part)
    if read.hexdigest() != digest:
        raise _broken(f"表 {table.name} 的内容与清单不符")


def _lock(conn: Connection, centre: str, manifest: dict[str, Any], person: str, at: str) -> None:
    state, counter = tables.centre_state, tables.counter
    reason = f"{at} 由 {person} 从 {manifest['made_at']} 的备份恢复；备份时没有发布的和备份之后的批次号尚未逐一核对。"
    changed = conn.execute(sa.update(state).where(state.c.centre == centre).values(publication_locked=reason))
    if not changed.rowcount:
        conn.execute(sa.insert(state).values(centre=centre, open_business_date=_BEFORE_ALL, publication_locked=reason))
    where = (counter.c.centre == centre, counter.c.name == "batch")
    first = conn.execute(sa.select(counter.c.next_no).where(*where)).scalar_one_or_none() or 1
    conn.execute(
        sa.insert(tables.restoration).values(
            centre=centre, restoration_no=next_numbers(conn, centre, "restoration"), backup_hash=manifest["content_hash"],
            first_batch_no=first, person=person, at=at,
        )
    )  # fmt: skip


# --- letting publication go ------------------------------------------------------------------------------------------


def locked(conn: Connection, centre: str) -> str:
    """Why the centre's publication is locked; "" when it is not."""
    state = tables.centre_state
    return str(conn.execute(sa.select(state.c.publication_locked).where(state.c.centre == centre)).scalar_one_or_none() or "")


def pending(conn: Connection, centre: str) -> list[int]:
    """Numbers of batches that may have left after the backup and are not matched yet: those since the backup, and those for a bank that
    were not published in it and not given back. Empty when the centre is not locked by a restore."""
    last = _restoration(conn, centre)
    if last is None or not locked(conn, centre):
        return []
    b, m, s, p, e = tables.batch, tables.restoration_match, tables.settlement, tables.payment, tables.payment_event
    matched = sa.select(m.c.batch_no).where(m.c.centre == centre, m.c.restoration_no == last.restoration_no)
    # Nothing is published while the centre is locked: what is not published now was not in the backup.
    unpublished = sa.exists().where(s.c.centre == centre, s.c.period == b.c.period, s.c.state != "published")
    given_back = (
        sa.exists()
        .where(p.c.centre == centre, p.c.batch_no == b.c.batch_no)
        .where(e.c.centre == centre, e.c.payment_no == p.c.payment_no, e.c.state == "released")
    )
    unsent = sa.and_(b.c.direction != "net", unpublished, sa.not_(given_back))
    query = sa.select(b.c.batch_no).where(
        b.c.centre == centre, b.c.batch_no.not_in(matched), sa.or_(b.c.batch_no >= last.first_batch_no, unsent)
    )
    return list(conn.execute(query.order_by(b.c.batch_no)).scalars())


def match(
    conn: Connection, centre: str, batch_no: int, how: str, evidence: str, *, store_url: str, outbox: Path, person: str, at: str
) -> None:
    """Say what became of a pending batch number (`how` is one of `HOW`), and by what that is known.

    TerminalError ``RESTORE-MATCH`` when the number is not pending or nothing is said, ``RESTORE-USED`` when it is said to be unused and
    its file, an answer or a movement is on record: its money would be paid again."""
    last = _restoration(conn, centre)
    if last is None or batch_no not in pending(conn, centre) or how not in HOW or not evidence.strip():
        raise TerminalError(
            "RESTORE-MATCH",
            f"批次 {batch_no} 不能这样核对：它不在待核对之列，或没有写明依据。",
            "没有改动任何数据。",
            "查看待核对的批次号，写明依据（文件名、回盘、流水号或查询答复）。",
        )
    if how == "unused":
        b = tables.batch
        row = conn.execute(sa.select(b).where(b.c.centre == centre, b.c.batch_no == batch_no)).mappings().one()
        known = _fate(conn, centre, row, store_objects(store_url), outbox)
        if known and known[0] != "unused":
            raise TerminalError(
                "RESTORE-USED",
                f"批次 {batch_no} 不能记为未发送：{RECORDS[known[0]]} {known[1]}。",
                "没有改动任何数据；发布仍然锁定，不会重复付款。",
                f"运行 subsidy ledger pending，由系统按记录核对；银行确认没有收到的，核对为 {known[0]} 后照常发布、查询，按答复处理。",
            )
    _match(conn, last, batch_no, how, evidence, person, at)


def _match(conn: Connection, last: Any, batch_no: int, how: str, evidence: str, person: str, at: str) -> None:
    centre = last.centre
    conn.execute(
        sa.insert(tables.restoration_match).values(
            centre=centre, restoration_no=last.restoration_no, batch_no=batch_no, how=how, evidence=evidence, person=person, at=at
        )
    )
    audit.record(conn, centre, person, "restore_match", f"batch:{batch_no}", f"{how}：{evidence}", at)


def match_known(conn: Connection, centre: str, store_url: str, outbox: Path, *, person: str, at: str) -> dict[int, str]:
    """Match every pending batch whose fate is on record: its file in the outbox or archived in the store, a result or status answer of
    the bank, a movement on the statement, a query that went out; and nettings, which never leave. Returns batch number -> how."""
    b, archived = tables.batch, store_objects(store_url)
    found: dict[int, str] = {}
    for number in pending(conn, centre):
        row = conn.execute(sa.select(b).where(b.c.centre == centre, b.c.batch_no == number)).mappings().one()
        known = _fate(conn, centre, row, archived, outbox)
        if known:
            _match(conn, _restoration(conn, centre), number, known[0], known[1], person, at)
            found[number] = known[0]
    return found


def _fate(conn: Connection, centre: str, batch: Any, archived: dict[str, int], outbox: Path) -> tuple[str, str] | None:
    if batch["direction"] == "net":
        return "unused", "抵扣批次，不向银行发送"
    file, movement, published = tables.bank_file, tables.movement, tables.published_file
    number = batch["batch_no"]
    for kind, how in (("result", "result"), ("status", "asked")):
        query = sa.select(file.c.name).where(file.c.centre == centre, file.c.batch_no == number, file.c.kind == kind)
        name = conn.execute(query.order_by(file.c.bank_file_no).limit(1)).scalar_one_or_none()
        if name:
            return how, name
    p = tables.payment
    own = sa.select(p.c.payment_no).where(p.c.centre == centre, p.c.batch_no == number)
    query = sa.select(movement.c.host_serial).where(
        movement.c.centre == centre, sa.or_(movement.c.batch_no == number, movement.c.payment_no.in_(own))
    )
    serial = conn.execute(query.order_by(movement.c.movement_no).limit(1)).scalar_one_or_none()
    if serial:
        return "statement", serial
    if batch["sha256"] and (
        f"raw/{batch['sha256'][:2]}/{batch['sha256']}" in archived or _holds(outbox / batch["file_name"], batch["sha256"])
    ):
        return "outbox", batch["file_name"]
    query = sa.select(published.c.path).where(published.c.centre == centre, published.c.batch_no == number, published.c.kind == "query")
    path = conn.execute(query.order_by(published.c.path).limit(1)).scalar_one_or_none()
    return ("asked", path) if path else None


def _holds(path: Path, sha256: str) -> bool:
    """Whether the file is there with these very bytes; another file of the name proves nothing of the batch."""
    if not path.is_file():
        return False
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() == sha256


def left_the_house(conn: Connection, centre: str, batch_no: int) -> bool:
    """True when the batch was matched, after any restore, as sent before the loss or as asked about: it must not be written to the outbox
    again by itself."""
    m = tables.restoration_match
    query = sa.select(m.c.how).where(m.c.centre == centre, m.c.batch_no == batch_no).order_by(m.c.restoration_no.desc()).limit(1)
    return conn.execute(query).scalar_one_or_none() in LEFT


def period_left(conn: Connection, centre: str, period: str) -> bool:
    """True when a batch of the settlement was matched, after a restore, as sent or asked about: none of its lines may be paid elsewhere."""
    b = tables.batch
    numbers = conn.execute(sa.select(b.c.batch_no).where(b.c.centre == centre, b.c.period == period)).scalars()
    return any(left_the_house(conn, centre, number) for number in numbers.all())


def older_than_a_restore(conn: Connection, centre: str, batch_no: int) -> bool:
    """True when the ledger was restored since the batch was first built: how often it was written before the loss is unknown."""
    r, m = tables.restoration, tables.restoration_match
    stored = sa.exists().where(r.c.centre == centre, r.c.first_batch_no > batch_no)
    rebuilt = sa.exists().where(m.c.centre == centre, m.c.batch_no == batch_no)
    return bool(conn.execute(sa.select(sa.or_(stored, rebuilt))).scalar_one())


def release(
    conn: Connection,
    centre: str,
    *,
    person: str,
    reason: str,
    at: str,
    replayed_through: date,
    sent: Sequence[int] = (),
    strangers: Sequence[str] = (),
) -> None:
    """Let the centre publish again, on a person's word.

    `replayed_through`: the last business date that ran before the loss, which the replay must have reached; `sent`: further batch numbers
    that are known to have been sent; `strangers`: names of payment files in the outbox that no batch has. TerminalError
    ``RESTORE-REPLAY`` while the replay has not come so far, did not build such a number or does not know such a file,
    ``RESTORE-PENDING`` while a number is not matched, ``RESTORE-REASON`` without person and reason."""
    if not person or not reason.strip():
        raise TerminalError("RESTORE-REASON", "解除锁定需要操作人和原因。", "发布仍然锁定。", "写明核对的依据后重试。")
    if not locked(conn, centre):
        return
    state, b = tables.centre_state, tables.batch
    reached = conn.execute(sa.select(state.c.open_business_date).where(state.c.centre == centre)).scalar_one()
    built = set(conn.execute(sa.select(b.c.batch_no).where(b.c.centre == centre)).scalars())
    unknown = sorted(set(sent) - built)
    if reached < replayed_through or unknown:
        about = f"营业日期才到 {reached}" if reached < replayed_through else f"批次 {unknown[0]} 还没有重建"
        raise TerminalError("RESTORE-REPLAY", f"{centre} 的重放没有完成：{about}。", "发布仍然锁定。", "先从原始文件重跑备份之后的各夜。")
    if strangers:
        raise TerminalError(
            "RESTORE-REPLAY",
            f"{centre} 的待发目录中有账簿不认识的付款文件：{'、'.join(strangers[:5])}。出事前发出过的批次还没有重建，或内容已不同。",
            "发布仍然锁定。",
            "先从原始文件重跑备份之后的各夜；仍不认识的，向银行查明后移走。",
        )
    waiting = pending(conn, centre)
    if waiting:
        raise TerminalError(
            "RESTORE-PENDING",
            f"{centre} 还有批次号没有核对：{'、'.join(map(str, waiting[:20]))}。",
            "发布仍然锁定，不会重复付款。",
            "逐一核对：待发归档、回盘、对账单，或向银行查询。",
        )
    audit.record(conn, centre, person, "unlock", f"centre:{centre}", reason, at)
    conn.execute(sa.update(state).where(state.c.centre == centre).values(publication_locked=""))


def _restoration(conn: Connection, centre: str) -> Any:
    r = tables.restoration
    return conn.execute(sa.select(r).where(r.c.centre == centre).order_by(r.c.restoration_no.desc()).limit(1)).one_or_none()
