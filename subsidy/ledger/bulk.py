"""Columns in and out of the database: one bulk path per database behind one function.

Loading is COPY on PostgreSQL and statements of many rows on SQLite; reading is COPY to CSV and tuples. Dates are ISO text on SQLite.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Connection

#: Rows that are turned into Python objects, or into text, at a time.
CHUNK_ROWS = 65_536
#: Parameters of one statement: what every SQLite takes.
_PARAMETERS = 900


def is_postgres(conn: Connection) -> bool:
    """True on PostgreSQL, False on SQLite."""
    return conn.dialect.name == "postgresql"


def bulk_insert(conn: Connection, table: sa.Table, data: pa.Table | Sequence[Mapping[str, Any]]) -> int:
    """Append rows to `table` in the current transaction and return how many.

    `data`: an Arrow table whose columns are columns of `table`, or mappings that all have the keys of the first. Columns that are not
    given take their server default. Refused rows end the transaction (``DB-REFUSED``)."""
    rows = data.num_rows if isinstance(data, pa.Table) else len(data)
    if rows == 0:
        return 0
    names = data.column_names if isinstance(data, pa.Table) else list(data[0])
    unknown = [name for name in names if name not in table.c]
    if unknown:
        raise KeyError(f"{table.name} has no column {', '.join(unknown)}")
    quote = conn.dialect.identifier_preparer.quote
    columns = ", ".join(quote(name) for name in names)
    if is_postgres(conn):
        _copy_in(conn, f"COPY {quote(table.name)} ({columns}) FROM STDIN (FORMAT csv)", data)
    else:
        _insert(conn, f"INSERT INTO {quote(table.name)} ({columns}) VALUES ", len(names), _tuples(data, names))
    return rows


def _insert(conn: Connection, statement: str, columns: int, rows: Iterator[tuple[Any, ...]]) -> None:
    """Many rows a statement: each run of a statement costs SQLite as much as several columns do."""
    marks = f"({', '.join('?' * columns)})"
    together = max(1, _PARAMETERS // columns)
    cursor: Any = conn.connection.cursor()

    def whole() -> Iterator[list[Any]]:
        """The values of `together` rows at a time; what is left over goes to `rest`."""
        while len(values := list(itertools.chain.from_iterable(itertools.islice(rows, together)))) == together * columns:
            yield values
        rest.extend(values)

    rest: list[Any] = []
    cursor.executemany(statement + ", ".join([marks] * together), whole())
    if rest:
        cursor.execute(statement + ", ".join([marks] * (len(rest) // columns)), rest)
    cursor.close()


def _copy_in(conn: Connection, statement: str, data: pa.Table | Sequence[Mapping[str, Any]]) -> None:
    driver: Any = conn.connection.driver_connection
    table = data if isinstance(data, pa.Table) else _arrow_of(data)
    options = pa_csv.WriteOptions(include_header=False, quoting_style="all_valid")
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        for start in range(0, table.num_rows, CHUNK_ROWS):
            sink = io.BytesIO()
            pa_csv.write_csv(_printable(table.slice(start, CHUNK_ROWS)), sink, options)
            copy.write(sink.getbuffer())


def _arrow_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.table({name: pa.array([row[name] for row in rows]) for name in rows[0]})


def _printable(table: pa.Table) -> pa.Table:
    """Columns as the CSV form of COPY reads them: bytes as hexadecimal."""
    for i, column in enumerate(table.schema):
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            text = [None if value is None else "\\x" + value.hex() for value in table.column(i).to_pylist()]
            table = table.set_column(i, column.name, pa.array(text, pa.string()))
        elif pa.types.is_null(column.type):
            table = table.set_column(i, column.name, table.column(i).cast(pa.string()))
    return table


def _tuples(data: pa.Table | Sequence[Mapping[str, Any]], names: list[str]) -> Iterator[tuple[Any, ...]]:
    if not isinstance(data, pa.Table):
        for row in data:
            yield tuple(value.isoformat() if isinstance(value, date) else value for value in (row[name] for name in names))
        return
    for start in range(0, data.num_rows, CHUNK_ROWS):
        part = data.slice(start, CHUNK_ROWS)
        yield from zip(*(_objects(column) for column in part.columns), strict=True)


def _objects(column: pa.ChunkedArray) -> list[Any]:
    """Python values as sqlite3 binds them."""
    kind = column.type
    if pa.types.is_date(kind):
        column = column.cast(pa.string())
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.int64())
    if column.null_count == 0 and not pa.types.is_null(kind):
        values: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
        return values
    listed: list[Any] = column.to_pylist()
    return listed


def among(conn: Connection, column: sa.ColumnElement[Any], values: Iterable[str] | Iterable[int] | pa.Array) -> sa.ColumnElement[bool]:
    """The condition that `column` is one of `values` (all text, or all integers), however many there are: one bound parameter."""
    listed: list[Any] = values.to_pylist() if isinstance(values, (pa.Array, pa.ChunkedArray)) else list(values)
    if is_postgres(conn):
        kind = sa.BigInteger if listed and isinstance(listed[0], int) else sa.Text
        return column.in_(sa.select(sa.func.unnest(sa.bindparam(None, listed, ARRAY(kind), unique=True))))
    each = sa.func.json_each(json.dumps(listed, ensure_ascii=False)).table_valued("value")
    return column.in_(sa.select(each.c.value))


def read_arrow(conn: Connection, statement: sa.Select[Any] | sa.CompoundSelect[Any], schema: pa.Schema) -> pa.Table:
    """All rows of `statement` as a table of `schema`, whose fields stand in the order of the selected columns."""
    batches = list(iter_arrow(conn, statement, schema))
    return pa.concat_tables(batches) if batches else schema.empty_table()


def iter_arrow(
    conn: Connection, statement: sa.Select[Any] | sa.CompoundSelect[Any], schema: pa.Schema, rows: int = CHUNK_ROWS
) -> Iterator[pa.Table]:
    """The rows of `statement` in tables of at most `rows` rows, so that memory does not grow with the result."""
    compiled = statement.compile(dialect=conn.dialect, compile_kwargs={"render_postcompile": True})
    if is_postgres(conn):
        yield from _copy_out(conn, str(compiled), compiled.params, schema, rows)
        return
    cursor = conn.connection.cursor()
    parameters = [_bound(compiled.params[name]) for name in compiled.positiontup or ()]
    cursor.execute(str(compiled), parameters)
    while found := cursor.fetchmany(rows):
        columns = zip(*found, strict=True)
        yield pa.table([_column(list(values), field.type) for values, field in zip(columns, schema, strict=True)], schema=schema)
    cursor.close()


def _bound(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_date(kind):
        return pa.array(values, pa.string()).cast(kind)
    if pa.types.is_boolean(kind):
        return pc.cast(pa.array(values, pa.int64()), pa.bool_())
    return pa.array(values, kind)


def _copy_out(conn: Connection, sql: str, params: Mapping[str, Any], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    driver: Any = conn.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY ({sql}) TO STDOUT (FORMAT csv, FORCE_QUOTE *)", dict(params)) as copy:
        waiting = io.BytesIO()
        count = 0
        for row in copy:
            waiting.write(row)
            count += 1
            if count == rows:
                yield _parse(waiting, schema)
                waiting, count = io.BytesIO(), 0
        if count:
            yield _parse(waiting, schema)


def _parse(csv: io.BytesIO, schema: pa.Schema) -> pa.Table:
    plain = pa.schema([pa.field(f.name, pa.string() if pa.types.is_binary(f.type) else f.type) for f in schema])
    table = pa_csv.read_csv(
        pa.BufferReader(csv.getbuffer()),
        read_options=pa_csv.ReadOptions(column_names=schema.names, use_threads=False, block_size=1 << 24),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types=plain,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    for i, field in enumerate(schema):
        if pa.types.is_binary(field.type):
            values = [None if text is None else bytes.fromhex(text[2:]) for text in table.column(i).to_pylist()]
            table = table.set_column(i, field.name, pa.chunked_array([pa.array(values, field.type)]))
    return table
