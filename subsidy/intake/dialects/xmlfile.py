"""XML of one shape: a root with the identity as attributes, one element a row, one element a field, totals at the end.

Document types, entities, processing instructions, comments and CDATA are refused before anything is expanded, so that neither bombs nor
external references exist here. Without them ``</row>`` can only be the end of a row, so the rows between root and totals are cut into
chunks there, and each chunk is parsed by itself: by columns when every row is written in the usual way, by expat otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO
from xml.parsers import expat

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from subsidy.intake.delivery import Block, Broken, Control
from subsidy.intake.dialects.columns import joined, of_one_shape, whole_lines
from subsidy.intake.dialects.lines import BLOCK_BYTES, BOM, count_feeds, decode
from subsidy.intake.faults import refuse
from subsidy.intake.identity import read_count
from subsidy.intake.profile import Profile, TableSpec
from subsidy.money import Spans

_HEAD_BYTES = 1 << 16


class XmlReader:
    """Reads `stream` up to the end of the root's start tag; then `rows` hands out the rest."""

    def __init__(self, stream: BinaryIO, profile: Profile, block_bytes: int = BLOCK_BYTES) -> None:
        assert profile.xml is not None
        self._block_bytes = block_bytes
        self._stream = stream
        self._profile = profile
        self._form = profile.xml
        head = stream.read(_HEAD_BYTES)
        if not head:
            raise refuse("FILE-EMPTY")
        if head.startswith(BOM):
            raise refuse("FILE-BOM", line_no=1, expect="无 BOM")
        root = _Root(profile)
        end = root.feed(head)
        self.identity = root.identity
        self._rest = head[end:]
        self._line_no = 1 + head.count(b"\n", 0, end)

    def rows(self, spec: TableSpec, control: Control) -> Iterator[XmlChunk]:
        """The rows as chunks; fills `control` from the totals element at the end."""
        closing = f"</{self._form.row}>".encode()
        limits = self._profile.limits
        while True:
            data = self._stream.read(self._block_bytes)
            block = self._rest + data
            cut = block.rfind(closing)
            cut = cut + len(closing) if cut >= 0 else 0
            cut += block.startswith(b"\n", cut) if cut else 0
            if data and not cut and len(block) > limits.line_bytes + self._block_bytes:
                raise refuse("FILE-LINE-LONG", line_no=self._line_no, limit=limits.line_bytes)
            chunk, self._rest = block[:cut], block[cut:]
            if chunk:
                yield XmlChunk(self._profile, spec, self._line_no, chunk)
                self._line_no += count_feeds(chunk)
            if not data:
                break
        totals = _Tail(self._profile, self._line_no).read(self._rest)
        if totals is None:
            raise refuse("FILE-TRAILER", table=spec.table.code, where=f"没有 {self._form.totals}")
        control.rows = read_count(totals.pop(self._form.rows, ""), "FILE-TRAILER", self._form.rows)
        by_name = {c.name: c.column.code for c in spec.amounts if c.column is not None}
        if set(totals) != set(by_name):
            raise refuse("FILE-TRAILER", table=spec.table.code, where="合计的列与金额列不一致")
        control.sums = {by_name[name]: text for name, text in totals.items()}


@dataclass(frozen=True, slots=True)
class XmlChunk:
    """Whole rows of an XML file, from line `first_line`, and whatever stands between them."""

    profile: Profile
    spec: TableSpec
    first_line: int
    data: bytes

    def parse(self) -> Block:
        """Cut the rows. FileRefused when the chunk is not well-formed, not UTF-8 or not of the declared shape."""
        utf8 = decode(self.data, self.profile, self.first_line)
        block = self._usual(utf8)
        return block if block is not None else _Rows(self.profile, self.spec, self.first_line).read(utf8)

    def _usual(self, utf8: bytes) -> Block | None:
        """The chunk by columns when each row is one line of all fields in the declared order; None when any is not."""
        assert self.profile.xml is not None
        row, names = self.profile.xml.row, [c.name for c in self.spec.columns]
        rest = utf8.lstrip(b"\n")
        before = len(utf8) - len(rest)
        if rest.endswith(b"\n\n"):
            rest = rest.rstrip(b"\n")
        tags = [(f"<{name}>".encode(), f"</{name}>".encode()) for name in names]
        parts = []
        for lines in whole_lines(rest):
            found = _texts(lines, f"<{row}>".encode(), tags, f"</{row}>\n".encode())
            if found is None:
                return None
            parts.append(found)
        entities, columns = b"&" in rest, {}
        for c, texts in zip(self.spec.columns, joined(parts, len(names)), strict=True):
            if entities:
                unescaped = _unescaped(texts.array())
                if unescaped is None:
                    return None
                texts = Spans.of(unescaped)
            if c.column is not None:
                columns[c.column.code] = texts
        start, rows = self.first_line + before, sum(len(part) for part in parts) // len(names)
        raws: list[bytes] = []

        def raw(i: int) -> bytes:
            if not raws:
                raws.extend(rest.split(b"\n"))
            return raws[i]

        return Block(columns, rows, np.arange(start, start + rows), raw)


