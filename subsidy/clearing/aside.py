"""Taking a file that was read out of a folder into which others write: it moves only when it is still what was read.

Looking at it first would not help: it may be replaced right after. So it moves under a hidden name, where nobody replaces it, is looked at
there, and then goes on or back. A process that dies in between leaves the hidden name behind, and the next one decides.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_SUFFIX = ".taking"


def take(path: Path, target: Path, was_read: Callable[[Path], bool]) -> bool:
    """Move `path` to `target`, replacing what is there, when `was_read` says so of the file as it lies aside; else it stays. Returns
    whether it moved. OSError as the file system raises it."""
    aside = path.with_name(f".{path.name}{_SUFFIX}")
    os.rename(path, aside)
    return decide(aside, target, was_read)


def decide(aside: Path, target: Path, was_read: Callable[[Path], bool]) -> bool:
    """Finish `take` of a file that lies aside."""
    if was_read(aside):
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(aside, target)
        return True
    back = aside.with_name(name_of(aside))
    try:
        os.link(aside, back)  # unlike a rename, never over a file that came still later
    except OSError:
        if not (back.exists() and back.samefile(aside)):
            os.rename(aside, free(back))  # visible under a name that somebody will ask about
            return False
    aside.unlink()
    return False


def left(folder: Path) -> list[Path]:
    """Files that lie aside in `folder` because a process died."""
    return sorted(path for path in folder.glob(f".*{_SUFFIX}") if path.is_file())


def name_of(aside: Path) -> str:
    """The name under which the file lay before it was put aside."""
    return aside.name[1 : -len(_SUFFIX)]


def free(path: Path) -> Path:
    """`path`, or with a number behind it when that is taken."""
    found, number = path, 1
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}.{number}")
    return found
