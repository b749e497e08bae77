"""The peak memory of a stretch of work: of this process as Linux counts it, and of the processes that it started, as they were seen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: Seconds between two looks at the processes that this one started.
LOOK_SECONDS = 0.02


@dataclass
class Peak:
    """The most memory that was held, in megabytes; known when the stretch has ended."""

    megabytes: int = 0


@contextmanager
def watched() -> Iterator[Peak]:
    """Watch a stretch of work. This process' own peak and that of all its children together are added, although they need not have met."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    peak, children, ended = Peak(), 0, threading.Event()

    def look() -> None:
        nonlocal children
        while not ended.wait(LOOK_SECONDS):
            children = max(children, sum(_kilobytes(path, "VmRSS:") for path in _children()))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield peak
    finally:
        ended.set()
        looking.join()
        peak.megabytes = (_kilobytes(Path("/proc/self/status"), "VmHWM:") + children) // 1024


def _children() -> list[Path]:
    found = []
    for task in Path("/proc/self/task").glob("*/children"):
        found += [Path("/proc", pid, "status") for pid in _text(task).split()]
    return found


def _kilobytes(status: Path, name: str) -> int:
    _, _, after = _text(status).partition(name)
    return int(after.split()[0]) if after else 0


def _text(path: Path) -> str:
    """What the file says; nothing when its process has just ended."""
    try:
        return path.read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return ""
