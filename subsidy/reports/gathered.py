"""What a period's workbook shows of the stored lines, gathered group of buckets by group: columns, never a Python object per line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from subsidy.entitlement.lines import LINE_KEY, LINES
from subsidy.facts.schema import Facts
from subsidy.reports import changes

#: Who a line is paid for: bank and branch of the contract, payee of the agreement.
PARTIES = pa.schema([(name, pa.string()) for name in ("agreement_no", "bank_code", "bank_name", "payee_name", "payee_kind")])
_CODED = ("kind", "method", "outcome", "reason", "rule_version", "bank_code", "bank_name", "payee_kind")
_LEFT_OUT = ("shadow_balance_fen", "shadow_interest_fen", "shadow_principal_fen", "bucket")
#: Lines with their parties; columns with few values are dictionaries.
DETAIL = pa.schema(
    [
        pa.field(f.name, pa.dictionary(pa.int32(), pa.string()) if f.name in _CODED else f.type)
        for f in (*LINES, *list(PARTIES)[1:])
        if f.name not in _LEFT_OUT
    ]
)
#: What happened to a line that was or is held, forfeited or stopped.
MOVED = pa.schema([*(f for f in LINES if f.name not in _LEFT_OUT), pa.field("moved", pa.string())])
HELD_NOW = ("本期暂缓", "继续暂缓")
#: Lines of earlier periods that were held when the last workbook was made.
RESUMED, CANCELLED = "恢复支付", "暂缓取消"
WERE_HELD = ("继续暂缓", RESUMED, CANCELLED)


@dataclass
class Gatherer:
    """Takes the lines of one bucket group after another.

    `cutoffs`: (after the last but one, last, this) cut-off day; a line belongs to the period in whose window the bank booked it.
    `first_posted`: keys of lines of earlier periods that were first posted for this one. `details`, `earlier`, `moved` and `changes` hold
    what was taken so far."""

    cutoffs: tuple[pa.Scalar, pa.Scalar, pa.Scalar]
    has_before: bool
    first_posted: pa.Table
    details: list[pa.Table] = field(default_factory=list)
    earlier: list[pa.Table] = field(default_factory=list)
    moved: list[pa.Table] = field(default_factory=list)
    changes: list[pa.Table] = field(default_factory=list)

    def take(self, known: pa.Table, reported: pa.Table, facts: Facts) -> None:
        """`known`: the group's lines as known now; `reported`: as known to the run of the last period's workbook (schema `LINES`)."""
        known, reported = (t.filter(pc.not_equal(t["outcome"], "opening")) for t in (known, reported))
        lower, low, high = self.cutoffs
        now = _booked(known, low, high)
        then = [_booked(t, lower, low) if self.has_before else LINES.empty_table() for t in (reported, known)]
        who = parties(facts)
        self.details.append(with_parties(now, who))
        self.earlier.append(with_parties(self._first_payable(known, reported), who))
        self.moved.append(moves(known, reported, now, low, high))
        self.changes.append(changes.classify(now, then[0], then[1]))

    def _first_payable(self, known: pa.Table, reported: pa.Table) -> pa.Table:
        """Lines of earlier periods that are first payable now; those that were held then stand among the movements."""
        first = known.filter(pc.is_in(known["agreement_no"], self.first_posted["agreement_no"].combine_chunks()))
        held = reported.filter(pc.equal(reported["outcome"], "hold"))
        mine = pc.and_(pc.is_in(key(first), key(self.first_posted)), pc.invert(pc.is_in(key(first), key(held))))
        due = pc.and_(pc.less_equal(first["booked_on"], self.cutoffs[1]), pc.not_equal(first["payable_fen"], 0))
        return first.filter(pc.and_(mine, due))

    def detail(self) -> pa.Table:
        """All lines of the period, schema `DETAIL`, in order of agreement, accrual end and serial number."""
        return _sorted(self.details)

    def first_payable(self) -> pa.Table:
        """As `detail`: the lines of earlier periods that are first payable in this one and were not held before."""
        return _sorted(self.earlier)

    def movements(self) -> pa.Table:
        """All held, resumed, forfeited and stopped lines, schema `MOVED`."""
        table = pa.concat_tables([MOVED.empty_table(), *self.moved])
        return table.sort_by([(n, "ascending") for n in ("agreement_no", "accrual_to", "serial_no", "account_no")])


def _sorted(taken: list[pa.Table]) -> pa.Table:
    """What was taken as one table in its order; `taken` is empty afterwards."""
    columns = pa.concat_tables([DETAIL.empty_table(), *taken]).unify_dictionaries().columns
    taken.clear()
    order = pc.sort_indices(
        pa.table(columns, schema=DETAIL), [(n, "ascending") for n in ("agreement_no", "accrual_to", "serial_no", "account_no")]
    )
    for i in range(len(columns)):  # each unsorted column goes as soon as it is sorted: there is never a second copy of all
        columns[i] = columns[i].take(order)
    return pa.table(columns, schema=DETAIL)


def _booked(lines: pa.Table, after: pa.Scalar, through: pa.Scalar) -> pa.Table:
    day = lines["booked_on"]
    return lines.filter(pc.and_(pc.greater(day, after), pc.less_equal(day, through)))


def parties(facts: Facts) -> pa.Table:
    """Schema `PARTIES` of the agreements of some facts."""
    agreements, contracts = facts["agreement"], facts["contract"]
    at = pc.index_in(agreements["contract_no"], contracts["contract_no"].combine_chunks()).combine_chunks()
    banks = [pc.fill_null(contracts[name].combine_chunks().take(at), "") for name in ("bank_code", "bank_name")]
    return pa.table([agreements["agreement_no"], *banks, agreements["payee_name"], agreements["payee_kind"]], schema=PARTIES)


def with_parties(lines: pa.Table, who: pa.Table) -> pa.Table:
    """`lines` with their parties, schema `DETAIL`."""
    at = pc.index_in(lines["agreement_no"], who["agreement_no"].combine_chunks())
    at = at.combine_chunks() if isinstance(at, pa.ChunkedArray) else at
    columns = {name: lines[name] for name in LINES.names} | {
        name: pc.fill_null(who[name].combine_chunks().take(at), "") for name in PARTIES.names[1:]
    }
    return pa.table({f.name: _coded(columns[f.name]) if f.name in _CODED else columns[f.name] for f in DETAIL}, schema=DETAIL)


def _coded(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray:
    flat = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    return flat.dictionary_encode()


def moves(known: pa.Table, reported: pa.Table, now: pa.Table, low: pa.Scalar, high: pa.Scalar) -> pa.Table:
    """Lines held now up to the cut-off `high`, lines that were held and are not, and this period's forfeited and stopped lines; schema
    `MOVED`. A resumed line that the bank booked after the last cut-off `low` stands in the period's detail too, and says so."""
    known = known.filter(pc.less_equal(known["booked_on"], high))
    held = known.filter(pc.equal(known["outcome"], "hold"))
    were = reported.filter(pc.equal(reported["outcome"], "hold"))
    stayed = pc.is_in(key(held), key(were))
    parts = [
        _moved(held.filter(stayed), "继续暂缓"),
        _moved(held.filter(pc.invert(stayed)), "本期暂缓"),
    ]
    freed = known.filter(pc.and_(pc.is_in(key(known), key(were)), pc.not_equal(known["outcome"], "hold")))
    paid = pc.is_in(freed["outcome"], pa.array(["pay", "stop"]))
    earlier = pc.less_equal(freed["booked_on"], low)
    parts += [
        _moved(freed.filter(pc.and_(paid, earlier)), RESUMED),
        _moved(freed.filter(pc.and_(paid, pc.invert(earlier))), "恢复支付（见明细）"),
        _moved(freed.filter(pc.invert(paid)), CANCELLED),
    ]
    fresh = now.filter(pc.invert(pc.is_in(key(now), key(freed))))
    parts += [_moved(fresh.filter(pc.equal(fresh["outcome"], outcome)), name) for outcome, name in (("forfeit", "不付"), ("stop", "终止"))]
    return pa.concat_tables(parts)


