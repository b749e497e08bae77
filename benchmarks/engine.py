"""The engine against a Decimal loop that does the same steps and against DuckDB's decimals, on the same rows, in one run.

Each part runs in a process of its own, so that its peak memory can be told. Seconds are processor seconds of one thread, so that a busy
machine does not blur them. The engine gets the loans in groups, as a night does; the Decimal loop gets a part of the rows, and its time per
row counts. Bare arithmetic is in `benchmarks.arithmetic`.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks import decimal_loop, portfolio
from subsidy import proof
from subsidy.calendar import date_of, day_number
from subsidy.entitlement.dates import month_of, next_january
from subsidy.entitlement.engine import assess
from subsidy.entitlement.rates import FundRates, Whose
from subsidy.entitlement.shadow import Instalments, Prepayments, Rules, ShadowLoans, Terms, advance
from subsidy.facts.schema import Facts
from subsidy.policy import policy_as_data
from subsidy.policy.model import Series

#: How many times faster than the Decimal loop.
LIMIT = 30.0
MEMORY_LIMIT_BYTES = 2 * 10**9
TERM = 360
#: Known history of a loan.
MONTHS = 24
DECIMAL_LOANS, DECIMAL_SHADOWS, DUCKDB_SHADOWS = 1_000, 60, 500
GROUP_LOANS = 4_000
FIGURES = ("agreement_no", "serial_no", "figure_fen", "entitled_fen", "payable_fen", "outcome")

Result = dict[str, Any]


def whole_engine(size: int) -> list[Result]:
    """`size` rows through `assess`: joins, verification, gates, window, segments, instalments in parts, monthly limit, output."""
    facts = portfolio.facts(max(size // MONTHS, 1), MONTHS)
    groups = [portfolio.part(facts, start, GROUP_LOANS) for start in range(0, facts["account"].num_rows, GROUP_LOANS)]
    sample = portfolio.part(facts, 0, DECIMAL_LOANS)
    plain = decimal_loop.rows_of(sample)
    fractions = {**plain, "claims": sorted(sample.claims)}
    found = []
    for method in ("ratio", "spread"):
        policy = portfolio.policy(method)
        loop_seconds, looped = _best(lambda p=policy, m=method: decimal_loop.assess(plain, sample.claims, p, m), 5)  # type: ignore[misc]
        seconds, rows = _best(lambda p=policy: sum(assess(group, p).lines.num_rows for group in groups), 5)  # type: ignore[misc]
        lines = [assess(group, policy).lines for group in groups]
        own = {line[:2]: line for table in lines for line in zip(*(table[c].to_pylist() for c in FIGURES), strict=True)}
        differing = sum(own[line[:2]] != line[: len(FIGURES)] for line in looped)
        loop_ns = loop_seconds / len(looped) * 1e9
        # The second computation, in fractions, says what is right.
        wrong = len(proof.check(assess(sample, policy).lines.to_pylist(), proof.recompute(fractions, policy_as_data(policy))))
        found.append(_result(method, "engine", rows, seconds, loop_ns, wrong))
        found.append(_result(method, "Decimal loop", len(looped), loop_seconds, loop_ns, differing))
        if method == "ratio":
            duck_seconds, asked = _best(_duckdb(facts), 2)
            wrong = sum(own[line[:2]][2:4] != line[2:] for line in asked)
            found.append(_result(method, "DuckDB decimals", rows, duck_seconds, loop_ns, wrong))
    return found


def shadows(loans: int) -> list[Result]:
    """`loans` shadow loans through 360 instalments each: due dates, fund rates with changes, rebuilt annuities, interest, principal."""
    rng = np.random.default_rng(20260901)
    disbursed = (day_number(date(2021, 1, 5)) + rng.integers(0, 1_700, loans)).astype(np.int32)
    amount = rng.integers(200_000, 2_000_000, loans) * 100
    due_day = rng.integers(1, 29, loans).astype(np.int32)
    policy = portfolio.policy("shadow_interest")
    none, none32 = np.empty(0, np.int64), np.empty(0, np.int32)
    start = ShadowLoans(
        balance=amount,
        given=np.full(loans, -1),
        previous_rate=np.full(loans, -1),
        first=np.ones(loans, np.int32),
        last=np.full(loans, TERM, np.int32),
        term=np.full(loans, TERM, np.int32),
        method=np.ones(loans, np.uint8),
        due_day=due_day,
        anchor=month_of(disbursed),
        period_from=disbursed,
        unknown=np.zeros(loans, np.uint8),
        subsidised=np.ones(loans, bool),
        whose=Whose(np.ones(loans, np.uint8), disbursed, disbursed, next_january(disbursed)),
    )
    sample = range(min(DECIMAL_SHADOWS, loans))
    kept: list[list[tuple[int, int]]] = [[] for _ in sample]
    clock = time.process_time()
    total = 0
    for step in advance(
        start,
        Instalments(none32, none32, none32, none32, none32),
        Prepayments(none32, none32, none, none, np.empty(0, bool)),
        Terms(none32, none32, none32, np.empty(0, np.uint8)),
        FundRates(policy.parameters),
        [Rules(0, "next_january", "split")],
    ):
        total += int(step.interest.sum())
        for number in sample:
            kept[number].append((int(step.interest[number]), int(step.principal[number])))
    seconds = time.process_time() - clock
    fund = policy.parameters.series["FIRST_GT5"]
    rows = [{"balance": int(amount[n]), "term": TERM, "due_day": int(due_day[n]), "disbursed_on": date_of(disbursed[n])} for n in sample]
    right = [decimal_loop.shadow(row, fund, exact=True) for row in rows]
    loop_seconds, looped = _best(lambda: [decimal_loop.shadow(row, fund, exact=False) for row in rows], 2)
    loop_ns = loop_seconds / (len(rows) * TERM) * 1e9
    wrong = sum(a != b for own, exact in zip(kept, right, strict=True) for a, b in zip(own, exact, strict=True))
    loop_wrong = sum(a != b for own, exact in zip(looped, right, strict=True) for a, b in zip(own, exact, strict=True))
    asked = [
        {"balance": int(amount[n]), "term": TERM, "due_day": int(due_day[n]), "disbursed_on": date_of(disbursed[n])}
        for n in range(min(DUCKDB_SHADOWS, loans))
    ]
    duck_seconds, told = _best(_duckdb_shadows(asked, fund), 1)
    by_duckdb = {(loan, k): (interest, principal) for loan, k, interest, principal in told}
    duck_wrong = sum(by_duckdb[n, k] != own for n, exact in enumerate(right) for k, own in enumerate(exact, 1))
    return [
        _result("shadow", "engine", loans * TERM, seconds, loop_ns, wrong),
        _result("shadow", "Decimal loop", len(rows) * TERM, loop_seconds, loop_ns, loop_wrong),
        _result("shadow", "DuckDB decimals", len(told), duck_seconds, loop_ns, duck_wrong),
    ]


#: One shadow instalment after the other. DuckDB has no decimal power, so an annuity is floating point.
SHADOW_SQL = """
WITH RECURSIVE s AS (
  SELECT loan, 0 AS k, balance, 0::BIGINT AS annuity, 0::BIGINT AS interest, 0::BIGINT AS principal FROM loans
  UNION ALL
  SELECT loan, k, balance, annuity, CAST(round(balance::DECIMAL(38,0) * total * part / (days * 360000000)) AS BIGINT),
         CASE WHEN months = 1 THEN balance
              ELSE annuity - CAST(round(balance::DECIMAL(38,0) * total / (days * 12000000)) AS BIGINT) END
  FROM (SELECT t.*, s.balance - s.principal AS balance,
               CASE WHEN t.rebuilds THEN CAST(round((s.balance - s.principal) * t.rate / 12000000
                      * pow(1 + t.rate / 12000000, t.months) / (pow(1 + t.rate / 12000000, t.months) - 1)) AS BIGINT)
                    ELSE s.annuity END AS annuity
        FROM s JOIN steps t ON t.loan = s.loan AND t.k = s.k + 1))
