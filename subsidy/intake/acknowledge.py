"""What goes back to the centre about each of its files: received, accepted, rejected and why, line by line, in its own encoding."""

from __future__ import annotations

import csv
import io
from xml.sax.saxutils import quoteattr

from subsidy.facts.schema import TABLES
from subsidy.intake.dialects.lines import BOM
from subsidy.intake.profile import CODECS, AcknowledgementForm, Profile, Profiles
from subsidy.intake.result import Intake
from subsidy.intake.stretches import shown

_STATES = {"booked": "已接收", "refused": "整份拒收", "held": "搁置待人工", "duplicate": "重复，未处理"}
_SUFFIX = {"lines": "txt", "csv": "csv", "xml": "xml"}
_PLAIN = AcknowledgementForm("lines", "utf-8")
#: Stretches of accepted lines in one record.
_STRETCHES = 200

Record = tuple[str, ...]


def acknowledge(intake: Intake, profiles: Profiles) -> bytes:
    """The acknowledgement of `intake`, in the form and encoding its profile declares (UTF-8 lines for a file of no profile).

    Records: 文件 (name, identity, state, version, message), 行数 and 表 (counts), 接收 (the lines whose rows were accepted, in stretches),
    未保护 (amount columns without protection), 拒收 / 提示 / 说明 (one per finding, with its line and reason), 解除 (rows of earlier files
    released). Every line of an accepted file is in 接收 or has a finding of its own; beyond the findings that are listed, a line that 接收
    does not name was not accepted.
    """
    profile = profiles.profiles.get(intake.profile)
    form = profile.acknowledgement if profile is not None else _PLAIN
    return _WRITERS[form.form](_records(intake, profile), form)


def acknowledgement_name(intake: Intake, profiles: Profiles) -> str:
    """The file's name, built by us: centre code, business date of the night, register number."""
    profile = profiles.profiles.get(intake.profile)
    form = profile.acknowledgement if profile is not None else _PLAIN
    code = next(iter(profiles)).centre_code if profile is None else profile.centre_code
    return f"ACK_{code}_{intake.known_on:%Y%m%d}_{intake.file_no:06d}.{_SUFFIX[form.form]}"


def _records(intake: Intake, profile: Profile | None) -> list[Record]:
    records: list[Record] = [
        ("文件", intake.file_name, intake.identity, _STATES[intake.state], str(intake.version), intake.message, intake.sha256)
    ]
    total = intake.counts
    records.append(("行数", str(total.rows_in), str(total.booked), str(total.quarantined), str(total.duplicates)))
    for name in TABLES:
        result = intake.tables.get(name)
        if result is None:
            continue
        c = result.counts
        numbers = (c.rows_in, c.booked, c.quarantined, c.duplicates, c.added, c.changed, c.unchanged, c.withdrawn, c.released)
        records.append(("表", result.code, *map(str, numbers)))
        for first in range(0, max(1, len(result.accepted)), _STRETCHES):
            lines = shown(result.accepted[first : first + _STRETCHES])
            if c.booked and not lines:
                lines = "行号零散，没有列出；未列为拒收或重复的行都已登记"
            records.append(("接收", result.code, str(c.booked), lines))
    if profile is not None:
        for spec in profile.tables.values():
            if spec.unprotected and (spec.table.name in intake.tables or not intake.tables):
                records += [("未保护", spec.table.code, code, "该金额列没有合计、摘要或校验和保护") for code in spec.unprotected]
    for found in intake.findings:
        kind = {"error": "拒收", "warning": "提示", "note": "说明"}[found.severity]
        records.append((kind, found.table, str(found.line_no), found.code, found.field, found.value, found.what, found.rule, found.todo))
    if intake.findings_unlisted:
        records.append(("说明", "", "0", "MORE", "", "", f"另有 {intake.findings_unlisted} 条未列出", "", "改正所列各条后重送"))
    released = len(intake.releases)
    if released:
        records.append(("解除", "", "0", "RELEASED", "", "", f"本文件解除了先前隔离的 {released} 行", "", ""))
    return records


def _lines(records: list[Record], form: AcknowledgementForm) -> bytes:
    # The separator inside a field becomes its full-width twin: the reader splits on it.
    twin = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in form.separator)
    lines = [form.separator.join(_clean(field).replace(form.separator, twin) for field in record) + form.separator for record in records]
    return _encode("".join(line + "\n" for line in lines), form)


def _csv(records: list[Record], form: AcknowledgementForm) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    # A spreadsheet must not take a cell for a formula.
    writer.writerows([("'" + f if f[:1] in "=+-@" and f else f) for f in map(_clean, record)] for record in records)
    return _encode(out.getvalue(), form)


_NAMES = {
    "文件": ("file", ("name", "identity", "state", "version", "message", "sha256")),
    "行数": ("rows", ("in", "booked", "quarantined", "duplicates")),
    "表": ("table", ("code", "in", "booked", "quarantined", "duplicates", "added", "changed", "unchanged", "withdrawn", "released")),
    "接收": ("accepted", ("table", "rows", "lines")),
    "未保护": ("unprotected", ("table", "field", "text")),
}
_FINDING = ("table", "line", "code", "field", "value", "what", "rule", "todo")


def _xml(records: list[Record], form: AcknowledgementForm) -> bytes:
    lines = [f'<?xml version="1.0" encoding="{"GB18030" if form.encoding == "gb18030" else "UTF-8"}"?>', "<acknowledgement>"]
    for record in records:
        element, names = _NAMES.get(record[0], ("finding", _FINDING))
        attributes = [("kind", record[0])] if element == "finding" else []
        attributes += list(zip(names, record[1:], strict=True))
        lines.append(f"<{element} " + " ".join(f"{name}={quoteattr(_clean(text))}" for name, text in attributes) + "/>")
    return _encode("\n".join([*lines, "</acknowledgement>"]) + "\n", form)


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _encode(text: str, form: AcknowledgementForm) -> bytes:
    data = text.encode(CODECS[form.encoding])
    return BOM + data if form.encoding == "utf-8-bom" else data


_WRITERS = {"lines": _lines, "csv": _csv, "xml": _xml}