def key(lines: pa.Table) -> pa.Array:
    """One text per line: its `LINE_KEY`, joined by U+001F."""
    joined = pc.binary_join_element_wise(*(lines[name] for name in LINE_KEY), "\x1f")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _moved(lines: pa.Table, name: str) -> pa.Table:
    return lines.select(MOVED.names[:-1]).append_column("moved", pa.repeat(pa.scalar(name), lines.num_rows)).cast(MOVED)


def grouped(detail: pa.Table, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Counts and sums of the detail by `keys` (bank, branch): lines, loans, interest, payable, held, forfeited; sorted."""
    held, forfeited = pc.equal(detail["outcome"], "hold"), pc.equal(detail["outcome"], "forfeit")
    zero = pa.scalar(0, pa.int64())
    table = pa.table(
        {
            **{name: detail[name].cast(pa.string()) for name in keys},
            "account_no": detail["account_no"],
            "interest": detail["interest_fen"],
            "payable": detail["payable_fen"],
            "held": pc.if_else(held, detail["entitled_fen"], zero),
            "forfeited": pc.if_else(forfeited, detail["figure_fen"], zero),
        }
    )
    sums = table.group_by(list(keys), use_threads=False).aggregate(
        [("account_no", "count"), ("account_no", "count_distinct"), *((n, "sum") for n in ("interest", "payable", "held", "forfeited"))]
    )
    return list(sums.sort_by([(n, "ascending") for n in keys]).to_pylist())
