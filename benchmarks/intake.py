"""Reading files: raw bytes to checked columnar facts, beside what other readers take to parse the same rows.

For each text dialect the same transactions (GB305) and contracts (GB301, with names) are written in a centre's form, and once more as plain
comma-separated text in the same encoding. The yardstick is pyarrow's CSV reader on the latter, all columns as strings; pandas and the csv
module read it in the same run. Ours covers everything from the bytes on disk: digests, decoding, cutting, types, code lists, check digits,
rules between cells, totals, duplicates, parents, comparison with what is known. The parents are known before, as they are on any night.
"""

from __future__ import annotations

import csv
import dataclasses
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from subsidy.facts.schema import CONTRACT, TRANSACTION
from subsidy.intake import Arrival, Profile, Profiles, arrived, load_profiles, read
from subsidy.intake.check import NothingKnown
from subsidy.intake.profile import CODECS
from subsidy.intake.write import write

RULES = Path(__file__).resolve().parent.parent / "rules"
#: Times what pyarrow's CSV reader takes on the same rows.
LIMIT = 4.0
#: How many times faster than openpyxl's read-only mode.
WORKBOOK_LIMIT = 5.0
TEXT = ("hangzhou", "zhejiang-provincial", "wenzhou", "shaoxing", "quzhou", "huzhou")
#: Dialects that the limit speaks of: delimited text, fixed width, CSV. XML and JSON lines, which name every field of every row, and
#: archives are shown beside them.
LIMITED = ("delimited", "fixed", "csv")
DAY = date(2026, 10, 31)
NAMES = ("李䶮", "王小明", "赵𬭎", "欧阳㛃", "张伟", "陈一二", "林三")


class Known(NothingKnown):
    """Accounts are known before their transactions."""

    def __init__(self, accounts: pa.Array) -> None:
        contracts = pc.replace_substring_regex(accounts, "^.{6}", "JK")
        self._accounts = pa.table({"key": accounts, "contract_no": contracts})

    def parents(self, table: str) -> pa.Table:
        """The accounts."""
        return self._accounts if table == "account" else super().parents(table)


def _numbers(prefix: str, values: np.ndarray, width: int) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pc.ascii_lpad(pa.array(values).cast(pa.string()), width, "0"), "")


