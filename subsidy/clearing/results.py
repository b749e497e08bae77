"""Reading what banks send: status answers, result files, movement files (handbook section 7, step 4).

A file is booked whole or not at all, in one transaction with the record of it. Whatever does not agree blocks the file with everything that
was found; nothing is booked from it and the payments stay open. Booked files move to `taken/`; blocked ones stay and are tried again, and
so does what a bank puts in the place of a file while it is being booked.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.clearing import aside, bank_text, movements, outcome, query, status
from subsidy.clearing.bank_text import Incomplete, Refused
from subsidy.clearing.batches import Batch, load_batches, load_payments, terms_of
from subsidy.clearing.outbox import file_digest, sync_folder, withdraw
from subsidy.clearing.outcome import VERDICTS, Applied
from subsidy.clearing.profiles import Layout, Outbound, ResultLayout, fill, load, pattern
from subsidy.errors import TransientError
from subsidy.facts.store import Store
from subsidy.ledger import tables
from subsidy.ledger.database import Database, next_numbers
from subsidy.ledger.journal import RunRef
from subsidy.policy.model import CentrePolicy
from subsidy.settings import Settings, shown

#: Bank dates may run ahead of the business date by so many days (a night has the business date of the day before).
AHEAD = timedelta(days=3)
#: Kinds of the files that bring a batch to the bank, in the order in which they are withdrawn: without its message a bank reads none.
_OF_BATCH = ("message", "payment", "recovery", "notice")


@dataclass(slots=True)
class BankFiles:
    """What reading did: files by fate, payments by change, movements by class. `messages`: file name and why it was blocked."""

    booked: int = 0
    duplicates: int = 0
    blocked: int = 0
    incomplete: int = 0
    applied: Applied = field(default_factory=Applied)
    movements: dict[str, int] = field(default_factory=dict)
    messages: list[tuple[str, str]] = field(default_factory=list)

    def counts(self) -> dict[str, Any]:
        """Counts only."""
        return {
            "booked": self.booked,
            "duplicates": self.duplicates,
            "blocked": self.blocked,
            "incomplete": self.incomplete,
            "confirmed": self.applied.confirmed,
            "failed": self.applied.failed,
            "open": self.applied.opened,
            "returned": self.applied.returned,
            "movements": self.movements,
        }


@dataclass(frozen=True, slots=True)
class _Reader:
    db: Database
    token: int
    policy: CentrePolicy
    outbound: Outbound
    store: Store
    outbox: Path
    business_date: date
    run_no: int

    @property
    def run(self) -> RunRef:
        return RunRef(self.policy.centre, self.run_no, self.business_date, self.policy.version)


def read_bank_files(
    db: Database,
    token: int,
    settings: Settings,
    policy: CentrePolicy,
    business_date: date,
    run_no: int,
    *,
    outbound: Outbound | None = None,
) -> BankFiles:
    """Read every file in the centre's results folder under the centre's lease: status answers first, then results, then movements.

    Events and journal carry the bank's host date; `business_date` is the day on which the files became known. Reading again books nothing
    twice: files are known by their content.
    """
    outbound, store, outbox = outbound or load(settings.rules, policy.centre), Store(settings.store_url), settings.outbox(policy.centre)
    reader = _Reader(db, token, policy, outbound, store, outbox, business_date, run_no)
    folder = settings.results(policy.centre)
    result = BankFiles()
    if not folder.is_dir():
        return result
    for interrupted in aside.left(folder):
        _take_away(reader, folder / interrupted.name, interrupted)
    named = []
    for path in folder.iterdir():
        if _is_file(path):
            given, number = _given(path.name)
            named.append((_kind(reader, given), given, number, path))
    order = {"status": 0, "result": 1, "movement": 2, "unknown": 3}
    for kind, given, _, path in sorted(named, key=lambda found: (order[found[0]], *found[1:])):
        _read(reader, kind, given, path, result)
    return result


def _is_file(path: Path) -> bool:
    """A file that a bank put there: as in the inbox, a link leads elsewhere and is none, and a hidden name is not ready."""
    return path.is_file() and not path.is_symlink() and not path.name.startswith(".")


def _given(name: str) -> tuple[str, int]:
    """The name that the bank gave to a file, and the number that `aside.free` put behind it, 1 without."""
    given, _, number = name.rpartition(".")
    return (given, int(number)) if re.fullmatch(r"[1-9][0-9]{0,8}", number) and given else (name, 1)


def _kind(reader: _Reader, name: str) -> str:
    known = {"unit_no": reader.policy.code}
    queries = reader.outbound.queries
    for kind, templates in (
        ("status", (queries.batch_answer, queries.payment_answer)),
        ("result", tuple(layout.file_name for layout in reader.outbound.results.values())),
        ("movement", (reader.outbound.movements.file_name,)),
    ):
        if any(pattern(template, known).fullmatch(name) for template in templates):
            return kind
    return "unknown"


def _read(reader: _Reader, kind: str, given: str, path: Path, result: BankFiles) -> None:
    """Read one file; `given`: the name that the bank gave to it."""
    try:
        if path.stat().st_size > bank_text.MAX_BYTES:
            too_large = Refused("BANK-TOO-LARGE", f"文件超过 {bank_text.MAX_BYTES} 字节")
            _refuse(reader, kind, path, file_digest(path), too_large, result)
            return
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    sha256 = hashlib.sha256(data).hexdigest()
    centre = reader.policy.centre
    with reader.db.read() as conn:
        seen = _seen(conn, centre, sha256)
    if seen is not None and seen.state == "booked":
        result.duplicates += 1
        _take_away(reader, path)
        return
    reader.store.put_bytes(data)
    try:
        with reader.db.transaction(centre, reader.token) as conn:
            number = seen.bank_file_no if seen is not None else next_numbers(conn, centre, "bank_file")
            booked = _book(conn, reader, kind, given, data, number)
            _register(conn, reader, number, sha256, shown(path.name), kind, booked, new=seen is None)
    except Incomplete:
        result.incomplete += 1
        result.messages.append((path.name, "没有末行：文件尚未写完，或被截断；补齐后自动读入。"))
        with reader.db.transaction(centre, reader.token) as conn:
            _finding(
                conn,
                reader,
                "RESULT-INCOMPLETE",
                path.name,
                f"没有末行，尚未写完或被截断（现有 {len(data)} 字节），没有读入。",
                "等银行写完；长时间不变时请银行重送。",
                once=True,
            )
        return
    except Refused as refused:
        _refuse(reader, kind, path, sha256, refused, result)
        return
    result.booked += 1
    result.applied = result.applied + booked.applied
    for name, count in booked.movements.items():
        result.movements[name] = result.movements.get(name, 0) + count
    _take_away(reader, path)


def _seen(conn: Connection, centre: str, sha256: str) -> Any:
    t = tables.bank_file
    return conn.execute(sa.select(t.c.bank_file_no, t.c.state).where(t.c.centre == centre, t.c.sha256 == sha256)).one_or_none()


def _refuse(reader: _Reader, kind: str, path: Path, sha256: str, refused: Refused, result: BankFiles) -> None:
    """Nothing of the file is booked; it stays, and why is recorded."""
    name, text = shown(path.name), f"[{refused.code}] " + "；".join(refused.why) + "。"
    result.blocked += 1
    result.messages.append((name, text))
    with reader.db.transaction(reader.policy.centre, reader.token) as conn:
        seen = _seen(conn, reader.policy.centre, sha256)
        _block(conn, reader, seen.bank_file_no if seen is not None else None, sha256, name, kind, refused.code, text)


@dataclass(frozen=True, slots=True)
class _Booked:
    applied: Applied
    batch_no: int | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    movements: dict[str, int] = field(default_factory=dict)

    @property
    def state(self) -> str:
        return "booked"


def _book(conn: Connection, reader: _Reader, kind: str, name: str, data: bytes, number: int) -> _Booked:
    if kind == "result":
        return _book_result(conn, reader, name, data, number)
    if kind == "status":
        answered = status.book(
            conn, reader.run, reader.policy, reader.outbound, name, data, bank_file_no=number, latest=reader.business_date + AHEAD
        )
        for batch_no in answered.unpaid:
            _withdraw(conn, reader, batch_no)
        if answered.batch_no is None:
            return _Booked(answered.applied, None, answered.detail)
        detail = answered.detail | {"asked": query.asked(conn, reader.policy.centre, answered.batch_no)}
        if detail["batch_status"] == status.NEVER_CAME and _still_here(conn, reader, answered.batch_no):
            # The bank's machine has yet to fetch the file: this answer says nothing of what happens then.
            detail["batch_status"] = "0"
        return _Booked(answered.applied, answered.batch_no, detail)
    if kind == "movement":
        moved = movements.book(
            conn, reader.run, reader.policy, reader.outbound.movements, data, bank_file_no=number, latest=reader.business_date + AHEAD
        )
        for found in moved.findings:
            _finding(conn, reader, found.code, name, found.what, found.todo)
        return _Booked(moved.applied, None, {"skipped": moved.skipped, "repeated": moved.repeated}, moved.classes)
    if shown(name) != name:
        raise Refused("BANK-NAME", "文件名不是 UTF-8 编码")
    raise Refused("BANK-NAME", "文件名不是本中心任何一种银行文件的名称")


def _still_here(conn: Connection, reader: _Reader, batch_no: int) -> bool:
    b = tables.batch
    name = conn.execute(sa.select(b.c.file_name).where(b.c.centre == reader.policy.centre, b.c.batch_no == batch_no)).scalar_one()
    return (reader.outbox / str(name)).exists()


def _withdraw(conn: Connection, reader: _Reader, batch_no: int) -> None:
    """Take the files of a batch out of the outbox, the last one first: what failed is paid anew, so the bank must not fetch it any more.
    Done before the answer is booked; a rerun after a crash in between finds nothing left to withdraw, and books."""
    f = tables.published_file
    query = sa.select(f.c.path).where(f.c.centre == reader.policy.centre, f.c.batch_no == batch_no, f.c.kind.in_(_OF_BATCH))
    order = sa.case({kind: at for at, kind in enumerate(_OF_BATCH)}, value=f.c.kind)
    for path in conn.execute(query.order_by(order)).scalars():
        withdraw(reader.outbox / Path(path).name)


def _book_result(conn: Connection, reader: _Reader, name: str, data: bytes, number: int) -> _Booked:
    batch, layout, result_layout = _batch_of(conn, reader, name)
    verdicts = read_result(
        data,
        batch,
        load_payments(conn, reader.policy.centre, batch.batch_no),
        layout,
        result_layout,
        reader.policy.code,
        latest=reader.business_date + AHEAD,
    )
    chart = terms_of(reader.policy, batch.settlement_on).accounts
    applied = outcome.apply(conn, reader.run, chart, verdicts, bank_file_no=number, batch_no=batch.batch_no)
    return _Booked(applied, batch.batch_no, {"rows": verdicts.num_rows, "changed": applied.total})


def _batch_of(conn: Connection, reader: _Reader, name: str) -> tuple[Batch, Layout, ResultLayout]:
    """The batch that a result file speaks of, by the numbers in its name."""
    known, b = {"unit_no": reader.policy.code}, tables.batch
    for result_layout in reader.outbound.results.values():
        match = pattern(result_layout.file_name, known).fullmatch(name)
        if match is None:
            continue
        values = match.groupdict()
        layouts = {layout.name: layout for layout in reader.outbound.layouts.values() if layout.result == result_layout.name}
        where: list[sa.ColumnElement[bool]]
        if "bank_batch_no" in values:
            where = [b.c.bank_batch_no == values["bank_batch_no"]]
        elif "send_no" in values:
            where = [b.c.send_no == values["send_no"]]
        else:
            names = [
                fill(route.file_name, values | known)
                for layout in layouts.values()
                for route in layout.routes
                if _fillable(route.file_name, values)
            ]
            where = [b.c.file_name.in_(names)]
        row = conn.execute(
            sa.select(b.c.batch_no, b.c.period).where(b.c.centre == reader.policy.centre, b.c.profile.in_(list(layouts)), *where)
        ).one_or_none()
        if row is None:
            raise Refused("RESULT-BATCH-UNKNOWN", "不知道是哪个批次的回盘（没有收到该批次号的状态回执，或不是本中心发出的批次）")
        batch = next(x for x in load_batches(conn, reader.policy.centre, row.period) if x.batch_no == row.batch_no)
        return batch, layouts[batch.profile], result_layout
    raise Refused("RESULT-BATCH-UNKNOWN", "文件名不是回盘文件")


def _fillable(template: str, values: dict[str, str]) -> bool:
    try:
        fill(template, values)
    except KeyError:
        return False
    return True


def read_result(
    data: bytes, batch: Batch, payments: pa.Table, layout: Layout, result: ResultLayout, unit_no: str, *, latest: date
) -> pa.Table:
    """Check a result file against its batch and return what it says as `outcome.VERDICTS`.

    Checks (standards section 2): the end line; counts and sums of summary, details and batch; every ordinal sent, once, none missing;
    amount, account, name and number unchanged; host date (not before the day before settlement, not after `latest`) and serial of every
    success. Raises Incomplete, or Refused with everything that does not agree.
    """
    body = bank_text.lines_of(data, result.end, result.encoding)
    head, _, rest = body.partition(b"\n")
    summary = _summary(bank_text.decode(head, result.encoding, result.separator), result)
    table = bank_text.columns_of(rest, result.encoding, result.separator, result.terminated, result.detail, 2)
    wrong: list[str] = []

    def expect(same: bool, what: str) -> None:
        if not same:
            wrong.append(what)

    expect(summary.get("unit_no", unit_no) == unit_no, "交易机构号不是本中心")
    expect(summary.get("bank_batch_no", batch.bank_batch_no) == batch.bank_batch_no, "批号与文件名不一致")
    counts = {name: bank_text.whole(summary[name], name) for name in ("count", "good_count", "bad_count")}
    totals = {name: bank_text.amount(summary[name], result.unit, name) for name in ("total", "good_total", "bad_total")}
    expect(counts["count"] == batch.payment_count, f"总笔数 {counts['count']}，批次 {batch.payment_count}")
    expect(totals["total"] == batch.amount_fen, "总金额与批次不一致")
    expect(table.num_rows == batch.payment_count, f"明细 {table.num_rows} 行，批次 {batch.payment_count} 笔")

    amount = bank_text.amounts(table["amount"], result.unit, "金额")
    ordinal_text = table["ordinal"].combine_chunks()
    shaped = pc.match_substring_regex(ordinal_text, r"^[1-9]\d{0,8}$")
    ordinal = pc.fill_null(pc.if_else(shaped, ordinal_text, pa.scalar(None, pa.string())).cast(pa.int32()), 0)
    at = pc.index_in(ordinal, payments["ordinal"].combine_chunks())
    _rows(wrong, pc.invert(pc.is_valid(at)), ordinal_text, "不在批次中")
    counted = ordinal.value_counts()
    twice = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    _rows(wrong, pc.is_in(ordinal, twice), ordinal_text, "重复出现")
    absent = pc.invert(pc.is_in(payments["ordinal"].combine_chunks(), ordinal))
    _rows(wrong, absent, payments["ordinal"].combine_chunks().cast(pa.string()), "没有回盘")
    mine = {name: payments[name].combine_chunks().take(at) for name in ("amount_fen", "account", "name", "payment_no")}
    party = "payee" if batch.direction == "out" else "payer"
    for column, own, what in (
        ("account", "account", "账号"),
        ("name", "name", "户名"),
        (f"{party}_account", "account", "账号"),
        (f"{party}_name", "name", "户名"),
        ("payment_no", "payment_no", "付款编号"),
    ):
        if column in table.column_names:
            differs = pc.fill_null(pc.not_equal(_comparable(table[column].combine_chunks()), _comparable(mine[own])), False)
            _rows(wrong, differs, ordinal_text, f"的{what}与发出的不一致")
    _rows(wrong, pc.fill_null(pc.not_equal(amount, mine["amount_fen"]), False), ordinal_text, "的金额与发出的不一致")

    code = table["code"].combine_chunks()
    good = pc.is_in(code, pa.array(list(result.success)))
    pending = pc.is_in(code, pa.array(list(result.pending)))
    bad = pc.invert(pc.or_(good, pending))
    _rows(wrong, pc.equal(code, ""), ordinal_text, "没有响应码")
    for name, mask, what in (("good", good, "成功"), ("bad", bad, "失败")):
        number, total = pc.sum(pc.cast(mask, pa.int64())).as_py() or 0, pc.sum(amount.filter(mask)).as_py() or 0
        expect(counts[f"{name}_count"] == number, f"{what}笔数 {counts[f'{name}_count']}，明细中 {number} 笔")
        expect(totals[f"{name}_total"] == total, f"{what}金额与明细不一致")
    day = bank_text.days(table["host_date"])
    serial = pc.utf8_trim_whitespace(table["host_serial"].combine_chunks())
    earliest = pa.scalar(batch.settlement_on - timedelta(days=1), pa.date32())
    plausible = pc.and_(pc.greater_equal(day, earliest), pc.less_equal(day, pa.scalar(latest, pa.date32())))
    _rows(wrong, pc.and_(good, pc.invert(pc.fill_null(plausible, False))), ordinal_text, "成功而主机日期缺失或不可能")
    _rows(wrong, pc.and_(good, pc.equal(serial, "")), ordinal_text, "成功而没有主机流水号")
    if wrong:
        raise Refused("RESULT-MISMATCH", *wrong)
    return pa.table(
        {
            "payment_no": mine["payment_no"],
            "verdict": pc.if_else(good, "confirmed", pc.if_else(pending, "pending", "failed")),
            "day": pc.if_else(pc.fill_null(plausible, False), day, pa.scalar(None, pa.date32())),
            "host_serial": serial,
            "code": code,
            "text": table["text"],
        },
        schema=VERDICTS,
    )


def _comparable(column: pa.Array) -> pa.Array:
    """Text for comparison only: the dot of a name has one form (standards section 3)."""
    return pc.replace_substring_regex(column, "[•．‧・]", "·")


def _summary(line: str, result: ResultLayout) -> dict[str, str]:
    if not line.startswith(result.summary_mark):
        raise Refused("RESULT-SUMMARY", "首行不是合计")
    fields = line[len(result.summary_mark) :].split(result.separator)
    if result.terminated and fields and fields[-1] == "":
        fields = fields[:-1]
    if len(fields) != len(result.summary):
        raise Refused("RESULT-SUMMARY", f"首行有 {len(fields)} 栏，应有 {len(result.summary)} 栏")
    return {name: value.strip() for name, value in zip(result.summary, fields, strict=True) if name != "skip"}


def _rows(wrong: list[str], mask: pa.Array, labels: pa.Array, what: str) -> None:
    count = pc.sum(pc.cast(mask, pa.int64())).as_py() or 0
    if count:
        shown = [label if label.isdigit() and len(label) < 10 else "？" for label in labels.filter(mask).slice(0, 10).to_pylist()]
        wrong.append(f"序号 {'、'.join(shown)}{' 等' if count > 10 else ''} {what}")


def _register(conn: Connection, reader: _Reader, number: int, sha256: str, name: str, kind: str, booked: _Booked, *, new: bool) -> None:
    t, centre = tables.bank_file, reader.policy.centre
    values = {
        "state": booked.state,
        "message": "",
        "detail": json.dumps(booked.detail, sort_keys=True, ensure_ascii=False),
        "batch_no": booked.batch_no,
        "known_on": reader.business_date,
        "name": name,
    }
    if new:
        conn.execute(sa.insert(t).values(centre=centre, bank_file_no=number, sha256=sha256, kind=kind, **values))
    else:
        conn.execute(sa.update(t).where(t.c.centre == centre, t.c.bank_file_no == number).values(**values))
    conn.execute(
        sa.update(t)
        .where(t.c.centre == centre, t.c.name == name, t.c.state == "blocked")
        .values(state="superseded", message="已由更正的文件取代。")
    )


def _block(conn: Connection, reader: _Reader, number: int | None, sha256: str, name: str, kind: str, code: str, text: str) -> None:
    """Record a blocked file once per content and message, with its finding."""
    t, centre = tables.bank_file, reader.policy.centre
    if number is None:
        conn.execute(
            sa.insert(t).values(
                centre=centre,
                bank_file_no=next_numbers(conn, centre, "bank_file"),
                sha256=sha256,
                name=name,
                kind=kind,
                batch_no=None,
                known_on=reader.business_date,
                state="blocked",
                message=text,
            )
        )
    else:
        before = conn.execute(sa.select(t.c.message, t.c.state).where(t.c.centre == centre, t.c.bank_file_no == number)).one()
        if before.message == text and before.state == "blocked":
            return
        conn.execute(sa.update(t).where(t.c.centre == centre, t.c.bank_file_no == number).values(message=text, state="blocked"))
    _finding(conn, reader, code, name, f"没有入账：{text}", "与银行核对后请其重送；相关付款仍为未决，可发 BDC110 查询，不会重复付款。")


def _finding(conn: Connection, reader: _Reader, code: str, name: str, what: str, todo: str, once: bool = False) -> None:
    """`once`: not when the same was found since the last night opened."""
    t, said = tables.finding, f"银行文件 {name}：{what}"
    same = (t.c.centre == reader.policy.centre, t.c.run_no == reader.run_no, t.c.code == code, t.c.what == said)
    if once and conn.execute(sa.select(t.c.finding_no).where(*same)).first() is not None:
        return
    conn.execute(
        sa.insert(t).values(
            centre=reader.policy.centre,
            finding_no=next_numbers(conn, reader.policy.centre, "finding"),
            run_no=reader.run_no,
            stage="result",
            code=code,
            severity="error",
            what=said,
            todo=todo,
            file_no=0,
            line_no=0,
            field="",
            value="",
            agreement_no="",
            serial_no="",
        )
    )


def _take_away(reader: _Reader, path: Path, interrupted: Path | None = None) -> None:
    """Move a file that is booked out of the way, never over another one. `interrupted`: where it lies aside since a process died."""
    t = tables.bank_file

    def booked(found: Path) -> bool:
        query = sa.select(t.c.bank_file_no).where(t.c.centre == reader.policy.centre, t.c.sha256 == file_digest(found))
        with reader.db.read() as conn:
            return conn.execute(query.where(t.c.state == "booked")).first() is not None

    target = aside.free(path.parent / "taken" / _given(path.name)[0])
    try:
        if interrupted is None:
            aside.take(path, target, booked)
        else:
            aside.decide(interrupted, target, booked)
        sync_folder(path.parent)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> TransientError:
    return TransientError(
        "RESULT-DISK",
        f"银行文件 {shown(path.name)} 不能读取或移动（系统错误 {error.errno}）。",
        "已入账的文件不会重复入账；其余文件留在原处。",
        "检查 results 目录的磁盘和权限后重试，系统从中断处继续。",
    )
