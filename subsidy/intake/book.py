"""Checked rows against each other and against what is known: duplicates, conflicts, additions, changes, withdrawals.

Works range by range of buckets. Rows of one key are always in one range: the key names the contract or account, or (changes, whose key
does not) the table has a single range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from subsidy.facts.hashing import U64
from subsidy.facts.schema import FactTable
from subsidy.facts.view import key_hash, same_rows
from subsidy.intake.context import Context
from subsidy.intake.profile import TableSpec
from subsidy.intake.result import Counts
from subsidy.intake.spool import Spool

Rows = NDArray[np.int64]
#: Column of the rows to be booked: `key_hash` of what identifies a row, or of its content in tables without a key.
KEY_HASH = "key_hash"


@dataclass(slots=True)
class Booking:
    """What became of a table's rows. Line numbers only; raw bytes are fetched by whoever needs them."""

    counts: Counts
    facts: Spool
    differing: list[int] = field(default_factory=list)  # lines whose key stands twice with different content
    duplicates: list[int] = field(default_factory=list)
    older: list[int] = field(default_factory=list)  # lines that overwrite content of a file with a later business date
    withdrawn: int = 0
    live: int = 0  # rows known before, of which `withdrawn` go
    unbalanced: list[int] = field(default_factory=list)  # lines whose remaining balance does not follow the row before
    unsure: int = 0  # absent rows that were not withdrawn because keys of this file could not be read
    keys: list[pa.Table] = field(default_factory=list)  # keys of the booked rows, only when asked for


@dataclass(frozen=True, slots=True)
class Earlier:
    """What is known of this delivery: file numbers of its earlier versions, keys that lie in quarantine, rows without a readable key."""

    file_nos: tuple[int, ...]
    quarantined: frozenset[tuple[str, ...]]
    unreadable: int


def hashed(rows: pa.Table, table: FactTable) -> pa.Table:
    """`rows` with the column that `book` compares them by."""
    return rows.append_column(KEY_HASH, pa.array(key_hash(rows, table.key or [c.name for c in table.columns])))


def book(
    incoming: Spool, spec: TableSpec, context: Context, known_on: date, file_no: int, business_date: date, earlier: Earlier,
    keep_keys: bool = False,
) -> Booking:
    """Book the rows of `incoming` (typed columns, ``line_no``, ``bucket``, `hashed`) as facts of file `file_no` known on `known_on`."""
    table = spec.table
    facts = Spool(table.arrow, incoming.scratch, incoming.ranges, incoming.held_bytes)
    booking = Booking(Counts(), facts)
    parts = dict(incoming.numbered())
    for i in range(incoming.ranges):
        part = parts.pop(i)() if i in parts else None
        buckets = None if incoming.ranges == 1 else range(i * incoming.span, (i + 1) * incoming.span)
        if part is None and spec.mode != "full":
            continue
        rows = part if part is not None else incoming.schema.empty_table()
        _range(rows, spec, context, known_on, file_no, business_date, earlier, buckets, booking, keep_keys)
    return booking


def _range(
    rows: pa.Table, spec: TableSpec, context: Context, known_on: date, file_no: int, business_date: date, earlier: Earlier,
    buckets: Sequence[int] | None, booking: Booking, keep_keys: bool,
) -> None:
    table = spec.table
    rows, occurrence = _alone(rows, table, earlier, booking)
    rows = rows.append_column("occurrence", pa.array(occurrence, pa.int32()))
    key = table.key or (*(c.name for c in table.columns), "occurrence")
    full = spec.mode == "full"
    wanted = None if full or not rows.num_rows else rows.select(list(key))
    known = context.existing(table.name, buckets, wanted) if full or rows.num_rows else table.arrow.empty_table()
    left, right = _join(rows, known, key, rows[KEY_HASH].to_numpy() if table.key else key_hash(rows, key))
    content = [c.name for c in table.columns]
    same = _same(rows, left, known, right, [*content, "bucket"])
    mine = set(earlier.file_nos) | {file_no}
    foreign = ~np.isin(known["file_no"].to_numpy()[right], list(mine))
    status = np.zeros(rows.num_rows, np.int8)  # 0 added, 1 changed, 2 unchanged
    status[left] = np.where(same, 2, 1)
    write = status != 2
    if full and spec.replaces == "version":
        # A full file owns what it repeats, so that a correction of the other file does not take it away.
        again = left[same & foreign]
        write[again] = True
    booking.counts.added += int((status == 0).sum())
    booking.counts.changed += int((status == 1).sum())
    booking.counts.unchanged += int((status == 2).sum())
    booking.counts.booked += rows.num_rows
    changed = np.flatnonzero(~same)
    _older(rows, known, left[changed], right[changed], context, business_date, booking)
    written = rows if write.all() else rows.filter(pa.array(write))
    booking.facts.add(_facts(written, table, known_on, file_no, withdrawn=False))
    moved = right[~same]
    if len(moved):
        before = known.take(pa.array(moved))
        elsewhere = before["bucket"].to_numpy() != rows["bucket"].to_numpy()[left[~same]]
        if elsewhere.any():
            booking.facts.add(_withdrawal(before.filter(pa.array(elsewhere)), table, known_on, file_no))
    if full:
        _withdraw(known, right, spec, earlier, known_on, file_no, booking)
    if keep_keys:
        booking.keys.append(rows.select(list(key)))
    if table.name == "transaction":
        booking.unbalanced += _unbalanced(rows)


