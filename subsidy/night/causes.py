"""Why a posted line came out differently: one cause per file that touched the loan, in the order in which they became known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from subsidy.entitlement.engine import assess
from subsidy.entitlement.lines import LINE_KEY
from subsidy.facts.schema import TABLES, Facts
from subsidy.night import isolate
from subsidy.policy import CentrePolicy

CAUSES = pa.schema(
    [
        *((name, pa.string()) for name in LINE_KEY),
        ("ordinal", pa.int32()),
        ("cause", pa.string()),
        ("amount_fen", pa.int64()),
        ("file_no", pa.int64()),
        ("line_no", pa.int32()),
        ("text", pa.string()),
    ]
)

TEXTS = {
    "prepayment": "提前还款",
    "correction": "更正文件",
    "reversal": "冲正",
    "repayment": "还款入账",
    "withdrawal": "文件撤回记录",
    "status": "贷款状态变化",
    "overdue": "逾期登记",
    "other_subsidy": "其他贴息",
    "agreement": "协议变化",
    "contract": "合同变化",
    "account": "账户变化",
    "opening": "期初变化",
    "convert": "转公积金",
    "clawback": "追回",
    "stop": "终止",
    "suspend": "暂停",
    "resume": "恢复",
    "payee": "收款账户变更",
    "term": "期限或还款方式变更",
    "policy": "规则或参数更正",
    "engine": "程序升级",
    "claim": "重复享受认定变化",
}


def classify(table: str, row: dict[str, object], existed: bool) -> str:
    """The cause that a fact row stands for."""
    if row.get("withdrawn"):
        return "withdrawal"
    if table == "transaction":
        if existed:
            return "correction"
        if row.get("reverses"):
            return "reversal"
        return "prepayment" if row.get("kind") == "03" else "repayment"
    if table == "change":
        return str(row["kind"])
    return table


def split(
    moved: pa.Table,
    arrivals: dict[str, list[tuple[int, int, str]]],
    as_known: Iterable[tuple[int, Facts]],
    policy: CentrePolicy,
    default: str,
) -> pa.Table:
    """Split the change of each moved line over the files that touched its agreement.

    `moved`: columns `LINE_KEY`, old_fen, new_fen. `arrivals`: per agreement (file_no, line_no, cause) of the first row of each file, in
    file order. `as_known`: (file_no, facts of those agreements as known after that file), for every file but the last, in order; needed
    only where an agreement has several arrivals. Returns schema `CAUSES`; the amounts of a line add up to its change.
    """
    steps: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for file_no, facts in as_known:
        done, _ = isolate.apart(lambda known: assess(known, policy).lines, facts)  # what failed in between has no step of its own
        for row in (row for lines in done for row in lines.select([*LINE_KEY, "payable_fen"]).to_pylist()):
            steps[tuple(row[n] for n in LINE_KEY)].append((file_no, row["payable_fen"]))
    out: list[dict[str, object]] = []
    for row in moved.to_pylist():
        key = tuple(row[name] for name in LINE_KEY)
        files = arrivals.get(row["agreement_no"]) or [(0, 0, default)]
        at = dict(steps.get(key, ()))
        previous, ordinal = row["old_fen"], 0
        for position, (file_no, line_no, cause) in enumerate(files):
            last = position == len(files) - 1
            reached = row["new_fen"] if last else at.get(file_no, previous)
            if reached == previous:
                continue
            out.append(
                dict(zip(LINE_KEY, key, strict=True))
                | {
                    "ordinal": ordinal,
                    "cause": cause,
                    "amount_fen": reached - previous,
                    "file_no": file_no,
                    "line_no": line_no,
                    "text": TEXTS.get(cause, cause),
                }
            )
            previous, ordinal = reached, ordinal + 1
    return pa.Table.from_pylist(out, schema=CAUSES)


def arrivals(
    facts: Facts, changed: dict[str, pa.Table], existing_keys: dict[str, set[tuple[object, ...]]]
) -> dict[str, list[tuple[int, int, str]]]:
    """Per agreement, the first row of each file that touched it tonight, in file order, with its cause.

    `changed`: this run's fact rows per table; `existing_keys`: keys that were known before tonight, per table."""
    contract_to_agreement: dict[str, list[str]] = defaultdict(list)
    for row in facts["agreement"].select(["agreement_no", "contract_no"]).to_pylist():
        contract_to_agreement[row["contract_no"]].append(row["agreement_no"])
    account_to_contract = dict(zip(facts["account"]["account_no"].to_pylist(), facts["account"]["contract_no"].to_pylist(), strict=True))
    found: dict[str, dict[int, tuple[int, int, int, str]]] = defaultdict(dict)
    for name, rows in changed.items():
        for row in rows.to_pylist():
            if "agreement_no" in row:
                agreements = [row["agreement_no"]]
            else:
                contract = row["contract_no"] if "contract_no" in row else account_to_contract.get(row["account_no"], "")
                agreements = contract_to_agreement.get(contract, [])
            key = tuple(row[k] for k in TABLES[name].key)
            cause = classify(name, row, key in existing_keys.get(name, set()))
            weight = 0 if cause not in ("status", "account", "overdue", "agreement", "contract", "repayment") else 1
            entry = (weight, row["line_no"], row["file_no"], cause)
            for agreement_no in agreements:
                at = found[agreement_no].get(row["file_no"])
                if at is None or entry < at:
                    found[agreement_no][row["file_no"]] = entry
    return {a: [(f, entry[1], entry[3]) for f, entry in sorted(files.items())] for a, files in found.items()}


def keys_of(table: pa.Table, names: tuple[str, ...]) -> set[tuple[object, ...]]:
    """The keys of a table as a set."""
    return set(zip(*(table[n].to_pylist() for n in names), strict=True)) if names else set()


def of_agreements(table: pa.Table, agreement_nos: list[str]) -> pa.Table:
    """Rows of a table with column agreement_no among `agreement_nos`."""
    return table.filter(pc.is_in(table["agreement_no"], value_set=pa.array(agreement_nos, pa.string())))