def _texts(lines: NDArray[np.uint8], begin: bytes, tags: list[tuple[bytes, bytes]], end: bytes) -> pa.Array | None:
    """The fields of a part column by column; None unless each of its lines is `begin`, the `tags` in order with a text in each, `end`."""
    usual = begin + b"".join(a + b for a, b in tags) + end
    rows, fields = int(np.count_nonzero(lines == 10)), len(tags)
    opened = np.flatnonzero(lines == ord("<"))
    # Neither an angle bracket nor a control character in a text.
    if len(opened) != rows * (2 * fields + 2) or int(np.count_nonzero(lines == ord(">"))) != len(opened):
        return None
    if int(np.count_nonzero(lines < 32)) != rows:
        return None
    high = np.flatnonzero(lines == 0xEF)
    if len(high) and bool(((lines.take(high + 1) == 0xBF) & (lines.take(high + 2) >= 0xBE)).any()):
        return None  # U+FFFE and U+FFFF are no characters of XML
    starts = opened.reshape(rows, 2 * fields + 2)
    places = np.empty((rows, fields, 2), np.int32)
    places[:, :, 0] = starts[:, 1:-1:2] + np.array([len(a) for a, _ in tags])
    places[:, :, 1] = starts[:, 2:-1:2]
    return of_one_shape(lines, places, usual)


def _unescaped(texts: pa.Array) -> pa.Array | None:
    """`texts` with the five entities of XML itself replaced; None when there is another, or a character by its number."""
    if not pc.any(pc.match_substring(texts, "&")).as_py():
        return texts
    for entity, char in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'")):
        texts = pc.replace_substring(texts, entity, char)
    if pc.sum(pc.count_substring(texts, "&")).as_py() != pc.sum(pc.count_substring(texts, "&amp;")).as_py():
        return None
    return pc.replace_substring(texts, "&amp;", "&")