SELECT loan, k, interest, principal FROM s WHERE k > 0
"""


def _duckdb_shadows(loans: list[dict[str, Any]], fund: Series) -> Callable[[], Any]:
    steps = [(n, *step) for n, loan in enumerate(loans) for step in decimal_loop.shadow_steps(loan, fund)]
    names = ("loan", "k", "total", "days", "part", "rate", "rebuilds", "months")
    connection = duckdb.connect()
    connection.execute("SET threads TO 1")
    connection.register("steps", pa.table(dict(zip(names, map(list, zip(*steps, strict=True)), strict=True))))
    connection.register("loans", pa.table({"loan": list(range(len(loans))), "balance": [loan["balance"] for loan in loans]}))
    return lambda: connection.sql(SHADOW_SQL).fetchall()


def _result(method: str, way: str, rows: int, seconds: float, loop_ns: float, wrong: int) -> Result:
    ns = seconds / rows * 1e9
    return {"method": method, "way": way, "rows": rows, "seconds": seconds, "ns_per_row": ns, "times": loop_ns / ns, "wrong": wrong}


def _best(function: Callable[[], Any], times: int) -> tuple[float, Any]:
    """Processor seconds of the fastest of `times` calls, and the last result."""
    best, result = float("inf"), None
    for _ in range(times):
        clock = time.process_time()
        result = function()
        best = min(best, time.process_time() - clock)
    return best, result


#: The same steps as one query: window, segments at the turn of a year, instalments in parts, monthly limit. DuckDB divides decimals as
#: floating point, which is why its figures are not exact.
SQL = """
WITH loan AS (
  SELECT ag.agreement_no, ac.account_no, ac.disbursed_on, ac.disbursed_fen, least(ag.subsidised_principal_fen, ac.disbursed_fen) AS q,
         greatest(ag.subsidy_start_on, ac.disbursed_on) AS starts,
         CASE WHEN ag.home_order = '01' THEN 'FIRST_' ELSE 'SECOND_' END
         || CASE WHEN co.term_months <= 60 THEN 'LE5' ELSE 'GT5' END AS series
  FROM agreement ag JOIN contract co USING (contract_no) JOIN account ac USING (contract_no)),
