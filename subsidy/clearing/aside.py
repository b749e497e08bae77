"""Taking a file that was read out of a folder into which others write: it moves only when it is still what was read.

Looking at it first would not help: it may be replaced right after. So it moves into a hidden folder, where nobody replaces it, is looked at
there, and then goes on or back. A process that dies in between leaves it there, and the next one decides.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_FOLDER = ".taking"
_NAME_BYTES = 255


def take(path: Path, target: Path, was_read: Callable[[Path], bool]) -> bool:
    """Move `path` to `target`, replacing what is there, when `was_read` says so of the file as it lies aside; else it stays. Returns
    whether it moved. OSError as the file system raises it."""
    aside = path.parent / _FOLDER / path.name
    aside.parent.mkdir(exist_ok=True)
    os.rename(path, aside)
    return decide(aside, target, was_read)


def decide(aside: Path, target: Path, was_read: Callable[[Path], bool]) -> bool:
    """Finish `take` of a file that lies aside."""
    if was_read(aside):
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(aside, target)
        return True
    back = aside.parent.with_name(aside.name)
    try:
        os.link(aside, back)  # unlike a rename, never over a file that came still later
    except OSError:
        if not (back.exists() and back.samefile(aside)):
            os.rename(aside, free(back))  # visible with a number: a bank file is read so, of another somebody will ask
            return False
    aside.unlink()
    return False


def left(folder: Path) -> list[Path]:
    """Files that lie aside in `folder` because a process died."""
    hidden = folder / _FOLDER
    return sorted(path for path in hidden.iterdir() if path.is_file()) if hidden.is_dir() else []


def free(path: Path) -> Path:
    """`path`, or with a number behind it when that is taken; a name that gets too long is cut."""
    found, number = path, 1
    while found.exists():
        number += 1
        behind = f".{number}"
        found = path.with_name(os.fsdecode(os.fsencode(path.name)[: _NAME_BYTES - len(behind)]) + behind)
    return found