def _alone(rows: pa.Table, table: FactTable, earlier: Earlier, booking: Booking) -> tuple[pa.Table, NDArray[np.int32]]:
    """Rows that stand for themselves: duplicates dropped, differing ones set aside; without a key, the occurrence of each."""
    n = rows.num_rows
    content = [c.name for c in table.columns]
    occurrence = np.zeros(n, np.int32)
    key, hashes = list(table.key) or content, rows[KEY_HASH].to_numpy()
    keep = np.ones(n, np.bool_)
    if n > 1:
        ordered = np.sort(hashes)
        if bool((ordered[1:] == ordered[:-1]).any()):
            order = np.lexsort([rows["line_no"].to_numpy(), hashes])
            runs = np.flatnonzero(np.diff(hashes[order], prepend=hashes[order][:1] + np.uint64(1)) != 0)
            lengths = np.diff(np.append(runs, n))
            for start, length in zip(runs[lengths > 1], lengths[lengths > 1], strict=True):
                _group(rows, order[start : start + length], table, key, content, keep, occurrence, booking)
    for i in _among(rows, table, earlier.quarantined):
        if keep[i]:
            keep[i] = False
            booking.differing.append(int(rows["line_no"][i].as_py()))
    booking.counts.duplicates = len(booking.duplicates)
    if keep.all():
        return rows, occurrence
    return rows.filter(pa.array(keep)), occurrence[keep]


def _group(
    rows: pa.Table, at: Rows, table: FactTable, key: list[str], content: list[str], keep: NDArray[np.bool_], occurrence: NDArray[np.int32],
    booking: Booking,
) -> None:
    """Rows that share a key's hash: sort out by the real values."""
    group = rows.take(pa.array(at)).to_pylist()
    by_key: dict[tuple[object, ...], list[int]] = {}
    for i, row in enumerate(group):
        by_key.setdefault(tuple(row[name] for name in key), []).append(i)
    for members in by_key.values():
        if len(members) == 1:
            continue
        if not table.key:
            for nth, i in enumerate(members):
                occurrence[at[i]] = nth
            continue
        contents = {tuple(group[i][name] for name in content) for i in members}
        losers = members[1:] if len(contents) == 1 else members
        (booking.duplicates if len(contents) == 1 else booking.differing).extend(group[i]["line_no"] for i in losers)
        keep[at[losers]] = False


def _among(rows: pa.Table, table: FactTable, keys: frozenset[tuple[str, ...]]) -> list[int]:
    """Indices of the rows whose key (as text) is one of `keys`."""
    if not keys or not table.key or not rows.num_rows:
        return []
    first = rows[table.key[0]]
    likely = pc.is_in(first, value_set=pa.array(sorted({k[0] for k in keys}), pa.string()))
    at = np.flatnonzero(likely.to_numpy(zero_copy_only=False))
    columns = [rows[name].take(pa.array(at)).to_pylist() for name in table.key]
    return [int(i) for i, values in zip(at, zip(*columns, strict=True), strict=True) if tuple(str(v) for v in values) in keys]


