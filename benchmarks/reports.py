"""The detail sheet of a workbook against openpyxl's write-only mode writing the same cells, in one run.

Each side runs in a process of its own, so that its peak memory is its own. openpyxl is given its easiest case: values only, one style, no
fingerprint, no totals, nothing escaped or masked by it; ours is the whole workbook with cover, formats, totals, fingerprint and tie-out. Both
files are read again and every cell is compared. Ours must be at least `LIMIT` times faster and stay under 1 GB.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.compute as pc
import python_calamine

from subsidy.reports import workbook
from subsidy.reports.sheet import Book, Column, Cover, Sheet, Term, Tie

LIMIT = 8.0
MEMORY_MB = 1024


def detail(loans: int) -> Sheet:
    """A detail sheet with the columns of 贴息明细, one row a loan."""
    from subsidy.reports.period import DETAIL_COLUMNS

    n = np.arange(loans)
    number = pc.utf8_lpad(pa.array(n).cast(pa.string()), 9, "0")
    reasons = ["", "该行没有一天在贴息期间内", "合同未通过核定（& 需人工查明）"]

    def values(column: Column) -> pa.Array:
        if column.kind == "date":
            return pa.array(np.datetime64("2026-09-01") + n % 60).cast(pa.date32())
        if column.kind == "rate":
            return pa.array(np.where(n % 7 == 0, 30_750, 35_000))
        if column.kind == "money":
            return pa.array(30_000 + (n * 7_919 + len(column.label)) % 9_999_973)
        if column.kind == "int":
            return pa.array(1 + n % 360)
        if column.label in ("贷款银行", "结果", "原因", "计算方法", "规则版本", "来源文件"):
            words = pa.array(reasons if column.label == "原因" else [f"{column.label}甲", f"{column.label}乙", f"{column.label}丙"])
            return pa.DictionaryArray.from_arrays(pa.array((n % 3).astype(np.int32)), words)
        prefix = pa.repeat(pa.scalar({"收款户名": "欧*", "贷款账号": "330100********"}.get(column.label, "TX33010020")), loans)
        return pc.binary_join_element_wise(prefix, number, "")

    data = pa.table([values(c) for c in DETAIL_COLUMNS], names=[c.label for c in DETAIL_COLUMNS])
    return Sheet("贴息明细", DETAIL_COLUMNS, data, ("同样的单元格",), ("原因",))


def write_ours(loans: int, path: Path) -> float:
    """Seconds of CPU to write the workbook."""
    sheet = detail(loans)
    tie = Tie("明细应付金额 = 账簿应付", sheet.total("应付金额"), (Term(1, "贴息明细", "应付金额"),))
    started = time.process_time()
    workbook.write(Book(Cover("测试中心", (("期间", "2026-10"),), (), ()), (sheet,), (tie,)), path)
    return time.process_time() - started


def write_openpyxl(loans: int, path: Path) -> float:
    """Seconds of CPU to write the same cells with openpyxl's write-only mode; the Python values are ready before the clock starts, block by block."""
    sheet = detail(loans)
    book = openpyxl.Workbook(write_only=True)
    ws = book.create_sheet("贴息明细")
    spent = 0.0
    for start in range(0, loans, 10_000):
        part = sheet.data.slice(start, 10_000)
        columns = []
        for i, column in enumerate(sheet.columns):
            values = part.column(i).to_pylist()
            unit = {"money": 100, "rate": 1_000_000}.get(column.kind)
            columns.append(values if unit is None else [v / unit for v in values])
        started = time.process_time()
        for row in zip(*columns, strict=True):
            ws.append(row)
        spent += time.process_time() - started
    started = time.process_time()
    book.save(path)
    return spent + time.process_time() - started


def compare(ours: Path, theirs: Path, loans: int) -> int:
    """Number of cells compared; fails at the first that differs."""
    skip = workbook.LABEL_ROW
    a = python_calamine.CalamineWorkbook.from_path(ours).get_sheet_by_name("贴息明细")
    b = python_calamine.CalamineWorkbook.from_path(theirs).get_sheet_by_name("贴息明细")
    left = iter(a.iter_rows())
    for _ in range(skip):
        next(left)
    compared = 0
    for number, expected in enumerate(b.iter_rows()):
        found = next(left)
        if found != expected:
            raise AssertionError(f"row {number}: {found} is not {expected}")
        compared += len(found)
    assert compared == loans * len(detail(1).columns), "every cell was compared"
    assert next(left)[0] == "合计"
    return compared


def measure(what: str, loans: int, path: Path) -> tuple[float, float]:
    """Seconds of CPU and peak megabytes of one side in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.reports", what, str(loans), str(path)], check=True, capture_output=True, text=True
    )
    seconds, megabytes = done.stdout.split()
    return float(seconds), float(megabytes)


def main(size: int = 300_000) -> int:
    """Measure `size` loans; AssertionError when a cell differs; 1 when the ratio or the memory is not held."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "ours.xlsx", Path(folder) / "theirs.xlsx"
        seconds, megabytes = measure("ours", size, ours)
        their_seconds, their_megabytes = measure("openpyxl", size, theirs)
        cells = compare(ours, theirs, size)
        sizes = ours.stat().st_size / 1e6, theirs.stat().st_size / 1e6
    ratio = their_seconds / seconds
    print(f"workbook detail, {size} loans, {cells} cells equal ({date.today():%Y-%m-%d})")  # noqa: DTZ011
    print(f"  subsidy   {seconds:7.2f} s  {megabytes:6.0f} MB peak  {sizes[0]:6.1f} MB file")
    print(f"  openpyxl  {their_seconds:7.2f} s  {their_megabytes:6.0f} MB peak  {sizes[1]:6.1f} MB file")
    print(f"  {ratio:.1f} times faster (at least {LIMIT:g})")
    return int(ratio < LIMIT or megabytes >= MEMORY_MB)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        write = write_ours if sys.argv[1] == "ours" else write_openpyxl
        took = write(int(sys.argv[2]), Path(sys.argv[3]))
        print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    else:
        sys.exit(main(*(int(a) for a in sys.argv[1:2])))
