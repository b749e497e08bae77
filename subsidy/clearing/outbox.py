"""Making a file visible to a bank, once: written beside, synced, read back, archived, renamed.

The archive copy in the write-once store is made after the temporary file is complete and before it is renamed. So after a crash:

==========  ==============  ===============  ==========================================================
archived    beside          in the outbox    meaning
==========  ==============  ===============  ==========================================================
no          –               no               never left: write it
yes         yes             no               never left: the rename is all that is missing
any         no              yes              it left: finish the books
yes         no              no               it left and was taken: finish the books, ask the bank
==========  ==============  ===============  ==========================================================
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from subsidy.clearing.aside import free
from subsidy.errors import SubsidyError, TerminalError, TransientError
from subsidy.facts.store import Store

#: Folder in an outbox, hidden from banks, for files of batches that the bank said it did not pay.
WITHDRAWN = ".withdrawn"
Outcome = Literal["written", "there", "taken"]


def beside(path: Path) -> Path:
    """Where the file `path` lies while it is being written; hidden from banks."""
    return path.with_name(f".{path.name}.part")


def release(
    path: Path,
    pieces: Callable[[], Iterable[bytes | memoryview]],
    sha256: str,
    store: Store,
    *,
    check: Callable[[Path], None],
    before_leaving: Callable[[], None],
    left: bool = False,
) -> Outcome:
    """Make a file visible under `path` exactly once, whatever happened before.

    `pieces` gives the bytes, whose SHA-256 is `sha256`. `check` reads the file back and raises when it is not what the ledger says;
    `before_leaving` is called just before the rename and raises when the caller may no longer act (TerminalError) or cannot know
    (TransientError); what lies beside then stays for the next attempt, unless whoever took over may have published the file. `left`: it is
    known, or to be feared, that the file left before, although the archive may have been lost since; it is not written again.
    TransientError ``PUBLISH-DISK`` when the disk is full, read-only or failing; TerminalError ``PUBLISH-CLASH`` when another file has the
    name.
    """
    temporary, alone = beside(path), True
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if file_digest(path) != sha256:
                raise _clash(path)
            temporary.unlink(missing_ok=True)
            return "there"
        if left:
            temporary.unlink(missing_ok=True)
            return "taken"
        archived = store.exists(Store.raw_path(sha256))
        if archived and not temporary.exists():
            return "taken"
        if not (archived and file_digest(temporary) == sha256):
            _write(temporary, pieces())
            check(temporary)
            # Archived by another since this attempt looked: the file may have left before it was written beside here.
            alone = not store.exists(Store.raw_path(sha256))
            if store.put_file(temporary) != sha256:
                temporary.unlink()
                raise TerminalError(
                    "PUBLISH-READBACK",
                    f"文件 {path.name} 写出后的内容与批次记录不一致。",
                    "文件没有发布。",
                    "检查磁盘后重试；仍不一致时交给维护人员。",
                )
        try:
            before_leaving()
        except TerminalError:
            if not alone:
                _discard(temporary)  # left beside, it would say that the file never left
            raise
        os.replace(temporary, path)
        sync_folder(path.parent)
    except SubsidyError:
        raise
    except OSError as error:
        raise disk_error(path, error) from error
    return "written"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside, sync it and rename it. TerminalError ``PUBLISH-CLASH`` when another file has the name: people may have it."""
    if holds_other(path, hashlib.sha256(data).hexdigest()):
        raise _clash(path)
    lay_beside(path, data)
    show(path)


def lay_beside(path: Path, data: bytes) -> None:
    """Write the file `path` and sync it, hidden from banks until `show`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(beside(path), [data])
    except OSError as error:
        raise disk_error(path, error) from error


def show(path: Path) -> None:
    """Make the file that was laid beside `path` visible; replaces an older file of that name."""
    try:
        os.replace(beside(path), path)
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(path, error) from error


def withdraw(path: Path) -> None:
    """Put a file that the bank must not fetch any more out of its sight, if it still lies there; TransientError ``PUBLISH-DISK``."""
    try:
        if path.exists():
            hidden = path.parent / WITHDRAWN
            hidden.mkdir(exist_ok=True)
            os.replace(path, free(hidden / path.name))
            sync_folder(hidden)
            sync_folder(path.parent)
    except FileNotFoundError:
        return  # the bank was faster
    except OSError as error:
        raise disk_error(path, error) from error


def _write(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    try:
        with open(path, "wb") as handle:
            for piece in pieces:
                handle.write(piece)
            handle.flush()
            os.fsync(handle.fileno())
    except OSError:
        _discard(path)
        raise


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # a half-written hidden file stays behind; the next attempt writes it anew


def room_for(folder: Path, size: int) -> None:
    """TransientError ``PUBLISH-DISK`` when `folder` has no room for `size` more bytes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise disk_error(folder / "_", error) from error
    if free < size:
        raise disk_error(folder / "_", OSError(errno.ENOSPC, "no space"))


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def holds_other(path: Path, sha256: str) -> bool:
    """Whether a file with other bytes than those of `sha256` has the name, as one from after a backup that was restored."""
    try:
        return path.exists() and file_digest(path) != sha256
    except OSError as error:
        raise disk_error(path, error) from error


def _clash(path: Path) -> TerminalError:
    return TerminalError(
        "PUBLISH-CLASH",
        f"待发目录中已有同名而内容不同的文件 {path.name}。",
        "没有覆盖它，也没有发布新文件。",
        "查明该文件的来历并移走后重试。",
    )


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_CAUSES = {
    errno.ENOSPC: "磁盘已满（空间或文件数）",
    errno.EDQUOT: "磁盘配额已用完",
    errno.EROFS: "目录只读",
    errno.EACCES: "没有写权限",
    errno.EPERM: "没有写权限",
    errno.EIO: "磁盘读写错误",
    errno.EMFILE: "打开的文件太多",
    errno.ENFILE: "打开的文件太多",
    errno.ENOMEM: "内存不足",
    errno.ENOENT: "文件或目录不存在",
    errno.ENOTDIR: "路径中有一段不是目录",
    errno.EISDIR: "是目录，不是文件",
}


def cause_of(error: OSError) -> str:
    """Why the machine refused, in words."""
    return _CAUSES.get(error.errno or 0, f"系统错误 {error.errno}")


def disk_error(path: Path, error: OSError) -> TransientError:
    """What to say when a file cannot be written."""
    return TransientError(
        "PUBLISH-DISK",
        f"不能在目录 {path.parent.name} 写文件：{cause_of(error)}。",
        "没有半截的文件可见；账簿中的批次未变，已发布的文件不受影响。",
        "清理磁盘或恢复写权限后重试，系统从中断处继续。",
    )
