"""Clearing over all centres of a month: net position per centre and bank, transfer instructions, numbered versions (handbook 7.6).

No centre's payment waits for this. A late centre, or a result that comes in, makes a new version; the same content never does. After a
restore nothing is cleared until every centre may publish again, and a number whose file is there is not given out a second time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.calendar import settlement_of
from subsidy.clearing import outbox
from subsidy.clearing.batches import terms_of
from subsidy.clearing.reconcile import three_way
from subsidy.clearing.vouchers import month_of
from subsidy.errors import SubsidyError, TerminalError, TransientError
from subsidy.facts.store import Store
from subsidy.ledger import restore, tables
from subsidy.ledger.database import Database
from subsidy.policy import working_days_of
from subsidy.policy.model import CentrePolicy
from subsidy.settings import Settings

#: Under this name files over all centres are registered and lie in the outbox.
CLEARING = "clearing"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Position:
    """What one centre settles with its paying bank in a month; amounts in fen.

    `payable_fen`: sent and neither failed nor returned; `receivable_fen`: collections not failed; net = payable − receivable is what the
    transfer instruction moves to the paying account."""

    centre: str
    code: str
    bank_code: str
    account_no: str
    state: str
    computed_fen: int
    sent_fen: int
    confirmed_fen: int
    failed_fen: int
    open_fen: int
    returned_fen: int
    netted_fen: int
    collected_fen: int
    payable_fen: int
    receivable_fen: int
    net_fen: int
    differences: dict[str, int]


@dataclass(frozen=True, slots=True)
class Clearing:
    """A version of a month's clearing. `missing`: centres whose period is not complete; `idle`: centres without settlement in the month;
    `faults`: why what some of the missing hold could not be read."""

    period: str
    version: int
    changed: bool
    content_hash: str
    complete: tuple[str, ...]
    idle: tuple[str, ...]
    missing: tuple[str, ...]
    positions: tuple[Position, ...]
    file: str
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def net_fen(self) -> int:
        """Net over all centres and banks."""
        return sum(p.net_fen for p in self.positions)


def clear(
    db: Database,
    settings: Settings,
    policies: Sequence[CentrePolicy],
    period: str,
    *,
    broken: Sequence[str] = (),
    missing_ok: bool = True,
    whole: bool = False,
    on: date | None = None,
) -> Clearing:
    """Clear the month `period` over `policies` and write its transfer instructions; a new version only when the content changed.

    `broken`: centre folders that could not be loaded, named among the missing. A centre is complete when its settlement is published or
    empty, or when it settles nothing in the month. One that the program fails at stops no other: it is missing, and `faults` says why.
    TerminalError ``CLEAR-MISSING`` when centres are missing and that is not allowed, ``CLEAR-FAULT`` when the program fails at one and the
    clearing must be `whole`, ``CLEAR-LOCKED`` while a centre is locked after a restore.
    """
    complete: list[str] = []
    idle: list[str] = []
    missing = list(broken)
    positions: list[Position] = []
    faults: dict[str, str] = {}
    with db.read() as conn:
        refuse_locked(conn, [*(policy.centre for policy in policies), *broken], period)
        for policy in sorted(policies, key=lambda p: p.code):
            try:
                state = _state(conn, policy, period)
                position = None if state in ("none", "missing") else _position(conn, policy, period, state, on)
            except Exception as error:
                if isinstance(error, (TransientError, sa.exc.DBAPIError, OSError, MemoryError)):
                    raise  # of the machine, not of the centre
                state, position, faults[policy.centre] = "fault", None, _cause(error)
                _log.error("%s：%s 月的清算数据读不出：%s", policy.centre, period, faults[policy.centre])
            if state == "none":
                idle.append(policy.centre)
            elif state in ("published", "empty"):
                complete.append(policy.centre)
            else:
                missing.append(policy.centre)
            if position is not None:
                positions.append(position)
    if faults and whole:
        told = "；".join(f"{centre} 的清算数据读不出（{cause}）" for centre, cause in faults.items())
        raise TerminalError(
            "CLEAR-FAULT",
            f"{period} 月清算没有出新版本：{told}。",
            "已出的版本不变；各中心的报表和付款不受影响。",
            "查明并改正所说的中心，之后“更新报表”自动补出；等不及时手工触发清算，该中心列为未完成。",
        )
    if missing and not missing_ok:
        raise TerminalError(
            "CLEAR-MISSING",
            f"{period} 月尚有中心未完成：{'、'.join(missing)}。",
            "没有生成汇总清算；各中心的付款不受影响。",
            "等这些中心的批次发布或宣布为空，或等 25 日的“清算到期”流程自动清算。",
        )
    detail: dict[str, Any] = {"positions": [_data(p) for p in positions], "idle": idle, "complete": complete, "missing": sorted(missing)}
    if faults:
        detail["faults"] = faults
    content = json.dumps(detail, sort_keys=True, ensure_ascii=False)
    content_hash = hashlib.sha256(f"{period}|{content}".encode()).hexdigest()
    version, changed = _version(db, settings, period, content_hash, content, complete + idle, sorted(missing), positions, on)
    _publish(db, settings)
    path = path_of(period, version)
    named = tuple(complete), tuple(idle), tuple(sorted(missing))
    return Clearing(period, version, changed, content_hash, *named, tuple(positions), path, faults)


def _cause(error: Exception) -> str:
    """Why the program fails at a centre, without data: what is said to people, else the type of the exception and its place."""
    if isinstance(error, SubsidyError):
        return f"[{error.message.code}] {error.message.what}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"程序出错 {type(error).__name__}，{Path(place.filename).name} 第 {place.lineno} 行 {place.name}"


def locked(conn: Connection, centres: Iterable[str]) -> list[str]:
    """Those of some centres that are locked after a restore."""
    return sorted(centre for centre in centres if restore.locked(conn, centre))


def refuse_locked(conn: Connection, centres: Iterable[str], period: str) -> None:
    """TerminalError ``CLEAR-LOCKED`` while a centre is locked after a restore: what it sent is not known for certain."""
    waiting = locked(conn, centres)
    if waiting:
        raise TerminalError(
            "CLEAR-LOCKED",
            f"{'、'.join(waiting)} 从备份恢复后还没有解除锁定，发出过什么尚未核对，{period} 月不能清算。",
            "没有写出资金调拨指令，已写出的各版本不变；各中心的付款不受影响。",
            "按运维手册“备份与恢复”核对并解锁（subsidy ledger pending、match、unlock），然后重新清算。",
        )


def cleared(conn: Connection) -> set[str]:
    """The months that were ever cleared."""
    return set(conn.execute(sa.select(tables.clearing.c.period).distinct()).scalars())


def _data(position: Position) -> dict[str, Any]:
    return {name: getattr(position, name) for name in Position.__dataclass_fields__}


def settles_in(policy: CentrePolicy, period: str) -> bool:
    """Whether the centre has a settlement whose period is `period`. TerminalError ``CAL-YEAR`` when its calendar does not reach."""
    year, month = map(int, period.split("-"))
    days = working_days_of(policy)
    for shift in (0, 1):
        at = year * 12 + month - 1 + shift
        for terms in policy.settlement:
            dates = settlement_of(terms, at // 12, at % 12 + 1, days)
            if dates is None or dates.period != period or dates.cutoff_on < policy.go_live:
                continue
            if terms.effective_from <= dates.settlement_on and (terms.effective_to is None or dates.settlement_on < terms.effective_to):
                return True
    return False


def _state(conn: Connection, policy: CentrePolicy, period: str) -> str:
    s = tables.settlement
    state = conn.execute(sa.select(s.c.state).where(s.c.centre == policy.centre, s.c.period == period)).scalar_one_or_none()
    if state is not None:
        return str(state)
    try:
        return "missing" if settles_in(policy, period) else "none"
    except TerminalError:  # a calendar that does not reach the month: whether the centre settles in it cannot be known
        return "missing"


def _position(conn: Connection, policy: CentrePolicy, period: str, state: str, on: date | None) -> Position:
    s = tables.settlement
    day = conn.execute(sa.select(s.c.settlement_on).where(s.c.centre == policy.centre, s.c.period == period)).scalar_one()
    account = terms_of(policy, day).paying_account
    found = three_way(conn, policy.centre, period, on)
    out, back = found.total("out"), found.total("in")
    payable = out.confirmed_fen - out.returned_fen + out.open_fen
    receivable = back.confirmed_fen + back.open_fen
    by_class: dict[str, int] = {}
    for difference in found.differences:
        by_class[difference.kind] = by_class.get(difference.kind, 0) + abs(difference.amount_fen)
    return Position(
        centre=policy.centre,
        code=policy.code,
        bank_code=account.bank_code,
        account_no=account.number,
        state=state,
        computed_fen=found.computed_fen,
        sent_fen=out.sent_fen,
        confirmed_fen=out.confirmed_fen,
        failed_fen=out.failed_fen,
        open_fen=out.open_fen,
        returned_fen=out.returned_fen,
        netted_fen=found.netted_fen,
        collected_fen=back.confirmed_fen,
        payable_fen=payable,
        receivable_fen=receivable,
        net_fen=payable - receivable,
        differences=dict(sorted(by_class.items())),
    )


def path_of(period: str, version: int) -> str:
    """Path of a version's transfer instructions relative to the home folder."""
    return f"outbox/{CLEARING}/BDC109_{period.replace('-', '')}_V{version:03d}.TXT"


