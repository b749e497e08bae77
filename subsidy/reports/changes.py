"""Why this period's payable sum is not last period's: every loan falls into one class, and the classes add up (变动分析)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

#: In the order in which a class is tried; the first that fits counts.
CLASSES = ("新增", "结清", "更正与冲正", "终止", "暂停", "恢复", "提前还款", "利率变动", "本期无还款", "正常变动")
EXPLAINED = {
    "新增": "上期没有明细，本期有",
    "结清": "本期有结清业务",
    "更正与冲正": "冲正、追回、隔离，或上期明细在出表后被更正",
    "终止": "本期起终止，或贴息期间已满",
    "暂停": "本期新暂缓",
    "恢复": "上期暂缓，本期支付",
    "提前还款": "本期或上期有部分提前还款",
    "利率变动": "执行利率或公积金利率与上期不同",
    "本期无还款": "上期有明细，本期没有",
    "正常变动": "本金递减、计息天数不同等",
}
#: One row per class: number of loans, payable in the last period as reported then, payable in this period.
CHANGES = pa.schema([("class", pa.string()), ("loans", pa.int64()), ("before_fen", pa.int64()), ("now_fen", pa.int64())])

_UNDONE = pa.array(["reversed", "clawback", "quarantined"])
_FLAGS = ("settled", "prepaid", "held", "paid", "stopped", "undone")
_RATES = ("rate_ppm", "fund_rate_ppm")
_RATE_RANGES = [f"{name}_{way}" for name in _RATES for way in ("min", "max")]


def classify(now: pa.Table, before: pa.Table, before_known_now: pa.Table) -> pa.Table:
    """Classes of the loans of some buckets, schema `CHANGES`; classes without loans are left out.

    Tables of schema `LINES`: `now` the lines of this period, `before` those of the last period as they were reported, `before_known_now`
    the same as known now. An account lies in one bucket, so the results of all bucket groups add up (`add`)."""
    frames = [_per_account(lines) for lines in (now, before, before_known_now)]
    accounts = frames[0].index.union(frames[1].index).union(frames[2].index)
    new, old, corrected = (frame.reindex(accounts, fill_value=0) for frame in frames)
    rates_differ = (old[_RATE_RANGES] != new[_RATE_RANGES]).any(axis=1)
    was, is_ = old["lines"] > 0, new["lines"] > 0
    # What was only held then and is paid now is entitled to the same: resumed, not corrected.
    changed_since = (old["entitled"] != corrected["entitled"]) | (old["lines"] != corrected["lines"])
    tests = (
        is_ & ~was & ~changed_since,
        new["settled"] > 0,
        (changed_since & (was | is_)) | (new["undone"] > 0),
        new["stopped"] > 0,
        (new["held"] > 0) & ~(old["held"] > 0),
        (old["held"] > 0) & ~(new["held"] > 0) & is_,
        (new["prepaid"] > 0) | (old["prepaid"] > 0),
        is_ & rates_differ,
        was & ~is_,
        was & is_,
    )
    at = np.select([test.to_numpy(dtype=bool) for test in tests], list(range(len(CLASSES))), -1)
    known = pd.DataFrame({"class": at, "loans": 1, "before_fen": old["payable"].to_numpy(), "now_fen": new["payable"].to_numpy()})
    sums = known[known["class"] >= 0].groupby("class").sum()
    return pa.table([[CLASSES[i] for i in sums.index], *(sums[name].to_numpy() for name in CHANGES.names[1:])], schema=CHANGES)


def add(parts: Sequence[pa.Table]) -> list[tuple[str, int, int, int]]:
    """The classes of all groups, all of them, in order."""
    sums = {name: [0, 0, 0] for name in CLASSES}
    for row in pa.concat_tables([CHANGES.empty_table(), *parts]).to_pylist():
        for i, name in enumerate(("loans", "before_fen", "now_fen")):
            sums[row["class"]][i] += row[name]
    return [(name, *values) for name, values in ((n, tuple(v)) for n, v in sums.items())]  # type: ignore[misc]


def _per_account(lines: pa.Table) -> pd.DataFrame:
    """One int64 row per account: sums, number of lines, flags (above 0: some line has it), lowest and highest rates (0: unknown)."""
    outcome, kind = lines["outcome"], lines["kind"]
    flags = {
        "settled": pc.equal(kind, "06"),
        "prepaid": pc.equal(kind, "03"),
        "held": pc.equal(outcome, "hold"),
        "paid": pc.is_in(outcome, pa.array(["pay", "stop"])),
        "stopped": pc.or_(pc.equal(outcome, "stop"), pc.equal(lines["reason"], "WINDOW")),
        "undone": pc.is_in(outcome, _UNDONE),
    }
    table = pa.table(
        {
            "account_no": lines["account_no"],
            "payable": lines["payable_fen"],
            "entitled": lines["entitled_fen"],
            **{name: pc.fill_null(column, False).cast(pa.int64()) for name, column in flags.items()},
            **{name: lines[name] for name in _RATES},
        }
    )
    # Integers that may be missing stay integers: without the mapper pandas would make floats of them.
    accounts = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get).groupby("account_no", sort=False)
    found = accounts.agg(
        payable=("payable", "sum"),
        lines=("payable", "count"),
        entitled=("entitled", "sum"),
        **{name: (name, "max") for name in _FLAGS},
        **{f"{name}_{way}": (name, way) for name in _RATES for way in ("min", "max")},
    )
    return found.fillna(0).astype("int64")
