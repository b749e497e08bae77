"""Typed reading of one mapping of a policy file: every value with its source, every fault told, unknown keys named.

A value is written plainly (``day: 20``) or with its own source (``day: {value: 20, basis: assumed}``,
``day: {value: 20, source: {document: …, article: …, link: …}}``). A mapping may carry ``basis`` or ``source`` for all its plain values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence as Items
from datetime import date
from typing import Literal, NamedTuple, cast

from subsidy.money import format_percent, parse_yuan, ppm_from_percent
from subsidy.policy.document import Mapping, Node, Scalar, Sequence
from subsidy.policy.model import Source
from subsidy.policy.problems import Problems, nearest

BASES = ("assumed", "document", "published", "derived")
#: How the absence of something optional is written.
NONE = "none"
#: What the template of a new centre holds where a person must write.
BLANK = "待填"

_SOURCE_KEYS = ("document", "article", "link")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Written(NamedTuple):
    """A value as found: its text, its line and where it comes from."""

    text: str
    line: int
    source: Source | None


class Section:
    """One mapping. Each reading method returns None when the value is missing, wrong, or (where allowed) ``none``."""

    def __init__(self, problems: Problems, file: str, node: Mapping, path: str = "", inherited: Source | None = None) -> None:
        self.problems, self.file, self.node, self.path = problems, file, node, path
        self.sources: dict[str, Source] = {}
        self._asked: set[str] = {"basis", "source", "note"}
        self._default = inherited
        own = self._source(node, path)
        if own is not None:
            self._default = own

    def key(self, name: str) -> str:
        """`name` with the path of this section."""
        return f"{self.path}.{name}" if self.path else name

    def line(self, name: str) -> int:
        """The line of key `name`, or of the section when it is missing."""
        return self.node.lines.get(name, self.node.line)

    def has(self, name: str) -> bool:
        """Whether `name` is written, with any value but ``none``."""
        node = self.node.entries.get(name)
        return node is not None and not (isinstance(node, Scalar) and node.text == NONE and not node.quoted)

    def add(self, code: str, name: str, what: str, *, value: str = "", allowed: str = "", near: str = "", todo: str = "") -> None:
        """A fault at key `name`."""
        self.problems.add(code, self.file, self.line(name), self.key(name), what, value=value, allowed=allowed, near=near, todo=todo)

    # --- values ------------------------------------------------------------------------------------------------------

    def text(self, name: str, pattern: str = "", allowed: str = "", *, default: str | None = None) -> str | None:
        """A non-empty text, matching the whole `pattern` when one is given."""
        written = self._written(name, default is None)
        if written is None:
            return default
        if not written.text or (pattern and not re.fullmatch(pattern, written.text)):
            self._wrong(name, written, allowed or "非空文字")
            return None
        return written.text

    def choice(self, name: str, allowed: Items[str], *, default: str | None = None) -> str | None:
        """One of the names in `allowed`."""
        written = self._written(name, default is None, NONE in allowed)
        if written is None:
            return default
        if written.text not in allowed:
            self._wrong(name, written, "、".join(allowed), nearest(written.text, allowed), "POL-CHOICE")
            return None
        return written.text

    def integer(self, name: str, low: int, high: int, *, optional: bool = False) -> int | None:
        """A whole number from `low` to `high`; with `optional`, ``none`` may stand for its absence."""
        written = self._written(name, True, optional)
        if written is None or (optional and written.text == NONE):
            return None
        if not _INTEGER.fullmatch(written.text) or not low <= int(written.text) <= high:
            self._wrong(name, written, f"{low} 到 {high} 的整数{'，或 none' if optional else ''}")
            return None
        return int(written.text)

    def amount(self, name: str, *, optional: bool = False) -> int | None:
        """An amount in fen, written in yuan with its unit: ``500.00元``."""
        written = self._written(name, True, optional)
        if written is None or (optional and written.text == NONE):
            return None
        try:
            fen = parse_yuan(written.text[:-1]) if written.text.endswith("元") else -1
        except ValueError:
            fen = -1
        if fen < 0:
            self._wrong(name, written, f"带单位的金额，如 500.00元{'，或 none' if optional else ''}")
            return None
        return fen

    def rate(self, name: str, high_ppm: int = 1_000_000, *, low_ppm: int = 0) -> int | None:
        """A rate or share in ppm, written in percent: ``4.90%``."""
        written = self._written(name, True)
        return None if written is None else self._rate(name, written, low_ppm, high_ppm)

    def _rate(self, name: str, written: Written, low_ppm: int, high_ppm: int) -> int | None:
        try:
            ppm = ppm_from_percent(written.text[:-1]) if written.text.endswith("%") else -1
        except ValueError:
            ppm = -1
        if not low_ppm <= ppm <= high_ppm:
            self._wrong(name, written, f"{format_percent(low_ppm)} 到 {format_percent(high_ppm)} 的百分数，最多四位小数，如 4.90%")
            return None
        return ppm

    def day(self, name: str, *, optional: bool = False) -> date | None:
        """A date as 2026-09-01; with `optional`, ``none`` for an open end."""
        written = self._written(name, True, optional)
        if written is None or (optional and written.text == NONE):
            return None
        value = read_date(written.text)
        if value is None:
            self._wrong(name, written, f"存在的日期，如 2026-09-01{'，或 none' if optional else ''}")
        return value

    def items(self, name: str, allowed: Items[str]) -> tuple[str, ...] | None:
        """A list of names, each one of `allowed`, none twice."""
        self._asked.add(name)
        node, source = self._inner(name)
        if node is None:
            return None
        if not isinstance(node, Sequence) or not node.items:
            self.add("POL-TYPE", name, "应为列表，至少一项。", allowed="、".join(allowed))
            return None
        self._keep(name, source, node.line)
        values: list[str] = []
        for item in node.items:
            text = item.text if isinstance(item, Scalar) else ""
            if text not in allowed or text in values:
                what = "重复。" if text in values else "不可用的值。"
                near = "" if text in values else nearest(text, allowed)
                names = "、".join(allowed)
                self.problems.add("POL-CHOICE", self.file, item.line, self.key(name), what, value=text, allowed=names, near=near)
            else:
                values.append(text)
        return tuple(values)

    def section(self, name: str, *, optional: bool = False) -> Section | None:
        """The mapping under `name`, inheriting this section's source."""
        self._asked.add(name)
        node = self.node.entries.get(name)
        if node is None:
            self._missing(name, optional)
            return None
        if optional and isinstance(node, Scalar) and node.text == NONE:
            if self._default is None:
                self._no_basis(name, node.line)
            else:
                self._keep(name, self._default, node.line)
            return None
        if not isinstance(node, Mapping):
            self.add("POL-TYPE", name, "应为“键: 值”的形式。")
            return None
        return Section(self.problems, self.file, node, self.key(name), self._default)

    def sections(self, name: str) -> list[Section]:
        """The list of mappings under `name`, at least one."""
        return [child for child in self.nodes(name) if isinstance(child, Section)]

    def nodes(self, name: str) -> list[Section | Scalar]:
        """The list under `name`: mappings as sections, texts as they are; anything else is a fault."""
        self._asked.add(name)
        node = self.node.entries.get(name)
        if node is None:
            self._missing(name)
            return []
        if not isinstance(node, Sequence) or not node.items:
            self.add("POL-TYPE", name, "应为列表，至少一项。")
            return []
        found: list[Section | Scalar] = []
        for place, item in enumerate(node.items, 1):
            path = f"{self.key(name)}[{place}]"
            if isinstance(item, Mapping):
                found.append(Section(self.problems, self.file, item, path, self._default))
            elif isinstance(item, Scalar):
                found.append(item)
            else:
                self.problems.add("POL-TYPE", self.file, item.line, path, "应为“键: 值”的形式。")
        return found

    def texts(self, name: str) -> list[Scalar]:
        """The list of single values under `name`; it may be empty."""
        self._asked.add(name)
        node = self.node.entries.get(name)
        if node is None:
            self._missing(name)
            return []
        if not isinstance(node, Sequence) or any(not isinstance(item, Scalar) for item in node.items):
            self.add("POL-TYPE", name, "应为单个值的列表，如 [2027-01-01]。")
            return []
        return [item for item in node.items if isinstance(item, Scalar)]

    def finish(self) -> None:
        """Name every key that nobody asked for. To be called when all keys were read."""
        for name in self.node.entries:
            if name not in self._asked:
                known = sorted(self._asked - {"basis", "source", "note"})
                self.add("POL-KEY-UNKNOWN", name, "没有这个键。", value=name, allowed="、".join(known), near=nearest(name, known))

    def own_source(self) -> Source | None:
        """The source of the section as one value (a gate, a suspension); a fault when there is none."""
        if self._default is None:
            self.problems.add(
                "POL-BASIS", self.file, self.node.line, self.path, "没有写明来源。",
                allowed="source（document、article、link）或 basis: assumed", todo="写明文件依据，或注明 basis: assumed。",
            )  # fmt: skip
            return None
        return _at(self._default, self.file, self.node.line)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _missing(self, name: str, optional: bool = False) -> None:
        todo = "补上；不适用时写 none。" if optional else "补上；这一项不能省略。"
        self.problems.add("POL-KEY-MISSING", self.file, self.node.line, self.key(name), "缺少这个键。", todo=todo)

    def _no_basis(self, name: str, line: int) -> None:
        self.problems.add(
            "POL-BASIS", self.file, line, self.key(name), "没有写明来源。",
            allowed="source（document、article、link）或 basis: assumed", todo="写明文件依据，或注明 basis: assumed。",
        )  # fmt: skip

    def _wrong(self, name: str, written: Written, allowed: str, near: str = "", code: str = "POL-TYPE") -> None:
        self.problems.add(code, self.file, written.line, self.key(name), "不可用的值。", value=written.text, allowed=allowed, near=near)

    def _keep(self, name: str, source: Source | None, line: int) -> None:
        if source is None:
            self._no_basis(name, line)
        else:
            self.sources[name] = _at(source, self.file, line)

    def _inner(self, name: str, required: bool = True, optional: bool = False) -> tuple[Node | None, Source | None]:
        """The node of a value and its source, whether written plainly or as ``{value: …}``."""
        node = self.node.entries.get(name)
        if node is None:
            if required:
                self._missing(name, optional)
            return None, None
        if not isinstance(node, Mapping):
            return node, self._default
        own = self._source(node, self.key(name))
        for key in node.entries:
            if key not in ("value", "basis", "source", "note"):
                self.problems.add(
                    "POL-KEY-UNKNOWN", self.file, node.lines[key], f"{self.key(name)}.{key}", "没有这个键。", value=key,
                    allowed="value、basis、source、note", near=nearest(key, ("value", "basis", "source", "note")),
                )  # fmt: skip
        inner = node.entries.get("value")
        if inner is None:
            self.problems.add("POL-KEY-MISSING", self.file, node.line, f"{self.key(name)}.value", "缺少值。", todo="写 value: 值。")
            return None, None
        return inner, own or self._default

    def _written(self, name: str, required: bool, optional: bool = False) -> Written | None:
        self._asked.add(name)
        node, source = self._inner(name, required, optional)
        if node is None:
            return None
        if not isinstance(node, Scalar):
            self.add("POL-TYPE", name, "应为单个值。")
            return None
        if node.text == BLANK:
            self.add("POL-BLANK", name, "尚未填写。", todo="按该行的注释填写。")
            return None
        self._keep(name, source, node.line)
        return Written(node.text, node.line, source)

    def _source(self, node: Mapping, path: str) -> Source | None:
        basis_node, source_node = node.entries.get("basis"), node.entries.get("source")
        if basis_node is None and source_node is None:
            return None
        line = node.lines.get("source", node.lines.get("basis", node.line))
        basis = "document"
        if basis_node is not None:
            basis = basis_node.text if isinstance(basis_node, Scalar) else ""
            if basis not in BASES:
                self.problems.add(
                    "POL-BASIS", self.file, node.lines["basis"], f"{path}.basis", "不可用的值。", value=basis, allowed="、".join(BASES),
                    near=nearest(basis, BASES),
                )  # fmt: skip
                basis = "assumed"
        parts = self._source_parts(source_node, path) if source_node is not None else {}
        if basis != "assumed" and not parts.get("document"):
            self.problems.add(
                "POL-BASIS", self.file, line, f"{path}.source" if path else "source", "来源没有写明文件名称或文号（document）。",
                todo="补上 source.document；没有文件依据时写 basis: assumed。",
            )  # fmt: skip
        typed = cast(Literal["published", "derived", "document", "assumed"], basis)
        return Source(typed, parts.get("document", ""), parts.get("article", ""), parts.get("link", ""), self.file, line)

    def _source_parts(self, node: Node, path: str) -> dict[str, str]:
        parts: dict[str, str] = {}
        if not isinstance(node, Mapping):
            self.problems.add("POL-BASIS", self.file, node.line, f"{path}.source", "来源应写 document、article、link。")
            return parts
        for key, value in node.entries.items():
            if key not in _SOURCE_KEYS or not isinstance(value, Scalar):
                self.problems.add(
                    "POL-KEY-UNKNOWN", self.file, node.lines[key], f"{path}.source.{key}", "没有这个键。", value=key,
                    allowed="、".join(_SOURCE_KEYS), near=nearest(key, _SOURCE_KEYS),
                )  # fmt: skip
            else:
                parts[key] = value.text
        return parts


def read_date(text: str) -> date | None:
    """The date of a text as 2026-09-01, None when it is none or lies outside 1900 to 2199."""
    try:
        day = date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        return None
    return day if day is not None and 1900 <= day.year < 2200 else None


def _at(source: Source, file: str, line: int) -> Source:
    return Source(source.basis, source.document, source.article, source.link, file, line)
