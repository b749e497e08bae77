"""The files that make a policy: read from the rules folder, packed for a night to pin, hashed into its version.

A policy is the centre's own YAML and CSV files (except ``cases.yaml``, which tests it) and the shared parameters. Neither file times nor
the line endings of a checkout change the archive or the version.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from subsidy.errors import TerminalError

PARAMETERS = "parameters"
_CENTRE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PARAMETER_FILES = re.compile(r"rates\.csv|parameters\.yaml|gates\.yaml|calendar-[0-9]{4}\.yaml")
_NOT_POLICY = frozenset({"cases.yaml"})
_MAX_BYTES = 16 * 1024 * 1024

#: Archived files by name, ``hangzhou/policy.yaml`` or ``parameters/rates.csv``, with LF line endings.
Files = dict[str, bytes]


def centre_names(rules: Path) -> list[str]:
    """Names of the centre folders under `rules`, sorted; also of folders that cannot be loaded, so that they are shown as broken."""
    if not rules.is_dir():
        raise TerminalError("POL-RULES", f"规则目录不存在：{rules.name}。", "没有计算任何数据。", "检查设置 SUBSIDY_RULES 指向的目录。")
    return sorted(p.name for p in rules.iterdir() if p.is_dir() and p.name != PARAMETERS and p.name[0] not in "._")


def is_centre_name(name: str) -> bool:
    """Whether `name` can name a centre folder: lower-case letters, digits and hyphens."""
    return _CENTRE.fullmatch(name) is not None and name != PARAMETERS


def read_files(rules: Path, centre: str) -> Files:
    """The files of a centre and the shared parameters as they lie in `rules`. Missing ones are simply absent."""
    files: Files = {}
    for folder, wanted in ((centre, _is_centre_file), (PARAMETERS, lambda name: _PARAMETER_FILES.fullmatch(name) is not None)):
        path = rules / folder
        if not path.is_dir():
            continue
        for entry in sorted(path.iterdir()):
            if wanted(entry.name) and entry.is_file():
                files[f"{folder}/{entry.name}"] = _one_line_ending(entry.read_bytes())
    return files


def _is_centre_file(name: str) -> bool:
    return name.endswith((".yaml", ".csv")) and name not in _NOT_POLICY and not name.startswith(".")


def _one_line_ending(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def version_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents, hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(files):
        for part in (name.encode(), files[name]):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """A zip archive of `files` that depends on nothing but their names and contents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def unpack(data: bytes) -> Files:
    """The files of an archive made by `pack`. TerminalError ``POL-ARCHIVE`` when it is not one."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if sum(e.file_size for e in entries) > _MAX_BYTES:
                raise zipfile.BadZipFile
            return {e.filename: archive.read(e) for e in entries}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
        raise TerminalError(
            "POL-ARCHIVE", "存档的规则文件损坏，无法读取。", "没有计算任何数据。", "从备份恢复存档目录后重跑（subsidy restore）。"
        ) from None


def centre_of(files: Mapping[str, bytes]) -> str:
    """The centre an archive belongs to."""
    return next((name.partition("/")[0] for name in sorted(files) if not name.startswith(PARAMETERS + "/")), "")
