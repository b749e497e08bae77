"""Make a file visible: written beside, fsynced, an intent row, then renamed; numbered versions, a new one only when the content is new.

A file that is there with other bytes is never replaced: it was given out after a backup that was restored, and its number is left out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from subsidy.clearing.outbox import cause_of, holds_other
from subsidy.errors import TerminalError, TransientError
from subsidy.ledger import tables
from subsidy.ledger.database import Database
from subsidy.night.context import Run
from subsidy.settings import Settings


def show(
    db: Database,
    settings: Settings,
    centre: str,
    token: int,
    kind: str,
    folder: Path,
    stem: str,
    suffix: str,
    run: Run,
    write: Callable[[Path], Any],
) -> str:
    """Write a file through `write(path)` and show it as ``<stem>-V001<suffix>`` in `folder`; the next version when the last one differs.

    Returns the path relative to the home folder. A crash anywhere and the same call again end in the same file. Errors: TransientError
    ``FILE-DISK`` when the disk does not take it; nothing half-written is visible then."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".{stem}.part"  # the same name again, so that a killed process leaves nothing behind
        try:
            write(beside)
            _sync(beside)
            digest, size = _digest(beside)
            path, fresh = _intend(db, settings, centre, token, kind, folder, stem, suffix, run, digest, size)
            if fresh or not (settings.home / path).exists():
                os.replace(beside, settings.home / path)
                _sync(folder)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise TransientError(
            "FILE-DISK",
            f"写文件失败：{cause_of(error)}（{stem}）。",
            "没有留下不完整的文件，账簿未动。",
            "检查磁盘空间和目录权限后重跑本步骤。",
        ) from None
    with db.transaction(centre, token) as conn:
        t = tables.published_file
        conn.execute(sa.update(t).where(t.c.centre == centre, t.c.path == path).values(state="published"))
    return path


def _intend(
    db: Database,
    settings: Settings,
    centre: str,
    token: int,
    kind: str,
    folder: Path,
    stem: str,
    suffix: str,
    run: Run,
    digest: str,
    size: int,
) -> tuple[str, bool]:
    t = tables.published_file
    base = str(folder.relative_to(settings.home) / stem)
    with db.transaction(centre, token) as conn:
        versions = conn.execute(
            sa.select(t.c.path, t.c.sha256)
            .where(t.c.centre == centre, t.c.kind == kind, t.c.path.startswith(f"{base}-V", autoescape=True))
            .order_by(t.c.path)
        ).all()
        if versions and versions[-1].sha256 == digest:
            return str(versions[-1].path), False
        number = int(versions[-1].path.removeprefix(f"{base}-V")[:3]) + 1 if versions else 1
        while holds_other(settings.home / f"{base}-V{number:03d}{suffix}", digest):
            number += 1
        if number > 999:
            raise TerminalError("FILE-VERSIONS", f"{stem} 已有 999 个版本。", "没有写新文件。", "请系统维护人员查明为何内容不断变化。")
        path = f"{base}-V{number:03d}{suffix}"
        conn.execute(
            sa.insert(t).values(
                centre=centre,
                path=path,
                kind=kind,
                sha256=digest,
                bytes=size,
                business_date=run.business_date,
                run_no=run.run_no,
                batch_no=0,
                state="intent",
            )
        )
    return path, True


def _digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest(), path.stat().st_size


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
