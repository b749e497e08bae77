"""Board and download page over a ledger of a million loans against one of a thousand, in one run.

Filled straight into the tables: what matters here is how much stands there, not how it came. Both pages are the routes' own functions, with
templates, previews of a workbook's sheets and all. At most `LIMIT` times slower; the least of several goes on each side.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import moved, tally
from subsidy.settings import Settings, load_settings

LIMIT = 1.5
CENTRE, MONTH = "hangzhou", "2026-09"
DAY = date(2026, 9, 19)
BLOCK = 200_000


def fill(settings: Settings, loans: int, workbook: bool = True) -> None:
    """A ledger with one published month of `loans` loans, one payment of one yuan each, all confirmed but the first, a tenth of them
    with a finding and a row in quarantine; and the month's workbook with as many detail lines (at most 300,000)."""
    db = open_database(settings)
    with db.transaction_system() as conn:
        for table, values in _single_rows(loans):
            conn.execute(sa.insert(table).values(centre=CENTRE, **values))
        for first in range(0, loans, BLOCK):
            for table, rows in _many_rows(first, min(loans, first + BLOCK), loans):
                db.bulk_insert(conn, table, rows)
        if db.postgres:
            conn.execute(sa.text("ANALYZE"))
    if workbook:
        _write_workbook(settings, min(loans, 300_000))
    with db.transaction_system() as conn:
        moved.remember(conn, CENTRE, moved.now(conn, CENTRE))
    tally.refresh(settings, CENTRE, MONTH)


def _single_rows(loans: int) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    yield tables.centre_state, {"open_business_date": DAY}
    yield tables.run, {
        "run_no": 1, "business_date": DAY, "mode": "night", "policy_version": "p", "engine_version": "e", "knowledge_date": DAY,
        "state": "closed", "started_by": "x", "started_at": "2026-09-20T01:30:00",
    }  # fmt: skip
    yield tables.settlement, {
        "period": MONTH, "settlement_on": date(2026, 9, 20), "cutoff_on": DAY, "run_no": 1, "state": "published", "first": False,
        "reasons": "[]", "approvals_needed": 1, "content_hash": "h", "computed_fen": loans * 100, "sent_fen": loans * 100, "netted_fen": 0,
        "carried_fen": 0, "held_fen": 0,
    }  # fmt: skip
    yield tables.batch, {
        "batch_no": 1, "period": MONTH, "direction": "out", "bank_code": "105", "route": "own", "profile": "p",
        "send_no": "20260920000000000001", "file_name": "f", "payment_count": loans, "amount_fen": loans * 100,
    }  # fmt: skip
    yield tables.file, {
        "file_no": 1, "sha256": "0" * 64, "name": "文件", "bytes": 1, "profile": "p", "identity": "i", "version": 1, "state": "booked",
        "run_no": 1, "known_on": DAY, "rows_in": loans, "rows_booked": loans - loans // 10, "rows_quarantined": loans // 10,
        "rows_duplicate": 0,
    }  # fmt: skip
    yield tables.counter, {"name": "event", "next_no": 2 * loans}
    for name in ("take_in", "compute", "check"):
        result = json.dumps({"missing": [], "lines_new": loans, "differences": 0})
        yield tables.step, {"run_no": 1, "name": name, "input_hash": "", "result": result}