class _Parser:
    """expat with everything refused that plain data does not need."""

    def __init__(self, profile: Profile, first_line: int) -> None:
        assert profile.xml is not None
        self._profile = profile
        self._form = profile.xml
        self._first_line = first_line
        self._depth = 0
        self._parser = expat.ParserCreate("utf-8")
        self._parser.buffer_text = True
        self._parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        self._parser.StartElementHandler = self._enter
        self._parser.EndElementHandler = self._leave
        self._parser.CharacterDataHandler = self._characters
        for name in (
            "StartDoctypeDeclHandler", "EntityDeclHandler", "UnparsedEntityDeclHandler", "ExternalEntityRefHandler", "CommentHandler",
            "ProcessingInstructionHandler", "StartCdataSectionHandler", "SkippedEntityHandler",
        ):
            setattr(self._parser, name, _unsafe)

    @property
    def line(self) -> int:
        """The line of the file at which the parser stands."""
        return self._first_line + self._parser.CurrentLineNumber - 1

    def _parse(self, data: bytes, final: bool) -> None:
        try:
            self._parser.Parse(data, final)
        except expat.ExpatError as error:
            line = self._first_line + error.lineno - 1
            if error.code == expat.errors.codes[expat.errors.XML_ERROR_INVALID_TOKEN] and _undecodable(data):
                raise refuse("FILE-ENCODING", line_no=line, encoding=self._profile.encoding, where=f"第 {line} 行") from None
            raise refuse("XML-BROKEN", line_no=line) from None
        except LookupError:
            raise refuse("FILE-ENCODING", encoding=self._profile.encoding, where="XML 声明了别的编码") from None

    def _wrong(self, where: str) -> Exception:
        return refuse("XML-GRAMMAR", line_no=self.line, where=where)

    def _enter(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1

    def _leave(self, name: str) -> None:
        self._depth -= 1

    def _characters(self, text: str) -> None:
        if text.strip():
            raise self._wrong("元素之间有文字")


class _Root(_Parser):
    """The document up to the end of the root's start tag."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile, 1)
        self.identity: dict[str, str] = {}
        self._end = -1
        self._parser.XmlDeclHandler = self._declared

    def feed(self, head: bytes) -> int:
        """Read `head`; where the root's start tag ends. FileRefused when it does not."""
        # Feed tag by tag: nothing behind the root's start tag is to be judged here.
        at = 0
        while not self.identity:
            end = head.find(b">", at) + 1
            if not end:
                self._parse(head[at:], False)
                raise refuse("XML-BROKEN")
            self._parse(head[at:end], False)
            at = end
        return at

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.upper() != "UTF-8":
            raise refuse("FILE-ENCODING", encoding=self._profile.encoding, where="XML 声明了别的编码")

    def _enter(self, name: str, attributes: dict[str, str]) -> None:
        form = self._form
        if name != form.root or set(attributes) != set(form.identity.values()):
            raise self._wrong(f"根元素应为 {form.root}，属性应为 {'、'.join(form.identity.values())}")
        self.identity = {part: attributes[key] for part, key in form.identity.items()}


class _Tail(_Parser):
    """What follows the last row: the totals and the end of the root."""

    def __init__(self, profile: Profile, first_line: int) -> None:
        super().__init__(profile, first_line)
        self._totals: dict[str, str] | None = None

    def read(self, tail: bytes) -> dict[str, str] | None:
        """The totals, None when there are none. FileRefused when the document does not end there."""
        self._parse(f"<{self._form.root}>".encode(), False)
        self._parse(tail, True)
        return self._totals

    def _enter(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1:
            return
        if self._depth > 2 or name != self._form.totals or self._totals is not None:
            raise self._wrong(f"不应有元素 {name[:30]}")
        self._totals = dict(attributes)


class _Rows(_Parser):
    """Rows written in any legal way."""

    def __init__(self, profile: Profile, spec: TableSpec, first_line: int) -> None:
        super().__init__(profile, first_line)
        self._spec = spec
        self._names = {c.name for c in spec.columns}
        self._needed = {c.name for c in spec.columns if c.column is not None}
        self._data = b""
        self._before = len(profile.xml.root) + 2 if profile.xml is not None else 0
        self._row: dict[str, str] = {}
        self._field = ""
        self._text: list[str] = []
        self._start = 0
        self._start_line = 0
        self._bad = False
        self._rows: list[tuple[int, dict[str, str], bytes]] = []
        self._broken: list[Broken] = []

    def read(self, chunk: bytes) -> Block:
        """The rows of `chunk`; a row with a field that is missing, unknown or there twice is broken."""
        self._data = chunk
        self._parse(f"<{self._form.root}>".encode() + chunk + f"</{self._form.root}>".encode(), True)
        used = [(c.name, c.column.code) for c in self._spec.columns if c.column is not None]
        columns = {code: Spans.of(pa.array([row[name] for _, row, _ in self._rows], pa.string())) for name, code in used}
        raws = [raw for _, _, raw in self._rows]
        lines = np.array([line for line, _, _ in self._rows], np.int64)
        return Block(columns, len(raws), lines, lambda i: raws[i], self._broken)

    def _enter(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1:
            return
        if self._depth == 2 and name == self._form.row and not attributes:
            self._row, self._bad, self._start_line = {}, False, self.line
            self._start = self._parser.CurrentByteIndex - self._before
        elif self._depth == 3 and not attributes:
            self._bad |= name not in self._names or name in self._row
            self._field, self._text = name, []
        else:
            raise self._wrong(f"不应有元素 {name[:30]}")

    def _characters(self, text: str) -> None:
        if self._depth == 3:
            self._text.append(text)
        else:
            super()._characters(text)

    def _leave(self, name: str) -> None:
        if self._depth == 3:
            self._row[self._field] = "".join(self._text)
        elif self._depth == 2:
            end = self._data.index(b">", self._parser.CurrentByteIndex - self._before) + 1
            raw = self._data[self._start : end]
            if self._bad or not self._needed <= set(self._row):
                self._broken.append(Broken(self._start_line, raw, "ROW-FIELDS"))
            else:
                self._rows.append((self._start_line, self._row, raw))
        self._depth -= 1


def _unsafe(*_: object) -> None:
    raise refuse("XML-UNSAFE")


def _undecodable(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False
