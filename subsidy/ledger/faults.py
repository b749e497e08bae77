"""What a database says when it refuses, said to people: passing trouble is a `TransientError`, the rest a `TerminalError`.

The driver's own sentences may quote rows, and rows are personal; so only the kind of trouble and the name of a constraint are kept.
"""

from __future__ import annotations

import sqlite3

import psycopg
import sqlalchemy as sa

from subsidy.errors import SubsidyError, TerminalError, TransientError

#: Exceptions that carry a database's refusal, wrapped by SQLAlchemy or straight from a driver.
DRIVER_ERRORS = (sa.exc.DBAPIError, sqlite3.Error, psycopg.Error)

#: What is safe when one of a step's transactions fails; those before it are committed, and files may have left.
_UNDONE = "出错的这次写入已整体撤销，没有写入一半；本操作此前已完成的部分有效，重跑从中断处继续，不会重复记账或付款。"

_LOCKED = {"SQLITE_BUSY", "SQLITE_LOCKED", "55P03"}
_CONFLICT = {"40001", "40P01"}
_FULL = {"SQLITE_FULL", "53100"}
_READ_ONLY = {"SQLITE_READONLY", "25006"}
_AWAY = {"SQLITE_CANTOPEN", "SQLITE_IOERR", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "53300", "53400"}


def translate(error: BaseException, committing: bool = False) -> SubsidyError | None:
    """The message for a driver's error; None for a mistake in a statement, which is a defect and stays as it is.

    `committing`: the error came while the transaction was being committed, so a lost connection leaves the outcome unknown."""
    original = getattr(error, "orig", None) or error
    code = _code(original)
    family = code.split("_IOERR")[0] if code.startswith("SQLITE_IOERR") else code
    lost = bool(getattr(error, "connection_invalidated", False)) or code.startswith(("08", "SQLITE_IOERR")) or code in _AWAY
    if isinstance(original, psycopg.OperationalError) and code == "":
        lost = True
    if family in _FULL:
        return TerminalError(
            "DB-FULL",
            "数据库所在磁盘，或它排序用的临时目录所在磁盘已满。",
            _UNDONE,
            "清理或扩充磁盘空间后重跑本步骤。",
        )
    if family in _READ_ONLY:
        return TerminalError(
            "DB-READONLY",
            "数据库只能读，不能写。",
            _UNDONE,
            "检查数据库文件和目录的权限，或数据库是否处于备用状态，然后重跑。",
        )
    if family in _LOCKED or code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return TransientError(
            "DB-LOCKED", "数据库正被别的处理占用，等待超时。", _UNDONE, "稍后重跑本步骤；系统会自动重试。"
        )
    if family in _CONFLICT:
        return TransientError(
            "DB-CONFLICT",
            "与同时进行的另一处理冲突，数据库让本处理退出。",
            _UNDONE,
            "稍后重跑本步骤；系统会自动重试。",
        )
    if lost and committing:
        return TransientError(
            "DB-COMMIT-UNKNOWN",
            "提交时与数据库的连接中断，不知道是否已提交。",
            "要么全部生效，要么全部没有；重跑时先查步骤记录，不会重复记账。",
            "稍后重跑本步骤；系统会自动重试。",
        )
    if lost:
        return TransientError(
            "DB-AWAY",
            "连不上数据库，或连接中断。",
            _UNDONE,
            "确认数据库可用后重跑本步骤；系统会自动重试。",
        )
    if isinstance(original, (sqlite3.IntegrityError, psycopg.IntegrityError)):
        return TerminalError(
            "DB-REFUSED",
            f"数据库的约束拒绝了这次写入（{_constraint(original)}）。",
            _UNDONE,
            "把此信息和运行编号交给维护人员；不要手工改数据库。",
        )
    return None


def pool_exhausted() -> TransientError:
    """No connection became free in time."""
    return TransientError("DB-POOL", "数据库连接已用尽。", _UNDONE, "稍后重跑本步骤；系统会自动重试。")


def _code(original: object) -> str:
    if isinstance(original, sqlite3.Error):
        return str(getattr(original, "sqlite_errorname", "") or "")
    return str(getattr(original, "sqlstate", "") or "")


def _constraint(original: object) -> str:
    if isinstance(original, psycopg.Error):
        return original.diag.constraint_name or original.diag.message_primary or original.__class__.__name__
    return str(original)
