"""A YAML file as a tree of texts with line numbers. Nothing is constructed or guessed: types are read by whoever asks for a key.

Aliases, tags, several documents, duplicate keys, deep nesting and large files are refused: a policy is a plain form filled in by people.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from subsidy.policy.problems import Problems

_MAX_BYTES = 512 * 1024
_MAX_DEPTH = 12
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Scalar:
    """A text as written, without quotation marks."""

    line: int
    text: str
    quoted: bool


@dataclass(slots=True)
class Sequence:
    """A list."""

    line: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Mapping:
    """Keys in the order written; `lines` has the line of each key."""

    line: int
    entries: dict[str, Node] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)


Node = Scalar | Sequence | Mapping


class _Refused(Exception):
    pass


def read_document(file: str, data: bytes, problems: Problems) -> Mapping | None:
    """The top-level mapping of a YAML file, or None when it cannot be read; all faults go to `problems`."""
    if len(data) > _MAX_BYTES:
        problems.add("POL-FILE", file, 0, "", f"文件过大：{len(data)} 字节。", allowed=f"最多 {_MAX_BYTES} 字节")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        problems.add("POL-FILE", file, line, "", "文件不是 UTF-8 编码。", allowed="UTF-8", todo="用 UTF-8 编码另存。")
        return None
    reader = _Reader(file, problems)
    try:
        node = reader.read(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        what = f"YAML 写法有误（第 {column} 列附近，解析器提示：{error.problem}）。"
        problems.add("POL-YAML", file, line, "", what, todo="检查缩进、冒号后的空格和引号。")
        return None
    except yaml.YAMLError:
        problems.add("POL-YAML", file, 0, "", "文件含有不可用的字符。", todo="删除控制字符后重试。")
        return None
    except _Refused:
        return None
    if not isinstance(node, Mapping):
        problems.add("POL-YAML", file, 1, "", "文件应为“键: 值”的形式。")
        return None
    return node


class _Reader:
    def __init__(self, file: str, problems: Problems) -> None:
        self._file, self._problems = file, problems

    def read(self, text: str) -> Node | None:
        events = yaml.parse(text, Loader=_LOADER)
        root: Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(event, "文件含有多个 YAML 文档。")
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event, events, 0, "")
        return root

    def _refuse(self, event: Any, what: str) -> None:
        self._problems.add("POL-YAML", self._file, event.start_mark.line + 1, "", what)
        raise _Refused

    def _node(self, event: Any, events: Iterator[Any], depth: int, path: str) -> Node:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._refuse(event, "不允许使用锚点和别名（& 和 *）。")
        if depth > _MAX_DEPTH:
            self._refuse(event, f"嵌套超过 {_MAX_DEPTH} 层。")
        if isinstance(event, yaml.ScalarEvent):
            if event.tag is not None and event.tag != "!":
                self._refuse(event, f"不允许使用标签 {event.tag}。")
            return Scalar(line, event.value, event.style in ('"', "'", "|", ">"))
        if event.tag is not None:
            self._refuse(event, f"不允许使用标签 {event.tag}。")
        if isinstance(event, yaml.SequenceStartEvent):
            sequence = Sequence(line)
            while not isinstance(item := next(events), yaml.SequenceEndEvent):
                sequence.items.append(self._node(item, events, depth + 1, f"{path}[{len(sequence.items) + 1}]"))
            return sequence
        mapping = Mapping(line)
        while not isinstance(item := next(events), yaml.MappingEndEvent):
            key = self._node(item, events, depth + 1, path)
            if not isinstance(key, Scalar):
                self._refuse(item, "键必须是文字。")
                raise _Refused
            full = f"{path}.{key.text}" if path else key.text
            node = self._node(next(events), events, depth + 1, full)
            if key.text in mapping.entries:
                what = f"键重复，已在第 {mapping.lines[key.text]} 行写过。"
                self._problems.add("POL-DUPLICATE-KEY", self._file, key.line, full, what, todo="删去其中一处。")
                continue
            mapping.entries[key.text] = node
            mapping.lines[key.text] = key.line
        return mapping
