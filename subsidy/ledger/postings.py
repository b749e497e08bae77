"""Postings by difference: what a line is payable now, less what was posted for it, as one append-only row with its causes.

Past postings are never changed. A line that was posted and is no longer there goes to 0. The same input again posts nothing. Lines that
the old system settled (outcome ``opening``) are never posted. Source: handbook section 6, accounting in section 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.entitlement.lines import LINE_KEY
from subsidy.errors import Finding, TerminalError
from subsidy.ledger import tables
from subsidy.ledger.balances import BALANCES, DUE, agreement_balances, due_lines, live_items
from subsidy.ledger.bulk import among, read_arrow
from subsidy.ledger.journal import ENTRIES, Block, RunRef
from subsidy.ledger.payments import book_collected, book_confirmed, book_failed, book_net, book_returned
from subsidy.ledger.write_offs import give_way, take_again
from subsidy.money.amounts import format_yuan
from subsidy.policy.model import ChartOfAccounts

#: Serial number and rule version of the posting that carries the open receivable of TX04.
OPENING = "OPENING"
OPENING_RULE = "TX04"

#: Why lines change, in the order in which it became known. `amount_fen` may be NULL where a line has one cause only. A line that is
#: corrected without a cause gets ``recomputed``.
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

#: One row per line that changes. `bucket` is that of the line's first posting. `seq` 0: first posting of the line; `corrects`: number of
#: the posting before, 0 when there is none.
CHANGES = pa.schema(
    [
        *((name, pa.string()) for name in LINE_KEY),
        ("bucket", pa.int64()),
        ("seq", pa.int64()),
        ("corrects", pa.int64()),
        ("kind", pa.string()),
        ("old_fen", pa.int64()),
        ("new_fen", pa.int64()),
        ("delta_fen", pa.int64()),
        ("accrual_to", pa.date32()),
        ("booked_on", pa.date32()),
        ("rule_version", pa.string()),
        ("file_no", pa.int64()),
        ("line_no", pa.int64()),
    ]
)

_NOW = pa.schema(
    [
        *((name, pa.string()) for name in LINE_KEY),
        ("bucket", pa.int64()),
        ("payable_fen", pa.int64()),
        ("accrual_to", pa.date32()),
        ("booked_on", pa.date32()),
        ("rule_version", pa.string()),
        ("file_no", pa.int64()),
        ("line_no", pa.int64()),
    ]
)
_BEFORE = pa.schema(
    [
        *((name, pa.string()) for name in LINE_KEY),
        ("seq", pa.int64()),
        ("posting_no", pa.int64()),
        ("corrects", pa.int64()),
        ("due_fen", pa.int64()),
        ("first_bucket", pa.int64()),
    ]
)
_DETAIL = pa.schema(
    [("posting_no", pa.int64()), *(_NOW.field(n) for n in ("bucket", "accrual_to", "booked_on", "rule_version", "file_no", "line_no"))]
)


@dataclass(frozen=True, slots=True)
class Part:
    """Some agreements of a centre with everything about them: all their lines (schema `LINES`), their rows of fact table ``opening``
    (None: not looked at), and the causes (schema `CAUSES`) of what changes. An agreement that is named and has no lines goes to 0."""

    lines: pa.Table
    agreements: Sequence[str] | pa.Array | pa.ChunkedArray
    openings: pa.Table | None = None
    causes: pa.Table | None = None


@dataclass(slots=True)
class PostingResult:
    """What was posted: counts per kind, sums in fen, the block and its hash ("" when nothing was posted)."""

    accruals: int = 0
    top_ups: int = 0
    recoveries: int = 0
    openings: int = 0
    entries: int = 0
    raised_fen: int = 0
    lowered_fen: int = 0
    block_no: int = 0
    hash: str = ""
    findings: list[Finding] = field(default_factory=list)

    @property
    def postings(self) -> int:
        """Number of postings."""
        return self.accruals + self.top_ups + self.recoveries + self.openings

    def as_counts(self) -> dict[str, Any]:
        """Counts, sums and the block's hash: what a step may return."""
        names = ("accruals", "top_ups", "recoveries", "openings", "entries", "raised_fen", "lowered_fen", "block_no", "hash")
        return {"postings": self.postings, **{name: getattr(self, name) for name in names}, "findings": len(self.findings)}


