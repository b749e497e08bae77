"""Who is paid for an agreement on a day: the agreement's payee, replaced by the latest payee change (TX03) in effect by then."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from subsidy.clearing.gather import PAYEES
from subsidy.facts.schema import Facts

#: The fact tables that say who is paid: TX01 and TX03.
READS = ("agreement", "change")


def payees_on(facts: Facts, day: date) -> pa.Table:
    """The payee of each agreement on `day` as table `gather.PAYEES`, from facts as known that night.

    Reads the fact tables `READS`. A change counts from its effective date; of several the one with the latest
    effective date, then the one known last, then the greatest change number. A new value that a change leaves empty keeps the old one.
    """
    agreements, changes = facts["agreement"], facts["change"]
    base = pa.table({name: agreements[name] for name in PAYEES.names}, schema=PAYEES)
    chosen = changes.filter(
        pc.and_(pc.equal(changes["kind"], "payee"), pc.less_equal(changes["effective_on"], pa.scalar(day, pa.date32())))
    )
    if not chosen.num_rows:
        return base
    keys = ["effective_on"] + [name for name in ("known_on",) if name in chosen.column_names] + ["change_no"]
    chosen = chosen.take(pc.sort_indices(chosen, [(name, "ascending") for name in keys]))
    # -1: a change of an agreement that is not known.
    position = pc.fill_null(pc.index_in(chosen["agreement_no"], base["agreement_no"].combine_chunks()), -1).to_numpy()
    columns = {name: base[name].combine_chunks() for name in PAYEES.names}
    for new, name in (("new_payee_account", "payee_account"), ("new_payee_name", "payee_name"), ("new_payee_bank_no", "payee_bank_no")):
        values = chosen[new].combine_chunks()
        given = pc.and_(pc.is_valid(values), pc.not_equal(pc.fill_null(values, ""), "")).to_numpy(zero_copy_only=False)
        usable = given & (position >= 0)
        last = np.full(base.num_rows, -1, np.int64)
        last[position[usable]] = np.flatnonzero(usable)
        columns[name] = pc.if_else(pa.array(last >= 0), values.take(pa.array(np.maximum(last, 0))), columns[name])
    return pa.table(columns, schema=PAYEES)
