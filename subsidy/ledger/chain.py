"""Hash chains: a row that somebody changed, removed or slipped in is found.

Three chains. `journal_block`: postings, their causes and their journal entries, one block per booking. `seal`: what each transaction of a
centre appended to the other append-only tables. `audit`: acts of people, over all centres (see `audit`).

The canonical form of a row is its columns as text, joined by U+001F and ended by a line feed: integers in decimal, dates in ISO 8601, NULL
as U+001E. A chain's hash is SHA-256 over the hash before it and the digests of its rows, so any language can check it from a dump.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.ledger import tables
from subsidy.ledger.bulk import CHUNK_ROWS, bulk_insert, is_postgres, iter_arrow

FIELD_END = "\x1f"
ROW_END = "\n"
NULL = "\x1e"
#: The hash before the first of every chain.
GENESIS = "0" * 64

#: Append-only tables that are sealed per transaction, with the column whose numbers grow by appending.
SEALED: dict[str, str] = {
    "payment": "batch_no",
    "payment_event": "event_no",
    "movement": "movement_no",
    "write_off": "write_off_no",
    "write_off_request": "request_no",
    "approval": "approval_no",
    "quarantine": "quarantine_no",
    "finding": "finding_no",
    "segment": "segment_no",
}


class Digest(Protocol):
    """What `hashlib.sha256` returns."""

    def update(self, data: Any, /) -> None: ...

    def hexdigest(self) -> str: ...


def feed(digest: Digest, rows: pa.Table) -> None:
    """Add rows in canonical form to a digest; how they are cut into tables does not matter."""
    for start in range(0, rows.num_rows, CHUNK_ROWS):
        columns = [_text(column.combine_chunks()) for column in rows.slice(start, CHUNK_ROWS).columns]
        columns[-1] = pc.binary_join_element_wise(columns[-1], ROW_END, "")
        joined = pc.binary_join_element_wise(*columns, FIELD_END)
        offsets = joined.buffers()[1]
        ends = pa.Array.from_buffers(pa.int32(), len(joined) + 1, [None, offsets], offset=joined.offset)
        digest.update(memoryview(joined.buffers()[2])[ends[0].as_py() : ends[-1].as_py()])


def _text(column: pa.Array) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    if pa.types.is_binary(column.type):
        column = pa.array([None if value is None else value.hex() for value in column.to_pylist()], pa.string())
    text = column if pa.types.is_string(column.type) else column.cast(pa.string())
    return pc.fill_null(text, NULL) if text.null_count else text


def hash_of(*parts: object) -> str:
    """SHA-256, in hexadecimal, over the canonical row of `parts`."""
    return hashlib.sha256((FIELD_END.join(str(part) for part in parts) + ROW_END).encode()).hexdigest()


def arrow_schema(table: sa.Table) -> pa.Schema:
    """The Arrow schema of a database table's columns, in their order."""
    kinds: tuple[tuple[type[Any], pa.DataType], ...] = (
        (sa.Boolean, pa.bool_()),
        (sa.BigInteger, pa.int64()),
        (sa.Integer, pa.int64()),
        (sa.Float, pa.float64()),
        (sa.Date, pa.date32()),
        (sa.LargeBinary, pa.binary()),
        (sa.Text, pa.string()),
    )
    return pa.schema([(c.name, next(arrow for kind, arrow in kinds if isinstance(c.type, kind))) for c in table.columns])


