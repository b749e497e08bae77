"""A file on disk as a `Delivery`: companions first, then the container, then the form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from subsidy.intake.companions import Said, control_of, read_companions, read_pairs
from subsidy.intake.delivery import Control, Delivery, Sheet
from subsidy.intake.dialects import text
from subsidy.intake.dialects.archive import Archive, open_gz
from subsidy.intake.dialects.lines import BLOCK_BYTES, Lines, decode
from subsidy.intake.dialects.workbook import open_workbook
from subsidy.intake.dialects.xmlfile import XmlReader
from subsidy.intake.faults import refuse
from subsidy.intake.identity import read_count, read_identity, read_mode
from subsidy.intake.profile import Profile


def open_delivery(
    path: Path, companions: Mapping[str, Path], profile: Profile, block_bytes: int = BLOCK_BYTES
) -> tuple[Delivery, Said]:
    """Open the data file at `path` with its `companions` by suffix. FileRefused when it cannot be what the profile declares.

    The file is read `block_bytes` at a time. The digests that `Said` carries are not verified here. Close the delivery after use.
    """
    if path.stat().st_size > profile.limits.file_bytes:
        raise refuse("FILE-SIZE", got=path.stat().st_size, limit=profile.limits.file_bytes)
    said = read_companions(profile, companions)
    if profile.form == "xlsx":
        return open_workbook(path, profile), said
    if profile.container == "zip":
        return _zip(path, profile, said, block_bytes), said
    stream: BinaryIO = open_gz(path, profile.limits) if profile.container == "gz" else path.open("rb")
    try:
        return _stream(stream, profile, said, block_bytes), said
    except BaseException:
        stream.close()
        raise


def _stream(stream: BinaryIO, profile: Profile, said: Said, block_bytes: int) -> Delivery:
    if profile.form == "xml":
        reader = XmlReader(stream, profile, block_bytes)
        written = {**said.identity, **reader.identity}
        identity = read_identity(profile, written, many=False)
        spec = profile.tables[identity.tables]
        mode = read_mode(profile, spec, written.get("mode", ""))
        control = control_of(said, spec, profile)
        return Delivery(profile, identity, [Sheet(spec, mode, reader.rows(spec, control), control)], stream.close, written)
    lines = Lines(stream, profile.limits, quoted=profile.form == "csv", block_bytes=block_bytes)
    written = {**said.identity, **text.start(lines, profile)}
    identity = read_identity(profile, written, many=False)
    spec = profile.tables[identity.tables]
    mode = read_mode(profile, spec, written.get("mode", ""))
    control = control_of(said, spec, profile)
    if "rows" in written and control.rows is None:
        control.rows = read_count(written["rows"], "FILE-HEADER", "行数")
    return Delivery(profile, identity, [Sheet(spec, mode, text.rows(lines, profile, spec, control), control)], stream.close, written)


def _zip(path: Path, profile: Profile, said: Said, block_bytes: int) -> Delivery:
    archive = Archive(path, profile.limits)
    try:
        return _entries(archive, profile, said, block_bytes)
    except BaseException:
        archive.close()
        raise


def _entries(archive: Archive, profile: Profile, said: Said, block_bytes: int) -> Delivery:
    if profile.manifest is None:
        names = [n for n in archive.names if n in {profile.entry.replace("{table}", code) for code in profile.tables}]
        if len(archive.names) != 1 or len(names) != 1:
            raise refuse("ARCHIVE-EXTRA", where="应恰好有一个数据条目")
        inner = _stream(archive.entry(names[0]), profile, said, block_bytes)
        close = inner.close

        def close_both() -> None:
            close()
            archive.close()

        inner.close = close_both
        return inner
    manifest = profile.manifest
    with archive.entry(manifest.entry) as stream:
        data = stream.read(profile.limits.companion_bytes + 1)
        if len(data) > profile.limits.companion_bytes:
            raise refuse("ARCHIVE-EXTRA", where="清单过大")
        # The checksum is verified at the end of the entry.
        stream.read(1)
    pairs = read_pairs(decode(data, profile).decode("utf-8"), "清单")
    written = {**said.identity}
    for part, key in manifest.identity.items():
        if key not in pairs:
            raise refuse("ARCHIVE-EXTRA", where=f"清单缺少 {key}")
        written[part] = pairs.pop(key)
    identity = read_identity(profile, written, many=True)
    sheets: list[Sheet] = []
    for code, spec in profile.tables.items():
        mode_key, rows_key = (form.replace("{table}", code) for form in (manifest.mode, manifest.rows))
        if mode_key not in pairs and rows_key not in pairs:
            continue
        mode = read_mode(profile, spec, pairs.pop(mode_key, ""))
        control = Control(read_count(pairs.pop(rows_key, ""), "ARCHIVE-EXTRA", f"{code} 行数"))
        if manifest.sums:
            control.sums = {}
            for c in spec.amounts:
                assert c.column is not None
                key = manifest.sums.replace("{table}", code).replace("{column}", c.name)
                if key not in pairs:
                    raise refuse("ARCHIVE-EXTRA", where=f"清单缺少 {key}")
                control.sums[c.column.code] = pairs.pop(key)
        entry = archive.entry(profile.entry.replace("{table}", code))
        lines = Lines(entry, profile.limits, profile.form == "csv", block_bytes)
        text.start(lines, profile)
        sheets.append(Sheet(spec, mode, text.rows(lines, profile, spec, control), control))
    if pairs:
        raise refuse("ARCHIVE-EXTRA", where=f"清单里不认识 {'、'.join(sorted(k[:30] for k in pairs))}")
    extra = set(archive.names) - {manifest.entry} - {profile.entry.replace("{table}", s.spec.table.code) for s in sheets}
    if extra:
        raise refuse("ARCHIVE-EXTRA", where=f"清单没有列出 {'、'.join(sorted(extra))}")
    return Delivery(profile, identity, sheets, archive.close, written)
