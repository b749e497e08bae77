"""A single row from its raw bytes, as quarantine keeps them."""

from __future__ import annotations

import csv
import dataclasses

from subsidy.intake.delivery import Block
from subsidy.intake.dialects.csvfile import CsvChunk, match_columns
from subsidy.intake.dialects.delimited import DelimitedChunk
from subsidy.intake.dialects.fixed import FixedChunk
from subsidy.intake.dialects.jsonl import JsonChunk
from subsidy.intake.dialects.lines import decode
from subsidy.intake.dialects.xmlfile import XmlChunk
from subsidy.intake.profile import Profile, TableSpec


def block_of(raw: bytes, profile: Profile, spec: TableSpec) -> Block:
    """The row again as a block of one. FileRefused when it cannot be cut.

    A CSV row whose file had its columns in another order than the profile carries its file's header before it; a workbook row is kept
    as a JSON object.
    """
    if profile.form == "xml":
        return XmlChunk(profile, spec, 1, raw).parse()
    line = raw + b"\n"
    if profile.form == "fixed":
        return FixedChunk(profile, spec, 1, line).parse()
    if profile.form in ("jsonl", "xlsx"):
        utf8 = dataclasses.replace(profile, encoding="utf-8")
        return JsonChunk(utf8, spec, 1, line).parse()
    if profile.form == "csv":
        names, line = _csv_names(line, profile, spec)
        return CsvChunk(profile, spec, match_columns(names, spec), 1, line).parse()
    return DelimitedChunk(profile, spec, 1, line).parse()


def _csv_names(line: bytes, profile: Profile, spec: TableSpec) -> tuple[list[str], bytes]:
    declared = [c.name for c in spec.columns]
    first, _, rest = line.partition(b"\n")
    if rest:
        head = next(csv.reader([decode(first, profile).decode("utf-8")], delimiter=profile.separator), [])
        if sorted(n.upper() for n in head) == sorted(n.upper() for n in declared):
            return head, rest
    return declared, line