def _many_rows(first: int, last: int, loans: int) -> Iterator[tuple[sa.Table, pa.Table]]:
    count = last - first
    number = range(first + 1, last + 1)

    def same(value: Any, type_: pa.DataType | None = None) -> pa.Array:
        return pa.array([value] * count, type_)

    payment_no = pa.array([f"TX202609{n:010d}" for n in number])
    agreement_no = pa.array([f"TX{n:012d}" for n in number])
    blank = same("")
    yield tables.payment, pa.table({
        "centre": same(CENTRE), "payment_no": payment_no, "batch_no": same(1), "ordinal": pa.array(number, pa.int64()),
        "payee_account": payment_no, "payee_name": blank, "payee_bank_no": blank, "payee_kind": same("borrower"),
        "amount_fen": same(100), "attempt": same(1), "replaces": pa.nulls(count, pa.string()),
    })  # fmt: skip
    for state, offset, skip in (("sent", 0, 0), ("confirmed", loans - 1, int(first == 0))):
        yield tables.payment_event, pa.table({
            "centre": same(CENTRE), "event_no": pa.array([n + offset for n in number], pa.int64()), "payment_no": payment_no,
            "state": same(state), "event_on": same(date(2026, 9, 20)), "host_serial": blank, "code": blank, "text": blank,
            "bank_file_no": same(0), "run_no": same(0),
        }).slice(skip)  # fmt: skip
    yield tables.posting, pa.table({
        "centre": same(CENTRE), "posting_no": pa.array(number, pa.int64()), "scheme": same("公转商贴息"), "agreement_no": agreement_no,
        "account_no": agreement_no, "serial_no": same("1"), "bucket": pa.array([n % 256 for n in number], pa.int32()), "seq": same(0),
        "kind": same("accrual"), "amount_fen": same(100), "due_fen": same(100), "accrual_to": same(DAY), "booked_on": same(DAY),
        "business_date": same(DAY), "run_no": same(1), "policy_version": same("p"), "rule_version": same("r"), "file_no": same(1),
        "line_no": pa.array(number, pa.int32()), "corrects": pa.nulls(count, pa.int64()),
    })  # fmt: skip
    few = count // 10
    of = {name: rows.slice(0, few) for name, rows in (("centre", same(CENTRE)), ("blank", blank), ("agreement_no", agreement_no))}
    text = pa.array(["说明"] * few)
    own = pa.array(range(first // 10 + 1, first // 10 + 1 + few), pa.int64())
    yield tables.finding, pa.table({
        "centre": of["centre"], "finding_no": own, "run_no": pa.array([1] * few), "stage": pa.array(["assess"] * few),
        "code": pa.array(["RATE-HORIZON"] * few), "severity": pa.array(["warning"] * few), "what": text, "todo": text,
        "file_no": pa.array([1] * few), "line_no": own.cast(pa.int32()), "field": of["blank"], "value": of["blank"],
        "agreement_no": of["agreement_no"], "serial_no": of["blank"],
    })  # fmt: skip
    yield tables.quarantine, pa.table({
        "centre": of["centre"], "quarantine_no": own, "file_no": pa.array([1] * few), "table_name": pa.array(["transaction"] * few),
        "line_no": own.cast(pa.int32()), "row_key": of["blank"], "raw": pa.array([b"x"] * few), "code": pa.array(["FIELD-DATE"] * few),
        "field": of["blank"], "value": of["blank"], "what": text, "todo": text, "stage": pa.array(["intake"] * few),
        "known_on": pa.array([DAY] * few),
    })  # fmt: skip


def _write_workbook(settings: Settings, lines: int) -> None:
    from benchmarks.reports import write_ours

    folder = settings.home / "reports" / CENTRE
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{CENTRE}-{MONTH}-V001.xlsx"
    write_ours(lines, path)
    with open_database(settings).transaction_system() as conn:
        conn.execute(
            sa.insert(tables.published_file).values(
                centre=CENTRE, path=str(path.relative_to(settings.home)), kind="workbook", sha256="1" * 64, bytes=path.stat().st_size,
                business_date=DAY, run_no=1, batch_no=0, state="published",
            )
        )  # fmt: skip


def pages(settings: Settings) -> dict[str, Callable[[], bytes]]:
    """The pages as a finance clerk sees them: functions that give their bytes."""
    from subsidy.portal import pages as portal
    from subsidy.portal.roles import load_roles

    clerk = load_roles(settings.rules).people["caiwu"]
    return {
        "board": lambda: bytes(portal.show_board(clerk, MONTH).body),
        "period": lambda: bytes(portal.show_period(CENTRE, MONTH, clerk).body),
        "night": lambda: bytes(portal.show_night(CENTRE, str(DAY), clerk).body),
        "quarantine": lambda: bytes(portal.show_quarantine(CENTRE, clerk).body),
        "receivables": lambda: bytes(portal.show_receivables(CENTRE, clerk).body),
    }


@contextmanager
def ledger_of(loans: int, workbook: bool = True) -> Iterator[Settings]:
    """The settings of a home of its own with that many loans, in force for the pages too."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="subsidy-pages-") as folder:
        for name in [name for name in os.environ if name.startswith("SUBSIDY_")]:
            del os.environ[name]
        os.environ |= {"SUBSIDY_HOME": folder, "SUBSIDY_KEY": "k" * 40, "AIRFLOW_HOME": os.environ.get("AIRFLOW_HOME", f"{folder}/airflow")}
        os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
        try:
            settings = replace(load_settings())
            open_database(settings).migrate()
            fill(settings, loans, workbook)
            yield settings
        finally:
            os.environ.clear()
            os.environ.update(before)


def _least(work: Callable[[], object], times: int = 15) -> float:
    found = []
    for _ in range(times):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def main(size: int = 1_000_000) -> int:
    """Seconds of CPU of each page with a thousand and with `size` loans; 1 when one grows more than `LIMIT` times."""
    seconds: dict[str, list[float]] = {}
    for loans in (1_000, size):
        with ledger_of(loans) as settings:
            for name, page in pages(settings).items():
                text = page().decode()
                assert f"{loans - 1:,}" in text or name not in ("board", "period"), "the page shows what stands in the ledger"
                seconds.setdefault(name, []).append(_least(page))
    missed = 0
    for name, (few, many) in seconds.items():
        print(f"{name:<8} 1,000 loans {few * 1000:6.1f} ms, {size:,} loans {many * 1000:6.1f} ms: {many / few:.2f} times (at most {LIMIT})")
        missed |= many > LIMIT * few
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