def post(conn: Connection, run: RunRef, scheme: str, chart: ChartOfAccounts, parts: Part | Iterable[Part]) -> PostingResult:
    """Post the difference between what lines are payable now and what was posted, and journal it, as one block.

    `parts`: one part, or parts in ascending order of bucket that share no bucket; how a centre is cut into them changes no byte of the
    result. TerminalError ``POST-…`` when the run's date is not the open business date, a line comes twice, or causes do not add up."""
    _refuse_past(conn, run)
    result = PostingResult()
    block = Block(conn, run, chart)
    for part in (parts,) if isinstance(parts, Part) else parts:
        changes, findings = _changes(conn, run.centre, scheme, part)
        result.findings += findings
        if changes.num_rows:
            _write(conn, run, scheme, block, changes, part.causes, result)
    block.close()
    result.block_no, result.hash = block.block_no, block.hash
    return result


def preview(
    conn: Connection,
    centre: str,
    scheme: str,
    lines: pa.Table,
    agreements: Sequence[str] | pa.Array | pa.ChunkedArray,
    openings: pa.Table | None = None,
    causes: pa.Table | None = None,
) -> pa.Table:
    """What `post` would change, without writing: schema `CHANGES` and columns ordinal, cause, cause_fen, text.

    One row per line and cause; `cause_fen` adds up to `delta_fen` per line, so sums over `cause_fen` are right per line, per cause and in
    all. A first posting, and a line whose cause is not given, has one row with cause ""."""
    changes, _ = _changes(conn, centre, scheme, Part(lines, agreements, openings, causes))
    numbered = changes.append_column("row", pa.array(np.arange(changes.num_rows)))
    given = _causes_of(numbered, causes, "row", default=False)
    with_cause = pc.is_in(numbered["row"], value_set=given["row"].combine_chunks())
    plain = numbered.filter(pc.invert(with_cause))
    empty = pa.table(
        {
            "row": plain["row"],
            "ordinal": pa.repeat(pa.scalar(0, pa.int32()), plain.num_rows),
            "cause": pa.repeat("", plain.num_rows),
            "cause_fen": plain["delta_fen"],
            "text": pa.repeat("", plain.num_rows),
        }
    )
    chosen = given.select(["row", "ordinal", "cause", "amount_fen", "text"]).rename_columns(empty.column_names).cast(empty.schema)
    all_causes = pa.concat_tables([empty, chosen]).sort_by([("row", "ascending"), ("ordinal", "ascending")])
    repeated = numbered.take(all_causes["row"]).drop_columns(["row"])
    for name in ("ordinal", "cause", "cause_fen", "text"):
        repeated = repeated.append_column(name, all_causes[name])
    return repeated


def opening_findings(before: pa.Table, now: pa.Table) -> list[Finding]:
    """Findings for lines that the old system settled and that come out differently now: for a person, never posted.

    `before`, `now`: lines (schema `LINES`) of the same agreements as stored last and as assessed now."""
    settled = [lines.filter(pc.equal(lines["outcome"], "opening")).select([*LINE_KEY, *_TOLD, "file_no", "line_no"])
               for lines in (before, now)]  # fmt: skip
    if not settled[0].num_rows and not settled[1].num_rows:
        return []
    both = settled[1].join(settled[0], list(LINE_KEY), join_type="full outer", right_suffix="_before")
    same = pc.equal(both["figure_fen"], both["figure_fen_before"])
    for name in _TOLD[1:]:
        same = pc.and_(same, pc.equal(both[name], both[f"{name}_before"]))
    same = pc.fill_null(same, False)
    met_before = pc.is_in(both["agreement_no"], value_set=pc.unique(before["agreement_no"]))
    changed = both.filter(pc.and_(met_before, pc.invert(same))).sort_by([(name, "ascending") for name in LINE_KEY])
    found = []
    for row in changed.to_pylist():
        suffix = "" if row["figure_fen"] is not None else "_before"
        found.append(
            Finding(
                "OPENING-CHANGED", "warning",
                f"上线前已由旧系统结算的明细发生变化：原 {_figure(row, '_before')}，现 {_figure(row, '')}。",
                "系统不会自动补差或追回；由经办人与旧系统核对后决定。",
                file_no=row[f"file_no{suffix}"], line_no=row[f"line_no{suffix}"], agreement_no=row["agreement_no"], account_no="",
                serial_no=row["serial_no"],
            )
        )  # fmt: skip
    return found