def bytewise(conn: Connection, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A text column to order by that sorts by bytes on both databases."""
    return sa.collate(column, "C") if is_postgres(conn) else column


# --- journal blocks --------------------------------------------------------------------------------------------------


def block_hash(block: Any, postings: str, causes: str, entries: str) -> str:
    """The hash of a row of `journal_block` (any object with its columns) from the digests of its rows."""
    return hash_of(
        block["previous_hash"], block["centre"], block["block_no"], block["run_no"], block["first_entry"], block["last_entry"],
        block["first_posting"], block["last_posting"], block["amount_fen"], postings, causes, entries,
    )  # fmt: skip


def stored_block_hash(conn: Connection, block: Any) -> str:
    """What the hash of a stored block should be, from the rows as they are stored now."""
    p, c, j = tables.posting, tables.posting_cause, tables.journal
    between = (block["first_posting"], block["last_posting"])
    entries = (block["first_entry"], block["last_entry"])
    return block_hash(
        block,
        digest_of(conn, sa.select(p).where(p.c.centre == block["centre"], p.c.posting_no.between(*between)).order_by(p.c.posting_no), p),
        digest_of(
            conn,
            sa.select(c).where(c.c.centre == block["centre"], c.c.posting_no.between(*between)).order_by(c.c.posting_no, c.c.ordinal),
            c,
        ),
        digest_of(conn, sa.select(j).where(j.c.centre == block["centre"], j.c.entry_no.between(*entries)).order_by(j.c.entry_no), j),
    )


def digest_of(conn: Connection, statement: sa.Select[Any], table: sa.Table) -> str:
    """Digest of the rows that `statement` selects, all columns of `table`."""
    digest = hashlib.sha256()
    if not is_postgres(conn) and not any(isinstance(c.type, (sa.Boolean, sa.LargeBinary, sa.Float)) for c in table.columns):
        # SQLite hands out Python objects one by one; a row as one text is several times cheaper than its columns.
        text = [sa.func.coalesce(sa.type_coerce(c, sa.Text), NULL) if c.nullable else c for c in table.columns]
        row = sa.func.printf(FIELD_END.join("%s" for _ in text), *text)
        rows = conn.execute(statement.with_only_columns(row, maintain_column_froms=True).execution_options(yield_per=CHUNK_ROWS))
        for part in rows.scalars().partitions():
            digest.update((ROW_END.join(part) + ROW_END).encode())
        return digest.hexdigest()
    for part in iter_arrow(conn, statement, arrow_schema(table)):
        feed(digest, part)
    return digest.hexdigest()


def journal_head(conn: Connection, centre: str) -> str:
    """The hash of a centre's newest journal block, as printed in workbooks; `GENESIS` before the first."""
    b = tables.journal_block
    found = conn.execute(sa.select(b.c.hash).where(b.c.centre == centre).order_by(b.c.block_no.desc()).limit(1)).scalar_one_or_none()
    return GENESIS if found is None else str(found)


# --- seals -----------------------------------------------------------------------------------------------------------


def seal(conn: Connection, centre: str) -> None:
    """Seal what was appended to the tables of `SEALED` since the centre's last seal; called by every transaction of a centre."""
    last = conn.execute(
        sa.select(tables.seal).where(tables.seal.c.centre == centre).order_by(tables.seal.c.seal_no.desc()).limit(1)
    ).mappings().one_or_none()  # fmt: skip
    sealed = json.loads(last["ranges"]) if last else {}
    reached = _reached(conn, centre)
    ranges = {name: [sealed.get(name, [1, 0])[1] + 1, reached[name]] for name in SEALED}
    if all(low > high for low, high in ranges.values()):
        return
    row = {
        "centre": centre,
        "seal_no": last["seal_no"] + 1 if last else 1,
        "ranges": json.dumps(ranges, sort_keys=True),
        "previous_hash": last["hash"] if last else GENESIS,
    }
    bulk_insert(conn, tables.seal, [row | {"hash": stored_seal_hash(conn, row)}])


def stored_seal_hash(conn: Connection, row: Any) -> str:
    """What the hash of a seal should be, from the rows as they are stored now."""
    digests = [
        digest_of(conn, statement, table)
        for name, (low, high) in sorted(json.loads(row["ranges"]).items())
        if low <= high
        for statement, table in _sealed_rows(conn, row["centre"], name, low, high)
    ]
    return hash_of(row["previous_hash"], row["centre"], row["seal_no"], row["ranges"], *digests)


def _reached(conn: Connection, centre: str) -> dict[str, int]:
    selects = []
    for name, column in SEALED.items():
        table = tables.metadata.tables[name]
        selects.append(sa.select(sa.literal(name), sa.func.coalesce(sa.func.max(table.c[column]), 0)).where(table.c.centre == centre))
    return {row[0]: int(row[1]) for row in conn.execute(sa.union_all(*selects))}


def _sealed_rows(conn: Connection, centre: str, name: str, low: int, high: int) -> Iterator[tuple[sa.Select[Any], sa.Table]]:
    table = tables.metadata.tables[name]
    number = table.c[SEALED[name]]
    where = (table.c.centre == centre, number.between(low, high))
    if name != "payment":
        yield sa.select(table).where(*where).order_by(number), table
        return
    item = tables.payment_item
    yield sa.select(table).where(*where).order_by(number, table.c.ordinal), table
    yield (
        sa.select(item)
        .join(table, sa.and_(table.c.centre == item.c.centre, table.c.payment_no == item.c.payment_no))
        .where(*where)
        .order_by(number, table.c.ordinal, *(bytewise(conn, item.c[key]) for key in ("agreement_no", "account_no", "serial_no"))),
        item,
    )
