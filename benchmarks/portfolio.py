"""A synthetic portfolio of subsidised loans as fact tables, built column by column; nothing in it is a real loan."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from subsidy.calendar import add_months, day_number
from subsidy.facts.schema import META, TABLES, Facts
from subsidy.policy import CentrePolicy, load_centre
from subsidy.policy.conditions import parse
from subsidy.policy.model import Gate, Outcome, Source

CENTRE_CODE = "330100000000000"
#: Every how many loans one pays in two parts, prepays, or pays late.
PARTS, PREPAYS, LATE = 50, 40, 25

Columns = dict[str, Any]


def facts(loans: int, months: int = 10, statuses: bool = True) -> Facts:
    """`loans` loans disbursed through 2024 and 2025 with `months` instalments each from September 2025 on, ordered as the store does."""
    rng = np.random.default_rng(20260901)
    number = np.arange(loans)
    due_day = rng.integers(1, 29, loans)
    disbursed_on = _on(rng.integers(0, 20, loans) + (2024 - 1970) * 12, due_day)
    amount = rng.integers(20, 200, loans) * 1_000_000
    subsidised = np.where(rng.random(loans) < 0.3, amount // 4 * 3, amount)
    rate = rng.integers(610, 820, loans) * 50
    names = {
        # Agreements are numbered in another order than accounts, as they are.
        "agreement_no": _texts("XY", rng.permutation(loans)),
        "contract_no": _texts("HT", number),
        "account_no": _texts("62220200", number),
    }
    first = (2025 - 1970) * 12 + 8
    k_first = (first - _month(disbursed_on)).astype(np.int32)
    tables = {
        "agreement": {
            "agreement_no": names["agreement_no"],
            "contract_no": names["contract_no"],
            "centre_code": CENTRE_CODE,
            "subsidised_principal_fen": subsidised,
            "home_order": _choice(rng.random(loans) < 0.2, "02", "01"),
            "signed_on": disbursed_on - 10,
            "subsidy_start_on": disbursed_on,
            "subsidy_months": 360,
            "payee_account": names["account_no"],
            "payee_name": "测试",
            "payee_bank_no": "105331000001",
            "payee_kind": "01",
        },
        "contract": {
            "contract_no": names["contract_no"],
            "house_contract_no": _texts("GF", number),
            "bank_name": "建设银行",
            "bank_code": "105",
            "due_day": due_day,
            "repayment_method": "01",
            "amount_fen": amount,
            "loan_kind": "03",
            "term_months": 360,
            "rate_ppm": rate,
            "agreed_disbursement_on": disbursed_on,
            "maturity_on": add_months(disbursed_on, 360),
            "borrower_name": "测试",
            "borrower_id_kind": "01",
            "borrower_id_no": "330100199001010000",
            "signed_on": disbursed_on - 10,
        },
        "account": {
            "account_no": names["account_no"],
            "contract_no": names["contract_no"],
            "disbursed_fen": amount,
            "disbursed_on": disbursed_on,
            "balance_fen": amount,
            "rate_ppm": rate,
            "term_months": 360,
            "settled_on": None,
            "overdue_total": 0,
        },
        "transaction": _transactions(rng, names["account_no"], amount, rate, disbursed_on, due_day, k_first, first, months),
        "status": _statuses(rng, names["account_no"], due_day, first, months) if statuses else {},
    }
    return Facts({name: _table(name, tables.get(name, {})) for name in TABLES})


def _transactions(
    rng: np.random.Generator,
    account_no: Any,
    amount: Any,
    rate: Any,
    disbursed_on: Any,
    due_day: Any,
    k_first: Any,
    first: int,
    months: int,
) -> Columns:
    loans = len(amount)
    loan = np.repeat(np.arange(loans), months)
    step = np.tile(np.arange(months), loans)
    base = amount[loan] - (amount[loan] // 360) * step
    accrual_to = _on(first + step, due_day[loan])
    accrual_from = _on(first + step - 1, due_day[loan])
    interest = (base * rate[loan] + 6_000_000) // 12_000_000
    principal = amount[loan] // 360
    kind = np.full(len(loan), 2)
    serial = step * 10
    paid_on = accrual_to.copy()
    late = rng.integers(0, LATE, len(loan)) == 0
    kind[late] = 4
    paid_on[late] += rng.integers(1, 40, int(late.sum()))
    columns = {
        "loan": loan,
        "serial": serial,
        "kind": kind,
        "paid_on": paid_on,
        "principal": principal,
        "interest": interest,
        "instalment": k_first[loan] + step,
        "accrual_from": accrual_from,
        "accrual_to": accrual_to,
        "base": base,
    }
    parts = np.flatnonzero(rng.integers(0, PARTS, len(loan)) == 0)
    second = {name: values[parts].copy() for name, values in columns.items()}
    for name in ("principal", "interest", "base"):
        half = columns[name][parts] // 3
        second[name] = columns[name][parts] - half
        columns[name][parts] = half
    second["serial"] += 1
    columns = {name: np.concatenate([values, second[name]]) for name, values in columns.items()}
    order = np.lexsort((columns["serial"], columns["loan"]))
    c = {name: values[order] for name, values in columns.items()}
    return {
        "account_no": account_no.take(pa.array(c["loan"])),
        "serial_no": _texts("S", c["serial"], 6),
        "kind": _choice(c["kind"] == 4, "04", "02"),
        "paid_on": c["paid_on"],
        "bank_code": "105",
        "amount_fen": c["principal"] + c["interest"],
        "principal_repaid_fen": c["principal"],
        "interest_fen": c["interest"],
        "penalty_fen": 0,
        "instalment": c["instalment"],
        "booked_on": c["paid_on"],
        "accrual_from": c["accrual_from"],
        "accrual_to": c["accrual_to"],
        "base_principal_fen": c["base"],
        "rate_ppm": rate[c["loan"]],
        "due_on": c["accrual_to"],
        "reverses": None,
        "balance_after_fen": None,
    }


def _statuses(rng: np.random.Generator, account_no: Any, due_day: Any, first: int, months: int) -> Columns:
    loans = len(due_day)
    loan = np.repeat(np.arange(loans), months)
    as_of = _on(first + np.tile(np.arange(months), loans) - 1, np.full(len(loan), 28))
    run = np.where(rng.integers(0, 60, len(loan)) == 0, rng.integers(1, 5, len(loan)), 0)
    return {
        "account_no": account_no.take(pa.array(loan)),
        "as_of": as_of,
        "balance_fen": 0,
        "overdue_run": run,
        "overdue_total": run,
        "contribution_status": "01",
        "loan_status": _choice(run > 0, "overdue", "normal"),
    }


def _table(name: str, columns: Columns) -> pa.Table:
    fact = TABLES[name]
    rows = max((len(v) for v in columns.values() if not isinstance(v, (str, int)) and v is not None), default=0)
    meta = {
        "bucket": 0,
        "known_on": day_number(date(2026, 9, 1)),
        "file_no": 1,
        "line_no": np.arange(1, rows + 1),
        "occurrence": 0,
        "withdrawn": False,
    }
    return pa.Table.from_arrays(
        [_array(columns.get(c.name), c.type, rows) for c in fact.arrow if c.name not in META.names]
        + [_array(meta[c.name], c.type, rows) for c in META],
        schema=fact.arrow,
    )


def _array(values: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if values is None:
        return pa.nulls(rows, kind)
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values.cast(kind) if values.type != kind else values
    if isinstance(values, (str, int)):
        if pa.types.is_date32(kind):
            return pa.array(np.full(rows, values, np.int32)).view(kind)
        return pa.repeat(pa.scalar(values, kind), rows)
    if pa.types.is_date32(kind):
        return pa.array(np.asarray(values, np.int32)).view(kind)
    return pa.array(values).cast(kind)


def _texts(prefix: str, number: Any, digits: int = 8) -> pa.Array:
    return pa.array(np.char.add(prefix, np.char.zfill(number.astype(str), digits)))


def _choice(where: Any, yes: str, no: str) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(where.astype(np.int8)), pa.array([no, yes])).cast(pa.string())


def _month(days: Any) -> Any:
    return np.asarray(days).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _on(month: Any, day: Any) -> Any:
    return np.asarray(month).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + np.asarray(day) - 1


def policy(method: str) -> CentrePolicy:
    """Hangzhou's policy with `method`, monthly periods, a monthly limit and five gates, in force all the time."""
    shipped = load_centre(Path(__file__).resolve().parent.parent / "rules", "hangzhou")
    rule = replace(
        shipped.rules[0],
        effective_from=date(2000, 1, 1),
        effective_to=None,
        method=cast(Any, method),
        day_count="monthly",
        rate_cap=(),
        monthly_limit_fen=60_000,
        suspension=None,
        gates=tuple(Gate(parse(t), t, o, r, r, Source("assumed")) for t, o, r in GATES),
        verification=replace(shipped.rules[0].verification, loan_kinds=("03",)),
    )
    return replace(shipped, rules=(rule,), go_live=date(2000, 1, 1))