def _version(
    db: Database,
    settings: Settings,
    period: str,
    content_hash: str,
    content: str,
    complete: list[str],
    missing: list[str],
    positions: Sequence[Position],
    on: date | None,
) -> tuple[int, bool]:
    """Store a new version with the intent to write its file, unless the newest version has the same content."""
    t, f = tables.clearing, tables.published_file
    with db.transaction_system() as conn:
        last = conn.execute(
            sa.select(t.c.version, t.c.content_hash).where(t.c.period == period).order_by(t.c.version.desc()).limit(1)
        ).one_or_none()
        if last is not None and last.content_hash == content_hash:
            return int(last.version), False
        version = (int(last.version) if last else 0) + 1
        data = instructions(period, version, positions)
        while outbox.holds_other(settings.home / path_of(period, version), hashlib.sha256(data).hexdigest()):
            version += 1  # given out after the backup that the ledger was restored from
            data = instructions(period, version, positions)
        Store(settings.store_url).put_bytes(data)
        conn.execute(
            sa.insert(t).values(
                period=period,
                version=version,
                content_hash=content_hash,
                complete=json.dumps(complete),
                missing=json.dumps(missing),
                detail=content,
            )
        )
        conn.execute(
            sa.insert(f).values(
                centre=CLEARING,
                path=path_of(period, version),
                kind="transfer",
                sha256=hashlib.sha256(data).hexdigest(),
                bytes=len(data),
                business_date=on or month_of(period)[0],
                state="intent",
            )
        )
        return version, True