def transactions(count: int) -> tuple[pa.Table, pa.Array]:
    """`count` synthetic repayments of count / 12 accounts, and the accounts."""
    rng = np.random.default_rng(20261031)
    loans = max(1, count // 12)
    at = np.arange(count)
    account = at % loans
    instalment = at // loans + 1
    # Balances follow each other: every account repays the same principal each month.
    repaid = rng.integers(50_000, 200_000, loans)[account]
    principal = rng.integers(10_000_000, 100_000_000, loans)[account] - repaid * (instalment - 1)
    rate = rng.choice(np.array([30_500, 33_000, 35_000, 39_000, 41_000, 49_000]), count)
    interest = (principal * rate + 6_000_000) // 12_000_000
    months = np.datetime64("2025-10") + instalment.astype("m8[M]")
    due = months.astype("M8[D]") + rng.integers(0, 28, loans)[account]
    before = (months - 1).astype("M8[D]") + rng.integers(0, 1, 1) + (due - months.astype("M8[D]"))
    zero = pa.array(np.zeros(count, np.int64))
    dates = {"d": pa.array(np.minimum(due, np.datetime64("2026-10-31")).astype("M8[D]")).cast(pa.date32())}
    rows = {
        "account_no": _numbers("622700", account, 13), "serial_no": _numbers("LS", at, 14),
        "kind": pa.array(np.full(count, "02")), "paid_on": dates["d"], "bank_code": pa.array(np.full(count, "105")),
        "amount_fen": pa.array(repaid + interest), "principal_repaid_fen": pa.array(repaid), "interest_fen": pa.array(interest),
        "penalty_fen": zero, "instalment": pa.array(instalment.astype(np.int32)), "booked_on": dates["d"],
        "accrual_from": pa.array(before).cast(pa.date32()), "accrual_to": pa.array(due).cast(pa.date32()),
        "base_principal_fen": pa.array(principal), "rate_ppm": pa.array(rate), "due_on": pa.array(due).cast(pa.date32()),
        "reverses": pa.nulls(count, pa.string()), "balance_after_fen": pa.array(principal - repaid),
    }
    table = pa.table([rows[c.name] for c in TRANSACTION.columns], names=[c.name for c in TRANSACTION.columns])
    return table, _numbers("622700", np.arange(loans), 13)


def contracts(count: int) -> pa.Table:
    """`count` synthetic contracts with names that only GB18030 can write."""
    rng = np.random.default_rng(7)
    at = np.arange(count)
    born = (np.datetime64("1960-01-01") + rng.integers(0, 14_000, count)).astype("M8[D]")
    digits = pc.binary_join_element_wise("330106", pc.strftime(pa.array(born), format="%Y%m%d"), pc.ascii_lpad(
        pa.array(rng.integers(0, 1000, count)).cast(pa.string()), 3, "0"), "")
    matrix = np.frombuffer(digits.buffers()[2], np.uint8, count * 17).reshape(count, 17).astype(np.int64) - 48
    weights = np.array([7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2])
    check = np.array(list("10X98765432"))[(matrix @ weights) % 11]
    day = pa.array(np.full(count, np.datetime64("2024-06-20"))).cast(pa.date32())
    rows = {
        "contract_no": _numbers("JK", at, 13), "house_contract_no": _numbers("GF", at, 13),
        "bank_name": pa.array(np.full(count, "中国建设银行杭州分行")), "bank_code": pa.array(np.full(count, "105")),
        "due_day": pa.array(rng.integers(1, 29, count).astype(np.int32)), "repayment_method": pa.array(np.full(count, "01")),
        "amount_fen": pa.array(rng.integers(100, 3000, count) * 100_000), "loan_kind": pa.array(np.full(count, "03")),
        "term_months": pa.array(np.full(count, 360, np.int32)), "rate_ppm": pa.array(np.full(count, 35_000)),
        "agreed_disbursement_on": day, "maturity_on": pa.array(np.full(count, np.datetime64("2054-06-20"))).cast(pa.date32()),
        "borrower_name": pa.array(np.array(NAMES)[at % len(NAMES)]), "borrower_id_kind": pa.array(np.full(count, "01")),
        "borrower_id_no": pc.binary_join_element_wise(digits, pa.array(check), ""), "signed_on": day,
    }
    return pa.table([rows[c.name] for c in CONTRACT.columns], names=[c.name for c in CONTRACT.columns])


def _plain(profile: Profile, code: str, rows: pa.Table, folder: Path) -> tuple[Path, str, int]:
    """The same texts as comma-separated text in the profile's encoding."""
    from subsidy.intake.write import _lines, _texts

    texts = _texts(profile, profile.tables[code], rows)
    encoding = CODECS[profile.encoding]
    path = folder / f"plain_{code}.csv"
    path.write_bytes(_lines(list(texts.values()), ",", False).encode(encoding))
    return path, encoding, len(texts)


def _arrow(path: Path, encoding: str, columns: int) -> int:
    names = [f"c{i}" for i in range(columns)]
    table = pacsv.read_csv(
        path, read_options=pacsv.ReadOptions(column_names=names, encoding=encoding),
        convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    )
    return int(table.num_rows)


def _pandas(path: Path, encoding: str, columns: int) -> int:
    return len(pd.read_csv(path, header=None, dtype=str, encoding=encoding, keep_default_na=False))


def _csv(path: Path, encoding: str, columns: int) -> int:
    with path.open(encoding=encoding, newline="") as handle:
        return sum(1 for _ in csv.reader(handle))


def _time(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds by the wall, and seconds of all processors."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _ours(arrival: Arrival, profiles: Profiles, context: Known, rows: int) -> None:
    with read(arrival, profiles, context, file_no=1, known_on=DAY) as intake:
        if intake.state != "booked" or intake.counts.booked != rows:
            raise AssertionError(f"{intake.state} {intake.message} {intake.counts} {intake.findings[:3]}")


def forms() -> list[Profiles]:
    """The text forms of the centres, and one that no centre has: JSON lines."""
    shipped = [load_profiles(RULES, centre) for centre in TEXT]
    flagged = next(p.profiles["main"] for p in shipped if p.profiles["main"].form == "csv")
    lines = dataclasses.replace(flagged, form="jsonl", encoding="utf-8", names="none", pattern="{table}_{date}_{sequence}{*}.jsonl")
    return [*shipped, Profiles("jsonl", {"main": lines})]


def measure(profiles: Profiles, code: str, rows: pa.Table, context: Known, folder: Path, times: int = 9) -> dict[str, Any]:
    """Seconds of ours and of pyarrow (the best of `times` each) and of the others for one table in one form."""
    profile = profiles.profiles["main"]
    inbox = folder / profiles.centre / code
    plain, encoding, columns = _plain(profile, code, rows, folder)
    write(profile, {code: rows}, DAY, "001", inbox)
    [arrival] = arrived(inbox, profiles, 0, time.time() + 3600)
    # By turns, so that a busy moment of the machine meets both.
    arrow, ours = [], []
    for _ in range(times):
        arrow.append(_time(lambda: _arrow(plain, encoding, columns)))
        ours.append(_time(lambda: _ours(arrival, profiles, context, rows.num_rows)))
    seconds = {
        "arrow": min(w for w, _ in arrow), "ours": min(w for w, _ in ours), "arrow_cpu": min(c for _, c in arrow),
        "ours_cpu": min(c for _, c in ours), "csv": _time(lambda: _csv(plain, encoding, columns))[0],
        "pandas": _time(lambda: _pandas(plain, encoding, columns))[0],
    }
    form = profile.form + (f" in {profile.container}" if profile.container != "none" else "")
    return {
        "centre": profiles.centre, "form": form, "encoding": profile.encoding, "table": code, "rows": rows.num_rows, "bytes": arrival.size,
        **seconds, "ratio": seconds["ours"] / seconds["arrow"], "cpu_ratio": seconds["ours_cpu"] / seconds["arrow_cpu"],
        "limited": form in LIMITED,
    }


def workbook(count: int, folder: Path) -> dict[str, Any]:
    """Seconds of ours and of openpyxl's read-only mode for one workbook."""
    profiles = load_profiles(RULES, "zhoushan")
    rows, accounts = transactions(count)
    inbox = folder / "xlsx"
    [path] = write(profiles.profiles["main"], {"GB305": rows}, DAY, "001", inbox)
    [arrival] = arrived(inbox, profiles, 0, time.time() + 3600)

    def plain() -> None:
        book = openpyxl.load_workbook(path, read_only=True)
        for sheet in book:
            for _ in sheet.iter_rows(values_only=True):
                pass
        book.close()

    ours = min(_time(lambda: _ours(arrival, profiles, Known(accounts), count))[0] for _ in range(3))
    theirs = _time(plain)[0]
    return {"rows": count, "bytes": arrival.size, "ours": ours, "openpyxl": theirs, "times": theirs / ours}


def peak(centre: str, count: int, folder: Path) -> int:
    """Peak memory in bytes of a process that reads one file of `count` transactions."""
    code = f"from benchmarks.intake import _peak; _peak({centre!r}, {count}, {str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=RULES.parent)
    return int(done.stdout)


def _peak(centre: str, count: int, folder: str) -> None:
    profiles = load_profiles(RULES, centre)
    [arrival] = arrived(Path(folder), profiles, 0, time.time() + 3600)
    _ours(arrival, profiles, Known(_numbers("622700", np.arange(10_000), 13)), count)
    # The high-water mark of this program alone: getrusage still counts the process it was forked from.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(int(status.split("VmHWM:")[1].split()[0]) * 1024)


def memory(centre: str, count: int, folder: Path) -> list[dict[str, Any]]:
    """Peak memory for `count` and four times as many transactions of the same accounts."""
    found = []
    profile = load_profiles(RULES, centre).profiles["main"]
    for times in (1, 4):
        inbox = folder / f"memory-{times}"
        rows, _ = transactions(count * times)
        account = _numbers("622700", np.arange(count * times) % 10_000, 13)
        write(profile, {"GB305": rows.set_column(0, "account_no", account)}, DAY, "001", inbox)
        del rows, account
        found.append({"rows": count * times, "peak": peak(centre, count * times, inbox)})
    return found


def main(size: int = 500_000) -> int:
    """Print the tables; 1 when a limited dialect is slower than `LIMIT`, or the workbook than `WORKBOOK_LIMIT`."""
    failed = False
    print(f"Raw bytes to checked columnar facts beside parsing the same rows as comma-separated text ({size:,} rows)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows, accounts = transactions(size)
        tables = {"GB305": rows, "GB301": contracts(size)}
        for profiles in forms():
            for code, table in tables.items():
                m = measure(profiles, code, table, Known(accounts), folder)
                failed |= m["limited"] and m["ratio"] > LIMIT
                limit = f"limit {LIMIT:.0f}" if m["limited"] else "no limit"
                print(
                    f"  {m['form']:<10} {m['encoding']:<9} {code}  {m['bytes'] / 1e6:6.0f} MB  ours {m['ours']:6.2f} s"
                    f"  pyarrow {m['arrow']:5.2f} s  csv {m['csv']:5.2f} s  pandas {m['pandas']:5.2f} s  ratio {m['ratio']:5.2f}"
                    f" ({limit}), of processor time {m['cpu_ratio']:5.2f}"
                )
        book = workbook(min(size, 100_000), folder)
        failed |= book["times"] < WORKBOOK_LIMIT
        print(
            f"  .xlsx {book['rows']:,} rows, safety checks included: ours {book['ours']:.2f} s, openpyxl read-only {book['openpyxl']:.2f} s"
            f", {book['times']:.1f} times faster (limit {WORKBOOK_LIMIT:.0f})"
        )
        for m in memory("hangzhou", size, folder):
            print(f"  peak memory, {m['rows']:>9,} transactions of the same accounts: {m['peak'] / 1e6:.0f} MB")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*(int(a) for a in sys.argv[1:])))