#: What of a settled line a person is told of when it changes. Beside a shadow that the opening gives it has no figure of its own.
_TOLD = ("figure_fen", "interest_fen", "base_principal_fen", "rate_ppm", "accrual_from")


def _figure(row: Mapping[str, Any], suffix: str) -> str:
    figure, interest = row[f"figure_fen{suffix}"], row[f"interest_fen{suffix}"]
    return "无" if figure is None else f"{format_yuan(figure)} 元（利息 {format_yuan(interest)} 元）"


def _refuse_past(conn: Connection, run: RunRef) -> None:
    state = tables.centre_state
    opened = conn.execute(sa.select(state.c.open_business_date).where(state.c.centre == run.centre)).scalar_one_or_none()
    if opened is not None and run.business_date < opened:
        raise TerminalError(
            "POST-PAST",
            f"{run.centre} 的营业日期已到 {opened}，不能记入更早的 {run.business_date}。",
            "没有记账。",
            f"差额由 {opened} 或之后的处理记账；如需查看差异，用“预演”。",
        )


# --- the difference --------------------------------------------------------------------------------------------------


def _changes(conn: Connection, centre: str, scheme: str, part: Part) -> tuple[pa.Table, list[Finding]]:
    """Schema `CHANGES`, ordered by (bucket, agreement, account, serial number), and what must not be posted although it differs."""
    _refuse_strangers(part)
    settled = pc.equal(part.lines["outcome"], "opening")
    now = _now(part, settled)
    before = _before(conn, centre, scheme, part)
    findings: list[Finding] = []
    if before.num_rows:
        before, findings = _without_opening(before, part.lines.filter(settled))
        changed = _compare(conn, centre, now, before)
    else:
        first = now.filter(pc.not_equal(now["payable_fen"], 0))
        zero = pa.repeat(pa.scalar(0, pa.int64()), first.num_rows)
        columns = {name: first[name] for name in first.column_names} | {"old_fen": zero, "new_fen": first["payable_fen"]}
        changed = pa.table(columns | {"seq": zero, "corrects": zero, "place": first["bucket"]})
    return _ordered(changed), findings


def _refuse_strangers(part: Part) -> None:
    for table in (part.lines, part.openings):
        if table is not None and table.num_rows:
            wanted = pa.array(part.agreements, pa.string()) if isinstance(part.agreements, Sequence) else part.agreements
            if isinstance(wanted, pa.ChunkedArray):
                wanted = wanted.combine_chunks()
            if not pc.all(pc.is_in(table["agreement_no"], value_set=wanted)).as_py():
                raise TerminalError("POST-SCOPE", "有明细的协议不在本次记账范围内。", "没有记账。", "把此信息和运行编号交给维护人员。")


def _now(part: Part, settled: pa.ChunkedArray) -> pa.Table:
    lines = part.lines.filter(pc.invert(settled)) if pc.any(settled).as_py() else part.lines
    tabled = [lines.select(_NOW.names).cast(_NOW)]
    if part.openings is not None and part.openings.num_rows:
        o = part.openings
        tabled.append(
            pa.table(
                {
                    "agreement_no": o["agreement_no"],
                    "account_no": o["account_no"],
                    "serial_no": pa.repeat(OPENING, o.num_rows),
                    "bucket": o["bucket"].cast(pa.int64()),
                    "payable_fen": pc.negate(o["receivable_fen"]),
                    "accrual_to": o["known_on"],
                    "booked_on": o["known_on"],
                    "rule_version": pa.repeat(OPENING_RULE, o.num_rows),
                    "file_no": o["file_no"].cast(pa.int64()),
                    "line_no": o["line_no"].cast(pa.int64()),
                }
            )
        )
    return pa.concat_tables(tabled)


def _before(conn: Connection, centre: str, scheme: str, part: Part) -> pa.Table:
    """The last posting of every line of the part's agreements."""
    p = tables.posting
    query = sa.select(*(p.c[{"first_bucket": "bucket"}.get(name, name)] for name in _BEFORE.names)).where(
        p.c.centre == centre, p.c.scheme == scheme, among(conn, p.c.agreement_no, part.agreements)
    )
    if part.openings is None:
        query = query.where(p.c.serial_no != OPENING)
    every = read_arrow(conn, query, _BEFORE)
    superseded = every["corrects"].drop_null()
    if len(superseded):
        every = every.filter(pc.invert(pc.is_in(every["posting_no"], value_set=superseded.combine_chunks())))
    return every.drop_columns(["corrects"])


