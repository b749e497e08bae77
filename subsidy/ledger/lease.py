"""Who works on a centre now. One holder at a time; every take-over raises the token, and a commit with an older token is refused.

The wall clock decides only whether a silent holder may be replaced. When it jumps, somebody may be replaced too early; the token then
refuses that one's commit, so nothing is done twice.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from subsidy.errors import BusyError, TerminalError
from subsidy.ledger.database import Database
from subsidy.ledger.tables import lease

SHANGHAI = ZoneInfo("Asia/Shanghai")
#: An expiry that lies further ahead than the lease's time and this was written by a clock that was wrong; nobody waits for it.
CLOCKS_DIFFER_SECONDS = 3600.0


def acquire(db: Database, centre: str, holder: str, now: float, ttl: float) -> int:
    """Take the lease of a centre and return the fencing token.

    `holder` names who works, for people; the same holder may take it again (a restarted task), which fences its earlier self. `now` and
    `ttl`: wall clock seconds. BusyError ``LEASE-BUSY`` names the holder and since when, unless it is past its expiry or the expiry cannot
    be true."""
    if not holder:
        raise ValueError("a lease needs a holder")
    with db.transaction_system() as conn:
        insert = postgresql.insert(lease) if db.postgres else sqlite.insert(lease)
        conn.execute(insert.values(centre=centre, token=0, holder="", since="", expires=0.0).on_conflict_do_nothing())
        row = conn.execute(sa.select(lease).where(lease.c.centre == centre).with_for_update()).one()
        if row.holder not in ("", holder) and now < row.expires <= now + ttl + CLOCKS_DIFFER_SECONDS:
            raise BusyError(
                "LEASE-BUSY",
                f"{centre} 正由“{row.holder}”处理，自 {row.since} 开始。",
                "没有改动任何数据；两个处理不会同时进行。",
                "等它结束后重跑；若它已异常中止，租约到期后可自动接手。",
            )
        since = datetime.fromtimestamp(now, SHANGHAI).isoformat(timespec="seconds")
        conn.execute(
            sa.update(lease).where(lease.c.centre == centre).values(token=row.token + 1, holder=holder, since=since, expires=now + ttl)
        )
        return int(row.token) + 1


def renew(db: Database, centre: str, token: int, now: float, ttl: float) -> None:
    """Say that the holder of `token` still works. TerminalError ``LEASE-LOST`` when somebody else took over."""
    with db.transaction(centre, token) as conn:
        conn.execute(sa.update(lease).where(lease.c.centre == centre).values(expires=now + ttl))


def release(db: Database, centre: str, token: int) -> None:
    """Give the lease back; does nothing when somebody else took over. The token stays, so a late commit is still refused."""
    with db.transaction_system() as conn:
        conn.execute(sa.update(lease).where(lease.c.centre == centre, lease.c.token == token).values(holder="", since="", expires=0.0))


def refuse_if_lost(db: Database, centre: str, token: int) -> None:
    """TerminalError ``LEASE-LOST`` when `token` is no longer the lease's; for checks before something leaves the house."""
    with db.read() as conn:
        row = conn.execute(sa.select(lease.c.token, lease.c.holder).where(lease.c.centre == centre)).one_or_none()
    if row is None or int(row.token) != token or row.holder == "":
        raise TerminalError(
            "LEASE-LOST",
            f"{centre} 已由另一处理接手。",
            "本处理到此停止，此前已完成的部分有效；由接手者从中断处继续，不会重复付款。",
            "不必处理；如需补跑，确认接手者已结束后重跑。",
        )