def instructions(period: str, version: int, positions: Sequence[Position]) -> bytes:
    """The transfer instruction file (BDC109, own layout; docs/清算文件.md section 8)."""
    moved = [p for p in positions if p.payable_fen or p.receivable_fen]
    lines = [f"BDC109|{period.replace('-', '')}|{version}|{len(moved)}|{sum(p.net_fen for p in moved)}|"]
    lines += [f"{i}|{p.code}|{p.bank_code}|{p.account_no}|{p.payable_fen}|{p.receivable_fen}|{p.net_fen}|" for i, p in enumerate(moved, 1)]
    return ("\n".join([*lines, "#END"]) + "\n").encode()


def _publish(db: Database, settings: Settings) -> None:
    """Write every file over all centres that was meant to be written and is not."""
    f, store = tables.published_file, Store(settings.store_url)
    with db.read() as conn:
        rows = conn.execute(sa.select(f.c.path, f.c.sha256).where(f.c.centre == CLEARING, f.c.state == "intent").order_by(f.c.path)).all()
    for path, sha256 in rows:
        with store.open(Store.raw_path(sha256)) as handle:
            outbox.write_whole(settings.home / path, handle.read())
        with db.transaction_system() as conn:
            conn.execute(sa.update(f).where(f.c.centre == CLEARING, f.c.path == path).values(state="published"))
