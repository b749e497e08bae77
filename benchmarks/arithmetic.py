"""The bare arithmetic of `ratio` and `spread` on the same rows: integer columns, a plain Decimal loop, DuckDB's decimals.

All get the same integers; the clock covers the computation alone. Python fractions say on a sample which of them are exact. The share w is
in lowest terms, as the engine keeps it per loan. `awkward` rows have amounts without common divisors, which need more than 64 bits; some of
them lie a hair below half a fen, where an inexact division shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import partial
from math import gcd
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from subsidy.money import muldiv_round

#: How many times faster than the Decimal loop the columns must be (per row; the loop runs on a part of the rows).
LIMIT = 50.0
DECIMAL_ROWS = 200_000
EXACT_ROWS = 50_000

Rows = dict[str, Any]


def rows(count: int, awkward: bool = False) -> Rows:
    """`count` synthetic rows: interest and principal in fen, rates in ppm, subsidised / disbursed amount in lowest terms, days."""
    rng = np.random.default_rng(20260901)
    principal = rng.integers(5_000_000, 200_000_000, count)
    rate = rng.integers(610, 1_300, count) * 50
    days = rng.integers(28, 32, count)
    unit = 1 if awkward else 1_000_000  # loans are granted in whole multiples of ten thousand yuan
    disbursed = (principal // unit + rng.integers(1, 50, count)) * unit
    subsidised = np.maximum(disbursed * rng.integers(3, 11, count) // 10 // unit * unit, unit)
    common = np.gcd(subsidised, disbursed)
    return {
        "principal": principal,
        "rate": rate,
        "days": days,
        "interest": principal * rate * days // 360_000_000,
        "spread": np.maximum(rate - 26_000, 0),
        "disbursed": disbursed // common,
        "subsidised": subsidised // common,
    }


def near_half(r: Rows, wanted: int = 500) -> None:
    """Give the first suitable rows an interest whose ratio figure has the fraction (d - 1) / 2d, d the denominator: rounds down."""
    for k in range(len(r["rate"])):
        top, bottom = int(r["spread"][k]) * int(r["subsidised"][k]), (int(r["rate"][k]) - 1) * int(r["disbursed"][k])
        if wanted and top and bottom % 2 and gcd(top, bottom) == 1 and bottom < 10**13:
            r["rate"][k] -= 1
            r["interest"][k] = (bottom - 1) // 2 * pow(top, -1, bottom) % bottom
            wanted -= 1


def columns_ratio(r: Rows) -> Any:
    """w · I · spread / rc on integer columns."""
    return muldiv_round((r["interest"], r["spread"], r["subsidised"]), (r["rate"], r["disbursed"]))


def columns_spread(r: Rows) -> Any:
    """w · P · spread · days / 360 on integer columns."""
    return muldiv_round((r["principal"], r["spread"], r["subsidised"], r["days"]), (r["disbursed"], 360, 1_000_000))


def decimal_ratio(values: list[tuple[int, ...]]) -> list[int]:
    """The same, one Decimal after the other."""
    one = Decimal(1)
    return [int((Decimal(i) * s * q / (Decimal(c) * d)).quantize(one, ROUND_HALF_UP)) for i, s, q, c, d in values]


def decimal_spread(values: list[tuple[int, ...]]) -> list[int]:
    """The same, one Decimal after the other."""
    one = Decimal(1)
    return [int((Decimal(p) * s * q * n / (Decimal(d) * 360_000_000)).quantize(one, ROUND_HALF_UP)) for p, s, q, n, d in values]


RATIO = ("interest", "spread", "subsidised", "rate", "disbursed")
SPREAD = ("principal", "spread", "subsidised", "days", "disbursed")
#: DuckDB multiplies decimals exactly and divides them as floating point.
SQL = {
    "ratio": "round(interest::DECIMAL(38,0) * spread * subsidised / (rate::DECIMAL(38,0) * disbursed))",
    "spread": "round(principal::DECIMAL(38,0) * spread * subsidised * days / (disbursed::DECIMAL(38,0) * 360000000))",
}
METHODS = (("ratio", columns_ratio, RATIO, decimal_ratio), ("spread", columns_spread, SPREAD, decimal_spread))


def exact(r: Rows, method: str, count: int) -> list[int]:
    """The figures by Python fractions, half away from zero (no figure is negative)."""
    if method == "ratio":
        values = zip(*(r[n][:count].tolist() for n in RATIO), strict=True)
        return [int(Fraction(i * s * q, c * d) + Fraction(1, 2)) for i, s, q, c, d in values]
    values = zip(*(r[n][:count].tolist() for n in SPREAD), strict=True)
    return [int(Fraction(p * s * q * n, d * 360_000_000) + Fraction(1, 2)) for p, s, q, n, d in values]


def best_of(function: Callable[[], Any], times: int = 5) -> tuple[float, Any]:
    """Processor seconds of the fastest of `times` calls, which a busy machine does not blur, and the last result."""
    seconds, result = float("inf"), None
    for _ in range(times):
        start = time.process_time()
        result = function()
        seconds = min(seconds, time.process_time() - start)
    return seconds, result


def run(size: int, awkward: bool = False) -> list[dict[str, Any]]:
    """Nanoseconds per row, ratio to the Decimal loop, and wrong figures per method and way."""
    r = rows(size, awkward)
    if awkward:
        near_half(r)
    connection = duckdb.connect()
    connection.execute("SET threads TO 1")
    connection.register("r", pa.table(r))
    checked = min(size, EXACT_ROWS)
    found = []
    for method, columns, names, loop in METHODS:
        right = exact(r, method, checked)
        values = list(zip(*(r[n][:DECIMAL_ROWS].tolist() for n in names), strict=True))
        query = f"SELECT {SQL[method]} AS figure FROM r"
        loop_seconds, looped = best_of(partial(loop, values))
        column_seconds, computed = best_of(partial(columns, r))
        duck_seconds, asked = best_of(lambda query=query: connection.sql(query).to_arrow_table())  # type: ignore[misc]
        loop_ns = loop_seconds / len(values) * 1e9
        for way, ns, figures in (
            ("integer columns", column_seconds / size * 1e9, computed[:checked].tolist()),
            ("Decimal loop", loop_ns, looped[:checked]),
            ("DuckDB decimals", duck_seconds / size * 1e9, asked.column(0).slice(0, checked).to_pylist()),
        ):
            wrong = sum(int(a) != b for a, b in zip(figures, right, strict=True))
            found.append({"method": method, "way": way, "ns_per_row": ns, "times": loop_ns / ns, "wrong": wrong, "checked": checked})
    return found


def main(size: int = 2_000_000) -> int:
    """Print the tables; 1 when the columns are slower than `LIMIT` on usual rows, or not exact on any."""
    failed = False
    for awkward in (False, True):
        count = size // 10 if awkward else size
        found = run(count, awkward)
        kind = "awkward rows (amounts without common divisors)" if awkward else "rows"
        print(f"Bare arithmetic of a subsidy, {count:,} {kind}; the Decimal loop on {min(count, DECIMAL_ROWS):,} of them")
        for m in found:
            verdict = "exact" if not m["wrong"] else f"{m['wrong']:,} of {m['checked']:,} figures wrong"
            print(f"  {m['method']:<7} {m['way']:<16} {m['ns_per_row']:9.1f} ns a row  {m['times']:7.1f} × Decimal loop  {verdict}")
            if m["way"] == "integer columns":
                failed |= bool(m["wrong"]) or (not awkward and m["times"] < LIMIT)
    return int(failed)


if __name__ == "__main__":
    import sys

    sys.exit(main(*(int(a) for a in sys.argv[1:])))
