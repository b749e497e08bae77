"""What the machine refuses (disk, memory, open files), said to people where a step meets it outside its own writing of files."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from subsidy.clearing.outbox import cause_of
from subsidy.errors import TerminalError, TransientError

P = ParamSpec("P")
R = TypeVar("R")


def told(work: Callable[P, R]) -> Callable[P, R]:
    """`work`, whose OSError and MemoryError become TransientError ``MACHINE-REFUSED``: what is committed stays, the rest is done again."""

    @functools.wraps(work)
    def telling(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return work(*args, **kwargs)
        except (OSError, MemoryError) as error:
            raise TransientError(
                "MACHINE-REFUSED",
                f"读写文件或取用内存失败：{_cause(error)}。",
                "已完成的部分都已保存，没有做完的部分整体撤销；没有付款，没有重复记账。",
                "检查磁盘空间、目录权限和内存，然后重跑本步骤；系统会自动重试。",
            ) from error

    return telling


def stopped(error: OSError) -> TerminalError:
    """``MACHINE-REFUSED`` for a command from a shell, which nothing tries again."""
    return TerminalError(
        "MACHINE-REFUSED",
        f"读写文件失败：{_cause(error)}。",
        "账簿中没有做完的部分已整体撤销，重跑不会重复记账或付款；没有写完的文件不要使用。",
        "核对命令中的路径，检查磁盘空间和目录权限后重跑同一条命令。",
    )


def _cause(error: OSError | MemoryError) -> str:
    """Why the machine refused; of a path only the last name."""
    if isinstance(error, MemoryError):
        return "内存不足"
    name = Path(str(error.filename)).name if error.filename else ""
    return cause_of(error) + (f"（{name}）" if name else "")