#: The gates that `decimal_loop` asks as well.
GATES: tuple[tuple[str, Outcome, str], ...] = (
    ("not verified", "hold", "UNVERIFIED"),
    ("duplicate_claim", "hold", "DUPLICATE"),
    ("opening_missing", "hold", "OPENING-MISSING"),
    ("overdue_total >= 6", "stop", "OVERDUE-6"),
    ("overdue_run >= 3", "hold", "OVERDUE-3"),
    ("days_late > 30", "forfeit", "LATE"),
    ('loan_status == "written_off"', "stop", "WRITTEN-OFF"),
    ("true", "pay", "PAY"),
)


def part(whole: Facts, start: int, loans: int) -> Facts:
    """The facts of `loans` accounts from number `start` on."""
    accounts = whole["account"].slice(start, loans)
    numbers, contracts = accounts["account_no"].combine_chunks(), accounts["contract_no"].combine_chunks()
    tables = dict(whole.tables)
    for name, key, values in (
        ("agreement", "contract_no", contracts),
        ("contract", "contract_no", contracts),
        ("account", "account_no", numbers),
        ("transaction", "account_no", numbers),
        ("status", "account_no", numbers),
    ):
        tables[name] = whole[name].filter(pc.is_in(whole[name][key], value_set=values))
    return Facts(tables)
