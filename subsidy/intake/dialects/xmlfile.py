"""XML of one shape: a root with the identity as attributes, one element a row, one element a field, totals at the end.

Parsed by expat as a stream. Document types, entities, processing instructions and comments are refused before anything is expanded, so
that neither bombs nor external references exist here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO
from xml.parsers import expat

import numpy as np
import pyarrow as pa

from subsidy.intake.delivery import Block, Broken, Control
from subsidy.intake.faults import refuse
from subsidy.intake.identity import read_count
from subsidy.intake.profile import Profile, TableSpec

_READ = 1 << 20
_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class XmlChunk:
    """Rows of an XML file, already cut."""

    block: Block

    def parse(self) -> Block:
        """The rows."""
        return self.block


class XmlReader:
    """Reads `stream` until the root element is known; then `rows` hands out the rest."""

    def __init__(self, stream: BinaryIO, profile: Profile) -> None:
        assert profile.xml is not None
        self._stream = stream
        self._profile = profile
        self._form = profile.xml
        self._spec: TableSpec | None = None
        self._codes: dict[str, str] = {}
        self._depth = 0
        self._field = ""
        self._text: list[str] = []
        self._row: dict[str, str] = {}
        self._row_line = 0
        self._row_start = 0
        self._bad = False
        self._rows: list[tuple[int, dict[str, str], bytes]] = []
        self._broken: list[Broken] = []
        self._totals: dict[str, str] | None = None
        self._kept = b""
        self._kept_at = 0
        self._ended = False
        self._row_chars = 0
        self.identity: dict[str, str] = {}
        self._parser = expat.ParserCreate("utf-8")
        self._parser.buffer_text = True
        self._parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        for name in (
            "StartDoctypeDeclHandler", "EntityDeclHandler", "UnparsedEntityDeclHandler", "ExternalEntityRefHandler", "CommentHandler",
            "ProcessingInstructionHandler", "StartCdataSectionHandler", "SkippedEntityHandler",
        ):
            setattr(self._parser, name, _unsafe)
        while not self.identity and not self._ended:
            self._feed()
        if not self.identity:
            raise refuse("XML-BROKEN")

    def _feed(self) -> None:
        data = self._stream.read(_READ)
        self._kept += data
        try:
            self._parser.Parse(data, not data)
        except expat.ExpatError as error:
            token = error.code == expat.errors.codes[expat.errors.XML_ERROR_INVALID_TOKEN]
            raise refuse(
                "FILE-ENCODING" if token and _undecodable(self._kept) else "XML-BROKEN", line_no=error.lineno,
                encoding=self._profile.encoding, where=f"第 {error.lineno} 行",
            ) from None
        except LookupError:
            raise refuse("FILE-ENCODING", encoding=self._profile.encoding, where="XML 声明了别的编码") from None
        self._ended = not data
        start = self._row_start if self._row_line else self._parser.CurrentByteIndex
        if start > self._kept_at:
            self._kept = self._kept[start - self._kept_at :]
            self._kept_at = start
        if len(self._kept) > self._profile.limits.line_bytes + _READ:
            raise refuse("FILE-LINE-LONG", line_no=self._row_line, limit=self._profile.limits.line_bytes)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        line = self._parser.CurrentLineNumber
        if self._depth == 1:
            form = self._form
            if name != form.root or set(attributes) != set(form.identity.values()):
                raise refuse("XML-GRAMMAR", line_no=line, where=f"根元素应为 {form.root}，属性应为 {'、'.join(form.identity.values())}")
            self.identity = {part: attributes[key] for part, key in form.identity.items()}
        elif self._depth == 2 and self._totals is None and name == self._form.row and not attributes:
            self._row, self._row_line, self._bad = {}, line, False
            self._row_start = self._parser.CurrentByteIndex
            self._row_chars = 0
        elif self._depth == 2 and self._totals is None and name == self._form.totals:
            self._totals = dict(attributes)
        elif self._depth == 3 and self._row_line and not attributes:
            if self._spec is not None and (name not in self._codes or name in self._row):
                self._bad = True
            self._field, self._text = name, []
        else:
            raise refuse("XML-GRAMMAR", line_no=line, where=f"不应有元素 {name[:30]}")

    def _characters(self, text: str) -> None:
        if self._depth == 3 and self._row_line:
            self._text.append(text)
        elif text.strip():
            raise refuse("XML-GRAMMAR", line_no=self._parser.CurrentLineNumber, where="元素之间有文字")

    def _end(self, name: str) -> None:
        if self._depth == 3 and self._row_line:
            self._row[self._field] = "".join(self._text)
        elif self._depth == 2 and self._row_line:
            end = self._parser.CurrentByteIndex + len(name) + 3
            raw = self._kept[self._row_start - self._kept_at : end - self._kept_at]
            if self._bad:
                self._broken.append(Broken(self._row_line, raw, "ROW-FIELDS"))
            else:
                self._rows.append((self._row_line, self._row, raw))
            self._row_line = 0
        self._depth -= 1

    def rows(self, spec: TableSpec, control: Control) -> Iterator[XmlChunk]:
        """The rows as chunks; fills `control` from the totals element at the end."""
        self._spec = spec
        self._codes = {c.name: c.column.code for c in spec.columns if c.column is not None}
        count = 0
        while True:
            if len(self._rows) + len(self._broken) >= _ROWS or self._ended:
                count += len(self._rows) + len(self._broken)
                if count > self._profile.limits.rows:
                    raise refuse("FILE-ROWS-LIMIT", table=spec.table.code, limit=self._profile.limits.rows)
                yield XmlChunk(self._block(spec))
            if self._ended:
                break
            self._feed()
        if self._totals is None:
            raise refuse("FILE-TRAILER", table=spec.table.code, where=f"没有 {self._form.totals}")
        totals = dict(self._totals)
        control.rows = read_count(totals.pop(self._form.rows, ""), "FILE-TRAILER", self._form.rows)
        by_name = {c.name: c.column.code for c in spec.amounts if c.column is not None}
        if set(totals) != set(by_name):
            raise refuse("FILE-TRAILER", table=spec.table.code, where="合计的列与金额列不一致")
        control.sums = {by_name[name]: text for name, text in totals.items()}

    def _block(self, spec: TableSpec) -> Block:
        required = {c.name for c in spec.columns if c.column is not None}
        allowed = {c.name for c in spec.columns}
        rows = [r for r in self._rows if required <= set(r[1]) <= allowed]
        broken = self._broken + [Broken(line, raw, "ROW-FIELDS") for line, row, raw in self._rows if not required <= set(row) <= allowed]
        self._rows, self._broken = [], []
        columns = {code: pa.array([row[name] for _, row, _ in rows], pa.string()) for name, code in self._codes.items()}
        raws = [raw for _, _, raw in rows]
        return Block(columns, len(rows), np.array([line for line, _, _ in rows], np.int64), lambda i: raws[i], broken)


def _unsafe(*_: object) -> None:
    raise refuse("XML-UNSAFE")


def _undecodable(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character cut off at the end of what has been read is no fault of its own.
        return error.end < len(data) or error.reason != "unexpected end of data"
    return False
