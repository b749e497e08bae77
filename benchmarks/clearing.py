"""Writing, reading back and comparing payment files, beside pyarrow's CSV write of the same rows in the same run.

pyarrow writes a table that has the file's fields as columns, as they are kept: numbers as integers, amounts as exact decimals, text as
text. We start from the ledger's payments and end with a synced, read back and compared file of the centre's own form, in its own encoding.
The strictest measure is shown too: pyarrow writing columns that are text already.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from subsidy.clearing import outbox, payment_file, profiles, read_back
from subsidy.clearing.payment_file import PAYMENTS
from subsidy.clearing.profiles import Layout, fill

LIMIT = 4.0
REPEATS = 3
RULES = Path(__file__).resolve().parent.parent / "rules"
FORMS = (("bdc103", "own", "hangzhou"), ("bdc103", "other", "hangzhou"), ("header_total_fen", "single", "zhoushan"),
         ("header_total_yuan", "single", "quzhou"), ("po_fen", "single", "wenzhou"))  # fmt: skip
SURNAMES, GIVEN = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨", "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰飞萍红鑫"


def payments(count: int) -> pa.Table:
    """`count` synthetic payments."""
    rng = np.random.default_rng(20260901)
    number = pa.array(np.arange(1, count + 1))
    padded = pc.utf8_lpad(number.cast(pa.string()), 10, "0")
    given = [a + b for a in GIVEN for b in GIVEN]
    names = pc.binary_join_element_wise(
        pa.array(list(SURNAMES)).take(pa.array(rng.integers(0, len(SURNAMES), count))),
        pa.array(given).take(pa.array(rng.integers(0, len(given), count))), "",
    )  # fmt: skip
    return pa.table(
        {
            "ordinal": number.cast(pa.int32()),
            "amount_fen": pa.array(rng.integers(1_00, 300_000, count)),
            "account": pc.binary_join_element_wise("621700", padded, "123", ""),
            "name": names,
            "bank_no": pa.repeat("105331000018", count),
            "payment_no": pc.binary_join_element_wise("TX202611", padded, ""),
        },
        schema=PAYMENTS,
    )


def _same_rows(table: pa.Table, layout: Layout, fields: tuple[str, ...], summary: str, as_text: bool) -> pa.Table:
    """The file's fields as columns of a table."""
    count = table.num_rows
    text = payment_file._amounts(table["amount_fen"].combine_chunks(), layout.unit)
    exact = table["amount_fen"] if layout.unit == "fen" else text.cast(pa.decimal128(18, 2))
    columns: dict[str, Any] = {
        "ordinal": table["ordinal"].cast(pa.string()) if as_text else table["ordinal"],
        "amount": text if as_text else exact,
        "summary": pa.repeat(summary, count),
        "empty": pa.repeat("", count),
        "zero": pa.repeat("0.00", count),
        **{name: table[name] for name in ("account", "name", "bank_no", "payment_no")},
    }
    return pa.table([columns[field] for field in fields], names=[f"{i}" for i in range(len(fields))])


def _best(work: Callable[[], None]) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def measure(count: int, folder: Path, name: str, route: str, centre: str) -> dict[str, Any]:
    """Seconds of both for one form; fails when the file is not what the ledger says."""
    layout = profiles.load(RULES, centre).layouts[name]
    table = payments(count)
    values = payment_file.template_values(
        unit_no="330100000000000", send_no="20261120000000000001", settlement_on="20261120", period="2026-11", count=count,
        total_fen=int(pc.sum(table["amount_fen"]).as_py()), layout=layout, day_no="001",
    )  # fmt: skip
    path = folder / "file"

    def ours() -> None:
        outbox._write(path, payment_file.render(table, layout, route, values))
        found = read_back.compare(
            path, table, layout, route, header=fill(layout.header, values), trailer=fill(layout.trailer, values), summary=values["summary"]
        )
        assert not found.differences, found.differences
        assert found.count == count

    fields = layout.route(route).fields
    kept = _same_rows(table, layout, fields, values["summary"], as_text=False)
    text = _same_rows(table, layout, fields, values["summary"], as_text=True)

    def theirs(columns: pa.Table) -> Callable[[], None]:
        def write() -> None:
            with open(folder / "csv", "wb") as handle:
                pa_csv.write_csv(columns, handle)
                handle.flush()
                os.fsync(handle.fileno())

        return write

    mine, csv, csv_text = _best(ours), _best(theirs(kept)), _best(theirs(text))
    return {
        "form": f"{name}/{route}", "rows": count, "seconds": mine, "csv_seconds": csv, "ratio": mine / csv, "text_ratio": mine / csv_text,
        "bytes": path.stat().st_size,
    }  # fmt: skip


def main(size: int = 1_000_000) -> int:
    """Measure every payment form with `size` payments; 1 when one is beyond `LIMIT`, else 0."""
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, route, centre in FORMS:
            found = measure(size, Path(folder), name, route, centre)
            worst = max(worst, found["ratio"])
            print(
                f"clearing  {found['form']:<26} {found['rows']:>9,} rows  write+read back+compare {found['seconds']:6.2f} s  "
                f"pyarrow CSV {found['csv_seconds']:6.2f} s  ratio {found['ratio']:.2f} (limit {LIMIT:.0f}; "
                f"text columns {found['text_ratio']:.2f})"
            )
    return int(worst > LIMIT)


if __name__ == "__main__":
    import sys

    sys.exit(main(*(int(a) for a in sys.argv[1:2])))