def _without_opening(before: pa.Table, settled: pa.Table) -> tuple[pa.Table, list[Finding]]:
    """Leave out posted lines that are settled by the old system now, which nothing may touch; a person is told of them."""
    if settled.num_rows == 0:
        return before, []
    keys = list(LINE_KEY)
    touched = before.join(settled.select(keys), keys, join_type="left semi").filter(pc.field("due_fen") != 0)
    findings = [
        Finding(
            "OPENING-POSTED", "error", "一条已由本系统记账的明细，现在被认定为上线前的明细。",
            "系统没有改动已记的账；核对上线日期和该明细的计息日期。",
            agreement_no=row["agreement_no"], serial_no=row["serial_no"],
        )
        for row in touched.sort_by([(name, "ascending") for name in keys]).to_pylist()
    ]  # fmt: skip
    return before.join(settled.select(keys), keys, join_type="left anti"), findings


def _compare(conn: Connection, centre: str, now: pa.Table, before: pa.Table) -> pa.Table:
    keys = list(LINE_KEY)
    numbered = now.select([*keys, "payable_fen"]).append_column("row", pa.array(np.arange(now.num_rows)))
    both = numbered.join(before, keys, join_type="full outer")
    old = pc.fill_null(both["due_fen"], 0)
    new = pc.fill_null(both["payable_fen"], 0)
    both = both.append_column("old_fen", old).append_column("new_fen", new).filter(pc.not_equal(old, new))
    here = both.filter(pc.is_valid(both["row"]))
    gone = both.filter(pc.is_null(both["row"]))
    lines = now.take(here["row"])
    first = pc.is_null(here["seq"])
    columns = {name: lines[name] for name in _NOW.names if name != "payable_fen"}
    columns |= {"old_fen": here["old_fen"], "new_fen": here["new_fen"]}
    columns |= {"seq": pc.if_else(first, 0, pc.add(here["seq"], 1)), "corrects": pc.fill_null(here["posting_no"], 0)}
    columns |= {"place": lines["bucket"], "bucket": pc.coalesce(here["first_bucket"], lines["bucket"])}
    changed = pa.table(columns)
    if gone.num_rows == 0:
        return changed
    detail = _detail(conn, centre, gone["posting_no"])
    missing = gone.select([*keys, "old_fen", "new_fen", "seq", "posting_no"]).join(detail, "posting_no", join_type="inner")
    missing = missing.set_column(missing.column_names.index("seq"), "seq", pc.add(missing["seq"], 1))
    missing = missing.rename_columns([{"posting_no": "corrects"}.get(name, name) for name in missing.column_names])
    # A line that is gone stands where its agreement stands now: that may be another bucket, when the agreement got another contract.
    at = pc.index_in(missing["agreement_no"], value_set=now["agreement_no"].combine_chunks())
    missing = missing.append_column("place", pc.coalesce(now["bucket"].take(at), missing["bucket"]))
    return pa.concat_tables([changed, missing.select(changed.column_names).cast(changed.schema)])


def _detail(conn: Connection, centre: str, posting_nos: pa.ChunkedArray) -> pa.Table:
    """What a line that is gone still says of itself, from its last posting."""
    p = tables.posting
    query = sa.select(*(p.c[name] for name in _DETAIL.names)).where(p.c.centre == centre, among(conn, p.c.posting_no, posting_nos))
    return read_arrow(conn, query, _DETAIL)


