"""A private copy of an arrival: the inbox may change under a reader, the copy does not."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from subsidy.errors import TransientError
from subsidy.intake.arrival import Arrival


@contextmanager
def snapshot(arrival: Arrival, scratch: Path | None = None) -> Iterator[Arrival]:
    """The same arrival with its data file and companions copied into a folder of its own under `scratch`; removed afterwards.

    TransientError ``FILE-CHANGED`` when the file is not the one that was looked at, or changes while it is copied.
    """
    folder = Path(tempfile.mkdtemp(prefix="intake-", dir=scratch))
    try:
        path = _copy(arrival.path, folder)
        companions = {suffix: _copy(p, folder) for suffix, p in arrival.companions.items()}
        now = arrival.path.stat()
        looked_at = arrival.mtime_ns == 0 or (now.st_size == arrival.size and now.st_mtime_ns == arrival.mtime_ns)
        if not looked_at or path.stat().st_size != now.st_size:
            raise TransientError(
                "FILE-CHANGED", f"文件 {arrival.name} 在复制时仍在变化。", "没有读取其中任何内容。", "等对方写完；下一次自动再读。"
            )
        yield replace(arrival, path=path, companions=companions)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy(source: Path, folder: Path) -> Path:
    target = folder / source.name
    shutil.copyfile(source, target, follow_symlinks=True)
    return target
