"""Rows that leave quarantine: because a correction came, because their parent came, or because a person says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

import numpy as np
import pyarrow as pa

from subsidy.facts.schema import FactTable
from subsidy.facts.view import key_hash, row_key, same_rows
from subsidy.intake.context import Context
from subsidy.intake.delivery import Block
from subsidy.intake.dialects.single import block_of
from subsidy.intake.faults import FAULTS, FileRefused
from subsidy.intake.lineage import Lineage
from subsidy.intake.profile import Mode, Profile, Profiles, TableSpec
from subsidy.intake.result import OpenRow, Release
from subsidy.intake.rows import Checked, check_block


@dataclass(frozen=True, slots=True)
class Superseded:
    """What a file brought for one table: its mode, the keys of its booked rows, the keys it put into quarantine itself."""

    mode: Mode
    booked: pa.Table | None
    quarantined: frozenset[tuple[str, ...]]


@dataclass(slots=True)
class Outcome:
    """Releases, and the facts of released rows (`FactTable.arrow`) with the file and line they came from."""

    releases: list[Release] = field(default_factory=list)
    facts: pa.Table | None = None


@dataclass(slots=True)
class _Again:
    """An open row, read again: its typed row when it is good now, and its key when that can be read."""

    row: OpenRow
    good: pa.Table | None = None
    key: tuple[str, ...] | None = None


def release_open(
    open_rows: Sequence[OpenRow], table: FactTable, profiles: Profiles, context: Context, lineage: Lineage, identity: str,
    superseded: Superseded | None, known_on: date,
) -> Outcome:
    """Which of `open_rows` of `table` the file with `identity` releases.

    A row is superseded when its key was booked by this file, or when a new version of its own file came that is full, names its key
    again, or left its key unreadable before. A row whose parent was unknown and is known now becomes a fact of the file and line it
    came from, unless a later file has brought its key already.
    """
    again = _read_again(open_rows, table, profiles, lineage, frozenset())
    outcome = Outcome()
    booked = _keys(superseded.booked, table) if superseded is not None else frozenset()
    left: list[_Again] = []
    for one in again:
        reason = ""
        if one.key is not None and one.key in booked:
            reason = "更正文件已登记同一主键的行"
        elif superseded is not None and one.row.identity == identity:
            if superseded.mode == "full":
                reason = "同一身份的新版本已替换原文件"
            elif one.key is None or one.key in superseded.quarantined:
                reason = "同一身份的新版本已重新送来"
        if reason:
            outcome.releases.append(Release(one.row.quarantine_no, "correction", reason, booked=False))
        else:
            left.append(one)
    waited = [one for one in left if one.row.code == "PARENT-UNKNOWN" and one.good is not None]
    _book_released(waited, table, context, known_on, "correction", "所属数据已到达", outcome)
    return outcome


def release_by_person(
    open_rows: Sequence[OpenRow], table: FactTable, profiles: Profiles, context: Context, lineage: Lineage, known_on: date, reason: str
) -> Outcome:
    """Release rows that only looked wrong: every soft fault of theirs is accepted, any other keeps the row where it is.

    Rows that are still wrong are not among the releases. `reason` goes into the record.
    """
    accept = frozenset(code for code, fault in FAULTS.items() if fault.soft)
    again = _read_again(open_rows, table, profiles, lineage, accept)
    outcome = Outcome()
    _book_released([one for one in again if one.good is not None], table, context, known_on, "person", reason, outcome)
    return outcome


def _book_released(
    rows: Sequence[_Again], table: FactTable, context: Context, known_on: date, how: Literal["correction", "person"], reason: str,
    outcome: Outcome,
) -> None:
    rows = _not_contradicting(rows)
    if not rows:
        return
    parts = []
    for one in rows:
        assert one.good is not None
        extra = {
            "known_on": pa.array([known_on]), "file_no": pa.array([one.row.file_no], pa.int32()), "occurrence": pa.array([0], pa.int32()),
            "withdrawn": pa.array([False]), "line_no": pa.array([one.row.line_no], pa.int32()),
        }
        parts.append(pa.table([extra.get(n, one.good[n] if n in one.good.column_names else None) for n in table.arrow.names],
                              names=table.arrow.names).cast(table.arrow))
    facts = pa.concat_tables(parts)
    key = row_key(table)
    known = context.existing(table.name, None, facts.select(list(key)))
    known_hash = {int(h): i for i, h in enumerate(key_hash(known, key))}
    keep = np.ones(len(rows), np.bool_)
    for i, h in enumerate(key_hash(facts, key)):
        at = known_hash.get(int(h))
        if at is None or not same_rows(facts.slice(i, 1), known.slice(at, 1), key)[0]:
            continue
        keep[i] = int(known["file_no"][at].as_py()) < rows[i].row.file_no
    for one, kept in zip(rows, keep, strict=True):
        said = reason if kept else "后到的文件已登记同一主键的行"
        outcome.releases.append(Release(one.row.quarantine_no, how, said, booked=bool(kept)))
    released = facts.filter(pa.array(keep))
    outcome.facts = released if outcome.facts is None else pa.concat_tables([outcome.facts, released])


def _not_contradicting(rows: Sequence[_Again]) -> list[_Again]:
    """Of rows with one key only those that agree; of equal ones the last."""
    by_key: dict[object, list[_Again]] = {}
    for i, one in enumerate(rows):
        by_key.setdefault(one.key if one.key is not None else i, []).append(one)
    kept = []
    for members in by_key.values():
        latest = max(m.row.file_no for m in members)
        last = [m for m in members if m.row.file_no == latest]
        contents = {str(_content(m)) for m in last}
        if len(contents) == 1:
            kept.append(last[-1])
    return kept


def _content(one: _Again) -> object:
    assert one.good is not None
    return one.good.drop_columns(["line_no"]).to_pylist()


def _keys(booked: pa.Table | None, table: FactTable) -> frozenset[tuple[str, ...]]:
    if booked is None or not table.key:
        return frozenset()
    return frozenset(tuple(str(v) for v in values) for values in zip(*(booked[name].to_pylist() for name in table.key), strict=True))


def _read_again(
    open_rows: Sequence[OpenRow], table: FactTable, profiles: Profiles, lineage: Lineage, accept: frozenset[str]
) -> list[_Again]:
    again = []
    for row in open_rows:
        one = _Again(row)
        profile = profiles.profiles.get(row.profile)
        spec = profile.tables.get(table.code) if profile is not None else None
        if profile is not None and spec is not None:
            _judge_again(one, profile, spec, lineage, accept)
        again.append(one)
    return again


def _judge_again(one: _Again, profile: Profile, spec: TableSpec, lineage: Lineage, accept: frozenset[str]) -> None:
    row = one.row
    try:
        block: Block = block_of(row.raw, profile, spec)
        checked: Checked = check_block(block, spec, profile, lineage, row.business_date, "", row.file_no, accept)
    except FileRefused:
        return
    if checked.rows.num_rows == 1 and checked.rows_in == 1:
        one.good = checked.rows
        if spec.table.key:
            one.key = tuple(str(checked.rows[name][0].as_py()) for name in spec.table.key)
    elif len(checked.quarantined) == 1:
        one.key = checked.quarantined[0].key