def _unbalanced(rows: pa.Table) -> list[int]:
    """Lines of regular repayments whose remaining balance is not the one of the instalment before less their own principal."""
    if rows["balance_after_fen"].null_count == rows.num_rows:
        return []
    accounts = key_hash(rows, ("account_no",))
    ordered = np.sort(accounts)
    if not bool((ordered[1:] == ordered[:-1]).any()):
        return []
    regular = pc.and_(pc.equal(rows["kind"], "02"), pc.and_(rows["balance_after_fen"].is_valid(), rows["reverses"].is_null()))
    at = np.flatnonzero(regular.to_numpy(zero_copy_only=False))
    part = rows.select(["instalment", "balance_after_fen", "principal_repaid_fen", "line_no"]).take(pa.array(at))
    instalment = part["instalment"].fill_null(-2).to_numpy().astype(np.int16)  # at most 480
    # Both sorts keep the order of lines.
    order = np.lexsort([instalment, accounts[at]])
    balance = part["balance_after_fen"].to_numpy()[order]
    repaid = part["principal_repaid_fen"].to_numpy()[order]
    lines = part["line_no"].to_numpy()[order]
    follows = (np.diff(accounts[at][order]) == 0) & (np.diff(instalment[order]) == 1)
    wrong = follows & (balance[:-1] - repaid[1:] != balance[1:])
    return sorted(lines[1:][wrong].tolist())


def _join(rows: pa.Table, known: pa.Table, key: Sequence[str], ours: U64) -> tuple[Rows, Rows]:
    """Pairs (row, known row) with the same key, whose hashes in `rows` are `ours`; each side holds a key at most once."""
    empty = np.zeros(0, np.int64)
    if not rows.num_rows or not known.num_rows:
        return empty, empty
    theirs = key_hash(known, key)
    order = np.argsort(theirs, kind="stable")
    first = np.searchsorted(theirs[order], ours, side="left")
    last = np.searchsorted(theirs[order], ours, side="right")
    left = np.flatnonzero(last > first)
    right = order[first[left]]
    pairs = [(left, right)]
    crowded = np.flatnonzero(last - first > 1)  # several known keys with one hash
    for i in crowded:
        others = order[first[i] + 1 : last[i]]
        pairs.append((np.full(len(others), i), others))
    left, right = np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs])
    equal = _same(rows, left, known, right, key)
    return left[equal], right[equal]


def _same(rows: pa.Table, left: Rows, known: pa.Table, right: Rows, columns: Sequence[str]) -> NDArray[np.bool_]:
    """Pair by pair: whether the row and the known row agree in `columns`."""
    if not len(left):
        return np.zeros(0, np.bool_)
    return same_rows(rows.take(pa.array(left)), known.take(pa.array(right)), columns)


def _withdraw(
    known: pa.Table, met: Rows, spec: TableSpec, earlier: Earlier, known_on: date, file_no: int, booking: Booking
) -> None:
    """Rows that this full file should repeat and does not."""
    owned = np.ones(known.num_rows, np.bool_)
    if spec.replaces == "version":
        owned = np.isin(known["file_no"].to_numpy(), list(earlier.file_nos)) if earlier.file_nos else ~owned
    booking.live += int(owned.sum())
    absent = owned.copy()
    absent[met] = False
    # A row that came, but lies in quarantine, is not absent.
    absent[_among(known, spec.table, earlier.quarantined)] = False
    if not absent.any():
        return
    if earlier.unreadable:
        booking.unsure += int(absent.sum())
        return
    booking.withdrawn += int(absent.sum())
    booking.facts.add(_withdrawal(known.filter(pa.array(absent)), spec.table, known_on, file_no))


def _older(
    rows: pa.Table, known: pa.Table, left: Rows, right: Rows, context: Context, business_date: date, booking: Booking
) -> None:
    if not len(right):
        return
    files = known["file_no"].to_numpy()[right]
    for number in np.unique(files):
        day = context.file_date(int(number))
        if day is not None and day > business_date:
            lines = rows["line_no"].to_numpy()[left[files == number]]
            booking.older.extend(lines.tolist())


def _facts(rows: pa.Table, table: FactTable, known_on: date, file_no: int, withdrawn: bool) -> pa.Table:
    n = rows.num_rows
    extra = {
        "known_on": pa.array(np.full(n, (known_on - date(1970, 1, 1)).days, np.int32)).cast(pa.date32()),
        "file_no": pa.array(np.full(n, file_no, np.int32)),
        "withdrawn": pa.array(np.full(n, withdrawn, np.bool_)),
    }
    arrays = [extra.get(name, rows[name] if name in rows.column_names else None) for name in table.arrow.names]
    return pa.table(dict(zip(table.arrow.names, arrays, strict=True))).cast(table.arrow)


def _withdrawal(known: pa.Table, table: FactTable, known_on: date, file_no: int) -> pa.Table:
    """Tombstones of known rows: line 0, so that a row of the same file with the same key comes after."""
    lines = pa.array(np.zeros(known.num_rows, np.int32))
    rows = known.set_column(known.schema.get_field_index("line_no"), "line_no", lines)
    return _facts(rows, table, known_on, file_no, withdrawn=True)