row AS (
  SELECT t.*, l.*, s.overdue_run, s.overdue_total, accrual_to - accrual_from AS n,
         greatest(accrual_from, starts) AS a, least(accrual_to, CAST(starts + INTERVAL 360 MONTH AS DATE)) AS b,
         CAST(date_trunc('year', accrual_to) AS DATE) AS turn
  FROM transaction t JOIN loan l USING (account_no)
  ASOF LEFT JOIN status s ON t.account_no = s.account_no AND t.due_on >= s.as_of),
rated AS (
  SELECT r.*, fa.ppm AS rate_a, fb.ppm AS rate_b
  FROM (SELECT *, CASE WHEN year(a) = year(disbursed_on) THEN disbursed_on ELSE make_date(year(a) - 1, 12, 31) END AS seen_a,
                  CASE WHEN year(accrual_to) = year(disbursed_on) THEN disbursed_on
                       ELSE make_date(year(accrual_to) - 1, 12, 31) END AS seen_b
        FROM row) r
  ASOF JOIN fund fa ON r.series = fa.series AND r.seen_a >= fa.effective_on
  ASOF JOIN fund fb ON r.series = fb.series AND r.seen_b >= fb.effective_on),
weighted AS (
  SELECT *, greatest(CASE WHEN turn > a AND turn < b
                  THEN (turn - a) * greatest(rate_ppm - rate_a, 0) + (b - turn) * greatest(rate_ppm - rate_b, 0)
                  ELSE (b - a) * greatest(rate_ppm - rate_a, 0) END, 0) AS w,
         sum(interest_fen) OVER part AS so_far
  FROM rated WINDOW part AS (PARTITION BY account_no, instalment ORDER BY serial_no)),
figured AS (
  SELECT *, CAST(round(CAST(q AS DECIMAL(38,0)) * so_far * w / (CAST(disbursed_fen AS DECIMAL(38,0)) * n * rate_ppm)) AS BIGINT) AS upto
  FROM weighted),
single AS (
  SELECT *, greatest(upto - coalesce(max(upto) OVER (PARTITION BY account_no, instalment ORDER BY serial_no
                     ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0), 0) AS figure FROM figured),
gated AS (
  SELECT *, CASE WHEN coalesce(overdue_run, 0) < 3 AND coalesce(overdue_total, 0) < 6 AND paid_on - due_on > 30 THEN 0
                 ELSE least(figure, interest_fen) END AS open FROM single),
limited AS (
  SELECT *, sum(open) OVER (PARTITION BY agreement_no, date_trunc('month', accrual_to) ORDER BY accrual_to, serial_no) AS used FROM gated)
SELECT agreement_no, serial_no, figure, least(used, 60000) - least(used - open, 60000) AS entitled FROM limited
"""


def _duckdb(facts: Facts) -> Callable[[], Any]:
    connection = duckdb.connect()
    connection.execute("SET threads TO 1")
    for name in ("agreement", "contract", "account", "transaction", "status"):
        connection.register(name, facts[name])
    connection.execute("CREATE TABLE fund (series VARCHAR, effective_on DATE, ppm BIGINT)")
    for series in portfolio.policy("ratio").parameters.series.values():
        connection.executemany(
            "INSERT INTO fund VALUES (?, ?, ?)", [[series.name, d, p] for d, p in zip(series.effective_on, series.ppm, strict=True)]
        )
    return lambda: connection.sql(SQL).fetchall()


def main(size: int = 1_000_000) -> int:
    """Print the tables; 1 when the engine is below `LIMIT`, above the memory limit, or a figure of it differs from exact arithmetic."""
    failed = False
    for part, count, title in (
        ("whole", size, f"The whole engine, {size // MONTHS:,} loans with {MONTHS} months each"),
        ("shadow", max(size // 5, 1), f"Shadow loans, {size // 5:,} loans × {TERM} instalments"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.engine", part, str(count)],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).resolve().parent.parent,
        )
        told = json.loads(done.stdout)
        print(f"{title}; peak memory {told['peak_bytes'] / 1e9:.2f} GB")
        failed |= part == "shadow" and told["peak_bytes"] > MEMORY_LIMIT_BYTES
        for r in told["results"]:
            verdict = "exact" if not r["wrong"] else f"{r['wrong']:,} figures wrong"
            print(
                f"  {r['method']:<7} {r['way']:<16} {r['rows']:>11,} rows {r['seconds']:8.2f} s {r['ns_per_row']:9.1f} ns a row "
                f"{r['times']:7.1f} × Decimal loop  {verdict}"
            )
            if r["way"] == "engine":
                failed |= r["times"] < LIMIT or bool(r["wrong"])
            if r["way"] == "Decimal loop" and r["method"] != "shadow":
                failed |= bool(r["wrong"])
    return int(failed)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        results = {"whole": whole_engine, "shadow": shadows}[sys.argv[1]](int(sys.argv[2]))
        print(json.dumps({"results": results, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
    else:
        sys.exit(main(*(int(a) for a in sys.argv[1:])))
