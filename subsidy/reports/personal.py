"""Personal data of whole columns as it may be shown; the rules are those of `intake.masking`, by character."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from subsidy.intake import masking

_HEAD, _TAIL = 6, 4


def mask_names(names: pa.Array | pa.ChunkedArray) -> pa.Array:
    """As `masking.mask_name`."""
    flat = _flat(names)
    stars = pc.binary_repeat(masking.STAR, pc.max_element_wise(pc.subtract(pc.utf8_length(flat), 1), pa.scalar(0, pa.int32())))
    return pc.binary_join_element_wise(pc.utf8_slice_codeunits(flat, 0, 1), stars, "")


def mask_accounts(numbers: pa.Array | pa.ChunkedArray) -> pa.Array:
    """As `masking.mask_account`."""
    flat = _flat(numbers)
    length = pc.utf8_length(flat)
    stars = pc.binary_repeat(masking.STAR, pc.max_element_wise(pc.subtract(length, _HEAD + _TAIL), pa.scalar(0, pa.int32())))
    masked = pc.binary_join_element_wise(pc.utf8_slice_codeunits(flat, 0, _HEAD), stars, pc.utf8_slice_codeunits(flat, -_TAIL), "")
    short = pc.less_equal(length, _HEAD + _TAIL)
    if pc.any(short).as_py():
        few = flat.filter(short)
        masked = pc.replace_with_mask(masked, short, pa.array([masking.mask_account(v) for v in few.to_pylist()], pa.string()))
    return masked


#: Kind of payee (SKRLX) that is no person.
BANK = "02"


def of_persons(
    column: pa.Array | pa.ChunkedArray, kinds: pa.ChunkedArray, mask: Callable[[pa.Array | pa.ChunkedArray], pa.Array]
) -> pa.Array:
    """`mask` of a column about payees, but where the payee (`kinds`) is a bank."""
    return pc.if_else(pc.equal(_flat(kinds.cast(pa.string())), BANK), _flat(column), mask(column))


def _flat(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return pc.fill_null(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column, "")
