"""Agreements against their contracts. Only findings: whether a subsidy is held is decided where contracts are verified."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from subsidy.errors import Finding
from subsidy.facts.hashing import Places, hash64
from subsidy.intake.context import Context
from subsidy.intake.faults import finding
from subsidy.intake.masking import mask_name

_DOTS = str.maketrans("•．‧・", "····")


def compare(name: str, rows: pa.Table, others: Sequence[pa.Table], context: Context, file_no: int) -> Iterator[Finding]:
    """Findings about `rows`, facts of table `name` (agreement or contract) that have just been read, against the other table.

    `others` are facts of the other table from the same file; what was known before is asked of `context`.
    """
    mine = ~rows["withdrawn"].to_numpy() & (rows["file_no"].to_numpy() == file_no)
    if not mine.all():
        rows = rows.filter(pa.array(mine))
    if not rows.num_rows:
        return
    other = "contract" if name == "agreement" else "agreement"
    known = context.existing(other, None, rows.select(["contract_no"]))
    matches = pa.concat_tables([known, *others])
    if not matches.num_rows:
        return
    left, right = _pairs(rows["contract_no"], matches["contract_no"])
    mine, theirs = rows.take(pa.array(left)), matches.take(pa.array(right))
    agreements, contracts = (mine, theirs) if name == "agreement" else (theirs, mine)
    above = pc.greater(agreements["subsidised_principal_fen"], contracts["amount_fen"])
    person = pc.equal(agreements["payee_kind"], "01")
    unlike = pc.and_(person, pc.not_equal(agreements["payee_name"], contracts["borrower_name"]))
    code = "TX01" if name == "agreement" else "GB301"
    for i in np.flatnonzero(above.to_numpy(zero_copy_only=False)):
        field = "TXBJ" if name == "agreement" else "HTDKJE"
        yield finding("ROW-CONTRACT", table=code, line_no=mine["line_no"][int(i)].as_py(), field=field)
    for i in np.flatnonzero(unlike.to_numpy(zero_copy_only=False)):
        payee, borrower = agreements["payee_name"][int(i)].as_py(), contracts["borrower_name"][int(i)].as_py()
        if payee.translate(_DOTS) != borrower.translate(_DOTS):
            value = f"{mask_name(payee)} / {mask_name(borrower)}"
            yield finding("ROW-NAME", table=code, line_no=mine["line_no"][int(i)].as_py(), field="SKZHMC", value=value)


def _pairs(ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of rows with the same contract number; of several on their side the last."""
    hashes = hash64(theirs)
    hashes[hashes == 0] = 1
    distinct, first = np.unique(hashes[::-1], return_index=True)
    last = len(hashes) - 1 - first
    asked = hash64(ours)
    asked[asked == 0] = 1
    index = Places(distinct).find(asked)
    left = np.flatnonzero(index >= 0)
    right = last[index[left]]
    same = pc.equal(ours.take(pa.array(left)), theirs.take(pa.array(right))).to_numpy(zero_copy_only=False)
    return left[same], right[same]
