"""YAML with places: every value knows its line, a key that stands twice is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from subsidy.errors import Finding

Keys = tuple[str | int, ...]


class Document:
    """A YAML file as plain values, and the 1-based line of each path of keys. `findings` holds what could not be read."""

    def __init__(self, path: Path, shown: str) -> None:
        self.file_name = shown
        self.lines: dict[Keys, int] = {(): 1}
        self.findings: list[Finding] = []
        self.value: Any = None
        try:
            node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            mark = getattr(error, "problem_mark", None)
            self.findings.append(
                Finding(
                    "PROFILE-YAML", "error", "文件不是合法的 UTF-8 YAML，或无法读取。", "按提示的行改正语法。",
                    file_name=shown, line_no=mark.line + 1 if mark else 0, rule="YAML 1.1，UTF-8",
                )
            )
            return
        if node is not None:
            self.value = self._build(node, ())

    def _build(self, node: yaml.Node, at: Keys) -> Any:
        self.lines[at] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            result: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = str(key_node.value)
                where = (*at, key)
                if key in result:
                    self.findings.append(
                        Finding(
                            "PROFILE-TWICE", "error", f"键 {key} 出现两次。", "删去其中一个。",
                            file_name=self.file_name, line_no=key_node.start_mark.line + 1, field=dotted(where), rule="同一层的键不得重复",
                        )
                    )
                result[key] = self._build(value_node, where)
                self.lines[where] = key_node.start_mark.line + 1
            return result
        if isinstance(node, yaml.SequenceNode):
            return [self._build(child, (*at, i)) for i, child in enumerate(node.value)]
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_object(node)
        except (ValueError, yaml.YAMLError):
            return node.value

    def line(self, at: Keys) -> int:
        """Line of the value at `at`, or of the nearest enclosing one."""
        while at not in self.lines:
            at = at[:-1]
        return self.lines[at]


def dotted(at: Keys) -> str:
    """``inbound.main.tables.TX01``."""
    return ".".join(str(k) for k in at)
