"""A backup: a consistent copy of every table, and a list of what the write-once store holds.

The copy is one parquet file per table with a digest of its rows that is the same on both databases, so a backup of SQLite can be restored
on PostgreSQL. The store is immutable and is copied by its own means; the list says what a restore must find there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.errors import TerminalError
from subsidy.ledger import chain, migrate, tables
from subsidy.ledger.bulk import iter_arrow
from subsidy.ledger.database import Database

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was written or read: its folder, hash over the content of all tables, rows per table, objects of the store."""

    folder: Path
    content_hash: str
    rows: dict[str, int]
    store_objects: int


def backup(db: Database, store_url: str, folder: Path, made_at: str) -> Backup:
    """Write a backup into `folder`, which appears only when it is whole. `made_at`: wall clock time, for people.

    TerminalError ``BACKUP-EXISTS`` when the folder is there, ``BACKUP-FOLDER`` when it cannot be made, ``BACKUP-STORE`` when the ledger
    lists an object that the store does not hold."""
    if folder.exists():
        raise TerminalError("BACKUP-EXISTS", f"备份目录 {folder.name} 已存在。", "没有写备份，原目录未动。", "换一个新的目录名。")
    partial = folder.with_name(folder.name + ".partial")
    try:
        if partial.exists():
            shutil.rmtree(partial)
        (partial / "tables").mkdir(parents=True)
    except OSError:
        what = f"不能建立备份目录 {folder}。"
        raise TerminalError("BACKUP-FOLDER", what, "没有写备份，账簿未动。", "核对路径，检查目录权限和磁盘空间后重试。") from None
    described: dict[str, dict[str, Any]] = {}
    with db.read() as conn:
        for table in tables.metadata.sorted_tables:
            described[table.name] = _dump(conn, table, partial / "tables" / f"{table.name}.parquet")
        heads = {centre: chain.journal_head(conn, centre) for centre in centres(conn)}
        listed = _listed(conn)
    objects = store_objects(store_url)
    missing = sorted(listed - objects.keys())
    if missing:
        raise TerminalError(
            "BACKUP-STORE",
            f"存储中缺少账簿登记的 {len(missing)} 个对象，例如 {missing[0]}。",
            "没有写备份。",
            "先查明存储为什么缺少对象；不要删除存储中的任何内容。",
        )
    manifest = {
        "format": FORMAT,
        "revision": migrate.head(),
        "made_at": made_at,
        "content_hash": content_hash(described),
        "journal_heads": heads,
        "tables": described,
        "store": objects,
    }
    _write(partial / MANIFEST, json.dumps(manifest, ensure_ascii=False, sort_keys=True, indent=1).encode())
    _sync(partial / "tables")
    _sync(partial)
    partial.rename(folder)
    _sync(folder.parent)
    return summary(folder, manifest)


def summary(folder: Path, manifest: dict[str, Any]) -> Backup:
    """What a manifest says, in short."""
    rows = {name: about["rows"] for name, about in manifest["tables"].items()}
    return Backup(folder, manifest["content_hash"], rows, len(manifest["store"]))


def content_hash(described: dict[str, dict[str, Any]]) -> str:
    """One hash over the content of all tables but `lease`, whose tokens and clocks are nobody's business."""
    return chain.hash_of(*(f"{name}={about['digest']}" for name, about in sorted(described.items()) if name != "lease"))


def database_hash(conn: Connection) -> str:
    """`content_hash` of a database as it is now; the same on SQLite and PostgreSQL for the same content."""
    described = {table.name: {"digest": chain.digest_of(conn, ordered(conn, table), table)} for table in tables.metadata.sorted_tables}
    return content_hash(described)


def centres(conn: Connection) -> list[str]:
    """All centres that the database knows."""
    return list(conn.execute(sa.select(tables.centre_state.c.centre).order_by(tables.centre_state.c.centre)).scalars())


def store_objects(store_url: str) -> dict[str, int]:
    """Path relative to the store -> size in bytes, of everything the store holds."""
    filesystem, root = fsspec.core.url_to_fs(store_url)
    root = str(root).rstrip("/")
    if not filesystem.exists(root):
        return {}
    found = filesystem.find(root, detail=True)
    return {str(path).removeprefix(root).lstrip("/"): int(about["size"]) for path, about in sorted(found.items())}


def ordered(conn: Connection, table: sa.Table) -> sa.Select[Any]:
    """All rows of a table in the order of its primary key, text by bytes: the same order on both databases."""
    key = [chain.bytewise(conn, c) if isinstance(c.type, sa.Text) else c for c in table.primary_key.columns]
    return sa.select(table).order_by(*key)


def _dump(conn: Connection, table: sa.Table, path: Path) -> dict[str, Any]:
    digest, rows, schema = hashlib.sha256(), 0, chain.arrow_schema(table)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in iter_arrow(conn, ordered(conn, table), schema):
            writer.write_table(part)
            chain.feed(digest, part)
            rows += part.num_rows
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
        sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
    return {"rows": rows, "digest": digest.hexdigest(), "sha256": sha256}


def _listed(conn: Connection) -> set[str]:
    """What the ledger counts on in the store: segments and raw files."""
    paths = set(conn.execute(sa.select(tables.segment.c.path)).scalars())
    return paths | {f"raw/{sha256[:2]}/{sha256}" for sha256 in conn.execute(sa.select(tables.file.c.sha256)).scalars()}


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
