"""The command line's parser, which speaks Chinese."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

#: What argparse says of a wrong command line, and what we say; what a type of ours says is Chinese already.
_SAID = (
    (r"the following arguments are required: (.+)", r"缺少 \1。"),
    (r"argument (.+?): invalid choice: (.+) \(choose from (.+)\)", r"\1 不能是 \2，可用：\3。"),
    (r"argument (.+?): expected (?:one|at least one) argument", r"\1 后面要写值。"),
    (r"argument (.+?): invalid int value: (.+)", r"\1 应为整数，现为 \2。"),
    (r"argument (.+?): ignored explicit argument (.+)", r"\1 不带值，却写了 \2。"),
    (r"argument (.+?): not allowed with argument (.+)", r"\1 不能与 \2 同时写。"),
    (r"ambiguous option: (.+) could match (.+)", r"\1 不明确，可以是 \2。"),
    (r"unrecognized arguments: (.+)", r"不认识 \1。"),
    (r"argument (.+?): (.+)", r"\1：\2。"),
)


class _Formatter(argparse.HelpFormatter):
    def add_usage(self, usage: str | None, actions: Iterable[argparse.Action], groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, "用法：" if prefix is None else prefix)


class Parser(argparse.ArgumentParser):
    """ArgumentParser whose headings and errors are Chinese; sub commands are parsed by the same class."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Formatter, add_help=False, **options)
        self._positionals.title, self._optionals.title = "参数", "选项"
        self.add_argument("-h", "--help", action="help", help="显示本说明后退出")

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line and leave with exit code 2."""
        self.print_usage(sys.stderr)
        for english, chinese in _SAID:
            found = re.fullmatch(english, message, re.DOTALL)
            if found is not None:
                message = found.expand(chinese)
                break
        self.exit(2, f"{self.prog}：{message}没有执行任何操作；加 --help 查看用法。\n")
