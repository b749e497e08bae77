"""The folder of a new centre, from the commented templates under ``rules/parameters/template/``."""

from __future__ import annotations

from pathlib import Path

from subsidy.errors import TerminalError
from subsidy.policy.archive import PARAMETERS, is_centre_name
from subsidy.policy.section import BLANK

FILES = ("policy.yaml", "files.yaml", "outbound.yaml", "cases.yaml")


def new_centre(rules: Path, name: str) -> list[Path]:
    """Write `rules`/`name` with all its files and return them. Never touches an existing folder.

    TerminalError ``CENTRE-NAME`` for a name that cannot be used, ``CENTRE-EXISTS``, ``CENTRE-TEMPLATE`` when the templates are missing.
    """
    if not is_centre_name(name):
        raise TerminalError(
            "CENTRE-NAME", f"“{name}”不能用作中心文件夹名。", "没有写入任何文件。", "用小写字母、数字和横线，以字母开头，如 jiaxing。"
        )
    texts = {}
    for file in FILES:
        path = rules / PARAMETERS / "template" / file
        if not path.is_file():
            raise TerminalError("CENTRE-TEMPLATE", f"缺少模板 {PARAMETERS}/template/{file}。", "没有写入任何文件。", "恢复该文件后重试。")
        texts[file] = path.read_text(encoding="utf-8").replace("@NAME@", name).replace("@PREFIX@", name.upper().replace("-", ""))
    folder = rules / name
    try:
        folder.mkdir()
    except FileExistsError:
        what = f"中心 {name} 的文件夹已存在。"
        raise TerminalError("CENTRE-EXISTS", what, "没有改动任何文件。", "换一个名字，或直接修改该文件夹。") from None
    written = []
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8", newline="\n")
        written.append(folder / file)
    return written


def blanks(path: Path) -> list[int]:
    """Line numbers in `path` that still wait to be filled in."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [number for number, line in enumerate(lines, 1) if BLANK in line.partition("#")[0]]