def _ordered(changed: pa.Table) -> pa.Table:
    """Schema `CHANGES` in its order. A line that comes twice is refused: one live entitlement per transaction (invariant 2)."""
    delta = pc.subtract(changed["new_fen"], changed["old_fen"])
    opening = pc.equal(changed["serial_no"], OPENING)
    kind = pc.if_else(
        opening, "opening", pc.if_else(pc.equal(changed["seq"], 0), "accrual", pc.if_else(pc.greater(delta, 0), "top_up", "recovery"))
    )
    order = pc.sort_indices(changed, [(name, "ascending") for name in ("place", *LINE_KEY)])
    changed = changed.append_column("delta_fen", delta).append_column("kind", kind).select(CHANGES.names).cast(CHANGES)
    changed = changed.take(order).combine_chunks()
    if changed.num_rows > 1:
        same = None
        for name in LINE_KEY:
            equal = pc.equal(changed[name].slice(1), changed[name].slice(0, changed.num_rows - 1))
            same = equal if same is None else pc.and_(same, equal)
        if pc.any(same).as_py():
            raise TerminalError(
                "POST-TWICE",
                "同一协议的同一笔明细出现两次。",
                "没有记账；同一笔明细只能有一个有效的贴息。",
                "把此信息和运行编号交给维护人员。",
            )
    return changed


# --- writing ---------------------------------------------------------------------------------------------------------


def _write(
    conn: Connection, run: RunRef, scheme: str, block: Block, changes: pa.Table, causes: pa.Table | None, result: PostingResult
) -> None:
    rows = changes.num_rows
    first = block.number_postings(rows)
    numbers = pa.array(np.arange(first, first + rows))
    changes = changes.append_column("posting_no", numbers)
    corrects = pc.if_else(pc.equal(changes["seq"], 0), pa.scalar(None, pa.int64()), changes["corrects"])
    columns = {
        name: changes[name] for name in ("posting_no", *LINE_KEY, "bucket", "seq", "kind", "accrual_to", "booked_on", "rule_version")
    }
    columns |= {"file_no": changes["file_no"], "line_no": changes["line_no"], "corrects": corrects}
    columns |= {"amount_fen": changes["delta_fen"], "due_fen": changes["new_fen"]}
    for name, value in (("centre", run.centre), ("scheme", scheme), ("policy_version", run.policy_version)):
        columns[name] = pa.repeat(value, rows)
    columns["business_date"] = pa.repeat(pa.scalar(run.business_date, pa.date32()), rows)
    columns["run_no"] = pa.repeat(pa.scalar(run.run_no, pa.int64()), rows)
    block.add_postings(pa.table(columns))
    given = _causes_of(changes, causes, "posting_no", default=True)
    block.add_causes(given.append_column("centre", pa.repeat(run.centre, given.num_rows)))
    again = changes.filter(pc.and_(pc.greater(changes["seq"], 0), pc.greater(changes["delta_fen"], 0)))
    ended = give_way(conn, run, block, again) if again.num_rows else []
    entries = _entries(conn, run, changes)
    block.add_entries(entries)
    take_again(conn, run, block, ended)
    kinds = pc.value_counts(changes["kind"])
    by_kind = {item["values"]: item["counts"] for item in kinds.to_pylist()}
    result.accruals += by_kind.get("accrual", 0)
    result.top_ups += by_kind.get("top_up", 0)
    result.recoveries += by_kind.get("recovery", 0)
    result.openings += by_kind.get("opening", 0)
    result.entries += entries.num_rows
    delta = changes["delta_fen"].to_numpy()
    result.raised_fen += int(delta[delta > 0].sum())
    result.lowered_fen -= int(delta[delta < 0].sum())


def _causes_of(changes: pa.Table, causes: pa.Table | None, number: str, default: bool) -> pa.Table:
    """The causes of `changes` with column `number` of the change, ordered by it and ordinal, amounts filled in and adding up.

    With `default`, a correction without a cause says that it was recomputed from what is known."""
    keys = list(LINE_KEY)
    columns = [number, "ordinal", "cause", "amount_fen", "file_no", "line_no", "text"]
    if causes is None or causes.num_rows == 0:
        given = pa.schema([(number, pa.int64()), *(CAUSES.field(name) for name in columns[1:])]).empty_table()
    else:
        wanted = changes.select([*keys, number, "delta_fen"])
        given = causes.select(CAUSES.names).cast(CAUSES).join(wanted, keys, join_type="inner")
        given = given.sort_by([(number, "ascending"), ("ordinal", "ascending")])
        given = _filled(given, number).select(columns)
    if not default:
        return given
    bare = changes.filter(
        pc.and_(pc.greater(changes["seq"], 0), pc.invert(pc.is_in(changes[number], value_set=given[number].combine_chunks())))
    )
    if bare.num_rows == 0:
        return given
    made = pa.table(
        {
            number: bare[number],
            "ordinal": pa.repeat(pa.scalar(1, pa.int32()), bare.num_rows),
            "cause": pa.repeat("recomputed", bare.num_rows),
            "amount_fen": bare["delta_fen"],
            "file_no": bare["file_no"],
            "line_no": bare["line_no"],
            "text": pa.repeat("按现已知道的事实重新计算", bare.num_rows),
        }
    )
    return pa.concat_tables([given, made.cast(given.schema)]).sort_by([(number, "ascending"), ("ordinal", "ascending")])


