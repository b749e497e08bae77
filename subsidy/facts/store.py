"""Write-once store: raw files under their SHA-256 and columnar segments under the SHA-256 of their bytes.

Lies on any fsspec file system. Nothing is ever overwritten: the name of an object is its content. On a local file system an
object is written beside, fsynced and renamed; elsewhere the file system's own put is atomic per object. What exists without
being listed in the manifest does not count, so a crash leaves at most unlisted objects.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from subsidy.errors import TerminalError

_CHUNK = 1 << 20
#: Rows of a row group; a reader of some buckets skips the others by their statistics.
ROW_GROUP = 32_768


@dataclass(frozen=True, slots=True)
class Segment:
    """One row of the manifest: a columnar file of `table_name` that became known on `known_on` with register number `file_no`."""

    table_name: str
    known_on: date
    file_no: int
    path: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Written:
    """What `Store.write_segment` wrote: path relative to the store, rows, SHA-256 of the bytes."""

    path: str
    rows: int
    sha256: str


class Store:
    """The store at `url` (``file:///…``, a plain path, ``memory://…``, or object storage that fsspec knows)."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._fs: Any
        self._fs, root = fsspec.core.url_to_fs(url)
        self._root = str(root).rstrip("/")
        protocol = self._fs.protocol
        self._local = "file" in (protocol if isinstance(protocol, tuple) else (protocol,))

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.url,)

    def _full(self, path: str) -> str:
        if path.startswith(("/", "\\")) or ".." in path.split("/"):
            raise ValueError("path leaves the store")
        return f"{self._root}/{path}"

    @staticmethod
    def raw_path(sha256: str) -> str:
        """Where the raw file with this SHA-256 lies, relative to the store."""
        return f"raw/{sha256[:2]}/{sha256}"

    def exists(self, path: str) -> bool:
        """Whether an object lies at `path` (relative)."""
        return bool(self._fs.exists(self._full(path)))

    def open(self, path: str) -> IO[bytes]:
        """The object at `path` for reading, in bytes. FileNotFoundError when there is none."""
        handle: IO[bytes] = self._fs.open(self._full(path), "rb")
        return handle

    def put_bytes(self, data: bytes) -> str:
        """Keep `data` as a raw file; its SHA-256 in hex. Keeping the same bytes again changes nothing."""
        with tempfile.NamedTemporaryFile(delete=False) as handle:
            handle.write(data)
        try:
            return self.put_file(Path(handle.name))
        finally:
            os.unlink(handle.name)

    def put_file(self, path: Path) -> str:
        """Keep the file at the local `path` unchanged as a raw file; its SHA-256 in hex.

        TerminalError ``STORE-CHANGED`` when the file changes while it is copied.
        """
        sha256 = _sha256(path)
        target = self.raw_path(sha256)
        if not self.exists(target):
            copied = self._put(path, target)
            if copied != sha256:
                raise TerminalError(
                    "STORE-CHANGED",
                    "文件在复制入库时仍在变化。",
                    "变化中的副本没有登记，账务未动。",
                    "确认对方已写完该文件，然后重跑本步骤。",
                )
        return sha256

    def write_segment(self, folder: str, schema: pa.Schema, tables: Iterable[pa.Table], sort_by: tuple[str, ...] = ()) -> Written:
        """Write rows as one deterministic parquet segment under `folder` (relative, e.g. ``facts/hangzhou/transaction``).

        `tables` come in ascending, not overlapping ranges of the first column of `sort_by`; each is sorted by `sort_by` before it is
        written, so memory is bounded by the largest of them. The same rows give the same bytes and therefore the same name, however they
        are split. ValueError when the ranges overlap.
        """
        handle, name = tempfile.mkstemp(suffix=".parquet")
        os.close(handle)
        rows = 0
        try:
            last: Any = None
            rest = schema.empty_table()
            with pq.ParquetWriter(name, schema, compression="zstd", compression_level=1, use_dictionary=True, store_schema=False) as writer:
                for table in tables:
                    if not table.num_rows:
                        continue
                    part = table.select(schema.names).cast(schema)
                    if sort_by:
                        part = part.take(pc.sort_indices(part, sort_keys=[(column, "ascending") for column in sort_by]))
                        first = part[sort_by[0]][0].as_py()
                        if last is not None and first is not None and first <= last:
                            raise ValueError("segment parts overlap")
                        last = part[sort_by[0]][-1].as_py()
                    rows += part.num_rows
                    # Row groups of one size, whatever the parts are.
                    rest = pa.concat_tables([rest, part])
                    whole = rest.num_rows - rest.num_rows % ROW_GROUP
                    if whole:
                        writer.write_table(rest.slice(0, whole).combine_chunks(), row_group_size=ROW_GROUP)
                        rest = rest.slice(whole).combine_chunks()
                if rest.num_rows:
                    writer.write_table(rest.combine_chunks(), row_group_size=ROW_GROUP)
            sha256 = _sha256(Path(name))
            path = f"{folder.strip('/')}/{sha256[:2]}/{sha256}.parquet"
            if not self.exists(path) and self._put(Path(name), path) != sha256:
                raise TerminalError("STORE-DISK", "写入的数据段读回不一致。", "该段没有登记，账务未动。", "检查磁盘，然后重跑本步骤。")
            return Written(path, rows, sha256)
        finally:
            os.unlink(name)

    def read_segment(self, path: str) -> pq.ParquetFile:
        """The segment at `path` as an open parquet file; close it after use."""
        if self._local:
            return pq.ParquetFile(self._full(path), memory_map=True)
        return pq.ParquetFile(self.open(path))

    def sha256_of(self, path: str) -> str:
        """SHA-256 of the object's bytes as they lie in the store now."""
        digest = hashlib.sha256()
        with self.open(path) as handle:
            while chunk := handle.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def _put(self, source: Path, target: str) -> str:
        """Copy `source` to `target` so that nothing half-written is ever visible; SHA-256 of what was copied."""
        digest = hashlib.sha256()
        full = self._full(target)
        if not self._local:
            # The object appears when the handle is closed.
            with source.open("rb") as reader, self._fs.open(full, "wb") as writer:
                while chunk := reader.read(_CHUNK):
                    digest.update(chunk)
                    writer.write(chunk)
            return digest.hexdigest()
        final = Path(full)
        final.parent.mkdir(parents=True, exist_ok=True)
        beside = final.with_name(f".{final.name}.{uuid.uuid4().hex}")
        try:
            with source.open("rb") as reader, beside.open("xb") as writer:
                while chunk := reader.read(_CHUNK):
                    digest.update(chunk)
                    writer.write(chunk)
                writer.flush()
                os.fsync(writer.fileno())
            if digest.hexdigest() in final.name:
                os.replace(beside, final)
                _sync_folder(final.parent)
        finally:
            beside.unlink(missing_ok=True)
        return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
