"""Reading one mapping of a cases file: names in Chinese or English, every fault told with its file, line and key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from subsidy.policy.document import Mapping as Node
from subsidy.policy.document import Node as AnyNode
from subsidy.policy.document import Scalar, Sequence
from subsidy.policy.problems import Problems, nearest

Value = TypeVar("Value")


class Form:
    """One mapping. `names` maps every accepted key to the name under which it is asked for."""

    def __init__(self, problems: Problems, file: str, node: Node, path: str, names: Mapping[str, str]) -> None:
        self.problems, self.file, self.node, self.path = problems, file, node, path
        self.entries: dict[str, AnyNode] = {}
        self.written: dict[str, str] = {}
        for key, value in node.entries.items():
            name = names.get(key)
            if name is None:
                near = nearest(key, names)
                self.fault(node.lines[key], key, "没有这个键。", value=key, near=near, allowed="" if near else "、".join(_chinese(names)))
            elif name in self.entries:
                self.fault(node.lines[key], key, f"与“{self.written[name]}”是同一项，写了两次。")
            else:
                self.entries[name], self.written[name] = value, key

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def key(self, name: str) -> str:
        """The full key of `name` as written."""
        return self._full(self.written.get(name, name))

    def _full(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def line(self, name: str) -> int:
        """The line of `name`, or of the mapping."""
        return self.node.lines.get(self.written.get(name, ""), self.node.line)

    def fault(self, line: int, key: str, what: str, *, value: str = "", near: str = "", allowed: str = "") -> None:
        """One fault below this mapping."""
        self.problems.add("CASE-FAULT", self.file, line, self._full(key), what, value=value, near=near, allowed=allowed)

    def missing(self, label: str) -> None:
        """A key that must be there is not."""
        self.problems.add("CASE-FAULT", self.file, self.node.line, self.path, f"缺少“{label}”。")

    def value(self, name: str, read: Callable[[str], Value]) -> Value | None:
        """The single value of `name` as `read` understands it; None when absent or wrong."""
        node = self.entries.get(name)
        return None if node is None else self.read(node, self.written[name], read)

    def read(self, node: AnyNode, key: str, read: Callable[[str], Value]) -> Value | None:
        """A single value below this mapping."""
        if not isinstance(node, Scalar):
            self.fault(node.line, key, "应为单个值。")
            return None
        try:
            return read(node.text)
        except ValueError as error:
            self.fault(node.line, key, f"{error}。", value=node.text)
            return None

    def values(self, name: str, count: int, read: Callable[[str], Value]) -> list[Value] | None:
        """One value for each of `count` rows: a list of that length, or a single value for all."""
        node = self.entries.get(name)
        if isinstance(node, Sequence):
            if len(node.items) != count:
                self.fault(node.line, self.written[name], f"应有 {count} 个值，现有 {len(node.items)} 个。")
                return None
            found = [self.read(item, self.written[name], read) for item in node.items]
            return None if any(value is None for value in found) else [value for value in found if value is not None]
        one = self.value(name, read)
        return None if one is None else [one] * count

    def form(self, name: str, names: Mapping[str, str]) -> Form | None:
        """The mapping under `name`."""
        forms = list(self.forms(name, names))
        return forms[0] if forms else None

    def forms(self, name: str, names: Mapping[str, str]) -> Iterator[Form]:
        """The mappings under `name`: a list of them, or a single one."""
        node = self.entries.get(name)
        if node is None:
            return
        items = node.items if isinstance(node, Sequence) else [node]
        for place, item in enumerate(items, 1):
            key = f"{self.written[name]}[{place}]" if isinstance(node, Sequence) else self.written[name]
            if isinstance(item, Node):
                yield Form(self.problems, self.file, item, self._full(key), names)
            else:
                self.fault(item.line, key, "应为“键: 值”的形式。")


def _chinese(names: Mapping[str, str]) -> list[str]:
    return [name for name in names if not name.isascii()]
