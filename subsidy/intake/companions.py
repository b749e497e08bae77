"""Flag and digest files that come beside a data file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from subsidy.intake.delivery import Control
from subsidy.intake.dialects.delimited import split_line
from subsidy.intake.dialects.lines import BOM
from subsidy.intake.faults import refuse
from subsidy.intake.identity import read_count
from subsidy.intake.profile import CODECS, Encoding, Part, Profile, TableSpec


@dataclass(slots=True)
class Said:
    """What companions say: identity parts, rows and totals as written, and digests (algorithm, hex)."""

    identity: dict[str, str] = field(default_factory=dict)
    pairs: dict[str, str] = field(default_factory=dict)
    sums: dict[str, str] = field(default_factory=dict)  # by column name in the file
    digests: list[tuple[str, str]] = field(default_factory=list)


def read_companions(profile: Profile, paths: Mapping[str, Path]) -> Said:
    """Read every declared companion; `paths` by suffix. FileRefused ``FILE-FLAG`` when one cannot be understood."""
    said = Said()
    for suffix in profile.suffixes:
        if suffix not in paths:
            raise refuse("FILE-FLAG", where=f"数据文件旁边没有名为“数据文件名{suffix}”的文件")
    if profile.flag is not None:
        text = _text(paths[profile.flag.suffix], profile, profile.flag.encoding)
        if profile.flag.form == "pairs":
            _pairs_flag(profile, text, said)
        else:
            _separated_flag(profile, text, said)
    if profile.digest is not None:
        text = _text(paths[profile.digest.suffix], profile, "utf-8")
        found = re.fullmatch(r"([0-9a-fA-F]{64})(?:[ *]{1,2}[^\r\n]{1,255})?(?:\r?\n)?", text)
        if found is None:
            raise refuse("FILE-FLAG", where="应为 64 位十六进制摘要")
        said.digests.append((profile.digest.algorithm, found.group(1).lower()))
    return said


def control_of(said: Said, spec: TableSpec, profile: Profile) -> Control:
    """Rows and totals that the flag file declares for `spec`. FileRefused when a total names no amount column."""
    control = Control()
    if profile.flag is None:
        return control
    if "rows" in said.identity:
        control.rows = read_count(said.identity["rows"], "FILE-FLAG", "行数")
    if profile.flag.sums or profile.flag.form == "delimited":
        by_name = {c.name: c.column.code for c in spec.amounts if c.column is not None}
        if set(by_name) != set(said.sums):
            odd = sorted(set(by_name) ^ set(said.sums))
            raise refuse("FILE-FLAG", table=spec.table.code, where=f"合计的列与金额列不一致：{'、'.join(n[:30] for n in odd)}")
        control.sums = {by_name[name]: text for name, text in said.sums.items()}
    return control


def read_pairs(text: str, where: str) -> dict[str, str]:
    """``key=value`` lines. FileRefused ``FILE-FLAG`` for a line without ``=`` or a key that stands twice."""
    pairs: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if not line.strip():
            continue
        if not equals or key.strip() in pairs:
            raise refuse("FILE-FLAG", where=f"{where}的“{key[:30]}”一行")
        pairs[key.strip()] = value.strip()
    return pairs


def _pairs_flag(profile: Profile, text: str, said: Said) -> None:
    flag = profile.flag
    assert flag is not None
    pairs = read_pairs(text, "标志文件")
    for part, key in flag.identity.items():
        if key not in pairs:
            raise refuse("FILE-FLAG", where=f"缺少 {key}")
        said.identity[part] = pairs.pop(key)
    if flag.digest_key:
        digest = pairs.pop(flag.digest_key, "")
        if not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
            raise refuse("FILE-FLAG", where=f"{flag.digest_key} 应为 64 位十六进制摘要")
        said.digests.append((flag.algorithm, digest.lower()))
    if flag.sums:
        before, _, after = flag.sums.partition("{column}")
        for key in list(pairs):
            if key.startswith(before) and key.endswith(after):
                said.sums[key[len(before) : len(key) - len(after)]] = pairs.pop(key)
    if pairs:
        raise refuse("FILE-FLAG", where=f"不认识 {'、'.join(sorted(k[:30] for k in pairs))}")


def _separated_flag(profile: Profile, text: str, said: Said) -> None:
    flag = profile.flag
    assert flag is not None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if lines and not lines[-1]:
        lines.pop()
    first = split_line(lines[0], profile) if lines else []
    said.identity = match_parts(first, flag.first, "FILE-FLAG", "标志文件首行")
    for line in lines[1:]:
        fields = split_line(line, profile)
        if len(fields) != 2 or fields[0] in said.sums:
            raise refuse("FILE-FLAG", where="合计行应为 列名、合计")
        said.sums[fields[0]] = fields[1]


def match_parts(fields: list[str], parts: tuple[Part, ...], code: str, where: str) -> dict[str, str]:
    """Fields against their declared parts (without ``{sums}``): placeholders by name. FileRefused with `code` on any mismatch."""
    if len(fields) != len(parts):
        raise refuse(code, where=f"{where}字段数不对")
    said: dict[str, str] = {}
    for text, part in zip(fields, parts, strict=True):
        if part.text.startswith("{"):
            said[part.text.strip("{}")] = text.strip(" ")
        elif text != part.text:
            raise refuse(code, where=f"{where}应以 {part.text} 标记")
    return said


def _text(path: Path, profile: Profile, encoding: Encoding) -> str:
    if path.stat().st_size > profile.limits.companion_bytes:
        raise refuse("FILE-FLAG", where="标志文件过大")
    data = path.read_bytes()
    if encoding == "utf-8-bom":
        if not data.startswith(BOM):
            raise refuse("FILE-FLAG", where="标志文件应有 BOM")
        data = data[3:]
    try:
        text = data.decode(CODECS[encoding])
    except UnicodeDecodeError:
        raise refuse("FILE-FLAG", where="标志文件编码不对") from None
    if not text.strip():
        raise refuse("FILE-FLAG", where="标志文件是空的")
    return text