def _filled(given: pa.Table, number: str) -> pa.Table:
    per_line = given.group_by(number).aggregate([("amount_fen", "sum"), (number, "count")])
    index = pc.index_in(given[number], value_set=per_line[number].combine_chunks())
    alone = pc.equal(per_line[f"{number}_count"].take(index), 1)
    amounts = pc.if_else(pc.and_(alone, pc.is_null(given["amount_fen"])), given["delta_fen"], given["amount_fen"])
    filled = given.set_column(given.column_names.index("amount_fen"), "amount_fen", amounts)
    if amounts.null_count == 0:
        summed = filled.group_by(number).aggregate([("amount_fen", "sum"), ("delta_fen", "min")])
        if pc.all(pc.equal(summed["amount_fen_sum"], summed["delta_fen_min"])).as_py() is not False:
            return filled
    raise TerminalError("POST-CAUSE", "一条更正的各项原因的金额合计与更正金额不符。", "没有记账。", "把此信息和运行编号交给维护人员。")


def _entries(conn: Connection, run: RunRef, changes: pa.Table) -> pa.Table:
    """Journal entries of changes: up to the amount that lies in live payments the payable account moves, beyond it the receivable
    account."""
    old, new = changes["old_fen"].to_numpy(), changes["new_fen"].to_numpy()
    live = _live(conn, run.centre, changes)
    over = np.maximum(live - new, 0) - np.maximum(live - old, 0)
    payable = new - old + over
    opening = pc.equal(changes["kind"], "opening").to_numpy()
    moved: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], str, str]] = [
        (payable > 0, payable, "accrue", "opening_payable"),
        (payable < 0, -payable, "reduce", "opening_reduce"),
        (over < 0, -over, "restore", "opening_less"),
        (over > 0, over, "overpaid", "opening"),
    ]
    rows, amounts, reasons = [], [], []
    for when, amount, reason, opening_reason in moved:
        at = np.flatnonzero(when)
        if len(at):
            rows.append(at)
            amounts.append(amount[at])
            reasons.append(pc.if_else(pa.array(opening[at]), opening_reason, reason))
    row = np.concatenate(rows)
    order = np.argsort(row, kind="stable")
    row = row[order]
    reason = pa.concat_arrays(reasons).take(pa.array(order))
    return pa.table(
        {
            "entry_on": pa.repeat(pa.scalar(run.business_date, pa.date32()), len(row)),
            "reason": reason,
            "amount_fen": np.concatenate(amounts)[order],
            "agreement_no": changes["agreement_no"].take(pa.array(row)),
            "posting_no": changes["posting_no"].take(pa.array(row)),
            "payment_no": pa.repeat("", len(row)),
        }
    ).cast(ENTRIES)


def _live(conn: Connection, centre: str, changes: pa.Table) -> np.ndarray[Any, Any]:
    """What lies in live payments, per change; nothing can for a line that is posted for the first time."""
    live = np.zeros(changes.num_rows, np.int64)
    again = changes.filter(pc.greater(changes["seq"], 0))
    if again.num_rows:
        items = live_items(conn, centre, pc.unique(again["agreement_no"]))
        if items.num_rows:
            keys = list(LINE_KEY)
            found = changes.select([*keys, "posting_no"]).join(items.select([*keys, "live_fen"]), keys, join_type="inner")
            first = changes["posting_no"][0].as_py()
            live[found["posting_no"].to_numpy() - first] = found["live_fen"].to_numpy()
    return live


__all__ = [
    "BALANCES", "CAUSES", "CHANGES", "DUE", "OPENING", "Part", "PostingResult", "RunRef", "agreement_balances", "book_collected",
    "book_confirmed", "book_failed", "book_net", "book_returned", "due_lines", "opening_findings", "post", "preview",
]  # fmt: skip
