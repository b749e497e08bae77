"""Lines as they came out, kept the way facts are kept: write-once segments, the latest row of a key counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from subsidy.entitlement.lines import LINE_KEY, LINES
from subsidy.facts.schema import Facts
from subsidy.facts.store import Segment, Store
from subsidy.night.context import Run

#: What makes two lines the same outcome: everything but where the row stood in which file.
COMPARED = tuple(name for name in LINES.names if name not in ("file_no", "line_no"))
WITHDRAWN = "withdrawn"
SORTED_BY = {"line": LINE_KEY, "shadow": ("agreement_no", "instalment")}


def rows_of(
    store: Store, segments: Sequence[Segment], buckets: range | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """All rows of `segments` in their order, only those of `buckets` (contiguous) and only `columns` when given; no columns when there is
    no segment."""
    read = None if columns is None else [*columns, "bucket"]
    parts: list[pa.Table] = []
    for segment in segments:
        with store.read_segment(segment.path) as parquet:
            at = parquet.schema_arrow.get_field_index("bucket")
            for group in range(parquet.num_row_groups):
                held = parquet.metadata.row_group(group).column(at).statistics
                if buckets is not None and held is not None and (held.max < buckets.start or held.min >= buckets.stop):
                    continue
                rows = parquet.read_row_group(group, columns=read)
                if buckets is not None:
                    rows = rows.filter(pc.and_(pc.greater_equal(rows["bucket"], buckets.start), pc.less(rows["bucket"], buckets.stop)))
                parts.append(rows if columns is None else rows.select(columns))
            if not parts:
                empty = parquet.schema_arrow.empty_table()
                parts.append(empty if columns is None else empty.select(columns))
    return pa.concat_tables(parts) if parts else pa.table({})


def known_lines(
    store: Store, known: Sequence[Segment], buckets: range | None = None, columns: Sequence[str] = tuple(LINES.names)
) -> pa.Table:
    """The lines of some buckets after the last of `known`: schema `LINES`, sorted by `LINE_KEY`, without withdrawn ones. With `columns`
    only these (outcome among them) and the key."""
    schema = pa.schema([field for field in LINES if field.name in (*LINE_KEY, *columns)])
    own = [s for s in known if s.table_name == "line"]
    if not own:
        return schema.empty_table()
    latest = last_of_key(rows_of(store, own, buckets, schema.names).cast(schema))
    return latest.filter(pc.not_equal(latest["outcome"], WITHDRAWN))


def last_of_key(table: pa.Table) -> pa.Table:
    """The last row of each key, sorted by key."""
    if table.num_rows == 0:
        return table
    numbered = table.append_column("_n", pa.array(np.arange(table.num_rows)))
    last = numbered.group_by(list(LINE_KEY)).aggregate([("_n", "max")])["_n_max"]
    return table.take(last).sort_by([(name, "ascending") for name in LINE_KEY])


def difference(old: pa.Table, new: pa.Table) -> tuple[pa.Table, dict[str, int]]:
    """What must be stored so that `new` is known: lines that are new or differ from `old`, and a row with outcome ``withdrawn`` and
    nothing payable for each old line that is gone. Also counts: lines, lines_new, lines_changed, lines_withdrawn."""
    marks = ["_old", *LINE_KEY]
    left = old.append_column("_old", pa.array(np.arange(old.num_rows))).select(marks)
    right = new.append_column("_new", pa.array(np.arange(new.num_rows))).select(["_new", *LINE_KEY])
    joined = right.join(left, list(LINE_KEY), join_type="full outer").sort_by([("_new", "ascending"), ("_old", "ascending")])
    at_new, at_old = joined["_new"], joined["_old"]
    both = pc.and_(pc.is_valid(at_new), pc.is_valid(at_old))
    pairs = joined.filter(both)
    a, b = new.take(pairs["_new"]), old.take(pairs["_old"])
    differs = np.zeros(pairs.num_rows, bool)
    for name in COMPARED:
        same = pc.fill_null(pc.equal(a[name], b[name]), False)
        both_null = pc.and_(pc.is_null(a[name]), pc.is_null(b[name]))
        differs |= ~pc.or_(same, both_null).to_numpy()
    changed = a.filter(pa.array(differs))
    added = new.take(joined.filter(pc.is_null(at_old))["_new"])
    gone = old.take(joined.filter(pc.is_null(at_new))["_old"])
    withdrawn = _emptied(gone)
    fresh = pa.concat_tables([added, changed, withdrawn]).sort_by([("bucket", "ascending"), *((n, "ascending") for n in LINE_KEY)])
    return fresh, {
        "lines": new.num_rows,
        "lines_new": added.num_rows,
        "lines_changed": changed.num_rows,
        "lines_withdrawn": gone.num_rows,
    }


def _emptied(lines: pa.Table) -> pa.Table:
    for name in ("figure_fen", "entitled_fen", "payable_fen"):
        lines = lines.set_column(lines.schema.get_field_index(name), name, pa.array(np.zeros(lines.num_rows, np.int64)))
    for name, value in (("outcome", WITHDRAWN), ("reason", "ROW-WITHDRAWN")):
        lines = lines.set_column(lines.schema.get_field_index(name), name, pa.array([value] * lines.num_rows, pa.string()))
    return lines.cast(LINES)


def write(store: Store, run: Run, table_name: str, rows: pa.Table) -> list[Segment]:
    """Write one segment of a run, or none when there are no rows. Same rows, same bytes, same name."""
    if rows.num_rows == 0:
        return []
    written = store.write_segment(f"{table_name}/{run.centre}", rows.schema, [rows], ("bucket", *SORTED_BY[table_name]))
    return [Segment(table_name, run.business_date, 0, written.path, written.rows, written.sha256)]


def with_buckets(shadow: pa.Table, facts: Facts) -> pa.Table:
    """The shadow table with the bucket of each agreement, sorted by bucket, agreement and instalment."""
    if shadow.num_rows == 0:
        return shadow
    joined = shadow.join(facts["agreement"].select(["agreement_no", "bucket"]), "agreement_no")
    return joined.sort_by([("bucket", "ascending"), ("agreement_no", "ascending"), ("instalment", "ascending")])
