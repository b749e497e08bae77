"""Due lines gathered per payee, recoveries netted or collected: pure arithmetic on columns, no database, no clock.

A recovery is netted only against lines of its own agreement, so never against another borrower's money, also where many agreements
share the bank as payee. What cannot be paid now is carried with a reason; nothing disappears.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from stdnum.exceptions import ValidationError
from stdnum.iso7064 import mod_11_10

from subsidy.clearing.profiles import Layout
from subsidy.errors import Finding

#: A line with something to pay (due > 0) or to get back (due < 0). `settled`: earlier items of the line were paid or are in flight.
#: `replaces`: the last payment that should have paid it and did not, with its `attempt` (0 when there is none).
DUE = pa.schema(
    [
        ("agreement_no", pa.string()),
        ("account_no", pa.string()),
        ("serial_no", pa.string()),
        ("bucket", pa.int32()),
        ("accrual_to", pa.date32()),
        ("due_fen", pa.int64()),
        ("settled", pa.bool_()),
        ("replaces", pa.string()),
        ("attempt", pa.int32()),
    ]
)

#: The payee of each agreement as known that night.
PAYEES = pa.schema(
    [
        ("agreement_no", pa.string()),
        ("payee_account", pa.string()),
        ("payee_name", pa.string()),
        ("payee_bank_no", pa.string()),
        ("payee_kind", pa.string()),
    ]
)

#: `group` counts payments from 0; `replaced` lists every payment the new one stands for.
GATHERED = pa.schema(
    [
        ("group", pa.int64()),
        ("payee_account", pa.string()),
        ("payee_name", pa.string()),
        ("payee_bank_no", pa.string()),
        ("payee_kind", pa.string()),
        ("amount_fen", pa.int64()),
        ("attempt", pa.int32()),
        ("replaces", pa.string()),
    ]
)
ITEMS = pa.schema(
    [
        ("group", pa.int64()),
        ("agreement_no", pa.string()),
        ("account_no", pa.string()),
        ("serial_no", pa.string()),
        ("amount_fen", pa.int64()),
        ("kind", pa.string()),
        ("bucket", pa.int32()),
    ]
)

_ACCOUNT = r"^[0-9A-Za-z-]{1,34}$"
_CONTROL = r"[\x00-\x1f\x7f\x{0085}\x{2028}\x{2029}]"
MAX_FEN = 10**17


@dataclass(frozen=True, slots=True)
class Gathering:
    """Payments out and in with their items. `carried_fen`: due amounts left for a later settlement, by reason code.

    sum of positive dues = sum of out payments + `netted_fen` + sum of `carried_fen`.
    `receivable_fen`: recoveries neither netted nor put into a collection."""

    out: pa.Table
    out_items: pa.Table
    collect: pa.Table
    collect_items: pa.Table
    computed_fen: int
    netted_fen: int
    carried_fen: dict[str, int]
    receivable_fen: int
    findings: tuple[Finding, ...]


def _text(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pc.fill_null(flat, "")


def _group_sum(codes: npt.NDArray[np.int64], values: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    total = np.zeros(size, np.int64)
    np.add.at(total, codes, values)
    return total


def _unencodable(name: str, encoding: str) -> str:
    for character in name:
        try:
            character.encode(encoding)
        except UnicodeEncodeError:
            return character
    return ""


def _can_encode(name: str, encoding: str) -> bool:
    try:
        name.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _joined(texts: pa.Array) -> str:
    """All texts one behind the other."""
    whole = pa.array([0, len(texts)], pa.int32())
    return str(pc.binary_join(pa.ListArray.from_arrays(whole, texts), "")[0].as_py())


def _bad_names(names: pa.Array, layout: Layout) -> dict[int, str]:
    """Row → why the layout cannot hold the name. Encoded as one text first: most batches hold no such name."""
    bad: dict[int, str] = {}
    if not _can_encode(_joined(names), layout.encoding):
        for row, name in enumerate(names.to_pylist()):
            if not _can_encode(name, layout.encoding):
                character = _unencodable(name, layout.encoding)
                bad[row] = f"户名含有 {layout.encoding.upper()} 写不出的字“{character}”（U+{ord(character):04X}）"
    for shape, why in ((_CONTROL, "户名含有换行或控制字符"), (re.escape(layout.separator), f"户名含有文件的分隔符 {layout.separator}")):
        for at in np.flatnonzero(pc.match_substring_regex(names, shape).to_numpy(zero_copy_only=False)):
            bad.setdefault(int(at), why)
    for at in np.flatnonzero(pc.equal(pc.utf8_trim_whitespace(names), "").to_numpy(zero_copy_only=False)):
        bad.setdefault(int(at), "户名为空")
    return bad


def bank_no_valid(bank_no: str) -> bool:
    """联行号: 12 digits, ISO 7064 MOD 11,10 (standards section 4)."""
    if not re.fullmatch(r"\d{12}", bank_no, re.ASCII):
        return False
    try:
        mod_11_10.validate(bank_no)
    except ValidationError:
        return False
    return True


def _refusals(payees: dict[str, pa.Array], layout: Layout) -> dict[int, tuple[str, str, str]]:
    """Row of `payees` → (code, field, why) for payees that a file of `layout` cannot hold."""
    refused: dict[int, tuple[str, str, str]] = {}
    matches = pc.match_substring_regex(payees["payee_account"], _ACCOUNT)
    for at in np.flatnonzero(~matches.to_numpy(zero_copy_only=False)):
        refused[int(at)] = ("PAYEE-ACCOUNT", "收款账号", "收款账号为空，或含有数字、字母、短横以外的字符")
    banks = payees["payee_bank_no"].dictionary_encode()
    valid = np.array([bank_no_valid(b) for b in banks.dictionary.to_pylist()], bool)
    if len(banks):
        for at in np.flatnonzero(~valid[banks.indices.to_numpy()]):
            refused.setdefault(int(at), ("PAYEE-BANK", "收款行联行号", "收款行联行号不是 12 位数字，或校验位不对"))
    for row, why in _bad_names(payees["payee_name"], layout).items():
        refused.setdefault(row, ("PAYEE-NAME", "收款户名", why))
    return refused


def _finding(code: str, field: str, why: str, agreement_no: str, amount_fen: int) -> Finding:
    todo = {
        "PAYEE-UNKNOWN": "补送该协议的收款账户（TX01），或查明账户为何没有入账。",
        "PAYEE-NAME": "由中心发起收款账户变更（TX03），或与银行商定能写出该字的编码后更正 outbound.yaml。",
    }.get(code, "由中心发起收款账户变更（TX03），更正后下期自动支付。")
    return Finding(
        code,
        "warning",
        f"{why}，该收款人的款项本期不付，转入下期。",
        todo,
        field=field,
        agreement_no=agreement_no,
        rule=f"金额 {amount_fen} 分",
    )


def gather(
    due: pa.Table,
    payees: pa.Table,
    *,
    recovery: Literal["net", "collect"],
    minimum_fen: int,
    layout: Layout,
    collect_layout: Layout,
    stopped: Collection[str] = (),
) -> Gathering:
    """Gather due lines into payments and collections.

    `due` has schema `DUE`, one row per line; `payees` has schema `PAYEES`, one row per agreement. For the agreements `stopped` nothing
    is paid, netted or collected. Deterministic: payments are ordered by
    their smallest agreement number, items by (agreement, accrual end, account, serial); recoveries are netted oldest first.
    Payments of 0 fen settle recoveries completely against dues of the same agreement. OverflowError when amounts leave 10^17 fen.
    """
    due = due.take(
        pc.sort_indices(
            due, [("agreement_no", "ascending"), ("accrual_to", "ascending"), ("account_no", "ascending"), ("serial_no", "ascending")]
        )
    )
    amount = due["due_fen"].to_numpy().astype(np.int64)
    if len(amount) and (int(np.abs(amount).max()) * len(amount) >= MAX_FEN) and sum(map(abs, amount.tolist())) >= MAX_FEN:
        raise OverflowError("the dues of one settlement exceed 10^17 fen")
    agreement = _text(due["agreement_no"]).dictionary_encode()
    codes = agreement.indices.to_numpy().astype(np.int64)
    agreements = agreement.dictionary
    count = len(agreements)
    positive, negative = np.maximum(amount, 0), np.maximum(-amount, 0)
    due_of = _group_sum(codes, positive, count)

    take = np.zeros_like(negative)
    if recovery == "net" and len(amount):
        usable = np.minimum(due_of, _group_sum(codes, negative, count))
        running = np.cumsum(negative) - negative
        starts = np.searchsorted(codes, np.arange(count))
        take = np.clip(usable[codes] - (running - running[starts][codes]), 0, negative)
    netted_of = _group_sum(codes, take, count)
    net_of = due_of - netted_of

    # A payee is an account with its name and bank; agreements without one have payee -1.
    known = (
        pc.index_in(agreements, _text(payees["agreement_no"])).fill_null(-1).to_numpy().astype(np.int64) if count else np.zeros(0, np.int64)
    )
    fields = {name: _text(payees[name]) for name in ("payee_account", "payee_name", "payee_bank_no", "payee_kind")}
    at = pa.array(known, mask=known < 0)
    chosen = {name: pc.fill_null(column.take(at), "") for name, column in fields.items()}
    key = pc.binary_join_element_wise(*chosen.values(), "\x1f").dictionary_encode()
    payee_of = np.where(known >= 0, key.indices.to_numpy().astype(np.int64), -1)
    payee_count = len(key.dictionary)
    first_row = np.full(payee_count, count, np.int64)
    np.minimum.at(first_row, key.indices.to_numpy().astype(np.int64), np.arange(count))
    columns = {name: column.take(pa.array(first_row)) for name, column in chosen.items()}
    del fields, chosen, key, at  # as large as the settlement itself
    has = payee_of >= 0
    stays = pc.is_in(agreements, value_set=pa.array(sorted(stopped), pa.string())).to_numpy(zero_copy_only=False)
    moves = has & ~stays
    total_of = _group_sum(payee_of[moves], net_of[moves], payee_count)

    findings: list[Finding] = []
    carried: dict[str, int] = {}
    carry = np.zeros(count, bool)

    def hold_back(mask: npt.NDArray[np.bool_], code: str) -> int:
        amount_fen = int(due_of[mask & ~carry].sum())
        if amount_fen:
            carried[code] = carried.get(code, 0) + amount_fen
        carry[mask] = True
        return amount_fen

    hold_back(stays, "LOAN-FAILED")
    for row in np.flatnonzero(~has & ~stays & (due_of > 0)):
        one = np.zeros(count, bool)
        one[row] = True
        findings.append(
            _finding(
                "PAYEE-UNKNOWN", "收款账号", "没有该协议的收款账户", agreements[int(row)].as_py(), hold_back(one, "PAYEE-UNKNOWN")
            )
        )
    small = (total_of > 0) & (total_of < minimum_fen)
    for payee, (code, field, why) in sorted(_refusals(columns, layout).items()):
        if total_of[payee] > 0 and not small[payee]:
            amount_fen = hold_back(payee_of == payee, code)
            findings.append(_finding(code, field, why, agreements[int(first_row[payee])].as_py(), amount_fen))
    hold_back(has & np.where(has, small[np.maximum(payee_of, 0)] if payee_count else False, False), "MINIMUM")

    item_amount = np.where(carry[codes], 0, positive - take) if len(amount) else amount
    out, out_items = _payments(due, codes, payee_of, item_amount, columns)
    collect, collect_items = GATHERED.empty_table(), ITEMS.empty_table()
    if recovery == "collect":
        owed = _group_sum(payee_of[codes][moves[codes]], negative[moves[codes]], payee_count)
        blocked = np.zeros(payee_count, bool)
        for payee, (code, field, why) in sorted(_refusals(columns, collect_layout).items()):
            if owed[payee] > 0:
                blocked[payee] = True
                findings.append(_uncollected(code, field, why, agreements[int(first_row[payee])].as_py(), int(owed[payee])))
        usable_line = moves[codes] & ~blocked[np.maximum(payee_of[codes], 0)] if payee_count else np.zeros(len(amount), bool)
        collect, collect_items = _payments(due, codes, payee_of, np.where(usable_line, -negative, 0), columns)
    sent = int(np.asarray(out["amount_fen"]).sum())
    netted = int(-np.minimum(np.asarray(out_items["amount_fen"]), 0).sum())
    collected = int(np.asarray(collect["amount_fen"]).sum())
    result = Gathering(
        out=out,
        out_items=out_items,
        collect=collect,
        collect_items=collect_items,
        computed_fen=int(positive.sum()),
        netted_fen=netted,
        carried_fen=dict(sorted(carried.items())),
        receivable_fen=int(negative.sum()) - netted - collected,
        findings=tuple(findings),
    )
    assert result.computed_fen == sent + netted + sum(carried.values()), "computed = sent + netted + carried"
    return result


def _uncollected(code: str, field: str, why: str, agreement_no: str, amount_fen: int) -> Finding:
    return Finding(
        code, "warning", f"{why.replace('收款', '付款')}，应追回的款项不能写入收款文件，仍列为应收。",
        "更正账户后下期自动追回，或由两人核销。",
        field=field, agreement_no=agreement_no, rule=f"金额 {amount_fen} 分",
    )  # fmt: skip


def _payments(
    due: pa.Table,
    codes: npt.NDArray[np.int64],
    payee_of: npt.NDArray[np.int64],
    item_amount: npt.NDArray[np.int64],
    columns: dict[str, pa.Array],
) -> tuple[pa.Table, pa.Table]:
    """Payments and items of the rows with an amount; the payment's amount is the absolute sum of its items."""
    rows = np.flatnonzero(item_amount)
    if not len(rows):
        return GATHERED.empty_table(), ITEMS.empty_table()
    amounts = item_amount[rows]
    payees = payee_of[codes[rows]]
    _, first, group = np.unique(payees, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    group = rank[group]
    size = len(first)
    before = due.select(["replaces", "attempt"]).take(pa.array(rows))
    payee_row = pa.array(payees[np.sort(first)])
    replaces = _text(before["replaces"])
    attempts = np.zeros(size, np.int64)
    np.maximum.at(attempts, group, np.asarray(before["attempt"].fill_null(0)).astype(np.int64))
    latest: list[str | None] = [None] * size
    retried = np.flatnonzero(pc.not_equal(replaces, "").to_numpy(zero_copy_only=False))
    for row in retried:
        number = replaces[int(row)].as_py()
        if latest[group[row]] is None or number > latest[group[row]]:
            latest[group[row]] = number
    payments = pa.table(
        {
            "group": pa.array(np.arange(size)),
            **{name: column.take(payee_row) for name, column in columns.items()},
            "amount_fen": pa.array(np.abs(_group_sum(group, amounts, size))),
            "attempt": pa.array((attempts + 1).astype(np.int32)),
            "replaces": pa.array(latest, pa.string()),
        },
        schema=GATHERED,
    )
    # Items stand by payment, and within one in the order of the dues.
    order = np.argsort(group, kind="stable")
    group, amounts = group[order], amounts[order]
    chosen = due.select(["agreement_no", "account_no", "serial_no", "settled", "bucket"]).take(pa.array(rows[order]))
    settled = chosen["settled"].combine_chunks().fill_null(False).to_numpy(zero_copy_only=False)
    kinds = np.where(amounts < 0, 2, np.where(settled, 1, 0))
    items = pa.table(
        {
            "group": pa.array(group),
            "agreement_no": chosen["agreement_no"],
            "account_no": chosen["account_no"],
            "serial_no": chosen["serial_no"],
            "amount_fen": pa.array(amounts),
            "kind": pa.array(["normal", "top_up", "recovery"]).take(pa.array(kinds)),
            "bucket": chosen["bucket"],
        },
        schema=ITEMS,
    )
    return payments, items
