"""One table in a text stream: header, rows, trailer."""

from __future__ import annotations

from collections.abc import Iterator

from subsidy.intake.companions import match_parts
from subsidy.intake.delivery import Chunk, Control
from subsidy.intake.dialects.csvfile import CsvChunk, match_columns, read_names
from subsidy.intake.dialects.delimited import DelimitedChunk, split_line
from subsidy.intake.dialects.fixed import FixedChunk, split_parts
from subsidy.intake.dialects.jsonl import JsonChunk
from subsidy.intake.dialects.lines import Lines, decode, occurs
from subsidy.intake.faults import refuse
from subsidy.intake.identity import read_count
from subsidy.intake.profile import Part, Profile, TableSpec


def start(lines: Lines, profile: Profile) -> dict[str, str]:
    """Take byte order mark and header off; what the header says, empty without one."""
    if profile.encoding != "gb18030":
        lines.skip_bom(profile.encoding == "utf-8-bom")
    if not profile.header:
        return {}
    line = lines.first()
    if line is None:
        raise refuse("FILE-EMPTY")
    return match_parts(_fields(line, profile.header, profile, 1, "FILE-HEADER"), profile.header, "FILE-HEADER", "头行")


def rows(lines: Lines, profile: Profile, spec: TableSpec, control: Control) -> Iterator[Chunk]:
    """The table's rows as chunks; fills `control` from the trailer when the last chunk has been taken."""
    names: list[str] = []
    head = b""
    if profile.form == "csv":
        line = lines.first()
        if line is None:
            raise refuse("FILE-EMPTY", table=spec.table.code)
        written = read_names(decode(line, profile).decode("utf-8"), profile.separator)
        if len(written) > profile.limits.columns:
            raise refuse("FILE-COLUMNS", table=spec.table.code, line_no=1, where=f"{len(written)} 列，超过上限 {profile.limits.columns}")
        names = match_columns(written, spec)
        head = line if [n.upper() for n in written] != [c.name.upper() for c in spec.columns] else b""
    marks = [(_marker(profile.header, profile), "FILE-HEADER-TWICE"), (_marker(profile.trailer, profile), "FILE-AFTER-TRAILER")]
    for first_line, data in lines.blocks(bool(profile.trailer)):
        for mark, code in marks:
            if mark and (data.startswith(mark) or occurs(data, b"\n" + mark)):
                raise refuse(code, table=spec.table.code)
        _line_lengths(data, first_line, profile)
        yield _chunk(profile, spec, names, first_line, data, head)
    if profile.trailer:
        _trailer(lines.last(), lines.line_no, profile, spec, control)


def _chunk(profile: Profile, spec: TableSpec, names: list[str], first_line: int, data: bytes, head: bytes) -> Chunk:
    if profile.form == "csv":
        return CsvChunk(profile, spec, names, first_line, data, head)
    if profile.form == "fixed":
        return FixedChunk(profile, spec, first_line, data)
    if profile.form == "jsonl":
        return JsonChunk(profile, spec, first_line, data)
    return DelimitedChunk(profile, spec, first_line, data)


def _line_lengths(data: bytes, first_line: int, profile: Profile) -> None:
    """Refuse a line beyond the limit. Only looks when some line could be: no line feed within a window of that size."""
    limit = profile.limits.line_bytes
    at = 0
    while at + limit < len(data):
        end = data.rfind(b"\n", at, at + limit + 1)
        if end < 0:
            raise refuse("FILE-LINE-LONG", line_no=first_line + data.count(b"\n", 0, at), limit=limit)
        at = end + 1


def _marker(parts: tuple[Part, ...], profile: Profile) -> bytes:
    """What a header or trailer line begins with; empty where it could be the beginning of a row as well."""
    if not parts:
        return b""
    if profile.form == "fixed":
        centre = profile.centre_code if len(parts) > 1 and parts[1].text == "{centre}" else ""
        mark = (parts[0].text + centre).encode()
        return mark if len(mark) >= 8 else b""
    return (parts[0].text + profile.separator).encode()


def _fields(line: bytes, parts: tuple[Part, ...], profile: Profile, line_no: int, code: str, sums: int = 0) -> list[str]:
    if profile.form == "fixed":
        cut = split_parts(line, parts, sums)
        if not cut:
            raise refuse(code, line_no=line_no, where="长度不对")
        return [decode(field, profile, line_no).decode("utf-8") for field in cut]
    return split_line(decode(line, profile, line_no).decode("utf-8"), profile)


def _trailer(line: bytes, line_no: int, profile: Profile, spec: TableSpec, control: Control) -> None:
    if not line:
        raise refuse("FILE-TRAILER", table=spec.table.code, where="没有尾行")
    marker = profile.trailer[0].text.encode()
    if not line.startswith(marker):
        raise refuse("FILE-TRAILER", table=spec.table.code, line_no=line_no, where=f"最后一行不是 {profile.trailer[0].text}")
    amounts = [c.column.code for c in spec.amounts if c.column is not None]
    fields = _fields(line, profile.trailer, profile, line_no, "FILE-TRAILER", len(amounts))
    at = next((i for i, part in enumerate(profile.trailer) if part.text == "{sums}"), None)
    if at is not None:
        if len(fields) != len(profile.trailer) - 1 + len(amounts):
            raise refuse("FILE-TRAILER", table=spec.table.code, line_no=line_no, where="字段数不对")
        control.sums = dict(zip(amounts, fields[at : at + len(amounts)], strict=True))
        fields = [*fields[:at], "", *fields[at + len(amounts) :]]
    said = match_parts(fields, profile.trailer, "FILE-TRAILER", "尾行")
    if "rows" in said:
        control.rows = read_count(said["rows"], "FILE-TRAILER", "行数")
