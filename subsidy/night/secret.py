"""Which key the keyed fingerprints of this ledger are made with.

Fingerprints of another key match nothing: a house under two agreements, and a row that a correction settles, would pass unseen. The ledger
therefore keeps what tells its key from another, from the first use on, and a backup carries it along.
"""

from __future__ import annotations

import hashlib
import hmac

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.errors import TerminalError
from subsidy.ledger import tables
from subsidy.ledger.database import Database

#: The row of table `step` that holds the check value; it belongs to no centre and no run.
_ROW = {"centre": "", "run_no": 0, "name": "key"}


def hold(db: Database, key: str) -> None:
    """Refuse to work with another key than the ledger's; the first one used is the ledger's. TerminalError ``SET-KEY-DIFFERS``."""
    mine = hmac.digest(key.encode(), b"subsidy: the key of this ledger", hashlib.sha256).hex()
    with db.read() as conn:
        kept = _kept(conn)
    if kept is None:
        with db.transaction_system() as conn:
            conn.execute(
                sa.text(
                    "INSERT INTO step (centre, run_no, name, input_hash, result) VALUES (:centre, :run_no, :name, '', :result) "
                    "ON CONFLICT DO NOTHING"
                ),
                {**_ROW, "result": mine},
            )
            kept = _kept(conn)
    if kept != mine:
        raise TerminalError(
            "SET-KEY-DIFFERS",
            "SUBSIDY_KEY 不是这本账簿一直使用的指纹密钥：用它查不出重复的合同和房屋，也认不出隔离行的更正。",
            "没有改动任何数据，没有付款。",
            "从密钥库取回原来的密钥，设置 SUBSIDY_KEY 后重试；恢复的备份用它当时的密钥。",
        )


def _kept(conn: Connection) -> str | None:
    t = tables.step
    return conn.execute(sa.select(t.c.result).where(*(t.c[name] == value for name, value in _ROW.items()))).scalar_one_or_none()
